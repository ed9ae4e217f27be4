//! The index keys of a tenant's studies, a million of them if need be.
//!
//! Keys lie in blocks that never move, so that no copy of one stays behind when the list grows.

use hashbrown::HashTable;
use leadglass_model::{KeyGen, KeyId, StudyRef};
use leadglass_seal::IndexKey;
use std::collections::BTreeSet;

#[derive(Default)]
pub(crate) struct Keyring {
    blocks: Vec<Vec<Option<Held>>>,
    free: Vec<u32>,
    table: HashTable<u32>,
}

struct Held {
    key_id: KeyId,
    key_gen: KeyGen,
    study_ref: StudyRef,
    key: IndexKey,
}

impl Keyring {
    /// Keeps a key; one that is here already stays.
    pub(crate) fn add(&mut self, key_id: KeyId, key_gen: KeyGen, study_ref: StudyRef, key: IndexKey) {
        if self.key(key_id, key_gen).is_some() {
            return;
        }
        let held = Some(Held { key_id, key_gen, study_ref, key });
        let at = match self.free.pop() {
            Some(at) => {
                self.blocks[at as usize / BLOCK][at as usize % BLOCK] = held;
                at
            }
            None => {
                if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
                    self.blocks.push(Vec::with_capacity(BLOCK));
                }
                let before = (self.blocks.len() - 1) * BLOCK;
                let block = self.blocks.last_mut().expect("one was pushed if there was none with room");
                block.push(held);
                u32::try_from(before + block.len() - 1).expect("fewer keys than 2^32")
            }
        };
        let Self { blocks, table, .. } = self;
        table.insert_unique(hash(key_id, key_gen), at, |at| {
            held_at(blocks, *at).map_or(0, |held| hash(held.key_id, held.key_gen))
        });
    }

    /// The key.
    pub(crate) fn key(&self, key_id: KeyId, key_gen: KeyGen) -> Option<&IndexKey> {
        let is =
            |at: &u32| held_at(&self.blocks, *at).is_some_and(|held| held.key_id == key_id && held.key_gen == key_gen);
        let at = self.table.find(hash(key_id, key_gen), is)?;
        held_at(&self.blocks, *at).map(|held| &held.key)
    }

    /// Wipes the keys of a study.
    pub(crate) fn forget(&mut self, study_ref: StudyRef) {
        self.wipe(|held| held.study_ref == study_ref);
    }

    /// Wipes these keys.
    pub(crate) fn forget_keys(&mut self, keys: &BTreeSet<KeyId>) {
        self.wipe(|held| keys.contains(&held.key_id));
    }

    fn wipe(&mut self, is_over: impl Fn(&Held) -> bool) {
        for (number, block) in self.blocks.iter_mut().enumerate() {
            for (place, slot) in block.iter_mut().enumerate() {
                let Some(held) = slot.take_if(|held| is_over(held)) else { continue };
                let at = u32::try_from(number * BLOCK + place).expect("fewer keys than 2^32");
                if let Ok(entry) = self.table.find_entry(hash(held.key_id, held.key_gen), |is| *is == at) {
                    entry.remove();
                }
                self.free.push(at);
            }
        }
    }
}

fn held_at(blocks: &[Vec<Option<Held>>], at: u32) -> Option<&Held> {
    blocks.get(at as usize / BLOCK)?.get(at as usize % BLOCK)?.as_ref()
}

/// Key ids are random: any eight bytes of one are a hash.
fn hash(key_id: KeyId, key_gen: KeyGen) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&key_id.as_bytes()[..8]);
    u64::from_le_bytes(bytes).wrapping_add(u64::from(key_gen.get()))
}

/// Keys that lie together.
const BLOCK: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_until_their_study_is_forgotten() {
        let mut ring = Keyring::default();
        let id = |n: u32| KeyId::from_bytes([&n.to_le_bytes()[..], &[7; 12]].concat().try_into().unwrap());
        let study = |n: u32| StudyRef::from_bytes([u8::try_from(n % 7).unwrap(); 16]);
        let add = |ring: &mut Keyring, n: u32| {
            ring.add(id(n), KeyGen::FIRST, study(n), IndexKey::from_bytes([u8::try_from(n % 251).unwrap(); 32]));
        };
        (0..3000).for_each(|n| add(&mut ring, n));
        ring.forget(study(3));
        for n in 0..3000 {
            let key = ring.key(id(n), KeyGen::FIRST).map(|key| u32::from(key.reveal()[0]));
            assert_eq!(key, (n % 7 != 3).then_some(n % 251), "key {n}");
        }
        (3000..3500).for_each(|n| add(&mut ring, n));
        assert_eq!(ring.blocks.len(), 3, "forgotten keys leave room");
        assert!(ring.key(id(3400), KeyGen::FIRST).is_some());
        assert!(ring.key(id(3400), KeyGen::new(2).unwrap()).is_none());
        ring.forget_keys(&BTreeSet::from([id(3400)]));
        assert!(ring.key(id(3400), KeyGen::FIRST).is_none() && ring.key(id(3401), KeyGen::FIRST).is_some());
    }
}
