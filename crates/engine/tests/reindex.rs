//! The index is thrown away and built anew from the sealed objects and the key service alone.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test, as it should")]

use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_audit::{Event, Log, MemoryDisk};
use leadglass_engine::{
    Ack, Announced, Case, Cause, Engine, ErasureRules, Ground, KeyLogPort, Limits, Ports, Rebuilt, ReindexError,
    ReindexPorts, RetrieveError, Source, SubjectPort, Target, Truth, Verdict, WhatToErase, WhatToRectify, Why, reindex,
};
use leadglass_index::{
    Catalog, EarlierVersion, Index, InstanceRow, MemoryIndex, QuarantineReason, Query, SeriesRow, StudyEntry, StudyHit,
    StudyIndexKey, TenantKeys,
};
use leadglass_journal::{Journal, JournalConfig, Replay};
use leadglass_keys::{FakeKeyService, Keys, SecretName, wire, wire::Word};
use leadglass_model::{
    ActorRef, Clock, EntryId, Fault, Phi, Purpose, ReceiverId, Role, SeriesUid, SopInstanceUid, StudyUid,
    SystemEntropy, TenantId, UnixMillis,
};
use leadglass_policy::Principal;
use leadglass_records::{RecordKey, Records};
use leadglass_seal::Secret;
use leadglass_store::Objects;
use leadglass_testkit::DataSet;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Every look is a millisecond later: nothing comes at the same time.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// What outlives a node's process.
struct House {
    dir: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    service: Arc<FakeKeyService>,
    tenants: [TenantId; 2],
}

struct Node {
    engine: Engine,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl House {
    fn new() -> Self {
        let clock = Arc::new(Ticking(AtomicU64::new(1_700_000_000_000)));
        let service = FakeKeyService::new(clock.clone(), Arc::new(SystemEntropy));
        let tenants = ["practice", "hospital"].map(|label| service.add_tenant(label));
        Self { dir: tempfile::tempdir().unwrap(), clock, service, tenants }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keys(&self, stop: &CancellationToken) -> Keys {
        Keys::start(self.service.clone(), self.clock.clone(), TaskTracker::new(), stop.clone())
    }

    async fn tenant_keys(&self, keys: &Keys) -> Vec<TenantKeys> {
        let mut all = Vec::new();
        for tenant in self.tenants {
            let token = keys.secret(tenant, SecretName::Token).await.unwrap();
            let pages: Vec<_> = keys.index_keys(tenant).try_collect().await.unwrap();
            let index_keys = pages.into_iter().flatten().map(|e| StudyIndexKey {
                key_id: e.key_id,
                key_gen: e.key_gen,
                study_ref: e.study_ref,
                key: e.index_key,
            });
            let token = Secret::from_bytes(*token.expose());
            all.push(TenantKeys { tenant, token, index_keys: index_keys.collect() });
        }
        all
    }

    async fn log(&self, keys: &Keys) -> Log {
        let seed = keys.secret(wire::INSTALLATION, SecretName::AuditLog).await.unwrap();
        Log::open(&self.at("audit"), "leadglass/test", seed.expose()).unwrap()
    }

    fn journal(&self) -> (Journal, Replay) {
        let config = JournalConfig { segment_bytes: 8 << 20, max_bytes: 64 << 20 };
        Journal::open(&self.at("journal"), config, Arc::new(SystemEntropy)).unwrap()
    }

    async fn catalog(&self, keys: &Keys, index: &MemoryIndex) -> Catalog {
        let tenants = self.tenant_keys(keys).await;
        let load = Catalog::load(Arc::new(index.clone()), self.clock.clone(), Arc::new(SystemEntropy), tenants);
        let (catalog, report) = load.await.unwrap();
        assert_eq!(report.corrupt_studies + report.corrupt_series + report.without_key, 0);
        catalog
    }

    async fn start(&self, index: &MemoryIndex) -> Node {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let keys = self.keys(&stop);
        let catalog = self.catalog(&keys, index).await;
        let log = self.log(&keys).await;
        let records = Records::open(&self.at("records.redb"), self.clock.clone(), Arc::new(SystemEntropy)).unwrap();
        let mut subjects = HashMap::new();
        for tenant in self.tenants {
            let detail = keys.secret(tenant, SecretName::AuditDetail).await.unwrap();
            let record = keys.secret(tenant, SecretName::Record).await.unwrap();
            let own = records.tenant(tenant, RecordKey::from_bytes(*record.expose()));
            subjects.insert(tenant, SubjectPort { detail, records: own });
        }
        let ports = Ports {
            keys,
            objects: Objects::local(&self.at("objects")).unwrap(),
            journal: self.journal(),
            catalog,
            log,
            key_log: KeyLogPort(Arc::new(MemoryDisk::default())),
            subjects,
            clock: self.clock.clone(),
            entropy: Arc::new(SystemEntropy),
            limits: Limits { instance_bytes: 64 << 20, journal_bytes: 64 << 20, ack: Ack::Journal },
        };
        let engine = Engine::start(ports, tasks.clone(), stop.clone()).await.unwrap();
        Node { engine, tasks, stop }
    }

    async fn reindex(&self, index: &MemoryIndex, approval: Option<Word>) -> Result<Rebuilt, ReindexError> {
        let stop = CancellationToken::new();
        let keys = self.keys(&stop);
        let ports = ReindexPorts {
            objects: Objects::local(&self.at("objects")).unwrap(),
            journal: self.journal(),
            index: Arc::new(index.clone()),
            tenants: self.tenant_keys(&keys).await,
            log: Arc::new(self.log(&keys).await),
            actor: ActorRef([9; 16]),
            approval,
            clock: self.clock.clone(),
            entropy: Arc::new(SystemEntropy),
            keys,
        };
        let mut last = (0, 0);
        let done = reindex(ports, |done, total| {
            assert!(done >= last.0 && done <= total, "{done} of {total} after {last:?}");
            last = (done, total);
        })
        .await;
        stop.cancel();
        if done.is_ok() {
            assert_eq!(last.0, last.1);
        }
        done
    }

    fn principal(&self, tenant: usize, role: Role) -> Principal {
        Principal { tenant: self.tenants[tenant], actor: ActorRef([7; 16]), role }
    }

    async fn send(&self, node: &Node, tenant: usize, set: &DataSet, device: u8) {
        let permit = self.principal(tenant, Role::Device).store().unwrap();
        let name = || Phi::new(String::from("DEVICE"));
        let source = Source::new(&permit, ReceiverId::from_bytes([device; 16]), name(), name());
        let (sop_class, sop_instance, transfer_syntax) = set.announced();
        let announced = Announced { sop_class, sop_instance, transfer_syntax };
        let mut transfer = node.engine.begin(Arc::new(source), announced).unwrap();
        for piece in set.encode().chunks(100_000) {
            transfer.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        transfer.finish().await.unwrap();
    }

    async fn fetch(&self, node: &Node, tenant: usize, set: &DataSet) -> Result<Vec<u8>, RetrieveError> {
        let permit = self.principal(tenant, Role::Clinician).read(Purpose::Care).unwrap();
        let target = Target::Instance(
            StudyUid::parse(&set.study).unwrap(),
            SeriesUid::parse(&set.series).unwrap(),
            SopInstanceUid::parse(&set.instance).unwrap(),
        );
        let instance = node.engine.locate(&permit, [1; 16], &target).await?.remove(0);
        let len = instance.len();
        let pieces: Vec<Bytes> = instance.read(0..len).try_collect().await?;
        Ok(pieces.concat())
    }

    async fn cases(&self, node: &Node, tenant: usize) -> Vec<Case> {
        let permit = self.principal(tenant, Role::Dpo).administer().unwrap();
        node.engine.quarantined(&permit).await.unwrap()
    }

    async fn decide(&self, node: &Node, case: &Case, verdict: &Verdict) {
        let permit = self.principal(0, Role::Dpo).administer().unwrap();
        assert!(node.engine.decide(&permit, case.case, verdict).await.unwrap() > 0);
    }

    /// All that an index says, read through its keys.
    async fn content(&self, index: &MemoryIndex) -> Content {
        let stop = CancellationToken::new();
        let keys = self.keys(&stop);
        let catalog = self.catalog(&keys, index).await;
        let mut content = Content::default();
        for tenant in self.tenants {
            content.hits.extend(catalog.search(tenant, &Query::default()));
            let mut cases = catalog.quarantined(tenant, None);
            cases.sort_by_key(|case| case.study_ref);
            let refs = catalog.search(tenant, &Query::default()).into_iter().map(|hit| hit.study_ref);
            for study_ref in refs.chain(cases.iter().map(|case| case.study_ref)) {
                content.series.push(catalog.series(tenant, study_ref));
                for row in catalog.instances(tenant, study_ref).await.unwrap() {
                    let meta = catalog.meta(tenant, study_ref, &row.sop_uid).await.unwrap().unwrap();
                    let (id, entry) = (meta.key_id(), EntryId::from_bytes([1; 16]));
                    let opened = keys.open(tenant, &[id], Purpose::StorageCheck, ActorRef([1; 16]), entry).await;
                    let lease = opened.unwrap()[&id].clone().unwrap();
                    content.metadata.push(meta.open(lease.meta_key()).unwrap());
                    content.instances.push(row);
                }
            }
            content.cases.extend(cases);
        }
        stop.cancel();
        content
    }

    fn objects(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, out) } else { out.push(path) }
            }
        }
        let mut all = Vec::new();
        walk(&self.at("objects/o"), &mut all);
        all.sort();
        all
    }

    fn object_of(&self, row: &InstanceRow) -> PathBuf {
        let name = row.object_id.to_string();
        self.objects().into_iter().find(|path| path.file_name().unwrap().to_str() == Some(&name)).unwrap()
    }
}

#[derive(Debug, Default, PartialEq)]
struct Content {
    hits: Vec<StudyHit>,
    cases: Vec<StudyEntry>,
    series: Vec<Vec<SeriesRow>>,
    instances: Vec<InstanceRow>,
    metadata: Vec<Vec<u8>>,
}

impl Node {
    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.engine.finish().await;
    }
}

fn is_file_of(file: &[u8], set: &DataSet) -> bool {
    file.len() > 132 && &file[128..132] == b"DICM" && file.ends_with(&set.encode())
}

fn set(study: u32, number: u32, pixel_bytes: u32) -> DataSet {
    DataSet { pixel_bytes, ..DataSet::invented(study, number) }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back_with_its_versions_and_its_quarantine() {
    let (house, old) = (House::new(), MemoryIndex::default());
    let node = house.start(&old).await;
    let mut current = Vec::new();
    for (number, pixel_bytes) in [(1, 0), (2, 8_192), (3, 900_000), (4, 1_100_000), (5, 9_000_002)] {
        current.push((0, set(1, number, pixel_bytes)));
    }
    for study in 2..20 {
        current.push((usize::from(study % 3 == 0), set(study, 1, 4_096)));
    }
    let other_series = DataSet { series: "2.25.11.2".into(), instance: "2.25.11.2.1".into(), ..set(1, 9, 64) };
    current.push((0, other_series));
    for (tenant, set) in &current {
        house.send(&node, *tenant, set, 1).await;
    }
    // The same study in both tenants is two studies.
    current.push((1, set(1, 1, 4_096)));
    house.send(&node, 1, &current.last().unwrap().1.clone(), 1).await;

    // Versions, in one run and across a restart, which seals under another key.
    for (number, pixel_bytes) in [(21, 4_096), (22, 2_000_000)] {
        let first = set(2, number, pixel_bytes);
        for seed in [1, 2, 3] {
            house.send(&node, 0, &DataSet { seed, ..first.clone() }, 1).await;
        }
        current.push((0, DataSet { seed: 4, ..first }));
    }
    node.stop().await;
    let node = house.start(&old).await;
    for (tenant, set) in current.iter().rev().take(2) {
        house.send(&node, *tenant, set, 1).await;
    }

    // Quarantine of both kinds, some waiting and some decided.
    let stranger = |study, number| DataSet { patient_id: "OTHER".into(), seed: 5, ..set(study, number, 4_096) };
    let long_stranger = DataSet { pixel_bytes: 2_000_000, ..stranger(1, 31) };
    for set in [stranger(1, 30), long_stranger, stranger(4, 1), stranger(5, 7)] {
        house.send(&node, 0, &set, 1).await;
    }
    house.send(&node, 0, &DataSet { seed: 6, ..set(7, 1, 4_096) }, 2).await;
    house.send(&node, 0, &DataSet { seed: 6, ..set(8, 1, 4_096) }, 2).await;
    let cases = house.cases(&node, 0).await;
    assert_eq!(cases.len(), 5);
    let uid = |study: u32| StudyUid::parse(&set(study, 1, 0).study).unwrap();
    let case = |study: u32| cases.iter().find(|case| case.study == uid(study)).unwrap();
    house.decide(&node, case(8), &Verdict::Release).await;
    house.decide(&node, case(4), &Verdict::Release).await;
    house.decide(&node, case(5), &Verdict::Move(uid(10))).await;
    let released = [DataSet { seed: 6, ..set(8, 1, 4_096) }, stranger(4, 1)];
    current.retain(|(tenant, set)| *tenant != 0 || released.iter().all(|r| r.instance != set.instance));
    current.extend(released.map(|set| (0, set)));
    let waiting: Vec<Case> = house.cases(&node, 0).await;
    node.stop().await;

    let fresh = MemoryIndex::default();
    let rebuilt = house.reindex(&fresh, None).await.unwrap();
    assert_eq!(rebuilt.left_out, []);
    assert_eq!(rebuilt.objects, house.objects().len() as u64);
    assert_eq!((rebuilt.studies, rebuilt.cases, rebuilt.decisions, rebuilt.duplicates), (20, 5, 3, 0));
    assert_eq!(rebuilt.earlier_versions, 3 + 3 + 1 + 1);

    let (before, after) = (house.content(&old).await, house.content(&fresh).await);
    assert_eq!(after.hits, before.hits);
    assert_eq!(after.cases, before.cases);
    assert_eq!(after.series, before.series);
    assert_eq!(after.instances, before.instances);
    assert_eq!(after.metadata, before.metadata);
    assert_eq!(after.instances.len() as u64, rebuilt.instances);

    let node = house.start(&fresh).await;
    for (tenant, set) in &current {
        let file = house.fetch(&node, *tenant, set).await.unwrap();
        assert!(is_file_of(&file, set), "instance of {} pixel bytes", set.pixel_bytes);
    }
    let again = house.cases(&node, 0).await;
    let brief = |cases: &[Case]| -> Vec<_> {
        cases.iter().map(|c| (c.case, c.reason, c.since, c.instances, c.study.clone(), c.patient_id.clone())).collect()
    };
    assert_eq!(brief(&again), brief(&waiting));
    assert_eq!(again.iter().filter(|case| case.reason == QuarantineReason::OtherPatient).count(), 1);
    assert_eq!(again.iter().filter(|case| case.reason == QuarantineReason::OtherDevice).count(), 1);

    // And it goes on: the next version follows the last, a late retry of an earlier one is a copy.
    let (_, last) = current.iter().find(|(_, set)| set.instance == "2.25.12.1.21").unwrap().clone();
    house.send(&node, 0, &DataSet { seed: 2, ..last.clone() }, 1).await;
    assert!(is_file_of(&house.fetch(&node, 0, &last).await.unwrap(), &last));
    let next = DataSet { seed: 9, ..last };
    house.send(&node, 0, &next, 1).await;
    assert!(is_file_of(&house.fetch(&node, 0, &next).await.unwrap(), &next));
    node.stop().await;
    let rows = house.content(&fresh).await.instances;
    let row = rows.iter().find(|row| row.sop_uid.expose() == next.instance && row.version == 5).unwrap();
    assert_eq!(row.earlier.iter().map(|e: &EarlierVersion| e.version).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_stood_in_the_journal_is_brought_home_first() {
    let (house, old) = (House::new(), MemoryIndex::default());
    let node = house.start(&old).await;
    house.send(&node, 0, &set(1, 1, 4_096), 1).await;
    node.stop().await;

    // The store takes nothing, so the drain stands still, and the node dies with records in the journal.
    let node = house.start(&old).await;
    std::fs::rename(house.at("objects/o"), house.at("objects/away")).unwrap();
    std::fs::write(house.at("objects/o"), "in the way").unwrap();
    house.send(&node, 0, &set(1, 2, 4_096), 1).await;
    house.send(&node, 0, &set(2, 1, 4_096), 1).await;
    node.stop().await;
    std::fs::remove_file(house.at("objects/o")).unwrap();
    std::fs::rename(house.at("objects/away"), house.at("objects/o")).unwrap();
    assert_eq!(house.objects().len(), 1);

    let fresh = MemoryIndex::default();
    let rebuilt = house.reindex(&fresh, None).await.unwrap();
    assert_eq!((rebuilt.journal_records, rebuilt.studies, rebuilt.instances), (2, 2, 3));
    assert_eq!(house.objects().len(), 3);
    // A node takes the same records once more, and nothing is there twice.
    let node = house.start(&fresh).await;
    for set in [set(1, 1, 4_096), set(1, 2, 4_096), set(2, 1, 4_096)] {
        assert!(is_file_of(&house.fetch(&node, 0, &set).await.unwrap(), &set));
    }
    node.stop().await;
    let counts: Vec<u64> = house.content(&fresh).await.hits.iter().map(|hit| hit.instances).collect();
    assert_eq!(counts.iter().sum::<u64>(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_does_not_open_is_reported_and_the_rest_is_there() {
    let (house, old) = (House::new(), MemoryIndex::default());
    let node = house.start(&old).await;
    for (study, pixel_bytes) in [(1, 4_096), (2, 2_000_000), (3, 2_000_000), (4, 4_096), (5, 4_096)] {
        house.send(&node, 0, &set(study, 1, pixel_bytes), 1).await;
    }
    node.stop().await;
    let content = house.content(&old).await;
    let path = |study: u32| {
        let row = content.instances.iter().find(|row| row.sop_uid.expose() == set(study, 1, 0).instance).unwrap();
        (row.object_id, house.object_of(row))
    };
    let (flipped, cut, erased) = (path(1), path(2), path(4));
    let mut bytes = std::fs::read(&flipped.1).unwrap();
    bytes[2_000] ^= 1;
    std::fs::write(&flipped.1, &bytes).unwrap();
    let bytes = std::fs::read(&cut.1).unwrap();
    std::fs::write(&cut.1, &bytes[..bytes.len() / 2]).unwrap();
    // Whole and authentic, under another object's name.
    let swapped = house.at("objects/o/ab").join("ab".repeat(16));
    std::fs::create_dir_all(swapped.parent().unwrap()).unwrap();
    std::fs::copy(path(5).1, &swapped).unwrap();
    let erased_ref = content.hits.iter().find(|hit| hit.row.uid.expose() == set(4, 1, 0).study).unwrap().study_ref;
    house.service.destroy_study(house.tenants[0], erased_ref);

    let fresh = MemoryIndex::default();
    let rebuilt = house.reindex(&fresh, None).await.unwrap();
    assert_eq!((rebuilt.objects, rebuilt.studies, rebuilt.instances), (6, 2, 2));
    let why = |object| rebuilt.left_out.iter().find(|out| out.object == object).map(|out| out.why);
    assert_eq!(why(flipped.0), Some(Why::Damaged));
    assert_eq!(why(cut.0), Some(Why::Damaged));
    assert_eq!(why(erased.0), Some(Why::Destroyed));
    assert_eq!(rebuilt.left_out.len(), 4, "{:?}", rebuilt.left_out);
    assert_eq!(house.objects().len(), 6, "nothing was touched");

    let node = house.start(&fresh).await;
    for study in [3, 5] {
        let set = set(study, 1, if study == 3 { 2_000_000 } else { 4_096 });
        assert!(is_file_of(&house.fetch(&node, 0, &set).await.unwrap(), &set));
    }
    assert!(matches!(house.fetch(&node, 0, &set(1, 1, 4_096)).await, Err(RetrieveError::Missing)));
    node.stop().await;

    let stop = CancellationToken::new();
    let log = house.log(&house.keys(&stop)).await;
    let events: Vec<Event> = (0..log.head().size).map(|seq| log.entry(seq).unwrap().report.event).collect();
    assert_eq!(events.iter().filter(|event| **event == Event::Reindex).count(), 2, "a beginning and an end");
    assert_eq!(events.iter().filter(|event| **event == Event::IntegrityAlarm).count(), 1);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_approval_nothing_is_opened() {
    let (house, old) = (House::new(), MemoryIndex::default());
    let node = house.start(&old).await;
    house.send(&node, 0, &set(1, 1, 4_096), 1).await;
    house.send(&node, 0, &set(2, 1, 4_096), 1).await;
    node.stop().await;

    let name = Word::new("0123456789abcdef").unwrap();
    house.service.set_bulk_approved(false);
    let refused = house.reindex(&MemoryIndex::default(), Some(name.clone())).await.unwrap_err();
    assert!(matches!(refused, ReindexError::ApprovalNeeded { studies: 2, .. }), "{refused:?}");
    assert_eq!(refused.fault(), Fault::Denied);
    house.service.set_over_budget(true);
    let refused = house.reindex(&MemoryIndex::default(), None).await.unwrap_err();
    assert!(matches!(refused, ReindexError::ApprovalNeeded { .. }), "{refused:?}");

    house.service.set_over_budget(false);
    house.service.set_bulk_approved(true);
    assert_eq!(house.reindex(&MemoryIndex::default(), Some(name.clone())).await.unwrap().studies, 2);
    let asked = house.service.unwraps().pop().unwrap();
    assert_eq!((asked.purpose, asked.approval), (Purpose::StorageCheck, Some(name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_holds_something_is_not_overwritten() {
    let (house, old) = (House::new(), MemoryIndex::default());
    let node = house.start(&old).await;
    house.send(&node, 0, &set(1, 1, 4_096), 1).await;
    node.stop().await;
    let mark = old.mark().await.unwrap();
    assert!(matches!(house.reindex(&old, None).await, Err(ReindexError::NotEmpty)));
    assert_eq!(old.mark().await.unwrap(), mark);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_keys_than_one_call_takes() {
    let (house, old) = (House::new(), MemoryIndex::default());
    let node = house.start(&old).await;
    for study in 0..300 {
        house.send(&node, 0, &set(study, 1, 16), 1).await;
    }
    node.stop().await;
    let before = house.service.calls().unwrap;
    let fresh = MemoryIndex::default();
    let rebuilt = house.reindex(&fresh, None).await.unwrap();
    assert_eq!((rebuilt.studies, rebuilt.instances), (300, 300));
    assert_eq!(house.service.calls().unwrap - before, 2);
    assert_eq!(house.content(&fresh).await, house.content(&old).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_corrected_stays_corrected_though_a_part_of_it_was_erased() {
    let (house, old) = (House::new(), MemoryIndex::default());
    let node = house.start(&old).await;
    node.engine.set_erasure(ErasureRules { cooling_off_s: 0, approvals: 0 });
    let of = |study: u32, series: u32, number: u32, pixel_bytes: u32| DataSet {
        series: format!("2.25.1{study}.{series}"),
        instance: format!("2.25.1{study}.{series}.{number}"),
        ..set(study, number, pixel_bytes)
    };
    for (study, series, number) in [(1, 1, 1), (1, 1, 2), (1, 2, 3), (2, 1, 1), (2, 2, 2), (2, 3, 3), (3, 1, 1)] {
        house.send(&node, 0, &of(study, series, number, if number == 2 { 1_500_000 } else { 4_096 }), 1).await;
    }
    let permit = house.principal(0, Role::Dpo).administer().unwrap();
    let uid = |study: u32| StudyUid::parse(&set(study, 1, 0).study).unwrap();
    let rectify = async |what: WhatToRectify, truth: Truth| {
        let digest = node.engine.preview_rectification(&permit, &what, &truth).await.unwrap().digest;
        let id = node.engine.rectify(&permit, &what, &truth, "", &digest).await.unwrap().id;
        assert!(node.engine.run_rectification(&permit, id).await.unwrap().done_at.is_some());
    };
    let third = || Truth::Patient { id: Phi::new(set(3, 1, 0).patient_id), issuer: None };
    let series = |study, series| vec![SeriesUid::parse(&of(study, series, 1, 0).series).unwrap()];
    rectify(WhatToRectify::Studies(vec![uid(1)]), third()).await;
    rectify(WhatToRectify::Part { study: uid(2), series: series(2, 2), instances: vec![] }, third()).await;
    // What lies under the key goes with the note that lay there, and what stays gets a note of its own.
    let doomed = WhatToErase::Series(uid(1), series(1, 2).remove(0));
    // What was hidden is sealed anew, and hidden by a note of its own.
    let beside = WhatToErase::Series(uid(2), series(2, 3).remove(0));
    for doomed in [doomed, beside] {
        let erasure = node
            .engine
            .order_erasure(&permit, &doomed, Cause { ground: Ground::Objection, reason: String::new(), no_rule: true })
            .await
            .unwrap()
            .id;
        assert!(node.engine.run_erasure(&permit, erasure, None).await.is_err(), "the key host is asked first");
        node.engine.run_erasure(&permit, erasure, None).await.unwrap();
    }
    node.stop().await;
    let content = house.content(&old).await;
    let mut patients: Vec<_> = content.hits.iter().map(|hit| hit.row.patient_id.clone().unwrap()).collect();
    patients.sort_by_key(|id| id.expose().clone());
    let ids = [2, 3, 3, 3].map(|study| Phi::new(set(study, 1, 0).patient_id));
    assert_eq!(patients, ids);

    let fresh = MemoryIndex::default();
    let rebuilt = house.reindex(&fresh, None).await.unwrap();
    assert_eq!((rebuilt.studies, rebuilt.cases), (4, 0));
    assert_eq!(house.content(&fresh).await, content);
}
