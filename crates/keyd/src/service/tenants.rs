//! Tenants and clients: who there is, who may call.

use super::{Caller, Service};
use crate::{
    keyring::{Client, ClientRole, Keyring},
    refusal::Refusal,
};
use leadglass_audit::{Event, NewEntry, Outcome};
use leadglass_keys::wire::{CreateTenant, Few, MAX_TENANTS, ProblemCode, TenantInfo, TenantList, Word};
use leadglass_model::{TenantId, UnixMillis};
use std::sync::Arc;

/// A client to be enrolled.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct NewClient {
    /// SHA-256 of its SubjectPublicKeyInfo, hexadecimal.
    pub key_hash: String,
    /// What people call it.
    pub label: String,
    /// What it may do.
    pub roles: Vec<ClientRole>,
    /// For whom; empty means all tenants.
    pub tenants: Vec<TenantId>,
}

impl Service {
    /// The tenants that a client may work for.
    pub fn tenants(&self, caller: &Caller) -> TenantList {
        let keyring = self.keyring();
        let tenants = keyring.tenants.iter().filter(|t| caller.may(t.tenant)).map(info).collect();
        TenantList { tenants: Few::new(tenants).unwrap_or_default() }
    }

    /// Makes a tenant for a client with the role `admin`.
    pub async fn create_tenant(self: &Arc<Self>, caller: &Caller, ask: CreateTenant) -> Result<TenantInfo, Refusal> {
        caller.needs(ClientRole::Admin)?;
        let service = Arc::clone(self);
        tokio::task::spawn_blocking(move || service.add_tenant(&ask.label)).await.map_err(Refusal::broken)?
    }

    /// Makes a tenant with its keys. Blocks.
    pub fn add_tenant(&self, label: &Word) -> Result<TenantInfo, Refusal> {
        let now = self.clock.now();
        let made = self.change_keyring(|keyring| {
            if keyring.tenants.len() >= MAX_TENANTS {
                return Err(Refusal::new(ProblemCode::Conflict, "an installation has at most 1024 tenants"));
            }
            if keyring.tenants.iter().any(|t| t.label == label.as_str()) {
                return Err(Refusal::new(ProblemCode::Conflict, "a tenant of this label exists"));
            }
            let tenant = keyring.add_tenant(label, now, self.entropy.as_ref());
            Ok(TenantInfo { tenant, label: label.clone(), created_at: now })
        })?;
        let entry = self.entry(Event::TenantChange, Outcome::Success);
        self.report_blocking(vec![NewEntry { tenant: Some(made.tenant), ..entry }])?;
        Ok(made)
    }

    /// All tenants.
    pub fn all_tenants(&self) -> Vec<TenantInfo> {
        self.keyring().tenants.iter().map(info).collect()
    }

    /// Enrols a client; one with the same key is replaced. Blocks.
    pub fn enrol(&self, new: NewClient) -> Result<Client, Refusal> {
        let mut key_hash = [0; 32];
        hex::decode_to_slice(&new.key_hash, &mut key_hash)
            .map_err(|_| Refusal::new(ProblemCode::BadRequest, "a key hash is 64 hexadecimal digits"))?;
        if new.roles.is_empty() {
            return Err(Refusal::new(ProblemCode::BadRequest, "a client has at least one role"));
        }
        let client = Client {
            key_hash,
            label: new.label,
            roles: new.roles,
            tenants: new.tenants,
            enrolled_at_ms: self.clock.now().0,
        };
        let enrolled = client.clone();
        self.change_keyring(move |keyring| {
            if let Some(unknown) = enrolled.tenants.iter().find(|t| keyring.tenant(**t).is_none()) {
                tracing::warn!(tenant = %unknown, "A client was to be enrolled for a tenant that does not exist");
                return Err(Refusal::new(ProblemCode::NotFound, "no such tenant"));
            }
            keyring.clients.retain(|c| c.key_hash != enrolled.key_hash);
            keyring.clients.push(enrolled);
            Ok(())
        })?;
        self.report_blocking(vec![self.entry(Event::EnrolmentChange, Outcome::Success)])?;
        Ok(client)
    }

    /// Takes a client's enrolment back; its open connections are refused from the next call on. Blocks.
    pub fn revoke_client(&self, key_hash: &str) -> Result<Client, Refusal> {
        let revoked = self.change_keyring(|keyring: &mut Keyring| {
            let at = keyring.clients.iter().position(|c| hex::encode(c.key_hash) == key_hash);
            let at =
                at.ok_or_else(|| Refusal::new(ProblemCode::NotFound, "no client with this key hash is enrolled"))?;
            Ok(keyring.clients.remove(at))
        })?;
        self.report_blocking(vec![self.entry(Event::EnrolmentChange, Outcome::Success)])?;
        Ok(revoked)
    }

    /// All clients.
    pub fn clients(&self) -> Vec<Client> {
        self.keyring().clients.clone()
    }
}

fn info(ring: &crate::keyring::TenantRing) -> TenantInfo {
    let label = Word::new(&ring.label).unwrap_or_else(|| Word::new("unnamed").expect("a word"));
    TenantInfo { tenant: ring.tenant, label, created_at: UnixMillis(ring.created_at_ms) }
}
