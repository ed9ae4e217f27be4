//! Backups: keyring and wraps in one file, useless without E_n; and the mirror, a backup that never falls behind.
//!
//! Backup file = magic[8] ‖ head length[4] ‖ head (JSON) ‖ keyring length[4] ‖ keyring (SVO1, as on the disk) ‖ records ‖
//! MAC[32]. The MAC is BLAKE3 keyed with a key from the keyring: rows that were edited outside are refused on restore.
//! It holds no capsule and no epoch key, so a stolen backup opens nothing.
//!
//! Mirror folder = `base.lgkb` (a backup), `keyring.svo` (at each keyring change) and `changes.log` (every commit since the
//! base, fsynced before its caller is answered). The log names the base it belongs to; a log that belongs to an older base
//! holds nothing that the base does not.

use crate::{
    disk::{self, DiskError},
    keyring::{Keyring, Secret32},
    provider::Epoch,
    store::{Change, Dump, DumpError, Mirror, Record, Snapshot, StoreError, Table},
};
use leadglass_model::{Fault, KeyGen, KeyId, UnixMillis};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use subtle::ConstantTimeEq;

/// What a backup says of itself. Not secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupHead {
    /// The keyring it holds.
    pub keyring: KeyId,
    /// That keyring's number.
    pub sequence: u64,
    /// The epoch whose key opens it.
    pub epoch: KeyGen,
    /// That epoch's name.
    pub epoch_id: KeyId,
    /// When it was taken.
    pub taken_at: UnixMillis,
    /// Key rows in it.
    pub keys: u64,
}

/// A backup that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupInfo {
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// What it says of itself.
    #[serde(flatten)]
    pub head: BackupHead,
}

/// A backup that was read. Nothing in it is trusted until [`BackupFile::check`].
#[derive(Debug)]
pub struct BackupFile {
    /// What it says of itself.
    pub head: BackupHead,
    bytes: Vec<u8>,
    keyring: std::ops::Range<usize>,
    records: std::ops::Range<usize>,
}

/// Why a backup could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Not a backup, or cut short.
    #[error("{} is not a whole backup", path.display())]
    NotABackup {
        /// Which file.
        path: PathBuf,
    },
    /// Its rows are not those that were written.
    #[error("the backup was changed after it was written")]
    Changed,
    /// Its records do not decode.
    #[error("the backup's records are damaged")]
    Records(#[from] DumpError),
    /// There is no backup in the folder.
    #[error("there is no backup in {}", folder.display())]
    None {
        /// Where was looked.
        folder: PathBuf,
    },
    /// The key database failed.
    #[error("the key database could not be read")]
    Store(#[from] StoreError),
    /// A file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl BackupError {
    /// What kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotABackup { .. } | Self::Changed | Self::Records(_) => Fault::Corrupt,
            Self::None { .. } => Fault::Missing,
            Self::Store(source) => source.fault(),
            Self::Disk(source) => source.fault(),
        }
    }
}

/// Encodes a backup: the sealed keyring and every row of the snapshot.
fn encode(
    snapshot: &Snapshot,
    sealed_keyring: &[u8],
    keyring: &Keyring,
    epoch: Epoch,
    now: UnixMillis,
) -> Result<(BackupHead, Vec<u8>), BackupError> {
    let head = BackupHead {
        keyring: keyring.id,
        sequence: keyring.sequence,
        epoch: epoch.number,
        epoch_id: epoch.id,
        taken_at: now,
        keys: snapshot.count(Table::Keys)?,
    };
    let json = serde_json::to_vec(&head).expect("plain fields always serialize");
    let mut out = MAGIC.to_vec();
    for part in [json.as_slice(), sealed_keyring] {
        let len = u32::try_from(part.len()).expect("head and keyring are far below 4 GiB");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(part);
    }
    snapshot.each::<BackupError>(|table, key, value| {
        Record::encode(table, key, Some(value), &mut out);
        Ok(())
    })?;
    let mac = mac(&keyring.own.backup, &out);
    out.extend_from_slice(mac.as_bytes());
    Ok((head, out))
}

/// Takes a backup into `folder`, durably, and removes the oldest beyond [`KEPT_BACKUPS`].
pub fn take(
    folder: &Path,
    snapshot: &Snapshot,
    sealed_keyring: &[u8],
    keyring: &Keyring,
    epoch: Epoch,
    now: UnixMillis,
) -> Result<BackupInfo, BackupError> {
    use sha2::Digest;
    let (head, bytes) = encode(snapshot, sealed_keyring, keyring, epoch, now)?;
    disk::private_dir(folder)?;
    let path = folder.join(format!("backup-{:010}-{:015}.{EXTENSION}", head.sequence, now.0));
    disk::replace(&path, &bytes)?;
    let mut all = list(folder)?;
    all.truncate(all.len().saturating_sub(KEPT_BACKUPS));
    for old in all {
        disk::remove(&old)?;
    }
    let sha256 = hex::encode(sha2::Sha256::digest(&bytes));
    Ok(BackupInfo { path, bytes: bytes.len() as u64, sha256, head })
}

/// The newest backup of a folder.
pub fn newest(folder: &Path) -> Result<PathBuf, BackupError> {
    list(folder)?.pop().ok_or_else(|| BackupError::None { folder: folder.to_owned() })
}

/// The backups of a folder, oldest first.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DiskError::new("list", folder, error).into()),
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == EXTENSION))
        .collect();
    paths.sort();
    Ok(paths)
}

impl BackupFile {
    /// Reads a backup and its head. Its MAC is not checked yet: the key for that lies in its keyring.
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        let bytes = disk::read_bounded(path, MAX_BACKUP_BYTES)?;
        Self::parse(bytes).ok_or_else(|| BackupError::NotABackup { path: path.to_owned() })
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let part = |at: usize| {
            let len = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
            let range = at + 4..at.checked_add(4)?.checked_add(len)?;
            bytes.get(range.clone()).map(|_| range)
        };
        let head = part(MAGIC.len())?;
        let keyring = part(head.end)?;
        let records = keyring.end..bytes.len().checked_sub(MAC_LEN)?;
        bytes.get(records.clone())?;
        let head = serde_json::from_slice(&bytes[head]).ok()?;
        Some(Self { head, keyring, records, bytes })
    }

    /// The sealed keyring.
    pub fn sealed_keyring(&self) -> Vec<u8> {
        self.bytes[self.keyring.clone()].to_vec()
    }

    /// The epoch whose key opens it.
    pub const fn epoch(&self) -> Epoch {
        Epoch { id: self.head.epoch_id, number: self.head.epoch }
    }

    /// Checks that every byte is as it was written, and gives the rows.
    pub fn check(&self, keyring: &Keyring) -> Result<Vec<Change>, BackupError> {
        let (body, found) = self.bytes.split_at(self.records.end);
        if !bool::from(mac(&keyring.own.backup, body).as_bytes().ct_eq(found)) {
            return Err(BackupError::Changed);
        }
        Ok(Dump::decode(&self.bytes[self.records.clone()])?)
    }

    fn name(&self) -> &[u8] {
        &self.bytes[self.records.end..]
    }
}

/// Starts a mirror afresh: a base of all that is committed, then an empty change log that names it.
pub fn start_mirror(
    folder: &Path,
    snapshot: &Snapshot,
    sealed_keyring: &[u8],
    keyring: &Keyring,
    epoch: Epoch,
    now: UnixMillis,
) -> Result<Mirror, BackupError> {
    let (_, bytes) = encode(snapshot, sealed_keyring, keyring, epoch, now)?;
    disk::private_dir(folder)?;
    disk::replace(&folder.join(MIRROR_BASE), &bytes)?;
    // If we die here the old log still lies beside the new base; it names another base and is left out.
    disk::replace(&folder.join(MIRROR_KEYRING), sealed_keyring)?;
    let mut head = MIRROR_MAGIC.to_vec();
    head.extend_from_slice(&bytes[bytes.len() - MAC_LEN..]);
    Ok(Mirror::start(&folder.join(MIRROR_LOG), &head)?)
}

/// Puts a changed keyring into the mirror.
pub fn mirror_keyring(folder: &Path, sealed_keyring: &[u8]) -> Result<(), BackupError> {
    Ok(disk::replace(&folder.join(MIRROR_KEYRING), sealed_keyring)?)
}

/// A mirror that was read.
#[derive(Debug)]
pub struct MirrorCopy {
    /// Its base.
    pub base: BackupFile,
    /// The keyring, possibly newer than the base's.
    pub sealed_keyring: Vec<u8>,
    changes: Vec<Change>,
}

impl MirrorCopy {
    /// Reads a mirror folder.
    pub fn read(folder: &Path) -> Result<Self, BackupError> {
        let base = BackupFile::read(&folder.join(MIRROR_BASE))?;
        let sealed_keyring = disk::read_bounded(&folder.join(MIRROR_KEYRING), MAX_BACKUP_BYTES)?;
        let path = folder.join(MIRROR_LOG);
        let log = if path.exists() { disk::read_bounded(&path, MAX_BACKUP_BYTES)? } else { Vec::new() };
        let changes = match log.strip_prefix(MIRROR_MAGIC).and_then(|rest| rest.split_at_checked(MAC_LEN)) {
            Some((name, frames)) if name == base.name() => Dump::decode_frames(frames)?,
            _ => Vec::new(),
        };
        Ok(Self { base, sealed_keyring, changes })
    }

    /// Checks the base and gives the rows as they were at the last commit.
    pub fn rows(&self, keyring: &Keyring) -> Result<Vec<Record>, BackupError> {
        Ok(rows(self.base.check(keyring)?.into_iter().chain(self.changes.iter().cloned())))
    }
}

/// Plays changes through to the rows that stand at their end.
pub fn rows(changes: impl IntoIterator<Item = Change>) -> Vec<Record> {
    let mut rows = BTreeMap::new();
    for Change { table, key, value } in changes {
        match value {
            Some(value) => rows.insert((table as u8, key), Record { table, key: Vec::new(), value }),
            None => rows.remove(&(table as u8, key)),
        };
    }
    rows.into_iter().map(|((_, key), row)| Record { key, ..row }).collect()
}

fn mac(key: &Secret32, bytes: &[u8]) -> blake3::Hash {
    blake3::keyed_hash(key.reveal(), bytes)
}

const MAGIC: &[u8] = b"LGKEYB1\n";
const MIRROR_MAGIC: &[u8] = b"LGKEYM1\n";
const MAC_LEN: usize = 32;
const EXTENSION: &str = "lgkb";
/// The base of a mirror.
pub(crate) const MIRROR_BASE: &str = "base.lgkb";
const MIRROR_KEYRING: &str = "keyring.svo";
const MIRROR_LOG: &str = "changes.log";
/// A week of hourly backups.
const KEPT_BACKUPS: usize = 168;
/// About ten million keys.
const MAX_BACKUP_BYTES: u64 = 4 * 1024 * 1024 * 1024;
