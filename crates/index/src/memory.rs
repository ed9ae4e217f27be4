//! An engine in memory, for tests: the port's meaning in forty lines.

use crate::{Batch, Index, IndexError, Mark, RowKey, Table};
use async_trait::async_trait;
use bytes::Bytes;
use leadglass_model::{Indexed, StudyRef, TenantId};
use parking_lot::Mutex;
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

/// Rows in memory. Clones share them, so that a catalog can be loaded again on what another left.
#[derive(Debug, Clone, Default)]
pub struct MemoryIndex {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    rows: BTreeMap<(TenantId, RowKey), Bytes>,
    mark: Mark,
}

#[async_trait]
impl Index for MemoryIndex {
    async fn commit(&self, batch: Batch) -> Result<Indexed, IndexError> {
        let mut inner = self.inner.lock();
        for (tenant, key, bytes) in batch.puts {
            inner.rows.insert((tenant, key), bytes);
        }
        for (tenant, key) in batch.deletes {
            inner.rows.remove(&(tenant, key));
        }
        if let Some(mark) = batch.mark {
            inner.mark = mark;
        }
        Ok(Indexed::attest())
    }

    async fn fetch(&self, tenant: TenantId, key: RowKey) -> Result<Option<Bytes>, IndexError> {
        Ok(self.inner.lock().rows.get(&(tenant, key)).cloned())
    }

    async fn scan(
        &self,
        tenant: TenantId,
        table: Table,
        study: Option<StudyRef>,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Bytes)>, IndexError> {
        let first = RowKey { table, study_ref: study.unwrap_or(StudyRef::from_bytes([0; 16])), uid_mac: [0; 16] };
        let last = RowKey { table, study_ref: study.unwrap_or(StudyRef::from_bytes([0xff; 16])), uid_mac: [0xff; 16] };
        let from = match after {
            Some(key) if key >= last => return Ok(Vec::new()),
            Some(key) if key >= first => Bound::Excluded((tenant, key)),
            _ => Bound::Included((tenant, first)),
        };
        let inner = self.inner.lock();
        let rows = inner.rows.range((from, Bound::Included((tenant, last))));
        Ok(rows.take(limit).map(|((_, key), bytes)| (*key, bytes.clone())).collect())
    }

    async fn mark(&self) -> Result<Mark, IndexError> {
        Ok(self.inner.lock().mark)
    }
}
