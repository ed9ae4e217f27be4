//! What whoever runs a practice should look at: logins that seem to be shared, and accounts that nobody uses any more.

use crate::{People, State, person::Person};
use leadglass_model::{ActorRef, TenantId};
use leadglass_records::SessionInfo;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// Something that a person should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// Nobody has signed in for 90 days: does he still work here?
    Stale,
    /// In use at two devices in two places at the same time: is the login shared?
    Shared,
    /// Was invited, and the link ended before anybody took it.
    InvitationUnused,
    /// Does not work here any more, and a token of his was not ended. It opens nothing, until he is back.
    LeftWithTokens,
}

impl People {
    /// Who is signed in at more devices, in more places at once, than anybody carries with him.
    pub fn surely_shared(&self) -> Vec<(TenantId, ActorRef)> {
        let now = self.0.clock.now().0;
        let mut all: BTreeMap<(TenantId, ActorRef), Vec<SessionInfo>> = BTreeMap::new();
        for info in self.0.sessions.of_people(|_| true) {
            all.entry((info.seat.tenant, info.seat.person)).or_default().push(info);
        }
        let many = |sessions: &[SessionInfo]| is_at_more_than(ONE_PERSONS, sessions, now);
        all.into_iter().filter(|(_, sessions)| many(sessions)).map(|(person, _)| person).collect()
    }
}

/// What there is to look at in a person; `tokens`: whether one that he made is still good.
pub(crate) fn of(person: &Person, sessions: &[SessionInfo], tokens: bool, now: u64) -> Vec<Finding> {
    let unused = person.state == State::Invited && person.invitation.as_ref().is_none_or(|link| link.ends <= now);
    let stale = person.state == State::Active && now.saturating_sub(person.last.max(person.created)) > STALE_MS;
    let found = [
        (Finding::Stale, stale),
        (Finding::Shared, is_at_more_than(USUAL, sessions, now)),
        (Finding::InvitationUnused, unused),
        (Finding::LeftWithTokens, person.state == State::Left && tokens),
    ];
    found.into_iter().filter(|(_, is)| *is).map(|(finding, _)| finding).collect()
}

/// Whether somebody is at more devices at once, in as many more places. One person behind one address has several browsers;
/// one device changes its address.
fn is_at_more_than(many: usize, sessions: &[SessionInfo], now: u64) -> bool {
    let in_use = sessions.iter().filter(|info| now.saturating_sub(info.seen.0) <= AT_ONCE_MS && info.from.is_some());
    let (devices, places): (HashSet<_>, HashSet<_>) = in_use.map(|info| (info.seat.device, info.from)).unzip();
    devices.len() > many && places.len() > many
}

/// A quarter: longer than any holiday. Whoever is away for longer can be invited again.
const STALE_MS: u64 = 90 * 24 * 60 * 60 * 1_000;
/// Short enough that nobody walks from one room to another, signs in, works and comes back.
const AT_ONCE_MS: u64 = 10 * 60 * 1_000;
/// More than this is worth a question to the person.
const USUAL: usize = 1;
/// More than this is an alarm: a computer in the practice and a phone on its own network are one person's.
const ONE_PERSONS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::UnixMillis;
    use leadglass_records::Seat;
    use std::net::IpAddr;

    fn session(device: u8, place: Option<u8>, seen: u64) -> SessionInfo {
        let (begun, ends) = (UnixMillis(0), UnixMillis(u64::MAX));
        let seat = Seat { tenant: TenantId::from_bytes([1; 16]), person: ActorRef([2; 16]), device: [device; 16] };
        let from = place.map(|last| IpAddr::from([192, 0, 2, last]));
        SessionInfo { session: [device; 16], seat, begun, seen: UnixMillis(seen), ends, from }
    }

    #[test]
    fn a_login_seems_shared_by_devices_and_places_and_at_one_time() {
        let now = 2 * AT_ONCE_MS;
        let at = |all: &[SessionInfo]| [USUAL, ONE_PERSONS].map(|many| is_at_more_than(many, all, now));
        let [a, b, c] = [1, 2, 3].map(|n| session(n, Some(n), now));
        assert_eq!(at(&[a.clone(), b.clone()]), [true, false], "a computer and a phone");
        assert_eq!(at(&[a.clone(), b.clone(), c]), [true, true]);
        assert_eq!(at(&[a.clone(), session(2, Some(1), now), session(3, Some(1), now)]), [false, false], "one place");
        assert_eq!(at(&[a.clone(), session(1, Some(2), now)]), [false, false], "one device");
        assert_eq!(at(&[a.clone(), session(2, Some(2), AT_ONCE_MS - 1)]), [false, false], "one after the other");
        assert_eq!(at(&[a, b, session(3, None, now)]), [true, false], "nobody knows where");
    }
}
