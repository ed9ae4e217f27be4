//! A million studies in memory: bytes each, seconds to load, and what a search costs.
//!
//! `cargo run --release -p leadglass-index --example million [studies]`. Rows are invented, sealed into a flat file, and
//! opened from it as a node does at its start; reading an engine's own files is not in the figures. Linux only: it asks
//! `/proc` for the resident set.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a bench: it stops where something is wrong, and its small numbers fit"
)]

use async_trait::async_trait;
use bytes::Bytes;
use leadglass_index::{
    Batch, Catalog, DateRange, DeepQuery, Index, IndexError, Mark, MemoryIndex, NamePattern, Pattern, Query, RowKey,
    SealUnder, SeriesKeys, SeriesRow, StudyIndexKey, StudyRow, Table, TenantKeys, TextPattern,
};
use leadglass_model::{
    Indexed, KeyGen, KeyId, MockClock, Phi, SeriesUid, StudyRef, StudyUid, SystemEntropy, TenantId, UnixMillis,
};
use leadglass_seal::{IndexKey, Secret};
use parking_lot::Mutex;
use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    sync::Arc,
    time::Instant,
};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);

#[tokio::main]
async fn main() {
    let studies: u64 = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    let flat = FlatFile::default();
    for table in [Table::Series, Table::Study] {
        seal_all(&flat, table, studies).await;
    }
    let before = resident_bytes();
    let keys = (0..studies).map(|n| StudyIndexKey {
        key_id: key_id(n),
        key_gen: KeyGen::FIRST,
        study_ref: study_ref(n),
        key: index_key(n),
    });
    let keys = TenantKeys { tenant: TENANT, token: Secret::from_bytes([7; 32]), index_keys: keys.collect() };
    let begun = Instant::now();
    let (catalog, report) = Catalog::load(Arc::new(flat), clock(), Arc::new(SystemEntropy), vec![keys]).await.unwrap();
    let loaded = begun.elapsed();
    assert_eq!((report.studies, report.series), (studies, studies));
    let bytes = resident_bytes() - before;
    println!(
        "{studies} studies of one series: {} bytes each, loaded in {:.1} s",
        bytes / studies,
        loaded.as_secs_f64()
    );
    println!("\n| query | found | p50 ms | p99 ms |\n|---|---|---|---|");
    queries(&catalog, studies);
}

fn queries(catalog: &Catalog, studies: u64) {
    let page = |query: Query| Query { limit: Some(25), ..query };
    let name = |text: &str| page(Query { patient_name: NamePattern::parse(text).unwrap(), ..Query::default() });
    let id = |text: &str| page(Query { patient_id: Pattern::parse(text).unwrap(), ..Query::default() });
    let date = |text: &str| page(Query { study_date: DateRange::parse(text).unwrap(), ..Query::default() });
    let modality =
        |text: &str| page(Query { modalities: vec![Pattern::parse(text).unwrap().unwrap()], ..Query::default() });
    let any = |turn: u64| mix(turn) % studies;

    measure(catalog, "newest 25", |_| page(Query::default()));
    measure(catalog, "newest 101 (a viewer's page)", |_| Query { limit: Some(101), ..Query::default() });
    measure(catalog, "25 behind an offset of nine tenths", |turn| Query {
        offset: usize::try_from(studies * 9 / 10 + turn).unwrap(),
        ..page(Query::default())
    });
    measure(catalog, "StudyInstanceUID", |turn| {
        page(Query { study_uids: vec![study_uid(any(turn))], ..Query::default() })
    });
    measure(catalog, "PatientID", |turn| id(&patient_id(any(turn))));
    measure(catalog, "PatientID=\\*12345\\*", |turn| id(&format!("*{:05}*", mix(turn) % 100_000)));
    measure(catalog, "AccessionNumber", |turn| {
        page(Query { accession_number: Pattern::parse(&accession(any(turn))).unwrap(), ..Query::default() })
    });
    measure(catalog, "PatientName=SMI\\*", |_| name("SMI*"));
    measure(catalog, "PatientName=\\*KIM\\*", |_| name("*KIM*"));
    measure(catalog, "PatientName, in full", |turn| name(&patient_name(any(turn))));
    measure(catalog, "PatientName=NOB\\*, which nobody is called", |_| name("NOB*"));
    measure(catalog, "PatientBirthDate", |turn| {
        page(Query { birth_date: DateRange::parse(&birth_date(any(turn))).unwrap(), ..Query::default() })
    });
    measure(catalog, "StudyDate, a month", |turn| {
        date(&format!("20{:02}0401-20{:02}0430", 10 + turn % 15, 10 + turn % 15))
    });
    measure(catalog, "StudyDate, a month, page 100", |turn| Query {
        offset: 2475,
        ..date(&format!("20{:02}0401-20{:02}0430", 10 + turn % 15, 10 + turn % 15))
    });
    measure(catalog, "ModalitiesInStudy=CT", |_| modality("CT"));
    measure(catalog, "ModalitiesInStudy=ES, one in a thousand", |_| modality("ES"));
    measure(catalog, "ModalitiesInStudy=CT behind an offset of 100,000", |_| Query {
        offset: 100_000,
        ..modality("CT")
    });
    measure(catalog, "StudyDescription=\\*nothing\\*, every row read", |_| {
        page(Query { description: TextPattern::parse("*nothing*").unwrap(), ..Query::default() })
    });
    time("SeriesInstanceUID among all series", |turn| {
        let series = SeriesKeys { uids: vec![series_uid(any(turn))], ..SeriesKeys::default() };
        let query = DeepQuery { study: page(Query::default()), series, ..DeepQuery::default() };
        catalog.find_series(TENANT, &query, || false).unwrap().hits.len()
    });
}

fn measure(catalog: &Catalog, what: &str, query: impl Fn(u64) -> Query) {
    time(what, |turn| catalog.find_studies(TENANT, &query(turn), || false).unwrap().hits.len());
}

fn time(what: &str, mut run: impl FnMut(u64) -> usize) {
    let mut found = 0;
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|turn| {
            let begun = Instant::now();
            found = run(turn);
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[times.len() * share / 100];
    println!("| {what} | {found} | {:.2} | {:.2} |", at(50), at(99));
}

/// Seals the rows of a table into the file, in key order.
async fn seal_all(flat: &FlatFile, table: Table, studies: u64) {
    let tenant = TenantKeys { tenant: TENANT, token: Secret::from_bytes([7; 32]), index_keys: Vec::new() };
    let index = Arc::new(MemoryIndex::default());
    let (mut catalog, _) = Catalog::load(index, clock(), Arc::new(SystemEntropy), vec![tenant]).await.unwrap();
    for n in 0..studies {
        // Sealing keeps the key; a fresh catalog now and then keeps this process small.
        if n % 50_000 == 0 {
            let tenant = TenantKeys { tenant: TENANT, token: Secret::from_bytes([7; 32]), index_keys: Vec::new() };
            let index = Arc::new(MemoryIndex::default());
            catalog = Catalog::load(index, clock(), Arc::new(SystemEntropy), vec![tenant]).await.unwrap().0;
        }
        let key = index_key(n);
        let under = SealUnder { key_id: key_id(n), key_gen: KeyGen::FIRST, key: &key };
        let (at, bytes) = if table == Table::Study {
            let at = catalog.study_key(TENANT, study_ref(n), &study_uid(n)).unwrap();
            (at, catalog.seal(TENANT, &at, &under, &study_row(n)))
        } else {
            let at = catalog.series_key(TENANT, study_ref(n), &series_uid(n)).unwrap();
            (at, catalog.seal(TENANT, &at, &under, &series_row(n)))
        };
        flat.put(&at, &bytes);
    }
    flat.writer.lock().1.flush().unwrap();
}

fn study_row(n: u64) -> StudyRow {
    let phi = |text: String| Some(Phi::new(text));
    let random = mix(n ^ 0xda7e);
    StudyRow {
        uid: study_uid(n),
        patient_name: phi(patient_name(n)),
        patient_id: phi(patient_id(n)),
        issuer: phi("Hospital".to_owned()),
        birth_date: phi(birth_date(n)),
        sex: phi(["F", "M"][(patient(n) % 2) as usize].to_owned()),
        date: phi(format!("20{:02}{:02}{:02}", 10 + random % 15, 1 + random / 15 % 12, 1 + random / 180 % 28)),
        time: phi(format!("{:02}{:02}{:02}", 7 + random / 5040 % 12, random / 60480 % 60, random / 3_628_800 % 60)),
        id: phi(format!("S{}", n % 10_000)),
        description: phi(format!("{} {}", ["CT", "MR", "XR"][(n % 3) as usize], REGIONS[(random % 8) as usize])),
        accession_number: phi(accession(n)),
        referring_physician: phi(format!("{}^Dr", FAMILIES[(random % 40) as usize])),
        timezone_offset: Some("+0100".to_owned()),
        created_at: UnixMillis(1_790_000_000_000 + n),
        quarantine: None,
    }
}

fn series_row(n: u64) -> SeriesRow {
    let random = mix(n ^ 0x5e);
    let study = study_row(n);
    let modality = match random % 1000 {
        0 => "ES",
        1..300 => "CT",
        300..550 => "MR",
        550..800 => "DX",
        _ => "US",
    };
    SeriesRow {
        uid: series_uid(n),
        modality: Some(modality.to_owned()),
        number: Some(1),
        description: Some(Phi::new(format!("{} series", REGIONS[(random % 8) as usize]))),
        date: study.date,
        time: study.time,
        body_part: Some(REGIONS[(random % 8) as usize].to_uppercase()),
        laterality: None,
        instances: 100,
        performed_date: None,
        performed_time: None,
        requests: Vec::new(),
    }
}

/// Three studies a patient.
fn patient(n: u64) -> u64 {
    mix(n / 3)
}

fn patient_name(n: u64) -> String {
    let (family, given) = (patient(n) % 40, patient(n) / 40 % 20);
    // Every patient's own: a name that many share would end every search early.
    format!("{}{}^{}", FAMILIES[family as usize], n / 3 % 1000, GIVEN[given as usize])
}

fn patient_id(n: u64) -> String {
    format!("P{:08}", patient(n) % 100_000_000)
}

fn accession(n: u64) -> String {
    format!("A{:09}", mix(n ^ 0xacc) % 1_000_000_000)
}

fn birth_date(n: u64) -> String {
    let random = patient(n) / 800;
    format!("19{:02}{:02}{:02}", 30 + random % 70, 1 + random / 70 % 12, 1 + random / 840 % 28)
}

fn study_uid(n: u64) -> StudyUid {
    StudyUid::parse(&format!("2.25.{}", u128::from(mix(n)) << 64 | u128::from(n))).unwrap()
}

fn series_uid(n: u64) -> SeriesUid {
    SeriesUid::parse(&format!("2.25.{}", u128::from(mix(n ^ 0x5e5e)) << 64 | u128::from(n))).unwrap()
}

/// Ascending, so that the file is in key order, and random behind that.
fn study_ref(n: u64) -> StudyRef {
    let bytes = [(n << 40 | mix(n) >> 24).to_be_bytes(), mix(n ^ 1).to_be_bytes()].concat();
    StudyRef::from_bytes(bytes.try_into().unwrap())
}

fn key_id(n: u64) -> KeyId {
    KeyId::from_bytes([mix(n ^ 2).to_be_bytes(), n.to_be_bytes()].concat().try_into().unwrap())
}

fn index_key(n: u64) -> IndexKey {
    IndexKey::from_bytes([mix(n), mix(n ^ 3), mix(n ^ 4), n].map(u64::to_le_bytes).concat().try_into().unwrap())
}

/// SplitMix64: the same invented world every time.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

fn clock() -> Arc<MockClock> {
    Arc::new(MockClock::at(UnixMillis(1_790_000_000_000)))
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Rows one after the other, read in the order in which they were written.
struct FlatFile {
    writer: Mutex<(u64, BufWriter<File>)>,
    reader: Mutex<BufReader<File>>,
    /// Where the tables begin.
    begins: Mutex<Vec<(Table, u64)>>,
}

impl Default for FlatFile {
    fn default() -> Self {
        let file = tempfile::tempfile().unwrap();
        Self {
            reader: Mutex::new(BufReader::with_capacity(1 << 20, file.try_clone().unwrap())),
            writer: Mutex::new((0, BufWriter::with_capacity(1 << 20, file))),
            begins: Mutex::default(),
        }
    }
}

impl FlatFile {
    fn put(&self, key: &RowKey, bytes: &[u8]) {
        let mut writer = self.writer.lock();
        let mut begins = self.begins.lock();
        if begins.last().is_none_or(|(table, _)| *table != key.table) {
            begins.push((key.table, writer.0));
        }
        writer.1.write_all(&key.to_bytes()).unwrap();
        writer.1.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes()).unwrap();
        writer.1.write_all(bytes).unwrap();
        writer.0 += (RowKey::LEN + 4 + bytes.len()) as u64;
    }
}

#[async_trait]
impl Index for FlatFile {
    async fn commit(&self, _: Batch) -> Result<Indexed, IndexError> {
        Ok(Indexed::attest())
    }

    async fn fetch(&self, _: TenantId, _: RowKey) -> Result<Option<Bytes>, IndexError> {
        Ok(None)
    }

    async fn scan(
        &self,
        _: TenantId,
        table: Table,
        _: Option<StudyRef>,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Bytes)>, IndexError> {
        let mut reader = self.reader.lock();
        if after.is_none() {
            let begin = self.begins.lock().iter().find(|(t, _)| *t == table).unwrap().1;
            reader.seek(SeekFrom::Start(begin)).unwrap();
        }
        let mut rows = Vec::with_capacity(limit);
        while rows.len() < limit {
            let (mut key, mut len) = ([0; RowKey::LEN], [0; 4]);
            if reader.read_exact(&mut key).is_err() || key[0] != table.number() {
                break;
            }
            reader.read_exact(&mut len).unwrap();
            let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
            reader.read_exact(&mut bytes).unwrap();
            rows.push((RowKey::from_bytes(&key).unwrap(), Bytes::from(bytes)));
        }
        Ok(rows)
    }

    async fn mark(&self) -> Result<Mark, IndexError> {
        Ok(Mark::default())
    }
}

const ROUNDS: u64 = 200;
const REGIONS: [&str; 8] = ["Abdomen", "Chest", "Head", "Knee", "Pelvis", "Shoulder", "Spine", "Wrist"];
const GIVEN: [&str; 20] = [
    "Anna", "Bernd", "Carla", "David", "Emma", "Frank", "Greta", "Hans", "Ida", "Jan", "Klara", "Lars", "Mia", "Nils",
    "Olga", "Paul", "Rosa", "Sven", "Tina", "Uwe",
];
const FAMILIES: [&str; 40] = [
    "SMITH",
    "MÜLLER",
    "KIM",
    "GARCIA",
    "NGUYEN",
    "JOHNSON",
    "BROWN",
    "SCHMIDT",
    "FISCHER",
    "WEBER",
    "MEYER",
    "WAGNER",
    "BECKER",
    "SCHULZ",
    "HOFFMANN",
    "KOCH",
    "RICHTER",
    "KLEIN",
    "WOLF",
    "SCHRÖDER",
    "NEUMANN",
    "SCHWARZ",
    "BRAUN",
    "HOFMANN",
    "LANGE",
    "WERNER",
    "KRAUSE",
    "LEHMANN",
    "KÖHLER",
    "HERRMANN",
    "KÖNIG",
    "WALTER",
    "MAYER",
    "HUBER",
    "KAISER",
    "FUCHS",
    "PETERS",
    "LANG",
    "SCHOLZ",
    "WEISS",
];
