//! What vault and key service say to each other.
//!
//! mTLS 1.3, HTTP/2, one port. Requests are JSON; answers without keys are JSON; answers that carry keys are binary: a
//! big-endian `u32` count, then so many records of one fixed length, so that both sides hold them in buffers they wipe.
//! Failures are `application/problem+json` ([`Problem`]). Source: the "Service" table of the key design; paths are in [`path`].
//!
//! **Invariant:** every list, text and answer has a bound that is checked while it is read, before memory is given out
//! for it. Key bytes stand only in [`KeyBytes`] and in [`zeroize::Zeroizing`] buffers. No type here can carry a
//! patient's name: the key service knows random references only.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod actor;
mod admin;
mod approval;
mod attest;
mod bind;
mod bounded;
mod create;
mod encoding;
mod erase;
mod index;
mod key_bytes;
mod log;
mod mac;
mod person;
mod problem;
mod record;
mod revocation;
mod secret;
mod tenant;
mod unwrap;

pub use actor::{ActorClaim, ActorKind, ActorProof, RegisterActors};
pub use admin::{
    EpochAdvance, EpochAdvanced, EpochList, EpochStatement, Health, RewrapProgress, RewrapRequest, RotateRequest,
    RotateWhat, Rotated, UnsealRequest,
};
pub use approval::{
    Approval, ApprovalId, ApprovalState, Assertion, Job, LodgedJob, MAX_JOB_BYTES, OpenApproval, approval_challenge,
};
pub use attest::{AttestStatement, Attestation, Budgets, SignedStatement};
pub use bind::BindRequest;
pub use bounded::{Few, Word};
pub use create::{CreateRequest, NewKey};
pub use encoding::{Base64Bytes, Hex32, json_from, json_to};
pub use erase::{
    DestroyRequest, DestroyStatement, OrderId, PresentReceipts, ReceiptsSeen, RestrictAnswer, RestrictRequest,
};
pub use index::{IndexKeyRecord, IndexPage, IndexRequest};
pub use key_bytes::KeyBytes;
pub use log::{
    CosignAnswer, CosignRequest, LogHead, LogPage, LogRead, LogReset, LogResetAnswer, MAX_LEAF_BYTES, MAX_LOG_PAGE,
    MAX_PROOF_HASHES,
};
pub use mac::{MAX_MAC_INPUT, MacAnswer, MacName, MacRequest};
pub use person::{
    EnrolPerson, Enrolled, MAX_ENROLMENT_CODE_BYTES, MAX_PUBLIC_KEY_BYTES, MAX_RP_ID_BYTES, passkey_fingerprint,
};
pub use problem::{Problem, ProblemCode};
pub use record::{Record, WireError, decode_records, encode_records};
pub use revocation::{Revocation, RevocationEvent, RevocationKind, RevocationLines};
pub use secret::{SECRET_LEASE_S, SecretName, SecretRecord, SecretRequest};
pub use tenant::{CreateTenant, MAX_TENANTS, TenantInfo, TenantList};
pub use unwrap::{KeyRefusal, Opened, OpenedKeys, Scope, UnwrapOutcome, UnwrapRequest};

/// Paths of the calls.
pub mod path {
    /// `POST`: [`super::CreateRequest`] → records of [`super::NewKey`].
    pub const CREATE: &str = "/v1/keys/create";
    /// `POST`: [`super::BindRequest`] → 204.
    pub const BIND: &str = "/v1/keys/bind";
    /// `POST`: [`super::UnwrapRequest`] → records of [`super::UnwrapOutcome`], in the order asked.
    pub const UNWRAP: &str = "/v1/keys/unwrap";
    /// `POST`: [`super::RegisterActors`] → 204.
    pub const ACTORS: &str = "/v1/actors";
    /// `POST`: [`super::IndexRequest`] → [`super::IndexPage`].
    pub const INDEX: &str = "/v1/keys/index";
    /// `POST`: [`super::RestrictRequest`] → [`super::RestrictAnswer`].
    pub const RESTRICT: &str = "/v1/keys/restrict";
    /// `POST`: [`super::RestrictRequest`] → [`super::RestrictAnswer`].
    pub const UNRESTRICT: &str = "/v1/keys/unrestrict";
    /// `POST`: [`super::DestroyRequest`] → [`super::SignedStatement`] of a [`super::DestroyStatement`].
    pub const DESTROY: &str = "/v1/keys/destroy";
    /// `POST`: [`super::PresentReceipts`] → [`super::ReceiptsSeen`]; a request of up to [`super::MAX_RECEIPTS_BYTES`].
    pub const RECEIPTS: &str = "/v1/keys/receipts";
    /// `POST`: [`super::EpochAdvance`] → [`super::EpochAdvanced`].
    pub const EPOCH_ADVANCE: &str = "/v1/epoch/advance";
    /// `GET` → [`super::EpochList`].
    pub const EPOCHS: &str = "/v1/epochs";
    /// `GET` → [`super::TenantList`]; `POST`: [`super::CreateTenant`] → [`super::TenantInfo`].
    pub const TENANTS: &str = "/v1/tenants";
    /// `POST`: [`super::RotateRequest`] → [`super::Rotated`].
    pub const ROTATE: &str = "/v1/rotate";
    /// `POST`: [`super::RewrapRequest`] → [`super::RewrapProgress`].
    pub const REWRAP: &str = "/v1/rewrap";
    /// `POST`: [`super::SecretRequest`] → one record of [`super::SecretRecord`].
    pub const SECRETS: &str = "/v1/secrets";
    /// `POST`: [`super::MacRequest`] → [`super::MacAnswer`].
    pub const MAC: &str = "/v1/mac";
    /// `GET ?after=N` → lines of [`super::RevocationEvent`], a stream that stays open: those after number N, then what
    /// comes. Without `after` what comes from now on. The first line is sent at once.
    pub const REVOCATIONS: &str = "/v1/revocations";
    /// `POST`: [`super::LogReset`] → [`super::LogResetAnswer`].
    pub const LOG_RESET: &str = "/v1/log/reset";
    /// `POST`: [`super::LogRead`] → [`super::LogPage`].
    pub const LOG_READ: &str = "/v1/log/read";
    /// `POST`: [`super::CosignRequest`] → [`super::CosignAnswer`]; 409 on a fork, and where the proof starts elsewhere.
    pub const LOG_COSIGN: &str = "/v1/log/cosign";
    /// `GET ?nonce=64 hex digits` → [`super::Attestation`].
    pub const ATTEST: &str = "/v1/attest";
    /// `GET` → [`super::Health`]. Answered while sealed.
    pub const HEALTH: &str = "/v1/health";
    /// `POST`: [`super::UnsealRequest`] → [`super::Health`]. Answered while sealed.
    pub const UNSEAL: &str = "/v1/unseal";
    /// `POST`: [`super::OpenApproval`] → [`super::Approval`]; `GET {path}/{id}` → [`super::LodgedJob`]; `PUT {path}/{id}`:
    /// [`super::Assertion`] → [`super::Approval`].
    pub const APPROVALS: &str = "/v1/approvals";
    /// `POST`: [`super::EnrolPerson`] → [`super::Enrolled`].
    pub const PEOPLE_ENROL: &str = "/v1/people/enrol";
}

/// Media type of the binary answers.
pub const KEYS_MEDIA_TYPE: &str = "application/vnd.leadglass.keys";
/// Media type of JSON bodies.
pub const JSON_MEDIA_TYPE: &str = "application/json";
/// Media type of failures (RFC 9457).
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";
/// Media type of the revocation stream: one JSON object a line.
pub const LINES_MEDIA_TYPE: &str = "application/x-ndjson";

/// The most keys in one `create`, `unwrap`, `restrict` or `destroy`.
pub const MAX_BATCH: usize = 256;
/// The most index keys in one page: 4,096 records of 68 bytes, about 272 KiB.
pub const MAX_INDEX_PAGE: usize = 4096;
/// The longest JSON request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 128 * 1024;
/// The longest request that presents receipts, in bytes: one of 4,096 keys has about 160 KiB.
pub const MAX_RECEIPTS_BYTES: usize = 512 * 1024;
/// The longest answer of any call but the revocation stream, in bytes.
pub const MAX_ANSWER_BYTES: usize = 512 * 1024;
/// The longest problem body that is read, in bytes.
pub const MAX_PROBLEM_BYTES: usize = 8 * 1024;
/// The longest line of the revocation stream, in bytes: [`MAX_BATCH`] references in both lists fit.
pub const MAX_LINE_BYTES: usize = 32 * 1024;
/// The service sends a line at least so often on the revocation stream, so that silence means loss; in seconds.
pub const REVOCATION_BEAT_S: u64 = 10;

/// The tenant that stands for the installation itself: 16 zero bytes. The secret [`SecretName::AuditLog`] belongs to
/// it, since one log serves all tenants. No real tenant has this name.
pub const INSTALLATION: leadglass_model::TenantId = leadglass_model::TenantId::from_bytes([0; 16]);
