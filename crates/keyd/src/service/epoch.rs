//! `POST /v1/epoch/advance`: an epoch ends, and with it every backup that was taken in it (KEYS.md "Erase", step 4).
//!
//! 1. A backup of today's keyring, known by its digest, is read back and opens every live key. One commit: approval used up,
//!    row of the epoch that begins.
//! 2. The provider prepares E_{n+1}; its capsule is written; the keyring is replaced by one under E_{n+1}. That rename is the
//!    moment: before it the next start is in epoch n and begins step 2 again, after it in n+1 and goes on.
//! 3. The provider puts E_{n+1} in force and disables E_n; the mirror begins anew.
//! 4. A backup under E_{n+1} is taken, read back with the key that the provider gives out, and opens every live key. Row: held.
//! 5. After the hold (`epoch_hold`), and with such a backup still there, E_n is destroyed. Row and log: destroyed.
//! 6. After `recovery_days` its capsule goes. Row: over.
//!
//! Every step may be done twice. The rows are the history; what is signed is made from them.

use super::{Caller, Sealing, Service, approvals, attest, wraps_that_open};
use crate::{
    approval::ACTION_EPOCH,
    backup::{self, BackupFile, BackupInfo},
    capsule,
    keyring::{ClientRole, Keyring},
    provider::Epoch,
    refusal::Refusal,
    store::Table,
};
use leadglass_audit::{Event, Outcome};
use leadglass_keys::wire::{
    ApprovalId, ApprovalState, EpochAdvance, EpochAdvanced, EpochList, EpochStatement, Hex32, INSTALLATION,
    ProblemCode, Word,
};
use leadglass_model::{KeyGen, KeyId, UnixMillis};
use leadglass_seal::EpochKey;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// An epoch that began, and how far the one before is on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EpochRow {
    /// The epoch that ends.
    old: KeyGen,
    /// The one that begins.
    new: KeyGen,
    new_id: KeyId,
    /// `None` when it was asked for on the key host itself.
    approval: Option<ApprovalId>,
    /// SHA-256 of the backup that was shown.
    shown_backup: Hex32,
    began_at: UnixMillis,
    /// SHA-256 of the backup under the new epoch, once it was verified.
    fresh_backup: Option<Hex32>,
    held_until: Option<UnixMillis>,
    destroyed_at: Option<UnixMillis>,
    capsule_until: Option<UnixMillis>,
    capsule_deleted_at: Option<UnixMillis>,
}

impl Service {
    /// Ends the epoch under an approval. The same approval again tells how far it is.
    ///
    /// Cancel safety: what has begun goes on.
    pub async fn advance_epoch(self: &Arc<Self>, caller: &Caller, ask: EpochAdvance) -> Result<EpochAdvanced, Refusal> {
        caller.needs(ClientRole::Vault)?;
        let service = Arc::clone(self);
        let advanced = tokio::task::spawn_blocking(move || service.advance(ask.backup_digest, Some(ask.approval)));
        match advanced.await.map_err(Refusal::broken)? {
            Ok(advanced) => Ok(advanced),
            Err(refusal) => {
                let entry = self.entry_by(caller, Event::EpochAdvanced, Outcome::Success);
                self.refuse(entry, "epoch-advance", refusal).await
            }
        }
    }

    /// Ends the epoch. Without an approval only on the key host. Blocks.
    pub fn advance(self: &Arc<Self>, digest: Hex32, approval: Option<ApprovalId>) -> Result<EpochAdvanced, Refusal> {
        let _one = self.advancing.lock();
        let rows = rows_of(self)?;
        if let Some(same) = rows.iter().find(|row| approval.is_some() && row.approval == approval) {
            return self.told(same);
        }
        if rows.iter().any(|row| row.destroyed_at.is_none()) {
            return Err(Refusal::new(ProblemCode::Conflict, "the epoch before is not destroyed yet"));
        }
        let sealing = self.sealing();
        let now = self.clock.now();
        self.shown(digest, now)?;
        let number = sealing.epoch.number.get().checked_add(1).and_then(KeyGen::new);
        let row = EpochRow {
            old: sealing.epoch.number,
            new: number.ok_or_else(|| Refusal::new(ProblemCode::Internal, "no epoch number is left"))?,
            new_id: KeyId::random(self.entropy.as_ref()),
            approval: approval.clone(),
            shown_backup: digest,
            began_at: now,
            fresh_backup: None,
            held_until: None,
            destroyed_at: None,
            capsule_until: None,
            capsule_deleted_at: None,
        };
        let begun = row.clone();
        self.store.write_blocking::<(), Refusal, _>(move |tx| {
            if let Some(id) = approval {
                let given = approvals::read(tx, &id)?;
                let mut given =
                    given.filter(|a| a.covers_action(INSTALLATION, ACTION_EPOCH, &BTreeSet::new(), now)).ok_or_else(
                        || Refusal::new(ProblemCode::ApprovalNeeded, "no approval covers the end of an epoch"),
                    )?;
                given.state = ApprovalState::Ended;
                approvals::put(tx, &given)?;
            }
            put(tx, &begun)
        })?;
        tracing::error!(
            alarm = "epoch",
            old = row.old.get(),
            new = row.new.get(),
            "An epoch ends: older backups will open nothing"
        );
        go_on(self)?;
        let number = row.new;
        let row = rows_of(self)?.into_iter().find(|r| r.new == number);
        self.told(&row.ok_or_else(|| Refusal::new(ProblemCode::Internal, "the epoch's row is gone"))?)
    }

    /// Every epoch that began here, with what became of the one before; oldest first.
    pub fn epochs(&self) -> Result<EpochList, Refusal> {
        let rows = rows_of(self)?;
        let newest = rows.len().saturating_sub(MAX_TOLD);
        let signed = rows[newest..].iter().map(|row| attest::sign(self, &self.statement(row)));
        Ok(EpochList { epochs: signed.collect::<Result<_, _>>()? })
    }

    /// Does what has come due, until told to stop.
    pub async fn keep_epochs(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOKED_EVERY) => {}
            }
            let service = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                let _one = service.advancing.lock();
                go_on(&service)
            });
            match looked.await {
                Ok(Ok(())) => {}
                Ok(Err(refusal)) => {
                    tracing::error!(
                        alarm = "epoch",
                        cause = refusal.causes(),
                        "An epoch could not be brought to its end"
                    );
                }
                Err(_) => tracing::error!(alarm = "epoch", "An epoch's end broke off in a defect"),
            }
        }
    }

    /// The backup with this digest: of today's keyring, of this epoch, not older than a day, and every live key opens.
    fn shown(&self, digest: Hex32, now: UnixMillis) -> Result<(), Refusal> {
        let not_fresh = |why| Refusal::new(ProblemCode::Conflict, why);
        let (sealing, folder) = (self.sealing(), self.config.backups(&self.layout));
        for path in backup::list(&folder)?.into_iter().rev().take(BACKUPS_LOOKED_AT) {
            if sha256_of(&path)? != digest {
                continue;
            }
            let file = BackupFile::read(&path)?;
            if file.epoch() != sealing.epoch || file.head.sequence != self.keyring().sequence {
                return Err(not_fresh("that backup is not of the keyring in force: take a new one"));
            }
            if now.millis_since(file.head.taken_at) > FRESH_MS {
                return Err(not_fresh("that backup is older than a day: take a new one"));
            }
            return opens(&file, &sealing);
        }
        Err(not_fresh("no backup with this digest lies in the backup folder"))
    }

    fn told(&self, row: &EpochRow) -> Result<EpochAdvanced, Refusal> {
        let receipt = attest::sign(self, &self.statement(row))?;
        Ok(EpochAdvanced { old: row.old.get(), new: row.new.get(), receipt })
    }

    fn statement(&self, row: &EpochRow) -> EpochStatement {
        EpochStatement {
            old: row.old.get(),
            new: row.new.get(),
            provider: Word::new(self.provider_kind).expect("provider kinds are words"),
            class: self.provider_class,
            approval: row.approval.clone(),
            backup_sha256: row.fresh_backup,
            began_at: row.began_at,
            held_until: row.held_until,
            epoch_destroyed_at: row.destroyed_at,
            capsule_until: row.capsule_until,
            backup_erased_at: row.capsule_deleted_at,
        }
    }

    /// Steps 2 and 3.
    fn begin(self: &Arc<Self>, row: &EpochRow) -> Result<(), Refusal> {
        let epoch = Epoch { id: row.new_id, number: row.new };
        if self.epoch() != epoch {
            // After a crash what was prepared is taken up again: its capsule may be written already.
            let key = match self.provider.prepared()? {
                Some((prepared, key)) if prepared == epoch => key,
                _ => {
                    let key = EpochKey::generate(self.entropy.as_ref());
                    self.provider.prepare(epoch, &key)?;
                    key
                }
            };
            let recipient = self.keyring().recovery_recipient.clone();
            capsule::write(&self.config.capsules(&self.layout), &recipient, epoch, &key)?;
            let _changing = self.changing.lock();
            let draft = self.keyring().draft();
            let sealed = draft.seal(epoch, &key, self.entropy.as_ref());
            crate::disk::replace(&self.layout.keyring(), &sealed)?;
            let sequence = draft.sequence;
            self.store.write_blocking::<(), Refusal, _>(move |tx| {
                Ok(tx.put(Table::Meta, super::open::META_SEQUENCE, &sequence.to_be_bytes())?)
            })?;
            *self.sealing.write() = Arc::new(Sealing { epoch, key });
            *self.keyring.write() = Arc::new(draft);
        }
        self.provider.promote(epoch.id)?;
        let _changing = self.changing.lock();
        if let Some(folder) = self.config.mirror(&self.layout) {
            let sealed = crate::disk::read_bounded(&self.layout.keyring(), MAX_BACKUP_BYTES)?;
            let (keyring, now) = (self.keyring(), self.clock.now());
            self.store.remirror::<Refusal>(|snapshot| {
                Ok(backup::start_mirror(&folder, snapshot, &sealed, &keyring, epoch, now)?)
            })?;
        }
        Ok(())
    }

    /// Step 4: a backup under the epoch in force, read back with the key that the provider gives out.
    fn fresh_backup(self: &Arc<Self>) -> Result<BackupInfo, Refusal> {
        let taken = self.backup()?;
        let (epoch, key) = self.provider.open()?;
        opens(&BackupFile::read(&taken.path)?, &Sealing { epoch, key })?;
        Ok(taken)
    }
}

/// After a crash: whatever is due is done before anybody is answered.
pub(super) fn resume(service: &Arc<Service>) -> Result<(), Refusal> {
    let _one = service.advancing.lock();
    if let Err(refusal) = go_on(service) {
        tracing::error!(alarm = "epoch", cause = refusal.causes(), "An epoch could not be brought to its end");
    }
    Ok(())
}

/// Takes every epoch's row as far as it may go now. Blocks.
fn go_on(service: &Arc<Service>) -> Result<(), Refusal> {
    let now = service.clock.now();
    for mut row in rows_of(service)? {
        if row.fresh_backup.is_none() {
            service.begin(&row)?;
            let fresh = service.fresh_backup()?;
            row.fresh_backup = fresh.sha256.parse().ok();
            row.held_until = Some(now.plus_secs(service.config.epoch_hold.as_secs()));
            row.capsule_until = Some(now.plus_secs(u64::from(service.config.recovery_days) * DAY_S));
            keep(service, &row)?;
        }
        if row.destroyed_at.is_none() && row.held_until.is_some_and(|until| now >= until) {
            newest_opens(service)?;
            service.provider.destroy_disabled()?;
            row.destroyed_at = Some(service.clock.now());
            keep(service, &row)?;
            service.report_blocking(vec![service.entry(Event::EpochAdvanced, Outcome::Success)])?;
            tracing::warn!(old = row.old.get(), "The epoch's key is destroyed");
        }
        let due = row.destroyed_at.is_some() && row.capsule_until.is_some_and(|until| now >= until);
        if row.capsule_deleted_at.is_none() && due {
            capsule::remove(&service.config.capsules(&service.layout), row.old)?;
            row.capsule_deleted_at = Some(service.clock.now());
            keep(service, &row)?;
            tracing::warn!(old = row.old.get(), "The epoch's capsule is deleted");
        }
    }
    Ok(())
}

/// E_n is destroyed only while a backup of the epoch in force lies there and opens.
fn newest_opens(service: &Service) -> Result<(), Refusal> {
    let path = backup::newest(&service.config.backups(&service.layout))?;
    opens(&BackupFile::read(&path)?, &service.sealing())
}

fn opens(file: &BackupFile, sealing: &Sealing) -> Result<(), Refusal> {
    if file.epoch() != sealing.epoch {
        return Err(Refusal::new(ProblemCode::Conflict, "the newest backup is not of the epoch in force"));
    }
    let keyring = Keyring::open(file.sealed_keyring(), sealing.epoch, &sealing.key)?;
    wraps_that_open(&keyring, &backup::rows(file.check(&keyring)?))?;
    Ok(())
}

fn sha256_of(path: &Path) -> Result<Hex32, Refusal> {
    use sha2::Digest;
    let bytes = crate::disk::read_bounded(path, MAX_BACKUP_BYTES)?;
    Ok(Hex32(sha2::Sha256::digest(bytes).into()))
}

fn keep(service: &Service, row: &EpochRow) -> Result<(), Refusal> {
    let kept = row.clone();
    service.store.write_blocking::<(), Refusal, _>(move |tx| put(tx, &kept))
}

fn put(tx: &mut crate::store::Tx<'_>, row: &EpochRow) -> Result<(), Refusal> {
    let mut name = ROW_PREFIX.to_vec();
    name.extend_from_slice(&row.new.get().to_be_bytes());
    let json = serde_json::to_vec(row).map_err(Refusal::broken)?;
    Ok(tx.put(Table::Jobs, &name, &json)?)
}

fn rows_of(service: &Service) -> Result<Vec<EpochRow>, Refusal> {
    let rows = service.store.snapshot()?.scan(Table::Jobs, ROW_PREFIX, None, usize::MAX)?;
    rows.into_iter().map(|(_, value)| serde_json::from_slice(&value).map_err(Refusal::broken)).collect()
}

const ROW_PREFIX: &[u8] = b"epoch:";
const DAY_S: u64 = 24 * 3600;
/// A backup that is shown is at most this old, in milliseconds.
const FRESH_MS: u64 = DAY_S * 1000;
/// The newest backups that a digest is compared with.
const BACKUPS_LOOKED_AT: usize = 16;
/// As many epochs as one answer tells.
const MAX_TOLD: usize = 256;
/// How often it is looked whether a hold is over.
const LOOKED_EVERY: Duration = Duration::from_secs(30);
const MAX_BACKUP_BYTES: u64 = 4 * 1024 * 1024 * 1024;
