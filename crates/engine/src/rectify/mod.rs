//! Rectification: whose these images are, and what a study is called, said rightly (GDPR Art. 16). See `RECTIFICATION.md`.
//!
//! ```text
//!  previewed    what would change, old and new, with a digest of it
//!  checked      every instance can say it in its own character set, or nothing is ordered
//!  ordered      written down; whatever kills the node, it goes on
//!  shown        the study's row says it: it is found as the new, and what still comes with the old waits in quarantine
//!  done         the current version of every instance says it
//! ```
//!
//! An instance is coerced as it is read and taken in by the path of an arriving instance, so its version from before stays
//! sealed as history. One that says it already is left alone: doing a step twice leaves the same. Instances that belong to
//! another study become new ones there (`split.rs`), and a note hides those that they were.
//!
//! A rebuilt index finds the same without being told: a study is what its current versions say.

mod attribute;
mod desk;
mod instance;
mod meant;
mod order;
mod run;
mod split;

pub use attribute::{Attribute, Values};
pub use meant::{RectificationPreview, StudyChange, Truth, WhatToRectify};
pub use order::{Rectification, RectificationId};

use crate::{EraseError, ErasureId, IngestError, RetrieveError, access::AccessError, retention::RetentionError};
use leadglass_index::IndexError;
use leadglass_journal::CommitError;
use leadglass_keys::KeysError;
use leadglass_model::Fault;
use leadglass_records::RecordError;
use leadglass_tap::CoerceError;

/// Why something could not be corrected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RectifyError {
    /// No such study, part, patient or rectification.
    #[error("there is no such study, patient or rectification")]
    Missing,
    /// More studies than one order covers, or more parts of one.
    #[error("one rectification covers at most {MAX_STUDIES} studies, or as many series and instances of one")]
    TooMany,
    /// Patients of several issuers have this number.
    #[error("patients of more than one issuer have this number: name the issuer")]
    Ambiguous,
    /// Nothing would change.
    #[error("all of it says so already")]
    Nothing,
    /// The part is the whole.
    #[error("nothing would stay of the study: correct the study itself")]
    Whole,
    /// What would change is not what was shown.
    #[error("what would change is not what the preview showed: look at it again")]
    Changed,
    /// An erasure of it was ordered.
    #[error("an erasure was ordered that is about it ({0}): take that back first, or let it come to its end")]
    Erased(ErasureId),
    /// It is being erased.
    #[error("it is being erased")]
    Going,
    /// It would not be held any more.
    #[error(
        "somebody holds this patient's images for a legal claim, and what is another patient's would not be held: put a \
         hold on the study first"
    )]
    Held,
    /// A value is not of its form.
    #[error(transparent)]
    Form(CoerceError),
    /// Instances that cannot say it. Nothing was changed.
    #[error("{instances} instances cannot be corrected, so nothing was: {why}")]
    Unfit {
        /// How many.
        instances: u64,
        /// Why the first of them cannot.
        why: CoerceError,
    },
    /// An instance cannot say it, though it could when it was looked at.
    #[error("an instance cannot be corrected: {0}")]
    Coerce(#[from] CoerceError),
    /// A part of it went into quarantine.
    #[error(
        "a part of it does not fit the study that it should come into, and waits in quarantine: decide on that first"
    )]
    SetAside,
    /// An instance could not be read.
    #[error("an instance cannot be read")]
    Read(#[from] RetrieveError),
    /// A corrected instance could not be taken in.
    #[error("a corrected instance cannot be taken in")]
    Ingest(#[from] IngestError),
    /// What is being erased cannot be told.
    #[error("what is being erased cannot be told")]
    Erasures(#[from] EraseError),
    /// What is held cannot be told.
    #[error("what is held cannot be told")]
    Retention(#[from] RetentionError),
    /// The key service failed.
    #[error("the key service gave no answer")]
    Keys(#[from] KeysError),
    /// The index failed.
    #[error("the index cannot be asked")]
    Index(#[from] IndexError),
    /// The records failed.
    #[error("the rectification cannot be written down")]
    Records(#[from] RecordError),
    /// It could not be recorded.
    #[error("the rectification cannot be recorded")]
    Audit(#[from] CommitError),
    /// As [`RectifyError::Audit`].
    #[error("the rectification cannot be recorded")]
    Access(#[from] AccessError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl RectifyError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::TooMany | Self::Ambiguous | Self::Whole | Self::Form(_) => Fault::BadInput,
            Self::Nothing
            | Self::SetAside
            | Self::Changed
            | Self::Held
            | Self::Going
            | Self::Erased(_)
            | Self::Unfit { .. }
            | Self::Coerce(_) => Fault::Conflict,
            Self::Read(error) => error.fault(),
            Self::Ingest(error) => error.fault(),
            Self::Erasures(error) => error.fault(),
            Self::Retention(error) => error.fault(),
            Self::Keys(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Records(error) => error.fault(),
            Self::Audit(error) => error.fault(),
            Self::Access(error) => error.fault(),
            Self::Stopping => Fault::Busy,
        }
    }

    /// The stable word of it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "no-rectification",
            Self::TooMany => "too-many-studies",
            Self::Ambiguous => "issuer",
            Self::Nothing => "nothing-to-correct",
            Self::Whole => "whole-study",
            Self::Changed => "changed",
            Self::SetAside => "set-aside",
            Self::Erased(_) | Self::Going => "being-erased",
            Self::Held => "held",
            Self::Form(_) => "value",
            Self::Unfit { .. } | Self::Coerce(_) => "not-correctable",
            _ => "rectification",
        }
    }
}

/// Studies of one order, or series and instances of one study.
const MAX_STUDIES: usize = 256;
