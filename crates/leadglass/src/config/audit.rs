//! Where the log goes besides this node.

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[audit]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// An audit repository that is told every entry as it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syslog: Option<Syslog>,
}

/// `[audit.syslog]`: an audit repository that takes syslog over TLS (RFC 5425; DICOM PS3.15 A.6, IHE ITI-20). It is told the
/// entries of all tenants of this node, with the same pseudonyms and keyed tokens as `leadglass audit export`, and no names. Each
/// entry comes at least once: after an outage some come again, which the entry's name tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    /// Its name or address, as its certificate has it.
    pub host: String,
    /// Its port.
    #[serde(default = "registered_port")]
    pub port: u16,
    /// The authority of its certificate, PEM. No other is believed.
    pub ca: PathBuf,
    /// The certificate that this vault shows it, PEM, leaf first; with `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl Audit {
    /// What must hold beyond the types.
    pub fn check(&self) -> anyhow::Result<()> {
        let Some(syslog) = &self.syslog else { return Ok(()) };
        ensure!(!syslog.host.is_empty(), "audit.syslog.host is empty");
        ensure!(
            syslog.certificate.is_some() == syslog.key.is_some(),
            "audit.syslog: certificate and key come together, or neither"
        );
        Ok(())
    }
}

/// RFC 5425 §4.1.
const fn registered_port() -> u16 {
    6514
}
