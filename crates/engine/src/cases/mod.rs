//! Cases of the data protection officer: what a patient asks for by right (GDPR Art. 15 to 18, 20, 21), and breaches
//! (Art. 33, 34).
//!
//! A case has a deadline, a check of who asks, decisions with their legal ground, links to what was done, and a trail:
//! every step says who, when, and which entry of the log stands for it. The entry is durable before the row, the row
//! before the answer. An open case also keeps the patient's studies from erasure: the judge of `retention` asks
//! [`OpenCase`].
//!
//! Cases lie in the tenant's records (table 5, `case:` ‖ id), JSON, sealed: `CASES.md`. They name the patient and
//! outlive the erasure of her images: they are the proof of what was asked and answered (GDPR Art. 5(2)). So long as a
//! practice keeps that, and no longer. Its own templates of letters lie beside them.

mod asked;
mod case;
mod deadline;
mod desk;
mod expire;
mod ground;
mod language;
mod letter;
mod outputs;
mod own;
mod rows;
mod serial;
mod template;
mod texts;

pub(crate) use asked::Asked;
pub use case::{
    CaseId, CaseLink, CasePatient, CaseState, CaseType, Channel, Extension, IdentityCheck, Linked, Note, RightsCase,
    RightsDecision, RightsOutcome, Seen, Stamp, Written,
};
pub use deadline::{BREACH_SECS, Deadline};
pub use desk::{CaseLine, NewCase};
pub(crate) use expire::KeepTimes;
pub use expire::{DEFAULT_CASE_YEARS, MAX_CASE_YEARS, MIN_CASE_YEARS};
pub use language::{Language, NoLanguage};
pub use letter::Occasion;
pub use own::{LetterTemplate, TemplateLine};
pub(crate) use rows::OpenCase;
pub use template::{NoTemplate, TemplateName, fill as fill_template};

use crate::{Day, ExportError, RetentionError, erase::EraseError};
use leadglass_audit::ReadError;
use leadglass_journal::CommitError;
use leadglass_model::Fault;
use leadglass_records::RecordError;

/// Why a case could not be opened, shown or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaseError {
    /// No such case.
    #[error("there is no such case")]
    Missing,
    /// Something out of its bounds; the sentence says what is wanted.
    #[error("{0}")]
    Form(&'static str),
    /// More than a tenant keeps.
    #[error("there are {MAX_CASES} cases already")]
    TooMany,
    /// A case of too many steps.
    #[error("a case has at most {MAX_STEPS} steps")]
    TooLong,
    /// Closed cases stay as they are.
    #[error("the case is closed")]
    Closed,
    /// Nobody checked who asks, or it is somebody else.
    #[error("who asks was not confirmed")]
    NoIdentity,
    /// The ground does not fit the type and the decision.
    #[error("this ground does not fit; these do: {0}")]
    Ground(String),
    /// It cannot be extended; the sentence says why.
    #[error("{0}")]
    NotExtendable(&'static str),
    /// Nothing was decided.
    #[error("nothing was decided and no reason to close was given")]
    Undecided,
    /// There is no letter for what did not happen.
    #[error("{0}")]
    NoLetter(&'static str),
    /// What is linked is not there.
    #[error("there is no such export, erasure, report, hold, restriction or rectification")]
    NoOutput,
    /// What is linked is about somebody else, or it cannot be told any more about whom it is.
    #[error("it is about somebody else than the case")]
    OtherPatient,
    /// Only what is closed has a time after which it goes.
    #[error("the case is not closed")]
    NotClosed,
    /// Its time is not over.
    #[error("the case is kept until {0}")]
    Kept(Day),
    /// A template with a placeholder that has no value there.
    #[error("there is no {{{word}}} in this template; these there are: {known}")]
    Placeholder {
        /// The word in braces.
        word: String,
        /// Those that there are.
        known: String,
    },
    /// A template without what the letter has to say.
    #[error("this template has to hold {{{0}}}")]
    PlaceholderMissing(&'static str),
    /// Somebody else changed it at the same time.
    #[error("it changed meanwhile")]
    Changed,
    /// The records failed.
    #[error("the cases cannot be read or written")]
    Records(#[source] RecordError),
    /// A correction cannot be read.
    #[error("the correction cannot be read")]
    Rectification(#[source] Box<crate::RectifyError>),
    /// What has to be kept cannot be told.
    #[error("what has to be kept cannot be told")]
    Retention(#[from] RetentionError),
    /// Erasures cannot be asked.
    #[error("erasures cannot be asked")]
    Erase(#[from] EraseError),
    /// Exports cannot be asked.
    #[error("exports cannot be asked")]
    Export(#[from] ExportError),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[source] ReadError),
    /// It could not be recorded in the log.
    #[error("the step cannot be recorded")]
    Audit(#[from] CommitError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl CaseError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::Form(_)
            | Self::Ground(_)
            | Self::NoOutput
            | Self::Placeholder { .. }
            | Self::PlaceholderMissing(_) => Fault::BadInput,
            Self::TooMany
            | Self::TooLong
            | Self::Closed
            | Self::NoIdentity
            | Self::NotExtendable(_)
            | Self::Undecided
            | Self::NoLetter(_)
            | Self::OtherPatient
            | Self::NotClosed
            | Self::Kept(_)
            | Self::Changed => Fault::Conflict,
            Self::Records(error) => error.fault(),
            Self::Rectification(error) => error.fault(),
            Self::Retention(error) => error.fault(),
            Self::Erase(error) => error.fault(),
            Self::Export(error) => error.fault(),
            Self::Log(error) => error.fault(),
            Self::Audit(error) => error.fault(),
            Self::Stopping => Fault::Busy,
        }
    }

    /// The stable word of it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Form(_) => "form",
            Self::TooMany => "too-many",
            Self::TooLong => "too-long",
            Self::Closed => "closed",
            Self::NoIdentity => "no-identity",
            Self::Ground(_) => "ground",
            Self::NotExtendable(_) => "not-extendable",
            Self::Undecided => "undecided",
            Self::NoLetter(_) => "no-letter",
            Self::NoOutput => "no-output",
            Self::OtherPatient => "other-patient",
            Self::NotClosed => "not-closed",
            Self::Kept(_) => "kept",
            Self::Placeholder { .. } => "placeholder",
            Self::PlaceholderMissing(_) => "placeholder-missing",
            Self::Changed => "changed",
            _ => "case",
        }
    }
}

impl From<RecordError> for CaseError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Changed => Self::Changed,
            error => Self::Records(error),
        }
    }
}

/// Cases of a tenant, closed ones counted.
const MAX_CASES: usize = 4_096;
/// Steps of a case. With [`MAX_WORDS_BYTES`] a row stays under what a record holds.
const MAX_STEPS: usize = 64;
/// Bytes of a note, a reason, or the words of a decision.
const MAX_WORDS_BYTES: usize = 4_096;
