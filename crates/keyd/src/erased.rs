//! Receipts of destructions, kept beside the capsules: one signed file each, in the folder `erased`.
//!
//! Nobody restores without the folder of the capsules, and it lies in no backup. So a backup that is older than an erasure
//! meets the erasure's receipt, and what it names is destroyed again before anybody is answered (`service/receipts.rs`).
//! A receipt holds random names only. It can be removed by whoever can write here; that is why the vaults show theirs, too.

use crate::disk::{self, DiskError};
use leadglass_keys::wire::{SignedStatement, json_from, json_to};
use std::path::{Path, PathBuf};

/// What lies in the folder.
#[derive(Debug, Default)]
pub struct Kept {
    /// Receipts that read. Nothing says yet who signed them.
    pub receipts: Vec<SignedStatement>,
    /// Files that do not.
    pub unreadable: usize,
}

/// Keeps a receipt, durably; keeping it twice is fine.
pub fn keep(capsules: &Path, receipt: &SignedStatement) -> Result<(), DiskError> {
    let folder = folder(capsules);
    let path = folder.join(name_of(receipt));
    if path.exists() {
        return Ok(());
    }
    disk::private_dir(&folder)?;
    disk::sync_parent(&folder)?;
    disk::replace(&path, &json_to(receipt))
}

/// Reads every receipt.
pub fn all(capsules: &Path) -> Result<Kept, DiskError> {
    let folder = folder(capsules);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(DiskError::new("list", &folder, error)),
    };
    let mut kept = Kept::default();
    for entry in entries {
        let path = entry.map_err(|error| DiskError::new("list", &folder, error))?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let read = disk::read_bounded(&path, MAX_RECEIPT_BYTES as u64);
        match read.ok().and_then(|bytes| json_from(&bytes, MAX_RECEIPT_BYTES).ok()) {
            Some(receipt) => kept.receipts.push(receipt),
            None => kept.unreadable += 1,
        }
    }
    Ok(kept)
}

/// Takes the receipts of one folder of capsules into another.
pub fn carry(from: &Path, to: &Path) -> Result<(), DiskError> {
    all(from)?.receipts.iter().try_for_each(|receipt| keep(to, receipt))
}

fn folder(capsules: &Path) -> PathBuf {
    capsules.join("erased")
}

/// Follows from the statement, so that the same one lies there once.
fn name_of(receipt: &SignedStatement) -> String {
    let hash = blake3::hash(receipt.statement.as_bytes());
    format!("{}.{EXTENSION}", hex::encode(&hash.as_bytes()[..16]))
}

const EXTENSION: &str = "json";
/// A receipt names at most 4,096 keys.
const MAX_RECEIPT_BYTES: usize = 512 * 1024;
