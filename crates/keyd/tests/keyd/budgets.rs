//! Budgets, suspension, bulk purposes.

use crate::support::{Api, Host, opened, problem};
use leadglass_keys::wire::{KeyRefusal, ProblemCode, path};
use leadglass_model::{ActorRef, KeyId, Purpose};

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
