//! The embedded index engine: sealed rows in sled 0.34.7, driven so that an acknowledged row survives a power cut.
//!
//! What sled does not do by itself, and is done here:
//! - its `flush()` is not power-safe on Linux (`sync_file_range` writes no metadata and empties no disk cache, sled issue
//!   1452): after each flush the committer calls fdatasync on a handle of its own, and fsync on new files in `blobs/`;
//! - killed while it writes a snapshot during recovery, it leaves a torn `snap.*.generating` which it then takes for the
//!   newest snapshot and refuses to open for good (sled issues 1527, 1533): such files are removed before it opens. A
//!   snapshot only saves replaying the log, so nothing is lost with it;
//! - a database killed while it is first created may not open: it is made under another name, closed, synced, renamed;
//! - a write that finds the disk full ends it, and without room it does not open either: commits are refused while there
//!   is still some, and reads go on;
//! - it remembers an I/O error for ever: after one the database is closed, and opened again by whoever comes next.
//!
//! Files: `DIR/lock`, `DIR/rows/` (sled's), `DIR/rows.new/` while it is made.
//!
//! **Invariant:** sees sealed bytes and random names only; holds no key.

#![forbid(unsafe_code)]

mod committer;
mod store;

use async_trait::async_trait;
use bytes::Bytes;
use committer::Committer;
use leadglass_index::{Batch, Index, IndexError, Mark, RowKey, Table};
use leadglass_model::{Indexed, StudyRef, TenantId};
use std::{path::Path, sync::Arc};
use store::Store;

pub use store::SledOptions;

/// The engine. Dropping it waits for the commits that were handed in.
#[derive(Debug)]
pub struct SledIndex {
    /// Dropped first: its thread ends before the store closes.
    committer: Committer,
    store: Arc<Store>,
}

impl SledIndex {
    /// Opens the index in a directory, or makes it there. Blocks; call it from `spawn_blocking`.
    pub fn open(dir: &Path, options: SledOptions) -> Result<Self, IndexError> {
        let store = Arc::new(Store::open(dir, options)?);
        let committer = Committer::start(Arc::clone(&store))?;
        Ok(Self { committer, store })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || read(&store)).await;
        done.map_err(|e| IndexError::Engine(Box::new(e)))?
    }
}

#[async_trait]
impl Index for SledIndex {
    async fn commit(&self, batch: Batch) -> Result<Indexed, IndexError> {
        self.committer.commit(batch).await
    }

    async fn fetch(&self, tenant: TenantId, key: RowKey) -> Result<Option<Bytes>, IndexError> {
        self.read(move |store| store.fetch(tenant, key)).await
    }

    async fn fetch_many(
        &self,
        tenant: TenantId,
        keys: &[RowKey],
        max_bytes: usize,
    ) -> Result<Vec<Option<Bytes>>, IndexError> {
        let keys = keys.to_vec();
        self.read(move |store| store.fetch_many(tenant, &keys, max_bytes)).await
    }

    async fn scan(
        &self,
        tenant: TenantId,
        table: Table,
        study: Option<StudyRef>,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Bytes)>, IndexError> {
        self.read(move |store| store.scan(tenant, table, study, after, limit)).await
    }

    async fn mark(&self) -> Result<Mark, IndexError> {
        self.read(Store::mark).await
    }
}

#[cfg(test)]
mod tests;
