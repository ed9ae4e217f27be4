//! Why something is not given out.

use crate::{RetentionError, access::AccessError};
use leadglass_index::IndexError;
use leadglass_keys::{KeyRefusal, KeysError, wire::ProblemCode};
use leadglass_model::{Fault, ObjectId};
use leadglass_seal::OpenError;
use leadglass_store::StoreError;

/// Why something cannot be given out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetrieveError {
    /// Not there, or not for this caller.
    #[error("there is no such study, series or instance for this caller")]
    Missing,
    /// The caller may find the study, and is not known to treat its patient: it opens once a reason is stated.
    #[error("the study opens for a stated reason")]
    ReasonNeeded,
    /// The caller opens it for a case of its patient, or because somebody holds it for a claim, and there is neither.
    #[error("no case of the patient is open")]
    CaseNeeded,
    /// Whether somebody holds the study for a claim cannot be told.
    #[error("the holds cannot be read")]
    Holds(#[source] RetentionError),
    /// The key service does not open the study.
    #[error("the key service refuses the study")]
    Refused(KeyRefusal),
    /// The key service cannot be asked.
    #[error("the key service gave no key")]
    Keys(#[source] KeysError),
    /// The access could not be recorded, so it is not served.
    #[error("the access could not be recorded")]
    Audit(#[source] AccessError),
    /// The index failed.
    #[error("the index could not be asked")]
    Index(#[source] IndexError),
    /// The store failed.
    #[error("the object could not be read")]
    Store(#[source] StoreError),
    /// The instance has no such frame.
    #[error("the instance has {frames} frames")]
    NoSuchFrame {
        /// How many it has.
        frames: u32,
    },
    /// There are pixels, and nobody can tell where a frame begins: video, contradictory offset tables.
    #[error("the frames of the instance cannot be told apart")]
    Inseparable,
    /// There is nothing under this path that the metadata point at.
    #[error("the instance has no such bulk data")]
    NoSuchBulk,
    /// The instance holds what Explicit VR Little Endian has no form for: compressed pixels inside of a sequence.
    #[error("the instance cannot be written in explicit VR little endian")]
    Inexpressible,
    /// Too much is on its way to clients that take nothing.
    #[error("no room for what is read")]
    NoRoom,
    /// The session ended meanwhile.
    #[error("the session ended")]
    SignedOut,
    /// The metadata were longer than is kept.
    #[error("the metadata of an instance were too long to be kept")]
    NoMetadata,
    /// What lies in the store is not what was sealed.
    #[error("object {object} is damaged")]
    Damaged {
        /// Which.
        object: ObjectId,
        /// How it shows.
        #[source]
        source: OpenError,
    },
}

impl RetrieveError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::ReasonNeeded | Self::CaseNeeded => Fault::Denied,
            Self::Holds(error) => error.fault(),
            // Restricted meanwhile: absent, as it is from the next request on.
            Self::Refused(KeyRefusal::Restricted) => Fault::Missing,
            Self::Refused(refusal) => refusal.fault(),
            Self::Keys(error) => error.fault(),
            Self::Audit(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Damaged { .. } => Fault::Corrupt,
            Self::NoSuchFrame { .. } | Self::NoSuchBulk => Fault::Missing,
            Self::NoRoom => Fault::Busy,
            Self::SignedOut => Fault::Denied,
            Self::Inseparable | Self::Inexpressible | Self::NoMetadata => Fault::BadInput,
        }
    }

    /// A stable word for machines and manuals.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Keys(error) if error.code() == Some(ProblemCode::OverBudget) => "over-budget",
            Self::Missing => "not-found",
            Self::ReasonNeeded => "reason-needed",
            Self::CaseNeeded => "case-needed",
            Self::Holds(_) => "records",
            Self::Refused(_) => "key-refused",
            Self::Keys(_) => "no-key",
            Self::Audit(_) => "not-audited",
            Self::Index(error) if error.fault() == Fault::Corrupt => "damaged",
            Self::Index(_) => "index",
            Self::Store(_) => "store",
            Self::Damaged { .. } => "damaged",
            Self::NoSuchFrame { .. } => "no-such-frame",
            Self::NoSuchBulk => "no-such-bulkdata",
            Self::Inseparable => "frames-inseparable",
            Self::Inexpressible => "not-decodable",
            Self::NoRoom => "too-many-readers",
            Self::SignedOut => "signed-out",
            Self::NoMetadata => "metadata-too-long",
        }
    }

    /// A sentence that helps the caller.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Keys(error) if error.code() == Some(ProblemCode::OverBudget) => {
                "So many studies were opened that the budget is used up; the limit moves on with time."
            }
            Self::Missing => "There is nothing here that you may see.",
            Self::ReasonNeeded => {
                "You are not known to treat this patient. State why you need the study; the reason is recorded."
            }
            Self::CaseNeeded => {
                "No case of this patient is open. Open one: you see studies for what a patient asks, or for a claim that holds them."
            }
            Self::Holds(_) => "The records cannot be read now; try again in a moment.",
            Self::Refused(_) => "This study may not be opened now: it is restricted, or a budget is used up.",
            Self::Keys(_) => "The key service does not answer; try again in a moment.",
            Self::Audit(_) => "The access cannot be recorded, so it is not served; try again in a moment.",
            Self::Index(error) if error.fault() == Fault::Corrupt => {
                "What is kept of the image is damaged. An alarm was raised."
            }
            Self::Index(_) | Self::Store(_) => "The image cannot be read now; try again in a moment.",
            Self::Damaged { .. } => "The stored image is damaged. An alarm was raised.",
            Self::NoSuchFrame { .. } => "The instance has no frame of this number; they are counted from 1.",
            Self::NoSuchBulk => "The metadata of this instance name no such bulk data.",
            Self::Inseparable => {
                "Where the frames of this instance begin is not known; retrieve the instance or its bulk data."
            }
            Self::Inexpressible => {
                "The instance cannot be decoded to Explicit VR Little Endian; say transfer-syntax=* to take it as it is."
            }
            Self::NoRoom => "Too much is being sent at this moment; try again in a moment.",
            Self::SignedOut => "The session has ended; sign in again.",
            Self::NoMetadata => "The metadata of an instance are too long to be served; retrieve the instance itself.",
        }
    }
}
