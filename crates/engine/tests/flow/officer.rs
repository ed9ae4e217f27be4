//! A data protection officer sees what a case or a claim is about, and nothing else.

use super::{cases::asks_for_erasure, *};
use leadglass_engine::{PatientAsked, WhatToHold};

/// The purpose that a study opens to an officer for; `None`: it wants a case.
async fn opens(house: &House, node: &Node, set: &DataSet, session: u8) -> Option<String> {
    let permit = house.principal(Role::Dpo).read(Purpose::SubjectRequest).unwrap();
    let target = Target::Study(StudyUid::parse(&set.study).unwrap());
    match node.engine.locate(&permit, [session; 16], &target).await {
        Ok(found) => {
            assert_eq!(found.len(), 1);
            let whom = PatientAsked { id: Phi::new(set.patient_id.clone()), issuer: None, from_ms: None, to_ms: None };
            let report = node.engine.access_report(&house.principal(Role::Dpo).audit().unwrap(), whom).await.unwrap();
            Some(report.accesses.last().unwrap().purpose.clone())
        }
        Err(RetrieveError::CaseNeeded) => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_officer_opens_what_is_asked_for_or_held_for_a_claim() {
    let house = House::new();
    let node = house.start().await;
    let (hers, his) = (DataSet::invented(1, 1), DataSet::invented(2, 1));
    for set in [&hers, &his] {
        house.send(&node, set, 1).await.unwrap();
        assert_eq!(opens(&house, &node, set, 1).await, None, "nobody asked");
    }
    let case = asks_for_erasure(&house, &node, &hers).await;
    assert_eq!(opens(&house, &node, &hers, 1).await, Some("subject-request".to_owned()));
    assert_eq!(opens(&house, &node, &his, 1).await, None, "it is her case");
    node.stop().await;

    // It outlives the process, and ends with the case: also for what was opened in it.
    let node = house.start().await;
    assert_eq!(opens(&house, &node, &hers, 2).await, Some("subject-request".to_owned()));
    let permit = house.principal(Role::Dpo).administer().unwrap();
    node.engine.close_case(&permit, case, None).await.unwrap();
    assert_eq!(opens(&house, &node, &hers, 2).await, None);

    // A claim is a ground of its own, and stands in the log as one.
    let held = WhatToHold::Study(StudyUid::parse(&his.study).unwrap());
    let hold = node.engine.hold(&permit, held, "a claim".to_owned()).await.unwrap();
    assert_eq!(opens(&house, &node, &his, 2).await, Some("legal-claim".to_owned()));
    node.engine.lift_hold(&permit, hold.id.parse().unwrap()).await.unwrap();
    assert_eq!(opens(&house, &node, &his, 2).await, None);
    node.stop().await;

    let node = house.start().await;
    assert_eq!(opens(&house, &node, &hers, 3).await, None, "closed cases open nothing after a start either");
    node.stop().await;
}
