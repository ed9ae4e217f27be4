//! The whole log, checked by somebody who has its directory and the public keys, and nothing else.
//!
//! What the log's own opening refuses is named here in words for people, first fault first, and beyond that what only a
//! second pair of eyes can find: a history that was signed anew with the log's own key is not the one that the witness saw.

use crate::{
    Disk, Entry, Hash, NoteError, OpenError, PublicKey, SignedHead, TreeHead, frame, leaf_hash,
    log::{CHECKPOINT, COSIGNED, TAIL},
    note,
    tile::{self, WIDTH},
    walk::{Walk, read_bundle, read_tile},
};
use std::{io, sync::Arc};

/// What the verifier knows beforehand.
#[derive(Debug, Clone, Default)]
pub struct KnownKeys {
    /// The log's key; without it no signature of the log is checked.
    pub log: Option<PublicKey>,
    /// The witness's key; without it no cosignature is.
    pub witness: Option<PublicKey>,
    /// Checkpoints that somebody was handed before, such as that of a report: the log must still hold what they say.
    pub seen: Vec<String>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The log's name; empty when not even that reads.
    pub origin: String,
    /// Size and root over all that was read, as far as it was good.
    pub head: TreeHead,
    /// Entries under the log's published, signed checkpoint.
    pub published: u64,
    /// Size under the witness's newest cosignature, and when that was made, in seconds since 1970.
    pub cosigned: Option<(u64, u64)>,
    /// The first fault; `None`: the log is whole.
    pub flaw: Option<Flaw>,
}

/// What is wrong with a log, in plain words.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// The file system failed.
    #[error("the log cannot be read")]
    Disk(#[source] Arc<io::Error>),
    /// A file is gone.
    #[error("the log's {what} is missing")]
    Missing {
        /// Which part.
        what: &'static str,
    },
    /// The checkpoint was changed, or another key signed it.
    #[error("the checkpoint in `{file}` does not stand: {source}")]
    Checkpoint {
        /// Its file.
        file: &'static str,
        /// Why.
        source: NoteError,
    },
    /// Entries are gone.
    #[error("entries {first} to {last} are missing or were cut: their bundle does not read")]
    Bundle {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// An entry is not in an entry's form.
    #[error("entry {seq} was changed: it no longer reads")]
    Unreadable {
        /// Its place.
        seq: u64,
    },
    /// An entry is not what the tree holds.
    #[error("entry {seq} was changed after it was written")]
    Edited {
        /// Its place.
        seq: u64,
    },
    /// Another entry stands in its place.
    #[error("where entry {seq} belongs stands entry {found}: entries were left out, put in or moved")]
    OutOfPlace {
        /// The place.
        seq: u64,
        /// What stands there.
        found: u64,
    },
    /// An entry does not follow its subject's previous one.
    #[error("entry {seq} does not follow the same subject's previous entry: one was left out or changed")]
    Chain {
        /// Its place.
        seq: u64,
    },
    /// A tile is not what the entries give.
    #[error("tile {index} at level {level} is missing or was changed")]
    Tile {
        /// Its level.
        level: u32,
        /// Its number.
        index: u64,
    },
    /// The signed root is another one.
    #[error("the first {size} entries are not those that the log signed: the history was changed")]
    Root {
        /// How many.
        size: u64,
    },
    /// The newest entries were changed.
    #[error("the log's tail was changed at byte {at}")]
    Tail {
        /// Where.
        at: usize,
    },
    /// The witness never signed.
    #[error("no checkpoint here carries the witness's signature")]
    NotWitnessed,
    /// The log is shorter than it was.
    #[error("the log has {size} entries and {by} {seen}: its end was cut off, or an older state was put back")]
    Behind {
        /// How many there are.
        size: u64,
        /// How many there were.
        seen: u64,
        /// Who says so.
        by: &'static str,
    },
    /// Another history.
    #[error("{by} another history of the first {size} entries: the log was written anew and signed again")]
    Fork {
        /// Of how many entries.
        size: u64,
        /// Who says so.
        by: &'static str,
    },
}

impl Flaw {
    /// A stable word.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Disk(_) => "unreadable-disk",
            Self::Missing { .. } => "part-missing",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Bundle { .. } => "entries-missing",
            Self::Unreadable { .. } | Self::Edited { .. } => "entry-changed",
            Self::OutOfPlace { .. } => "entry-out-of-place",
            Self::Chain { .. } => "subject-chain",
            Self::Tile { .. } => "tile",
            Self::Root { .. } => "root",
            Self::Tail { .. } => "tail",
            Self::NotWitnessed => "not-witnessed",
            Self::Behind { .. } => "cut-off",
            Self::Fork { .. } => "fork",
        }
    }

    fn disk(error: io::Error) -> Self {
        Self::Disk(Arc::new(error))
    }

    /// An [`OpenError`] in words; `bytes` is the leaf that it was about.
    fn of(error: OpenError, leaf: Option<&[u8]>) -> Self {
        match error {
            OpenError::Disk(source) => Self::Disk(source),
            OpenError::Missing { what } => Self::Missing { what },
            OpenError::Bundle { index } => Self::Bundle { first: index * WIDTH, last: index * WIDTH + WIDTH - 1 },
            OpenError::Tile { level, index } => Self::Tile { level, index },
            OpenError::Entry { seq } => match leaf.and_then(|leaf| Entry::decode(leaf).ok()) {
                Some(entry) => Self::OutOfPlace { seq, found: entry.seq },
                None => Self::Unreadable { seq },
            },
            OpenError::Chain { seq } => Self::Chain { seq },
            OpenError::Root { size } => Self::Root { size },
            OpenError::BehindWitness { size, seen } => Self::Behind { size, seen, by: WITNESS_COUNT },
            OpenError::Tail { at } => Self::Tail { at },
            OpenError::Checkpoint(source) => Self::Checkpoint { file: CHECKPOINT, source },
            OpenError::Locked | OpenError::Key(_) => Self::Missing { what: "key" },
        }
    }
}

/// Reads and checks everything. `told` hears how many entries were read of how many, now and then.
pub fn verify_offline(disk: &dyn Disk, keys: &KnownKeys, mut told: impl FnMut(u64, u64)) -> Verdict {
    let empty = TreeHead { size: 0, root: Hash::empty_root() };
    let mut verdict = Verdict { origin: String::new(), head: empty, published: 0, cosigned: None, flaw: None };
    let mut run = Run { disk, keys, walk: Walk::default(), wanted: Vec::new() };
    let done = run.all(&mut verdict, &mut told);
    verdict.head = TreeHead { size: run.walk.edge.size(), root: run.walk.edge.root() };
    verdict.flaw = done.err();
    verdict
}

/// A root that the log must have had at a size, and who says so.
struct Wanted {
    head: TreeHead,
    behind: &'static str,
    fork: &'static str,
}

struct Run<'a> {
    disk: &'a dyn Disk,
    keys: &'a KnownKeys,
    walk: Walk,
    wanted: Vec<Wanted>,
}

impl Run<'_> {
    fn all(&mut self, verdict: &mut Verdict, told: &mut dyn FnMut(u64, u64)) -> Result<(), Flaw> {
        let note = self.text(CHECKPOINT)?.ok_or(Flaw::Missing { what: "checkpoint" })?;
        let signed = self.read_note(CHECKPOINT, &note)?;
        verdict.origin.clone_from(&signed.origin);
        verdict.published = signed.head.size;
        self.witnessed(verdict, &note)?;
        for seen in &self.keys.seen {
            let head = self.read_note("a checkpoint that was handed in", seen)?.head;
            self.wanted.push(Wanted {
                head,
                behind: "a checkpoint handed out before has",
                fork: "a checkpoint handed out before shows",
            });
        }
        self.wanted.sort_by_key(|wanted| wanted.head.size);
        self.published(&signed.head, told)?;
        self.tail(&signed.head)?;
        told(self.walk.edge.size(), self.walk.edge.size());
        let size = self.walk.edge.size();
        match self.wanted.first() {
            Some(wanted) => Err(Flaw::Behind { size, seen: wanted.head.size, by: wanted.behind }),
            None => Ok(()),
        }
    }

    /// The witness's newest cosignature: in a file of its own, else under the checkpoint.
    fn witnessed(&mut self, verdict: &mut Verdict, checkpoint: &str) -> Result<(), Flaw> {
        let kept = self.text(COSIGNED)?;
        let Some(witness) = &self.keys.witness else {
            return kept.map_or(Ok(()), |note| self.read_note(COSIGNED, &note).map(|_| ()));
        };
        let note = kept.as_deref().unwrap_or(checkpoint);
        let at = witness.cosigned_at(note).ok_or(Flaw::NotWitnessed)?;
        let head = self.read_note(COSIGNED, note)?.head;
        verdict.cosigned = Some((head.size, at));
        self.wanted.push(Wanted { head, behind: WITNESS_COUNT, fork: "the witness signed" });
        Ok(())
    }

    fn text(&self, file: &'static str) -> Result<Option<String>, Flaw> {
        let Some(bytes) = self.disk.read(file).map_err(Flaw::disk)? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| Flaw::Checkpoint { file, source: NoteError::Malformed })
    }

    fn read_note(&self, file: &'static str, text: &str) -> Result<SignedHead, Flaw> {
        let read = match &self.keys.log {
            Some(key) => key.verify_checkpoint(text),
            None => note::split(text).and_then(|(text, _)| note::parse_checkpoint(text)),
        };
        read.map_err(|source| Flaw::Checkpoint { file, source })
    }

    fn published(&mut self, head: &TreeHead, told: &mut dyn FnMut(u64, u64)) -> Result<(), Flaw> {
        self.compare()?;
        for index in 0..head.size.div_ceil(WIDTH) {
            let width = WIDTH.min(head.size - index * WIDTH);
            let last = index * WIDTH + width - 1;
            let bundle =
                read_bundle(self.disk, index, width).map_err(|_| Flaw::Bundle { first: index * WIDTH, last })?;
            let hashes = read_tile(self.disk, 0, index, width).ok();
            for (place, leaf) in bundle.iter().enumerate() {
                let seq = self.walk.edge.size();
                let made = self.walk.leaf(leaf).map_err(|e| Flaw::of(e, Some(leaf)))?;
                if hashes.as_ref().is_some_and(|hashes| hashes.get(place) != Some(&leaf_hash(leaf))) {
                    return Err(Flaw::Edited { seq });
                }
                for full in made {
                    let stored = read_tile(self.disk, full.level, full.index, WIDTH).ok();
                    if stored.is_none_or(|stored| stored != full.hashes) {
                        return Err(Flaw::Tile { level: full.level, index: full.index });
                    }
                }
                self.compare()?;
            }
            told(self.walk.edge.size(), head.size);
        }
        for level in 0..self.walk.edge.levels() {
            let (index, width) = tile::tiles_at(level, head.size);
            let stored = if width > 0 { read_tile(self.disk, level, index, width).ok() } else { Some(Vec::new()) };
            if stored.is_none_or(|stored| stored != self.walk.edge.partial(level)) {
                return Err(Flaw::Tile { level, index });
            }
        }
        let same = self.walk.edge.root() == head.root;
        if same { Ok(()) } else { Err(Flaw::Root { size: head.size }) }
    }

    /// Roots that somebody has seen at the size that was reached.
    fn compare(&mut self) -> Result<(), Flaw> {
        let size = self.walk.edge.size();
        while let Some(wanted) = self.wanted.first().filter(|wanted| wanted.head.size == size) {
            if wanted.head.root != self.walk.edge.root() {
                return Err(Flaw::Fork { size, by: wanted.fork });
            }
            self.wanted.remove(0);
        }
        Ok(())
    }

    /// What came after the checkpoint. Its frames are signed by the log, so they are read with its key only.
    fn tail(&mut self, published: &TreeHead) -> Result<(), Flaw> {
        let bytes = self.disk.read(TAIL).map_err(Flaw::disk)?;
        let Some(key) = &self.keys.log else { return Ok(()) };
        let bytes = match bytes {
            Some(bytes) => bytes,
            None if published.size == 0 => return Ok(()),
            None => return Err(Flaw::Missing { what: "tail" }),
        };
        let tail = frame::parse(&bytes, key).map_err(|bad| Flaw::Tail { at: bad.0 })?;
        let mut size = tail.frames.first().map_or(0, |base| base.head.size);
        if size > published.size {
            return Err(Flaw::Missing { what: "checkpoint of its newest entries" });
        }
        for frame in tail.frames.into_iter().skip(1) {
            for leaf in frame.leaves.into_iter().flatten() {
                if size >= published.size {
                    self.walk.leaf(&leaf.bytes).map_err(|e| Flaw::of(e, Some(&leaf.bytes)))?;
                    self.compare()?;
                }
                size += 1;
            }
            if frame.head.size != size || (size >= published.size && self.walk.edge.root() != frame.head.root) {
                return Err(Flaw::Root { size });
            }
        }
        if size < published.size { Err(Flaw::Missing { what: "tail" }) } else { Ok(()) }
    }
}

const WITNESS_COUNT: &str = "the witness signed";

#[cfg(test)]
#[path = "offline_tests.rs"]
mod tests;
