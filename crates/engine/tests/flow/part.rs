//! A series or an instance is erased, and the rest of its study stays.

use super::{
    erase::{AT_ONCE, officer, order, run},
    *,
};
use leadglass_engine::{EraseError, Ground, Stage, WhatToErase};
use leadglass_store::faulty::{Fail, When};
use std::io::ErrorKind;

fn series(set: &DataSet) -> WhatToErase {
    WhatToErase::Series(StudyUid::parse(&set.study).unwrap(), SeriesUid::parse(&set.series).unwrap())
}

fn instance(set: &DataSet) -> WhatToErase {
    WhatToErase::Instance(StudyUid::parse(&set.study).unwrap(), SopInstanceUid::parse(&set.instance).unwrap())
}

/// Instance `number` of a series of study 1.
fn of_series(series: u32, number: u32, pixel_bytes: u32) -> DataSet {
    DataSet {
        series: format!("2.25.11.{series}"),
        instance: format!("2.25.11.{series}.{number}"),
        pixel_bytes,
        ..DataSet::invented(1, number)
    }
}

/// Series and instances that a search counts in the only study.
async fn counted(house: &House, node: &Node) -> (u32, u64) {
    let permit = house.principal(Role::Clinician).search(Purpose::Care).unwrap();
    let hits = node.engine.search(&permit, Query::default()).await.unwrap().hits;
    assert_eq!(hits.len(), 1);
    (hits[0].series, hits[0].instances)
}

async fn described(house: &House, node: &Node) -> usize {
    let permit = house.principal(Role::Clinician).read(Purpose::Care).unwrap();
    let target = Target::Study(StudyUid::parse(&DataSet::invented(1, 1).study).unwrap());
    let metadata = node.engine.metadata(&permit, [1; 16], &target).await.unwrap();
    let all: Vec<Vec<_>> = metadata.documents().try_collect().await.unwrap();
    all.iter().map(Vec::len).sum()
}

async fn is_there(house: &House, node: &Node, sets: &[&DataSet]) {
    for set in sets {
        assert!(is_file_of(&house.fetch(node, set).await.unwrap(), set), "{}", set.instance);
    }
}

async fn is_gone(house: &House, node: &Node, sets: &[&DataSet]) {
    for set in sets {
        assert!(matches!(house.fetch(node, set).await, Err(RetrieveError::Missing)), "{}", set.instance);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_goes_with_its_versions_and_the_rest_of_the_study_stays() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let (first, doomed) = (of_series(1, 2, 4_096), DataSet { seed: 2, ..of_series(1, 2, 4_096) });
    let (small, large, other) = (of_series(1, 1, 8_192), of_series(1, 3, 3_000_000), of_series(2, 1, 8_192));
    let (old, corrected) = (of_series(2, 2, 8_192), DataSet { seed: 3, ..of_series(2, 2, 8_192) });
    for set in [&first, &doomed, &small, &large, &other, &old, &corrected] {
        house.send(&node, set, 1).await.unwrap();
    }
    let stays = [&small, &large, &other, &corrected];
    assert_eq!(counted(&house, &node).await, (2, 5));
    let permit = officer(&house, 7);
    let id = order(&node, &permit, &instance(&doomed)).await;
    // What stays is sealed anew before the key host is asked; until it says yes, everything can be seen.
    assert!(matches!(node.engine.run_erasure(&permit, id, None).await, Err(EraseError::KeyHost { .. })));
    is_there(&house, &node, &stays).await;
    is_there(&house, &node, &[&doomed]).await;
    let done = node.engine.run_erasure(&permit, id, None).await.unwrap();
    assert_eq!((done.stage, done.instances, done.keys.len()), (Stage::Done, 2, 1));
    let check = async |node: &Node| {
        is_gone(&house, node, &[&doomed]).await;
        is_there(&house, node, &stays).await;
        assert_eq!((counted(&house, node).await, described(&house, node).await), ((2, 4), 4));
    };
    check(&node).await;
    assert_eq!(house.objects().len(), 5, "four instances, one of them with an earlier version");
    assert!(!house.send(&node, &old, 1).await.unwrap().is_set_aside(), "the earlier version is known: a copy");
    assert_eq!(run(&node, &permit, id).await.unwrap().done_at, done.done_at, "once more changes nothing");
    for _ in 0..2 {
        assert!(house.send(&node, &doomed, 1).await.unwrap().is_set_aside(), "it comes back only into quarantine");
    }
    assert!(house.send(&node, &DataSet { pixel_bytes: 2_000_000, ..doomed.clone() }, 1).await.unwrap().is_set_aside());
    node.stop().await;

    let node = house.start().await;
    check(&node).await;
    let next = of_series(1, 4, 8_192);
    assert!(!house.send(&node, &next, 1).await.unwrap().is_set_aside(), "the study takes in what is new");
    assert_eq!(counted(&house, &node).await, (2, 5));
    let cases = node.engine.quarantined(&permit).await.unwrap();
    assert_eq!((cases.len(), cases[0].reason), (1, QuarantineReason::Erased));
    node.engine.decide(&permit, cases[0].case, &Verdict::Release).await.unwrap();
    assert!(house.fetch(&node, &doomed).await.is_ok(), "a person let it come back");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_goes_and_the_last_part_takes_the_study_with_it() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let (a, b, c) = (of_series(1, 1, 4_096), of_series(1, 2, 2_000_000), of_series(2, 1, 4_096));
    for set in [&a, &b, &c] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    let id = order(&node, &permit, &series(&a)).await;
    let done = run(&node, &permit, id).await.unwrap();
    assert_eq!((done.stage, done.instances), (Stage::Done, 2));
    is_gone(&house, &node, &[&a, &b]).await;
    is_there(&house, &node, &[&c]).await;
    assert_eq!((counted(&house, &node).await, described(&house, &node).await), ((1, 1), 1));
    assert_eq!(house.objects().len(), 1);
    let another = of_series(1, 9, 4_096);
    assert!(house.send(&node, &another, 1).await.unwrap().is_set_aside(), "nothing comes into the series unnoticed");
    for absent in [series(&a), instance(&a), instance(&of_series(7, 7, 1))] {
        let refused = node.engine.order_erasure(&permit, &absent, why(Ground::Objection));
        assert!(matches!(refused.await, Err(EraseError::Missing)));
    }

    let id = order(&node, &permit, &series(&c)).await;
    assert_eq!(run(&node, &permit, id).await.unwrap().stage, Stage::Done);
    let permit = house.principal(Role::Clinician).search(Purpose::Care).unwrap();
    assert!(node.engine.search(&permit, Query::default()).await.unwrap().hits.is_empty(), "no empty study stays");
    assert!(house.send(&node, &of_series(5, 1, 4_096), 1).await.unwrap().is_set_aside(), "the study was erased");
    node.stop().await;
}

/// What is on its way under a key that ends must not end with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_meanwhile_is_not_lost() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let (doomed, stays) = (of_series(1, 1, 4_096), of_series(1, 2, 4_096));
    for set in [&doomed, &stays] {
        house.send(&node, set, 1).await.unwrap();
    }
    // It is long enough to be sealed while it comes, under the study's key.
    let arriving = of_series(1, 3, 4_000_000);
    let bytes = Bytes::from(arriving.encode());
    let permit = house.principal(Role::Device).store().unwrap();
    let name = || Phi::new(String::from("DEVICE"));
    let source = Arc::new(Source::new(&permit, ReceiverId::from_bytes([1; 16]), name(), name()));
    let (sop_class, sop_instance, transfer_syntax) = arriving.announced();
    let mut transfer = node.engine.begin(source, Announced { sop_class, sop_instance, transfer_syntax }).unwrap();
    transfer.write(bytes.slice(..3_000_000)).await.unwrap();

    let officer = officer(&house, 7);
    let id = order(&node, &officer, &instance(&doomed)).await;
    assert!(matches!(node.engine.run_erasure(&officer, id, None).await, Err(EraseError::KeyHost { .. })));
    transfer.write(bytes.slice(3_000_000..)).await.unwrap();
    let refused = transfer.finish().await.unwrap_err();
    assert!(matches!(refused, IngestError::Overtaken), "{refused}: the sender sends it again");
    house.send(&node, &arriving, 1).await.unwrap();
    let correction = DataSet { seed: 9, ..stays.clone() };
    house.send(&node, &correction, 1).await.unwrap();
    assert_eq!(node.engine.run_erasure(&officer, id, None).await.unwrap().stage, Stage::Done);
    is_gone(&house, &node, &[&doomed]).await;
    is_there(&house, &node, &[&arriving, &correction]).await;
    node.stop().await;
    let node = house.start().await;
    is_there(&house, &node, &[&arriving, &correction]).await;
    assert_eq!(counted(&house, &node).await, (1, 2));
    assert!(!house.send(&node, &stays, 1).await.unwrap().is_set_aside(), "the version before is there, too");
    node.stop().await;
}

/// {each operation on the store} × {not done, done and reported failed} × restart: the same end.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_breaks_off_anywhere_comes_to_the_same_end_after_a_restart() {
    let mut broken = 0;
    for when in [When::Before, When::After] {
        for step in 0.. {
            let plan = FaultPlan::new(Fail::Never);
            let house = House { faults: Some(plan.clone()), ..House::new() };
            let node = house.start().await;
            node.engine.set_erasure(AT_ONCE);
            let (doomed, small, large) = (of_series(1, 1, 4_096), of_series(1, 2, 4_096), of_series(2, 1, 1_500_000));
            for set in [&doomed, &small, &large] {
                house.send(&node, set, 1).await.unwrap();
            }
            // Until everything lies in its place.
            node.stop().await;
            let node = house.start().await;
            node.engine.set_erasure(AT_ONCE);
            let permit = officer(&house, 7);
            let what = if step % 2 == 0 { series(&doomed) } else { instance(&doomed) };
            let id = order(&node, &permit, &what).await;
            plan.set(Fail::From(step, when, ErrorKind::Other));
            let broke = run(&node, &permit, id).await.is_err();
            broken += usize::from(broke);
            plan.set(Fail::Never);
            node.stop().await;
            let node = house.start().await;
            let done = run(&node, &permit, id).await.unwrap();
            assert_eq!(done.stage, Stage::Done, "{step} {when:?}");
            let (gone, stays): (&[&DataSet], &[&DataSet]) =
                if step % 2 == 0 { (&[&doomed, &small], &[&large]) } else { (&[&doomed], &[&small, &large]) };
            is_gone(&house, &node, gone).await;
            is_there(&house, &node, stays).await;
            assert_eq!(described(&house, &node).await, stays.len(), "{step} {when:?}");
            node.stop().await;
            assert_eq!(house.objects().len(), stays.len(), "{step} {when:?}: nothing is left behind");
            if !broke {
                break;
            }
        }
    }
    assert!(broken >= 12, "reading, sealing anew and deleting, before and after: {broken}");
}

/// The keys are gone and the node did not hear of it: the rows of what goes do not open any more, and the order goes on.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_destroyed_unheard_are_the_end_of_the_part_and_of_nothing_else() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let (doomed, stays, other) = (of_series(1, 1, 4_096), of_series(1, 2, 4_096), of_series(2, 1, 1_500_000));
    for set in [&doomed, &stays, &other] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    let id = order(&node, &permit, &instance(&doomed)).await;
    assert!(matches!(node.engine.run_erasure(&permit, id, None).await, Err(EraseError::KeyHost { .. })));
    house.service.set_mode(FakeMode::LosesAnswers);
    assert!(node.engine.run_erasure(&permit, id, None).await.is_err());
    house.service.set_mode(FakeMode::Up);
    node.stop().await;
    let node = house.start().await;
    assert_eq!(node.engine.run_erasure(&permit, id, None).await.unwrap().stage, Stage::Done);
    is_gone(&house, &node, &[&doomed]).await;
    is_there(&house, &node, &[&stays, &other]).await;
    assert_eq!((counted(&house, &node).await, described(&house, &node).await), ((2, 2), 2));
    node.stop().await;
    assert_eq!(house.objects().len(), 2);
}

/// What one order seals anew, another one might end.
#[tokio::test(flavor = "multi_thread")]
async fn one_part_of_a_study_goes_at_a_time() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let (first, second, stays) = (of_series(1, 1, 4_096), of_series(1, 2, 4_096), of_series(2, 1, 4_096));
    for set in [&first, &second, &stays] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    let (one, other) =
        (order(&node, &permit, &instance(&first)).await, order(&node, &permit, &instance(&second)).await);
    assert!(matches!(node.engine.run_erasure(&permit, one, None).await, Err(EraseError::KeyHost { .. })));
    assert!(matches!(node.engine.run_erasure(&permit, other, None).await, Err(EraseError::Another(id)) if id == one));
    is_there(&house, &node, &[&first, &second, &stays]).await;
    for id in [one, other] {
        assert_eq!(run(&node, &permit, id).await.unwrap().stage, Stage::Done);
    }
    is_gone(&house, &node, &[&first, &second]).await;
    is_there(&house, &node, &[&stays]).await;
    node.stop().await;
    assert_eq!(house.objects().len(), 1);
}

/// A person's release, a correction and a rebuilt look must not meet an order half way.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_comes_back_neither_by_a_release_nor_as_a_copy_while_it_goes() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let (doomed, stays) = (of_series(1, 1, 4_096), of_series(2, 1, 4_096));
    for set in [&doomed, &stays] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    let id = order(&node, &permit, &series(&doomed)).await;
    assert!(matches!(node.engine.run_erasure(&permit, id, None).await, Err(EraseError::KeyHost { .. })));
    let moved = DataSet { series: stays.series.clone(), seed: 5, ..doomed.clone() };
    for set in [&doomed, &moved] {
        assert!(house.send(&node, set, 1).await.unwrap().is_set_aside(), "sent again, in whichever series");
    }
    let cases = node.engine.quarantined(&permit).await.unwrap();
    let refused = node.engine.decide(&permit, cases[0].case, &Verdict::Release).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::Busy, "{refused}");
    assert_eq!(run(&node, &permit, id).await.unwrap().stage, Stage::Done);
    is_gone(&house, &node, &[&doomed]).await;
    is_there(&house, &node, &[&stays]).await;
    node.engine.decide(&permit, cases[0].case, &Verdict::Release).await.unwrap();
    is_there(&house, &node, &[&stays]).await;
    assert_eq!(counted(&house, &node).await, (1, 2), "afterwards a person may let it come back");

    // Its copy in the case lies under a key that an order for the part would not reach.
    let again = node.engine.order_erasure(&permit, &instance(&doomed), why(Ground::Objection)).await.unwrap().id;
    assert!(matches!(run(&node, &permit, again).await, Err(EraseError::InQuarantine { .. })));
    node.stop().await;
}

/// Before its keys are destroyed nothing is lost, so an order for a part can be taken back even when it has begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_was_listed_can_be_taken_back_and_everything_is_as_before() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let (doomed, stays) = (of_series(1, 1, 4_096), of_series(1, 2, 4_096));
    for set in [&doomed, &stays] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    let id = order(&node, &permit, &instance(&doomed)).await;
    assert!(matches!(node.engine.run_erasure(&permit, id, None).await, Err(EraseError::KeyHost { .. })));
    assert!(house.send(&node, &doomed, 1).await.unwrap().is_set_aside());
    assert_eq!(node.engine.withdraw_erasure(&permit, id).await.unwrap().stage, Stage::Withdrawn);
    assert!(!house.send(&node, &doomed, 1).await.unwrap().is_set_aside(), "a copy, as before");
    let check = async |node: Node| {
        is_there(&house, &node, &[&doomed]).await;
        assert!(!house.send(&node, &DataSet { seed: 8, ..stays.clone() }, 1).await.unwrap().is_set_aside());
        assert_eq!(counted(&house, &node).await, (1, 2));
        node.stop().await;
    };
    is_there(&house, &node, &[&stays]).await;
    check(node).await;
    check(house.start().await).await;
    assert_eq!(house.objects().len(), 5, "two, a newer version of one, and what waits in quarantine with its note");
}
