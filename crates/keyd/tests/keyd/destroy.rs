//! The end of a key.

use crate::support::{Api, BIN, Host, opened, problem};
use http_body_util::BodyExt;
use leadglass_keys::wire::{
    DestroyRequest, DestroyStatement, Few, KeyRefusal, NewKey, ProblemCode, RevocationEvent, RevocationKind,
    RevocationLines, SignedStatement, Word, path,
};
use leadglass_model::{KeyId, Purpose, StudyRef};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

fn request(host: &Host, study: StudyRef, approval: &str) -> DestroyRequest {
    DestroyRequest {
        tenant: host.tenant,
        study_refs: Few::new(vec![study]).unwrap(),
        key_ids: Few::default(),
        order_id: Word::new("order-7").unwrap(),
        approval: Word::new(approval).unwrap(),
    }
}

fn approve(host: &Host, study: StudyRef) -> String {
    let (tenant, study) = (host.tenant.to_string(), study.to_string());
    let given = host.done(&["approve", "--action", "destroy", "--tenant", &tenant, "--study", &study]);
    given["id"].as_str().unwrap().to_owned()
}

async fn destroyed(api: &mut Api, request: &DestroyRequest) -> SignedStatement {
    let (status, body) = api.post(path::DESTROY, request).await;
    assert_eq!(status, 200, "{body:?}");
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_destroyed_study_opens_no_more_and_the_receipt_verifies_and_listeners_hear_of_it() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let study = StudyRef::from_bytes([9; 16]);
    let mut doomed: Vec<KeyId> = host.create(&mut api, Some(study), 2).await.iter().map(|k| k.key_id).collect();
    let kept = host.create(&mut api, None, 1).await;
    let mut listener = api.again();
    let mut stream = listener.get(&format!("{}?after=0", path::REVOCATIONS)).await.into_body();

    let (status, body) = api.post(path::DESTROY, &request(&host, study, "none")).await;
    assert_eq!((status, problem(&body).code), (403, ProblemCode::ApprovalNeeded));
    let other = approve(&host, StudyRef::from_bytes([1; 16]));
    assert_eq!(api.post(path::DESTROY, &request(&host, study, &other)).await.0, 403);

    let order = request(&host, study, &approve(&host, study));
    let receipt = destroyed(&mut api, &order).await;
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, receipt.signer.0);
    key.verify(receipt.statement.as_bytes(), &hex::decode(&receipt.signature).unwrap()).unwrap();
    let statement: DestroyStatement = serde_json::from_str(&receipt.statement).unwrap();
    doomed.sort();
    assert_eq!(statement.key_ids, doomed);
    assert_eq!(destroyed(&mut api, &order).await, receipt);

    let mut lines = RevocationLines::default();
    let revocation = 'heard: loop {
        let frame = stream.frame().await.unwrap().unwrap();
        for event in lines.push(&frame.into_data().unwrap()).unwrap() {
            if let RevocationEvent::Revoked { revocation, .. } = event {
                break 'heard revocation;
            }
        }
    };
    assert_eq!((revocation.kind, &revocation.key_ids[..]), (RevocationKind::Destroyed, doomed.as_slice()));

    let outcomes = host.unwrap(&mut api, &[doomed[0], doomed[1], kept[0].key_id], Purpose::Care).await;
    assert_eq!(opened(&outcomes[0]), Err(KeyRefusal::Destroyed));
    assert_eq!(opened(&outcomes[1]), Err(KeyRefusal::Destroyed));
    assert!(opened(&outcomes[2]).is_ok());
}

#[tokio::test]
async fn a_listener_from_now_on_hears_a_beat_first_and_no_history() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let study = StudyRef::from_bytes([9; 16]);
    host.create(&mut api, Some(study), 1).await;
    destroyed(&mut api, &request(&host, study, &approve(&host, study))).await;
    let first = |events: Vec<RevocationEvent>| events.into_iter().next().unwrap();
    let mut seen = Vec::new();
    for query in ["", "?after=0", "?after=99"] {
        let mut stream = api.get(&format!("{}{query}", path::REVOCATIONS)).await.into_body();
        let line = stream.frame().await.unwrap().unwrap().into_data().unwrap();
        seen.push(first(RevocationLines::default().push(&line).unwrap()));
    }
    assert_eq!(seen[0], RevocationEvent::Beat { seq: 1 });
    assert!(matches!(seen[1], RevocationEvent::Revoked { seq: 1, .. }));
    assert_eq!(seen[2], RevocationEvent::Reset { seq: 1 });
}

#[tokio::test]
async fn an_approval_is_used_once() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let study = StudyRef::from_bytes([9; 16]);
    host.create(&mut api, Some(study), 1).await;
    let mut order = request(&host, study, &approve(&host, study));
    destroyed(&mut api, &order).await;
    host.create(&mut api, Some(study), 1).await;
    order.order_id = Word::new("order-8").unwrap();
    assert_eq!(api.post(path::DESTROY, &order).await.0, 403);
}

/// SIGKILL at every step that can be seen from outside: at once, when the revocation is heard, when the shard has its new key, when
/// the old one is gone, when the receipt lies beside the capsules.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destruction_comes_to_the_same_end_wherever_it_is_killed() {
    let host = Host::with(&["--node-per-hour", "100000"]);
    let mut running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let kept = host.create(&mut api, None, 200).await;
    let (keyring, receipts) = (host.data().join("keyring.svo"), host.data().join("capsules/erased"));
    for step in 1..=5 {
        let study = StudyRef::from_bytes([step; 16]);
        let doomed: Vec<KeyId> = host.create(&mut api, Some(study), 2).await.iter().map(|k| k.key_id).collect();
        let order = request(&host, study, &approve(&host, study));
        let mut listener = api.again();
        let mut stream = listener.get(path::REVOCATIONS).await.into_body();
        stream.frame().await.unwrap().unwrap();
        let (before, kept_receipts) = (fs::read(&keyring).unwrap(), files_in(&receipts));
        let (mut asking, asked) = (api.again(), order.clone());
        let asking = tokio::spawn(async move { asking.try_post(path::DESTROY, &asked).await.is_ok() });
        let keyring_now = || fs::read(&keyring).unwrap_or_default();
        let answered = || files_in(&receipts) > kept_receipts;
        match step {
            1 => {}
            2 => drop(stream.frame().await),
            3 => until(|| keyring_now() != before),
            4 => {
                until(|| keyring_now() != before);
                let halfway = keyring_now();
                // Who is too fast to be seen at this step is killed at the next.
                until(|| keyring_now() != halfway || answered());
            }
            _ => until(answered),
        }
        running.kill();
        asking.await.unwrap();

        running = host.serve();
        api = host.connect(&running, "vault").await;
        let receipt = destroyed(&mut api, &order).await;
        let statement: DestroyStatement = serde_json::from_str(&receipt.statement).unwrap();
        assert_eq!(statement.key_ids.len(), 2, "step {step}");
        assert_eq!(destroyed(&mut api, &order).await, receipt, "step {step}");
        for outcome in host.unwrap(&mut api, &doomed, Purpose::Care).await {
            assert_eq!(opened(&outcome), Err(KeyRefusal::Destroyed), "step {step}");
        }
        all_open(&host, &mut api, &kept).await;
    }
    // One that was killed between the file and its row is signed again, and both say the same keys.
    assert!(files_in(&receipts) >= 5);
}

/// The same of an epoch's end: when the new key is prepared, when the keyring lies under it, when the old one is disabled, when the
/// backup under the new one is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epochs_end_comes_to_the_same_end_wherever_it_is_killed() {
    let host = Host::with(&["--node-per-hour", "100000"]);
    let config = host.data().join("keyd.toml");
    let text = fs::read_to_string(&config).unwrap();
    let hurried = text.lines().map(|l| if l.starts_with("epoch_hold") { "epoch_hold = \"0s\"" } else { l });
    fs::write(&config, hurried.collect::<Vec<_>>().join("\n")).unwrap();
    let mut running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let kept = host.create(&mut api, None, 50).await;
    let at = |name: &str| host.data().join(name);
    for step in 1..=4 {
        let before = host.done(&["status"])["epoch"].as_u64().unwrap();
        let (keyring, epoch) = (fs::read(at("keyring.svo")).unwrap(), fs::read(at("epoch.json")).unwrap());
        let mut advancing = Command::new(BIN)
            .arg("--data")
            .arg(host.data())
            .args(["--json", "epoch", "advance"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let seen = || match step {
            1 => at("epoch.next.json").exists(),
            2 => fs::read(at("keyring.svo")).is_ok_and(|now| now != keyring),
            3 => fs::read(at("epoch.json")).is_ok_and(|now| now != epoch),
            _ => !at("epoch.disabled.json").exists() && fs::read(at("epoch.json")).is_ok_and(|now| now != epoch),
        };
        // Who is too fast to be seen at this step is killed at its end.
        while !seen() && advancing.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        running.kill();
        advancing.wait().unwrap();

        running = host.serve();
        api = host.connect(&running, "vault").await;
        let now = host.done(&["status"])["epoch"].as_u64().unwrap();
        if now == before {
            host.done(&["epoch", "advance"]);
        }
        assert_eq!(host.done(&["status"])["epoch"].as_u64(), Some(before + 1), "step {step}");
        assert!(!at("epoch.next.json").exists() && !at("epoch.disabled.json").exists(), "step {step}");
        all_open(&host, &mut api, &kept).await;
    }
}

async fn all_open(host: &Host, api: &mut Api, kept: &[NewKey]) {
    let ids: Vec<KeyId> = kept.iter().map(|k| k.key_id).collect();
    for (made, outcome) in kept.iter().zip(host.unwrap(api, &ids, Purpose::Ingest).await) {
        assert_eq!(opened(&outcome).unwrap(), *made.key.expose());
    }
}

fn until(seen: impl Fn() -> bool) {
    while !seen() {
        std::thread::yield_now();
    }
}

fn files_in(folder: &Path) -> usize {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter(|file| file.path().extension().is_some_and(|e| e == "json")).count()
}
