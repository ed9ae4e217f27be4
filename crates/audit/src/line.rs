//! An entry as one JSON object: how a running vault gives its log out for exports.

use crate::{Entry, report::word};
use serde::{Deserialize, Serialize};

/// An entry in words. Ids are 32 hexadecimal digits; what the entry does not have is empty or zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryLine {
    /// Its place.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Event code: DCM, or above 1,000,000 of our own.
    pub event: u32,
    /// `success`, `refused`, `failed`.
    pub outcome: String,
    /// Its random name.
    pub entry_id: String,
    /// Controller.
    pub tenant: String,
    /// Who: a pseudonym.
    pub actor: String,
    /// Through which client.
    pub client: String,
    /// In which role.
    pub role: String,
    /// What for.
    pub purpose: String,
    /// About whom: a keyed token.
    pub subject: String,
    /// About which study.
    pub study: String,
    /// About which key.
    pub key: String,
    /// How many studies or keys.
    pub studies: u64,
    /// How many instances.
    pub instances: u64,
    /// How many frames.
    pub frames: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The entry that it belongs to.
    pub related: String,
    /// Why, as a stable word.
    pub code: String,
}

impl From<&Entry> for EntryLine {
    fn from(entry: &Entry) -> Self {
        let report = &entry.report;
        let text = |value: Option<String>| value.unwrap_or_default();
        Self {
            seq: entry.seq,
            time_ms: report.time.0,
            event: report.event.code(),
            outcome: word(report.outcome).to_owned(),
            entry_id: report.entry_id.to_string(),
            tenant: text(report.tenant.map(|v| v.to_string())),
            actor: text(report.actor.map(|v| v.to_string())),
            client: text(report.client.map(|v| hex::encode(v.0))),
            role: text(report.role.map(|v| v.to_string())),
            purpose: text(report.purpose.map(|v| v.to_string())),
            subject: text(report.subject.map(|v| hex::encode(v.0))),
            study: text(report.study.map(|v| v.to_string())),
            key: text(report.key.map(|v| v.to_string())),
            studies: report.counts.studies,
            instances: report.counts.instances,
            frames: report.counts.frames,
            bytes: report.counts.bytes,
            related: text(report.related.map(|v| v.to_string())),
            code: text(report.code.as_ref().map(|v| v.as_str().to_owned())),
        }
    }
}
