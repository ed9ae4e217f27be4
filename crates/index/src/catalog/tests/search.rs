//! What a search finds.

use super::*;

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().filter_map(|text| Pattern::parse(text).unwrap()).collect()
}

#[tokio::test]
async fn searches_find_what_fits_newest_first() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[]).await;
    let people = [
        ("Müller^Änne", "P1", "20240103", "CT"),
        ("MUELLER^BERND", "P2", "20240101", "MR"),
        ("Doe^Jane", "P10", "20240102", "CT"),
        ("O'Neill^Sean", "p1", "20230101", "DX"),
        ("Yamada^Tarou=山田^太郎", "P1", "", "US"),
    ];
    for (n, (name, id, date, modality)) in (1u8..).zip(people) {
        let rows = [
            seal_study(&catalog, n, &study_row(&format!("1.2.{n}"), name, id, date)),
            seal_series(&catalog, n, &series_row(&format!("1.2.{n}.1"), modality)),
            seal_series(&catalog, n, &series_row(&format!("1.2.{n}.2"), "SR")),
        ];
        catalog.stage(n.into(), rows).unwrap();
    }
    let ids =
        |query: &Query| -> Vec<u8> { catalog.search(A, query).iter().map(|hit| hit.study_ref.as_bytes()[0]).collect() };
    let name = |text: &str| Query { patient_name: NamePattern::parse(text).unwrap(), ..Query::default() };
    let id = |text: &str| Query { patient_id: Pattern::parse(text).unwrap(), ..Query::default() };
    let date = |text: &str| Query { study_date: DateRange::parse(text).unwrap(), ..Query::default() };
    let uids = |ns: &[u8]| Query {
        study_uids: ns.iter().map(|n| StudyUid::parse(&format!("1.2.{n}")).unwrap()).collect(),
        ..Query::default()
    };
    let hidden = |ns: &[u8]| Arc::new(ns.iter().map(|n| StudyRef::from_bytes([*n; 16])).collect());
    let table: &[(Query, &[u8])] = &[
        (Query::default(), &[1, 3, 2, 4, 5]),
        (name("mueller*"), &[1, 2]),
        (name("MULLER^anne"), &[1]),
        (name("*^jane"), &[3]),
        (name("oneill*"), &[4]),
        (name("=山田*"), &[5]),
        (name("nobody"), &[]),
        (id("P1"), &[1, 5]),
        (id("P1*"), &[1, 3, 5]),
        (date("20240101-20240102"), &[3, 2]),
        (date("-20231231"), &[4]),
        (date("20240103"), &[1]),
        (uids(&[2, 4, 99, 2]), &[2, 4]),
        (Query { modalities: patterns(&["CT", "US"]), ..Query::default() }, &[1, 3, 5]),
        (Query { modalities: patterns(&["?R"]), ..Query::default() }, &[1, 3, 2, 4, 5]),
        (Query { modalities: patterns(&["D*"]), ..Query::default() }, &[4]),
        (Query { study_time: TimeRange::parse("10").unwrap(), ..date("20240101-") }, &[1, 3, 2]),
        (Query { study_time: TimeRange::parse("1016-").unwrap(), ..date("20240101-") }, &[1, 3]),
        (Query { birth_date: DateRange::parse("19700101").unwrap(), ..name("*") }, &[1, 3, 2, 4, 5]),
        (Query { birth_date: DateRange::parse("-19691231").unwrap(), ..name("*") }, &[]),
        (Query { accession_number: Pattern::parse("ACC?").unwrap(), ..Query::default() }, &[1, 3, 2, 4, 5]),
        (Query { limit: Some(2), ..Query::default() }, &[1, 3]),
        (Query { limit: Some(2), offset: 3, ..Query::default() }, &[4, 5]),
        // What is hidden is counted nowhere.
        (Query { hidden: hidden(&[3, 4]), limit: Some(2), offset: 1, ..Query::default() }, &[2, 5]),
        (Query { hidden: hidden(&[1]), ..name("mueller*") }, &[2]),
        (Query { hidden: hidden(&[2]), ..uids(&[2, 4]) }, &[4]),
        (Query { limit: Some(0), ..Query::default() }, &[]),
        (Query { description: TextPattern::parse("knee*").unwrap(), limit: Some(1), ..name("doe*") }, &[3]),
    ];
    for (n, (query, found)) in table.iter().enumerate() {
        assert_eq!(ids(query), *found, "row {n} of the table");
    }
    let hit = &catalog.search(A, &name("doe*"))[0];
    assert_eq!((hit.modalities.as_slice(), hit.series, hit.instances), (&["CT".to_owned(), "SR".to_owned()][..], 2, 0));
    assert_eq!(catalog.search(B, &Query::default()), []);
}

#[tokio::test]
async fn series_and_instances_are_found_with_their_studies() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[]).await;
    for (n, modality) in [(1u8, "CT"), (2, "MR"), (3, "CT")] {
        let mut rows = first_instance(&catalog, n, "DOE^JANE");
        rows[1] = seal_series(&catalog, n, &series_row(&format!("1.2.{n}.1"), modality));
        rows.push(seal_series(&catalog, n, &SeriesRow { number: Some(2), ..series_row(&format!("1.2.{n}.2"), "SR") }));
        let third = InstanceRow {
            rows: Some(512),
            instance_number: Some(0),
            ..instance_row(&format!("1.2.{n}.1.2"), &format!("1.2.{n}.1"), 1)
        };
        rows.push(seal_instance(&catalog, n, &third));
        let hidden = InstanceRow {
            state: InstanceState::Withdrawn,
            ..instance_row(&format!("1.2.{n}.1.3"), &format!("1.2.{n}.1"), 1)
        };
        rows.push(seal_instance(&catalog, n, &hidden));
        catalog.stage(n.into(), rows).unwrap();
    }
    catalog.commit(mark(2)).await.unwrap();
    let series = |query: &DeepQuery| -> Vec<String> {
        let found = catalog.find_series(A, query, || false).unwrap();
        found.hits.iter().map(|hit| hit.row.uid.expose().to_owned()).collect()
    };
    let keys = |series: SeriesKeys| DeepQuery { series, ..DeepQuery::default() };
    let all = ["1.2.3.1", "1.2.3.2", "1.2.2.1", "1.2.2.2", "1.2.1.1", "1.2.1.2"];
    assert_eq!(series(&DeepQuery::default()), all);
    assert_eq!(
        series(&keys(SeriesKeys { modality: patterns(&["CT"]), ..SeriesKeys::default() })),
        ["1.2.3.1", "1.2.1.1"]
    );
    assert_eq!(
        series(&keys(SeriesKeys { number: Some(2), ..SeriesKeys::default() })),
        ["1.2.3.2", "1.2.2.2", "1.2.1.2"]
    );
    let uids = vec![SeriesUid::parse("1.2.2.2").unwrap(), SeriesUid::parse("9").unwrap()];
    assert_eq!(series(&keys(SeriesKeys { uids, ..SeriesKeys::default() })), ["1.2.2.2"]);
    let paged = Query { offset: 1, limit: Some(2), ..Query::default() };
    let query = DeepQuery { study: paged, ..DeepQuery::default() };
    assert_eq!(series(&query), ["1.2.3.2", "1.2.2.1"]);
    assert!(catalog.find_series(A, &query, || false).unwrap().more);
    assert_eq!(catalog.find_series(B, &DeepQuery::default(), || false).unwrap().hits, []);

    let instances = async |query: &DeepQuery| -> Vec<String> {
        let found = catalog.find_instances(A, query, || false).await.unwrap();
        found.hits.iter().map(|hit| hit.row.sop_uid.expose().to_owned()).collect()
    };
    let of = |n: u8| Query { study_uids: vec![StudyUid::parse(&format!("1.2.{n}")).unwrap()], ..Query::default() };
    assert_eq!(instances(&DeepQuery { study: of(2), ..DeepQuery::default() }).await, ["1.2.2.1.2", "1.2.2.1.1"]);
    let tall = InstanceKeys { rows: Some(512), ..InstanceKeys::default() };
    let query =
        DeepQuery { instance: tall, ..keys(SeriesKeys { modality: patterns(&["CT"]), ..SeriesKeys::default() }) };
    assert_eq!(instances(&query).await, ["1.2.3.1.2", "1.2.1.1.2"]);
    let one = InstanceKeys { uids: vec![SopInstanceUid::parse("1.2.1.1.1").unwrap()], ..InstanceKeys::default() };
    assert_eq!(instances(&DeepQuery { instance: one, ..DeepQuery::default() }).await, ["1.2.1.1.1"]);
    let cut = Query { offset: 1, limit: Some(2), ..Query::default() };
    let found = catalog.find_instances(A, &DeepQuery { study: cut, ..DeepQuery::default() }, || false).await.unwrap();
    assert!(found.more && found.hits.len() == 2 && found.hits[1].series.uid.expose() == "1.2.2.1");
    let stopped = catalog.find_instances(A, &DeepQuery::default(), || true).await.unwrap_err();
    assert_eq!(stopped.fault(), Fault::BadInput);
    assert!(catalog.find_instances(B, &DeepQuery::default(), || false).await.unwrap().hits.is_empty());
}

#[tokio::test]
async fn a_search_says_when_it_was_cut_and_when_it_was_stopped() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[]).await;
    for n in 1..=3u8 {
        catalog.stage(n.into(), first_instance(&catalog, n, "DOE")).unwrap();
    }
    let limit = |limit| Query { limit: Some(limit), ..Query::default() };
    for (query, hits, more) in [(limit(2), 2, true), (limit(3), 3, false), (Query { offset: 2, ..limit(1) }, 1, false)]
    {
        let found = catalog.find_studies(A, &query, || false).unwrap();
        assert_eq!((found.hits.len(), found.more), (hits, more));
    }
    assert_eq!(
        catalog.find_studies(A, &Query::default(), || true).map(|found| found.hits.len()),
        Ok(3),
        "three are few"
    );
    let _: Stopped = Stopped;
}
