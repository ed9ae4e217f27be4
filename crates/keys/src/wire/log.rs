//! `/v1/log/*`: the key service as witness of the vault's log.

use super::{ApprovalId, Few, Hex32};
use serde::{Deserialize, Serialize};

/// The most hashes of a consistency proof between trees below 2^63 leaves (RFC 6962 §2.1.2).
pub const MAX_PROOF_HASHES: usize = 64;

/// Asks for a cosignature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosignRequest {
    /// The checkpoint: a signed note (C2SP tlog-checkpoint), at most 4 KiB.
    pub checkpoint: String,
    /// The size that the proof starts from: the last one this witness signed, 0 for the first.
    pub old_size: u64,
    /// Consistency proof from the old size.
    pub proof: Few<Hex32, MAX_PROOF_HASHES>,
}

/// The cosignature, or with 409 a problem whose `known_size` is what the witness saw last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosignAnswer {
    /// A signature line to be put under the note (C2SP tlog-cosignature).
    pub cosignature: String,
}

/// After an honest restore: a new log that names the old head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogReset {
    /// The old log.
    pub old_origin: String,
    /// The new one.
    pub new_origin: String,
    /// The approval.
    pub approval: ApprovalId,
}

/// What the witness had seen of the old log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogResetAnswer {
    /// Its last size.
    pub old_size: u64,
    /// Its last root.
    pub old_root: Hex32,
}
