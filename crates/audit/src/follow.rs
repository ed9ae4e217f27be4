//! Somebody else's log, followed entry by entry: the vault follows the key service's.
//!
//! Who follows keeps the size and the roots of the complete subtrees (RFC 6962: at most 64 hashes), takes every new leaf,
//! and compares the root with the signed checkpoint. So it needs no proof, and what it has seen can neither be changed
//! nor taken back without being found.

use crate::{Entry, Hash, NoteError, PublicKey, TreeHead, leaf_hash, node_hash};
use leadglass_model::Fault;

/// What was seen of a log. Keep it durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    key: PublicKey,
    size: u64,
    /// Roots of the complete subtrees, largest first: one for each bit of `size`.
    peaks: Vec<Hash>,
}

/// A checkpoint that what was seen leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Its size was reached and its root is the one of what was seen.
    Reached,
    /// So many entries are still to be taken.
    Ahead(u64),
}

/// Why a log cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// Not a checkpoint of the log that was followed.
    #[error("the checkpoint was refused")]
    Note(#[source] NoteError),
    /// The log was longer before.
    #[error("the log shows {size} entries and had {seen} before: its end was cut off, or an older state was put back")]
    Behind {
        /// What it shows now.
        size: u64,
        /// What was seen before.
        seen: u64,
    },
    /// The entries are not those that were signed, or those before them were changed.
    #[error("the {size} entries that were seen do not give the signed root: the log was written anew")]
    Fork {
        /// How many.
        size: u64,
    },
    /// What it gave out is no entry in its place.
    #[error("what was given out for entry {seq} is no entry in its place")]
    Entry {
        /// Its place.
        seq: u64,
    },
    /// What was kept does not fit together.
    #[error("what was kept of the followed log does not fit together")]
    Kept,
}

impl FollowError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Note(source) => source.fault(),
            Self::Behind { .. } | Self::Fork { .. } => Fault::Conflict,
            Self::Entry { .. } | Self::Kept => Fault::Corrupt,
        }
    }
}

impl Follower {
    /// Begins with an empty log.
    pub const fn begin(key: PublicKey) -> Self {
        Self { key, size: 0, peaks: Vec::new() }
    }

    /// Goes on with what was kept.
    pub fn resume(key: PublicKey, size: u64, peaks: Vec<Hash>) -> Result<Self, FollowError> {
        if peaks.len() == size.count_ones() as usize { Ok(Self { key, size, peaks }) } else { Err(FollowError::Kept) }
    }

    /// Whose log.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// What is to be kept.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Size and root of what was seen.
    pub fn head(&self) -> TreeHead {
        let mut right: Option<Hash> = None;
        for peak in self.peaks.iter().rev() {
            right = Some(right.map_or(*peak, |r| node_hash(peak, &r)));
        }
        TreeHead { size: self.size, root: right.unwrap_or_else(Hash::empty_root) }
    }

    /// Takes the next leaf.
    pub fn take(&mut self, leaf: &[u8]) -> Result<Entry, FollowError> {
        let bad = FollowError::Entry { seq: self.size };
        let entry = Entry::decode(leaf).map_err(|_| bad)?;
        if entry.seq != self.size {
            return Err(bad);
        }
        let mut hash = leaf_hash(leaf);
        // Each bit that is set is a complete subtree as large as what is carried.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
        Ok(entry)
    }

    /// Compares with a signed checkpoint of the log.
    pub fn compare(&self, checkpoint: &str) -> Result<Followed, FollowError> {
        let signed = self.key.verify_checkpoint(checkpoint).map_err(FollowError::Note)?.head;
        let seen = self.head();
        match signed.size.checked_sub(seen.size) {
            None => Err(FollowError::Behind { size: signed.size, seen: seen.size }),
            Some(0) if signed.root != seen.root => Err(FollowError::Fork { size: seen.size }),
            Some(0) => Ok(Followed::Reached),
            Some(more) => Ok(Followed::Ahead(more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Log, LogOptions, MemoryDisk, NewEntry, Outcome};
    use leadglass_model::{EntryId, UnixMillis};

    fn grow(log: &Log, numbers: std::ops::Range<u64>) {
        let entry =
            |n| NewEntry::new(EntryId::from_bytes([7; 16]), UnixMillis(n), Event::KeyUnwrapped, Outcome::Success);
        log.append(numbers.map(entry).collect(), None).unwrap();
    }

    fn log() -> Log {
        Log::open_on(Box::new(MemoryDisk::default()), "keyd", &[5; 32], LogOptions::default()).unwrap()
    }

    fn follow(follower: &mut Follower, log: &Log) {
        for seq in follower.head().size..log.head().size {
            follower.take(&log.leaf(seq).unwrap()).unwrap();
        }
    }

    #[test]
    fn what_was_seen_has_the_logs_root_at_every_size_and_goes_on_after_being_kept() {
        let log = log();
        let mut follower = Follower::begin(log.public_key().clone());
        for n in 0..70 {
            assert_eq!(follower.head(), log.head());
            grow(&log, n..n + 1);
            assert_eq!(follower.compare(&log.checkpoint()), Ok(Followed::Ahead(1)));
            follow(&mut follower, &log);
            assert_eq!(follower.compare(&log.checkpoint()), Ok(Followed::Reached));
            let kept = (follower.key().clone(), follower.head().size, follower.peaks().to_vec());
            follower = Follower::resume(kept.0, kept.1, kept.2).unwrap();
        }
    }

    #[test]
    fn a_log_that_was_cut_or_written_anew_is_found() {
        let (honest, other) = (log(), log());
        grow(&honest, 0..20);
        let mut follower = Follower::begin(honest.public_key().clone());
        follow(&mut follower, &honest);
        grow(&other, 0..19);
        assert_eq!(follower.compare(&other.checkpoint()), Err(FollowError::Behind { size: 19, seen: 20 }));
        grow(&other, 50..51);
        assert_eq!(follower.compare(&other.checkpoint()), Err(FollowError::Fork { size: 20 }));
        grow(&other, 51..60);
        follow(&mut follower, &other);
        assert_eq!(follower.compare(&other.checkpoint()), Err(FollowError::Fork { size: 29 }));
    }
}
