//! Whom a session belongs to: a token, or a person at one of his devices; how long it lasts; and how it lies on disk.

use crate::TokenGrant;
use leadglass_model::{ActorRef, SessionTimes, TenantId, UnixMillis};
use std::{net::IpAddr, time::Duration};

/// Who people are now. It is asked each time, so what it answers holds at once.
pub trait PersonRoll: Send + Sync + 'static {
    /// Whom this person may speak for, at this device: nobody, if he has left or is not known, or the device is none of his
    /// any more.
    fn grant_of(&self, seat: &Seat) -> Option<TokenGrant>;

    /// Whom a token speaks for that this person made for a program: nobody, if he has left, or if his role is one that no program
    /// may have.
    fn bearer(&self, seat: &Seat) -> Option<TokenGrant>;
}

/// A node without people of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl PersonRoll for Nobody {
    fn grant_of(&self, _: &Seat) -> Option<TokenGrant> {
        None
    }

    fn bearer(&self, _: &Seat) -> Option<TokenGrant> {
        None
    }
}

/// A person at one of his devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Seat {
    /// Whose.
    #[n(0)]
    pub tenant: TenantId,
    /// Who, as he stands in the audit log.
    #[cbor(n(1), decode_with = "decode_actor", encode_with = "encode_actor")]
    pub person: ActorRef,
    /// His browser or phone; random, and means nothing elsewhere.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub device: [u8; 16],
}

/// A person's session, for his list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its name in accesses.
    pub session: [u8; 16],
    /// Who, and where.
    pub seat: Seat,
    /// When it began.
    pub begun: UnixMillis,
    /// When it was last used.
    pub seen: UnixMillis,
    /// When it ends in any case.
    pub ends: UnixMillis,
    /// Where it began; forgotten when the node stops.
    pub from: Option<IpAddr>,
}

/// A session that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionGrant {
    /// Whom it speaks for.
    pub grant: TokenGrant,
    /// Its name in accesses; says nothing about its reference.
    pub session: [u8; 16],
    /// The person and device, when a person signed in.
    pub seat: Option<Seat>,
    /// When it began: how long ago somebody proved who he is.
    pub begun: UnixMillis,
    /// When it ends in any case.
    pub ends: UnixMillis,
    /// When it is locked without further use; a token's ends then.
    pub idle_ends: UnixMillis,
}

/// Whether a look counts as use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The session goes on for its idle time from now.
    Counts,
    /// Somebody only asks how long it lasts.
    Peek,
}

/// Whose a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Whoever had the token with this hash.
    Token([u8; 32]),
    Person(Seat),
}

impl Holder {
    /// Whether two sessions count together.
    pub(crate) fn is_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(a), Self::Token(b)) => a == b,
            (Self::Person(a), Self::Person(b)) => (a.tenant, a.person) == (b.tenant, b.person),
            _ => false,
        }
    }
}

/// A session as it lies on disk. Exactly one of `token` and `seat` is there.
#[derive(Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Row {
    /// Hash of the token that began it.
    #[cbor(n(0), with = "minicbor::bytes")]
    token: Option<[u8; 32]>,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) session: [u8; 16],
    #[n(2)]
    pub(crate) begun: u64,
    #[n(3)]
    pub(crate) ends: u64,
    #[n(4)]
    pub(crate) idle_ms: u64,
    /// Last use, as far as it was written.
    #[n(5)]
    pub(crate) seen: u64,
    /// The person who began it.
    #[n(6)]
    seat: Option<Seat>,
    /// Since when it has been locked.
    #[n(7)]
    pub(crate) locked: Option<u64>,
    /// How long after its last use a person's session ends; rows of before there was this field end with `ends`.
    #[n(8)]
    over_ms: Option<u64>,
}

impl Row {
    pub(crate) fn new(holder: Holder, session: [u8; 16], now: u64, times: &SessionTimes) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (token, seat, idle, over_ms) = match holder {
            Holder::Token(hash) => (Some(hash), None, times.idle, None),
            Holder::Person(seat) => (None, Some(seat), times.lock.min(times.idle), Some(millis(times.idle))),
        };
        let ends = now.saturating_add(millis(times.absolute));
        let idle_ms = millis(idle);
        Self { token, session, begun: now, ends, idle_ms, seen: now, seat, locked: None, over_ms }
    }

    /// Nobody, if the row is not one of ours.
    pub(crate) fn holder(&self) -> Option<Holder> {
        match (self.token, self.seat) {
            (Some(hash), None) => Some(Holder::Token(hash)),
            (None, Some(seat)) => Some(Holder::Person(seat)),
            _ => None,
        }
    }

    /// The row with a later last use.
    pub(crate) fn seen_at(mut self, seen: u64) -> Self {
        self.seen = seen;
        self
    }

    /// The row of a session that is locked.
    pub(crate) fn locked_at(mut self, now: u64) -> Self {
        self.locked.get_or_insert(now);
        self
    }

    /// The row of a session whose person came back.
    pub(crate) fn opened_at(mut self, now: u64) -> Self {
        (self.locked, self.seen) = (None, now);
        self
    }

    /// When it is locked, or a token's is over.
    pub(crate) fn idle_ends(&self, seen: u64) -> u64 {
        seen.saturating_add(self.idle_ms).min(self.ends)
    }

    /// When it is over, locked or not.
    pub(crate) fn over(&self, seen: u64) -> u64 {
        self.over_ms.map_or(self.ends, |over| seen.saturating_add(over).min(self.ends))
    }
}

fn encode_actor<C, W: minicbor::encode::Write>(
    actor: &ActorRef,
    e: &mut minicbor::Encoder<W>,
    _: &mut C,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    e.bytes(&actor.0)?.ok()
}

fn decode_actor<C>(d: &mut minicbor::Decoder<'_>, _: &mut C) -> Result<ActorRef, minicbor::decode::Error> {
    let bytes = d.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message("a pseudonym is 16 bytes"))?;
    Ok(ActorRef(bytes))
}
