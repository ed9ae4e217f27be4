//! Instance rows that were opened not long ago: a viewer asks for the frames of an instance one by one, and for an instance
//! right after its metadata.
//!
//! A row is good as long as it is the newest version that was seen ([`Versions`](crate::versions::Versions)) and nothing was
//! removed since it was read.

use crate::{InstanceRow, RowKey};
use leadglass_model::TenantId;
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;

#[derive(Debug)]
pub(crate) struct Recent(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    rows: LruCache<(TenantId, RowKey), (u64, InstanceRow)>,
    removals: u64,
}

/// When rows were read: before what was removed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(u64);

impl Default for Recent {
    fn default() -> Self {
        Self(Mutex::new(Kept { rows: LruCache::new(KEPT), removals: 0 }))
    }
}

impl Recent {
    /// Take it before reading.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.0.lock().removals)
    }

    /// A row and its version.
    pub(crate) fn get(&self, tenant: TenantId, key: RowKey) -> Option<(u64, InstanceRow)> {
        self.0.lock().rows.get(&(tenant, key)).cloned()
    }

    /// Those of these rows that are kept in just that version, in the order asked for.
    pub(crate) fn of(&self, tenant: TenantId, rows: impl Iterator<Item = (RowKey, u64)>) -> Vec<Option<InstanceRow>> {
        let mut kept = self.0.lock();
        let mut one = |(key, version)| {
            let (of, row) = kept.rows.get(&(tenant, key))?;
            (*of == version).then(|| row.clone())
        };
        rows.map(&mut one).collect()
    }

    /// Keeps rows that were read since `moment`, unless rows were removed meanwhile.
    pub(crate) fn put_all(
        &self,
        moment: Moment,
        tenant: TenantId,
        rows: impl IntoIterator<Item = (RowKey, u64, InstanceRow)>,
    ) {
        let mut kept = self.0.lock();
        if kept.removals != moment.0 {
            return;
        }
        for (key, version, row) in rows {
            if row.earlier.len() <= EARLIER_MAX {
                kept.rows.put((tenant, key), (version, row));
            }
        }
    }

    /// Rows were, or are about to be, removed.
    pub(crate) fn clear(&self) {
        let mut kept = self.0.lock();
        kept.removals = kept.removals.wrapping_add(1);
        kept.rows.clear();
    }
}

/// Rows kept: some MiB.
const KEPT: NonZeroUsize = NonZeroUsize::new(8_192).expect("not zero");
/// Rows with a longer history are not kept.
const EARLIER_MAX: usize = 4;
