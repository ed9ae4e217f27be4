//! From entries to a table for people.

use crate::{Entry, Event, Outcome};
use leadglass_model::EntryId;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One access: a study, opened by one session for one purpose. Its opening and its closing entry are one access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Place of the opening entry in the log.
    pub entry: u64,
    /// Place of the closing entry; absent while it goes on, or where the node died before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<u64>,
    /// When it began, milliseconds since 1970.
    pub at_ms: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Who: a pseudonym.
    pub actor: String,
    /// In which role.
    pub role: String,
    /// What for.
    pub purpose: String,
    /// `success`, `refused`, `failed`.
    pub outcome: String,
    /// Why, as a stable word, where the entry gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which study.
    pub study: String,
    /// Whole instances that went out.
    pub instances: u64,
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
}

/// An entry about the patient that is no access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Other {
    /// Its place in the log.
    pub entry: u64,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// What: the event's code (DCM, or above 1,000,000 of our own).
    pub event: u32,
    /// Who: a pseudonym.
    pub actor: String,
    /// `success`, `refused`, `failed`.
    pub outcome: String,
    /// Why, as a stable word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which study.
    pub study: String,
}

/// The table over a patient's entries, of what began in a period: milliseconds since 1970, the end exclusive.
pub fn table(entries: &[Entry], from_ms: Option<u64>, to_ms: Option<u64>) -> (Vec<Access>, Vec<Other>) {
    let inside = |at: u64| from_ms.is_none_or(|from| at >= from) && to_ms.is_none_or(|to| at < to);
    let (mut accesses, mut others) = (Vec::new(), Vec::new());
    let mut open: HashMap<EntryId, usize> = HashMap::new();
    for entry in entries {
        let report = &entry.report;
        let at_ms = report.time.0;
        let actor = report.actor.map(|a| a.to_string()).unwrap_or_default();
        let outcome = word(report.outcome).to_owned();
        let reason = report.code.as_ref().map(|code| code.as_str().to_owned());
        let study = report.study.map(|s| s.to_string()).unwrap_or_default();
        match report.event {
            Event::InstancesAccessed if inside(at_ms) => {
                open.insert(report.entry_id, accesses.len());
                accesses.push(Access {
                    entry: entry.seq,
                    closed_by: None,
                    at_ms,
                    until_ms: None,
                    actor,
                    role: report.role.map(|r| r.to_string()).unwrap_or_default(),
                    purpose: report.purpose.map(|p| p.to_string()).unwrap_or_default(),
                    outcome,
                    reason,
                    study,
                    instances: 0,
                    frames: 0,
                    bytes: 0,
                });
            }
            Event::LeaseEnded => {
                // One whose opening lies before the period belongs to none of its accesses.
                let opening = report.related.and_then(|related| open.get(&related).copied());
                if let Some(access) = opening.and_then(|at| accesses.get_mut(at)) {
                    access.closed_by = Some(entry.seq);
                    access.until_ms = Some(at_ms);
                    access.instances = report.counts.instances;
                    access.frames = report.counts.frames;
                    access.bytes = report.counts.bytes;
                }
            }
            event if event != Event::InstancesAccessed && inside(at_ms) => {
                others.push(Other { entry: entry.seq, at_ms, event: event.code(), actor, outcome, reason, study });
            }
            _ => {}
        }
    }
    (accesses, others)
}

pub(crate) const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
    }
}
