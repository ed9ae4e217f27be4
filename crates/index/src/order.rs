//! Studies by time, newest first, with what a search can decide at a glance beside each.
//!
//! Entries lie in sorted blocks, so that a search walks through memory in its own order, stops when it has enough, and a
//! new study moves no more than one block.

use crate::pattern::Signature;
use leadglass_model::StudyRef;
use std::cmp::Ordering;

/// One study at a glance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// `YYYYMMDDHHMMSS` as a number; zero for an unknown date. Later ones come first.
    pub(crate) moment: u64,
    /// Letter pairs of the patient's name.
    pub(crate) name: Signature,
    /// Letter pairs of Patient ID and Accession Number.
    pub(crate) ids: Signature,
    /// A bit a modality.
    pub(crate) modalities: u64,
    /// `YYYYMMDD` as a number; zero for an unknown date.
    pub(crate) birth: u32,
    /// Where the study's rows are.
    pub(crate) slot: u32,
}

/// Where an entry stands: newest first; equal moments by the study's random name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) moment: u64,
    pub(crate) study_ref: StudyRef,
}

/// See the module. Whoever calls knows the random names of the slots.
#[derive(Debug, Default)]
pub(crate) struct Order {
    blocks: Vec<Vec<Entry>>,
    len: usize,
    /// Entries in no order, while many are put in at once.
    bulk: Option<Vec<Entry>>,
}

impl Order {
    /// For many entries at once; [`sort`](Self::sort) ends it. Nothing is found until then.
    pub(crate) fn bulk() -> Self {
        Self { bulk: Some(Vec::new()), ..Self::default() }
    }

    /// Puts what came in bulk into order.
    pub(crate) fn sort(&mut self, refs: impl Fn(u32) -> StudyRef) {
        let Some(mut entries) = self.bulk.take() else { return };
        entries.sort_unstable_by(|a, b| compare(a, Place { moment: b.moment, study_ref: refs(b.slot) }, &refs));
        self.len = entries.len();
        self.blocks = entries.chunks(BLOCK).map(<[Entry]>::to_vec).collect();
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, entry: Entry, refs: impl Fn(u32) -> StudyRef) {
        if let Some(bulk) = &mut self.bulk {
            return bulk.push(entry);
        }
        self.len += 1;
        let place = Place { moment: entry.moment, study_ref: refs(entry.slot) };
        let (mut block, mut at) = self.find(place, &refs);
        if block == self.blocks.len() {
            // Behind all others: into the last block.
            match self.blocks.last() {
                Some(last) => (block, at) = (self.blocks.len() - 1, last.len()),
                None => self.blocks.push(Vec::new()),
            }
        }
        self.blocks[block].insert(at, entry);
        if self.blocks[block].len() > 2 * BLOCK {
            let rest = self.blocks[block].split_off(BLOCK);
            self.blocks.insert(block + 1, rest);
        }
    }

    pub(crate) fn remove(&mut self, place: Place, refs: impl Fn(u32) -> StudyRef) {
        if let Some(bulk) = &mut self.bulk {
            return bulk.retain(|entry| refs(entry.slot) != place.study_ref);
        }
        let (block, at) = self.find(place, &refs);
        let Some(entry) = self.blocks.get(block).and_then(|entries| entries.get(at)) else { return };
        if compare(entry, place, &refs) == Ordering::Equal {
            self.blocks[block].remove(at);
            self.len -= 1;
            if self.blocks[block].is_empty() {
                self.blocks.remove(block);
            }
        }
    }

    /// The entry at a place.
    pub(crate) fn entry_mut(&mut self, place: Place, refs: impl Fn(u32) -> StudyRef) -> Option<&mut Entry> {
        if self.bulk.is_some() {
            return self.bulk.as_mut()?.iter_mut().rev().find(|entry| refs(entry.slot) == place.study_ref);
        }
        let (block, at) = self.find(place, &refs);
        let entry = self.blocks.get_mut(block)?.get_mut(at)?;
        (compare(entry, place, &refs) == Ordering::Equal).then_some(entry)
    }

    /// The entries behind a place, or all.
    pub(crate) fn behind(&self, place: Option<Place>, refs: impl Fn(u32) -> StudyRef) -> impl Iterator<Item = &Entry> {
        let (block, at) = place.map_or((0, 0), |place| {
            let (block, at) = self.find(place, &refs);
            let is_there = self.blocks.get(block).and_then(|entries| entries.get(at));
            let is_there = is_there.is_some_and(|entry| compare(entry, place, &refs) == Ordering::Equal);
            (block, at + usize::from(is_there))
        });
        self.from(block, at)
    }

    /// The entries of this moment and older ones.
    pub(crate) fn since(&self, moment: u64) -> impl Iterator<Item = &Entry> {
        let block = self.blocks.partition_point(|entries| entries.last().is_some_and(|last| last.moment > moment));
        let at = self.blocks.get(block).map_or(0, |entries| entries.partition_point(|entry| entry.moment > moment));
        self.from(block, at)
    }

    /// The entries behind the first `count`.
    pub(crate) fn skip(&self, mut count: usize) -> impl Iterator<Item = &Entry> {
        let mut block = 0;
        while let Some(entries) = self.blocks.get(block).filter(|entries| entries.len() <= count) {
            count -= entries.len();
            block += 1;
        }
        self.from(block, count)
    }

    fn from(&self, block: usize, at: usize) -> impl Iterator<Item = &Entry> {
        let first = self.blocks.get(block).map_or(&[][..], |entries| entries.get(at..).unwrap_or(&[]));
        first.iter().chain(self.blocks.iter().skip(block + 1).flatten())
    }

    /// Where the first entry not before `place` stands.
    fn find(&self, place: Place, refs: &impl Fn(u32) -> StudyRef) -> (usize, usize) {
        let before = |entry: &Entry| compare(entry, place, refs) == Ordering::Less;
        let block = self.blocks.partition_point(|entries| entries.last().is_some_and(before));
        let at = self.blocks.get(block).map_or(0, |entries| entries.partition_point(before));
        (block, at)
    }
}

fn compare(entry: &Entry, place: Place, refs: &impl Fn(u32) -> StudyRef) -> Ordering {
    place.moment.cmp(&entry.moment).then_with(|| refs(entry.slot).cmp(&place.study_ref))
}

/// Entries of a block when many are sorted at once; twice as many at most.
const BLOCK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refs(slot: u32) -> StudyRef {
        // Names do not ascend with the slots.
        StudyRef::from_bytes([&slot.wrapping_mul(0x9e37_79b1).to_be_bytes()[..], &[0; 12]].concat().try_into().unwrap())
    }

    fn entry(moment: u64, slot: u32) -> Entry {
        Entry { moment, name: Signature(0), ids: Signature(0), modalities: 0, birth: 0, slot }
    }

    proptest! {
        #[test]
        fn entries_stand_in_order_whatever_came_and_went(
            loaded in proptest::collection::vec(0u64..40, 0..1500),
            later in proptest::collection::vec((0u64..40, any::<bool>()), 0..1500),
            at in 0usize..3000,
        ) {
            let mut order = Order::bulk();
            let mut model = Vec::new();
            for (slot, moment) in (0u32..).zip(&loaded) {
                order.insert(entry(*moment, slot), refs);
                model.push((*moment, slot));
            }
            order.sort(refs);
            for (slot, (moment, goes)) in (10_000u32..).zip(&later) {
                order.insert(entry(*moment, slot), refs);
                model.push((*moment, slot));
                if *goes {
                    let (moment, slot) = model.swap_remove(slot as usize % model.len());
                    order.remove(Place { moment, study_ref: refs(slot) }, refs);
                }
            }
            model.sort_by_key(|(moment, slot)| (std::cmp::Reverse(*moment), refs(*slot)));
            let slots: Vec<u32> = model.iter().map(|(_, slot)| *slot).collect();
            let all: Vec<u32> = order.behind(None, refs).map(|e| e.slot).collect();
            prop_assert_eq!(&all, &slots);
            prop_assert_eq!(order.len(), slots.len());
            let at = at.min(slots.len());
            prop_assert_eq!(order.skip(at).map(|e| e.slot).collect::<Vec<_>>(), &slots[at..]);
            let since: Vec<u32> = order.since(20).map(|e| e.slot).collect();
            let expected: Vec<u32> = model.iter().filter(|(m, _)| *m <= 20).map(|(_, slot)| *slot).collect();
            prop_assert_eq!(since, expected);
            if let Some((moment, slot)) = model.get(at) {
                let place = Place { moment: *moment, study_ref: refs(*slot) };
                prop_assert_eq!(order.behind(Some(place), refs).map(|e| e.slot).collect::<Vec<_>>(), &slots[at + 1..]);
                prop_assert_eq!(order.entry_mut(place, refs).unwrap().slot, *slot);
            }
        }
    }
}
