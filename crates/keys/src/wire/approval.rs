//! `/v1/approvals`: a person says yes with a passkey that the key service itself checks.

use super::{Base64Bytes, Few, Hex32, LogHead, MAX_BATCH, Scope, Word};
use leadglass_model::{Purpose, StudyRef, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Name of an approval.
pub type ApprovalId = Word;

/// The longest job, in bytes.
pub const MAX_JOB_BYTES: usize = 16 * 1024;

/// Asks for an approval of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenApproval {
    /// JSON of a [`Job`], byte for byte as it will be signed.
    pub job: Base64Bytes<MAX_JOB_BYTES>,
}

/// What is to be approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Whose studies.
    pub tenant: TenantId,
    /// What is to happen: `destroy`, `unwrap`, `log-reset`, …
    pub action: Word,
    /// What keys are opened for, where any are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// What they open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The studies, where they are named.
    #[serde(default)]
    pub study_refs: Few<StudyRef, MAX_BATCH>,
    /// How many, where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The log that the witness is to believe, for a `log-reset`: this one and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogHead>,
    /// When the approval ends.
    pub until: UnixMillis,
}

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalState {
    /// Waits for a person.
    Open,
    /// Given.
    Approved,
    /// Used up or over.
    Ended,
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its name.
    pub id: ApprovalId,
    /// Goes into the challenge.
    pub nonce: Hex32,
    /// When it ends.
    pub expires_at: UnixMillis,
    /// Where it stands.
    pub state: ApprovalState,
}

/// A lodged job, for whoever shows it to the person who is to approve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LodgedJob {
    /// Its approval.
    pub approval: Approval,
    /// JSON of the [`Job`], byte for byte as it was lodged and will be signed.
    pub job: Base64Bytes<MAX_JOB_BYTES>,
}

/// A WebAuthn assertion (W3C Web Authentication Level 2 §7.2); its members as the browser gave them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// Which credential.
    pub credential_id: Base64Bytes<1024>,
    /// `clientDataJSON`.
    pub client_data_json: Base64Bytes<4096>,
    /// `authenticatorData`.
    pub authenticator_data: Base64Bytes<4096>,
    /// The signature.
    pub signature: Base64Bytes<1024>,
}

/// What the passkey signs: SHA-256("leadglass approve v1" ‖ 00 ‖ nonce ‖ job bytes).
pub fn approval_challenge(nonce: &Hex32, job: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"leadglass approve v1\0");
    hash.update(nonce.0);
    hash.update(job);
    hash.finalize().into()
}
