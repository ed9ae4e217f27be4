//! Leases: shared, short, and gone at once when a study goes.

use super::{ACTOR, Bench, ENTRY};
use crate::{
    FakeMode, KeyRefusal, KeysError, MAX_LEASES, Notice, RevocationKind, watch,
    wire::{MAX_BATCH, ProblemCode, Word},
};
use leadglass_model::{Fault, KeyId, Purpose, StudyRef};
use std::sync::Arc;

#[tokio::test]
async fn a_lease_opens_what_the_sealing_key_sealed_and_is_shared() {
    let bench = Bench::new();
    let sealed = bench.new_study().await.unwrap();
    let first = bench.open(&[sealed.key_id()]).await.unwrap()[&sealed.key_id()].clone().unwrap();
    let again = bench.open(&[sealed.key_id()]).await.unwrap()[&sealed.key_id()].clone().unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(bench.fake.calls().unwrap, 1);
    assert_eq!(first.study_ref(), sealed.study_ref());
    assert_eq!(first.study_key().reveal(), sealed.study_key().reveal());
    assert_eq!(first.index_key().reveal(), sealed.index_key().reveal());
    assert_eq!(first.meta_key().reveal(), sealed.meta_key().reveal());
    let asked = &bench.fake.unwraps()[0];
    assert_eq!((asked.actor, asked.audit_entry), (ACTOR, ENTRY));
}

#[tokio::test]
async fn one_bad_id_does_not_fail_the_others() {
    let bench = Bench::new();
    let (good, gone) = (bench.new_study().await.unwrap(), bench.new_study().await.unwrap());
    bench.fake.destroy_study(bench.tenant, gone.study_ref());
    let unknown = KeyId::from_bytes([7; 16]);
    let outcome = bench.open(&[good.key_id(), gone.key_id(), unknown]).await.unwrap();
    assert!(outcome[&good.key_id()].is_ok());
    assert_eq!(outcome[&gone.key_id()].as_ref().unwrap_err(), &KeyRefusal::Destroyed);
    assert_eq!(outcome[&unknown].as_ref().unwrap_err(), &KeyRefusal::Unknown);
}

#[tokio::test]
async fn a_purpose_is_asked_for_on_its_own() {
    let bench = Bench::new();
    let id = bench.new_study().await.unwrap().key_id();
    bench.open(&[id]).await.unwrap()[&id].as_ref().unwrap();
    let research = bench.keys.open(bench.tenant, &[id], Purpose::Research, ACTOR, ENTRY).await.unwrap();
    assert_eq!(research[&id].as_ref().unwrap_err(), &KeyRefusal::NotForThisPurpose);
}

#[tokio::test]
async fn a_job_names_its_approval_and_is_refused_without_it() {
    let bench = Bench::new();
    let id = bench.new_study().await.unwrap().key_id();
    let name = Word::new("0123456789abcdef").unwrap();
    let open = |ids: Vec<KeyId>| {
        let (keys, name) = (bench.keys.clone(), name.clone());
        async move { keys.open_under(Some(name), bench.tenant, &ids, Purpose::StorageCheck, ACTOR, ENTRY).await }
    };
    assert_eq!(open(vec![id]).await.unwrap_err().code(), Some(ProblemCode::ApprovalNeeded));
    bench.fake.set_bulk_approved(true);
    assert!(open(vec![id]).await.unwrap()[&id].is_ok());
    assert_eq!(bench.fake.unwraps().last().unwrap().approval, Some(name.clone()));
    assert!(matches!(open(vec![id; MAX_BATCH + 1]).await, Err(KeysError::TooMany { .. })));
}

#[tokio::test]
async fn another_tenant_does_not_find_the_lease() {
    let bench = Bench::new();
    let other = bench.fake.add_tenant("hospital");
    let id = bench.new_study().await.unwrap().key_id();
    bench.open(&[id]).await.unwrap()[&id].as_ref().unwrap();
    let outcome = bench.keys.open(other, &[id], Purpose::Care, ACTOR, ENTRY).await.unwrap();
    assert_eq!(outcome[&id].as_ref().unwrap_err(), &KeyRefusal::Unknown);
}

#[tokio::test]
async fn a_lease_that_is_over_is_asked_for_again() {
    let bench = Bench::new();
    let id = bench.new_study().await.unwrap().key_id();
    let lease = bench.open(&[id]).await.unwrap()[&id].clone().unwrap();
    bench.clock.advance_secs(300);
    let next = bench.open(&[id]).await.unwrap()[&id].clone().unwrap();
    assert!(lease.is_ended());
    assert!(!next.is_ended());
    assert_eq!(bench.fake.calls().unwrap, 2);
}

#[tokio::test]
async fn concurrent_opens_make_one_call() {
    let bench = Bench::new();
    let ids = [bench.new_study().await.unwrap().key_id(), bench.new_study().await.unwrap().key_id()];
    bench.fake.hold();
    let opens = futures::future::join_all((0..10).map(|n| bench.open(&ids[n % 2..])));
    // join polls in order: all opens wait when the release comes.
    let (outcomes, ()) = tokio::join!(opens, async { bench.fake.release() });
    assert!(outcomes.iter().all(|o| o.as_ref().unwrap()[&ids[1]].is_ok()));
    assert_eq!(bench.fake.calls().unwrap, 1);
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_stop_the_call_for_others() {
    let bench = Bench::new();
    let id = bench.new_study().await.unwrap().key_id();
    bench.fake.hold();
    let ids = [id];
    {
        let leaves = std::pin::pin!(bench.open(&ids));
        assert!(futures::poll!(leaves).is_pending());
    }
    let (outcome, ()) = tokio::join!(bench.open(&ids), async { bench.fake.release() });
    assert!(outcome.unwrap()[&id].is_ok());
    assert_eq!(bench.fake.calls().unwrap, 1);
}

#[tokio::test]
async fn five_hundred_keys_take_two_calls_and_513_are_refused() {
    let bench = Bench::new();
    let ids: Vec<KeyId> = (0..=MAX_LEASES).map(|n| KeyId::from_bytes((n as u128).to_be_bytes())).collect();
    assert_eq!(bench.open(&ids[..MAX_LEASES]).await.unwrap().len(), MAX_LEASES);
    assert_eq!(bench.fake.calls().unwrap, 2);
    let error = bench.open(&ids).await.unwrap_err();
    assert!(matches!(error, KeysError::TooMany { count: 513, .. }));
}

#[tokio::test]
async fn a_service_that_is_away_sealed_or_over_budget_is_busy_and_leases_that_stand_still_open() {
    let bench = Bench::new();
    let (known, other) = (bench.new_study().await.unwrap().key_id(), bench.new_study().await.unwrap().key_id());
    bench.open(&[known]).await.unwrap()[&known].as_ref().unwrap();
    for mode in [FakeMode::Gone, FakeMode::Sealed, FakeMode::LosesAnswers] {
        bench.fake.set_mode(mode);
        assert_eq!(bench.open(&[other]).await.unwrap_err().fault(), Fault::Busy, "{mode:?}");
        assert!(bench.open(&[known]).await.unwrap()[&known].is_ok(), "{mode:?}");
    }
    bench.fake.set_mode(FakeMode::Up);
    bench.fake.set_over_budget(true);
    assert_eq!(bench.open(&[other]).await.unwrap_err().fault(), Fault::Busy);
}

#[tokio::test]
async fn destruction_and_restriction_end_leases_at_once() {
    let bench = Bench::new();
    let mut notices = bench.keys.revocations();
    let core = bench.keys.core.clone();
    let task = tokio::spawn(async move { watch::follow_once(&core, &mut None).await });
    assert!(matches!(notices.recv().await.unwrap(), Notice::Everything));
    for kind in [RevocationKind::Destroyed, RevocationKind::Restricted] {
        let sealed = bench.new_study().await.unwrap();
        let id = sealed.key_id();
        let lease = bench.open(&[id]).await.unwrap()[&id].clone().unwrap();
        match kind {
            RevocationKind::Destroyed => bench.fake.destroy_study(bench.tenant, sealed.study_ref()),
            _ => bench.fake.restrict_study(bench.tenant, sealed.study_ref()),
        }
        let Notice::Revoked(revocation) = notices.recv().await.unwrap() else { panic!("a revocation") };
        assert_eq!(revocation.kind, kind);
        assert!(lease.is_ended());
        assert!(bench.open(&[id]).await.unwrap()[&id].is_err());
    }
    bench.fake.set_mode(FakeMode::Gone);
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_revocation_that_crosses_the_answer_is_obeyed() {
    let bench = Bench::new();
    let id = bench.new_study().await.unwrap().key_id();
    let study = bench.fake.study_of(id).unwrap();
    bench.fake.hold();
    let revoked = async {
        // The answer is made before this, and read after.
        let notice = crate::Revocation {
            kind: RevocationKind::Destroyed,
            tenant: bench.tenant,
            study_refs: crate::wire::Few::new(vec![study]).unwrap(),
            key_ids: crate::wire::Few::default(),
        };
        tokio::task::yield_now().await;
        bench.keys.core.open.lock().revoke(&Notice::Revoked(Arc::new(notice)));
        bench.fake.release();
    };
    let ids = [id];
    let (outcome, ()) = tokio::join!(bench.open(&ids), revoked);
    assert_eq!(outcome.unwrap()[&id].as_ref().unwrap_err(), &KeyRefusal::Destroyed);
    assert_eq!(bench.keys.state().leases, 0);
}

#[tokio::test]
async fn revocations_missed_while_the_stream_was_broken_are_caught_up() {
    let bench = Bench::new();
    let sealed = bench.new_study().await.unwrap();
    let mut after = None;
    bench.fake.beat();
    run_stream_to_its_first_events(&bench, &mut after).await;
    let lease = bench.open(&[sealed.key_id()]).await.unwrap()[&sealed.key_id()].clone().unwrap();
    bench.fake.destroy_study(bench.tenant, sealed.study_ref());
    assert!(!lease.is_ended());
    run_stream_to_its_first_events(&bench, &mut after).await;
    assert!(lease.is_ended());
}

#[tokio::test]
async fn a_reset_drops_leases_and_keys_that_the_service_may_have_lost() {
    let bench = Bench::new();
    let mut after = None;
    bench.fake.destroy_study(bench.tenant, StudyRef::from_bytes([1; 16]));
    run_stream_to_its_first_events(&bench, &mut after).await;
    let sealed = bench.new_study().await.unwrap();
    let lease = bench.open(&[sealed.key_id()]).await.unwrap()[&sealed.key_id()].clone().unwrap();
    bench.fake.destroy_study(bench.tenant, StudyRef::from_bytes([2; 16]));
    bench.fake.forget_revocations();
    run_stream_to_its_first_events(&bench, &mut after).await;
    assert!(lease.is_ended());
    let state = bench.keys.state();
    assert_eq!((state.leases, state.sealing_keys, state.reserves[0].1), (0, 0, 0));
}

/// Follows until the stream has said what it had to say, then breaks it.
async fn run_stream_to_its_first_events(bench: &Bench, after: &mut Option<u64>) {
    let end = async {
        tokio::task::yield_now().await;
        bench.fake.restart();
    };
    let (result, ()) = tokio::join!(watch::follow_once(&bench.keys.core, after), end);
    result.unwrap();
}

#[tokio::test]
async fn the_index_keys_of_a_tenant_come_page_by_page() {
    use futures::TryStreamExt;
    let bench = Bench::new();
    let sealed = bench.new_study().await.unwrap();
    let keys: Vec<_> = bench.keys.index_keys(bench.tenant).try_concat().await.unwrap();
    assert_eq!(keys.len(), 64);
    let found = keys.iter().find(|k| k.key_id == sealed.key_id()).unwrap();
    assert_eq!(found.study_ref, sealed.study_ref());
    assert_eq!(found.index_key.reveal(), sealed.index_key().reveal());
}
