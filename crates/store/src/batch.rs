//! Many objects at once.
//!
//! A put into a folder of this machine waits for the disk three times: for the bytes, for the name, for the removal of the
//! temporary name. A batch waits twice for everybody: one thread writes all bytes, syncs, gives all names, syncs again.
//! What is promised of each object is what [`Objects::put`] promises.
//!
//! Order, and what survives if we die: bytes go to `NAME#1` and are synced (leftovers of dead writers, taken away by the next
//! put); then each file gets its name, never replacing one (whole objects, perhaps to be forgotten again by power loss); then
//! the names are synced. Only after that anything is answered.
//!
//! Many files are synced with the whole file system (`syncfs`, where it tells of failed writes), a few one by one. The
//! former also waits for what others write to that disk, which is why it is for callers whose own promise was kept before,
//! as the drain's is by the journal; in return a file costs four system calls and no wait of its own.

use crate::{Objects, StoreError, local, objects::Claim};
use bytes::Bytes;
use futures::StreamExt;
use leadglass_disk::{BlockFile, Buffer};
use leadglass_model::{Durable, ObjectId};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, IoSlice, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

impl Objects {
    /// Writes whole objects; when it answers, all of them are durable. For each holds what [`Objects::put`] promises: the
    /// same bytes under that name are as good as written, other bytes are a [`StoreError::Conflict`] and stay.
    ///
    /// After an error any of them may have been written and the others not; putting all of them again is harmless. The order
    /// says nothing. On a remote store these are puts, [`PUTS_AT_ONCE`] at a time.
    ///
    /// Memory: what the caller hands over, nothing more.
    ///
    /// Cancel safety: a dropped call leaves each object whole or absent.
    pub async fn put_batch(&self, objects: Vec<(ObjectId, Vec<Bytes>)>) -> Result<(), StoreError> {
        let Some(folder) = self.shared.backing.own_folder() else {
            let puts = futures::stream::iter(objects).map(|(id, pieces)| self.put(id, pieces));
            // Also after an error every put is waited for: one that was dropped might still be writing.
            let done: Vec<Result<Durable, StoreError>> = puts.buffer_unordered(PUTS_AT_ONCE).collect().await;
            return done.into_iter().try_for_each(|put| put.map(drop));
        };
        let folder: Arc<Path> = folder.into();
        let mut objects = objects.into_iter();
        loop {
            let waiting =
                objects.by_ref().take(FILES_AT_ONCE).map(|(id, pieces)| Ok(Waiting { claim: self.claim(id)?, pieces }));
            let waiting = waiting.collect::<Result<Vec<_>, StoreError>>()?;
            if waiting.is_empty() {
                return Ok(());
            }
            let folder = folder.clone();
            tokio::task::spawn_blocking(move || put_files(&folder, waiting)).await??;
        }
    }
}

/// An object to be written, and the right to do so: whoever gives up waiting does not let another one in while a thread
/// still writes.
struct Waiting {
    claim: Claim,
    pieces: Vec<Bytes>,
}

/// An object's bytes under a temporary name.
struct Staged {
    // Dropped first: while the claim is held, nobody else has a file of that name.
    temporary: Temporary,
    claim: Claim,
    pieces: Vec<Bytes>,
}

/// A temporary name, removed with this value.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Cleared once the file has its own name. What cannot be removed now is taken away by the next put of that object.
        if !self.0.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

fn put_files(folder: &Path, waiting: Vec<Waiting>) -> Result<(), StoreError> {
    // Opened before the first byte is written: it is told of every write that fails from here on.
    let disk = File::open(folder)?;
    let many = waiting.len() >= MANY_FILES && syncfs_tells();
    let mut buffer = Buffer::new(WRITE_BYTES);
    let staged = waiting.into_iter().map(|waiting| stage(folder, waiting, many, &mut buffer));
    let staged = staged.collect::<Result<Vec<_>, _>>()?;
    if many {
        rustix::fs::syncfs(&disk).map_err(io::Error::from)?;
    }
    let named = staged.into_iter().map(|staged| give_name(folder, staged)).collect::<Result<Vec<_>, _>>()?;
    if many {
        rustix::fs::syncfs(&disk).map_err(io::Error::from)?;
        return Ok(());
    }
    let folders: BTreeSet<&Path> = named.iter().filter_map(|whole| whole.parent()).collect();
    folders.into_iter().try_for_each(|dir| Ok(File::open(dir)?.sync_all()?))
}

/// Whether `syncfs` answers with the errors of the writes before it: Linux does from 5.8 on (syncfs(2)).
fn syncfs_tells() -> bool {
    let name = rustix::system::uname();
    let mut numbers = name.release().to_str().unwrap_or_default().split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    (next(), next()) >= (5, 8)
}

/// Writes the bytes under a temporary name; syncs them unless somebody does so for `many`.
fn stage(folder: &Path, waiting: Waiting, many: bool, buffer: &mut Buffer) -> Result<Staged, StoreError> {
    let Waiting { claim, pieces } = waiting;
    let path = local::staged(&local::file(folder, claim.id()), 1);
    let file = match local::create_staged(&path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            local::remove_unfinished(folder, claim.id())?;
            local::create_staged(&path)?
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            local::make_folders(folder)?;
            local::create_staged(&path)?
        }
        created => created?,
    };
    let temporary = Temporary(path);
    if pieces.iter().map(Bytes::len).sum::<usize>() < DIRECT_BYTES {
        write_all(&file, &pieces)?;
        if !many {
            file.sync_data()?;
        }
    } else {
        let file = BlockFile::over(file, &temporary.0);
        let mut blocks = file.write_from(0, buffer);
        for piece in &pieces {
            blocks.push(piece)?;
        }
        blocks.finish_exactly()?;
        if !many {
            file.sync()?;
        }
    }
    Ok(Staged { temporary, claim, pieces })
}

/// Gives the bytes their name. Answers which.
fn give_name(folder: &Path, staged: Staged) -> Result<PathBuf, StoreError> {
    let whole = local::file(folder, staged.claim.id());
    let mut temporary = staged.temporary;
    match rename_to_new(&temporary.0, &whole) {
        Ok(()) => {
            temporary.0.clear();
            Ok(whole)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let there = File::open(&whole)?;
            if !same_bytes(&there, &staged.pieces)? {
                return Err(StoreError::Conflict);
            }
            // Whoever wrote it may have died before it was durable.
            there.sync_data()?;
            Ok(whole)
        }
        Err(e) => Err(e.into()),
    }
}

/// One step where the file system can, two where it cannot; none of them replaces anything.
pub(crate) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

fn write_all(mut file: &File, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().filter(|p| !p.is_empty()).map(|p| IoSlice::new(p)).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut left, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn same_bytes(file: &File, pieces: &[Bytes]) -> io::Result<bool> {
    let ours: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
    if file.metadata()?.len() != ours {
        return Ok(false);
    }
    let mut file = file;
    let mut buffer = vec![0; COMPARE_BYTES.min(usize::try_from(ours).unwrap_or(COMPARE_BYTES))];
    for piece in pieces {
        for ours in piece.chunks(COMPARE_BYTES) {
            let theirs = &mut buffer[..ours.len()];
            file.read_exact(theirs)?;
            if theirs != ours {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Objects on their way to a remote store at one time.
pub const PUTS_AT_ONCE: usize = 32;
/// Files that wait for the disk together.
const FILES_AT_ONCE: usize = 256;
/// So many files are synced with their file system, fewer one by one.
const MANY_FILES: usize = 4;
/// Objects of this length and more go past the page cache: below it a write that waits for the disk costs more than a copy.
const DIRECT_BYTES: usize = 128 << 10;
/// Bytes of an object written at a time, where it does not lie at a block in memory already.
const WRITE_BYTES: usize = 256 << 10;
const COMPARE_BYTES: usize = 64 << 10;
