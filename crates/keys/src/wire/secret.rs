//! `POST /v1/secrets`: a tenant's rarely changing secrets.

use super::{KeyBytes, Record, WireError, record::Fields};
use leadglass_model::TenantId;
use serde::{Deserialize, Serialize};

/// How long a secret may be held, in seconds: as long as the oldest reserve key, since ingest needs both while the key
/// service is away.
pub const SECRET_LEASE_S: u32 = 12 * 3600;

/// Which secret. All are 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretName {
    /// Key of the HMAC that turns UIDs into row keys.
    Token,
    /// Seals the vault's own records.
    Record,
    /// Wraps the keys that audit details are sealed under.
    AuditDetail,
    /// Ed25519 seed that signs the vault's log. Its tenant is [`super::INSTALLATION`].
    AuditLog,
    /// Issues the certificates of devices.
    DeviceCa,
    /// Signs links for capturing by phone.
    Capture,
}

impl SecretName {
    /// Every name.
    pub const ALL: [Self; 6] =
        [Self::Token, Self::Record, Self::AuditDetail, Self::AuditLog, Self::DeviceCa, Self::Capture];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Record => "record",
            Self::AuditDetail => "audit-detail",
            Self::AuditLog => "audit-log",
            Self::DeviceCa => "device-ca",
            Self::Capture => "capture",
        }
    }
}

impl std::fmt::Display for SecretName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Asks for a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub name: SecretName,
}

/// A secret. The answer is one record of 40 bytes: `version[4] lease_s[4] bytes[32]`.
#[derive(Debug)]
pub struct SecretRecord {
    /// Grows by one when the secret is replaced; starts at 1.
    pub version: u32,
    /// How long it may be held, in seconds.
    pub lease_s: u32,
    /// The secret.
    pub bytes: KeyBytes,
}

impl Record for SecretRecord {
    const LEN: usize = 4 + 4 + 32;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.lease_s.to_be_bytes());
        out.extend_from_slice(self.bytes.expose());
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, WireError> {
        let version = from.u32("version")?;
        if version == 0 {
            return Err(WireError::Field { field: "version" });
        }
        Ok(Self { version, lease_s: from.u32("lease_s")?, bytes: from.real_key("bytes")? })
    }
}
