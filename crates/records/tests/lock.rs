//! Sessions and tokens of people, on a real file.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_model::{ActorRef, MockClock, Role, SessionTimes, SystemEntropy, TenantId, UnixMillis};
use leadglass_records::{PersonRoll, Records, Seat, Sessions, TokenGrant, Tokens, Use};
use parking_lot::Mutex;
use std::{path::Path, sync::Arc, time::Duration};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const START: UnixMillis = UnixMillis(1_000_000);
const TIMES: SessionTimes =
    SessionTimes { lock: Duration::from_secs(60), idle: Duration::from_secs(180), absolute: Duration::from_secs(600) };
const SEAT: Seat = Seat { tenant: TENANT, person: ActorRef([7; 16]), device: [8; 16] };

/// One person, in this role; nobody when there is none.
struct House(Mutex<Option<Role>>);

impl PersonRoll for House {
    fn grant_of(&self, seat: &Seat) -> Option<TokenGrant> {
        let role = (*self.0.lock())?;
        (seat.person == SEAT.person).then(|| TokenGrant {
            actor: seat.person,
            tenant: TENANT,
            role,
            label: "Dr. B".to_owned(),
        })
    }

    fn bearer(&self, seat: &Seat) -> Option<TokenGrant> {
        self.grant_of(seat)
    }
}

fn open(path: &Path, clock: &Arc<MockClock>) -> (Arc<House>, Tokens, Sessions) {
    let records = Records::open(path, clock.clone(), Arc::new(SystemEntropy)).unwrap();
    let house = Arc::new(House(Mutex::new(Some(Role::Clinician))));
    let sessions = records.sessions_of(house.clone()).unwrap();
    (house, records.tokens(), sessions)
}

fn lives(sessions: &Sessions, reference: &str) -> bool {
    sessions.resolve(reference, Use::Counts).unwrap().is_some()
}

fn is_locked(sessions: &Sessions, reference: &str) -> bool {
    sessions.locked(reference).unwrap().is_some()
}

#[tokio::test]
async fn a_persons_session_is_locked_when_it_is_not_used_and_goes_on_under_another_reference_until_its_end() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let path = dir.path().join("records.redb");
    let (house, _, sessions) = open(&path, &clock);
    let (reference, begun) = sessions.begin_at(SEAT, TIMES, None).await.unwrap().unwrap();
    let first = reference.reveal().to_owned();
    assert!(lives(&sessions, &first) && !is_locked(&sessions, &first));
    assert!(sessions.unlock(&first).await.unwrap().is_none(), "what is open needs no opening");
    clock.advance_secs(61);
    assert!(!lives(&sessions, &first));
    let locked = sessions.locked(&first).unwrap().unwrap();
    assert_eq!((locked.session, locked.seat), (begun.session, Some(SEAT)));
    assert_eq!(locked.ends, START.plus_secs(180), "until when he may come back");
    assert!(sessions.of_people(|_| true).is_empty(), "nobody works with it");

    // Neither a restart nor a clock that is set back opens it.
    sessions.settle().await.unwrap();
    drop((house, sessions));
    let early = Arc::new(MockClock::at(START));
    let (house, _, sessions) = open(&path, &early);
    assert!(!lives(&sessions, &first) && is_locked(&sessions, &first));

    let (second, opened) = sessions.unlock(&first).await.unwrap().unwrap();
    let second = second.reveal().to_owned();
    assert!(lives(&sessions, &second) && !lives(&sessions, &first) && !is_locked(&sessions, &first));
    assert_eq!((opened.session, opened.begun, opened.ends), (begun.session, begun.begun, begun.ends));
    assert!(sessions.unlock(&first).await.unwrap().is_none(), "once");

    // On request; and it ends like any other.
    assert!(sessions.lock(&second).await.unwrap());
    assert!(!lives(&sessions, &second) && is_locked(&sessions, &second));
    *house.0.lock() = None;
    assert!(!is_locked(&sessions, &second), "whoever left does not come back to it");
    *house.0.lock() = Some(Role::Clinician);
    assert!(sessions.unlock(&second).await.unwrap().is_none());

    let (third, _) = sessions.begin_at(SEAT, TIMES, None).await.unwrap().unwrap();
    early.advance_secs(600);
    assert!(!is_locked(&sessions, third.reveal()), "the absolute end stays");
    assert!(!sessions.lock(third.reveal()).await.unwrap());
}

/// Whoever is away for longer than a locked session waits signs in anew, whatever locked it, though the node was started again or the
/// clock was set back.
#[tokio::test]
async fn a_locked_session_ends_when_nobody_comes_back_to_it() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let path = dir.path().join("records.redb");
    let (house, _, sessions) = open(&path, &clock);
    let mut begun = Vec::new();
    for _ in 0..4 {
        begun.push(sessions.begin_at(SEAT, TIMES, None).await.unwrap().unwrap().0.reveal().to_owned());
    }
    let [by_hand, by_time, worked, looked_at] = &begun[..] else { unreachable!() };
    assert!(sessions.lock(by_hand).await.unwrap());
    clock.advance_secs(50);
    assert!(lives(&sessions, worked), "his end is 50 s later");
    clock.advance_secs(129);
    assert!([by_hand, by_time, worked].iter().all(|reference| is_locked(&sessions, reference)));
    assert!(is_locked(&sessions, looked_at), "to look at a locked session is no use of it");
    clock.advance_secs(1);
    assert!(![by_hand, by_time].iter().any(|reference| is_locked(&sessions, reference)));
    assert!(sessions.unlock(looked_at).await.unwrap().is_none());

    sessions.settle().await.unwrap();
    drop((house, sessions));
    let (_house, _, sessions) = open(&path, &Arc::new(MockClock::at(START)));
    assert!(![by_hand, by_time, looked_at].iter().any(|reference| is_locked(&sessions, reference)), "it stays over");
    assert!(is_locked(&sessions, worked));
}

#[tokio::test]
async fn a_token_that_a_person_made_speaks_for_him_as_he_is_now_and_ends_with_its_device() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let path = dir.path().join("records.redb");
    let (house, tokens, sessions) = open(&path, &clock);
    let ends = START.plus_secs(3600);
    let (token, info) = tokens.issue_to(SEAT, Role::Clinician, "script".to_owned(), ends).await.unwrap();
    let elsewhere = Seat { device: [9; 16], ..SEAT };
    let (kept, _) = tokens.issue_to(elsewhere, Role::Clinician, "other".to_owned(), ends).await.unwrap();
    let bearer = tokens.bearer(token.reveal()).unwrap().unwrap();
    assert_eq!((bearer.grant.actor, bearer.session), (SEAT.person, info.grant.actor.0));
    assert!(sessions.begin(token.reveal(), |_| Some(TIMES)).await.unwrap().is_none(), "no browser signs in with it");
    *house.0.lock() = Some(Role::Reception);
    assert_eq!(tokens.resolve(token.reveal()).unwrap().unwrap().role, Role::Reception);
    *house.0.lock() = None;
    assert_eq!(tokens.resolve(token.reveal()).unwrap(), None);
    *house.0.lock() = Some(Role::Clinician);

    let ended = tokens.end_of_people(|_, seat| seat.device == SEAT.device).await.unwrap();
    assert_eq!(ended.iter().map(|info| info.grant.actor.0).collect::<Vec<_>>(), [bearer.session]);
    assert_eq!(tokens.resolve(token.reveal()).unwrap(), None);
    assert!(tokens.resolve(kept.reveal()).unwrap().is_some());
    assert_eq!(tokens.of_people(|_| true).await.unwrap().len(), 1);
    drop((tokens, sessions, house));
    let (_house, tokens, _sessions) = open(&path, &clock);
    assert_eq!(tokens.resolve(token.reveal()).unwrap(), None);
    clock.advance_secs(3600);
    assert_eq!(tokens.resolve(kept.reveal()).unwrap(), None);
    assert_eq!(tokens.over_since(START.plus_secs(3590)).await.unwrap().len(), 2);
    assert_eq!(tokens.over_since(START.plus_secs(3601)).await.unwrap().len(), 0);
}
