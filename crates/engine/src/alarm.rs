//! Alarms: what a person must look at.

use crate::{Record, Shared};
use leadglass_audit::{CodeWord, Event, NewEntry, Outcome};
use leadglass_index::IndexError;
use leadglass_model::{EntryId, Fault, ObjectId};
use std::sync::Arc;

/// What kind of alarm; the label of `leadglass_alarms_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmKind {
    /// An object is missing, cut, swapped or changed.
    Integrity,
    /// An index row is not what was written.
    Index,
    /// The audit tree, the witness and the index contradict each other.
    Log,
}

impl AlarmKind {
    /// The word in metrics and entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Index => "index",
            Self::Log => "log",
        }
    }
}

/// Shows every alarm's counter from the start, at zero: a scraper that never saw one could not tell silence from absence.
pub(crate) fn declare() {
    for kind in [AlarmKind::Integrity, AlarmKind::Index, AlarmKind::Log] {
        metrics::counter!("leadglass_alarms_total", "kind" => kind.as_str()).increment(0);
    }
}

impl Shared {
    /// A row that is not what was written is an alarm; other failures of the index are not.
    pub(crate) fn index_alarm(self: &Arc<Self>, error: &IndexError) {
        if error.fault() == Fault::Corrupt {
            self.alarm(AlarmKind::Index, None);
        }
    }

    /// Counts it, logs it, and puts an entry into the audit log. The entry is written behind the caller's back: who found
    /// the damage is refused either way.
    pub(crate) fn alarm(self: &Arc<Self>, kind: AlarmKind, object: Option<ObjectId>) {
        metrics::counter!("leadglass_alarms_total", "kind" => kind.as_str()).increment(1);
        match object {
            Some(object) => tracing::error!(kind = kind.as_str(), %object, "alarm: object {object}"),
            None => tracing::error!(kind = kind.as_str(), "alarm"),
        }
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::IntegrityAlarm, Outcome::Failed);
        entry.code = CodeWord::parse(kind.as_str());
        let shared = self.clone();
        self.tasks.spawn(async move {
            let record = Record { entries: vec![entry.encode().into()], ..Record::default() };
            if let Err(error) = shared.commit(record).await {
                tracing::error!(%error, "an alarm could not be recorded");
            }
        });
    }
}
