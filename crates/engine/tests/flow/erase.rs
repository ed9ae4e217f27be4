//! Erasing, and breaking off while it is done.

use super::*;
use leadglass_engine::{
    Assigned, EraseError, ErasureId, ErasureRules, Ground, Kept, Order, Stage, WhatToErase, WhatToHold,
};
use leadglass_model::{Administer, Permit};
use leadglass_store::faulty::{Fail, When};
use std::io::ErrorKind;

pub(super) const AT_ONCE: ErasureRules = ErasureRules { cooling_off_s: 0, approvals: 0 };

pub(super) fn officer(house: &House, actor: u8) -> Permit<Administer> {
    let who = Principal { actor: ActorRef([actor; 16]), ..house.principal(Role::Dpo) };
    who.administer().unwrap()
}

fn study(set: &DataSet) -> WhatToErase {
    WhatToErase::Study(StudyUid::parse(&set.study).unwrap())
}

fn patient(set: &DataSet) -> WhatToErase {
    WhatToErase::Patient { id: Phi::new(set.patient_id.clone()), issuer: None }
}

fn hers(set: &DataSet) -> WhatToHold {
    WhatToHold::Patient { id: Phi::new(set.patient_id.clone()), issuer: None }
}

pub(super) async fn order(node: &Node, permit: &Permit<Administer>, what: &WhatToErase) -> ErasureId {
    node.engine.order_erasure(permit, what, why(Ground::Objection)).await.unwrap().id
}

/// Runs it twice: the first time the key service is asked for its approval, which the one in memory never refuses.
pub(super) async fn run(node: &Node, permit: &Permit<Administer>, id: ErasureId) -> Result<Order, EraseError> {
    match node.engine.run_erasure(permit, id, None).await {
        Err(EraseError::KeyHost { .. }) => node.engine.run_erasure(permit, id, None).await,
        done => done,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_study_is_gone_with_its_objects_and_comes_back_only_into_quarantine() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let (doomed, version) = (DataSet::invented(1, 1), DataSet { seed: 2, ..DataSet::invented(1, 1) });
    let (large, kept) = (DataSet { pixel_bytes: 2_000_000, ..DataSet::invented(1, 2) }, DataSet::invented(2, 1));
    for set in [&doomed, &version, &large, &kept] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    let id = order(&node, &permit, &study(&doomed)).await;
    let done = run(&node, &permit, id).await.unwrap();
    assert_eq!((done.stage, done.instances), (Stage::Done, 3), "earlier versions count");
    for set in [&version, &large] {
        assert!(matches!(house.fetch(&node, set).await, Err(RetrieveError::Missing)));
    }
    assert!(is_file_of(&house.fetch(&node, &kept).await.unwrap(), &kept));
    assert_eq!(house.objects().len(), 1);
    assert_eq!(run(&node, &permit, id).await.unwrap().done_at, done.done_at, "once more changes nothing");

    for pixel_bytes in [4_096, 2_000_000] {
        let again = DataSet { pixel_bytes, ..DataSet::invented(1, pixel_bytes) };
        assert!(house.send(&node, &again, 1).await.unwrap().is_set_aside(), "{pixel_bytes}");
    }
    node.stop().await;
    let node = house.start().await;
    assert!(house.send(&node, &DataSet::invented(1, 9), 1).await.unwrap().is_set_aside(), "after a restart, too");
    let cases = node.engine.quarantined(&permit).await.unwrap();
    assert_eq!((cases.len(), cases[0].reason, cases[0].instances), (1, QuarantineReason::Erased, 3));
    node.engine.decide(&permit, cases[0].case, &Verdict::Release).await.unwrap();
    assert!(house.fetch(&node, &DataSet::invented(1, 9)).await.is_ok(), "a person let it come back");
    assert!(!house.send(&node, &DataSet::invented(1, 10), 1).await.unwrap().is_set_aside());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_goes_with_all_studies_and_cases_and_nobody_elses() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let hers = DataSet { patient_id: "HERS".into(), ..DataSet::invented(1, 1) };
    let also = DataSet { patient_id: "HERS".into(), ..DataSet::invented(2, 1) };
    let his = DataSet { patient_id: "HIS".into(), ..DataSet::invented(3, 1) };
    let misfiled = DataSet { patient_id: "HERS".into(), ..DataSet::invented(3, 2) };
    for set in [&hers, &also, &his, &misfiled] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    for set in [&hers, &his] {
        let to = Assigned::Patient { id: Phi::new(set.patient_id.clone()), issuer: None };
        node.engine.assign(&permit, ActorRef([9; 16]), &to).await.unwrap();
    }
    assert_eq!(node.engine.quarantined(&permit).await.unwrap().len(), 1);
    let id = order(&node, &permit, &patient(&hers)).await;
    assert_eq!(run(&node, &permit, id).await.unwrap().studies.len(), 3);
    for set in [&hers, &also] {
        assert!(matches!(house.fetch(&node, set).await, Err(RetrieveError::Missing)));
    }
    assert!(node.engine.quarantined(&permit).await.unwrap().is_empty());
    assert!(is_file_of(&house.fetch(&node, &his).await.unwrap(), &his));
    assert_eq!(node.engine.relations(&permit).len(), 1, "who treated her is forgotten, who treats him is not");
    node.stop().await;
    let node = house.start().await;
    assert_eq!(node.engine.relations(&permit).len(), 1, "after a restart, too");
    assert!(matches!(house.fetch(&node, &hers).await, Err(RetrieveError::Missing)));
    assert!(is_file_of(&house.fetch(&node, &his).await.unwrap(), &his));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_before_its_time_without_its_approvals_or_against_a_hold() {
    let house = House::new();
    let node = house.start().await;
    let set = DataSet::invented(1, 1);
    house.send(&node, &set, 1).await.unwrap();
    let permit = officer(&house, 7);
    let waits = order(&node, &permit, &study(&set)).await;
    assert!(matches!(run(&node, &permit, waits).await, Err(EraseError::CoolingOff(_))));
    node.engine.withdraw_erasure(&permit, waits).await.unwrap();
    assert!(matches!(run(&node, &permit, waits).await, Err(EraseError::Begun(Stage::Withdrawn))));

    node.engine.set_erasure(ErasureRules { cooling_off_s: 0, approvals: 1 });
    let id = order(&node, &permit, &study(&set)).await;
    assert!(matches!(run(&node, &permit, id).await, Err(EraseError::NotApproved { missing: 1 })));
    assert!(matches!(node.engine.approve_erasure(&permit, id).await, Err(EraseError::OwnOrder)));
    assert!(is_file_of(&house.fetch(&node, &set).await.unwrap(), &set));
    node.engine.approve_erasure(&officer(&house, 8), id).await.unwrap();
    assert_eq!(run(&node, &permit, id).await.unwrap().stage, Stage::Done);

    let held = DataSet { patient_id: "HELD".into(), ..DataSet::invented(2, 1) };
    house.send(&node, &held, 1).await.unwrap();
    let waits = order(&node, &permit, &study(&held)).await;
    node.engine.approve_erasure(&officer(&house, 8), waits).await.unwrap();
    let hold = node.engine.hold(&permit, hers(&held), "a claim".into()).await.unwrap();
    let refused = node.engine.order_erasure(&permit, &study(&held), why(Ground::Objection)).await;
    assert!(matches!(refused, Err(EraseError::Kept(Kept { until: None, .. }))));
    assert!(matches!(run(&node, &permit, waits).await, Err(EraseError::Kept(_))), "ordered before it was held");
    assert!(is_file_of(&house.fetch(&node, &held).await.unwrap(), &held));
    node.engine.lift_hold(&permit, hold.id.parse().unwrap()).await.unwrap();
    assert_eq!(run(&node, &permit, waits).await.unwrap().stage, Stage::Done);
    let absent = node.engine.order_erasure(&permit, &study(&set), why(Ground::Objection)).await;
    assert!(matches!(absent, Err(EraseError::Missing)));
    node.stop().await;
}

/// {each operation on the store, the key service's answer} × {not done, done and reported failed} × restart: the same end.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_breaks_off_anywhere_comes_to_the_same_end_after_a_restart() {
    let mut broken = 0;
    for when in [When::Before, When::After] {
        for step in 0.. {
            let plan = FaultPlan::new(Fail::Never);
            let house = House { faults: Some(plan.clone()), ..House::new() };
            let node = house.start().await;
            node.engine.set_erasure(AT_ONCE);
            let (doomed, kept) = (DataSet::invented(1, 1), DataSet::invented(2, 1));
            let large = DataSet { pixel_bytes: 1_500_000, ..DataSet::invented(1, 2) };
            for set in [&doomed, &large, &kept] {
                house.send(&node, set, 1).await.unwrap();
            }
            let permit = officer(&house, 7);
            let id = order(&node, &permit, &study(&doomed)).await;
            assert!(matches!(node.engine.run_erasure(&permit, id, None).await, Err(EraseError::KeyHost { .. })));
            plan.set(Fail::From(step, when, ErrorKind::Other));
            if step == 0 && when == When::After {
                house.service.set_mode(FakeMode::LosesAnswers);
            }
            let broke = node.engine.run_erasure(&permit, id, None).await.is_err();
            broken += usize::from(broke);
            house.service.set_mode(FakeMode::Up);
            plan.set(Fail::Never);
            node.stop().await;
            let node = house.start().await;
            // What had begun goes on by itself; asking waits for it.
            let done = node.engine.run_erasure(&permit, id, None).await.unwrap();
            assert_eq!(done.stage, Stage::Done, "{step} {when:?}");
            assert!(matches!(house.fetch(&node, &large).await, Err(RetrieveError::Missing)), "{step} {when:?}");
            assert!(is_file_of(&house.fetch(&node, &kept).await.unwrap(), &kept), "{step} {when:?}");
            node.stop().await;
            assert_eq!(house.objects().len(), 1, "{step} {when:?}");
            if !broke {
                break;
            }
        }
    }
    assert!(broken >= 8, "two deletions with a thumbnail each, before and after: {broken}");
}
