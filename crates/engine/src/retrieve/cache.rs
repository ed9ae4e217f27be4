//! Plaintext that was asked for twice, for who asks a third time.
//!
//! In memory only, and bounded. An entry belongs to one session, tenant and purpose, and to the lease that it was opened
//! under: it is gone when that lease ends (age, disuse, erasure, restriction, a key service that is not heard) and when the
//! session does. A reader asks with a lease of its own that stands, so what is found here was never easier to get than what
//! is opened anew.
//!
//! It spares the way to a bucket, and is used for nothing nearer: a folder's bytes are opened anew as fast as they come, and
//! less plaintext lies about. Who scrolls through a series once fills nothing: a run of chunks is kept when it is asked for
//! again soon.

use bytes::Bytes;
use leadglass_model::{ObjectId, Purpose, TenantId};
use lru::LruCache;
use parking_lot::Mutex;
use std::{num::NonZeroUsize, ops::Range};
use tokio_util::sync::CancellationToken;

/// What a run of opened chunks is found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    /// Whose, and what for. A session alone would say it; two that differ never meet.
    pub(super) session: [u8; 16],
    pub(super) tenant: TenantId,
    pub(super) purpose: Purpose,
    /// Objects never change.
    pub(super) object: ObjectId,
    /// The sealed bytes.
    pub(super) sealed: Range<u64>,
}

/// Opened runs of a node, [`MAX_BYTES`] at most.
pub(crate) struct Cache(Mutex<Kept>);

struct Kept {
    runs: LruCache<CacheKey, Run>,
    bytes: usize,
    /// What was asked for lately and is not kept.
    asked: LruCache<CacheKey, ()>,
}

struct Run {
    opened: Bytes,
    /// Bytes of the memory it lies in.
    weight: usize,
    /// Ends with the lease.
    lease: CancellationToken,
}

impl Default for Cache {
    fn default() -> Self {
        Self(Mutex::new(Kept { runs: LruCache::unbounded(), bytes: 0, asked: LruCache::new(ASKED) }))
    }
}

impl Cache {
    /// The chunks, opened, each followed by its tag's place; `None` where they must be opened.
    pub(super) fn get(&self, key: &CacheKey) -> Option<Bytes> {
        let mut kept = self.0.lock();
        let run = kept.runs.get(key)?;
        if !run.lease.is_cancelled() {
            return Some(run.opened.clone());
        }
        kept.drop_run(key);
        None
    }

    /// Keeps a run if it was asked for before. `lease` is asked for only then; `None`: its session is over.
    pub(super) fn put(
        &self,
        key: CacheKey,
        opened: &Bytes,
        weight: usize,
        lease: impl FnOnce() -> Option<CancellationToken>,
    ) {
        let mut kept = self.0.lock();
        if weight > MAX_BYTES / 4 {
            return;
        }
        if kept.asked.pop(&key).is_none() {
            kept.asked.put(key, ());
            return;
        }
        let Some(lease) = lease() else { return };
        kept.drop_run(&key);
        kept.bytes += weight;
        kept.runs.put(key, Run { opened: opened.clone(), weight, lease });
        while kept.bytes > MAX_BYTES {
            let Some((_, oldest)) = kept.runs.pop_lru() else { break };
            kept.bytes = kept.bytes.saturating_sub(oldest.weight);
        }
    }

    /// Drops what a session opened: it is over.
    pub(crate) fn end_session(&self, session: [u8; 16]) {
        self.0.lock().drop_where(|key, _| key.session == session);
    }

    /// Drops what lies here of leases that are over.
    pub(crate) fn sweep(&self) {
        self.0.lock().drop_where(|_, run| run.lease.is_cancelled());
    }
}

impl Kept {
    fn drop_run(&mut self, key: &CacheKey) {
        if let Some(run) = self.runs.pop(key) {
            self.bytes = self.bytes.saturating_sub(run.weight);
        }
    }

    fn drop_where(&mut self, over: impl Fn(&CacheKey, &Run) -> bool) {
        let keys: Vec<_> = self.runs.iter().filter(|(key, run)| over(key, run)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.drop_run(&key);
        }
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kept = self.0.lock();
        write!(f, "Cache({} runs, {} bytes)", kept.runs.len(), kept.bytes)
    }
}

/// Memory of all runs: some thirty large ones.
const MAX_BYTES: usize = 32 << 20;
/// So many runs are remembered by name: fewer than a series has, or scrolling would fill the cache.
const ASKED: NonZeroUsize = NonZeroUsize::new(256).expect("is not zero");

#[cfg(test)]
mod tests {
    use super::*;

    fn key(session: u8, object: u8) -> CacheKey {
        CacheKey {
            session: [session; 16],
            tenant: TenantId::from_bytes([1; 16]),
            purpose: Purpose::Care,
            object: ObjectId::from_bytes([object; 16]),
            sealed: 0..100,
        }
    }

    /// Asks as a reader does: `true` where nothing had to be opened.
    fn ask(cache: &Cache, key: &CacheKey, weight: usize, lease: &CancellationToken) -> bool {
        if cache.get(key).is_some() {
            return true;
        }
        cache.put(key.clone(), &Bytes::from_static(b"plain"), weight, || Some(lease.clone()));
        false
    }

    #[test]
    fn what_is_asked_for_again_is_there_the_third_time() {
        let (cache, lease) = (Cache::default(), CancellationToken::new());
        let asked: Vec<bool> = (0..3).map(|_| ask(&cache, &key(1, 1), 100, &lease)).collect();
        assert_eq!(asked, [false, false, true]);
        for other in [
            CacheKey { session: [2; 16], ..key(1, 1) },
            CacheKey { tenant: TenantId::from_bytes([2; 16]), ..key(1, 1) },
            CacheKey { purpose: Purpose::LegalClaim, ..key(1, 1) },
            CacheKey { sealed: 0..99, ..key(1, 1) },
        ] {
            assert!(cache.get(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn nothing_outlives_its_lease() {
        let (cache, first, second) = (Cache::default(), CancellationToken::new(), CancellationToken::new());
        for _ in 0..2 {
            ask(&cache, &key(1, 1), 100, &first);
            ask(&cache, &key(1, 2), 100, &second);
        }
        first.cancel();
        assert!(cache.get(&key(1, 1)).is_none());
        assert!(cache.get(&key(1, 2)).is_some());
        second.cancel();
        cache.sweep();
        assert_eq!(format!("{cache:?}"), "Cache(0 runs, 0 bytes)");
    }

    #[test]
    fn what_a_session_opened_goes_with_it() {
        let (cache, lease) = (Cache::default(), CancellationToken::new());
        for _ in 0..2 {
            ask(&cache, &key(1, 1), 100, &lease);
            ask(&cache, &key(2, 1), 100, &lease);
        }
        cache.end_session([1; 16]);
        assert!(cache.get(&key(1, 1)).is_none());
        assert!(cache.get(&key(2, 1)).is_some());
        for _ in 0..3 {
            cache.put(key(1, 1), &Bytes::from_static(b"late"), 100, || None);
            assert!(cache.get(&key(1, 1)).is_none(), "what was read while it ended");
        }
    }

    #[test]
    fn it_is_bounded_and_the_longest_unused_goes_first() {
        let (cache, lease) = (Cache::default(), CancellationToken::new());
        for object in 0..40 {
            for _ in 0..2 {
                ask(&cache, &key(1, object), 1 << 20, &lease);
            }
            assert!(cache.get(&key(1, 0)).is_some(), "it is used all the time");
        }
        assert!(cache.get(&key(1, 1)).is_none());
        assert_eq!(format!("{cache:?}"), format!("Cache(32 runs, {MAX_BYTES} bytes)"));
        for _ in 0..3 {
            assert!(!ask(&cache, &key(3, 1), MAX_BYTES, &lease), "one alone would push out all others");
        }
    }

    #[test]
    fn scrolling_round_a_series_keeps_nothing() {
        let (cache, lease) = (Cache::default(), CancellationToken::new());
        for _ in 0..3 {
            for slice in 0..500u64 {
                let key = CacheKey { sealed: slice..slice + 1, ..key(1, 1) };
                assert!(!ask(&cache, &key, 100, &lease));
            }
        }
    }
}
