//! Health, unseal, epochs and rotation.

use super::{ApprovalId, Base64Bytes, Hex32, SignedStatement};
use leadglass_model::TenantId;
use serde::{Deserialize, Serialize};

/// How the service is. Answered while sealed, so it says little.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// No key operation until it is unsealed.
    pub sealed: bool,
    /// Epoch in force; `None` while sealed.
    pub epoch: Option<u32>,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Version.
    pub version: String,
}

/// Unseals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsealRequest {
    /// The passphrase, in UTF-8.
    pub passphrase: Base64Bytes<1024>,
}

/// Ends an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochAdvance {
    /// SHA-256 of a fresh backup that was verified.
    pub backup_digest: Hex32,
    /// The second person's approval.
    pub approval: ApprovalId,
}

/// The epoch is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochAdvanced {
    /// The one that ended.
    pub old: u32,
    /// The one that began.
    pub new: u32,
    /// What the seal provider says about the old key's end.
    pub receipt: SignedStatement,
}

/// What to rotate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotateWhat {
    /// The tenant's key encryption key.
    TenantKek,
    /// All shard keys of the tenant; followed by a rewrap.
    Shards,
}

/// Rotates keys of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub what: RotateWhat,
}

/// Rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The version now in force.
    pub version: u32,
    /// Wraps that a rewrap still has to move.
    pub to_rewrap: u64,
}

/// Moves wraps under the keys in force, a bounded piece a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewrapRequest {
    /// Whose.
    pub tenant: TenantId,
    /// Wraps to move at most.
    pub limit: u32,
}

/// How far a rewrap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewrapProgress {
    /// Moved by this call.
    pub moved: u64,
    /// Still to be moved.
    pub left: u64,
}
