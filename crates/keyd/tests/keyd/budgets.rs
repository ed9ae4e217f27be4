//! Budgets, suspension, bulk purposes.

use crate::support::{Api, Host, opened, problem};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use leadglass_keys::wire::{
    ActorClaim, ActorKind, ActorProof, Hex32, KeyRefusal, ProblemCode, RegisterActors, UnwrapRequest, path,
};
use leadglass_model::{ActorRef, Clock, KeyId, Purpose, SystemClock, TenantId};

/// A host where a person opens two studies an hour.
fn small() -> Host {
    let host = Host::new();
    let path = host.data().join("keyd.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let small = text
        .replace("person_per_hour = 60", "person_per_hour = 2")
        .replace("break_glass_per_hour = 10", "break_glass_per_hour = 1");
    assert_ne!(small, text);
    std::fs::write(&path, small).unwrap();
    host
}

async fn code(host: &Host, api: &mut Api, keys: &[KeyId], purpose: Purpose) -> Option<ProblemCode> {
    let mut request = host.unwrap_request(keys, purpose);
    request.reason = leadglass_keys::wire::Word::new("emergency");
    let (status, body) = api.post(path::UNWRAP, &request).await;
    (status != 200).then(|| problem(&body).code)
}

#[tokio::test]
async fn over_the_budget_is_429_with_an_alarm_and_other_persons_go_on() {
    let host = small();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let keys: Vec<KeyId> = host.create(&mut api, None, 4).await.iter().map(|k| k.key_id).collect();
    assert_eq!(code(&host, &mut api, &keys[..2], Purpose::Care).await, None);
    let (status, body) = api.post(path::UNWRAP, &host.unwrap_request(&keys[2..3], Purpose::Care)).await;
    assert_eq!((status, problem(&body).code), (429, ProblemCode::OverBudget));
    assert!(problem(&body).retry_after_s.is_some_and(|s| s > 0 && s <= 3600));
    assert!(running.log().contains("\"alarm\":\"budget\""));
    assert_eq!(code(&host, &mut api, &keys[..2], Purpose::Care).await, None);
    let mut other = host.unwrap_request(&keys[2..4], Purpose::Care);
    other.actor = ActorRef([8; 16]);
    assert_eq!(api.post(path::UNWRAP, &other).await.0, 200);
    assert_eq!(code(&host, &mut api, &keys[3..], Purpose::BreakGlass).await, None);
    assert_eq!(code(&host, &mut api, &keys[2..3], Purpose::BreakGlass).await, Some(ProblemCode::OverBudget));
}

#[tokio::test]
async fn a_restart_does_not_open_the_window_again() {
    let host = small();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let keys: Vec<KeyId> = host.create(&mut api, None, 3).await.iter().map(|k| k.key_id).collect();
    assert_eq!(code(&host, &mut api, &keys[..2], Purpose::Care).await, None);
    // Counts are durable with the next commit.
    host.create(&mut api, None, 1).await;
    running.kill();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    assert_eq!(code(&host, &mut api, &keys[2..], Purpose::Care).await, Some(ProblemCode::OverBudget));
}

#[tokio::test]
async fn three_times_over_suspends_until_the_key_host_readmits() {
    let host = small();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let keys: Vec<KeyId> = host.create(&mut api, None, 7).await.iter().map(|k| k.key_id).collect();
    assert_eq!(code(&host, &mut api, &keys, Purpose::Care).await, Some(ProblemCode::OverBudget));
    assert_eq!(code(&host, &mut api, &keys[..1], Purpose::Care).await, Some(ProblemCode::Suspended));
    assert_eq!(code(&host, &mut api, &keys[..1], Purpose::BreakGlass).await, None);
    let who = host.done(&["approvals"])["suspended"][0]["who"].as_str().unwrap().to_owned();
    assert!(who.starts_with("person:"));
    host.done(&["approve", "--readmit", &who]);
    assert_eq!(code(&host, &mut api, &keys[..1], Purpose::Care).await, None);
}

#[tokio::test]
async fn a_bulk_purpose_needs_an_approval_that_is_its_budget() {
    let host = small();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let made = host.create(&mut api, None, 5).await;
    let keys: Vec<KeyId> = made.iter().map(|k| k.key_id).collect();
    assert_eq!(code(&host, &mut api, &keys, Purpose::Research).await, Some(ProblemCode::ApprovalNeeded));
    let tenant = host.tenant.to_string();
    host.done(&["approve", "--tenant", &tenant, "--purpose", "research", "--count", "4"]);
    assert_eq!(code(&host, &mut api, &keys[..4], Purpose::Research).await, None);
    let over = host.unwrap(&mut api, &keys[3..], Purpose::Research).await;
    assert!(opened(&over[0]).is_ok());
    assert_eq!(opened(&over[1]), Err(KeyRefusal::NotForThisPurpose));
    // Four studies of care are beyond the person's two: the approval was not for that.
    assert_eq!(code(&host, &mut api, &keys[..4], Purpose::Care).await, Some(ProblemCode::OverBudget));
}

/// A node's session service.
struct Sessions(Ed25519KeyPair);

impl Sessions {
    fn of(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    async fn register(&self, api: &mut Api) -> u16 {
        let public_key = Hex32(self.0.public_key().as_ref().try_into().unwrap());
        api.post(path::ACTORS, &RegisterActors { public_key }).await.0
    }

    fn prove(&self, tenant: TenantId, actor: ActorRef, purpose: Purpose, for_s: u64) -> ActorProof {
        let expires = SystemClock.now().plus_secs(for_s);
        let claim = ActorClaim { kind: ActorKind::Person, tenant, actor, purpose, session: [1; 16], expires };
        claim.with_signature(&self.0.sign(&claim.signed_bytes()).as_ref().try_into().unwrap())
    }

    fn signed(&self, host: &Host, keys: &[KeyId], actor: u8) -> UnwrapRequest {
        let mut request = host.unwrap_request(keys, Purpose::Care);
        request.actor = ActorRef([actor; 16]);
        request.actor_proof = Some(self.prove(host.tenant, request.actor, Purpose::Care, 60));
        request
    }
}

#[tokio::test]
async fn whoever_has_a_nodes_certificate_and_not_its_sessions_key_names_nobody() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let keys: Vec<KeyId> = host.create(&mut api, None, 2).await.iter().map(|k| k.key_id).collect();
    assert_eq!(code(&host, &mut api, &keys, Purpose::Care).await, None, "nobody has said which key signs");
    let (own, thief) = (Sessions::of(1), Sessions::of(2));
    assert_eq!(own.register(&mut api).await, 204);
    assert_eq!(own.register(&mut api).await, 204, "saying it again changes nothing");
    assert_eq!(thief.register(&mut api).await, 409);
    assert!(running.log().contains("\"alarm\":\"actor-key\""));

    for purpose in [Purpose::Care, Purpose::BreakGlass, Purpose::SubjectRequest, Purpose::LegalClaim] {
        assert_eq!(code(&host, &mut api, &keys, purpose).await, Some(ProblemCode::Forbidden), "{purpose}");
    }
    let good = own.signed(&host, &keys, 5);
    let with = |proof| UnwrapRequest { actor_proof: Some(proof), ..good.clone() };
    let (tenant, actor) = (host.tenant, good.actor);
    for (what, request) in [
        ("another's key", thief.signed(&host, &keys, 5)),
        ("another purpose", with(own.prove(tenant, actor, Purpose::LegalClaim, 60))),
        ("another person", with(own.prove(tenant, ActorRef([6; 16]), Purpose::Care, 60))),
        ("another tenant", with(own.prove(TenantId::from_bytes([9; 16]), actor, Purpose::Care, 60))),
        ("over", with(own.prove(tenant, actor, Purpose::Care, 0))),
        ("for ever", with(own.prove(tenant, actor, Purpose::Care, 86_400))),
        ("no tenant", UnwrapRequest { tenant: None, ..good.clone() }),
    ] {
        let (status, body) = api.post(path::UNWRAP, &request).await;
        assert_eq!((status, problem(&body).code), (403, ProblemCode::Forbidden), "{what}");
    }
    assert_eq!(api.post(path::UNWRAP, &good).await.0, 200);
    // Bulk without a human stays refused, and what the node does for itself needs nobody's name.
    assert_eq!(code(&host, &mut api, &keys, Purpose::Research).await, Some(ProblemCode::ApprovalNeeded));
    assert_eq!(code(&host, &mut api, &keys, Purpose::StorageCheck).await, None);
    // An honest loss of the key: somebody on the key host lets the next one in.
    let clients = host.done(&["client", "list"]);
    let own = clients["clients"].as_array().unwrap().iter().find(|client| client["label"] == "vault").unwrap();
    let node = &own["key_hash"].as_str().unwrap()[..32];
    host.done(&["approve", "--readmit", &format!("actor-key:{node}")]);
    assert_eq!(thief.register(&mut api).await, 204);
}

/// T14: everything of a node's was stolen, its sessions' key too. A new person for each call gets round the persons' budgets, and
/// not round the node's.
#[tokio::test]
async fn a_stolen_node_opens_its_budget_and_is_suspended_then() {
    let host = Host::new();
    let config = host.data().join("keyd.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let small = text.replace("node_per_hour = 600", "node_per_hour = 8");
    assert_ne!(small, text);
    std::fs::write(&config, small).unwrap();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let keys: Vec<KeyId> = host.create(&mut api, None, 40).await.iter().map(|k| k.key_id).collect();
    let own = Sessions::of(1);
    assert_eq!(own.register(&mut api).await, 204);
    let mut told = Vec::new();
    for (key, actor) in keys.iter().zip(1_u8..) {
        let (status, body) = api.post(path::UNWRAP, &own.signed(&host, &[*key], actor)).await;
        told.push(if status == 200 { None } else { Some(problem(&body).code) });
    }
    assert_eq!(told.iter().filter(|code| code.is_none()).count(), 8, "{told:?}");
    assert_eq!(told.iter().position(|code| *code == Some(ProblemCode::Suspended)), Some(3 * 8 + 1), "{told:?}");
    assert_eq!(told.last(), Some(&Some(ProblemCode::Suspended)));
    assert_eq!(code(&host, &mut api, &keys[..1], Purpose::StorageCheck).await, Some(ProblemCode::Suspended));
    let suspended = host.done(&["approvals"])["suspended"].clone();
    assert!(suspended[0]["who"].as_str().unwrap().starts_with("node:"), "{suspended}");
}
