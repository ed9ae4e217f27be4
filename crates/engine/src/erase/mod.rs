//! Erasure: an order, its approvals, its steps, its certificate (GDPR Art. 17).
//!
//! ```text
//!  ordered      who, why, on which ground; a time in which it can be taken back; another person's approval
//!  listed       nothing comes into these studies any more; which objects they consist of is written down. Of a series
//!               or an instance: nothing comes under its keys any more, and what stays of the study is sealed anew
//!  destroyed    the key service destroyed the keys and signed since when nothing opens them
//!  unlisted     rows are gone from memory and index, what was open in memory with them
//!  deleted      objects and their thumbnails are gone from the store, looked for again one by one
//!  told         peers that have copies hear of it, where the officer wants that; its word is the order's own
//!  done         a study that was erased comes back only into quarantine; the patient's audit details are closed
//! ```
//!
//! The word of each step is durable before the next begins, and each step may be done twice: whatever kills the node, the
//! order goes on from where it was and comes to the same end. What survives if we die in a step stands at its function in
//! `steps.rs`. An order names nobody: random references and keyed tokens only.

mod certificate;
mod desk;
mod notices;
mod order;
mod part;
mod receipts;
mod recipients;
mod reseal;
mod steps;
mod tombstone;

pub use certificate::{
    CertificateError, CertificateKeys, CertificateText, CopiesWith, certificate_text, verify_certificate,
};
pub use order::{Approved, Cause, ErasureId, Ground, Level, Order, Stage, WhatToErase};
pub use receipts::{kept_receipts, show_receipts};
pub use recipients::{Notice, Recipient, Tell};
pub(crate) use tombstone::{Erased, scan};

use crate::{
    RectifyError,
    access::AccessError,
    retention::{Kept, RetentionError},
    retrieve::RetrieveError,
};
use leadglass_index::IndexError;
use leadglass_journal::CommitError;
use leadglass_keys::{KeysError, ServiceError};
use leadglass_model::{Fault, StudyRef, UnixMillis};
use leadglass_records::RecordError;
use leadglass_seal::SealError;
use leadglass_store::StoreError;

/// What a house demands before something is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasureRules {
    /// Seconds between order and erasure, in which it can be taken back.
    pub cooling_off_s: u64,
    /// Persons besides the one who ordered it that have to approve.
    pub approvals: usize,
}

impl Default for ErasureRules {
    fn default() -> Self {
        Self { cooling_off_s: 7 * 24 * 3600, approvals: 1 }
    }
}

/// Why an erasure could not be ordered, approved or carried on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// No such order, or nothing that it would be about.
    #[error("there is no such erasure, or nothing to erase")]
    Missing,
    /// More studies than one order covers.
    #[error("one order covers at most {MAX_STUDIES} studies, and this patient has {studies}: order them one by one")]
    TooMany {
        /// How many there are.
        studies: usize,
    },
    /// It has to be kept.
    #[error("it has to be kept: {}", .0.why)]
    Kept(Kept),
    /// No retention rule is about it, and nobody answers for that.
    #[error(
        "no retention rule is about it, so nobody has said whether the law wants it kept: write one, or answer for it (no_rule)"
    )]
    NoRule,
    /// What has to be kept cannot be told.
    #[error("what has to be kept cannot be told")]
    Retention(#[from] RetentionError),
    /// Who ordered it does not approve it.
    #[error("who ordered an erasure does not approve it")]
    OwnOrder,
    /// It has begun, or was taken back.
    #[error("the erasure is {} already", .0.as_str())]
    Begun(Stage),
    /// The time in which it can be taken back is not over.
    #[error("the erasure may begin at {} (milliseconds since 1970)", .0.0)]
    CoolingOff(UnixMillis),
    /// Approvals are missing.
    #[error("{missing} approvals are missing")]
    NotApproved {
        /// How many.
        missing: usize,
    },
    /// The key host has not approved yet.
    #[error("the key host has to approve: leadglass-keyd approve {approval}")]
    KeyHost {
        /// The approval that waits there.
        approval: String,
    },
    /// Peers that were to be told of the erasure do not take it.
    #[error("{peers} peers that have copies could not be told: run it again, or let it end without")]
    NotTold {
        /// How many.
        peers: usize,
    },
    /// There is nothing to certify yet.
    #[error("nothing is erased yet")]
    NotYet,
    /// What came in before has not reached its place yet.
    #[error("what was taken in has not reached its place yet; ask again")]
    Pending,
    /// A part of a study that lies under more keys than one order ends.
    #[error(
        "this part of the study lies under more than {MAX_STUDIES} keys: erase the study, or its instances one by one"
    )]
    TooManyKeys,
    /// Whose it is is being corrected.
    #[error("whose images these are is being corrected: wait for that, or carry it on (leadglass rectify list)")]
    BeingCorrected,
    /// Another order about the study has begun and is not at its end.
    #[error("another erasure of this study is under way: {0}")]
    Another(ErasureId),
    /// A copy of it lies in quarantine, where this order does not reach.
    #[error("a copy of it lies in quarantine (case {case}), where this order does not reach: erase the study")]
    InQuarantine {
        /// In which case.
        case: StudyRef,
    },
    /// What stays of the study could not be read, so nothing goes.
    #[error("what stays of the study cannot be read: nothing is erased before it is")]
    Read(#[from] RetrieveError),
    /// What stays of the study could not be sealed anew.
    #[error("what stays of the study cannot be sealed anew")]
    Seal(#[from] SealError),
    /// What is written down of the study's correction could not be changed.
    #[error("what is written down of the study's correction cannot be changed")]
    Rectified(#[source] Box<RectifyError>),
    /// The key service failed or refused.
    #[error("the key service gave no answer")]
    Keys(#[from] KeysError),
    /// It failed or refused.
    #[error("the key service did not do it")]
    Service(#[from] ServiceError),
    /// What it answered does not read.
    #[error("the key service's receipt does not read")]
    Receipt,
    /// The index failed.
    #[error("the index cannot be asked")]
    Index(#[from] IndexError),
    /// The store failed.
    #[error("the store cannot be asked")]
    Store(#[from] StoreError),
    /// An object is still there after it was deleted.
    #[error("{left} objects are still in the store after they were deleted")]
    StillThere {
        /// How many.
        left: u64,
    },
    /// The records failed.
    #[error("the order cannot be written down")]
    Records(#[from] RecordError),
    /// It could not be recorded in the log.
    #[error("the erasure cannot be recorded")]
    Audit(#[from] CommitError),
    /// The search for a patient's studies could not be recorded.
    #[error("the erasure cannot be recorded")]
    Access(#[from] AccessError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl EraseError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::TooMany { .. } | Self::TooManyKeys => Fault::BadInput,
            Self::Read(error) => error.fault(),
            Self::Seal(_) => Fault::Broken,
            Self::Rectified(error) => error.fault(),
            Self::OwnOrder => Fault::Denied,
            Self::Kept(_)
            | Self::NoRule
            | Self::Another(_)
            | Self::BeingCorrected
            | Self::InQuarantine { .. }
            | Self::Begun(_)
            | Self::CoolingOff(_)
            | Self::NotApproved { .. }
            | Self::KeyHost { .. }
            | Self::NotTold { .. }
            | Self::NotYet => Fault::Conflict,
            Self::Pending | Self::Stopping => Fault::Busy,
            Self::Retention(error) => error.fault(),
            Self::Keys(error) => error.fault(),
            Self::Service(error) => error.fault(),
            Self::Receipt => Fault::Corrupt,
            Self::Index(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::StillThere { .. } => Fault::Broken,
            Self::Records(error) => error.fault(),
            Self::Audit(error) => error.fault(),
            Self::Access(error) => error.fault(),
        }
    }

    /// The stable word of it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "no-erasure",
            Self::TooMany { .. } => "too-many-studies",
            Self::TooManyKeys => "too-many-keys",
            Self::Another(_) => "another-erasure",
            Self::BeingCorrected => "being-corrected",
            Self::InQuarantine { .. } => "in-quarantine",
            Self::Read(_) => "unreadable",
            Self::Kept(_) => "kept",
            Self::NoRule => "no-rule",
            Self::OwnOrder => "own-order",
            Self::Begun(_) => "begun",
            Self::CoolingOff(_) => "cooling-off",
            Self::NotApproved { .. } => "not-approved",
            Self::KeyHost { .. } => "key-host-approval",
            Self::NotTold { .. } => "not-told",
            Self::NotYet => "not-yet",
            _ => "erasure",
        }
    }
}

/// Studies of one order: what the key service destroys in one call.
pub const MAX_STUDIES: usize = leadglass_keys::wire::MAX_BATCH;
