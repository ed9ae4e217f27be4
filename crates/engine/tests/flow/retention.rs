//! What has to be kept, by rules and holds.

use super::*;
use leadglass_engine::{
    Day, EraseError, Ground, Kept, RecordClass, RetentionError, Rule, Since, WhatToErase, WhatToHold,
};
use leadglass_model::{Administer, Permit};

fn officer(house: &House) -> Permit<Administer> {
    house.principal(Role::Dpo).administer().unwrap()
}

/// Invented studies are CTs of 31 January 2024, of patients whose age nobody says.
fn rule(id: &str, modality: &str, years: u16) -> Rule {
    Rule {
        id: id.into(),
        country: "DE".into(),
        class: RecordClass { modalities: [modality.into()].into(), ..RecordClass::default() },
        years,
        since: Since::LastExamination,
        minors_until: None,
        source: "a law".into(),
        confirmed: None,
    }
}

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

/// Why an order on this ground is refused; `None`: it is taken.
async fn kept(node: &Node, permit: &Permit<Administer>, set: &DataSet, ground: Ground) -> Option<Kept> {
    let what = WhatToErase::Study(StudyUid::parse(&set.study).unwrap());
    match node.engine.order_erasure(permit, &what, why(ground)).await {
        Ok(order) => {
            node.engine.withdraw_erasure(permit, order.id).await.unwrap();
            None
        }
        Err(EraseError::Kept(kept)) => Some(kept),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_keeps_without_an_end_until_somebody_answers_for_it_and_then_until_its_day() {
    let house = House::new();
    let node = house.start().await;
    let set = DataSet::invented(1, 1);
    house.send(&node, &set, 1).await.unwrap();
    let permit = officer(&house);
    // In a house without rules nobody has said what the law wants: whoever orders it answers for that.
    let study = WhatToErase::Study(StudyUid::parse(&set.study).unwrap());
    let unasked = leadglass_engine::Cause { no_rule: false, ..why(Ground::Objection) };
    let refused = node.engine.order_erasure(&permit, &study, unasked.clone()).await;
    assert!(matches!(refused, Err(EraseError::NoRule)), "{refused:?}");
    let order = node.engine.order_erasure(&permit, &study, why(Ground::Objection)).await.unwrap();
    assert!(order.no_rule);
    node.engine.withdraw_erasure(&permit, order.id).await.unwrap();

    node.engine.put_retention_rule(&permit, rule("ct", "CT", 90)).await.unwrap();
    let why = kept(&node, &permit, &set, Ground::Objection).await.unwrap();
    assert!(why.until.is_none() && why.why.contains("ct") && why.why.contains("confirmed"), "{why:?}");
    let confirmed = node.engine.confirm_retention_rule(&permit, "ct").await.unwrap();
    assert_eq!(confirmed.confirmed.unwrap().by, permit.actor().to_string());
    let why = kept(&node, &permit, &set, Ground::Objection).await.unwrap();
    assert_eq!(why.until, Some(day("2114-01-31").end()));
    assert!(why.why.contains("a law") && why.why.contains("2114-01-31"), "{why:?}");
    node.stop().await;

    // It outlives the process; written anew it has to be confirmed anew.
    let node = house.start().await;
    assert!(node.engine.retention_rules(&permit).await.unwrap()[0].confirmed.is_some());
    let forged = Rule { confirmed: confirmed_by_nobody(), ..rule("ct", "CT", 1) };
    assert_eq!(node.engine.put_retention_rule(&permit, forged).await.unwrap().confirmed, None);
    assert_eq!(kept(&node, &permit, &set, Ground::Objection).await.unwrap().until, None);
    node.engine.confirm_retention_rule(&permit, "ct").await.unwrap();
    assert_eq!(kept(&node, &permit, &set, Ground::Objection).await, None, "its day is over");
    let order = node.engine.order_erasure(&permit, &study, unasked).await.unwrap();
    assert!(!order.no_rule, "a rule is about it, and over");
    node.engine.withdraw_erasure(&permit, order.id).await.unwrap();

    // The longest of those that are about it counts; one about something else does not.
    for (id, modality, years) in [("longer", "CT", 50), ("other", "US", 99)] {
        node.engine.put_retention_rule(&permit, rule(id, modality, years)).await.unwrap();
        node.engine.confirm_retention_rule(&permit, id).await.unwrap();
    }
    assert_eq!(kept(&node, &permit, &set, Ground::Objection).await.unwrap().until, Some(day("2074-01-31").end()));
    node.engine.drop_retention_rule(&permit, "longer").await.unwrap();
    assert_eq!(kept(&node, &permit, &set, Ground::Objection).await, None);
    assert!(matches!(node.engine.drop_retention_rule(&permit, "longer").await, Err(RetentionError::Missing)));
    node.stop().await;
}

fn confirmed_by_nobody() -> Option<leadglass_engine::Confirmed> {
    Some(leadglass_engine::Confirmed { by: "nobody".into(), at: leadglass_model::UnixMillis(0) })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_listed_and_nothing_else_is_erased_on_that_ground() {
    let house = House::new();
    let node = house.start().await;
    let sets: Vec<DataSet> = (1..=3).map(|n| DataSet::invented(n, 1)).collect();
    for set in &sets {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house);
    let due = async |on: &str, most| {
        let list = node.engine.retention_due(&permit, Some(day(on)), most).await.unwrap();
        (list.studies.iter().map(|due| due.study.expose().to_owned()).collect::<Vec<_>>(), list.total)
    };
    assert_eq!(due("2100-01-01", 9).await, (vec![], 0), "nothing is over where nothing says so");
    assert!(kept(&node, &permit, &sets[0], Ground::RetentionEnd).await.is_some());

    node.engine.put_retention_rule(&permit, rule("ct", "CT", 1)).await.unwrap();
    assert_eq!(due("2100-01-01", 9).await.1, 0, "nobody answers for the rule");
    node.engine.confirm_retention_rule(&permit, "ct").await.unwrap();
    assert_eq!(due("2025-01-31", 9).await.1, 0, "its last day");
    let listed = due("2025-02-01", 2).await;
    assert_eq!((listed.0.len(), listed.1), (2, 3), "as many as were asked for, and how many there are");
    assert_eq!(kept(&node, &permit, &sets[0], Ground::RetentionEnd).await, None);

    let study = WhatToHold::Study(StudyUid::parse(&sets[0].study).unwrap());
    let patient = WhatToHold::Patient { id: Phi::new(sets[1].patient_id.clone()), issuer: Some(Phi::new("A".into())) };
    let first = node.engine.hold(&permit, study, "a claim".into()).await.unwrap();
    node.engine.hold(&permit, patient, "another".into()).await.unwrap();
    assert_eq!(due("2025-02-01", 9).await, (vec![sets[2].study.clone()], 1));
    let later = DataSet { patient_id: sets[1].patient_id.clone(), ..DataSet::invented(9, 1) };
    house.send(&node, &later, 1).await.unwrap();
    for held in [&sets[0], &sets[1], &later] {
        assert!(kept(&node, &permit, held, Ground::RetentionEnd).await.is_some(), "{}", held.study);
    }
    let holds = node.engine.holds(&permit).await.unwrap();
    assert_eq!((holds.len(), holds.iter().filter(|hold| hold.is_of_patient()).count()), (2, 1));
    node.engine.lift_hold(&permit, first.id.parse().unwrap()).await.unwrap();
    assert_eq!(kept(&node, &permit, &sets[0], Ground::RetentionEnd).await, None);
    let nobody = WhatToHold::Study(StudyUid::parse("1.2.3").unwrap());
    assert!(matches!(node.engine.hold(&permit, nobody, String::new()).await, Err(RetentionError::Missing)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_are_put_in_once_and_keep_what_they_are_about_until_they_are_confirmed() {
    let house = House::new();
    let node = house.start().await;
    let set = DataSet::invented(1, 1);
    house.send(&node, &set, 1).await.unwrap();
    let permit = officer(&house);
    let seeded = node.engine.seed_retention(&permit, "DE").await.unwrap();
    assert!(seeded.len() >= 3 && seeded.iter().all(|rule| rule.confirmed.is_none()));
    assert_eq!(node.engine.seed_retention(&permit, "DE").await.unwrap(), []);
    assert!(matches!(node.engine.seed_retention(&permit, "AT").await, Err(RetentionError::NoSeeds)));
    assert_eq!(kept(&node, &permit, &set, Ground::Objection).await.unwrap().until, None);
    for rule in &seeded {
        node.engine.confirm_retention_rule(&permit, &rule.id).await.unwrap();
    }
    // X-rays of somebody whose age nobody knows: as for one who was born that day.
    let why = kept(&node, &permit, &set, Ground::Objection).await.unwrap();
    assert_eq!(why.until, Some(day("2052-01-31").end()));
    node.stop().await;
}
