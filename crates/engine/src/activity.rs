//! What happened to the node itself, as entries of the audit log: it started and stopped, its configuration or clock changed,
//! an operator issued or ended a token while it was not running.

use crate::{AccessError, Engine};
use leadglass_audit::{ClientRef, CodeWord, Entry, Event, Log, NewEntry, Outcome};
use leadglass_model::{ActorRef, EntryId, Role, TenantId, UnixMillis};

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// The program started, and answers nobody yet.
    Started,
    /// It stops in good order.
    Stopped,
    /// Its configuration is not what it was at the last start.
    ConfigChanged,
    /// The clock was set forward, or the machine slept.
    ClockForward,
    /// The clock was set back.
    ClockBack,
    /// An operator issued a token.
    TokenIssued(TenantId, ActorRef, Role),
    /// An operator ended a token.
    TokenRevoked(TenantId, ActorRef, Role),
}

impl Activity {
    const fn event(self) -> Event {
        match self {
            Self::Started | Self::Stopped => Event::ApplicationActivity,
            Self::ConfigChanged => Event::ConfigChange,
            Self::ClockForward | Self::ClockBack => Event::ClockStep,
            Self::TokenIssued(..) | Self::TokenRevoked(..) => Event::GrantChange,
        }
    }

    fn word(self) -> String {
        match self {
            Self::Started => "started".to_owned(),
            Self::Stopped => "stopped".to_owned(),
            Self::ConfigChanged => "config-changed".to_owned(),
            Self::ClockForward => "clock-forward".to_owned(),
            Self::ClockBack => "clock-back".to_owned(),
            Self::TokenIssued(_, _, role) => format!("token-issued-{role}"),
            Self::TokenRevoked(_, _, role) => format!("token-revoked-{role}"),
        }
    }
}

impl Engine {
    /// Records what happened, all of it or nothing where it is no more than 256 things. When this answers, it is durable.
    ///
    /// Cancel safety: a dropped call may have recorded it.
    pub async fn record_activity(&self, all: &[Activity]) -> Result<(), AccessError> {
        let shared = &self.shared;
        for some in all.chunks(AT_ONCE) {
            let entry = |activity: &Activity| {
                let id = EntryId::random(&*shared.entropy);
                let mut entry = NewEntry::new(id, shared.clock.now(), activity.event(), Outcome::Success);
                entry.code = CodeWord::parse(&activity.word());
                if let Activity::TokenIssued(tenant, actor, _) | Activity::TokenRevoked(tenant, actor, _) = activity {
                    (entry.tenant, entry.client) = (Some(*tenant), Some(ClientRef(actor.0)));
                }
                entry
            };
            shared.commit_entries(some.iter().map(entry).collect()).await?;
        }
        Ok(())
    }

    /// When the last entry was written that the log held at the start, before anything of this start; `None` where it was empty.
    pub fn last_entry_before_start(&self) -> Option<UnixMillis> {
        self.shared.last_before
    }
}

/// When the last entry of a log was written. One that does not read is nobody's: whatever is there then is news.
pub(crate) fn last_entry_at(log: &Log) -> Option<UnixMillis> {
    let seq = log.head().size.checked_sub(1)?;
    let leaves = log.leaves(seq..seq + 1).ok()?;
    Some(Entry::decode(leaves.first()?).ok()?.report.time)
}

/// Entries of one commit.
const AT_ONCE: usize = 256;
