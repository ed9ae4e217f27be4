//! What the catalog promises, over the engine in memory.

mod life;
mod search;

use super::*;
use crate::{
    Batch, DateRange, DeepQuery, FrameLayout, InstanceKeys, InstanceRow, InstanceState, MemoryIndex, NamePattern,
    Pattern, QuarantineReason, Query, SeriesKeys, SeriesRow, Stopped, StudyEntry, StudyRow, TextPattern, TimeRange,
};
use leadglass_model::{
    Fault, MockClock, ObjectId, Phi, ReceiverId, SopClassUid, SystemEntropy, TransferSyntaxUid, UnixMillis,
};
use leadglass_seal::Secret;

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
