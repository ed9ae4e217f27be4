//! `GET /v1/attest`: what the key service says of itself, signed.

use super::{Hex32, Word};
use leadglass_model::UnixMillis;
use serde::{Deserialize, Serialize};

/// A statement with its signature. The text is kept as it was signed; nothing is put into another order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedStatement {
    /// JSON text of the statement.
    pub statement: String,
    /// Ed25519 public key of who signs.
    pub signer: Hex32,
    /// Ed25519 over the text's UTF-8 bytes (RFC 8032), 128 hexadecimal digits.
    pub signature: String,
}

/// The answer.
pub type Attestation = SignedStatement;

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestStatement {
    /// The caller's nonce.
    pub nonce: Hex32,
    /// When.
    pub at: UnixMillis,
    /// Version and build.
    pub build: String,
    /// SHA-256 of the configuration.
    pub config_digest: Hex32,
    /// Seal provider.
    pub provider: Word,
    /// Epoch in force.
    pub epoch: u32,
    /// Budgets in force.
    pub budgets: Budgets,
    /// Newest checkpoint of the key service's own log.
    pub checkpoint: String,
}

/// Distinct studies that may be opened in a sliding window, scope `object`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// A person, an hour.
    pub person_per_hour: u32,
    /// A person, a day.
    pub person_per_day: u32,
    /// A vault node, an hour.
    pub node_per_hour: u32,
    /// A tenant, a day.
    pub tenant_per_day: u32,
    /// In emergencies, an hour.
    pub break_glass_per_hour: u32,
    /// Nightly samples, a day.
    pub storage_check_per_day: u32,
}
