//! Bearer tokens on a real file.

use leadglass_model::{ActorRef, Fault, MockClock, Role, SystemEntropy, TenantId, UnixMillis};
use leadglass_records::{NewToken, Records, TokenError, Tokens};
use std::{path::Path, sync::Arc};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const OTHER: TenantId = TenantId::from_bytes([2; 16]);
const START: UnixMillis = UnixMillis(1_000_000);

fn open(path: &Path, clock: &Arc<MockClock>) -> Tokens {
    Records::open(path, clock.clone(), Arc::new(SystemEntropy)).expect("the records open").tokens()
}

fn new(label: &str) -> NewToken {
    NewToken { tenant: TENANT, role: Role::Device, label: label.to_owned(), expires: None }
}

#[tokio::test]
async fn a_token_speaks_for_its_tenant_and_role_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    let clock = Arc::new(MockClock::at(START));
    let tokens = open(&path, &clock);
    let (token, info) = tokens.issue(new("CT 1")).await.unwrap();
    assert_eq!((token.reveal().len(), &token.reveal()[..3]), (46, "lg_"));
    drop(tokens);
    let grant = open(&path, &clock).resolve(token.reveal()).unwrap().unwrap();
    assert_eq!(grant, info.grant);
    assert_eq!((grant.tenant, grant.role, grant.label.as_str()), (TENANT, Role::Device, "CT 1"));
}

#[tokio::test]
async fn the_file_holds_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    let tokens = open(&path, &Arc::new(MockClock::at(START)));
    let (token, _) = tokens.issue(new("CT 1")).await.unwrap();
    let listed = format!("{:?} {token:?}", tokens.list(None).await.unwrap());
    drop(tokens);
    let secret = &token.reveal().as_bytes()[3..];
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.windows(4).any(|window| window == b"CT 1"));
    for part in secret.windows(8) {
        assert!(!bytes.windows(8).any(|window| window == part));
    }
    assert!(!listed.contains(token.reveal()));
}

#[tokio::test]
async fn a_text_that_is_no_token_speaks_for_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = open(&dir.path().join("records.redb"), &Arc::new(MockClock::at(START)));
    let (token, _) = tokens.issue(new("CT 1")).await.unwrap();
    let text = token.reveal();
    let mut bad = vec![
        String::new(),
        "lg_".into(),
        text[3..].into(),
        format!("{text}="),
        format!("{text}A"),
        text.to_uppercase(),
    ];
    bad.push(format!("lg_{}", "A".repeat(43)));
    bad.push(format!("LG_{}", &text[3..]));
    bad.push("ä".repeat(23));
    for at in 3..text.len() {
        let swapped = if &text[at..=at] == "A" { "B" } else { "A" };
        bad.push(format!("{}{swapped}{}", &text[..at], &text[at + 1..]));
    }
    for bad in bad {
        assert_eq!(tokens.resolve(&bad).unwrap(), None, "{bad}");
    }
    assert!(tokens.resolve(text).unwrap().is_some());
}

#[tokio::test]
async fn a_token_ends_when_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(MockClock::at(START));
    let tokens = open(&dir.path().join("records.redb"), &clock);
    let expires = Some(START.plus_secs(60));
    let (token, _) = tokens.issue(NewToken { expires, ..new("CT 1") }).await.unwrap();
    clock.advance_secs(59);
    assert!(tokens.resolve(token.reveal()).unwrap().is_some());
    clock.advance_secs(1);
    assert_eq!(tokens.resolve(token.reveal()).unwrap(), None);
    let refused = tokens.issue(NewToken { expires, ..new("CT 1") }).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::BadInput);
}

#[tokio::test]
async fn a_revoked_token_ends_at_once_and_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    let clock = Arc::new(MockClock::at(START));
    let tokens = open(&path, &clock);
    let (token, info) = tokens.issue(new("CT 1")).await.unwrap();
    let (kept, _) = tokens.issue(new("CT 2")).await.unwrap();
    assert!(matches!(tokens.revoke(OTHER, info.grant.actor).await, Err(TokenError::Missing)));
    assert!(matches!(tokens.revoke(TENANT, ActorRef([9; 16])).await, Err(TokenError::Missing)));
    assert!(tokens.resolve(token.reveal()).unwrap().is_some());
    tokens.revoke(TENANT, info.grant.actor).await.unwrap();
    clock.advance_secs(5);
    tokens.revoke(TENANT, info.grant.actor).await.unwrap();
    assert_eq!(tokens.resolve(token.reveal()).unwrap(), None);
    drop(tokens);
    // Even with a clock set back before the revocation.
    let tokens = open(&path, &Arc::new(MockClock::at(UnixMillis(0))));
    assert_eq!(tokens.resolve(token.reveal()).unwrap(), None);
    assert!(tokens.resolve(kept.reveal()).unwrap().is_some());
    let listed = tokens.list(None).await.unwrap();
    let revoked: Vec<_> = listed.iter().filter_map(|info| info.revoked).collect();
    assert_eq!(revoked, [START]);
}

#[tokio::test]
async fn a_list_shows_one_tenant_or_all() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(MockClock::at(START));
    let tokens = open(&dir.path().join("records.redb"), &clock);
    for tenant in [TENANT, OTHER, TENANT] {
        tokens.issue(NewToken { tenant, ..new("CT 1") }).await.unwrap();
        clock.advance_secs(1);
    }
    assert_eq!(tokens.list(Some(TENANT)).await.unwrap().len(), 2);
    assert_eq!(tokens.list(Some(OTHER)).await.unwrap().len(), 1);
    let all = tokens.list(None).await.unwrap();
    assert_eq!(all.iter().map(|info| info.issued.0).collect::<Vec<_>>(), [1_000_000, 1_001_000, 1_002_000]);
}

#[tokio::test]
async fn a_label_must_be_short_and_printable() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = open(&dir.path().join("records.redb"), &Arc::new(MockClock::at(START)));
    for bad in [String::new(), "a\nb".into(), "x".repeat(65)] {
        assert!(matches!(tokens.issue(new(&bad)).await, Err(TokenError::Label)), "{bad:?}");
    }
    tokens.issue(new(&"ö".repeat(64))).await.unwrap();
}

#[tokio::test]
async fn who_is_asked_about_is_over_when_revoked_or_expired_and_never_for_having_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(MockClock::at(START));
    let tokens = open(&dir.path().join("records.redb"), &clock);
    let mut actors = Vec::new();
    for expires in [None, None, Some(UnixMillis(START.0 + 1_000))] {
        let (_, info) = tokens.issue(NewToken { expires, ..new("CT 1") }).await.unwrap();
        actors.push(info.grant.actor);
    }
    let somebody_else = ActorRef([9; 16]);
    let among = || actors.iter().copied().chain([somebody_else]).collect();
    assert_eq!(tokens.over(among()).await.unwrap(), []);
    tokens.revoke(TENANT, actors[0]).await.unwrap();
    assert_eq!(tokens.over(among()).await.unwrap(), actors[..1]);
    assert_eq!(tokens.over([somebody_else].into()).await.unwrap(), [], "only those who were asked about");
    clock.advance_secs(1);
    let mut over = tokens.over(among()).await.unwrap();
    let mut expected = [actors[0], actors[2]];
    over.sort();
    expected.sort();
    assert_eq!(over, expected);
}
