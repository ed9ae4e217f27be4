//! A tenant's secrets, with a lease that is renewed before it ends.

use crate::{
    Keys, KeysError,
    flight::{Flight, launch},
    keys::{Core, HeldSecret},
    wire::{KeyBytes, SECRET_LEASE_S, SecretName, SecretRequest},
};
use leadglass_model::TenantId;
use std::sync::Arc;

/// A secret of 32 bytes.
pub struct Secret {
    tenant: TenantId,
    name: SecretName,
    version: u32,
    bytes: KeyBytes,
}

impl Secret {
    /// Whose it is.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }
    /// Which it is.
    pub const fn name(&self) -> SecretName {
        self.name
    }
    /// Grows by one when it is replaced.
    pub const fn version(&self) -> u32 {
        self.version
    }
    /// Reads it. Each caller answers for where it goes.
    pub const fn expose(&self) -> &[u8; 32] {
        self.bytes.expose()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Keys {
    /// A secret. It is kept for its lease, at most 12 h, and renewed from half of it on, so that a key service that is
    /// away for a while stops nothing. Ask again for each use instead of keeping it.
    ///
    /// # Errors
    /// It is not held and the key service cannot be asked, or refused.
    ///
    /// Cancel safety: yes; a call under way goes on and its secret is kept.
    pub async fn secret(&self, tenant: TenantId, name: SecretName) -> Result<Arc<Secret>, KeysError> {
        let now = self.core.clock.now();
        {
            let state = self.core.secrets.lock();
            if let Some(held) = state.held.get(&(tenant, name)).filter(|held| now < held.expires) {
                return Ok(held.secret.clone());
            }
        }
        self.core.fetch_secret(tenant, name).await
    }
}

impl Core {
    /// Asks for a secret. One call at a time for each.
    pub(crate) fn fetch_secret(self: &Arc<Self>, tenant: TenantId, name: SecretName) -> Flight<Arc<Secret>> {
        let core = self.clone();
        self.secrets.lock().fetches.get_or_start((tenant, name), || {
            launch(&self.tasks, async move {
                let asked_at = core.clock.now();
                let result = core.call(core.service.secret(&SecretRequest { tenant, name })).await;
                let mut state = core.secrets.lock();
                state.fetches.remove(&(tenant, name));
                let record = result?;
                let secret = Arc::new(Secret { tenant, name, version: record.version, bytes: record.bytes });
                let lease_s = u64::from(record.lease_s.min(SECRET_LEASE_S));
                let held = HeldSecret {
                    secret: secret.clone(),
                    refresh_at: asked_at.plus_secs(lease_s / 2),
                    expires: asked_at.plus_secs(lease_s),
                };
                state.held.insert((tenant, name), held);
                Ok(secret)
            })
        })
    }

    /// Renews what is past half of its lease.
    pub(crate) fn renew_secrets(self: &Arc<Self>) {
        let now = self.clock.now();
        let due: Vec<_> = {
            let mut state = self.secrets.lock();
            let due = state.held.iter_mut().filter(|(_, held)| now >= held.refresh_at);
            // Success sets the next time anew.
            due.map(|(at, held)| {
                held.refresh_at = now.plus_secs(RENEW_PAUSE_S);
                *at
            })
            .collect()
        };
        for (tenant, name) in due {
            drop(self.fetch_secret(tenant, name));
        }
    }
}

/// After a failed renewal the next comes so much later.
const RENEW_PAUSE_S: u64 = 10;
