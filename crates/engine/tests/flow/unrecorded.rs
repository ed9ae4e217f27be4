//! No audit, no access: where the journal takes no entry, nothing is opened, and not a byte is given out.

use super::*;
use futures::future::join_all;
use leadglass_engine::PatientAsked;
use leadglass_store::faulty::{Fail, When};
use std::io::ErrorKind;

/// More openings than a journal has room for.
const TOO_MANY: u64 = 50_000;
/// They share the journal's syncs.
const AT_ONCE: usize = 64;

fn session(number: u64) -> [u8; 16] {
    let mut session = [0; 16];
    session[8..].copy_from_slice(&number.to_be_bytes());
    session
}

/// All bytes of it, as this session gets them.
async fn whole(house: &House, node: &Node, set: &DataSet, by: [u8; 16]) -> Result<Vec<u8>, RetrieveError> {
    let permit = house.principal(Role::Clinician).read(Purpose::Care).unwrap();
    let (study, series, instance) = uids(set);
    let found = node.engine.locate(&permit, by, &Target::Instance(study, series, instance)).await?.remove(0);
    let len = found.len();
    let pieces: Vec<Bytes> = found.read(0..len).try_collect().await?;
    Ok(pieces.concat())
}

fn uids(set: &DataSet) -> (StudyUid, SeriesUid, SopInstanceUid) {
    (
        StudyUid::parse(&set.study).unwrap(),
        SeriesUid::parse(&set.series).unwrap(),
        SopInstanceUid::parse(&set.instance).unwrap(),
    )
}

/// What each way to an instance answers to sessions that have opened nothing. All at once: each is made to wait for room.
async fn refusals(house: &House, node: &Node, set: &DataSet, from: u64) -> [(&'static str, RetrieveError); 6] {
    let permit = house.principal(Role::Clinician).read(Purpose::Care).unwrap();
    let (study, series, instance) = uids(set);
    let target = Target::Study(study.clone());
    let path = BulkPath::parse("7FE00010").unwrap();
    let (engine, by) = (&node.engine, |number| session(from + number));
    let asked = tokio::join!(
        whole(house, node, set, by(0)),
        engine.locate(&permit, by(1), &target),
        engine.metadata(&permit, by(2), &target),
        engine.pixels(&permit, by(3), &study, &series, &instance),
        engine.bulk(&permit, by(4), (&study, &series, &instance), &path),
        engine.thumbnail(&permit, by(5), &study, &series, &instance),
    );
    [
        ("an instance", asked.0.unwrap_err()),
        ("a study", asked.1.unwrap_err()),
        ("metadata", asked.2.unwrap_err()),
        ("frames", asked.3.unwrap_err()),
        ("bulk data", asked.4.unwrap_err()),
        ("a thumbnail", asked.5.unwrap_err()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_entry_can_be_written_nothing_is_opened_and_each_opening_has_one() {
    let plan = FaultPlan::new(Fail::Never);
    let house = House { faults: Some(plan.clone()), ..House::new() };
    let node = house.start().await;
    let stored = DataSet { pixel_bytes: 100_000, ..DataSet::invented(1, 1) };
    house.send(&node, &stored, 1).await.unwrap();
    let mine = session(0);
    assert!(is_file_of(&whole(&house, &node, &stored, mine).await.unwrap(), &stored));

    // Nothing leaves the journal any more, and it fills: with instances first, and then with entries.
    plan.set(Fail::From(0, When::Before, ErrorKind::Other));
    let set = |number| DataSet { pixel_bytes: 900_000, ..DataSet::invented(2, number) };
    let first = DataSet { pixel_bytes: 0, ..set(0) };
    house.send(&node, &first, 1).await.unwrap();
    let mut number = 1;
    while let Ok(_acknowledged) = house.send(&node, &set(number), 1).await {
        number += 1;
        assert!(number < 1_000, "the journal never fills");
    }
    let mut opened = 0;
    let mut refused = Vec::new();
    for from in (1..TOO_MANY).step_by(AT_ONCE) {
        let openings = (from..from + AT_ONCE as u64).map(|number| whole(&house, &node, &first, session(number)));
        for answer in join_all(openings).await {
            match answer {
                Ok(file) => {
                    assert!(is_file_of(&file, &first));
                    opened += 1;
                }
                Err(error) => refused.push(error),
            }
        }
        if !refused.is_empty() {
            break;
        }
    }
    assert!(opened > 0 && !refused.is_empty(), "the journal never fills");
    let is_busy = |error: &RetrieveError| matches!(error, RetrieveError::Audit(_)) && error.fault() == Fault::Busy;
    assert!(refused.iter().all(is_busy), "{refused:?}");

    // Neither a key is asked for nor an object read, on no way, whether it lies in the store or waits.
    plan.set(Fail::From(0, When::Before, ErrorKind::Other));
    let unwraps = house.service.calls().unwrap;
    let told =
        tokio::join!(refusals(&house, &node, &stored, 2 * TOO_MANY), refusals(&house, &node, &first, 3 * TOO_MANY),);
    for (way, error) in told.0.iter().chain(&told.1) {
        assert!(is_busy(error) && error.code() == "not-audited", "{way}: {error}");
    }
    assert_eq!(house.service.calls().unwrap, unwraps, "a key was asked for");
    assert!(!plan.operations().contains(&"get"), "an object was read: {:?}", plan.operations());

    // With room for entries everything opens again: one entry for each session that was given something, and none more.
    plan.set(Fail::Never);
    let soon = async {
        while whole(&house, &node, &stored, session(2 * TOO_MANY)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), soon).await.expect("it opens again");
    let audit = house.principal(Role::Dpo).audit().unwrap();
    for (set, openings) in [(&stored, 2), (&first, opened)] {
        let id = Phi::new(set.patient_id.clone());
        let asked = PatientAsked { id, issuer: None, from_ms: None, to_ms: None };
        let report = node.engine.access_report(&audit, asked).await.unwrap();
        assert_eq!(report.accesses.len() as u64, openings, "{}", set.study);
    }
    node.stop().await;
}
