//! What the catalog promises, over the engine in memory.

use super::*;
use crate::{
    DateRange, DeepQuery, FrameLayout, InstanceKeys, InstanceState, MemoryIndex, NamePattern, Pattern,
    QuarantineReason, Query, SeriesKeys, Stopped, TextPattern, TimeRange,
};
use leadglass_model::{
    Fault, MockClock, ObjectId, Phi, ReceiverId, SopClassUid, SystemEntropy, TransferSyntaxUid, UnixMillis,
};

const A: TenantId = TenantId::from_bytes([0xa0; 16]);
const B: TenantId = TenantId::from_bytes([0xb0; 16]);

fn study_ref(n: u8) -> StudyRef {
    StudyRef::from_bytes([n; 16])
}

fn key_of(n: u8) -> IndexKey {
    IndexKey::from_bytes([n; 32])
}

fn key_id(n: u8) -> KeyId {
    KeyId::from_bytes([n; 16])
}

fn tenant_keys(tenant: TenantId, studies: &[u8]) -> TenantKeys {
    let index_keys = studies
        .iter()
        .map(|n| StudyIndexKey {
            key_id: key_id(*n),
            key_gen: KeyGen::FIRST,
            study_ref: study_ref(*n),
            key: key_of(*n),
        })
        .collect();
    TenantKeys { tenant, token: Secret::from_bytes([tenant.as_bytes()[0]; 32]), index_keys }
}

async fn load(index: &MemoryIndex, studies: &[u8]) -> (Catalog, LoadReport) {
    let clock = Arc::new(MockClock::at(UnixMillis(1_790_000_000_000)));
    let tenants = vec![tenant_keys(A, studies), tenant_keys(B, studies)];
    Catalog::load(Arc::new(index.clone()), clock, Arc::new(SystemEntropy), tenants).await.unwrap()
}

fn study_row(uid: &str, name: &str, id: &str, date: &str) -> StudyRow {
    let phi = |text: &str| Some(Phi::new(text.to_owned()));
    StudyRow {
        uid: StudyUid::parse(uid).unwrap(),
        patient_name: phi(name),
        patient_id: phi(id),
        issuer: None,
        birth_date: phi("19700101"),
        sex: phi("F"),
        date: phi(date),
        time: phi("101500"),
        id: None,
        description: phi("Knee left"),
        accession_number: phi("ACC1"),
        referring_physician: None,
        timezone_offset: None,
        created_at: UnixMillis(1),
        quarantine: None,
    }
}

fn series_row(uid: &str, modality: &str) -> SeriesRow {
    SeriesRow {
        uid: SeriesUid::parse(uid).unwrap(),
        modality: Some(modality.to_owned()),
        number: Some(1),
        description: None,
        date: None,
        time: None,
        body_part: None,
        laterality: None,
        instances: 0,
        performed_date: None,
        performed_time: None,
        requests: Vec::new(),
    }
}

fn instance_row(sop: &str, series: &str, version: u32) -> InstanceRow {
    InstanceRow {
        sop_uid: SopInstanceUid::parse(sop).unwrap(),
        series_uid: SeriesUid::parse(series).unwrap(),
        sop_class: SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap(),
        transfer_syntax: TransferSyntaxUid::parse("1.2.840.10008.1.2.1").unwrap(),
        object_id: ObjectId::from_bytes([1; 16]),
        key_id: key_id(1),
        key_gen: KeyGen::FIRST,
        header: [3; 120],
        sealed_len: 4,
        body_len: 5,
        dataset_start: 6,
        content_digest: [7; 32],
        frames: FrameLayout::None,
        version,
        earlier: vec![],
        state: InstanceState::Current,
        received_at: UnixMillis(11),
        receiver: ReceiverId::from_bytes([12; 16]),
        instance_number: Some(1),
        rows: None,
        columns: None,
        number_of_frames: None,
        bits_allocated: None,
        has_metadata: Some(true),
    }
}

type Rows = Vec<(TenantId, RowKey, Bytes)>;

fn under(n: u8) -> (IndexKey, KeyId) {
    (key_of(n), key_id(n))
}

fn seal_study(catalog: &Catalog, n: u8, row: &StudyRow) -> (TenantId, RowKey, Bytes) {
    let (index_key, id) = under(n);
    let seal = SealUnder { key_id: id, key_gen: KeyGen::FIRST, key: &index_key };
    let key = catalog.study_key(A, study_ref(n), &row.uid).unwrap();
    (A, key, catalog.seal(A, &key, &seal, row))
}

fn seal_series(catalog: &Catalog, n: u8, row: &SeriesRow) -> (TenantId, RowKey, Bytes) {
    let (index_key, id) = under(n);
    let seal = SealUnder { key_id: id, key_gen: KeyGen::FIRST, key: &index_key };
    let key = catalog.series_key(A, study_ref(n), &row.uid).unwrap();
    (A, key, catalog.seal(A, &key, &seal, row))
}

fn seal_instance(catalog: &Catalog, n: u8, row: &InstanceRow) -> (TenantId, RowKey, Bytes) {
    let (index_key, id) = under(n);
    let seal = SealUnder { key_id: id, key_gen: KeyGen::FIRST, key: &index_key };
    let key = catalog.instance_key(A, study_ref(n), &row.sop_uid).unwrap();
    (A, key, catalog.seal(A, &key, &seal, row))
}

/// A first instance as ingest writes it: study, series and instance row.
fn first_instance(catalog: &Catalog, n: u8, name: &str) -> Rows {
    let uid = format!("1.2.{n}");
    vec![
        seal_study(catalog, n, &study_row(&uid, name, &format!("ID{n}"), &format!("202401{:02}", n % 28 + 1))),
        seal_series(catalog, n, &series_row(&format!("{uid}.1"), "CT")),
        seal_instance(catalog, n, &instance_row(&format!("{uid}.1.1"), &format!("{uid}.1"), 1)),
    ]
}

fn more(catalog: &Catalog, n: u8, instance: u8, version: u32) -> Rows {
    let row = instance_row(&format!("1.2.{n}.1.{instance}"), &format!("1.2.{n}.1"), version);
    vec![seal_instance(catalog, n, &row)]
}

const fn mark(position: u64) -> Mark {
    Mark { tree_size: position, position }
}

fn instances(catalog: &Catalog, n: u8) -> u32 {
    catalog.series(A, study_ref(n)).iter().map(|s| s.instances).sum()
}

#[tokio::test]
async fn staged_rows_are_visible_at_once_and_after_commit_and_restart() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    let uid = StudyUid::parse("1.2.1").unwrap();
    assert_eq!(catalog.study(A, &uid), None);
    catalog.stage(1, first_instance(&catalog, 1, "DOE^JANE")).unwrap();
    let sop = SopInstanceUid::parse("1.2.1.1.1").unwrap();
    for step in ["staged", "committed", "loaded again"] {
        let again;
        let catalog = match step {
            "committed" => {
                catalog.commit(mark(1)).await.unwrap();
                &catalog
            }
            "loaded again" => {
                again = load(&index, &[1]).await.0;
                &again
            }
            _ => &catalog,
        };
        let study = catalog.study(A, &uid).unwrap();
        assert_eq!(study.study_ref, study_ref(1), "{step}");
        assert_eq!(study.row.patient_name.unwrap().expose(), "DOE^JANE");
        let row = catalog.instance(A, study_ref(1), &sop).await.unwrap().unwrap();
        assert_eq!(row, instance_row("1.2.1.1.1", "1.2.1.1", 1));
        assert_eq!(catalog.instances(A, study_ref(1)).await.unwrap(), [row]);
        assert_eq!(instances(catalog, 1), 1, "{step}");
        assert_eq!(catalog.study(B, &uid), None);
        assert_eq!(catalog.studies(A), 1);
        let series = |text| SeriesUid::parse(text).unwrap();
        assert!(catalog.has_study(A, study_ref(1)) && catalog.has_series(A, study_ref(1), &series("1.2.1.1")));
        assert!(!catalog.has_study(A, study_ref(2)) && !catalog.has_study(B, study_ref(1)));
        assert!(!catalog.has_series(A, study_ref(1), &series("1.2.1.9")));
        assert!(!catalog.has_series(B, study_ref(1), &series("1.2.1.1")));
    }
}

#[tokio::test]
async fn counts_are_right_through_versions_commits_and_replays() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.stage(2, more(&catalog, 1, 2, 1)).unwrap();
    let third = more(&catalog, 1, 3, 1);
    catalog.stage(3, third.clone()).unwrap();
    assert_eq!(instances(&catalog, 1), 3);
    // Committed in part, with more staged meanwhile; then a new version, which is no new instance.
    catalog.commit(mark(2)).await.unwrap();
    assert_eq!(instances(&catalog, 1), 3);
    catalog.stage(4, more(&catalog, 1, 2, 2)).unwrap();
    assert_eq!(instances(&catalog, 1), 3);

    // The process dies here: the journal stages everything that was not trimmed, also what the engine has.
    let (catalog, report) = load(&index, &[1]).await;
    assert_eq!((report.studies, report.series), (1, 1));
    assert_eq!(catalog.position(), 2);
    assert_eq!(instances(&catalog, 1), 2);
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.stage(2, more(&catalog, 1, 2, 1)).unwrap();
    catalog.stage(3, third.clone()).unwrap();
    catalog.stage(3, third).unwrap();
    assert_eq!(instances(&catalog, 1), 3);
    // A replayed commit changes nothing; the next one counts on.
    catalog.commit(mark(1)).await.unwrap();
    catalog.commit(mark(3)).await.unwrap();
    assert_eq!(catalog.mark().await.unwrap(), mark(3));
    let (catalog, _) = load(&index, &[1]).await;
    assert_eq!(instances(&catalog, 1), 3);
}

#[tokio::test]
async fn a_series_row_that_comes_again_keeps_the_count() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.commit(mark(1)).await.unwrap();
    catalog.stage(2, [seal_series(&catalog, 1, &series_row("1.2.1.1", "MR"))]).unwrap();
    catalog.commit(mark(2)).await.unwrap();
    let (catalog, _) = load(&index, &[1]).await;
    assert_eq!(instances(&catalog, 1), 1);
    assert_eq!(catalog.series(A, study_ref(1))[0].modality.as_deref(), Some("MR"));
}

#[tokio::test]
async fn moved_changed_replayed_and_foreign_rows_are_corrupt() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1, 2]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.stage(2, first_instance(&catalog, 2, "ROE")).unwrap();
    catalog.commit(mark(2)).await.unwrap();
    let sop = |n: u8| SopInstanceUid::parse(&format!("1.2.{n}.1.1")).unwrap();
    let key = |n: u8| catalog.instance_key(A, study_ref(n), &sop(n)).unwrap();
    let first = index.fetch(A, key(1)).await.unwrap().unwrap();
    let other = index.fetch(A, key(2)).await.unwrap().unwrap();
    let write = |tenant, key, bytes: Bytes| {
        let index = index.clone();
        async move { index.commit(Batch { puts: vec![(tenant, key, bytes)], ..Batch::default() }).await.unwrap() }
    };
    let check = |result: Result<Option<InstanceRow>, IndexError>, what: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, IndexError::Corrupt { table: Table::Instance }), "{what}: {error:?}");
        assert_eq!(error.fault(), Fault::Corrupt);
        let text = format!("{error} {error:?}");
        assert!(!text.contains("DOE") && !text.contains("1.2."), "{text}");
    };
    // Another study's row, every flipped byte, a cut row.
    write(A, key(1), other).await;
    check(catalog.instance(A, study_ref(1), &sop(1)).await, "moved");
    for at in (0..first.len()).step_by(7) {
        let mut bytes = first.to_vec();
        bytes[at] ^= 1;
        write(A, key(1), bytes.into()).await;
        let result = catalog.instance(A, study_ref(1), &sop(1)).await;
        assert!(matches!(result, Err(IndexError::Corrupt { .. } | IndexError::NoKey { .. })), "byte {at}");
    }
    write(A, key(1), first.slice(..first.len() - 1)).await;
    check(catalog.instance(A, study_ref(1), &sop(1)).await, "cut");
    // Another tenant's, under the same key and name.
    let foreign = catalog.instance_key(B, study_ref(1), &sop(1)).unwrap();
    write(B, foreign, first.clone()).await;
    check(catalog.instance(B, study_ref(1), &sop(1)).await, "foreign");
    // An older version than this process has seen.
    write(A, key(1), first.clone()).await;
    assert!(catalog.instance(A, study_ref(1), &sop(1)).await.unwrap().is_some());
    catalog.stage(3, more(&catalog, 1, 1, 2)).unwrap();
    catalog.commit(mark(3)).await.unwrap();
    assert_eq!(catalog.instance(A, study_ref(1), &sop(1)).await.unwrap().unwrap().version, 2);
    write(A, key(1), first).await;
    // As when it was not asked for during a while.
    catalog.recent.clear();
    check(catalog.instance(A, study_ref(1), &sop(1)).await, "replayed");
}

#[tokio::test]
async fn a_remembered_row_gives_way_to_a_newer_one_and_to_its_removal() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.commit(mark(1)).await.unwrap();
    let sop = SopInstanceUid::parse("1.2.1.1.1").unwrap();
    let key = catalog.instance_key(A, study_ref(1), &sop).unwrap();
    let version = async || catalog.instance(A, study_ref(1), &sop).await.unwrap().map(|row| row.version);
    assert_eq!(version().await, Some(1));
    // Behind the catalog's back: the row is answered from memory.
    index.commit(Batch { deletes: vec![(A, key)], ..Batch::default() }).await.unwrap();
    assert_eq!(version().await, Some(1));
    catalog.stage(2, more(&catalog, 1, 1, 2)).unwrap();
    assert_eq!(version().await, Some(2), "staged");
    catalog.commit(mark(2)).await.unwrap();
    assert_eq!(version().await, Some(2), "committed");
    catalog.write(Batch { deletes: vec![(A, key)], ..Batch::default() }).await.unwrap();
    assert_eq!(version().await, None, "removed");
}

#[tokio::test]
async fn a_study_row_that_does_not_open_is_reported_and_the_others_load() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1, 2, 3]).await;
    for n in [1, 2, 3] {
        catalog.stage(n.into(), first_instance(&catalog, n, "DOE")).unwrap();
    }
    catalog.commit(mark(3)).await.unwrap();
    let key = catalog.study_key(A, study_ref(1), &StudyUid::parse("1.2.1").unwrap()).unwrap();
    let mut bytes = index.fetch(A, key).await.unwrap().unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    index.commit(Batch { puts: vec![(A, key, bytes.into())], ..Batch::default() }).await.unwrap();
    // The key of study 3 is gone: erased.
    let (catalog, report) = load(&index, &[1, 2]).await;
    assert_eq!(report, LoadReport { studies: 1, series: 2, without_key: 2, corrupt_studies: 1, corrupt_series: 0 });
    assert_eq!(catalog.search(A, &Query::default()).len(), 1);
}

#[tokio::test]
async fn a_forgotten_study_is_gone_with_what_was_staged() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.commit(mark(1)).await.unwrap();
    let late = more(&catalog, 1, 2, 1);
    catalog.stage(2, late).unwrap();
    catalog.forget(A, study_ref(1));
    assert_eq!(catalog.study(A, &StudyUid::parse("1.2.1").unwrap()), None);
    assert_eq!(catalog.search(A, &Query::default()), []);
    let sop = SopInstanceUid::parse("1.2.1.1.1").unwrap();
    assert!(matches!(catalog.instance(A, study_ref(1), &sop).await, Err(IndexError::NoKey { .. })));
    catalog.commit(mark(2)).await.unwrap();
    assert_eq!(index.scan(A, Table::Instance, None, None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn cases_of_quarantine_are_found_only_there() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1, 2]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    let case =
        StudyRow { quarantine: Some(QuarantineReason::OtherPatient), ..study_row("1.2.1", "ROE", "OTHER", "20240101") };
    catalog.stage(2, [seal_study(&catalog, 2, &case)]).unwrap();
    let uid = StudyUid::parse("1.2.1").unwrap();
    assert_eq!(catalog.study(A, &uid).unwrap().study_ref, study_ref(1));
    assert_eq!(catalog.search(A, &Query::default()).len(), 1);
    assert_eq!(catalog.quarantined(A, Some(&uid)), [StudyEntry { study_ref: study_ref(2), row: case }]);
    assert_eq!(catalog.quarantined(A, Some(&StudyUid::parse("9").unwrap())), []);
    // Released: the row without its reason moves it among the studies.
    let released = study_row("1.2.9", "ROE", "OTHER", "20240101");
    catalog.commit(mark(2)).await.unwrap();
    catalog.write(Batch { puts: vec![seal_study(&catalog, 2, &released)], ..Batch::default() }).await.unwrap();
    assert_eq!(catalog.quarantined(A, None), []);
    assert_eq!(catalog.search(A, &Query::default()).len(), 2);
}

#[tokio::test]
async fn a_direct_write_waits_for_rows_that_are_on_their_way() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    let rows = first_instance(&catalog, 1, "DOE");
    let batch = Batch { deletes: vec![(A, rows[0].1)], ..Batch::default() };
    catalog.stage(1, rows).unwrap();
    let refused = catalog.write(batch.clone()).await.unwrap_err();
    assert!(matches!(refused, IndexError::Pending { table: Table::Study }));
    assert_eq!(refused.fault(), Fault::Busy);
    catalog.commit(mark(1)).await.unwrap();
    catalog.write(batch).await.unwrap();
    assert_eq!(catalog.search(A, &Query::default()), []);
}

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
async fn metadata_opens_with_its_meta_key_alone() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    let sop = SopInstanceUid::parse("1.2.1.1.1").unwrap();
    let key = catalog.meta_key(A, study_ref(1), &sop).unwrap();
    let good = leadglass_seal::MetaKey::from_bytes([5; 32]);
    let sealed = catalog.seal_meta(A, &key, key_id(1), KeyGen::FIRST, &good, b"{}");
    catalog.stage(1, [(A, key, sealed)]).unwrap();
    for _ in 0..2 {
        let meta = catalog.meta(A, study_ref(1), &sop).await.unwrap().unwrap();
        assert_eq!((meta.key_id(), meta.key_gen()), (key_id(1), KeyGen::FIRST));
        assert_eq!(meta.open(&good).unwrap(), b"{}");
        assert!(meta.open(&leadglass_seal::MetaKey::from_bytes([6; 32])).is_err());
        catalog.commit(mark(1)).await.unwrap();
    }
}

#[tokio::test]
async fn long_metadata_are_fetched_a_few_at_a_time() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    let sops: Vec<_> = (0..40).map(|n| SopInstanceUid::parse(&format!("1.2.1.1.{n}")).unwrap()).collect();
    let meta_key = leadglass_seal::MetaKey::from_bytes([5; 32]);
    for (n, sop) in (1..).zip(&sops[1..]) {
        let key = catalog.meta_key(A, study_ref(1), sop).unwrap();
        let sealed = catalog.seal_meta(A, &key, key_id(1), KeyGen::FIRST, &meta_key, &[b'x'; 10_000]);
        catalog.stage(n, [(A, key, sealed)]).unwrap();
    }
    let asked: Vec<&SopInstanceUid> = sops.iter().collect();
    let all = catalog.metas(A, study_ref(1), &asked, usize::MAX).await.unwrap();
    assert_eq!((all.len(), all.iter().flatten().count()), (40, 39));
    let some = catalog.metas(A, study_ref(1), &asked, 100_000).await.unwrap();
    assert_eq!((some.len(), some[0].is_none()), (16, true));
    assert_eq!(catalog.metas(A, study_ref(1), &asked[1..], 300_000).await.unwrap().len(), 32);
    assert_eq!(catalog.metas(A, study_ref(2), &asked[..3], 1).await.unwrap().iter().flatten().count(), 0);
}

#[tokio::test]
async fn nothing_readable_reaches_the_engine() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "CANARY^NEVER")).unwrap();
    catalog.commit(mark(1)).await.unwrap();
    for table in Table::ALL {
        for (key, bytes) in index.scan(A, table, None, None, 10).await.unwrap() {
            let all = [&key.to_bytes()[..], &bytes].concat();
            for canary in [&b"CANARY"[..], b"NEVER", b"1.2.1", b"ID1", b"Knee"] {
                assert!(!all.windows(canary.len()).any(|w| w == canary));
            }
            assert_eq!((bytes.len() - leadglass_seal::ROW_OVERHEAD) % 256, 0);
        }
    }
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

#[tokio::test]
async fn an_absent_instance_of_a_study_that_began_here_is_known_without_the_engine() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.commit(mark(1)).await.unwrap();
    let sop = |text: &str| SopInstanceUid::parse(text).unwrap();
    assert!(catalog.instance(A, study_ref(1), &sop("1.2.1.1.1")).await.unwrap().is_some());
    assert!(catalog.instance(A, study_ref(1), &sop("1.2.1.1.9")).await.unwrap().is_none());
    // Whoever writes behind the catalog's back is not seen: memory answered.
    let (_, key, bytes) = seal_instance(&catalog, 1, &instance_row("1.2.1.1.9", "1.2.1.1", 1));
    index.commit(Batch { puts: vec![(A, key, bytes)], ..Batch::default() }).await.unwrap();
    assert!(catalog.instance(A, study_ref(1), &sop("1.2.1.1.9")).await.unwrap().is_none());
    // Another process asks the engine.
    let (catalog, _) = load(&index, &[1]).await;
    assert!(catalog.instance(A, study_ref(1), &sop("1.2.1.1.9")).await.unwrap().is_some());
    // Also for a study whose rows did not open and which seems to begin.
    let (catalog, _) = load(&index, &[]).await;
    let rows = vec![seal_study(&catalog, 1, &study_row("1.2.1", "DOE", "ID1", "20240102"))];
    catalog.stage(2, rows).unwrap();
    assert!(catalog.instance(A, study_ref(1), &sop("1.2.1.1.9")).await.unwrap().is_some());
}
