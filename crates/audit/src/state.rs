//! What a log holds in memory, and how it gets onto its disk and back.

use crate::{
    AppendError, Disk, Entry, Hash, LogKey, LogOptions, Nodes, NoteError, OpenError, PublicKey, ReadError,
    SubjectToken, TreeHead,
    edge::Edge,
    frame::{self, Frame, Leaf},
    hash::sha256,
    leaf_hash,
    log::{CHECKPOINT, COSIGNED, MAX_TAILS, Pending, TAIL},
    nodes::{StateNodes, TilesRead},
    proof,
    tile::{self, WIDTH},
    walk::{LastOfSubject, Walk, read_bundle},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    sync::Arc,
};

pub(crate) struct State {
    pub(crate) edge: Edge,
    pub(crate) subjects: HashMap<SubjectToken, LastOfSubject>,
    pub(crate) position: Option<u64>,
    /// Entries below this are in bundles and under `checkpoint`.
    pub(crate) published: u64,
    pub(crate) published_note: String,
    /// Leaves from `recent_from` on: the unfinished bundle and all that is not published.
    pub(crate) recent: VecDeque<Leaf>,
    pub(crate) recent_from: u64,
    /// Full tiles that are not published.
    pub(crate) tiles: BTreeMap<(u32, u64), Vec<Hash>>,
    /// The whole frames of the tail file.
    tail: Vec<u8>,
    /// The tail file may hold something else: it is written anew before the next append.
    tail_in_doubt: bool,
    /// The newest checkpoint with a witness's line.
    pub(crate) cosigned: Option<String>,
    /// Readers that need the partial tiles of an older head.
    pub(crate) pins: u32,
}

impl State {
    pub(crate) fn load(disk: &dyn Disk, key: &LogKey, public: &PublicKey) -> Result<Self, OpenError> {
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
            cosigned: None,
            pins: 0,
        };
        state.replay(walk, tail, public)?;
        state.cosigned = state.read_cosigned(disk, public)?;
        Ok(state)
    }

    /// The newest cosigned checkpoint: the log's own, of a tree that the log still holds.
    fn read_cosigned(&self, disk: &dyn Disk, public: &PublicKey) -> Result<Option<String>, OpenError> {
        let Some(bytes) = disk.read(COSIGNED).map_err(OpenError::disk)? else { return Ok(None) };
        let note = String::from_utf8(bytes).map_err(|_| OpenError::Checkpoint(NoteError::Malformed))?;
        let seen = public.verify_checkpoint(&note).map_err(OpenError::Checkpoint)?.head;
        let size = self.edge.size();
        if seen.size > size {
            return Err(OpenError::BehindWitness { size, seen: seen.size });
        }
        if proof::tree_root(&self.nodes(disk), seen.size)? != seen.root {
            return Err(OpenError::Root { size: seen.size });
        }
        Ok(Some(note))
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

    pub(crate) fn head(&self) -> TreeHead {
        TreeHead { size: self.edge.size(), root: self.edge.root() }
    }

    /// Makes a group durable with one frame; memory follows only after the disk.
    pub(crate) fn commit(
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

    pub(crate) fn publish(&mut self, disk: &dyn Disk, key: &LogKey) -> io::Result<String> {
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

    pub(crate) fn in_range(&self, seq: u64) -> Result<(), ReadError> {
        let size = self.edge.size();
        if seq < size { Ok(()) } else { Err(ReadError::OutOfRange { size }) }
    }

    pub(crate) fn recent(&self, seq: u64) -> Option<&Leaf> {
        self.recent.get(usize::try_from(seq.checked_sub(self.recent_from)?).ok()?)
    }

    pub(crate) fn leaf(&self, seq: u64, disk: &dyn Disk) -> Result<Vec<u8>, ReadError> {
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

    pub(crate) fn detail(&self, seq: u64, hash: &Hash, disk: &dyn Disk) -> Result<Vec<u8>, ReadError> {
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

    /// As [`State::nodes`], with tiles that were read before.
    pub(crate) const fn nodes_with<'a>(&'a self, disk: &'a dyn Disk, read: TilesRead) -> StateNodes<'a> {
        StateNodes { state: self, disk, read: RefCell::new(read) }
    }

    pub(crate) fn nodes<'a>(&'a self, disk: &'a dyn Disk) -> StateNodes<'a> {
        self.nodes_with(disk, HashMap::new())
    }
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
