//! Other houses that exports may be brought to.

use anyhow::{Context, ensure};
use leadglass_dimse::AeTitle;
use leadglass_model::TenantId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[[peers]]`: a house that the data protection officer may have an export brought to, by C-STORE.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name here, and in the log: small letters, digits, hyphens.
    pub name: String,
    /// Whose exports may go there. Without it: every tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its AE title.
    pub aet: String,
    /// Our AE title towards it.
    #[serde(default = "calling")]
    pub calling_aet: String,
    /// The authority that vouches for it, PEM. Without it nothing is encrypted on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Our certificate chain towards it, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Says that the network to it is somebody's own: without `ca` an export goes only to this very host otherwise.
    #[serde(default)]
    pub in_clear: bool,
}

fn calling() -> String {
    "LEADGLASS".to_owned()
}

impl Peer {
    /// What must hold beyond the types.
    pub fn check(&self, tenants: &[TenantId]) -> anyhow::Result<()> {
        let small = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let named = (1..=MAX_NAME).contains(&self.name.len()) && self.name.bytes().all(small);
        ensure!(named, "[[peers]] {:?}: a name is 1 to {MAX_NAME} of a-z, 0-9 and -", self.name);
        for aet in [&self.aet, &self.calling_aet] {
            AeTitle::parse(aet).with_context(|| format!("[[peers]] {}", self.name))?;
        }
        let known = self.tenant.is_none_or(|tenant| tenants.contains(&tenant));
        ensure!(known, "[[peers]] {} names an unknown tenant", self.name);
        let own = self.certificate.is_some() == self.key.is_some() && (self.key.is_none() || self.ca.is_some());
        ensure!(own, "[[peers]] {}: certificate and key stand together, and beside ca", self.name);
        let here = self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        ensure!(
            self.ca.is_some() || self.in_clear || here,
            "[[peers]] {}: an export would go there in clear; name its ca, or say in_clear = true",
            self.name
        );
        Ok(())
    }
}

const MAX_NAME: usize = 40;
