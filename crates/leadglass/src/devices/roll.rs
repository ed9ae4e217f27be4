//! The roll: all devices in memory, as the last change left them. The gate asks it for every association.

use super::enrolment::{Bounds, Enrolment};
use leadglass_model::{ReceiverId, TenantId, UnixMillis};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use tokio_util::sync::CancellationToken;

/// All devices of the records.
#[derive(Debug, Default)]
pub struct Roll {
    entries: RwLock<Vec<Entry>>,
    /// Ends of certificates that were shown, by key.
    seen: Mutex<HashMap<[u8; 32], UnixMillis>>,
}

/// A device, and what its record and its associations hang on.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The device.
    pub device: Enrolment,
    /// Its record's version.
    pub version: u64,
    /// Cancelled: its associations end.
    pub enrolment: CancellationToken,
}

impl Entry {
    /// A device as its record has it.
    pub fn new(device: Enrolment, version: u64) -> Self {
        Self { device, version, enrolment: CancellationToken::new() }
    }

    fn is_active(&self) -> bool {
        self.device.revoked.is_none()
    }
}

impl Roll {
    /// Adds a device, or puts another version in its place. Its associations end when it is revoked or has lost a key.
    pub fn put(&self, mut entry: Entry) {
        let mut entries = self.entries.write();
        let Some(old) = entries.iter_mut().find(|old| old.device.id == entry.device.id) else {
            entries.push(entry);
            return;
        };
        let lost = |key: &super::BoundKey| !entry.device.keys.iter().any(|kept| kept.sha256 == key.sha256);
        if entry.device.revoked.is_some() || old.device.keys.iter().any(lost) {
            old.enrolment.cancel();
        } else {
            entry.enrolment = old.enrolment.clone();
        }
        *old = entry;
    }

    /// The device that is known by a key, revoked or not.
    pub fn by_key(&self, sha256: &[u8; 32]) -> Option<Entry> {
        let has = |entry: &&Entry| entry.device.keys.iter().any(|key| key.sha256 == *sha256);
        self.entries.read().iter().find(has).cloned()
    }

    /// Whether a device may be known by a key: nobody else is or was, and it was not replaced before, whosever it was.
    pub fn is_free(&self, sha256: &[u8; 32], id: ReceiverId) -> bool {
        self.entries.read().iter().all(|Entry { device, .. }| {
            let has = device.keys.iter().any(|key| key.sha256 == *sha256);
            !device.past_keys.contains(sha256) && (!has || device.id == id)
        })
    }

    /// A device of a tenant.
    pub fn by_id(&self, tenant: TenantId, id: ReceiverId) -> Option<Entry> {
        self.entries.read().iter().find(|entry| entry.device.id == id && entry.device.tenant == tenant).cloned()
    }

    /// What a device may send at most; one of the configuration file has no bounds.
    pub fn bounds(&self, tenant: TenantId, id: ReceiverId) -> Bounds {
        let entries = self.entries.read();
        let of = entries.iter().find(|entry| entry.device.id == id && entry.device.tenant == tenant);
        of.map_or_else(Bounds::default, |entry| entry.device.bounds)
    }

    /// The first device that is enrolled and fits.
    pub fn find(&self, fits: impl Fn(&Enrolment) -> bool) -> Option<Entry> {
        self.entries.read().iter().find(|entry| entry.is_active() && fits(&entry.device)).cloned()
    }

    /// The first device that was revoked and fits.
    pub fn find_revoked(&self, fits: impl Fn(&Enrolment) -> bool) -> Option<Entry> {
        self.entries.read().iter().find(|entry| !entry.is_active() && fits(&entry.device)).cloned()
    }

    /// All of them that fit, revoked or not.
    pub fn all(&self, fits: impl Fn(&Enrolment) -> bool) -> Vec<Enrolment> {
        self.entries.read().iter().map(|entry| &entry.device).filter(|device| fits(device)).cloned().collect()
    }

    /// A bound key was proved with a certificate that ends then.
    pub fn saw(&self, sha256: [u8; 32], ends: UnixMillis) {
        self.seen.lock().insert(sha256, ends);
    }

    /// When the last certificate ends that was shown for a key.
    pub fn seen(&self, sha256: &[u8; 32]) -> Option<UnixMillis> {
        self.seen.lock().get(sha256).copied()
    }
}
