//! What has to be kept, and until when: rules by law, and holds (GDPR Art. 17 (3)).
//!
//! A study is kept until the latest day that a rule about it says, as long as somebody holds it, and as long as a case of its
//! patient is open (`cases`). A rule that nobody confirmed keeps what it is about: no seed and no slip of the pen erases
//! anything, nor lets it be erased. Nothing is erased by itself either: what is over stands in a list
//! ([`Engine::retention_due`](crate::Engine::retention_due)), and a person orders the erasure.
//!
//! Rules lie in the tenant's records (table 8, under their names), holds in table 7 (`hold:` ‖ id), JSON, sealed. A hold names
//! nobody: a study by its random name, a patient by keyed tokens; its reason is text of the officer.

mod day;
mod desk;
mod hold;
mod judge;
mod rule;
mod seeds;

pub use day::{Day, NoDay};
pub use desk::{Due, DueList};
pub use hold::{Hold, HoldId, WhatToHold};
pub use rule::{Confirmed, RecordClass, Rule, Since};

use leadglass_index::IndexError;
use leadglass_journal::CommitError;
use leadglass_model::{Fault, UnixMillis};
use leadglass_records::RecordError;

/// Why something has to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The rule or hold, in words that may stand in a letter.
    pub why: String,
    /// Until when; `None` while nobody confirms the rule or lifts the hold.
    pub until: Option<UnixMillis>,
}

/// Why a rule or a hold could not be changed or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetentionError {
    /// No such rule, hold, study or patient.
    #[error("there is no such thing")]
    Missing,
    /// Names or texts out of bounds.
    #[error("a rule has a name of small letters, a country, 1 to 200 years and a source")]
    Form,
    /// More than a tenant keeps.
    #[error("there are {MAX_ROWS} already")]
    TooMany,
    /// No seeds are known for the country.
    #[error("no rule is known for this country: its law has to be looked up")]
    NoSeeds,
    /// Somebody else changed it at the same time.
    #[error("it changed meanwhile")]
    Changed,
    /// The records failed.
    #[error("the rules cannot be read or written")]
    Records(#[source] RecordError),
    /// The index failed.
    #[error("the index cannot be asked")]
    Index(#[from] IndexError),
    /// It could not be recorded in the log.
    #[error("the change cannot be recorded")]
    Audit(#[from] CommitError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl RetentionError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::Form | Self::NoSeeds => Fault::BadInput,
            Self::TooMany | Self::Changed => Fault::Conflict,
            Self::Records(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Audit(error) => error.fault(),
            Self::Stopping => Fault::Busy,
        }
    }

    /// The stable word of it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Form => "rule",
            Self::TooMany => "too-many",
            Self::NoSeeds => "no-seeds",
            Self::Changed => "changed",
            _ => "retention",
        }
    }
}

impl From<RecordError> for RetentionError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Changed => Self::Changed,
            error => Self::Records(error),
        }
    }
}

/// Rules, or holds, of a tenant.
const MAX_ROWS: usize = 512;
