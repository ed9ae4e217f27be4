//! Why somebody wants to see a study, in his own words. They may name a patient: they stand in the sealed details of an entry
//! about that patient, and nowhere else.

use super::{CareError, Kind};
use crate::{Engine, subject::Detail};
use leadglass_audit::Event;
use leadglass_model::{Permit, Phi, Read, Role, StudyUid, UnixMillis};
use std::net::IpAddr;

/// A reason of at least 15 characters and at most 512 bytes.
#[derive(Debug, Clone)]
pub struct Reason(Phi<String>);

impl Reason {
    /// The reason, if the text is long enough to be one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = text.chars().count() >= LEAST_CHARS && text.len() <= MOST_BYTES;
        (fits && !text.chars().any(char::is_control)).then(|| Self(Phi::new(text.to_owned())))
    }

    pub(super) fn text(&self) -> &str {
        self.0.expose()
    }
}

impl Engine {
    /// Records why a clinician wants to see a study of a patient whom he is not known to treat. When this answers, the entry is
    /// durable and the patient's studies open to him, until the moment that it answers.
    ///
    /// # Errors
    /// [`CareError::Missing`] for a study that is not there, and for whom a reason helps nothing.
    ///
    /// Cancel safety: dropping the future may leave a reason recorded that opens nothing.
    pub async fn state_reason(
        &self,
        permit: &Permit<Read>,
        study: &StudyUid,
        reason: &Reason,
        address: Option<IpAddr>,
    ) -> Result<UnixMillis, CareError> {
        let shared = &self.shared;
        let tenant = permit.tenant();
        let found = shared.catalog.study(tenant, study).filter(|_| permit.role() == Role::Clinician);
        let found = found.filter(|found| !shared.care.restricted.holds(tenant, found.study_ref));
        let study = found.ok_or(CareError::Missing)?;
        let address = address.map_or_else(String::new, |address| address.to_string());
        let detail = Detail { reason: reason.text(), address: &address, ..Detail::of(&study) };
        let entry = shared.about(permit, &study, Event::GrantChange, "reason-stated");
        let ends = entry.time.plus_secs(STATED_FOR_S);
        let matter = shared.matter(tenant, &study);
        shared.relate(entry, &detail, (tenant, permit.actor(), matter.0), Kind::Stated, Some(ends)).await?;
        Ok(ends)
    }
}

const LEAST_CHARS: usize = 15;
/// As much as a sealed detail keeps.
const MOST_BYTES: usize = 512;
/// So long a stated reason holds: a treatment's first weeks, until the practice has assigned the patient.
const STATED_FOR_S: u64 = 14 * 24 * 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_something() {
        for text in ["", "because", "               x", "follow-up,\nsecond opinion"] {
            assert!(Reason::parse(text).is_none(), "{text}");
        }
        assert!(Reason::parse("Zweitmeinung für die Kollegin").is_some());
        assert!(Reason::parse(&"x".repeat(MOST_BYTES + 1)).is_none());
        let reason = Reason::parse("Frau Muster hat Schmerzen").unwrap();
        assert!(!format!("{reason:?}").contains("Muster"));
    }
}
