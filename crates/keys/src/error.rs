//! What can go wrong between vault and key service.

use crate::wire::{Problem, ProblemCode, WireError};
use leadglass_model::Fault;
use std::{error::Error, sync::Arc};

/// One raw call failed. `Clone`, so that callers who wait for the same call all learn why.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// No connection; nothing was sent.
    #[error("the key service is away")]
    Away {
        /// Why.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The connection broke during the call; whether it was carried out is not known.
    #[error("the connection to the key service broke during a call")]
    Lost {
        /// Why.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// No answer in time; whether the call was carried out is not known.
    #[error("the key service did not answer in time")]
    TimedOut,
    /// The key service said no; nothing was done.
    #[error("the key service refused the call ({:?})", problem.code)]
    Refused {
        /// What it said.
        problem: Problem,
    },
    /// The answer is not what this version speaks, or not what was asked for.
    #[error("the key service's answer cannot be used")]
    Answer {
        /// Why.
        #[source]
        source: WireError,
    },
    /// A failure without a readable problem body.
    #[error("the key service answered with status {status}")]
    Status {
        /// HTTP status.
        status: u16,
    },
}

impl ServiceError {
    /// An answer that contradicts the request in this field.
    pub(crate) const fn answer(field: &'static str) -> Self {
        Self::Answer { source: WireError::Field { field } }
    }

    /// Whether the call had surely no effect, so that what it would have used up is still good.
    pub const fn had_no_effect(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Refused { .. })
    }

    /// The stable word of a refusal.
    pub const fn code(&self) -> Option<ProblemCode> {
        match self {
            Self::Refused { problem } => Some(problem.code),
            _ => None,
        }
    }

    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Away { .. } | Self::Lost { .. } | Self::TimedOut => Fault::Busy,
            Self::Refused { problem } => problem.code.fault(),
            Self::Answer { .. } => Fault::Broken,
            Self::Status { status } => {
                if *status == 503 {
                    Fault::Busy
                } else {
                    Fault::Broken
                }
            }
        }
    }
}

/// [`crate::Keys`] could not give what was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A call was needed and failed.
    #[error("the key service gave no key")]
    Service {
        /// Why.
        #[source]
        source: ServiceError,
    },
    /// More keys at once than leases may be held.
    #[error("{count} keys at once, at most {max} are opened")]
    TooMany {
        /// Keys asked for.
        count: usize,
        /// Keys that may be open.
        max: usize,
    },
    /// The task that made the call ended without a result; the program is going down or has a defect.
    #[error("the call to the key service was given up")]
    GivenUp,
}

impl KeysError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Service { source } => source.fault(),
            Self::TooMany { .. } => Fault::BadInput,
            Self::GivenUp => Fault::Busy,
        }
    }

    /// The stable word of the key service's refusal, if it refused.
    pub const fn code(&self) -> Option<ProblemCode> {
        match self {
            Self::Service { source } => source.code(),
            _ => None,
        }
    }
}

impl From<ServiceError> for KeysError {
    fn from(source: ServiceError) -> Self {
        Self::Service { source }
    }
}
