//! The log on its disk: open, append, publish, prove.
//!
//! Durable steps of an append: one frame at the end of `tail` (one write, one fdatasync). Dead before it: the entries are
//! not there, the journal still has them. Dead after it: they are, and the journal's position says so.
//! Durable steps of a publish, in order: bundles, tiles, details · `checkpoint` · a fresh `tail` that starts from it.
//! Dead between any two: the old tail still holds what the checkpoint lacks, or more than it lacks; both open.

use crate::{
    AppendError, Disk, Entry, Hash, LocalDisk, LogKey, NewEntry, OpenError, PublicKey, ReadError,
    form::MAX_ENTRY_BYTES, frame, proof, state::State, walk::Walk,
};
use parking_lot::Mutex;
use std::{collections::VecDeque, fmt, io, path::Path, sync::Arc};

/// Size and root of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// How many entries.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// What may be set.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// The tail is published by itself once it is this long. Startup and memory grow with it.
    pub tail_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { tail_bytes: 1024 * 1024 }
    }
}

/// An append-only, signed log. Shared by reference; every method may be called from any thread and blocks.
///
/// Appends of several threads that meet share one fdatasync.
pub struct Log {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) key: LogKey,
    public: PublicKey,
    options: LogOptions,
    queue: Mutex<VecDeque<Pending>>,
    pub(crate) state: Mutex<State>,
}

impl Log {
    /// Opens the log in a directory, or begins it there. `origin` is its name; `seed` its Ed25519 seed of 32 bytes.
    ///
    /// Reads every entry and every tile: what was changed, left out, put in or reordered is an error here.
    pub fn open(dir: &Path, origin: &str, seed: &[u8]) -> Result<Self, OpenError> {
        let disk = LocalDisk::open(dir).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked,
            _ => OpenError::disk(e),
        })?;
        Self::open_on(Box::new(disk), origin, seed, LogOptions::default())
    }

    /// As [`Log::open`], on any disk.
    pub fn open_on(disk: Box<dyn Disk>, origin: &str, seed: &[u8], options: LogOptions) -> Result<Self, OpenError> {
        let key = LogKey::from_seed(origin, seed).map_err(OpenError::Key)?;
        let public = key.public();
        let state = State::load(disk.as_ref(), &key, &public)?;
        Ok(Self { disk, key, public, options, queue: Mutex::default(), state: Mutex::new(state) })
    }

    /// The public half of the log's key.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Size and root now.
    pub fn head(&self) -> TreeHead {
        self.state.lock().head()
    }

    /// The newest journal position whose entries are in the log.
    pub fn position(&self) -> Option<u64> {
        self.state.lock().position
    }

    /// The checkpoint of the head now: a signed note. It is not written anywhere.
    pub fn checkpoint(&self) -> String {
        self.key.sign_checkpoint(&self.head())
    }

    /// Appends the batch and makes it durable. With a journal `position` it is idempotent: a position not above the
    /// newest one changes nothing. Gives back the head that holds the batch.
    pub fn append(&self, batch: Vec<NewEntry>, position: Option<u64>) -> Result<TreeHead, AppendError> {
        for entry in &batch {
            entry.check().map_err(AppendError::Entry)?;
        }
        if batch.len() > MAX_BATCH || weight(&batch) > MAX_BATCH_BYTES {
            return Err(AppendError::TooLarge);
        }
        let done: Ticket = Arc::default();
        self.queue.lock().push_back(Pending { batch, position, done: Arc::clone(&done) });
        // Whoever gets the state first writes for all that wait; the others find their ticket done.
        let mut state = self.state.lock();
        loop {
            if let Some(result) = done.lock().take() {
                return result;
            }
            let group = self.next_group();
            let result = state.commit(&group, self.disk.as_ref(), &self.key, &self.options);
            for pending in group {
                *pending.done.lock() = Some(result.clone());
            }
        }
    }

    /// Writes bundles, tiles, details and checkpoint for all that was appended. Gives back the checkpoint.
    pub fn publish(&self) -> Result<String, AppendError> {
        let mut state = self.state.lock();
        state.publish(self.disk.as_ref(), &self.key).map_err(|e| AppendError::Disk(Arc::new(e)))
    }

    /// Keeps a checkpoint of this log with a witness's line under it as the newest that was cosigned; the line goes under
    /// the published checkpoint, too, if that is the same.
    ///
    /// Dead between the two: the newest cosigned checkpoint stands in its own file, which is what counts.
    pub fn keep_cosignature(&self, checkpoint: &str, line: &str) -> Result<(), AppendError> {
        let note = format!("{checkpoint}{line}");
        let failed = |e: io::Error| AppendError::Disk(Arc::new(e));
        let mut state = self.state.lock();
        self.disk.replace(COSIGNED, note.as_bytes()).map_err(failed)?;
        if state.published_note == checkpoint {
            self.disk.replace(CHECKPOINT, note.as_bytes()).map_err(failed)?;
        }
        state.cosigned = Some(note);
        Ok(())
    }

    /// The newest checkpoint that a witness has cosigned, with its line.
    pub fn cosigned(&self) -> Option<String> {
        self.state.lock().cosigned.clone()
    }

    /// Entry `seq` as its leaf's bytes.
    pub fn leaf(&self, seq: u64) -> Result<Vec<u8>, ReadError> {
        let state = self.state.lock();
        state.in_range(seq)?;
        state.leaf(seq, self.disk.as_ref())
    }

    /// Entry `seq`.
    pub fn entry(&self, seq: u64) -> Result<Entry, ReadError> {
        Entry::decode(&self.leaf(seq)?).map_err(|_| ReadError::Log(OpenError::Entry { seq }))
    }

    /// The sealed details of entry `seq`, checked against the hash in the entry; `None` when it has none.
    pub fn detail(&self, seq: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(hash) = self.entry(seq)?.detail_hash else { return Ok(None) };
        self.state.lock().detail(seq, &hash, self.disk.as_ref()).map(Some)
    }

    /// The proof that entry `seq` is in the tree of the first `size` entries.
    pub fn prove_inclusion(&self, seq: u64, size: u64) -> Result<Vec<Hash>, ReadError> {
        let state = self.state.lock();
        let max = state.edge.size();
        if seq >= size || size > max {
            return Err(ReadError::OutOfRange { size: max });
        }
        proof::inclusion_proof(&state.nodes(self.disk.as_ref()), seq, size).map_err(ReadError::Log)
    }

    /// The proof that the tree of `new` entries extends that of `old`.
    pub fn prove_consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, ReadError> {
        let state = self.state.lock();
        let max = state.edge.size();
        if old > new || new > max {
            return Err(ReadError::OutOfRange { size: max });
        }
        proof::consistency_proof(&state.nodes(self.disk.as_ref()), old, new).map_err(ReadError::Log)
    }

    /// The root over the first `size` entries: for comparing with what the index or the witness has seen.
    pub fn root_at(&self, size: u64) -> Result<Hash, ReadError> {
        let state = self.state.lock();
        let max = state.edge.size();
        if size > max {
            return Err(ReadError::OutOfRange { size: max });
        }
        proof::tree_root(&state.nodes(self.disk.as_ref()), size).map_err(ReadError::Log)
    }

    /// Publishes, then reads the whole log back from its disk and checks all of it. Appends go on meanwhile.
    pub fn verify(&self) -> Result<TreeHead, OpenError> {
        let (head, note) = {
            let mut state = self.state.lock();
            let note = state.publish(self.disk.as_ref(), &self.key).map_err(OpenError::disk)?;
            // Partial tiles of this head must stay until it has been read.
            state.pins += 1;
            (state.head(), note)
        };
        let walked = self.check_published(&head, &note);
        self.state.lock().pins -= 1;
        walked.map(|()| head)
    }

    fn check_published(&self, head: &TreeHead, note: &str) -> Result<(), OpenError> {
        let signed = self.public.verify_checkpoint(note).map_err(OpenError::Checkpoint)?;
        if signed.head != *head {
            return Err(OpenError::Root { size: head.size });
        }
        let stored = self.disk.read(CHECKPOINT).map_err(OpenError::disk)?;
        let stored = stored.ok_or(OpenError::Missing { what: "checkpoint" })?;
        self.public.verify_checkpoint(&String::from_utf8_lossy(&stored)).map_err(OpenError::Checkpoint)?;
        let tail = self.disk.read(TAIL).map_err(OpenError::disk)?.ok_or(OpenError::Missing { what: "tail" })?;
        frame::parse(&tail, &self.public).map_err(|bad| OpenError::Tail { at: bad.0 })?;
        Walk::published(self.disk.as_ref(), head).map(|_| ())
    }

    fn next_group(&self) -> Vec<Pending> {
        let mut queue = self.queue.lock();
        let mut group: Vec<Pending> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = queue.front() {
            bytes += weight(&next.batch);
            if !group.is_empty() && bytes > GROUP_BYTES {
                break;
            }
            group.extend(queue.pop_front());
        }
        group
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("origin", &self.key.name()).finish_non_exhaustive()
    }
}

type Ticket = Arc<Mutex<Option<Result<TreeHead, AppendError>>>>;

pub(crate) struct Pending {
    pub(crate) batch: Vec<NewEntry>,
    pub(crate) position: Option<u64>,
    done: Ticket,
}

/// An upper bound of what the batch takes in a frame.
fn weight(batch: &[NewEntry]) -> usize {
    batch.iter().map(|e| MAX_ENTRY_BYTES + e.detail.as_ref().map_or(0, Vec::len)).sum()
}

pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const COSIGNED: &str = "cosigned";
pub(crate) const TAIL: &str = "tail";
/// Entries in one batch.
pub(crate) const MAX_BATCH: usize = 1024;
/// Entries and details of one batch; below `frame::MAX_FRAME_BYTES`.
pub(crate) const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Entries and details in one frame, unless one batch alone is larger.
const GROUP_BYTES: usize = 2 * 1024 * 1024;
/// A tail that cannot be published may grow to so many times its usual length.
pub(crate) const MAX_TAILS: usize = 16;

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
