//! Failures as RFC 9457 problems.

use leadglass_model::Fault;
use serde::{Deserialize, Serialize};

/// What went wrong, as a stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemCode {
    /// The request cannot be read or breaks a limit.
    BadRequest,
    /// This client may not do this.
    Forbidden,
    /// No such thing, or not for this client.
    NotFound,
    /// It contradicts what stands (a key bound to another study).
    Conflict,
    /// The checkpoint is no continuation of what the witness saw.
    Fork,
    /// A budget is used up.
    OverBudget,
    /// The person or node went far over a budget; an approval clears it.
    Suspended,
    /// The study's key is destroyed.
    Destroyed,
    /// An approval is missing, over, or does not name this.
    ApprovalNeeded,
    /// Too many requests at once.
    Busy,
    /// Not unsealed yet.
    Sealed,
    /// Restored from a backup; opens nothing until a vault has shown which keys were destroyed since.
    ReceiptsAwaited,
    /// A defect.
    Internal,
    /// A word of a newer version.
    #[serde(other)]
    Other,
}

impl ProblemCode {
    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Forbidden | Self::ApprovalNeeded | Self::Suspended => 403,
            Self::NotFound => 404,
            Self::Conflict | Self::Fork => 409,
            Self::Destroyed => 410,
            Self::OverBudget => 429,
            Self::Busy | Self::Sealed | Self::ReceiptsAwaited => 503,
            Self::Internal | Self::Other => 500,
        }
    }

    /// The kind of failure for whoever asked the vault.
    pub const fn fault(self) -> Fault {
        match self {
            Self::BadRequest | Self::Internal | Self::Other => Fault::Broken,
            Self::Forbidden | Self::ApprovalNeeded | Self::Suspended => Fault::Denied,
            Self::NotFound | Self::Destroyed => Fault::Missing,
            Self::Conflict | Self::Fork => Fault::Conflict,
            Self::OverBudget | Self::Busy | Self::Sealed | Self::ReceiptsAwaited => Fault::Busy,
        }
    }
}

/// The body of a failure, `application/problem+json`. It names no key and no study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The stable word.
    pub code: ProblemCode,
    /// The HTTP status again.
    pub status: u16,
    /// One sentence.
    pub title: String,
    /// When it may be worth asking again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
    /// With [`ProblemCode::Fork`]: the tree size that the witness saw last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_size: Option<u64>,
}

impl Problem {
    /// A problem with the code's own status.
    pub fn new(code: ProblemCode, title: &str) -> Self {
        Self { code, status: code.status(), title: title.to_owned(), retry_after_s: None, known_size: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_a_newer_version_is_still_read() {
        let problem: Problem = serde_json::from_str(r#"{"code":"solar-flare","status":500,"title":"x"}"#).unwrap();
        assert_eq!(problem.code, ProblemCode::Other);
    }
}
