//! Who opens which study, over HTTP: a stated reason, an emergency and its review, who treats whom, restriction.
//!
//! What names a patient stands in bodies, never in an address.

mod emergency;
mod reason;
mod relations;
mod restrictions;
mod reviews;

pub(crate) use emergency::{begin as begin_break_glass, break_glass};
pub(crate) use reason::state_reason;
pub(crate) use relations::{assign, list as relations, unassign};
pub(crate) use restrictions::{lift, list as restrictions, restrict};
pub(crate) use reviews::{close as close_review, list as reviews};

use crate::{Problem, wado};
use leadglass_engine::{CareError, Reason};
use leadglass_model::{Fault, StudyUid};

/// What a caller is told.
fn problem(error: &CareError) -> Problem {
    let sentence = match error {
        CareError::Missing => return Problem::not_found(),
        CareError::OwnEmergency => "Somebody else has to look at an emergency of your own.",
        CareError::Closed => "Somebody closed this review before.",
        CareError::Audit(_) => "It cannot be recorded, so it is not done; try again in a moment.",
        CareError::Keys(_) => "The key service did not do it; try again in a moment.",
        _ => "It could not be done; try again in a moment.",
    };
    if matches!(error.fault(), Fault::Broken | Fault::Corrupt) {
        tracing::error!(%error, "care");
    }
    Problem::new(error.fault(), error.code(), sentence)
}

/// A study and a reason as they are sent. The study's name is looked at first: whatever else is wrong, what is no name is absent.
fn parts(study: &str, reason: &str) -> Result<(StudyUid, Reason), Problem> {
    let study = wado::study_uid(study)?;
    let sentence = "State the reason in a sentence: 15 characters at least, one line, 512 bytes at most.";
    let reason = Reason::parse(reason).ok_or_else(|| Problem::new(Fault::BadInput, "reason", sentence))?;
    Ok((study, reason))
}
