//! Sessions of browsers on a real file.

use leadglass_model::{Clock, MockClock, Role, SessionTimes, SystemEntropy, TenantId, UnixMillis};
use leadglass_records::{NewToken, Records, Sessions, Token, TokenInfo, Tokens, Use};
use std::{path::Path, sync::Arc, time::Duration};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const START: UnixMillis = UnixMillis(1_000_000);
const TIMES: SessionTimes =
    SessionTimes { lock: Duration::from_secs(20), idle: Duration::from_secs(60), absolute: Duration::from_secs(600) };

fn open(path: &Path, clock: &Arc<MockClock>) -> (Tokens, Sessions) {
    let records = Records::open(path, clock.clone(), Arc::new(SystemEntropy)).expect("the records open");
    (records.tokens(), records.sessions().expect("the sessions load"))
}

async fn token(tokens: &Tokens) -> (Token, TokenInfo) {
    let new = NewToken { tenant: TENANT, role: Role::Clinician, label: "Dr. B".to_owned(), expires: None };
    tokens.issue(new).await.expect("a token")
}

async fn begin(sessions: &Sessions, token: &Token) -> String {
    let (reference, _) = sessions.begin(token.reveal(), |_| Some(TIMES)).await.expect("no error").expect("a session");
    reference.reveal().to_owned()
}

fn lives(sessions: &Sessions, reference: &str) -> bool {
    sessions.resolve(reference, Use::Counts).expect("the file reads").is_some()
}

#[tokio::test]
async fn a_session_speaks_for_its_token_also_after_a_restart() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let path = dir.path().join("records.redb");
    let (tokens, sessions) = open(&path, &clock);
    let (token, info) = token(&tokens).await;
    let (reference, begun) = sessions.begin(token.reveal(), |_| Some(TIMES)).await.unwrap().unwrap();
    assert_eq!((reference.reveal().len(), begun.grant.clone()), (43, info.grant.clone()));
    assert_eq!((begun.idle_ends, begun.ends), (START.plus_secs(60), START.plus_secs(600)));
    drop((tokens, sessions));
    let (_tokens, sessions) = open(&path, &clock);
    let again = sessions.resolve(reference.reveal(), Use::Counts).unwrap().unwrap();
    assert_eq!(again, begun);
    assert_eq!(again.grant, info.grant);
}

#[tokio::test]
async fn a_house_shortens_what_a_role_may_and_lengthens_nothing() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let (tokens, sessions) = open(&dir.path().join("records.redb"), &clock);
    let (token, _) = token(&tokens).await;
    sessions.shorten(SessionTimes {
        lock: Duration::from_secs(3_600),
        idle: Duration::from_secs(3_600),
        absolute: Duration::from_secs(100),
    });
    let (reference, begun) = sessions.begin(token.reveal(), |_| Some(TIMES)).await.unwrap().unwrap();
    assert_eq!((begun.idle_ends, begun.ends), (START.plus_secs(60), START.plus_secs(100)));
    clock.advance_secs(59);
    assert!(lives(&sessions, reference.reveal()));
    clock.advance_secs(41);
    assert!(!lives(&sessions, reference.reveal()));
}

#[tokio::test]
async fn neither_memory_shown_nor_file_holds_the_reference() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let path = dir.path().join("records.redb");
    let (tokens, sessions) = open(&path, &clock);
    let (token, _) = token(&tokens).await;
    let (reference, grant) = sessions.begin(token.reveal(), |_| Some(TIMES)).await.unwrap().unwrap();
    let shown = format!("{sessions:?} {reference:?} {grant:?}");
    assert!(!shown.contains(reference.reveal()), "{shown}");
    sessions.settle().await.unwrap();
    drop((tokens, sessions));
    let bytes = std::fs::read(&path).unwrap();
    for part in reference.reveal().as_bytes().windows(8) {
        assert!(!bytes.windows(8).any(|window| window == part));
    }
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_in_any_case() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let (tokens, sessions) = open(&dir.path().join("records.redb"), &clock);
    let (token, _) = token(&tokens).await;
    let (idle, busy) = (begin(&sessions, &token).await, begin(&sessions, &token).await);
    clock.advance_secs(59);
    assert!(lives(&sessions, &busy));
    let peeked = sessions.resolve(&idle, Use::Peek).unwrap().unwrap();
    assert_eq!(peeked.idle_ends, START.plus_secs(60), "a peek is no use");
    clock.advance_secs(1);
    assert!(!lives(&sessions, &idle), "it was not used for a minute");
    while clock.now() < START.plus_secs(600) {
        assert!(lives(&sessions, &busy), "used every minute: {:?}", clock.now());
        clock.advance_secs(30);
    }
    assert!(!lives(&sessions, &busy), "nothing keeps it longer than its absolute time");
}

#[tokio::test]
async fn a_session_that_ended_stays_ended_though_the_clock_is_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    let clock = Arc::new(MockClock::at(START));
    let (tokens, sessions) = open(&path, &clock);
    let (token, _) = token(&tokens).await;
    let reference = begin(&sessions, &token).await;
    clock.advance_secs(61);
    assert!(!lives(&sessions, &reference));
    sessions.settle().await.unwrap();
    drop((tokens, sessions));
    let (_tokens, sessions) = open(&path, &Arc::new(MockClock::at(START)));
    assert!(!lives(&sessions, &reference));
}

#[tokio::test]
async fn a_revoked_token_ends_its_sessions_at_once() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let (tokens, sessions) = open(&dir.path().join("records.redb"), &clock);
    let ((first, info), (second, _)) = (token(&tokens).await, token(&tokens).await);
    let (ends, stays) = (begin(&sessions, &first).await, begin(&sessions, &second).await);
    tokens.revoke(TENANT, info.grant.actor).await.unwrap();
    assert!(!lives(&sessions, &ends));
    assert!(lives(&sessions, &stays));
    assert!(sessions.begin(first.reveal(), |_| Some(TIMES)).await.unwrap().is_none(), "nor does it begin another");
}

#[tokio::test]
async fn a_session_that_was_ended_is_over_also_after_a_restart() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let path = dir.path().join("records.redb");
    let (tokens, sessions) = open(&path, &clock);
    let (token, _) = token(&tokens).await;
    let (ended, other) = (begin(&sessions, &token).await, begin(&sessions, &token).await);
    sessions.end(&ended).await.unwrap();
    sessions.end(&ended).await.unwrap();
    assert!(!lives(&sessions, &ended) && lives(&sessions, &other));
    drop((tokens, sessions));
    let (_tokens, sessions) = open(&path, &clock);
    assert!(!lives(&sessions, &ended) && lives(&sessions, &other));
}

#[tokio::test]
async fn the_last_use_outlives_a_restart_once_it_is_settled() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let path = dir.path().join("records.redb");
    let (tokens, sessions) = open(&path, &clock);
    let (token, _) = token(&tokens).await;
    let (used, unused) = (begin(&sessions, &token).await, begin(&sessions, &token).await);
    clock.advance_secs(50);
    assert!(lives(&sessions, &used));
    sessions.settle().await.unwrap();
    drop((tokens, sessions));
    clock.advance_secs(20);
    let (_tokens, sessions) = open(&path, &clock);
    assert!(lives(&sessions, &used) && !lives(&sessions, &unused));
}

#[tokio::test]
async fn one_token_holds_few_sessions_and_the_least_used_goes_first() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let (tokens, sessions) = open(&dir.path().join("records.redb"), &clock);
    let (token, _) = token(&tokens).await;
    let mut begun = Vec::new();
    for _ in 0..32 {
        begun.push(begin(&sessions, &token).await);
    }
    clock.advance_secs(1);
    for reference in &begun[1..] {
        assert!(lives(&sessions, reference));
    }
    let last = begin(&sessions, &token).await;
    assert!(!lives(&sessions, &begun[0]), "it was the one not used");
    assert!(lives(&sessions, &last) && begun[1..].iter().all(|reference| lives(&sessions, reference)));
}

#[tokio::test]
async fn what_is_no_reference_speaks_for_nobody() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(MockClock::at(START)));
    let (tokens, sessions) = open(&dir.path().join("records.redb"), &clock);
    let (token, _) = token(&tokens).await;
    let reference = begin(&sessions, &token).await;
    for bad in ["", "x", token.reveal(), &reference[1..], &format!("{reference}="), &"A".repeat(43)] {
        assert!(!lives(&sessions, bad), "{bad}");
    }
    assert!(sessions.begin("lg_nonsense", |_| Some(TIMES)).await.unwrap().is_none());
    assert!(sessions.begin(token.reveal(), |_| None).await.unwrap().is_none(), "whom it speaks for may not sign in");
}
