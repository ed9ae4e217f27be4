//! Where things lie inside of objects, remembered: a table is read once from the object's end, or found once by walking
//! it, and then kept while there is room.
//!
//! What is kept are numbers, of objects that never change; it opens nothing and names nobody.

use super::{bulk::BulkMap, frame_map::FrameMap};
use leadglass_model::{ObjectId, StudyRef};
use lru::LruCache;
use parking_lot::Mutex;
use std::{num::NonZeroUsize, sync::Arc};

/// The tables of a node.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(super) frames: Cache<FrameMap>,
    pub(super) bulk: Cache<BulkMap>,
    pub(super) lacking: Lacking,
}

/// Studies that were found to lack rows, so that each is told of once and not by every reader; at most [`MAX_LACKING`].
#[derive(Debug)]
pub(super) struct Lacking(Mutex<LruCache<StudyRef, u64>>);

impl Default for Lacking {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_LACKING)))
    }
}

impl Lacking {
    /// Whether this is news: more rows of the study are missing than before.
    pub(super) fn notice(&self, study: StudyRef, missing: u64) -> bool {
        if missing == 0 {
            return false;
        }
        let mut known = self.0.lock();
        let before = known.get(&study).copied().unwrap_or(0);
        known.put(study, missing);
        missing > before
    }
}

/// Bytes that a value takes, more or less.
pub(super) trait Weigh {
    /// How many.
    fn bytes(&self) -> usize;
}

/// At most [`MAX_BYTES`] of values by object; the longest unused go first.
#[derive(Debug)]
pub(super) struct Cache<T>(Mutex<Kept<T>>);

#[derive(Debug)]
struct Kept<T> {
    values: LruCache<ObjectId, Arc<T>>,
    bytes: usize,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::new(Kept { values: LruCache::unbounded(), bytes: 0 }))
    }
}

impl<T: Weigh> Cache<T> {
    /// What is known of an object.
    pub(super) fn get(&self, object: ObjectId) -> Option<Arc<T>> {
        self.0.lock().values.get(&object).cloned()
    }

    /// Keeps what was found. What is larger than all the room is not kept.
    pub(super) fn put(&self, object: ObjectId, value: T) -> Arc<T> {
        let (value, weight) = (Arc::new(value), ENTRY_BYTES);
        let weight = weight.saturating_add(value.bytes());
        if weight > MAX_BYTES {
            return value;
        }
        let mut kept = self.0.lock();
        if let Some(old) = kept.values.put(object, value.clone()) {
            kept.bytes = kept.bytes.saturating_sub(old.bytes().saturating_add(ENTRY_BYTES));
        }
        kept.bytes = kept.bytes.saturating_add(weight);
        while kept.bytes > MAX_BYTES {
            let Some((_, oldest)) = kept.values.pop_lru() else { break };
            kept.bytes = kept.bytes.saturating_sub(oldest.bytes().saturating_add(ENTRY_BYTES));
        }
        value
    }
}

/// Studies whose missing rows are remembered.
const MAX_LACKING: NonZeroUsize = NonZeroUsize::new(1_024).expect("is not zero");
/// Bytes of each cache: the tables of a quarter of a million frames.
const MAX_BYTES: usize = 4 << 20;
/// What an entry costs beside its value.
const ENTRY_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Block(usize);

    impl Weigh for Block {
        fn bytes(&self) -> usize {
            self.0
        }
    }

    const fn object(n: u8) -> ObjectId {
        ObjectId::from_bytes([n; 16])
    }

    #[test]
    fn the_longest_unused_go_when_there_is_no_room() {
        let cache = Cache::default();
        let third = MAX_BYTES / 3 - ENTRY_BYTES;
        for n in 0..3 {
            cache.put(object(n), Block(third));
        }
        assert!(cache.get(object(0)).is_some());
        cache.put(object(3), Block(third));
        let there: Vec<u8> = (0..4).filter(|n| cache.get(object(*n)).is_some()).collect();
        assert_eq!(there, [0, 2, 3]);
        assert!(cache.0.lock().bytes <= MAX_BYTES);
    }

    #[test]
    fn a_study_that_lacks_rows_is_news_once_and_again_when_it_lacks_more() {
        let (lacking, study) = (Lacking::default(), StudyRef::from_bytes([1; 16]));
        let news: Vec<bool> = [0, 2, 2, 3, 1, 3].into_iter().map(|missing| lacking.notice(study, missing)).collect();
        assert_eq!(news, [false, true, false, true, false, true]);
    }

    #[test]
    fn what_is_larger_than_all_the_room_pushes_nothing_out() {
        let cache = Cache::default();
        cache.put(object(1), Block(10));
        assert_eq!(cache.put(object(2), Block(MAX_BYTES)).0, MAX_BYTES);
        assert!(cache.get(object(1)).is_some() && cache.get(object(2)).is_none());
        cache.put(object(1), Block(20));
        assert_eq!(cache.0.lock().bytes, 20 + ENTRY_BYTES);
    }
}
