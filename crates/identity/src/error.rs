//! What can go wrong with people.

use leadglass_keys::ServiceError;
use leadglass_model::Fault;
use leadglass_records::{RecordError, TokenError};

/// Why somebody was not let in, or something about a person was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Name, password, code, passkey, role: which of them was wrong is not said.
    #[error("the sign-in is not valid")]
    Refused,
    /// Too many attempts before this one.
    #[error("too many attempts; try again in {seconds} s")]
    TooSoon {
        /// Whole seconds until the next attempt counts.
        seconds: u64,
    },
    /// The invitation is not valid: unknown, used or over.
    #[error("the invitation is not valid any more")]
    Invitation,
    /// What was sent does not fit; the sentence says why.
    #[error("{sentence}")]
    BadInput {
        /// A stable word.
        code: &'static str,
        /// For the person.
        sentence: &'static str,
    },
    /// It contradicts what is there; the sentence says why.
    #[error("{sentence}")]
    Conflict {
        /// A stable word.
        code: &'static str,
        /// For the person.
        sentence: &'static str,
    },
    /// There is no such person or thing.
    #[error("there is no such person")]
    Missing,
    /// The last sign-in was too long ago for this.
    #[error("sign in again first: this changes how you sign in")]
    StepUp,
    /// Too much to do.
    #[error("too many people sign in at the moment")]
    Busy,
    /// The entry could not be written, so nothing was changed.
    #[error("the change could not be recorded, so it was not made")]
    Unrecorded,
    /// The key service did not answer.
    #[error("the key service cannot be asked")]
    Pepper {
        /// What it said.
        #[source]
        source: Box<ServiceError>,
    },
    /// The records failed.
    #[error("people cannot be looked up now")]
    Records {
        /// What they said.
        #[from]
        source: RecordError,
    },
    /// The sessions failed.
    #[error("sessions cannot be written now")]
    Sessions {
        /// What they said.
        #[from]
        source: TokenError,
    },
    /// A person's record is not what was written.
    #[error("a person's record is damaged")]
    Damaged,
    /// A defect on our side.
    #[error("the sign-in broke on our side")]
    Broken,
}

impl IdentityError {
    /// What a caller can do about it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused | Self::StepUp => Fault::Denied,
            Self::Invitation | Self::BadInput { .. } => Fault::BadInput,
            Self::Conflict { .. } => Fault::Conflict,
            Self::Missing => Fault::Missing,
            Self::TooSoon { .. } | Self::Busy | Self::Unrecorded | Self::Pepper { .. } => Fault::Busy,
            Self::Records { source } => source.fault(),
            Self::Sessions { source } => source.fault(),
            Self::Damaged => Fault::Corrupt,
            Self::Broken => Fault::Broken,
        }
    }

    /// A stable word for callers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused => "sign-in-refused",
            Self::TooSoon { .. } => "too-soon",
            Self::Invitation => "invitation",
            Self::BadInput { code, .. } | Self::Conflict { code, .. } => code,
            Self::Missing => "not-found",
            Self::StepUp => "sign-in-again",
            Self::Busy => "busy",
            Self::Unrecorded => "not-audited",
            Self::Pepper { .. } => "key-service",
            Self::Records { .. } | Self::Sessions { .. } | Self::Damaged => "records",
            Self::Broken => "internal",
        }
    }
}
