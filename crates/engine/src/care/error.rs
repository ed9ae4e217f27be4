//! What can go wrong with relations, emergencies and restrictions.

use crate::AccessError;
use leadglass_index::IndexError;
use leadglass_journal::CommitError;
use leadglass_keys::ServiceError;
use leadglass_model::Fault;
use leadglass_records::RecordError;

/// Why something about who opens what was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CareError {
    /// No such study, review or relation for this caller.
    #[error("there is no such thing for this caller")]
    Missing,
    /// Whoever opened a study in an emergency does not judge it himself.
    #[error("somebody else must look at one's own emergency")]
    OwnEmergency,
    /// It was closed already.
    #[error("the review was closed before")]
    Closed,
    /// The entry could not be written, so nothing was done.
    #[error("it could not be recorded, so it was not done")]
    Audit(#[from] AccessError),
    /// The records failed.
    #[error("the records cannot be asked")]
    Records(#[from] RecordError),
    /// The index failed.
    #[error("the index cannot be asked")]
    Index(#[from] IndexError),
    /// The key service did not do it.
    #[error("the key service did not do it")]
    Keys(#[from] ServiceError),
    /// A record is not what was written.
    #[error("a record is damaged")]
    Damaged,
}

impl CareError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::OwnEmergency => Fault::Denied,
            Self::Closed => Fault::Conflict,
            Self::Audit(error) => error.fault(),
            Self::Records(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Keys(error) => error.fault(),
            Self::Damaged => Fault::Corrupt,
        }
    }

    /// A stable word for callers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "not-found",
            Self::OwnEmergency => "own-emergency",
            Self::Closed => "closed-before",
            Self::Audit(_) => "not-audited",
            Self::Records(_) | Self::Damaged => "records",
            Self::Index(_) => "index",
            Self::Keys(_) => "key-service",
        }
    }
}

impl From<CommitError> for CareError {
    fn from(error: CommitError) -> Self {
        Self::Audit(AccessError::Commit(error))
    }
}
