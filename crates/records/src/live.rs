//! A session in memory, and where it stands.

use crate::{
    SessionInfo,
    holder::{Holder, Row},
};
use leadglass_model::UnixMillis;
use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// A session in memory.
pub(crate) struct Live {
    pub(crate) row: Row,
    pub(crate) holder: Holder,
    pub(crate) from: Option<IpAddr>,
    pub(crate) seen: AtomicU64,
    /// Once it was seen unused for too long it stays locked, though the clock be set back.
    pub(crate) locked: AtomicBool,
}

impl Live {
    pub(crate) fn of(row: Row, holder: Holder, from: Option<IpAddr>) -> Self {
        Self { seen: AtomicU64::new(row.seen), locked: AtomicBool::new(row.locked.is_some()), row, holder, from }
    }

    /// Whether it goes on.
    pub(crate) fn standing(&self, now: u64) -> Standing {
        let seen = self.seen.load(Ordering::Relaxed);
        let unused = now >= self.row.idle_ends(seen);
        let is_persons = matches!(self.holder, Holder::Person(_));
        if now >= self.row.over(seen) || (unused && !is_persons) {
            Standing::Over
        } else if unused || self.locked.load(Ordering::Relaxed) {
            self.locked.store(true, Ordering::Relaxed);
            Standing::Locked
        } else {
            Standing::Open
        }
    }

    /// What its person is shown of it; a token's is nobody's.
    pub(crate) fn info(&self) -> Option<SessionInfo> {
        let Holder::Person(seat) = self.holder else { return None };
        let seen = UnixMillis(self.seen.load(Ordering::Relaxed));
        let (begun, ends) = (UnixMillis(self.row.begun), UnixMillis(self.row.ends));
        Some(SessionInfo { session: self.row.session, seat, begun, seen, ends, from: self.from })
    }
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It goes on.
    Open,
    /// It was not used for too long; its person may come back.
    Locked,
    /// It ended by itself.
    Over,
}
