//! Backups as the running service takes them, and what `status` and `doctor` say.

use super::{Service, open, witness};
use crate::{
    backup::{self, BackupInfo},
    refusal::Refusal,
    restore,
    store::Table,
};
use leadglass_audit::{Event, Outcome};
use leadglass_model::UnixMillis;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, sync::Arc};
use tokio_util::sync::CancellationToken;

/// How the service stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Always false here: a sealed service says so and no more.
    pub sealed: bool,
    /// Random name of the keyring.
    pub keyring: String,
    /// Its number.
    pub sequence: u64,
    /// The epoch in force.
    pub epoch: u32,
    /// Who keeps the epoch key.
    pub provider: String,
    /// Erasure class that certificates may claim.
    pub class: char,
    /// Tenants.
    pub tenants: usize,
    /// Enrolled clients.
    pub clients: usize,
    /// Rows in the key database, destroyed ones included.
    pub keys: u64,
    /// Destroyed keys.
    pub destroyed: u64,
    /// Restricted studies.
    pub restricted: u64,
    /// Whoever is suspended.
    pub suspended: usize,
    /// Entries of the own log.
    pub log_entries: u64,
    /// Verifier key of the own log (C2SP).
    pub log_key: String,
    /// The vault's log as the witness saw it last.
    pub witnessed: Option<(String, u64)>,
    /// The newest backup.
    pub backup: Option<PathBuf>,
    /// When it was taken, milliseconds since 1970.
    pub backup_taken_at: Option<UnixMillis>,
    /// When a restore was last tried, milliseconds since 1970.
    pub restore_tried_at: Option<UnixMillis>,
    /// The mirror's folder.
    pub mirror: Option<PathBuf>,
}

impl Service {
    /// Takes a backup now. Blocks, and holds keyring changes meanwhile; calls go on.
    pub fn backup(&self) -> Result<BackupInfo, Refusal> {
        let _changing = self.changing.lock();
        let keyring = self.keyring();
        let sealed = crate::disk::read_bounded(&self.layout.keyring(), MAX_KEYRING_BYTES)?;
        let folder = self.config.backups(&self.layout);
        let snapshot = self.store.snapshot()?;
        let taken = backup::take(&folder, &snapshot, &sealed, &keyring, self.epoch(), self.clock.now())?;
        self.report_blocking(vec![self.entry(Event::Backup, Outcome::Success)])?;
        Ok(taken)
    }

    /// Takes backups until told to stop: at each keyring change, and as often as configured.
    pub async fn keep_backups(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.backup_wanted.notified() => {}
                () = tokio::time::sleep(self.config.backup_every) => {}
            }
            let service = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || service.backup()).await {
                Ok(Ok(taken)) => tracing::info!(bytes = taken.bytes, sequence = taken.head.sequence, "Backup taken"),
                Ok(Err(refusal)) => {
                    tracing::error!(alarm = "backup", cause = refusal.causes(), "No backup could be taken")
                }
                Err(_) => tracing::error!(alarm = "backup", "A backup ended in a defect"),
            }
        }
    }

    /// How things stand.
    pub fn standing(&self) -> Result<Standing, Refusal> {
        let keyring = self.keyring();
        let snapshot = self.store.snapshot()?;
        let backup = backup::newest(&self.config.backups(&self.layout)).ok();
        let taken = backup.as_ref().and_then(|path| backup::BackupFile::read(path).ok());
        Ok(Standing {
            sealed: false,
            keyring: keyring.id.to_string(),
            sequence: keyring.sequence,
            epoch: self.epoch().number.get(),
            provider: self.provider_kind.to_owned(),
            class: self.provider_class,
            tenants: keyring.tenants.len(),
            clients: keyring.clients.len(),
            keys: snapshot.count(Table::Keys)?,
            destroyed: snapshot.count(Table::Tombstones)?,
            restricted: snapshot.count(Table::Restricted)?,
            suspended: self.suspended.lock().len(),
            log_entries: self.log.head().size,
            log_key: self.log.public_key().to_string(),
            witnessed: witness::seen(&snapshot)?,
            backup,
            backup_taken_at: taken.map(|b| b.head.taken_at),
            restore_tried_at: restore::proof(&self.layout).map(|p| p.tried_at),
            mirror: self.config.mirror(&self.layout),
        })
    }

    /// When the keyring was made.
    pub fn created_at(&self) -> UnixMillis {
        UnixMillis(self.keyring().created_at_ms)
    }

    /// The name of the own log.
    pub fn log_origin(&self) -> Result<String, Refusal> {
        let known = open::known(&self.store).map_err(Refusal::broken)?;
        Ok(open::log_origin(&self.keyring(), known.log_number))
    }
}

const MAX_KEYRING_BYTES: u64 = 64 * 1024 * 1024;
