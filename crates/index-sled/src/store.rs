//! sled with its guards.
//!
//! Keys: `r ‖ tenant[16] ‖ row key[33]` for rows, `m` for the mark: one tree, so that a batch and its mark are one atomic
//! write. Mark: tree size[8] ‖ position[8], big-endian.

use bytes::Bytes;
use leadglass_index::{Batch, IndexError, Mark, RowKey, Table};
use leadglass_model::{StudyRef, TenantId};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    ops::Bound,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// What may be set.
#[derive(Debug, Clone, Copy)]
pub struct SledOptions {
    /// sled's page cache, bytes. Its real use is about a third more.
    pub cache_bytes: u64,
    /// With less room than this on the disk, bytes, commits are refused and reads go on. sled cannot go on after a write
    /// that found no room, and needs some to open.
    pub min_free_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20, min_free_bytes: 64 << 20 }
    }
}

#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    options: SledOptions,
    /// `None` after a failure, until it was opened again.
    open: RwLock<Option<Open>>,
    /// Files in `blobs/` that are durable.
    synced_blobs: Mutex<HashSet<OsString>>,
    /// Holds the lock.
    _lock: File,
}

#[derive(Debug)]
struct Open {
    db: sled::Db,
    /// A handle of our own to sled's log.
    log: File,
}

impl Store {
    pub(crate) fn open(dir: &Path, options: SledOptions) -> Result<Self, IndexError> {
        DirBuilder::new().mode(0o700).recursive(true).create(dir).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(dir.join("lock"))
            .map_err(failed)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| IndexError::Locked)?;
        let rows = dir.join(ROWS);
        if !rows.exists() {
            create(dir, &rows, options)?;
        }
        let open = open(&rows, options)?;
        Ok(Self {
            dir: dir.to_owned(),
            options,
            open: RwLock::new(Some(open)),
            synced_blobs: Mutex::default(),
            _lock: lock,
        })
    }

    /// Applies the batches in order as one atomic write and makes it durable.
    pub(crate) fn commit(&self, batches: Vec<Batch>) -> Result<(), IndexError> {
        self.check_room()?;
        let done = self.with(|open| {
            open.db.apply_batch(as_sled(&batches)).map_err(from_sled)?;
            open.db.flush().map_err(from_sled)?;
            self.sync_blobs().map_err(failed)?;
            open.log.sync_data().map_err(failed)
        });
        if done.is_err() {
            // Neither sled after an I/O error nor a file after a failed sync is trusted again.
            *self.open.write() = None;
        }
        done
    }

    pub(crate) fn fetch(&self, tenant: TenantId, key: RowKey) -> Result<Option<Bytes>, IndexError> {
        let row = self.with(|open| open.db.get(row_name(tenant, key)).map_err(from_sled))?;
        Ok(row.map(|bytes| Bytes::copy_from_slice(&bytes)))
    }

    /// As [`Index::fetch_many`](leadglass_index::Index::fetch_many).
    pub(crate) fn fetch_many(
        &self,
        tenant: TenantId,
        keys: &[RowKey],
        max_bytes: usize,
    ) -> Result<Vec<Option<Bytes>>, IndexError> {
        let (mut rows, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for key in keys {
            let row = self.fetch(tenant, *key)?;
            bytes += row.as_ref().map_or(0, Bytes::len);
            rows.push(row);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(rows)
    }

    pub(crate) fn scan(
        &self,
        tenant: TenantId,
        table: Table,
        study: Option<StudyRef>,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Bytes)>, IndexError> {
        let edge = |byte: u8| {
            let study_ref = study.unwrap_or(StudyRef::from_bytes([byte; 16]));
            RowKey { table, study_ref, uid_mac: [byte; 16] }
        };
        let (first, last) = (edge(0), edge(0xff));
        let from = match after {
            Some(key) if key >= last => return Ok(Vec::new()),
            Some(key) if key >= first => Bound::Excluded(row_name(tenant, key)),
            _ => Bound::Included(row_name(tenant, first)),
        };
        self.with(|open| {
            let rows = open.db.range((from, Bound::Included(row_name(tenant, last)))).take(limit);
            rows.map(|row| {
                let (name, bytes) = row.map_err(from_sled)?;
                let key = name.last_chunk().and_then(RowKey::from_bytes).ok_or(IndexError::Corrupt { table })?;
                Ok((key, Bytes::copy_from_slice(&bytes)))
            })
            .collect()
        })
    }

    pub(crate) fn mark(&self) -> Result<Mark, IndexError> {
        let Some(bytes) = self.with(|open| open.db.get(MARK).map_err(from_sled))? else { return Ok(Mark::default()) };
        let (size, position) = bytes.split_at_checked(8).unwrap_or_default();
        match (size.try_into(), position.try_into()) {
            (Ok(size), Ok(position)) => {
                Ok(Mark { tree_size: u64::from_be_bytes(size), position: u64::from_be_bytes(position) })
            }
            _ => Err(IndexError::Engine(Box::new(BadMark))),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&Open) -> Result<T, IndexError>) -> Result<T, IndexError> {
        if let Some(open) = &*self.open.read() {
            return work(open);
        }
        self.reopen()?;
        match &*self.open.read() {
            Some(open) => work(open),
            None => Err(IndexError::Engine(Box::new(ClosedAfterFailure))),
        }
    }

    fn check_room(&self) -> Result<(), IndexError> {
        let disk = rustix::fs::statvfs(&self.dir).map_err(|e| failed(e.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.options.min_free_bytes { Err(IndexError::NoSpace) } else { Ok(()) }
    }

    fn reopen(&self) -> Result<(), IndexError> {
        let mut state = self.open.write();
        if state.is_none() {
            *state = Some(open(&self.dir.join(ROWS), self.options)?);
            tracing::info!("The index was opened again after a failure");
        }
        Ok(())
    }

    /// sled writes values over 128 KiB into files of their own and does not sync them.
    fn sync_blobs(&self) -> io::Result<()> {
        let dir = self.dir.join(ROWS).join("blobs");
        let mut synced = self.synced_blobs.lock();
        let mut present = HashSet::new();
        let mut fresh = false;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if !synced.contains(&name) {
                match File::open(entry.path()) {
                    Ok(file) => file.sync_all()?,
                    // Replaced by a newer value in the meantime.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e),
                }
                fresh = true;
            }
            present.insert(name);
        }
        if fresh {
            sync_dir(&dir)?;
        }
        *synced = present;
        Ok(())
    }
}

fn open(rows: &Path, options: SledOptions) -> Result<Open, IndexError> {
    remove_torn_snapshots(rows).map_err(failed)?;
    let db = open_database(rows, options)?;
    let log = File::open(rows.join("db")).map_err(failed)?;
    Ok(Open { db, log })
}

/// Opens sled. A thread of sled's may hold its lock for a moment after its database was dropped; that no other process
/// has it is known, since `DIR/lock` is ours.
fn open_database(rows: &Path, options: SledOptions) -> Result<sled::Db, IndexError> {
    let mut tries = LOCK_TRIES;
    loop {
        match config(rows, options).open() {
            Err(sled::Error::Io(error)) if tries > 0 && error.to_string().contains("could not acquire lock") => {
                tries -= 1;
                std::thread::sleep(LOCK_REST);
            }
            done => return done.map_err(from_sled),
        }
    }
}

/// Makes an empty database under another name, so that one that died half made is never opened.
fn create(dir: &Path, rows: &Path, options: SledOptions) -> Result<(), IndexError> {
    let temporary = dir.join("rows.new");
    if temporary.exists() {
        fs::remove_dir_all(&temporary).map_err(failed)?;
    }
    let db = config(&temporary, options).open().map_err(from_sled)?;
    db.flush().map_err(from_sled)?;
    drop(db);
    sync_tree(&temporary).map_err(failed)?;
    fs::rename(&temporary, rows).map_err(failed)?;
    sync_dir(dir).map_err(failed)
}

fn config(path: &Path, options: SledOptions) -> sled::Config {
    sled::Config::new()
        .path(path)
        .cache_capacity(options.cache_bytes)
        .mode(sled::Mode::LowSpace)
        // Commits flush themselves; this one only writes what sled moves around on its own.
        .flush_every_ms(Some(1000))
}

/// See the crate's page: sled's own filter looks for `.in___motion`, but the files are called `.generating`.
fn remove_torn_snapshots(rows: &Path) -> io::Result<()> {
    let mut removed = false;
    for entry in fs::read_dir(rows)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
            removed = true;
            tracing::info!("A torn snapshot of the index was removed");
        }
    }
    if removed { sync_dir(rows) } else { Ok(()) }
}

fn as_sled(batches: &[Batch]) -> sled::Batch {
    let mut out = sled::Batch::default();
    for batch in batches {
        for (tenant, key, bytes) in &batch.puts {
            out.insert(&row_name(*tenant, *key)[..], bytes.as_ref());
        }
        for (tenant, key) in &batch.deletes {
            out.remove(&row_name(*tenant, *key)[..]);
        }
        if let Some(mark) = batch.mark {
            let bytes = [mark.tree_size.to_be_bytes(), mark.position.to_be_bytes()].concat();
            out.insert(MARK, bytes);
        }
    }
    out
}

fn row_name(tenant: TenantId, key: RowKey) -> [u8; 1 + 16 + RowKey::LEN] {
    let mut name = [0; 1 + 16 + RowKey::LEN];
    name[0] = b'r';
    name[1..17].copy_from_slice(tenant.as_bytes());
    name[17..].copy_from_slice(&key.to_bytes());
    name
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { sync_tree(&path)? } else { File::open(&path)?.sync_all()? }
    }
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn failed(error: io::Error) -> IndexError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => IndexError::NoSpace,
        _ => IndexError::Engine(Box::new(error)),
    }
}

fn from_sled(error: sled::Error) -> IndexError {
    match error {
        sled::Error::Io(error) => failed(error),
        other => IndexError::Engine(Box::new(other)),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the index's mark is not 16 bytes")]
struct BadMark;

#[derive(Debug, thiserror::Error)]
#[error("the index failed again while it was opened again")]
struct ClosedAfterFailure;

/// Together five seconds; sled's threads end within milliseconds.
const LOCK_TRIES: u32 = 500;
const LOCK_REST: Duration = Duration::from_millis(10);
const ROWS: &str = "rows";
const MARK: &[u8] = b"m";
