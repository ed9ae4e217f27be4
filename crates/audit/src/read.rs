//! Reading many entries: all of a range, all of a subject with their proofs, those with given names.

use crate::{
    Entry, Hash, Log, OpenError, ReadError, SubjectToken, TreeHead, leaf_hash, proof,
    tile::{self, WIDTH},
    verify,
    walk::read_bundle,
};
use leadglass_model::EntryId;
use memchr::memmem::Finder;
use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

/// A leaf with the proof that it stands in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// Its place.
    pub seq: u64,
    /// Its bytes.
    pub leaf: Vec<u8>,
    /// Inclusion proof against the root of the checkpoint (RFC 6962 §2.1.1).
    pub proof: Vec<Hash>,
}

/// All entries of a subject, and the checkpoint that their proofs lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectLog {
    /// A signed note, with the witness's line if it was cosigned.
    pub checkpoint: String,
    /// What it says.
    pub head: TreeHead,
    /// The entries by place ascending.
    pub entries: Vec<Proved>,
}

impl Log {
    /// The leaves of a range that the log has, in order. They are as they stand on the disk; a proof says whether one is
    /// what was appended.
    pub fn leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut leaves = Vec::new();
        if range.is_empty() {
            return Ok(leaves);
        }
        self.state.lock().in_range(range.end - 1)?;
        let mut at = range.start;
        while at < range.end {
            let index = at / WIDTH;
            let end = range.end.min((index + 1) * WIDTH);
            let within = |seq: u64| usize::try_from(seq - index * WIDTH).unwrap_or(usize::MAX);
            let bundle = self.bundle(index)?;
            let wanted = bundle.get(within(at)..within(end)).ok_or(ReadError::Log(OpenError::Bundle { index }))?;
            leaves.extend_from_slice(wanted);
            at = end;
        }
        Ok(leaves)
    }

    /// Which entries bear these names, looked for from the newest to the oldest. What is not found is not in the map.
    pub fn find(&self, names: &HashSet<EntryId>) -> Result<HashMap<EntryId, Entry>, ReadError> {
        let mut found = HashMap::with_capacity(names.len());
        let size = self.head().size;
        for index in (0..size.div_ceil(WIDTH)).rev() {
            if found.len() == names.len() {
                break;
            }
            for (leaf, seq) in self.bundle(index)?.iter().zip(index * WIDTH..) {
                let entry = Entry::decode(leaf).map_err(|_| ReadError::Log(OpenError::Entry { seq }))?;
                if names.contains(&entry.report.entry_id) {
                    found.insert(entry.report.entry_id, entry);
                }
            }
        }
        Ok(found)
    }

    /// Whether any entry is about this subject.
    pub fn knows(&self, subject: SubjectToken) -> bool {
        self.state.lock().subjects.contains_key(&subject)
    }

    /// All entries of a subject with their proofs, against the newest cosigned checkpoint if that covers the first
    /// `at_least` entries, else against a new one. What does not verify is an error: nothing false is handed out.
    pub fn subject(&self, subject: SubjectToken, at_least: u64) -> Result<SubjectLog, ReadError> {
        let (head, checkpoint, count) = {
            let mut state = self.state.lock();
            let head_of = |note: &String| self.public_key().verify_checkpoint(note).ok().map(|signed| signed.head);
            let cosigned = state.cosigned.clone().and_then(|note| head_of(&note).map(|head| (head, note)));
            let (head, note) = match cosigned.filter(|(head, _)| head.size >= at_least) {
                Some(cosigned) => cosigned,
                None => {
                    let note = state.publish(self.disk.as_ref(), &self.key);
                    (state.head(), note.map_err(|e| ReadError::Log(OpenError::disk(e)))?)
                }
            };
            let all = state.subjects.get(&subject).map_or(0, |last| last.seq + 1);
            // Entries behind the checkpoint are not in it.
            (head, note, (head.size == state.head().size).then_some(all))
        };
        let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
        let finder = Finder::new(&subject.0);
        for index in 0..head.size.div_ceil(WIDTH) {
            // Most bundles speak of others: they are looked through as bytes.
            let whole = self.bundle_bytes(index)?;
            if whole.as_ref().is_some_and(|bytes| finder.find(bytes).is_none()) {
                continue;
            }
            let bundle = whole.and_then(|bytes| tile::parse_bundle(&bytes, WIDTH));
            let bundle = bundle.map_or_else(|| self.bundle(index), Ok)?;
            for (leaf, seq) in bundle.into_iter().zip(index * WIDTH..head.size) {
                let entry = Entry::decode(&leaf).map_err(|_| ReadError::Log(OpenError::Entry { seq }))?;
                if entry.report.subject == Some(subject) {
                    found.push((seq, leaf));
                }
            }
        }
        let entries = self.prove(found, &head)?;
        let decoded: Vec<Entry> = entries.iter().filter_map(|p| Entry::decode(&p.leaf).ok()).collect();
        let broken = |seq| ReadError::Log(OpenError::Chain { seq });
        verify::subject_chain(&decoded).map_err(|_| broken(decoded.first().map_or(0, |e| e.seq)))?;
        let whole = count.is_none_or(|count| decoded.len() as u64 == count)
            && decoded.first().is_none_or(|e| e.subject_seq == 0);
        if whole { Ok(SubjectLog { checkpoint, head, entries }) } else { Err(broken(head.size)) }
    }

    fn prove(&self, found: Vec<(u64, Vec<u8>)>, head: &TreeHead) -> Result<Vec<Proved>, ReadError> {
        let mut read = HashMap::new();
        let mut proved = Vec::with_capacity(found.len());
        for (seq, leaf) in found {
            // Appends go on between two proofs.
            let state = self.state.lock();
            let nodes = state.nodes_with(self.disk.as_ref(), std::mem::take(&mut read));
            let proof = proof::inclusion_proof(&nodes, seq, head.size).map_err(ReadError::Log)?;
            read = nodes.into_read();
            if read.len() > MAX_TILES_HELD {
                read.clear();
            }
            drop(state);
            verify::inclusion(&leaf_hash(&leaf), seq, head.size, &proof, &head.root)
                .map_err(|_| ReadError::Log(OpenError::Entry { seq }))?;
            proved.push(Proved { seq, leaf, proof });
        }
        Ok(proved)
    }

    /// A bundle's leaves; of the newest, those that are there.
    fn bundle(&self, index: u64) -> Result<Vec<Vec<u8>>, ReadError> {
        {
            let state = self.state.lock();
            if let Some(skip) = (index * WIDTH).checked_sub(state.recent_from) {
                let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                let width = usize::try_from(WIDTH).unwrap_or(usize::MAX);
                return Ok(state.recent.iter().skip(skip).take(width).map(|leaf| leaf.bytes.clone()).collect());
            }
        }
        // A full bundle never changes.
        read_bundle(self.disk.as_ref(), index, WIDTH).map_err(ReadError::Log)
    }

    /// The bytes of a full bundle on the disk; `None` for one that is still in memory.
    fn bundle_bytes(&self, index: u64) -> Result<Option<Arc<[u8]>>, ReadError> {
        if index * WIDTH >= self.state.lock().recent_from {
            return Ok(None);
        }
        let bytes = self.disk.read(&tile::bundle_path(index, WIDTH)).map_err(|e| ReadError::Log(OpenError::disk(e)))?;
        bytes.map(|b| Some(b.into())).ok_or(ReadError::Log(OpenError::Bundle { index }))
    }
}

/// Tiles of 8 KiB kept while many proofs are made.
const MAX_TILES_HELD: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, LogOptions, MemoryDisk, NewEntry, Outcome};
    use leadglass_model::UnixMillis;

    fn name(n: u64) -> EntryId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        EntryId::from_bytes(id)
    }

    fn log(published: u64, size: u64) -> Log {
        let log = Log::open_on(Box::new(MemoryDisk::default()), "log", &[5; 32], LogOptions::default()).unwrap();
        let entry = |n: u64| NewEntry {
            subject: Some(SubjectToken([u8::try_from(n % 7).unwrap(); 16])),
            ..NewEntry::new(name(n), UnixMillis(n), Event::InstancesAccessed, Outcome::Success)
        };
        log.append((0..published).map(entry).collect(), None).unwrap();
        log.publish().unwrap();
        log.append((published..size).map(entry).collect(), None).unwrap();
        log
    }

    #[test]
    fn all_entries_of_a_subject_come_with_proofs_that_hold() {
        let log = log(600, 900);
        let of = log.subject(SubjectToken([3; 16]), 900).unwrap();
        let head = log.public_key().verify_checkpoint(&of.checkpoint).unwrap().head;
        assert_eq!((head, of.head.size), (of.head, 900));
        assert_eq!(of.entries.iter().map(|e| e.seq).collect::<Vec<_>>(), (3..900).step_by(7).collect::<Vec<u64>>());
        assert_eq!(log.subject(SubjectToken([9; 16]), 0).unwrap().entries, []);
    }

    #[test]
    fn ranges_and_names_are_found_on_the_disk_and_in_memory() {
        let log = log(600, 900);
        let leaves = log.leaves(500..700).unwrap();
        for (leaf, seq) in leaves.iter().zip(500..700) {
            assert_eq!(*leaf, log.leaf(seq).unwrap());
        }
        assert_eq!(leaves.len(), 200);
        assert!(matches!(log.leaves(890..901), Err(ReadError::OutOfRange { size: 900 })));
        let found = log.find(&[name(1), name(899), name(5_000)].into()).unwrap();
        assert_eq!(found.values().map(|e| e.seq).collect::<HashSet<_>>(), [1, 899].into());
    }
}
