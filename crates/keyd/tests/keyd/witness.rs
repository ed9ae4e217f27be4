//! The key service as witness of the vault's log.

use crate::support::{Api, Host, problem};
use leadglass_audit::{Event, Followed, Follower, Log, NewEntry, Outcome, PublicKey};
use leadglass_keys::wire::{
    CosignRequest, Few, Hex32, INSTALLATION, LogHead, LogPage, LogRead, LogReset, MAX_LOG_PAGE, ProblemCode,
    SecretName, SecretRecord, SecretRequest, Word, decode_records, path,
};
use leadglass_model::{EntryId, UnixMillis};
use std::path::Path;

const ORIGIN: &str = "leadglass/vault/test";

async fn seed(api: &mut Api) -> [u8; 32] {
    let request = SecretRequest { tenant: INSTALLATION, name: SecretName::AuditLog };
    let (_, body) = api.post(path::SECRETS, &request).await;
    *decode_records::<SecretRecord>(&body, 1).unwrap()[0].bytes.expose()
}

fn grow(log: &Log, number: u8) {
    let entry = NewEntry::new(EntryId::from_bytes([number; 16]), UnixMillis(1), Event::Query, Outcome::Success);
    log.append(vec![entry], None).unwrap();
}

fn request(log: &Log, old_size: u64) -> CosignRequest {
    let size = log.head().size;
    let proof = if old_size == 0 { Vec::new() } else { log.prove_consistency(old_size, size).unwrap() };
    let proof = proof.into_iter().map(|h| Hex32(h.0)).collect();
    CosignRequest { checkpoint: log.checkpoint(), old_size, proof: Few::new(proof).unwrap() }
}

/// As a person types it in.
fn head(log: &Log) -> String {
    let head = log.head();
    LogHead { size: head.size, root: Hex32(head.root.0) }.to_string()
}

fn open(dir: &Path, origin: &str, seed: &[u8; 32]) -> Log {
    Log::open(dir, origin, seed).unwrap()
}

#[tokio::test]
async fn a_log_that_grows_is_cosigned_and_a_fork_is_409_with_the_size_seen() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let (dirs, seed) = (tempfile::tempdir().unwrap(), seed(&mut api).await);
    let honest = open(&dirs.path().join("honest"), ORIGIN, &seed);
    let forked = open(&dirs.path().join("forked"), ORIGIN, &seed);
    grow(&honest, 1);
    grow(&honest, 2);
    assert_eq!(api.post(path::LOG_COSIGN, &request(&honest, 0)).await.0, 200);
    grow(&honest, 3);
    // Who died before the answer asks from where it knows, and is told the size; that is no alarm.
    let (status, body) = api.post(path::LOG_COSIGN, &request(&honest, 0)).await;
    assert_eq!((status, problem(&body).code, problem(&body).known_size), (409, ProblemCode::Conflict, Some(2)));
    assert!(!running.log().contains("log-fork"));
    assert_eq!(api.post(path::LOG_COSIGN, &request(&honest, 2)).await.0, 200);

    for number in 5..9 {
        grow(&forked, number);
    }
    let (status, body) = api.post(path::LOG_COSIGN, &request(&forked, 3)).await;
    assert_eq!((status, problem(&body).code, problem(&body).known_size), (409, ProblemCode::Fork, Some(3)));
    assert!(running.log().contains("log-fork"));

    let renamed = open(&dirs.path().join("renamed"), "leadglass/vault/other", &seed);
    grow(&renamed, 1);
    assert_eq!(api.post(path::LOG_COSIGN, &request(&renamed, 0)).await.0, 409);
    let mut reset = LogReset {
        old_origin: ORIGIN.to_owned(),
        new_origin: "leadglass/vault/other".to_owned(),
        approval: Word::new("none").unwrap(),
    };
    assert_eq!(api.post(path::LOG_RESET, &reset).await.0, 403);
    let given = host.done(&["approve", "--action", "log-reset", "--log", &head(&renamed)]);
    reset.approval = Word::new(given["id"].as_str().unwrap()).unwrap();
    let (status, body) = api.post(path::LOG_RESET, &reset).await;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["old_size"], 3);
    let size = renamed.head().size;
    assert_eq!(api.post(path::LOG_COSIGN, &request(&renamed, size)).await.0, 200);
}

#[tokio::test]
async fn a_log_that_was_rolled_back_is_a_fork() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let (dirs, seed) = (tempfile::tempdir().unwrap(), seed(&mut api).await);
    let (today, yesterday) =
        (open(&dirs.path().join("today"), ORIGIN, &seed), open(&dirs.path().join("yesterday"), ORIGIN, &seed));
    for log in [&today, &yesterday] {
        grow(log, 1);
    }
    grow(&today, 2);
    assert_eq!(api.post(path::LOG_COSIGN, &request(&today, 0)).await.0, 200);
    let (status, body) = api.post(path::LOG_COSIGN, &request(&yesterday, 0)).await;
    assert_eq!((status, problem(&body).code, problem(&body).known_size), (409, ProblemCode::Fork, Some(2)));
    assert!(running.log().contains("log-fork"));
    // After an honest restore somebody says so on the key host, and of which log; once.
    assert_eq!(host.refused(&["approve", "--action", "log-reset"]).0, 2);
    let elsewhere = ["approve", "--action", "epoch-advance", "--log", &head(&yesterday)];
    assert!(host.refused(&elsewhere).1.contains("names the log"));
    let empty = format!("0:{}", Hex32([7; 32]));
    assert!(host.refused(&["approve", "--action", "log-reset", "--log", &empty]).1.contains("names the log"));
    let another = LogHead { size: yesterday.head().size, root: Hex32([7; 32]) };
    host.done(&["approve", "--action", "log-reset", "--log", &another.to_string()]);
    assert_eq!(api.post(path::LOG_COSIGN, &request(&yesterday, 0)).await.0, 409, "another log was meant");
    host.done(&["approve", "--action", "log-reset", "--log", &head(&yesterday)]);
    assert_eq!(api.post(path::LOG_COSIGN, &request(&yesterday, 0)).await.0, 200);
    grow(&yesterday, 9);
    assert_eq!(api.post(path::LOG_COSIGN, &request(&yesterday, 1)).await.0, 200);
    assert_eq!(api.post(path::LOG_COSIGN, &request(&today, 2)).await.0, 409);
}

#[tokio::test]
async fn the_key_services_own_log_can_be_followed_and_says_who_opened_what() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let made = host.create(&mut api, None, 20).await;
    let ids: Vec<_> = made.iter().map(|k| k.key_id).collect();
    host.unwrap(&mut api, &ids[..1], leadglass_model::Purpose::Care).await;
    let mut follower: Option<Follower> = None;
    let mut unwraps = Vec::new();
    let checkpoint = loop {
        let from = follower.as_ref().map_or(0, |f| f.head().size);
        let (status, body) = api.post(path::LOG_READ, &LogRead { from }).await;
        assert_eq!(status, 200);
        let page: LogPage = serde_json::from_slice(&body).unwrap();
        let follower = follower.get_or_insert_with(|| Follower::begin(PublicKey::parse(&page.log_key).unwrap()));
        for leaf in page.leaves.iter() {
            let entry = follower.take(leaf.expose()).unwrap();
            if entry.report.event == Event::KeyUnwrapped {
                assert_eq!(entry.report.client.map(|c| hex::encode(c.0)), Some(page.caller.clone()));
                unwraps.extend(entry.report.related);
            }
        }
        if page.leaves.len() < MAX_LOG_PAGE {
            assert_eq!(follower.compare(&page.checkpoint), Ok(Followed::Reached));
            break page.checkpoint;
        }
    };
    assert_eq!(unwraps.len(), 1);
    // Reading adds nothing.
    let (_, body) = api.post(path::LOG_READ, &LogRead { from: u64::MAX }).await;
    let page: LogPage = serde_json::from_slice(&body).unwrap();
    assert_eq!((page.checkpoint, page.leaves.len()), (checkpoint, 0));
}

#[tokio::test]
async fn a_checkpoint_signed_by_another_key_is_refused() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("log"), ORIGIN, &[7; 32]);
    grow(&log, 1);
    assert_eq!(api.post(path::LOG_COSIGN, &request(&log, 0)).await.0, 400);
}
