//! `/v1/log/*`: the key service as witness of the vault's log.

use super::{ApprovalId, Base64Bytes, Few, Hex32, WireError};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

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

/// A log's size and root, as a person compares them and types them in: `SIZE:ROOT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogHead {
    /// Entries.
    pub size: u64,
    /// RFC 6962 §2.1.1.
    pub root: Hex32,
}

impl fmt::Display for LogHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.size, self.root)
    }
}

impl FromStr for LogHead {
    type Err = WireError;
    fn from_str(text: &str) -> Result<Self, WireError> {
        let (size, root) = text.split_once(':').ok_or(WireError::Field { field: "SIZE:ROOT" })?;
        let size = size.parse().map_err(|_| WireError::Field { field: "SIZE:ROOT" })?;
        Ok(Self { size, root: root.parse()? })
    }
}

/// After an honest restore: a new log. It goes on from the head that the approval names.
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

/// The most entries in one [`LogPage`]: with 1,024 bytes each they stay below the longest answer.
pub const MAX_LOG_PAGE: usize = 256;
/// The longest entry of a log, in bytes.
pub const MAX_LEAF_BYTES: usize = 1024;

/// Asks for entries of the key service's own log, so that the vault can witness it and match each unwrap with an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRead {
    /// The first entry wanted; at the log's size or above none is given.
    pub from: u64,
}

/// The next entries, and what the log has signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// The log's newest checkpoint: a signed note.
    pub checkpoint: String,
    /// The log's public key, `<name>+<key id>+<base64>`.
    pub log_key: String,
    /// The public key of this service as witness of the vault's log, in the same form.
    pub witness_key: String,
    /// The caller as the log calls it: the first 16 bytes of its key's hash, 32 hexadecimal digits.
    pub caller: String,
    /// The leaves from `from` on.
    pub leaves: Few<Base64Bytes<MAX_LEAF_BYTES>, MAX_LOG_PAGE>,
}
