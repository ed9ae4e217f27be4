//! Secrets outlive a key service that is away for a while, and not for ever.

use super::Bench;
use crate::{
    FakeMode, SecretName,
    wire::{INSTALLATION, SECRET_LEASE_S},
};
use leadglass_model::Fault;

const LEASE_S: u64 = SECRET_LEASE_S as u64;

#[tokio::test]
async fn a_secret_is_kept_for_its_lease_while_the_service_is_away() {
    let bench = Bench::new();
    let token = bench.keys.secret(bench.tenant, SecretName::Token).await.unwrap();
    bench.fake.set_mode(FakeMode::Gone);
    bench.clock.advance_secs(LEASE_S - 1);
    let again = bench.keys.secret(bench.tenant, SecretName::Token).await.unwrap();
    assert_eq!(token.expose(), again.expose());
    bench.clock.advance_secs(1);
    let error = bench.keys.secret(bench.tenant, SecretName::Token).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Busy);
    bench.keys.sweep();
    assert!(bench.keys.core.secrets.lock().held.is_empty());
}

#[tokio::test]
async fn a_secret_past_half_of_its_lease_is_renewed() {
    let bench = Bench::new();
    bench.keys.secret(bench.tenant, SecretName::Record).await.unwrap();
    bench.keys.core.renew_secrets();
    assert_eq!(bench.fake.calls().secret, 1);
    bench.clock.advance_secs(LEASE_S / 2);
    bench.keys.core.fetch_secret(bench.tenant, SecretName::Record).await.unwrap();
    bench.clock.advance_secs(LEASE_S / 2);
    bench.keys.secret(bench.tenant, SecretName::Record).await.unwrap();
    assert_eq!(bench.fake.calls().secret, 2);
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_after_a_pause_and_costs_nothing_meanwhile() {
    let bench = Bench::new();
    bench.keys.secret(bench.tenant, SecretName::Token).await.unwrap();
    bench.clock.advance_secs(LEASE_S / 2);
    bench.fake.set_mode(FakeMode::Gone);
    for (pause_s, calls) in [(0, 2), (9, 2), (1, 3)] {
        bench.clock.advance_secs(pause_s);
        bench.keys.core.renew_secrets();
        // Joins the renewal, if one is under way; the task ends before this does.
        bench.keys.core.tasks.close();
        bench.keys.core.tasks.wait().await;
        bench.keys.core.tasks.reopen();
        assert_eq!(bench.fake.calls().secret, calls, "after {pause_s} s more");
    }
    bench.keys.secret(bench.tenant, SecretName::Token).await.unwrap();
}

#[tokio::test]
async fn names_and_tenants_have_secrets_of_their_own() {
    let bench = Bench::new();
    let other = bench.fake.add_tenant("hospital");
    let mut seen = std::collections::HashSet::new();
    for name in SecretName::ALL {
        for tenant in [bench.tenant, other, INSTALLATION] {
            assert!(seen.insert(*bench.keys.secret(tenant, name).await.unwrap().expose()), "{name}");
        }
    }
}
