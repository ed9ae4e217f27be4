//! Health, unseal, epochs and rotation.

use super::{ApprovalId, Base64Bytes, Hex32, SignedStatement, Word};
use leadglass_model::{TenantId, UnixMillis};
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
    /// How far it is: an [`EpochStatement`].
    pub receipt: SignedStatement,
}

/// How far the end of an epoch is; its JSON text is what the service signs ([`SignedStatement`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStatement {
    /// The epoch that ended.
    pub old: u32,
    /// The one that began.
    pub new: u32,
    /// Seal provider.
    pub provider: Word,
    /// `S`: kept in software, overwritten and discarded. `H`: kept in and destroyed by hardware.
    pub class: char,
    /// Under which approval; without one it was done on the key host.
    pub approval: Option<ApprovalId>,
    /// SHA-256 of the backup under the new epoch that was verified before.
    pub backup_sha256: Option<Hex32>,
    /// When it began.
    pub began_at: UnixMillis,
    /// Until when the old key is disabled and not destroyed.
    pub held_until: Option<UnixMillis>,
    /// Since when no earlier backup opens.
    pub epoch_destroyed_at: Option<UnixMillis>,
    /// When the old epoch's recovery capsule will be deleted.
    pub capsule_until: Option<UnixMillis>,
    /// When it was.
    pub backup_erased_at: Option<UnixMillis>,
}

/// Every epoch that began: statements of [`EpochStatement`], oldest first, the newest 256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochList {
    /// One an epoch.
    pub epochs: Vec<SignedStatement>,
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
