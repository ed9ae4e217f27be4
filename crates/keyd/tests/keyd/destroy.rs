//! The end of a key.

use crate::support::{Api, Host, opened, problem};
use http_body_util::BodyExt;
use leadglass_keys::wire::{
    DestroyRequest, DestroyStatement, Few, KeyRefusal, ProblemCode, RevocationEvent, RevocationKind, RevocationLines,
    SignedStatement, Word, path,
};
use leadglass_model::{KeyId, Purpose, StudyRef};

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
