//! Create, bind, unwrap, index, secrets, mac, attest: what a vault does all day.

use crate::support::{Host, opened, problem};
use leadglass_keys::wire::{
    Base64Bytes, BindRequest, CreateRequest, Few, INSTALLATION, IndexPage, IndexRequest, KeyRefusal, MacAnswer,
    MacName, MacRequest, OpenedKeys, ProblemCode, RestrictRequest, RotateRequest, RotateWhat, Scope, SecretName,
    SecretRecord, SecretRequest, Word, decode_records, path,
};
use leadglass_model::{KeyId, Purpose, StudyRef, TenantId};

#[tokio::test]
async fn a_created_key_unwraps_to_the_same_bytes_also_after_a_restart() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let made = host.create(&mut api, None, 3).await;
    let ids: Vec<KeyId> = made.iter().map(|k| k.key_id).collect();
    for (made, outcome) in made.iter().zip(host.unwrap(&mut api, &ids, Purpose::Care).await) {
        assert_eq!(opened(&outcome).unwrap(), *made.key.expose());
        assert_eq!(outcome.result.unwrap().study_ref, made.study_ref);
    }
    running.kill();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    for (made, outcome) in made.iter().zip(host.unwrap(&mut api, &ids, Purpose::Care).await) {
        assert_eq!(opened(&outcome).unwrap(), *made.key.expose());
    }
}

#[tokio::test]
async fn scope_index_gives_the_index_key_and_keeps_the_study_key_at_home() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let made = host.create(&mut api, None, 1).await;
    let mut request = host.unwrap_request(&[made[0].key_id], Purpose::Care);
    request.scope = Scope::Index;
    let (status, body) = api.post(path::UNWRAP, &request).await;
    assert_eq!(status, 200);
    assert!(!body.windows(32).any(|w| w == made[0].key.expose()));
    let outcomes: Vec<leadglass_keys::wire::UnwrapOutcome> = decode_records(&body, 1).unwrap();
    match &outcomes[0].result.as_ref().unwrap().keys {
        OpenedKeys::Index { index_key } => assert_eq!(index_key.expose(), made[0].index_key.expose()),
        OpenedKeys::Object { .. } => panic!("scope index was asked for"),
    }
}

#[tokio::test]
async fn the_index_stream_gives_every_key_once_page_by_page() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let mut made: Vec<KeyId> = host.create(&mut api, None, 25).await.iter().map(|k| k.key_id).collect();
    let mut seen = Vec::new();
    loop {
        let request = IndexRequest { tenant: host.tenant, after: seen.last().copied(), limit: 10 };
        let (status, body) = api.post(path::INDEX, &request).await;
        assert_eq!(status, 200);
        let page = IndexPage::decode(&body, &request).unwrap();
        seen.extend(page.keys.iter().map(|k| k.key_id));
        if !page.more {
            break;
        }
    }
    made.sort();
    assert_eq!(seen, made);
}

#[tokio::test]
async fn a_reserve_key_is_bound_once_and_not_after_its_first_unwrap() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let made = host.create(&mut api, None, 2).await;
    let bind = |key: KeyId, study: u8| BindRequest {
        tenant: host.tenant,
        key_id: key,
        study_ref: StudyRef::from_bytes([study; 16]),
    };
    assert_eq!(api.post(path::BIND, &bind(made[0].key_id, 1)).await.0, 204);
    assert_eq!(api.post(path::BIND, &bind(made[0].key_id, 1)).await.0, 204);
    assert_eq!(api.post(path::BIND, &bind(made[0].key_id, 2)).await.0, 409);
    let bound = host.unwrap(&mut api, &[made[0].key_id, made[1].key_id], Purpose::Care).await;
    assert_eq!(bound[0].result.as_ref().unwrap().study_ref, StudyRef::from_bytes([1; 16]));
    assert_eq!(api.post(path::BIND, &bind(made[1].key_id, 1)).await.0, 409);
}

#[tokio::test]
async fn a_client_that_is_not_enrolled_is_refused_and_one_of_another_authority_gets_no_connection() {
    let host = Host::new();
    host.certificate("stranger");
    let running = host.serve();
    let mut stranger = host.connect(&running, "stranger").await;
    let request = CreateRequest { tenant: host.tenant, study_ref: None, count: 1 };
    let (status, body) = stranger.post(path::CREATE, &request).await;
    assert_eq!((status, problem(&body).code), (403, ProblemCode::Forbidden));
    assert!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["request_id"].is_string());

    let other = Host::new();
    for name in ["vault.pem", "vault-key.pem"] {
        std::fs::copy(other.at(name), host.at(&format!("foreign-{name}").replace("foreign-vault", "foreign"))).unwrap();
    }
    // TLS 1.3: the client learns of the refusal with its first read.
    let refused = match host.try_connect(&running, "foreign").await {
        Err(_) => true,
        Ok(mut api) => api.try_post(path::CREATE, &request).await.is_err(),
    };
    assert!(refused);
}

#[tokio::test]
async fn roles_and_tenants_are_kept_apart() {
    let host = Host::new();
    let other: TenantId = host.done(&["tenant", "add", "other"])["tenant"].as_str().unwrap().parse().unwrap();
    host.client("ingest", &["--role", "ingest"]);
    host.client("elsewhere", &["--role", "ingest", "--role", "vault", "--tenant", &other.to_string()]);
    let running = host.serve();
    let mut vault = host.connect(&running, "vault").await;
    let key = host.create(&mut vault, None, 1).await[0].key_id;

    let mut ingest = host.connect(&running, "ingest").await;
    let (status, _) = ingest.post(path::UNWRAP, &host.unwrap_request(&[key], Purpose::Care)).await;
    assert_eq!(status, 403);

    let mut elsewhere = host.connect(&running, "elsewhere").await;
    let request = CreateRequest { tenant: host.tenant, study_ref: None, count: 1 };
    assert_eq!(elsewhere.post(path::CREATE, &request).await.0, 404);
    let mut request = host.unwrap_request(&[key], Purpose::Care);
    request.tenant = None;
    let (_, body) = elsewhere.post(path::UNWRAP, &request).await;
    let outcomes: Vec<leadglass_keys::wire::UnwrapOutcome> = decode_records(&body, 1).unwrap();
    assert_eq!(opened(&outcomes[0]), Err(KeyRefusal::Unknown));
    let tenants = elsewhere.get_json(path::TENANTS).await;
    assert_eq!(tenants["tenants"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_revoked_client_is_refused_on_its_open_connection() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    host.create(&mut api, None, 1).await;
    let clients = host.done(&["client", "list"]);
    host.done(&["client", "revoke", clients["clients"][0]["key_hash"].as_str().unwrap()]);
    let request = CreateRequest { tenant: host.tenant, study_ref: None, count: 1 };
    assert_eq!(api.post(path::CREATE, &request).await.0, 403);
}

#[tokio::test]
async fn a_restricted_study_opens_for_its_exceptions_only_also_through_a_later_key() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let study = StudyRef::from_bytes([9; 16]);
    let first = host.create(&mut api, Some(study), 1).await[0].key_id;
    let request = RestrictRequest {
        tenant: host.tenant,
        study_refs: Few::new(vec![study]).unwrap(),
        order_id: Word::new("order-1").unwrap(),
    };
    let (_, body) = api.post(path::RESTRICT, &request).await;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["changed"], 1);
    let later = host.create(&mut api, Some(study), 1).await[0].key_id;
    for outcome in host.unwrap(&mut api, &[first, later], Purpose::Care).await {
        assert_eq!(opened(&outcome), Err(KeyRefusal::Restricted));
    }
    assert!(opened(&host.unwrap(&mut api, &[first], Purpose::LegalClaim).await[0]).is_ok());
    assert_eq!(api.post(path::UNRESTRICT, &request).await.0, 200);
    assert!(opened(&host.unwrap(&mut api, &[later], Purpose::Care).await[0]).is_ok());
}

#[tokio::test]
async fn secrets_stay_the_same_through_kek_rotation_and_the_pepper_is_not_among_them() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let token = SecretRequest { tenant: host.tenant, name: SecretName::Token };
    let (_, before) = api.post(path::SECRETS, &token).await;
    let rotate = RotateRequest { tenant: host.tenant, what: RotateWhat::TenantKek };
    assert_eq!(api.post(path::ROTATE, &rotate).await.0, 200);
    let (_, after) = api.post(path::SECRETS, &token).await;
    assert_eq!(before, after);
    let record: Vec<SecretRecord> = decode_records(&after, 1).unwrap();
    assert_eq!(record[0].version, 1);
    let log = SecretRequest { tenant: INSTALLATION, name: SecretName::AuditLog };
    assert_eq!(api.post(path::SECRETS, &log).await.0, 200);
    let wrong = SecretRequest { tenant: host.tenant, name: SecretName::AuditLog };
    assert_eq!(api.post(path::SECRETS, &wrong).await.0, 404);

    let mac =
        |data: &[u8]| MacRequest { tenant: host.tenant, name: MacName::Pepper, data: Base64Bytes::new(data).unwrap() };
    let (_, one) = api.post(path::MAC, &mac(b"one")).await;
    let (_, two) = api.post(path::MAC, &mac(b"two")).await;
    let value = |body: &[u8]| serde_json::from_slice::<MacAnswer>(body).unwrap().mac;
    assert_ne!(value(&one), value(&two));
    assert_eq!(value(&one), value(&api.post(path::MAC, &mac(b"one")).await.1));
}

#[tokio::test]
async fn rotated_shards_change_every_wrap_and_no_key() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let made = host.create(&mut api, None, 20).await;
    let rotated = host.done(&["rotate", "--tenant", &host.tenant.to_string()]);
    assert_eq!((rotated["version"].as_u64(), rotated["moved"].as_u64()), (Some(2), Some(20)));
    let more = host.create(&mut api, None, 1).await;
    let ids: Vec<KeyId> = made.iter().chain(&more).map(|k| k.key_id).collect();
    for (made, outcome) in made.iter().chain(&more).zip(host.unwrap(&mut api, &ids, Purpose::Care).await) {
        assert_eq!(opened(&outcome).unwrap(), *made.key.expose());
    }
}

#[tokio::test]
async fn a_full_shard_is_followed_by_the_next_and_old_keys_still_open() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let before = host.done(&["status"])["sequence"].as_u64().unwrap();
    let first = host.create(&mut api, None, 1).await;
    for _ in 0..4 {
        host.create(&mut api, None, 256).await;
    }
    host.create(&mut api, None, 1).await;
    assert_eq!(host.done(&["status"])["sequence"].as_u64().unwrap(), before + 1);
    let outcome = host.unwrap(&mut api, &[first[0].key_id], Purpose::Care).await;
    assert_eq!(opened(&outcome[0]).unwrap(), *first[0].key.expose());
}

#[tokio::test]
async fn the_attestation_carries_the_nonce_and_verifies() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let nonce = "ab".repeat(32);
    let signed = api.get_json(&format!("{}?nonce={nonce}", path::ATTEST)).await;
    let text = signed["statement"].as_str().unwrap();
    let key = hex::decode(signed["signer"].as_str().unwrap()).unwrap();
    let signature = hex::decode(signed["signature"].as_str().unwrap()).unwrap();
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key);
    key.verify(text.as_bytes(), &signature).unwrap();
    let statement: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(statement["nonce"], nonce);
    assert_eq!(api.get(&format!("{}?nonce=short", path::ATTEST)).await.status(), 400);
}

#[tokio::test]
async fn nonsense_is_refused_and_the_connection_lives_on() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    assert_eq!(api.post(path::CREATE, &"nonsense").await.0, 400);
    assert_eq!(api.post("/v1/nonsense", &0).await.0, 404);
    assert_eq!(api.post(path::CREATE, &"x".repeat(200_000)).await.0, 400);
    let request = CreateRequest { tenant: host.tenant, study_ref: None, count: 257 };
    assert_eq!(api.post(path::CREATE, &request).await.0, 400);
    host.create(&mut api, None, 1).await;
}
