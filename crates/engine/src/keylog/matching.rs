//! Whether an unwrap is accounted for by an entry of this node's log.

use leadglass_audit::{Entry, Event, Outcome};
use serde::{Deserialize, Serialize};

/// A key that was given out without an access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmatched {
    /// Its place in the key service's log.
    pub key_log_entry: u64,
    /// Whose key; 32 hexadecimal digits.
    pub tenant: String,
    /// When, milliseconds since 1970, by the key service's clock.
    pub at_ms: u64,
    /// The entry that it was opened for, which this node's log should hold; 32 hexadecimal digits.
    pub access: String,
    /// The key.
    pub key: String,
    /// The study.
    pub study: String,
    /// Whom the caller named: a pseudonym.
    pub actor: String,
    /// Why it does not match: `no-entry`, `no-access`, `other-tenant`, `other-study`, `other-actor`, `other-purpose`.
    pub why: String,
}

/// An unwrap by this node, as the key service's log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unwrap {
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    pub(crate) tenant: String,
    pub(crate) actor: String,
    pub(crate) purpose: String,
    pub(crate) access: String,
    pub(crate) key: String,
    pub(crate) study: String,
}

/// Why an unwrap is not accounted for by this entry.
pub(crate) fn mismatch(unwrap: &Unwrap, entry: Option<&Entry>) -> Option<&'static str> {
    let Some(entry) = entry else { return Some("no-entry") };
    let report = &entry.report;
    let is = |mine: Option<String>, theirs: &str| mine.is_none_or(|mine| mine == theirs);
    // That somebody signed in, or was refused, gives no key.
    if !opens_keys(report.event) || report.outcome != Outcome::Success {
        Some("no-access")
    } else if !is(report.tenant.map(|v| v.to_string()), &unwrap.tenant) {
        Some("other-tenant")
    } else if !is(report.study.map(|v| v.to_string()), &unwrap.study) {
        Some("other-study")
    } else if !is(report.actor.map(|v| v.to_string()), &unwrap.actor) {
        Some("other-actor")
    } else if report.event == Event::InstancesAccessed && !is(report.purpose.map(|v| v.to_string()), &unwrap.purpose) {
        Some("other-purpose")
    } else {
        None
    }
}

/// Whether what such an entry is about needs keys.
const fn opens_keys(event: Event) -> bool {
    matches!(
        event,
        Event::InstancesAccessed
            | Event::InstancesTransferred
            | Event::Quarantined
            | Event::QuarantineDecision
            | Event::Query
            | Event::StorageCheck
            | Event::Reindex
            // What goes is named by its keys, and what stays of them is sealed anew.
            | Event::Erasure
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_audit::{NewEntry, Outcome};
    use leadglass_model::{ActorRef, EntryId, Purpose, StudyRef, TenantId, UnixMillis};

    fn entry() -> Entry {
        let report = NewEntry {
            tenant: Some(TenantId::from_bytes([1; 16])),
            study: Some(StudyRef::from_bytes([2; 16])),
            actor: Some(ActorRef([3; 16])),
            purpose: Some(Purpose::Care),
            ..NewEntry::new(EntryId::from_bytes([4; 16]), UnixMillis(5), Event::InstancesAccessed, Outcome::Success)
        };
        Entry { seq: 0, report, subject_seq: 0, subject_prev: None, detail_hash: None }
    }

    fn unwrap() -> Unwrap {
        let report = entry().report;
        Unwrap {
            seq: 9,
            at_ms: 5,
            tenant: report.tenant.unwrap().to_string(),
            actor: report.actor.unwrap().to_string(),
            purpose: "care".to_owned(),
            access: report.entry_id.to_string(),
            key: String::new(),
            study: report.study.unwrap().to_string(),
        }
    }

    #[test]
    fn an_unwrap_is_accounted_for_by_an_entry_that_names_the_same() {
        assert_eq!(mismatch(&unwrap(), Some(&entry())), None);
        assert_eq!(mismatch(&unwrap(), None), Some("no-entry"));
        let other = |change: &dyn Fn(&mut Unwrap)| {
            let mut unwrap = unwrap();
            change(&mut unwrap);
            mismatch(&unwrap, Some(&entry()))
        };
        assert_eq!(other(&|u| u.tenant = "x".to_owned()), Some("other-tenant"));
        assert_eq!(other(&|u| u.study = "x".to_owned()), Some("other-study"));
        assert_eq!(other(&|u| u.actor = "x".to_owned()), Some("other-actor"));
        assert_eq!(other(&|u| u.purpose = "research".to_owned()), Some("other-purpose"));
        // A check of the whole store names no study; its keys are many.
        let mut all = entry();
        (all.report.event, all.report.study) = (Event::StorageCheck, None);
        assert_eq!(mismatch(&unwrap(), Some(&all)), None);
        (all.report.event, all.report.actor) = (Event::Erasure, None);
        assert_eq!(mismatch(&unwrap(), Some(&all)), None);
        all.report.event = Event::KeyDestroyed;
        assert_eq!(mismatch(&unwrap(), Some(&all)), Some("no-access"));
    }
}
