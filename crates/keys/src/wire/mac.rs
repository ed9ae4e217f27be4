//! `POST /v1/mac`: an HMAC under a key that never leaves the key service.

use super::{Base64Bytes, Hex32};
use leadglass_model::TenantId;
use serde::{Deserialize, Serialize};

/// The longest input, in bytes.
pub const MAX_MAC_INPUT: usize = 4096;

/// Which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacName {
    /// Peppers password verifiers and one-time codes.
    Pepper,
}

/// Asks for a MAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MacRequest {
    /// Whose key.
    pub tenant: TenantId,
    /// Which key.
    pub name: MacName,
    /// The input.
    pub data: Base64Bytes<MAX_MAC_INPUT>,
}

/// HMAC-SHA-256 of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacAnswer {
    /// The MAC.
    pub mac: Hex32,
}
