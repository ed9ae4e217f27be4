//! The log on its disk: open, append, publish, prove.
//!
//! Durable steps of an append: one frame at the end of `tail` (one write, one fdatasync). Dead before it: the entries are
//! not there, the journal still has them. Dead after it: they are, and the journal's position says so.
//! Durable steps of a publish, in order: bundles, tiles, details · `checkpoint` · a fresh `tail` that starts from it.
//! Dead between any two: the old tail still holds what the checkpoint lacks, or more than it lacks; both open.

use crate::{
    Disk, Entry, EntryError, Hash, LocalDisk, LogKey, NewEntry, Nodes, NoteError, PublicKey, SubjectToken,
    edge::{Edge, list_root},
    entry::MAX_ENTRY_BYTES,
    frame::{self, Frame, Leaf},
    hash::sha256,
    leaf_hash, proof,
    tile::{self, WIDTH},
    walk::{LastOfSubject, Walk, read_bundle, read_tile},
};
use leadglass_model::Fault;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt, io,
    path::Path,
    sync::Arc,
};

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

/// Why the log does not open or does not verify. All but `Disk`, `Locked` and `Key` mean that bytes at rest are not what
/// was written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file system failed.
    #[error("the log's directory cannot be read or written")]
    Disk(#[source] Arc<io::Error>),
    /// Another process has the log.
    #[error("the log is in use by another process")]
    Locked,
    /// The name or the seed is not fit for a log.
    #[error("the log's key was refused")]
    Key(#[source] NoteError),
    /// The checkpoint is gone, was changed, or was signed by another key.
    #[error("the log's checkpoint was refused")]
    Checkpoint(#[source] NoteError),
    /// There are entries but no checkpoint, or a checkpoint but no tail.
    #[error("a part of the log is missing: {what}")]
    Missing {
        /// Which part.
        what: &'static str,
    },
    /// A bundle of entries is gone or malformed.
    #[error("entry bundle {index} is missing or malformed")]
    Bundle {
        /// Its number.
        index: u64,
    },
    /// A tile does not hold the hashes that the entries give.
    #[error("tile {index} at level {level} is missing or wrong")]
    Tile {
        /// Its level.
        level: u32,
        /// Its number.
        index: u64,
    },
    /// An entry is malformed or not in its place.
    #[error("entry {seq} is malformed or not in its place")]
    Entry {
        /// Its place.
        seq: u64,
    },
    /// An entry does not follow its subject's previous one.
    #[error("entry {seq} does not follow its subject's previous entry")]
    Chain {
        /// Its place.
        seq: u64,
    },
    /// The entries do not give the signed root.
    #[error("the first {size} entries do not give the signed root")]
    Root {
        /// How many entries.
        size: u64,
    },
    /// The tail was changed.
    #[error("the log's tail was changed at byte {at}")]
    Tail {
        /// Offset of the bad frame.
        at: usize,
    },
}

impl OpenError {
    pub(crate) fn disk(error: io::Error) -> Self {
        Self::Disk(Arc::new(error))
    }

    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Disk(_) => Fault::Broken,
            Self::Locked => Fault::Conflict,
            Self::Key(_) => Fault::BadInput,
            _ => Fault::Corrupt,
        }
    }
}

/// Why a batch was not appended. Nothing of it counts; it may be tried again.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// An entry is too long.
    #[error("an entry was refused")]
    Entry(#[source] EntryError),
    /// More entries or more details than one batch may hold.
    #[error("a batch holds at most {MAX_BATCH} entries and {MAX_BATCH_BYTES} bytes")]
    TooLarge,
    /// The file system failed.
    #[error("the log cannot be written")]
    Disk(#[source] Arc<io::Error>),
    /// The tail cannot be published and has reached its limit.
    #[error("the log's tail is full and cannot be published")]
    TailFull,
}

impl AppendError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Entry(_) | Self::TooLarge => Fault::BadInput,
            Self::Disk(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                Fault::Busy
            }
            Self::TailFull => Fault::Busy,
            Self::Disk(_) => Fault::Broken,
        }
    }
}

/// Why something could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The log is not that long.
    #[error("the log has {size} entries")]
    OutOfRange {
        /// Its size.
        size: u64,
    },
    /// The details are gone, or were changed.
    #[error("the details of entry {seq} are not there")]
    NoDetail {
        /// The entry's place.
        seq: u64,
    },
    /// The files are not what was written.
    #[error("the log's files were refused")]
    Log(#[source] OpenError),
}

impl ReadError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::OutOfRange { .. } | Self::NoDetail { .. } => Fault::Missing,
            Self::Log(source) => source.fault(),
        }
    }
}

/// An append-only, signed log. Shared by reference; every method may be called from any thread and blocks.
///
/// Appends of several threads that meet share one fdatasync.
pub struct Log {
    disk: Box<dyn Disk>,
    key: LogKey,
    public: PublicKey,
    options: LogOptions,
    queue: Mutex<VecDeque<Pending>>,
    state: Mutex<State>,
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

    /// Puts a witness's line under the published checkpoint, if `checkpoint` is still the published one.
    pub fn keep_cosignature(&self, checkpoint: &str, line: &str) -> Result<(), AppendError> {
        let state = self.state.lock();
        if state.published_note == checkpoint {
            let note = format!("{checkpoint}{line}");
            self.disk.replace(CHECKPOINT, note.as_bytes()).map_err(|e| AppendError::Disk(Arc::new(e)))?;
        }
        Ok(())
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

struct Pending {
    batch: Vec<NewEntry>,
    position: Option<u64>,
    done: Ticket,
}

struct State {
    edge: Edge,
    subjects: HashMap<SubjectToken, LastOfSubject>,
    position: Option<u64>,
    /// Entries below this are in bundles and under `checkpoint`.
    published: u64,
    published_note: String,
    /// Leaves from `recent_from` on: the unfinished bundle and all that is not published.
    recent: VecDeque<Leaf>,
    recent_from: u64,
    /// Full tiles that are not published.
    tiles: BTreeMap<(u32, u64), Vec<Hash>>,
    /// The whole frames of the tail file.
    tail: Vec<u8>,
    /// The tail file may hold something else: it is written anew before the next append.
    tail_in_doubt: bool,
    /// Readers that need the partial tiles of an older head.
    pins: u32,
}

impl State {
    fn load(disk: &dyn Disk, key: &LogKey, public: &PublicKey) -> Result<Self, OpenError> {
        let checkpoint = disk.read(CHECKPOINT).map_err(OpenError::disk)?;
        let tail = disk.read(TAIL).map_err(OpenError::disk)?;
        let note = match checkpoint {
            Some(bytes) => String::from_utf8(bytes).map_err(|_| OpenError::Checkpoint(NoteError::Malformed))?,
            None => {
                let bundle = disk.read(&tile::bundle_path(0, WIDTH)).map_err(OpenError::disk)?;
                if tail.is_some() || bundle.is_some() {
                    return Err(OpenError::Missing { what: "checkpoint" });
                }
                let note = key.sign_checkpoint(&TreeHead { size: 0, root: Hash::empty_root() });
                disk.replace(CHECKPOINT, note.as_bytes()).map_err(OpenError::disk)?;
                note
            }
        };
        let head = public.verify_checkpoint(&note).map_err(OpenError::Checkpoint)?.head;
        let tail = match tail {
            Some(tail) => tail,
            // Died while the log was begun: the tail is written right after the first checkpoint.
            None if head.size == 0 => {
                let bytes = Frame { head, position: None, leaves: None }.encode(key);
                disk.replace(TAIL, &bytes).map_err(OpenError::disk)?;
                bytes
            }
            None => return Err(OpenError::Missing { what: "tail" }),
        };
        let (walk, last) = Walk::published(disk, &head)?;
        let mut state = Self {
            edge: walk.edge.clone(),
            subjects: HashMap::new(),
            position: None,
            published: head.size,
            published_note: note,
            recent: last.into_iter().map(|bytes| Leaf { bytes, detail: None }).collect(),
            recent_from: head.size - head.size % WIDTH,
            tiles: BTreeMap::new(),
            tail: Vec::new(),
            tail_in_doubt: false,
            pins: 0,
        };
        state.replay(walk, tail, public)?;
        Ok(state)
    }

    /// Takes over what the tail holds beyond the checkpoint.
    fn replay(&mut self, mut walk: Walk, mut bytes: Vec<u8>, public: &PublicKey) -> Result<(), OpenError> {
        let tail = frame::parse(&bytes, public).map_err(|bad| OpenError::Tail { at: bad.0 })?;
        let mut frames = tail.frames.into_iter();
        let base = frames.next().ok_or(OpenError::Missing { what: "tail" })?;
        if base.head.size > self.published {
            return Err(OpenError::Missing { what: "checkpoint" });
        }
        self.position = base.position;
        let mut size = base.head.size;
        for frame in frames {
            for leaf in frame.leaves.into_iter().flatten() {
                // Died between checkpoint and fresh tail: what the checkpoint covers was read from the bundles.
                if size >= self.published {
                    let full = walk.leaf(&leaf.bytes)?;
                    self.tiles.extend(full.into_iter().map(|t| ((t.level, t.index), t.hashes)));
                    self.recent.push_back(leaf);
                }
                size += 1;
            }
            let reached = frame.head.size == size;
            if !reached || (size >= self.published && walk.edge.root() != frame.head.root) {
                return Err(OpenError::Root { size });
            }
            self.position = frame.position;
        }
        if size < self.published {
            return Err(OpenError::Missing { what: "tail" });
        }
        // A torn frame was never acknowledged; it is gone once the tail is written anew.
        self.tail_in_doubt = tail.whole_bytes < bytes.len();
        bytes.truncate(tail.whole_bytes);
        self.tail = bytes;
        self.edge = walk.edge;
        self.subjects = walk.subjects;
        Ok(())
    }

    fn head(&self) -> TreeHead {
        TreeHead { size: self.edge.size(), root: self.edge.root() }
    }

    /// Makes a group durable with one frame; memory follows only after the disk.
    fn commit(
        &mut self,
        group: &[Pending],
        disk: &dyn Disk,
        key: &LogKey,
        options: &LogOptions,
    ) -> Result<TreeHead, AppendError> {
        let failed = |e: io::Error| AppendError::Disk(Arc::new(e));
        if self.tail.len() > options.tail_bytes
            && let Err(error) = self.publish(disk, key)
        {
            tracing::warn!(%error, "The audit log's tiles cannot be written");
            if self.tail.len() > options.tail_bytes.saturating_mul(MAX_TAILS) {
                return Err(AppendError::TailFull);
            }
        }
        let mut edge = self.edge.clone();
        let mut subjects: HashMap<SubjectToken, LastOfSubject> = HashMap::new();
        let mut leaves = Vec::new();
        let mut tiles = Vec::new();
        let mut position = self.position;
        for pending in group {
            if pending.position.is_some_and(|p| position.is_some_and(|last| p <= last)) {
                continue;
            }
            position = pending.position.or(position);
            for report in &pending.batch {
                let last = report.subject.and_then(|s| subjects.get(&s).or_else(|| self.subjects.get(&s)));
                let mut entry = Entry {
                    seq: edge.size(),
                    report: report.clone(),
                    subject_seq: last.map_or(0, |l| l.seq + 1),
                    subject_prev: last.map(|l| l.hash),
                    detail_hash: report.detail_hash(),
                };
                let detail = entry.report.detail.take();
                let bytes = entry.encode();
                let hash = leaf_hash(&bytes);
                if let Some(subject) = report.subject {
                    subjects.insert(subject, LastOfSubject { seq: entry.subject_seq, hash });
                }
                tiles.extend(edge.push(hash));
                leaves.push(Leaf { bytes, detail });
            }
        }
        if leaves.is_empty() && position == self.position {
            return Ok(self.head());
        }
        let head = TreeHead { size: edge.size(), root: edge.root() };
        let frame = Frame { head, position, leaves: Some(leaves) };
        let bytes = frame.encode(key);
        if self.tail_in_doubt {
            disk.replace(TAIL, &self.tail).map_err(failed)?;
            self.tail_in_doubt = false;
        }
        // From here until success nobody knows what the file holds.
        self.tail_in_doubt = true;
        disk.append(TAIL, &bytes).map_err(failed)?;
        self.tail_in_doubt = false;
        self.tail.extend_from_slice(&bytes);
        self.edge = edge;
        self.subjects.extend(subjects);
        self.recent.extend(frame.leaves.into_iter().flatten());
        self.tiles.extend(tiles.into_iter().map(|t| ((t.level, t.index), t.hashes)));
        self.position = position;
        Ok(head)
    }

    fn publish(&mut self, disk: &dyn Disk, key: &LogKey) -> io::Result<String> {
        let head = self.head();
        if head.size == self.published {
            return Ok(self.published_note.clone());
        }
        self.write_bundles(disk, head.size)?;
        self.write_tiles(disk, head.size)?;
        self.write_details(disk)?;
        let note = key.sign_checkpoint(&head);
        disk.replace(CHECKPOINT, note.as_bytes())?;
        // The checkpoint counts from here, whether or not the tail can be written anew.
        let old = std::mem::replace(&mut self.published, head.size);
        self.published_note.clone_from(&note);
        self.tiles.clear();
        let keep = head.size - head.size % WIDTH;
        while self.recent_from < keep {
            self.recent.pop_front();
            self.recent_from += 1;
        }
        for leaf in &mut self.recent {
            leaf.detail = None;
        }
        self.tail = Frame { head, position: self.position, leaves: None }.encode(key);
        self.tail_in_doubt = true;
        disk.replace(TAIL, &self.tail)?;
        self.tail_in_doubt = false;
        if self.pins == 0 {
            remove_partials(disk, old, head.size);
        }
        Ok(note)
    }

    fn write_bundles(&self, disk: &dyn Disk, size: u64) -> io::Result<()> {
        let mut leaves = self.recent.iter();
        let mut from = self.recent_from;
        while from < size {
            let width = WIDTH.min(size - from);
            let bundle = leaves.by_ref().take(usize::try_from(width).unwrap_or(usize::MAX));
            disk.replace(&tile::bundle_path(from / WIDTH, width), &tile::bundle_bytes(bundle.map(|l| &*l.bytes)))?;
            from += width;
        }
        Ok(())
    }

    fn write_tiles(&self, disk: &dyn Disk, size: u64) -> io::Result<()> {
        for ((level, index), hashes) in &self.tiles {
            disk.replace(&tile::hash_tile_path(*level, *index, WIDTH), &tile::hash_tile_bytes(hashes))?;
        }
        for level in 0..self.edge.levels() {
            let (index, width) = tile::tiles_at(level, size);
            if width > 0 {
                let bytes = tile::hash_tile_bytes(self.edge.partial(level));
                disk.replace(&tile::hash_tile_path(level, index, width), &bytes)?;
            }
        }
        Ok(())
    }

    /// Details that are not on the disk yet. Dead afterwards, they are written a second time: the first is found.
    fn write_details(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut bundles: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (seq, leaf) in (self.recent_from..).zip(&self.recent) {
            if let Some(detail) = &leaf.detail {
                let out = bundles.entry(seq / WIDTH).or_default();
                let len = u32::try_from(detail.len()).expect("details are at most MAX_DETAIL_BYTES long");
                out.extend_from_slice(&sha256(&[detail]).0);
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(detail);
            }
        }
        bundles.iter().try_for_each(|(index, bytes)| disk.append(&tile::detail_path(*index), bytes))
    }

    fn in_range(&self, seq: u64) -> Result<(), ReadError> {
        let size = self.edge.size();
        if seq < size { Ok(()) } else { Err(ReadError::OutOfRange { size }) }
    }

    fn recent(&self, seq: u64) -> Option<&Leaf> {
        self.recent.get(usize::try_from(seq.checked_sub(self.recent_from)?).ok()?)
    }

    fn leaf(&self, seq: u64, disk: &dyn Disk) -> Result<Vec<u8>, ReadError> {
        if let Some(leaf) = self.recent(seq) {
            return Ok(leaf.bytes.clone());
        }
        let bundle = read_bundle(disk, seq / WIDTH, WIDTH).map_err(ReadError::Log)?;
        let within = usize::try_from(seq % WIDTH).unwrap_or(usize::MAX);
        let leaf = bundle.into_iter().nth(within).ok_or(ReadError::Log(OpenError::Entry { seq }))?;
        // The bundle is a file like any other: what it gives must be the leaf that the tree has.
        let hash = self.nodes(disk).node(0, seq).map_err(ReadError::Log)?;
        if leaf_hash(&leaf) == hash { Ok(leaf) } else { Err(ReadError::Log(OpenError::Entry { seq })) }
    }

    fn detail(&self, seq: u64, hash: &Hash, disk: &dyn Disk) -> Result<Vec<u8>, ReadError> {
        if let Some(detail) = self.recent(seq).and_then(|l| l.detail.clone()) {
            return Ok(detail);
        }
        let gone = ReadError::NoDetail { seq };
        let stored = disk.read(&tile::detail_path(seq / WIDTH)).map_err(|e| ReadError::Log(OpenError::disk(e)))?;
        let stored = stored.ok_or_else(|| gone.clone())?;
        let mut rest = stored.as_slice();
        while let Some((name, after)) = rest.split_first_chunk::<32>() {
            let Some((len, after)) = after.split_first_chunk::<4>() else { break };
            let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
            let Some((detail, after)) = after.split_at_checked(len) else { break };
            if *name == hash.0 && sha256(&[detail]) == *hash {
                return Ok(detail.to_vec());
            }
            rest = after;
        }
        Err(gone)
    }

    const fn nodes<'a>(&'a self, disk: &'a dyn Disk) -> StateNodes<'a> {
        StateNodes { state: self, disk }
    }
}

struct StateNodes<'a> {
    state: &'a State,
    disk: &'a dyn Disk,
}

impl Nodes for StateNodes<'_> {
    type Error = OpenError;

    fn node(&self, height: u32, index: u64) -> Result<Hash, OpenError> {
        let level = height / 8;
        let first = index << (height % 8);
        let (full, _) = tile::tiles_at(level, self.state.edge.size());
        let number = first / WIDTH;
        let loaded;
        let hashes: &[Hash] = if number >= full {
            self.state.edge.partial(level)
        } else if let Some(hashes) = self.state.tiles.get(&(level, number)) {
            hashes
        } else {
            loaded = read_tile(self.disk, level, number, WIDTH)?;
            &loaded
        };
        let from = usize::try_from(first % WIDTH).expect("below 256");
        let run = hashes.get(from..from + (1 << (height % 8)));
        run.map(list_root).ok_or(OpenError::Tile { level, index: number })
    }
}

/// An upper bound of what the batch takes in a frame.
fn weight(batch: &[NewEntry]) -> usize {
    batch.iter().map(|e| MAX_ENTRY_BYTES + e.detail.as_ref().map_or(0, Vec::len)).sum()
}

/// The partial tiles and bundle of an older head. Leftovers of a crash stay; tlog-tiles allows them.
fn remove_partials(disk: &dyn Disk, old: u64, new: u64) {
    let mut stale = Vec::new();
    for level in 0..8 {
        let (index, width) = tile::tiles_at(level, old);
        if width > 0 && (index, width) != tile::tiles_at(level, new) {
            stale.push(tile::hash_tile_path(level, index, width));
            if level == 0 {
                stale.push(tile::bundle_path(index, width));
            }
        }
    }
    for path in stale {
        if let Err(error) = disk.remove(&path) {
            tracing::warn!(%error, "An outdated partial tile cannot be removed");
        }
    }
}

const CHECKPOINT: &str = "checkpoint";
const TAIL: &str = "tail";
/// Entries in one batch.
const MAX_BATCH: usize = 1024;
/// Entries and details of one batch; below `frame::MAX_FRAME_BYTES`.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Entries and details in one frame, unless one batch alone is larger.
const GROUP_BYTES: usize = 2 * 1024 * 1024;
/// A tail that cannot be published may grow to so many times its usual length.
const MAX_TAILS: usize = 16;

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
