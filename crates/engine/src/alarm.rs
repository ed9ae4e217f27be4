//! Alarms: what a person must look at.
//!
//! An alarm is a line in the program's log, a counter, an entry in the audit log, and a [`Raised`] for whoever carries it
//! further. None of them names a patient.

use crate::{Engine, Record, Shared, breadth::Usual};
use leadglass_audit::{CodeWord, Event, NewEntry, Outcome};
use leadglass_index::IndexError;
use leadglass_model::{ActorRef, EntryId, Fault, ObjectId, ReceiverId, TenantId, UnixMillis};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::broadcast;

/// What kind of alarm; the label of `leadglass_alarms_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmKind {
    /// An object is missing, cut, swapped or changed.
    Integrity,
    /// An index row is not what was written.
    Index,
    /// The audit tree, the witness and the index contradict each other.
    Log,
    /// A log was written anew or rolled back: the witness refuses ours, or the key service shows another one than before.
    Fork,
    /// A key was given out without an access in the log.
    Unmatched,
    /// The key service refused because a budget was used up, or suspended somebody.
    Budget,
    /// Somebody opens many more patients' studies than usual.
    Breadth,
    /// A clinician opened a patient's studies in an emergency: somebody has to look at it.
    BreakGlass,
    /// One person's login is in use at more devices, in more places at once, than one person has.
    SharedLogin,
    /// A device sends much more, or much larger instances, than it did when it was learnt.
    Device,
}

/// An alarm for those who carry it further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raised {
    /// What.
    pub kind: AlarmKind,
    /// When.
    pub at: UnixMillis,
    /// Its entry in the audit log.
    pub entry: EntryId,
}

/// Who hears of alarms, and what is usual.
#[derive(Debug)]
pub(crate) struct Alarms {
    raised: broadcast::Sender<Raised>,
    /// For the first listeners: they hear also what was raised before they came, while the node started.
    waiting: Mutex<Vec<broadcast::Receiver<Raised>>>,
    pub(crate) usual: Mutex<Usual>,
}

impl Default for Alarms {
    fn default() -> Self {
        let raised = broadcast::Sender::new(HELD);
        let waiting = Mutex::new((0..FIRST_LISTENERS).map(|_| raised.subscribe()).collect());
        Self { raised, waiting, usual: Mutex::default() }
    }
}

impl AlarmKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Integrity,
        Self::Index,
        Self::Log,
        Self::Fork,
        Self::Unmatched,
        Self::Budget,
        Self::Breadth,
        Self::BreakGlass,
        Self::SharedLogin,
        Self::Device,
    ];

    /// The word in metrics and entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Index => "index",
            Self::Log => "log",
            Self::Fork => "fork",
            Self::Unmatched => "unmatched-unwrap",
            Self::Budget => "budget",
            Self::Breadth => "unusual-breadth",
            Self::BreakGlass => "break-glass",
            Self::SharedLogin => "shared-login",
            Self::Device => "unusual-device",
        }
    }

    const fn event(self) -> Event {
        match self {
            Self::Integrity | Self::Index => Event::IntegrityAlarm,
            Self::Log | Self::Fork | Self::Unmatched => Event::LogAlarm,
            Self::Budget => Event::BudgetHit,
            Self::Breadth | Self::BreakGlass | Self::SharedLogin | Self::Device => Event::SecurityAlert,
        }
    }
}

/// Shows every alarm's counter from the start, at zero: a scraper that never saw one could not tell silence from absence.
pub(crate) fn declare() {
    for kind in AlarmKind::ALL {
        metrics::counter!("leadglass_alarms_total", "kind" => kind.as_str()).increment(0);
    }
}

impl Engine {
    /// Alarms: for the first listeners from the start of the node on, for others from now on. Who lags misses the oldest; they
    /// stand in the log.
    pub fn alarms(&self) -> broadcast::Receiver<Raised> {
        let alarms = &self.shared.alarms;
        alarms.waiting.lock().pop().unwrap_or_else(|| alarms.raised.subscribe())
    }

    /// Somebody's login seems to be shared: an alarm. Once for each time that it begins; the caller sees to that.
    pub fn alarm_shared_login(&self, tenant: TenantId, person: ActorRef) {
        self.shared.alarm_about(AlarmKind::SharedLogin, tenant, person);
    }

    /// A device sends much more than it did: an alarm. At most once an hour; the caller sees to that.
    pub fn alarm_unusual_device(&self, tenant: TenantId, device: ReceiverId) {
        self.shared.alarm_about(AlarmKind::Device, tenant, ActorRef(*device.as_bytes()));
    }
}

impl Shared {
    /// A row that is not what was written is an alarm; other failures of the index are not.
    pub(crate) fn index_alarm(self: &Arc<Self>, error: &IndexError) {
        if error.fault() == Fault::Corrupt {
            self.alarm(AlarmKind::Index, None);
        }
    }

    /// An alarm about what is stored.
    pub(crate) fn alarm(self: &Arc<Self>, kind: AlarmKind, object: Option<ObjectId>) {
        match object {
            Some(object) => tracing::error!(kind = kind.as_str(), %object, "alarm: object {object}"),
            None => tracing::error!(kind = kind.as_str(), "alarm"),
        }
        self.raise(kind, None);
    }

    /// An alarm about what somebody of a tenant does: its officer reads of it in the log.
    pub(crate) fn alarm_about(self: &Arc<Self>, kind: AlarmKind, tenant: TenantId, actor: ActorRef) {
        tracing::error!(kind = kind.as_str(), %actor, "alarm: {actor}");
        self.raise(kind, Some((tenant, actor)));
    }

    /// Counts it, tells it, and puts an entry into the audit log. The entry is written behind the caller's back: who found
    /// the damage is refused either way.
    fn raise(self: &Arc<Self>, kind: AlarmKind, about: Option<(TenantId, ActorRef)>) {
        metrics::counter!("leadglass_alarms_total", "kind" => kind.as_str()).increment(1);
        let (id, now) = (EntryId::random(&*self.entropy), self.clock.now());
        let mut entry = NewEntry::new(id, now, kind.event(), Outcome::Failed);
        entry.code = CodeWord::parse(kind.as_str());
        (entry.tenant, entry.actor) = about.unzip();
        // Nobody may be listening.
        let _ = self.alarms.raised.send(Raised { kind, at: now, entry: id });
        let shared = self.clone();
        self.tasks.spawn(async move {
            let record = Record { entries: vec![entry.encode().into()], ..Record::default() };
            if let Err(error) = shared.commit(record).await {
                tracing::error!(%error, "an alarm could not be recorded");
            }
        });
    }
}

/// Webhook and mail.
const FIRST_LISTENERS: usize = 4;
/// Alarms kept for a slow listener.
const HELD: usize = 64;
