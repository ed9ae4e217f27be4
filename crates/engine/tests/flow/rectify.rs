//! Whose images these are is said rightly, and breaking off while it is done.

use super::{erase::officer, *};
use leadglass_engine::{
    Attribute, ErasureRules, Ground, Rectification, RectifyError, Truth, WhatToErase, WhatToHold, WhatToRectify,
};
use leadglass_model::{Administer, Permit};
use leadglass_store::faulty::{Fail, When};
use leadglass_tap::{Tap, Tapped, part10};
use std::io::ErrorKind;

fn text(text: &str) -> Phi<String> {
    Phi::new(text.to_owned())
}

fn study(set: &DataSet) -> WhatToRectify {
    WhatToRectify::Studies(vec![StudyUid::parse(&set.study).unwrap()])
}

fn patient(id: &str) -> WhatToRectify {
    WhatToRectify::Patient { id: text(id), issuer: None }
}

fn typed(values: &[(Attribute, &str)]) -> Truth {
    Truth::Typed(values.iter().map(|(attribute, value)| (*attribute, text(value))).collect())
}

fn as_patient(set: &DataSet) -> Truth {
    Truth::Patient { id: text(&set.patient_id), issuer: None }
}

async fn order(
    node: &Node,
    permit: &Permit<Administer>,
    what: &WhatToRectify,
    truth: &Truth,
) -> Result<Rectification, RectifyError> {
    let digest = node.engine.preview_rectification(permit, what, truth).await?.digest;
    node.engine.rectify(permit, what, truth, "it was mistyped", &digest).await
}

/// Orders it and waits for its end.
async fn rectify(
    node: &Node,
    permit: &Permit<Administer>,
    what: &WhatToRectify,
    truth: &Truth,
) -> Result<Rectification, RectifyError> {
    let ordered = order(node, permit, what, truth).await?;
    node.engine.run_rectification(permit, ordered.id).await
}

/// Studies of a patient, their names and instances, as a search says.
async fn found(house: &House, node: &Node, id: &str) -> Vec<(String, u64)> {
    let permit = house.principal(Role::Clinician).search(Purpose::Care).unwrap();
    let hits = node.engine.search(&permit, Query::default()).await.unwrap().hits;
    let hits = hits.into_iter().filter(|hit| hit.row.patient_id.as_ref().is_some_and(|own| own.expose() == id));
    let name = |name: Option<Phi<String>>| name.map_or_else(String::new, |name| name.expose().clone());
    let mut found: Vec<_> = hits.map(|hit| (name(hit.row.patient_name), hit.instances)).collect();
    found.sort();
    found
}

/// An instance as it is now: what it says, and its data set.
async fn now(house: &House, node: &Node, set: &DataSet) -> (Tapped, Vec<u8>) {
    let file = house.fetch(node, set).await.unwrap();
    let (head, data) = split_head(&file);
    let mut tap = Tap::new(&head, leadglass_tap::Limits::default());
    tap.feed(data).unwrap();
    (tap.finish().unwrap(), data.to_vec())
}

fn split_head(file: &[u8]) -> (TransferSyntaxUid, &[u8]) {
    let mut reader = part10::HeadReader::new();
    let part10::HeadStep::Done { head, .. } = reader.feed(file).unwrap() else { panic!("a whole head") };
    (head.meta.transfer_syntax.clone().unwrap(), &file[usize::try_from(head.dataset_start).unwrap()..])
}

fn said(value: &Option<Phi<String>>) -> &str {
    value.as_ref().map_or("", |value| value.expose())
}

/// What comes after the demographics of a data set: the pixels among it.
fn pixels(set: &DataSet) -> Vec<u8> {
    let all = set.encode();
    all[all.len() - set.pixel_bytes as usize..].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_patient_is_corrected_in_every_instance_and_the_versions_from_before_stay() {
    let house = House::new();
    let node = house.start().await;
    let (small, large) = (DataSet::invented(1, 1), DataSet { pixel_bytes: 3_000_000, ..DataSet::invented(1, 2) });
    let other = DataSet::invented(2, 1);
    for set in [&small, &large, &other] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    let truth = typed(&[(Attribute::PatientName, "Right^Erika"), (Attribute::PatientId, "R-1")]);
    let preview = node.engine.preview_rectification(&permit, &study(&small), &truth).await.unwrap();
    let changes = &preview.studies[0].changes;
    assert_eq!((preview.studies.len(), preview.studies[0].instances, changes.len()), (1, 2, 2));
    assert_eq!(changes[1], (Attribute::PatientId, text(&small.patient_id), text("R-1")));
    let refused = node.engine.rectify(&permit, &study(&small), &truth, "", "00").await;
    assert!(matches!(refused, Err(RectifyError::Changed)));

    let done = rectify(&node, &permit, &study(&small), &truth).await.unwrap();
    assert_eq!((done.instances, done.why.as_deref(), done.done_at.is_some(), done.left.len()), (2, None, true, 0));
    let check = async |node: &Node| {
        assert_eq!(found(&house, node, "R-1").await, [("Right^Erika".to_owned(), 2)]);
        assert!(found(&house, node, &small.patient_id).await.is_empty());
        for set in [&small, &large] {
            let (says, data) = now(&house, node, set).await;
            assert_eq!(said(&says.header.patient_name), "Right^Erika");
            assert_eq!(said(&says.header.patient_id), "R-1");
            assert!(data.ends_with(&pixels(set)), "pixels stay as they are");
            for old in [&set.patient_name, &set.patient_id] {
                assert!(data.windows(old.len()).any(|part| part == old.as_bytes()), "Original Attributes say {old}");
            }
        }
        assert_eq!(found(&house, node, &other.patient_id).await.len(), 1, "nobody else is concerned");
    };
    check(&node).await;
    assert!(matches!(order(&node, &permit, &study(&small), &truth).await, Err(RectifyError::Nothing)));
    // What the device has still says it wrongly.
    for set in [&small, &DataSet::invented(1, 3)] {
        assert!(house.send(&node, set, 1).await.unwrap().is_set_aside());
    }
    let right = DataSet { patient_id: "R-1".into(), patient_name: "Right^Erika".into(), ..DataSet::invented(1, 4) };
    assert!(!house.send(&node, &right, 1).await.unwrap().is_set_aside());
    node.stop().await;
    let node = house.start().await;
    let (says, _) = now(&house, &node, &small).await;
    assert_eq!(said(&says.header.patient_id), "R-1");
    assert_eq!(found(&house, &node, "R-1").await, [("Right^Erika".to_owned(), 3)]);
    assert_eq!(node.engine.rectifications(&permit).await.unwrap().len(), 1);
    node.stop().await;
    let sealed = house.objects().len();
    assert!(sealed >= 6, "five instances, two earlier versions, a note: {sealed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_patients_become_one_and_a_misfiled_study_goes_where_it_belongs() {
    let house = House::new();
    let node = house.start().await;
    let (one, two, three) = (DataSet::invented(1, 1), DataSet::invented(2, 1), DataSet::invented(3, 1));
    for set in [&one, &two, &three] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    rectify(&node, &permit, &patient(&one.patient_id), &as_patient(&two)).await.unwrap();
    let name = |set: &DataSet| set.patient_name.clone();
    assert_eq!(found(&house, &node, &two.patient_id).await, [(name(&two), 1), (name(&two), 1)]);
    rectify(&node, &permit, &study(&three), &as_patient(&one)).await.unwrap_err();
    rectify(&node, &permit, &study(&three), &as_patient(&two)).await.unwrap();
    assert_eq!(found(&house, &node, &two.patient_id).await.len(), 3);
    assert!(found(&house, &node, &one.patient_id).await.is_empty());

    // Two issuers gave the same number to two people: who is meant must be said.
    let issuer = |issuer| typed(&[(Attribute::IssuerOfPatientId, issuer)]);
    rectify(&node, &permit, &study(&one), &issuer("A")).await.unwrap();
    rectify(&node, &permit, &study(&two), &issuer("B")).await.unwrap();
    let refused = order(&node, &permit, &patient(&two.patient_id), &typed(&[(Attribute::PatientSex, "F")])).await;
    assert!(matches!(refused, Err(RectifyError::Ambiguous)));
    let refused = order(&node, &permit, &patient(""), &typed(&[(Attribute::PatientSex, "F")])).await;
    assert!(matches!(refused, Err(RectifyError::Missing)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_is_another_patients_leaves_and_the_rest_stays() {
    let house = House::new();
    let node = house.start().await;
    let of = |series: u32, number: u32| DataSet {
        series: format!("2.25.11.{series}"),
        instance: format!("2.25.11.{series}.{number}"),
        ..DataSet::invented(1, number)
    };
    let (stays, also) = (of(1, 1), of(1, 2));
    let (goes, large) = (of(2, 1), DataSet { pixel_bytes: 2_000_000, ..of(2, 2) });
    let hers = DataSet::invented(2, 1);
    for set in [&stays, &also, &goes, &large, &hers] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    let part = |series: &[&DataSet], instances: &[&DataSet]| WhatToRectify::Part {
        study: StudyUid::parse(&stays.study).unwrap(),
        series: series.iter().map(|set| SeriesUid::parse(&set.series).unwrap()).collect(),
        instances: instances.iter().map(|set| SopInstanceUid::parse(&set.instance).unwrap()).collect(),
    };
    let whole = order(&node, &permit, &part(&[&stays, &goes], &[]), &as_patient(&hers)).await;
    assert!(matches!(whole, Err(RectifyError::Whole)));
    let absent = order(&node, &permit, &part(&[&goes], &[&of(7, 7)]), &as_patient(&hers)).await;
    assert!(matches!(absent, Err(RectifyError::Missing)));

    let done = rectify(&node, &permit, &part(&[&goes], &[&also]), &as_patient(&hers)).await.unwrap();
    assert_eq!((done.instances, done.why.as_deref()), (3, None));
    let new_study = done.new_study().unwrap().expose().clone();
    let check = async |node: &Node| {
        assert_eq!(found(&house, node, &stays.patient_id).await, [(stays.patient_name.clone(), 1)]);
        let both = [(hers.patient_name.clone(), 1), (hers.patient_name.clone(), 3)];
        assert_eq!(found(&house, node, &hers.patient_id).await, both);
        for set in [&goes, &large, &also] {
            assert!(matches!(house.fetch(node, set).await, Err(RetrieveError::Missing)), "{}", set.instance);
        }
        assert!(is_file_of(&house.fetch(node, &stays).await.unwrap(), &stays));
        let permit = house.principal(Role::Clinician).read(Purpose::Care).unwrap();
        let target = Target::Study(StudyUid::parse(&new_study).unwrap());
        let moved = node.engine.locate(&permit, [1; 16], &target).await.unwrap();
        assert_eq!(moved.len(), 3);
        for instance in moved {
            let len = instance.len();
            let pieces: Vec<Bytes> = instance.read(0..len).try_collect().await.unwrap();
            let file = pieces.concat();
            let (syntax, data) = split_head(&file);
            let mut tap = Tap::new(&syntax, leadglass_tap::Limits::default());
            tap.feed(data).unwrap();
            let says = tap.finish().unwrap().header;
            assert_eq!(said(&says.patient_id), hers.patient_id);
            assert!([&goes, &large, &also].iter().any(|set| data.ends_with(&pixels(set))));
            assert!(says.sop_instance_uid.unwrap().expose().starts_with("2.25."));
        }
    };
    check(&node).await;
    // The device sends it again: it is known, and stays hidden; something else under its name waits for a person.
    assert!(!house.send(&node, &goes, 1).await.unwrap().is_set_aside());
    assert!(house.send(&node, &DataSet { seed: 9, ..goes.clone() }, 1).await.unwrap().is_set_aside());
    assert!(house.send(&node, &DataSet { seed: 9, ..large.clone() }, 1).await.unwrap().is_set_aside());
    check(&node).await;
    node.stop().await;
    let node = house.start().await;
    check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_under_the_old_name_does_not_get_into_the_study() {
    let house = House::new();
    let node = house.start().await;
    let first = DataSet::invented(1, 1);
    house.send(&node, &first, 1).await.unwrap();
    let permit = officer(&house, 7);
    for (number, pixel_bytes) in [(2, 4_096), (3, 2_500_000)] {
        let late = DataSet { pixel_bytes, ..DataSet::invented(1, number) };
        let id = found(&house, &node, &first.patient_id).await.len();
        assert_eq!(id, usize::from(number == 2), "the second one is on its way to a study that was corrected");
        let store = house.principal(Role::Device).store().unwrap();
        let source = Source::new(&store, ReceiverId::from_bytes([1; 16]), text("D"), text("D"));
        let (sop_class, sop_instance, transfer_syntax) = late.announced();
        let announced = Announced { sop_class, sop_instance, transfer_syntax };
        let mut transfer = node.engine.begin(Arc::new(source), announced).unwrap();
        let bytes = Bytes::from(late.encode());
        transfer.write(bytes.slice(..bytes.len() - 100)).await.unwrap();
        let name = format!("R-{number}");
        let truth = typed(&[(Attribute::PatientId, name.as_str())]);
        rectify(&node, &permit, &study(&first), &truth).await.unwrap();
        transfer.write(bytes.slice(bytes.len() - 100..)).await.unwrap();
        match transfer.finish().await {
            Ok(receipt) => assert!(receipt.is_set_aside(), "{number}"),
            Err(error) => assert!(matches!(error, IngestError::Overtaken), "{number} {error}"),
        }
        assert_eq!(found(&house, &node, &name).await, [(first.patient_name.clone(), 1)]);
        assert!(house.send(&node, &late, 1).await.unwrap().is_set_aside(), "sent again it waits for a person");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_where_one_instance_cannot_say_it() {
    let house = House::new();
    let node = house.start().await;
    let set = DataSet::invented(1, 1);
    house.send(&node, &set, 1).await.unwrap();
    let permit = officer(&house, 7);
    let refused = order(&node, &permit, &study(&set), &typed(&[(Attribute::PatientName, "Мустер^Эрика")])).await;
    let Err(RectifyError::Unfit { instances: 1, .. }) = refused else { panic!("{refused:?}") };
    let refused = order(&node, &permit, &study(&set), &typed(&[(Attribute::PatientBirthDate, "20240231")])).await;
    assert!(matches!(refused, Err(RectifyError::Form(_))));
    assert!(is_file_of(&house.fetch(&node, &set).await.unwrap(), &set));
    assert!(node.engine.rectifications(&permit).await.unwrap().is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_hold_nor_an_order_to_erase_gets_lost_on_the_way() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(ErasureRules { cooling_off_s: 60, approvals: 0 });
    let (set, other) = (DataSet::invented(1, 1), DataSet::invented(2, 1));
    for set in [&set, &other] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    let hers = WhatToHold::Patient { id: text(&set.patient_id), issuer: None };
    node.engine.hold(&permit, hers, "a claim".into()).await.unwrap();
    let name = typed(&[(Attribute::PatientName, "Right^Erika")]);
    rectify(&node, &permit, &study(&set), &name).await.unwrap();
    let refused = order(&node, &permit, &study(&set), &as_patient(&other)).await;
    assert!(matches!(refused, Err(RectifyError::Held)));
    let held = WhatToHold::Study(StudyUid::parse(&set.study).unwrap());
    node.engine.hold(&permit, held, "the same claim".into()).await.unwrap();
    rectify(&node, &permit, &study(&set), &as_patient(&other)).await.unwrap();

    let doomed = WhatToErase::Study(StudyUid::parse(&other.study).unwrap());
    let erasure = node.engine.order_erasure(&permit, &doomed, why(Ground::Objection)).await.unwrap().id;
    let refused = order(&node, &permit, &study(&other), &name).await;
    assert!(matches!(refused, Err(RectifyError::Erased(id)) if id == erasure));
    node.engine.withdraw_erasure(&permit, erasure).await.unwrap();
    rectify(&node, &permit, &study(&other), &name).await.unwrap();
    assert_eq!(node.engine.rectifications(&permit).await.unwrap().len(), 3);

    node.engine.set_erasure(super::erase::AT_ONCE);
    let erasure = super::erase::order(&node, &permit, &doomed).await;
    super::erase::run(&node, &permit, erasure).await.unwrap();
    assert_eq!(node.engine.rectifications(&permit).await.unwrap().len(), 2, "of what is erased nothing stays");
    node.stop().await;
}

/// {each operation on the store} × {not done, done and reported failed} × restart: the same end.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_breaks_off_anywhere_comes_to_the_same_end_after_a_restart() {
    let mut broken = 0;
    for when in [When::Before, When::After] {
        for step in 0.. {
            let plan = FaultPlan::new(Fail::Never);
            let house = House { faults: Some(plan.clone()), ack: Ack::Store, ..House::new() };
            let node = house.start().await;
            let (small, large) =
                (DataSet::invented(1, 1), DataSet { pixel_bytes: 1_500_000, ..DataSet::invented(1, 2) });
            let (goes, hers) =
                (DataSet { series: "2.25.11.9".into(), ..DataSet::invented(1, 3) }, DataSet::invented(2, 1));
            for set in [&small, &large, &goes, &hers] {
                house.send(&node, set, 1).await.unwrap();
            }
            node.stop().await;
            let node = house.start().await;
            let permit = officer(&house, 7);
            let splits = step % 2 == 1;
            let what = if splits {
                let series = vec![SeriesUid::parse(&goes.series).unwrap()];
                WhatToRectify::Part { study: StudyUid::parse(&goes.study).unwrap(), series, instances: vec![] }
            } else {
                study(&small)
            };
            let digest = node.engine.preview_rectification(&permit, &what, &as_patient(&hers)).await.unwrap().digest;
            plan.set(Fail::From(step / 2, when, ErrorKind::Other));
            let ordered = node.engine.rectify(&permit, &what, &as_patient(&hers), "", &digest).await;
            let done = match &ordered {
                Ok(order) => node.engine.run_rectification(&permit, order.id).await.unwrap().done_at.is_some(),
                Err(_) => false,
            };
            broken += usize::from(!done);
            plan.set(Fail::Never);
            node.stop().await;
            let node = house.start().await;
            match ordered {
                // It goes on by itself; asking for it waits for that.
                Ok(order) => {
                    let done = node.engine.run_rectification(&permit, order.id).await.unwrap();
                    assert!(done.done_at.is_some(), "{step} {when:?} {:?}", done.why);
                }
                // It was not ordered, so nothing changed.
                Err(_) => {
                    assert_eq!(found(&house, &node, &small.patient_id).await.len(), 1, "{step} {when:?}");
                    rectify(&node, &permit, &what, &as_patient(&hers)).await.unwrap();
                }
            }
            let name = |set: &DataSet| set.patient_name.clone();
            if splits {
                assert_eq!(found(&house, &node, &small.patient_id).await, [(name(&small), 2)], "{step} {when:?}");
                assert_eq!(found(&house, &node, &hers.patient_id).await, [(name(&hers), 1), (name(&hers), 1)]);
            } else {
                assert!(found(&house, &node, &small.patient_id).await.is_empty(), "{step} {when:?}");
                assert_eq!(found(&house, &node, &hers.patient_id).await, [(name(&hers), 1), (name(&hers), 3)]);
                for set in [&small, &large, &goes] {
                    let (says, _) = now(&house, &node, set).await;
                    assert_eq!(said(&says.header.patient_id), hers.patient_id, "{step} {when:?}");
                }
            }
            node.stop().await;
            if done {
                break;
            }
        }
    }
    assert!(broken >= 12, "reading, sealing anew and hiding, before and after: {broken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_instance_that_is_erased_is_not_counted_out_twice() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(super::erase::AT_ONCE);
    let (stays, goes, hers) = (DataSet::invented(1, 1), DataSet::invented(1, 2), DataSet::invented(2, 1));
    for set in [&stays, &goes, &hers] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    let study = StudyUid::parse(&stays.study).unwrap();
    let instances = vec![SopInstanceUid::parse(&goes.instance).unwrap()];
    let part = WhatToRectify::Part { study: study.clone(), series: vec![], instances };
    rectify(&node, &permit, &part, &as_patient(&hers)).await.unwrap();
    let doomed = WhatToErase::Instance(study, SopInstanceUid::parse(&goes.instance).unwrap());
    let id = super::erase::order(&node, &permit, &doomed).await;
    super::erase::run(&node, &permit, id).await.unwrap();
    assert_eq!(found(&house, &node, &stays.patient_id).await, [(stays.patient_name.clone(), 1)]);
    assert!(is_file_of(&house.fetch(&node, &stays).await.unwrap(), &stays));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_come_to_its_end_holds_an_erasure_up_until_it_is_given_up() {
    let plan = FaultPlan::new(Fail::Never);
    let house = House { faults: Some(plan.clone()), ack: Ack::Store, ..House::new() };
    let node = house.start().await;
    node.engine.set_erasure(super::erase::AT_ONCE);
    let (set, hers) = (DataSet::invented(1, 1), DataSet::invented(2, 1));
    for set in [&set, &hers] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house, 7);
    let digest = node.engine.preview_rectification(&permit, &study(&set), &as_patient(&hers)).await.unwrap().digest;
    // It is looked at, and cannot be written.
    plan.set(Fail::From(1, When::Before, ErrorKind::Other));
    let id = node.engine.rectify(&permit, &study(&set), &as_patient(&hers), "", &digest).await.unwrap().id;
    let stopped = node.engine.run_rectification(&permit, id).await.unwrap();
    assert!(stopped.done_at.is_none() && stopped.why.is_some());
    plan.set(Fail::Never);
    let doomed = WhatToErase::Study(StudyUid::parse(&set.study).unwrap());
    let refused = node.engine.order_erasure(&permit, &doomed, why(Ground::Objection)).await;
    assert!(matches!(refused, Err(leadglass_engine::EraseError::BeingCorrected)));
    assert!(node.engine.erasures(&permit).await.unwrap().is_empty());

    let given_up = node.engine.give_up_rectification(&permit, id).await.unwrap();
    assert!(given_up.done_at.is_some() && given_up.left.is_empty());
    assert_eq!(node.engine.give_up_rectification(&permit, id).await.unwrap().done_at, given_up.done_at);
    let erasure = super::erase::order(&node, &permit, &doomed).await;
    super::erase::run(&node, &permit, erasure).await.unwrap();
    assert!(matches!(house.fetch(&node, &set).await, Err(RetrieveError::Missing)));
    node.stop().await;
}
