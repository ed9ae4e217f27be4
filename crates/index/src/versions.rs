//! Row versions: numbers that only grow, and the memory that notices when one went back.
//!
//! A version is the time in milliseconds shifted up, or one more than the last, so that it grows across restarts without
//! being stored anywhere else. Study and series rows are read from the engine once, at start; for the others the newest
//! versions seen are kept, two generations of at most [`GENERATION`] rows.

use crate::RowKey;
use leadglass_model::{TenantId, UnixMillis};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

#[derive(Debug, Default)]
pub(crate) struct Versions {
    last: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    young: HashMap<(TenantId, RowKey), u64>,
    old: HashMap<(TenantId, RowKey), u64>,
}

impl Versions {
    /// A version above every other that this process gave or saw.
    pub(crate) fn next(&self, now: UnixMillis) -> u64 {
        let floor = now.0 << MILLIS_SHIFT;
        let step = |last: u64| Some(floor.max(last + 1));
        let last = self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step).unwrap_or_else(|last| last);
        floor.max(last + 1)
    }

    /// Later versions are above this one.
    pub(crate) fn raise(&self, version: u64) {
        self.last.fetch_max(version, Ordering::SeqCst);
    }

    /// Whether this is the newest version of the row that was seen. What was not seen for long is not known.
    pub(crate) fn is_newest(&self, tenant: TenantId, key: RowKey, version: u64) -> bool {
        let seen = self.seen.lock();
        seen.young.get(&(tenant, key)).or_else(|| seen.old.get(&(tenant, key))) == Some(&version)
    }

    /// Takes note of a version that was read or staged. `false`: a newer one of this row was seen before.
    pub(crate) fn note(&self, tenant: TenantId, key: RowKey, version: u64) -> bool {
        self.raise(version);
        let mut seen = self.seen.lock();
        let known = seen.young.get(&(tenant, key)).or_else(|| seen.old.get(&(tenant, key))).copied();
        if known.is_some_and(|known| version < known) {
            return false;
        }
        if seen.young.len() >= GENERATION {
            seen.old = std::mem::take(&mut seen.young);
        }
        seen.young.insert((tenant, key), version);
        true
    }
}

/// When a version was given, or earlier than that said by a clock that had gone back.
pub(crate) const fn time_of(version: u64) -> UnixMillis {
    UnixMillis(version >> MILLIS_SHIFT)
}

/// Leaves 1,024 versions a millisecond.
const MILLIS_SHIFT: u32 = 10;
/// About 6 MiB each.
const GENERATION: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;
    use leadglass_model::StudyRef;

    #[test]
    fn versions_grow_even_when_the_clock_goes_back() {
        let versions = Versions::default();
        let first = versions.next(UnixMillis(1_000));
        assert!(versions.next(UnixMillis(1_000)) > first);
        assert!(versions.next(UnixMillis(1)) > first);
        assert_eq!(versions.next(UnixMillis(2_000)), 2_000 << 10);
    }

    #[test]
    fn a_version_that_goes_back_is_noticed() {
        let versions = Versions::default();
        let tenant = TenantId::from_bytes([1; 16]);
        let key = RowKey { table: Table::Instance, study_ref: StudyRef::from_bytes([2; 16]), uid_mac: [3; 16] };
        assert!(versions.note(tenant, key, 5));
        assert!(versions.note(tenant, key, 5));
        assert!(!versions.note(tenant, key, 4));
        assert!(versions.note(TenantId::from_bytes([9; 16]), key, 4));
    }
}
