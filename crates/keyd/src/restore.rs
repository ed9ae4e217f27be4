//! `restore`: newest backup + its epoch's capsule + the recovery sheet, on an empty machine. No other way back exists.
//!
//! `restore --try` does all of it but install: it opens the backup and unwraps keys, and leaves a proof for `doctor`.

use crate::{
    backup::{self, BackupFile, MirrorCopy},
    capsule::{self, RecoverySheet},
    config::Config,
    disk, erased,
    keyring::Keyring,
    layout::Layout,
    provider::{Epoch, SealProvider},
    refusal::Refusal,
    service::{META_LOG, awaited_records, meta_records, wraps_that_open},
    setup,
    store::{Record, Store, Table},
};
use leadglass_keys::wire::ProblemCode;
use leadglass_model::{Clock, Entropy, UnixMillis};
use leadglass_seal::EpochKey;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where a restore reads from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A backup file.
    Backup(PathBuf),
    /// A mirror folder: nothing that was answered is missing.
    Mirror(PathBuf),
}

/// What was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// When the backup, or the mirror's base, was taken.
    pub taken_at: UnixMillis,
    /// The epoch that opened it.
    pub epoch: u32,
    /// Tenants in it.
    pub tenants: usize,
    /// Key rows in it.
    pub keys: u64,
    /// Live keys whose wraps opened: all of them, or the restore would have failed.
    pub opened: u64,
}

/// That a restore was tried, and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreProof {
    /// When.
    pub tried_at: UnixMillis,
    /// With what.
    pub source: PathBuf,
    /// What came out.
    #[serde(flatten)]
    pub opened: Opened,
}

struct Recovered {
    epoch: Epoch,
    epoch_key: EpochKey,
    keyring: Keyring,
    rows: Vec<Record>,
    summary: Opened,
}

/// Opens backup, capsule and sheet and unwraps every live key; installs nothing.
pub fn rehearse(source: &Source, capsules: &Path, sheet: &RecoverySheet) -> Result<Opened, Refusal> {
    Ok(recover(source, capsules, sheet)?.summary)
}

/// Keeps the proof that a restore was tried.
pub fn keep_proof(layout: &Layout, source: &Source, opened: &Opened, now: UnixMillis) -> Result<(), Refusal> {
    let (Source::Backup(path) | Source::Mirror(path)) = source;
    let proof = RestoreProof { tried_at: now, source: path.clone(), opened: opened.clone() };
    let json = serde_json::to_vec_pretty(&proof).map_err(Refusal::broken)?;
    Ok(disk::replace(&layout.restore_proof(), &json)?)
}

/// The proof, if a restore was ever tried.
pub fn proof(layout: &Layout) -> Option<RestoreProof> {
    let bytes = disk::read_bounded(&layout.restore_proof(), MAX_PROOF_BYTES).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Whether a restore may begin here: nothing is here, or what one left that was broken off.
pub fn may_begin(layout: &Layout) -> Result<(), Refusal> {
    if layout.restoring().exists() { Ok(()) } else { setup::refuse_used(layout) }
}

/// Restores into an empty data directory, or one in which it was broken off: then it begins again. The own log begins anew
/// under its next number. Receipts that lie beside the capsules
/// are carried out again before the first start answers anybody, and it waits for those of the vaults.
pub fn restore(
    layout: &Layout,
    config: &Config,
    provider: &dyn SealProvider,
    (source, capsules, sheet): (&Source, &Path, &RecoverySheet),
    (clock, entropy): (&dyn Clock, &dyn Entropy),
) -> Result<Opened, Refusal> {
    may_begin(layout)?;
    let Recovered { epoch, epoch_key, keyring, rows, summary } = recover(source, capsules, sheet)?;
    disk::private_dir(layout.root())?;
    disk::replace(&layout.restoring(), b"")?;
    // What stands here is a broken-off restore's: nobody has opened anything with it, for the mark was there.
    for left in [layout.database(), layout.keyring(), layout.epoch(), layout.config()] {
        disk::remove(&left)?;
    }
    config.write(&layout.config())?;
    provider.keep(epoch, &epoch_key)?;
    capsule::write(&config.capsules(layout), &keyring.recovery_recipient, epoch, &epoch_key)?;
    keyring.write(&layout.keyring(), epoch, &epoch_key, entropy)?;
    if let Some(authority) = &keyring.authority {
        disk::private_dir(layout.ca_certificate().parent().unwrap_or(layout.root()))?;
        disk::replace(&layout.ca_certificate(), authority.certificate_pem.as_bytes())?;
    }
    keep_proof(layout, source, &summary, clock.now())?;
    erased::carry(capsules, &config.capsules(layout))?;
    let log_number = rows
        .iter()
        .find(|r| r.table == Table::Meta && r.key == META_LOG)
        .and_then(|r| r.value.as_slice().try_into().ok())
        .map_or(1, u32::from_be_bytes);
    let mut records: Vec<Record> = rows.into_iter().filter(|r| r.table != Table::Meta).collect();
    records.extend(meta_records(&keyring, log_number.saturating_add(1)));
    // What was erased since is in none of these rows: nothing opens until the vaults have shown their receipts.
    records.extend(awaited_records(&keyring, clock.now()));
    Store::create(&layout.database(), &records)?;
    disk::remove(&layout.restoring())?;
    Ok(summary)
}

fn recover(source: &Source, capsules: &Path, sheet: &RecoverySheet) -> Result<Recovered, Refusal> {
    let (base, mirror) = match source {
        Source::Backup(path) => (BackupFile::read(path)?, None),
        Source::Mirror(folder) => {
            let copy = MirrorCopy::read(folder)?;
            (BackupFile::read(&folder.join(backup::MIRROR_BASE))?, Some(copy))
        }
    };
    let (epoch, epoch_key) = capsule::open(capsules, base.head.epoch, sheet)?;
    if epoch != base.epoch() {
        return Err(Refusal::new(ProblemCode::Conflict, "the capsule belongs to another key service"));
    }
    let (keyring, rows) = match mirror {
        None => {
            let keyring = Keyring::open(base.sealed_keyring(), epoch, &epoch_key)?;
            let rows = backup::rows(base.check(&keyring)?);
            (keyring, rows)
        }
        Some(copy) => {
            let keyring = Keyring::open(copy.sealed_keyring.clone(), epoch, &epoch_key)?;
            let rows = copy.rows(&keyring)?;
            (keyring, rows)
        }
    };
    let (keys, opened) = wraps_that_open(&keyring, &rows)?;
    let summary = Opened {
        taken_at: base.head.taken_at,
        epoch: epoch.number.get(),
        tenants: keyring.tenants.len(),
        keys,
        opened,
    };
    Ok(Recovered { epoch, epoch_key, keyring, rows, summary })
}

const MAX_PROOF_BYTES: u64 = 16 * 1024;
