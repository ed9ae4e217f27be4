//! Keys to seal under: what goes on while the key service is away, and what does not.

use super::Bench;
use crate::{FakeMode, Keys, RESERVE_SIZE, wire::ProblemCode};
use leadglass_model::{Fault, StudyRef};
use std::{collections::HashSet, sync::Arc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const KNOWN: StudyRef = StudyRef::from_bytes([1; 16]);

#[tokio::test]
async fn sixty_four_new_studies_and_half_sent_ones_go_on_while_the_service_is_away() {
    let bench = Bench::new();
    bench.keys.core.refill(bench.tenant).await.unwrap();
    let half_sent = bench.sealing_key(KNOWN).await.unwrap();
    bench.keys.core.refill(bench.tenant).await.unwrap();
    let left = bench.keys.state().reserves[0].1;
    bench.fake.set_mode(FakeMode::Gone);
    let mut studies = HashSet::new();
    for _ in 0..left {
        assert!(studies.insert(bench.new_study().await.unwrap().study_ref()));
    }
    assert_eq!(bench.new_study().await.unwrap_err().fault(), Fault::Busy);
    assert!(Arc::ptr_eq(&half_sent, &bench.sealing_key(KNOWN).await.unwrap()));
    for study in studies {
        assert_eq!(bench.sealing_key(study).await.unwrap().study_ref(), study);
    }
    bench.fake.set_mode(FakeMode::Up);
    bench.new_study().await.unwrap();
}

#[tokio::test]
async fn the_reserve_holds_64_keys() {
    let bench = Bench::new();
    bench.keys.core.refill(bench.tenant).await.unwrap();
    bench.fake.set_mode(FakeMode::Gone);
    for _ in 0..RESERVE_SIZE {
        bench.new_study().await.unwrap();
    }
    assert_eq!(bench.new_study().await.unwrap_err().fault(), Fault::Busy);
}

#[tokio::test]
async fn reserve_keys_older_than_12_hours_are_not_used() {
    let bench = Bench::new();
    bench.keys.core.refill(bench.tenant).await.unwrap();
    bench.clock.advance_secs(12 * 3600);
    bench.fake.set_mode(FakeMode::Gone);
    assert_eq!(bench.new_study().await.unwrap_err().fault(), Fault::Busy);
    bench.fake.set_mode(FakeMode::Up);
    let key = bench.new_study().await.unwrap();
    bench.fake.lose_keys_created_since(super::T0.plus_secs(1));
    assert_eq!(bench.fake.study_of(key.key_id()), None, "it was made later");
}

#[tokio::test]
async fn a_key_for_a_known_study_is_bound_before_it_is_handed_out() {
    let bench = Bench::new();
    let key = bench.sealing_key(KNOWN).await.unwrap();
    assert_eq!(key.study_ref(), KNOWN);
    assert_eq!(bench.fake.study_of(key.key_id()), Some(KNOWN));
    assert_eq!(bench.fake.calls().bind, 1);
    assert!(Arc::ptr_eq(&key, &bench.sealing_key(KNOWN).await.unwrap()));
    assert_eq!(bench.fake.calls().bind, 1);
}

#[tokio::test]
async fn a_known_study_without_a_key_is_busy_while_the_service_is_away_and_costs_no_reserve() {
    let bench = Bench::new();
    bench.keys.core.refill(bench.tenant).await.unwrap();
    for mode in [FakeMode::Gone, FakeMode::Sealed] {
        bench.fake.set_mode(mode);
        for _ in 0..100 {
            assert_eq!(bench.sealing_key(KNOWN).await.unwrap_err().fault(), Fault::Busy);
        }
    }
    assert_eq!(bench.keys.state().reserves, [(bench.tenant, RESERVE_SIZE)]);
}

#[tokio::test]
async fn a_key_whose_binding_is_in_doubt_serves_that_study_only() {
    let bench = Bench::new();
    bench.keys.core.refill(bench.tenant).await.unwrap();
    bench.fake.set_mode(FakeMode::LosesAnswers);
    assert_eq!(bench.sealing_key(KNOWN).await.unwrap_err().fault(), Fault::Busy);
    bench.fake.set_mode(FakeMode::Up);
    for _ in 0..RESERVE_SIZE - 1 {
        let new = bench.new_study().await.unwrap();
        assert_eq!(bench.fake.study_of(new.key_id()), Some(new.study_ref()));
    }
    let bound = bench.sealing_key(KNOWN).await.unwrap();
    assert_eq!(bench.fake.study_of(bound.key_id()), Some(KNOWN));
    assert_eq!(bench.fake.calls().create, 1);
}

#[tokio::test]
async fn concurrent_first_instances_of_a_known_study_share_one_binding() {
    let bench = Bench::new();
    bench.fake.hold();
    let asks = futures::future::join_all((0..10).map(|_| bench.sealing_key(KNOWN)));
    let (keys, ()) = tokio::join!(asks, async { bench.fake.release() });
    let ids: HashSet<_> = keys.into_iter().map(|k| k.unwrap().key_id()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(bench.fake.calls().bind, 1);
}

#[tokio::test]
async fn an_empty_reserve_is_filled_by_one_call_for_all_who_wait() {
    let bench = Bench::new();
    bench.fake.hold();
    let asks = futures::future::join_all((0..RESERVE_SIZE).map(|_| bench.new_study()));
    let (keys, ()) = tokio::join!(asks, async { bench.fake.release() });
    let studies: HashSet<_> = keys.into_iter().map(|k| k.unwrap().study_ref()).collect();
    assert_eq!(studies.len(), RESERVE_SIZE);
    assert_eq!(bench.fake.calls().create, 1);
}

#[tokio::test]
async fn keys_that_the_service_lost_in_a_restore_are_not_begun_with() {
    let bench = Bench::new();
    bench.keys.core.refill(bench.tenant).await.unwrap();
    bench.fake.lose_keys_created_since(super::T0);
    // Binding meets the first lost key; the whole reserve goes and fresh keys come.
    let key = bench.sealing_key(KNOWN).await.unwrap();
    assert_eq!(bench.fake.study_of(key.key_id()), Some(KNOWN));
    let new = bench.new_study().await.unwrap();
    assert!(bench.fake.study_of(new.key_id()).is_some());
}

#[tokio::test]
async fn a_key_of_a_new_study_is_bound_to_one_that_turned_out_to_be_known() {
    let bench = Bench::new();
    let sealed = bench.new_study().await.unwrap();
    bench.fake.set_mode(FakeMode::LosesAnswers);
    assert_eq!(bench.keys.bind(&sealed, KNOWN).await.unwrap_err().fault(), Fault::Busy);
    bench.fake.set_mode(FakeMode::Up);
    let bound = bench.keys.bind(&sealed, KNOWN).await.unwrap();
    assert_eq!((bound.key_id(), bound.study_ref()), (sealed.key_id(), KNOWN));
    assert_eq!(bound.study_key().reveal(), sealed.study_key().reveal());
    assert_eq!(bench.fake.study_of(bound.key_id()), Some(KNOWN));
    assert!(Arc::ptr_eq(&bound, &bench.keys.bind(&bound, KNOWN).await.unwrap()));
    assert!(Arc::ptr_eq(&bound, &bench.sealing_key(KNOWN).await.unwrap()));
    let other = bench.keys.bind(&sealed, StudyRef::from_bytes([2; 16])).await.unwrap_err();
    assert_eq!(other.fault(), Fault::Conflict);
}

#[tokio::test]
async fn a_study_destroyed_while_its_key_is_bound_gets_no_key() {
    let bench = Bench::new();
    bench.fake.hold();
    let destroyed = async {
        tokio::task::yield_now().await;
        let revocation = crate::Revocation {
            kind: crate::RevocationKind::Destroyed,
            tenant: bench.tenant,
            study_refs: crate::wire::Few::new(vec![KNOWN]).unwrap(),
            key_ids: crate::wire::Few::default(),
        };
        bench.keys.core.revoke_sealing(&revocation);
        bench.fake.release();
    };
    let (key, ()) = tokio::join!(bench.sealing_key(KNOWN), destroyed);
    assert_eq!(key.unwrap_err().code(), Some(ProblemCode::Destroyed));
    // A study of that name that comes later starts anew.
    bench.sealing_key(KNOWN).await.unwrap();
}

#[tokio::test]
async fn a_tenant_that_the_service_does_not_know_leaves_nothing_behind() {
    let bench = Bench::new();
    let nobody = leadglass_model::TenantId::from_bytes([7; 16]);
    let error = bench.keys.sealing_key(nobody, None).await.unwrap_err();
    assert_eq!(error.code(), Some(ProblemCode::NotFound));
    assert_eq!(bench.keys.state().reserves, []);
}

#[tokio::test]
async fn the_background_waits_a_little_after_a_failed_refill_and_callers_do_not() {
    let bench = Bench::new();
    bench.fake.set_mode(FakeMode::Gone);
    bench.new_study().await.unwrap_err();
    let due = |bench: &Bench| {
        let state = bench.keys.core.seal.lock();
        state.reserves[&bench.tenant].is_due(leadglass_model::Clock::now(&*bench.clock))
    };
    assert!(!due(&bench));
    bench.clock.advance_secs(5);
    assert!(due(&bench));
    bench.new_study().await.unwrap_err();
    bench.fake.set_mode(FakeMode::Up);
    assert!(!due(&bench));
    bench.new_study().await.unwrap();
}

#[tokio::test]
async fn the_tasks_fill_the_reserves_of_all_tenants_and_end_with_the_token() {
    let bench = Bench::new();
    let other = bench.fake.add_tenant("hospital");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let keys = Keys::start(bench.fake.clone(), bench.clock.clone(), tasks.clone(), stop.clone());
    let mut notices = keys.revocations();
    notices.recv().await.unwrap();
    let full = |keys: &Keys| {
        let reserves = keys.state().reserves;
        reserves.len() == 2 && reserves.iter().all(|(_, len)| *len == RESERVE_SIZE)
    };
    while !full(&keys) {
        tokio::task::yield_now().await;
    }
    // The background fills up before the reserve runs low.
    for _ in 0..17 {
        keys.sealing_key(other, None).await.unwrap();
    }
    while !full(&keys) {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.fake.calls().create, 3);
    assert!(keys.state().revocations_heard);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}
