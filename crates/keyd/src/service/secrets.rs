//! `POST /v1/secrets` and `POST /v1/mac`.

use super::{Caller, Service};
use crate::{
    keyring::{ClientRole, PEPPER},
    refusal::Refusal,
};
use aws_lc_rs::hmac;
use leadglass_audit::{Event, NewEntry, Outcome};
use leadglass_keys::wire::{
    Hex32, INSTALLATION, KeyBytes, MacAnswer, MacName, MacRequest, ProblemCode, SECRET_LEASE_S, SecretName,
    SecretRecord, SecretRequest,
};

impl Service {
    /// Hands out a secret. `audit-log` belongs to the installation, all others to a tenant.
    pub async fn secret(&self, caller: &Caller, ask: SecretRequest) -> Result<SecretRecord, Refusal> {
        caller.needs(ClientRole::Vault)?;
        let entry = NewEntry {
            tenant: Some(ask.tenant),
            code: leadglass_audit::CodeWord::parse(ask.name.as_str()),
            ..self.entry_by(caller, Event::SecretRead, Outcome::Success)
        };
        let secret = match (ask.tenant == INSTALLATION, ask.name == SecretName::AuditLog) {
            (true, true) => {
                let bytes = KeyBytes::copy_of(self.keyring().own.audit_log.reveal());
                SecretRecord { version: 1, lease_s: SECRET_LEASE_S, bytes }
            }
            (false, false) => {
                let keyring = self.tenant_of(caller, ask.tenant)?;
                let (version, bytes) = tenant_secret(&keyring, &ask)?;
                SecretRecord { version, lease_s: SECRET_LEASE_S, bytes }
            }
            _ => return Err(Refusal::new(ProblemCode::NotFound, "no such secret for this tenant")),
        };
        self.report(vec![entry]).await?;
        Ok(secret)
    }

    /// Computes a MAC; its key stays. Not logged one by one: it says nothing about a study and is asked for at each login.
    pub fn mac(&self, caller: &Caller, ask: &MacRequest) -> Result<MacAnswer, Refusal> {
        caller.needs(ClientRole::Vault)?;
        let keyring = self.tenant_of(caller, ask.tenant)?;
        let name = match ask.name {
            MacName::Pepper => PEPPER,
        };
        let opened = keyring.tenant(ask.tenant).and_then(|t| t.secret(name)).ok_or_else(missing)?;
        let (_, pepper) = opened.map_err(Refusal::broken)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, pepper.as_ref());
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&key, ask.data.expose()).as_ref());
        Ok(MacAnswer { mac: Hex32(mac) })
    }
}

fn tenant_secret(keyring: &crate::keyring::Keyring, ask: &SecretRequest) -> Result<(u32, KeyBytes), Refusal> {
    let opened = keyring.tenant(ask.tenant).and_then(|t| t.secret(ask.name.as_str())).ok_or_else(missing)?;
    let (version, bytes) = opened.map_err(Refusal::broken)?;
    Ok((version.get(), KeyBytes::copy_of(&bytes)))
}

fn missing() -> Refusal {
    Refusal::new(ProblemCode::NotFound, "no such secret for this tenant")
}
