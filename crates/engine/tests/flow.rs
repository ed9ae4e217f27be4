//! In and out through the engine, over real files and a key service in memory.

#![allow(clippy::unwrap_used, reason = "in a test, a failed step of the harness is a failed test")]

#[path = "flow/cases.rs"]
mod cases;
#[path = "flow/erase.rs"]
mod erase;
#[path = "flow/officer.rs"]
mod officer;
#[path = "flow/part.rs"]
mod part;
#[path = "flow/recipients.rs"]
mod recipients;
#[path = "flow/rectify.rs"]
mod rectify;
#[path = "flow/retention.rs"]
mod retention;
#[path = "flow/unrecorded.rs"]
mod unrecorded;

use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_audit::{Log, MemoryDisk};
use leadglass_engine::StartError;
use leadglass_engine::{
    Ack, Announced, Bulk, BulkPath, Engine, IngestError, KeyLogPort, Limits, Ports, RetrieveError, Source, SubjectPort,
    Target, Verdict,
};
use leadglass_index::{Catalog, MemoryIndex, QuarantineReason, Query, StudyIndexKey, TenantKeys};
use leadglass_journal::{Journal, JournalConfig};
use leadglass_keys::{FakeKeyService, FakeMode, Keys, SecretName, wire};
use leadglass_model::{
    Acknowledged, ActorRef, Fault, Phi, Purpose, ReceiverId, Role, SeriesUid, SopClassUid, SopInstanceUid, StudyUid,
    SystemClock, SystemEntropy, TenantId, TransferSyntaxUid,
};
use leadglass_policy::Principal;
use leadglass_records::{RecordKey, Records};
use leadglass_seal::Secret;
use leadglass_store::{
    Backing, Objects,
    faulty::{FaultPlan, FaultyStore},
};
use leadglass_testkit::DataSet;
use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What outlives a node's process: the disk, the key service, the index engine.
struct House {
    ack: Ack,
    dir: tempfile::TempDir,
    service: Arc<FakeKeyService>,
    index: Arc<MemoryIndex>,
    tenant: TenantId,
    /// Stands before the store.
    faults: Option<FaultPlan>,
}

/// A running node.
struct Node {
    engine: Engine,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl House {
    fn new() -> Self {
        let service = FakeKeyService::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
        let tenant = service.add_tenant("practice");
        Self {
            ack: Ack::Journal,
            dir: tempfile::tempdir().unwrap(),
            service,
            index: Arc::new(MemoryIndex::default()),
            tenant,
            faults: None,
        }
    }

    async fn start(&self) -> Node {
        self.try_start().await.unwrap()
    }

    async fn try_start(&self) -> Result<Node, StartError> {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let keys = Keys::start(self.service.clone(), clock.clone(), TaskTracker::new(), stop.clone());
        let seed = keys.secret(wire::INSTALLATION, SecretName::AuditLog).await.unwrap();
        let token = keys.secret(self.tenant, SecretName::Token).await.unwrap();
        let detail = keys.secret(self.tenant, SecretName::AuditDetail).await.unwrap();
        let record = keys.secret(self.tenant, SecretName::Record).await.unwrap();
        let file = self.dir.path().join("records.redb");
        let records = Records::open(&file, clock.clone(), entropy.clone())
            .unwrap()
            .tenant(self.tenant, RecordKey::from_bytes(*record.expose()));
        let pages: Vec<_> = keys.index_keys(self.tenant).try_collect().await.unwrap();
        let index_keys = pages.into_iter().flatten().map(|e| StudyIndexKey {
            key_id: e.key_id,
            key_gen: e.key_gen,
            study_ref: e.study_ref,
            key: e.index_key,
        });
        let tenant = TenantKeys {
            tenant: self.tenant,
            token: Secret::from_bytes(*token.expose()),
            index_keys: index_keys.collect(),
        };
        let (catalog, report) =
            Catalog::load(self.index.clone(), clock.clone(), entropy.clone(), vec![tenant]).await.unwrap();
        assert_eq!(report.corrupt_studies + report.corrupt_series, 0);
        let at = |name: &str| self.dir.path().join(name);
        let config = JournalConfig { segment_bytes: 8 << 20, max_bytes: 64 << 20 };
        let ports = Ports {
            keys,
            objects: self.objects_at(&at("objects")),
            journal: Journal::open(&at("journal"), config, entropy.clone()).unwrap(),
            catalog,
            log: Log::open(&at("audit"), "leadglass/test", seed.expose()).unwrap(),
            key_log: KeyLogPort(Arc::new(MemoryDisk::default())),
            subjects: HashMap::from([(self.tenant, SubjectPort { detail, records })]),
            clock,
            entropy,
            limits: Limits { instance_bytes: 64 << 20, journal_bytes: 64 << 20, ack: self.ack },
        };
        let engine = Engine::start(ports, tasks.clone(), stop.clone()).await?;
        Ok(Node { engine, tasks, stop })
    }

    fn objects_at(&self, dir: &Path) -> Objects {
        match self.faults.clone() {
            None => Objects::local(dir).unwrap(),
            Some(plan) => {
                let faulty = |inner| Arc::new(FaultyStore::new(inner, plan)) as Arc<_>;
                Objects::over(Backing::local(dir).unwrap().wrapped(faulty)).unwrap()
            }
        }
    }

    fn principal(&self, role: Role) -> Principal {
        Principal { tenant: self.tenant, actor: ActorRef([7; 16]), role }
    }

    async fn send(&self, node: &Node, set: &DataSet, device: u8) -> Result<Acknowledged, IngestError> {
        let permit = self.principal(Role::Device).store().unwrap();
        let name = || Phi::new(String::from("DEVICE"));
        let source = Source::new(&permit, ReceiverId::from_bytes([device; 16]), name(), name());
        let (sop_class, sop_instance, transfer_syntax) = set.announced();
        let announced = Announced { sop_class, sop_instance, transfer_syntax };
        let mut transfer = node.engine.begin(Arc::new(source), announced)?;
        let bytes = Bytes::from(set.encode());
        for start in (0..bytes.len()).step_by(100_000) {
            transfer.write(bytes.slice(start..bytes.len().min(start + 100_000))).await?;
        }
        transfer.finish().await
    }

    /// Sends a PS3.10 file in pieces of `cut` bytes.
    async fn send_file(&self, node: &Node, file: &[u8], cut: usize) -> Result<Acknowledged, IngestError> {
        let permit = self.principal(Role::Clinician).store().unwrap();
        let name = || Phi::new(String::from("upload"));
        let source = Source::new(&permit, ReceiverId::from_bytes([9; 16]), name(), name());
        let mut transfer = node.engine.begin_file(Arc::new(source))?;
        for piece in file.chunks(cut) {
            transfer.write(Bytes::copy_from_slice(piece)).await?;
        }
        transfer.finish().await
    }

    async fn fetch(&self, node: &Node, set: &DataSet) -> Result<Vec<u8>, RetrieveError> {
        let permit = self.principal(Role::Clinician).read(Purpose::Care).unwrap();
        let target = Target::Instance(
            StudyUid::parse(&set.study).unwrap(),
            SeriesUid::parse(&set.series).unwrap(),
            SopInstanceUid::parse(&set.instance).unwrap(),
        );
        let mut found = node.engine.locate(&permit, [1; 16], &target).await?;
        assert_eq!(found.len(), 1);
        let instance = found.remove(0);
        let len = instance.len();
        let pieces: Vec<Bytes> = instance.read(0..len).try_collect().await?;
        Ok(pieces.concat())
    }

    fn objects(&self) -> Vec<std::path::PathBuf> {
        fn walk(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, out) } else { out.push(path) }
            }
        }
        let mut all = Vec::new();
        walk(&self.dir.path().join("objects/o"), &mut all);
        all
    }
}

impl Node {
    /// As a node stops in good order.
    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.engine.finish().await;
    }
}

/// On this ground, by somebody who answers for what no rule is about.
fn why(ground: leadglass_engine::Ground) -> leadglass_engine::Cause {
    leadglass_engine::Cause { ground, reason: "asked for".to_owned(), no_rule: true }
}

/// The data set part of a file with our head: what was sent.
fn is_file_of(file: &[u8], set: &DataSet) -> bool {
    file.len() > 132 && &file[128..132] == b"DICM" && file.ends_with(&set.encode())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_comes_back_small_and_large() {
    let house = House::new();
    let node = house.start().await;
    for (number, pixel_bytes) in [(1, 0), (2, 8_192), (3, 900_000), (4, 1_100_000), (5, 9_000_002)] {
        let set = DataSet { pixel_bytes, ..DataSet::invented(1, number) };
        house.send(&node, &set, 1).await.unwrap();
        assert!(is_file_of(&house.fetch(&node, &set).await.unwrap(), &set), "{pixel_bytes} bytes, at once");
    }
    node.stop().await;
    let node = house.start().await;
    for (number, pixel_bytes) in [(1, 0), (2, 8_192), (3, 900_000), (4, 1_100_000), (5, 9_000_002)] {
        let set = DataSet { pixel_bytes, ..DataSet::invented(1, number) };
        assert!(is_file_of(&house.fetch(&node, &set).await.unwrap(), &set), "{pixel_bytes} bytes, after a restart");
    }
    let permit = house.principal(Role::Clinician).search(Purpose::Care).unwrap();
    let hits = node.engine.search(&permit, Query::default()).await.unwrap().hits;
    assert_eq!((hits.len(), hits[0].instances, hits[0].series), (1, 5, 1));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_acknowledged_and_not_stored_twice() {
    let house = House::new();
    let node = house.start().await;
    for pixel_bytes in [4_096, 2_000_000] {
        let set = DataSet { pixel_bytes, ..DataSet::invented(pixel_bytes, 1) };
        for _ in 0..3 {
            house.send(&node, &set, 1).await.unwrap();
        }
        assert!(is_file_of(&house.fetch(&node, &set).await.unwrap(), &set));
    }
    node.stop().await;
    assert_eq!(house.objects().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_from_the_same_device_become_the_current_version() {
    let house = House::new();
    let node = house.start().await;
    for pixel_bytes in [4_096, 2_000_000] {
        let first = DataSet { pixel_bytes, ..DataSet::invented(pixel_bytes, 1) };
        let second = DataSet { seed: 2, ..first.clone() };
        house.send(&node, &first, 1).await.unwrap();
        house.send(&node, &second, 1).await.unwrap();
        assert!(is_file_of(&house.fetch(&node, &second).await.unwrap(), &second), "{pixel_bytes}");
        // A late retry of the first does not turn it back.
        house.send(&node, &first, 1).await.unwrap();
        assert!(is_file_of(&house.fetch(&node, &second).await.unwrap(), &second), "{pixel_bytes}");
    }
    node.stop().await;
    assert_eq!(house.objects().len(), 4);
}

/// Each version stands in the instance's row: a sender that went on correcting once made it grow without end.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_so_many_versions_and_no_more() {
    let house = House::new();
    let node = house.start().await;
    let set = |seed| DataSet { seed, ..DataSet::invented(1, 1) };
    for seed in 1..=65 {
        house.send(&node, &set(seed), 1).await.unwrap();
    }
    let refused = house.send(&node, &set(66), 1).await.unwrap_err();
    assert!(matches!(refused, IngestError::TooManyVersions) && refused.fault() == Fault::Conflict, "{refused}");
    house.send(&node, &set(3), 1).await.unwrap();
    assert!(is_file_of(&house.fetch(&node, &set(65)).await.unwrap(), &set(65)), "a retry is a copy, the last stays");
    node.stop().await;
}

/// Cells of eight bits that are written as big endian words lie in pairs the wrong way round (PS3.5 §A.3); they once left so.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_big_endian_words_leave_in_their_order() {
    let house = House::new();
    let node = house.start().await;
    let element = |group: u16, element: u16, vr: &[u8; 2], value: &[u8]| {
        let len = u16::try_from(value.len()).unwrap().to_be_bytes();
        let len = if vr == b"OW" || vr == b"OB" { [&[0, 0, 0, 0][..], &len].concat() } else { len.to_vec() };
        [&group.to_be_bytes()[..], &element.to_be_bytes(), vr, &len, value].concat()
    };
    // Two frames of three pixels: the second begins inside of a word.
    for (vr, written) in [(b"OW", [2, 1, 4, 3, 6, 5]), (b"OB", [1, 2, 3, 4, 5, 6])] {
        let uid = |last: u8| format!("2.25.7{}.{last}", vr[1]);
        let padded = |uid: String| if uid.len() % 2 == 1 { uid + "\0" } else { uid };
        let number = |value: u16| value.to_be_bytes();
        let class = "1.2.840.10008.5.1.4.1.1.7";
        let set = [
            element(0x0008, 0x0016, b"UI", padded(class.to_owned()).as_bytes()),
            element(0x0008, 0x0018, b"UI", padded(uid(3)).as_bytes()),
            element(0x0020, 0x000D, b"UI", padded(uid(1)).as_bytes()),
            element(0x0020, 0x000E, b"UI", padded(uid(2)).as_bytes()),
            element(0x0028, 0x0002, b"US", &number(1)),
            element(0x0028, 0x0004, b"CS", b"MONOCHROME2 "),
            element(0x0028, 0x0008, b"IS", b"2 "),
            element(0x0028, 0x0010, b"US", &number(1)),
            element(0x0028, 0x0011, b"US", &number(3)),
            element(0x0028, 0x0100, b"US", &number(8)),
            element(0x0028, 0x0101, b"US", &number(8)),
            element(0x0028, 0x0102, b"US", &number(7)),
            element(0x0028, 0x0103, b"US", &number(0)),
            element(0x7FE0, 0x0010, vr, &written),
        ];
        let principal = house.principal(Role::Clinician);
        let name = || Phi::new(String::from("DEVICE"));
        let source = Source::new(&principal.store().unwrap(), ReceiverId::from_bytes([1; 16]), name(), name());
        let announced = Announced {
            sop_class: SopClassUid::parse(class).unwrap(),
            sop_instance: SopInstanceUid::parse(&uid(3)).unwrap(),
            transfer_syntax: TransferSyntaxUid::parse("1.2.840.10008.1.2.2").unwrap(),
        };
        let mut transfer = node.engine.begin(Arc::new(source), announced).unwrap();
        transfer.write(set.concat().into()).await.unwrap();
        transfer.finish().await.unwrap();

        let permit = principal.read(Purpose::Care).unwrap();
        let (study, series) = (StudyUid::parse(&uid(1)).unwrap(), SeriesUid::parse(&uid(2)).unwrap());
        let instance = SopInstanceUid::parse(&uid(3)).unwrap();
        let pixels = node.engine.pixels(&permit, [1; 16], &study, &series, &instance).await.unwrap();
        for (number, wanted) in [(1, [1, 2, 3]), (2, [4, 5, 6])] {
            let frame = pixels.frame(number).unwrap().bytes(16).await.unwrap().unwrap();
            assert_eq!(*frame, wanted, "{number}");
        }
        let path = BulkPath::parse("7FE00010").unwrap();
        let all = node.engine.bulk(&permit, [1; 16], (&study, &series, &instance), &path).await.unwrap();
        let Bulk::Value { value, .. } = all else { panic!("{all:?}") };
        assert_eq!(*value.bytes(16).await.unwrap().unwrap(), [1, 2, 3, 4, 5, 6]);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_from_another_device_are_quarantined() {
    let house = House::new();
    let node = house.start().await;
    for pixel_bytes in [4_096, 2_000_000] {
        let first = DataSet { pixel_bytes, ..DataSet::invented(pixel_bytes, 1) };
        let stranger = DataSet { seed: 2, ..first.clone() };
        assert!(!house.send(&node, &first, 1).await.unwrap().is_set_aside());
        for what in ["new", "a copy"] {
            assert!(house.send(&node, &stranger, 2).await.unwrap().is_set_aside(), "{what}: it has no address yet");
        }
        assert!(is_file_of(&house.fetch(&node, &first).await.unwrap(), &first), "{pixel_bytes}");
    }
    let permit = house.principal(Role::Dpo).administer().unwrap();
    let cases = node.engine.quarantined(&permit).await.unwrap();
    assert_eq!(cases.len(), 2);
    assert!(cases.iter().all(|case| case.reason == QuarantineReason::OtherDevice));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_study_with_another_patient_is_quarantined_and_its_retry_is_a_copy() {
    let house = House::new();
    let node = house.start().await;
    let known = DataSet::invented(1, 1);
    house.send(&node, &known, 1).await.unwrap();
    for pixel_bytes in [4_096, 2_000_000] {
        let wrong = DataSet { patient_id: "OTHER".into(), pixel_bytes, ..DataSet::invented(1, pixel_bytes) };
        house.send(&node, &wrong, 1).await.unwrap();
        house.send(&node, &wrong, 1).await.unwrap();
        assert!(matches!(house.fetch(&node, &wrong).await, Err(RetrieveError::Missing)), "it is not in the study");
    }
    let permit = house.principal(Role::Dpo).administer().unwrap();
    let cases = node.engine.quarantined(&permit).await.unwrap();
    assert_eq!(cases.len(), 1, "one case for one mistake");
    assert_eq!((cases[0].reason, cases[0].instances), (QuarantineReason::OtherPatient, 2));
    node.stop().await;
    assert_eq!(house.objects().len(), 4, "three instances, and the note that a case began");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_instance_becomes_current_and_a_moved_one_goes_elsewhere() {
    let house = House::new();
    let node = house.start().await;
    house.send(&node, &DataSet::invented(1, 1), 1).await.unwrap();
    house.send(&node, &DataSet::invented(2, 1), 1).await.unwrap();
    let released = DataSet { seed: 2, pixel_bytes: 2_000_000, ..DataSet::invented(1, 1) };
    house.send(&node, &released, 2).await.unwrap();
    let moved = DataSet { patient_id: "OTHER".into(), ..DataSet::invented(1, 7) };
    house.send(&node, &moved, 1).await.unwrap();

    let permit = house.principal(Role::Dpo).administer().unwrap();
    let cases = node.engine.quarantined(&permit).await.unwrap();
    let case = |reason| cases.iter().find(|case| case.reason == reason).unwrap().case;
    let release = case(QuarantineReason::OtherDevice);
    assert_eq!(node.engine.decide(&permit, release, &Verdict::Release).await.unwrap(), 1);
    assert!(is_file_of(&house.fetch(&node, &released).await.unwrap(), &released));
    let other = Verdict::Move(StudyUid::parse(&DataSet::invented(2, 1).study).unwrap());
    let case = case(QuarantineReason::OtherPatient);
    assert_eq!(node.engine.decide(&permit, case, &other).await.unwrap(), 1);
    let there = DataSet { study: DataSet::invented(2, 1).study, ..moved.clone() };
    assert!(is_file_of(&house.fetch(&node, &there).await.unwrap(), &moved));
    assert!(node.engine.quarantined(&permit).await.unwrap().is_empty());
    let report = node.engine.verify(&permit, |_, _| {}).await.unwrap();
    assert!(report.is_clean() && report.objects == 6, "{report:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_agree_on_one_study() {
    let house = Arc::new(House::new());
    let node = Arc::new(house.start().await);
    let sends = (0..40).map(|number| {
        let (house, node) = (house.clone(), node.clone());
        tokio::spawn(async move { house.send(&node, &DataSet::invented(1, number % 20), 1).await.unwrap() })
    });
    futures::future::try_join_all(sends).await.unwrap();
    let permit = house.principal(Role::Clinician).search(Purpose::Care).unwrap();
    let hits = node.engine.search(&permit, Query::default()).await.unwrap().hits;
    assert_eq!((hits.len(), hits[0].instances), (1, 20));
    Arc::into_inner(node).unwrap().stop().await;
    assert_eq!(house.objects().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_service_ingest_goes_on_and_opening_waits() {
    let house = House::new();
    let node = house.start().await;
    let before = DataSet::invented(1, 1);
    house.send(&node, &before, 1).await.unwrap();
    house.service.set_mode(FakeMode::Gone);
    // A half-sent study, and new ones out of the reserve.
    house.send(&node, &DataSet::invented(1, 2), 1).await.unwrap();
    for study in 2..20 {
        house.send(&node, &DataSet::invented(study, 1), 1).await.unwrap();
    }
    let refused = house.fetch(&node, &before).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::Busy);
    house.service.set_mode(FakeMode::Up);
    assert!(is_file_of(&house.fetch(&node, &before).await.unwrap(), &before));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_out_is_given_nothing_more() {
    let house = House::new();
    let node = house.start().await;
    let set = DataSet { pixel_bytes: 24_000_000, ..DataSet::invented(1, 1) };
    house.send(&node, &set, 1).await.unwrap();
    let permit = house.principal(Role::Clinician).read(Purpose::Care).unwrap();
    let target = Target::Instance(
        StudyUid::parse(&set.study).unwrap(),
        SeriesUid::parse(&set.series).unwrap(),
        SopInstanceUid::parse(&set.instance).unwrap(),
    );
    let (mut mine, mut other) = (Vec::new(), Vec::new());
    for (session, streams) in [([1; 16], &mut mine), ([2; 16], &mut other)] {
        let instance = node.engine.locate(&permit, session, &target).await.unwrap().remove(0);
        let len = instance.len();
        let mut pieces = Box::pin(instance.read(0..len));
        pieces.try_next().await.unwrap().expect("its first piece");
        streams.push(pieces);
    }
    let waiting = node.engine.metadata(&permit, [1; 16], &target).await.unwrap();
    node.engine.end_session([1; 16]);
    let rest: Result<Vec<Bytes>, _> = mine.remove(0).try_collect().await;
    assert!(matches!(rest, Err(RetrieveError::SignedOut)), "{rest:?}");
    let told: Result<Vec<_>, _> = waiting.documents().try_collect().await;
    assert!(matches!(told, Err(RetrieveError::SignedOut)));
    let rest: Vec<Bytes> = other.remove(0).try_collect().await.unwrap();
    assert!(rest.iter().map(Bytes::len).sum::<usize>() > 23_000_000, "another session is given all of it");
    // What a reader holds counts against his share.
    drop(rest);
    // One that begins anew is served.
    assert!(is_file_of(&house.fetch(&node, &set).await.unwrap(), &set));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_token_was_revoked_is_given_nothing_more_in_any_session() {
    let house = House::new();
    let node = house.start().await;
    let set = DataSet { pixel_bytes: 24_000_000, ..DataSet::invented(1, 1) };
    house.send(&node, &set, 1).await.unwrap();
    let target = Target::Instance(
        StudyUid::parse(&set.study).unwrap(),
        SeriesUid::parse(&set.series).unwrap(),
        SopInstanceUid::parse(&set.instance).unwrap(),
    );
    let (revoked, other) = (ActorRef([7; 16]), ActorRef([8; 16]));
    assert!(node.engine.readers().is_empty());
    let mut streams = Vec::new();
    for (actor, session) in [(revoked, [1; 16]), (revoked, [2; 16]), (other, [3; 16])] {
        let permit = Principal { actor, ..house.principal(Role::Clinician) }.read(Purpose::Care).unwrap();
        let instance = node.engine.locate(&permit, session, &target).await.unwrap().remove(0);
        let len = instance.len();
        let mut pieces = Box::pin(instance.read(0..len));
        pieces.try_next().await.unwrap().expect("its first piece");
        streams.push(pieces);
    }
    assert_eq!(node.engine.readers(), [revoked, other].into());
    assert_eq!(node.engine.end_actor(revoked), 2);
    assert_eq!((node.engine.readers(), node.engine.end_actor(revoked)), ([other].into(), 0));
    for (n, stream) in streams.into_iter().enumerate() {
        let rest: Result<Vec<Bytes>, _> = stream.try_collect().await;
        match n {
            2 => assert!(rest.unwrap().iter().map(Bytes::len).sum::<usize>() > 23_000_000, "the other gets all of it"),
            _ => assert!(matches!(rest, Err(RetrieveError::SignedOut)), "{rest:?}"),
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_destroyed_while_nobody_listened_is_not_found_either() {
    let house = House::new();
    let node = house.start().await;
    for study in 1..=3 {
        house.send(&node, &DataSet::invented(study, 1), 1).await.unwrap();
    }
    let permit = house.principal(Role::Clinician).search(Purpose::Care).unwrap();
    let hits = node.engine.search(&permit, Query::default()).await.unwrap().hits;
    house.service.set_mode(FakeMode::Gone);
    house.service.destroy_study(house.tenant, hits[0].study_ref);
    house.service.forget_revocations();
    house.service.set_mode(FakeMode::Up);
    let gone = async {
        while node.engine.search(&permit, Query::default()).await.unwrap().hits.len() > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the node learns of it");
    let left = node.engine.search(&permit, Query::default()).await.unwrap().hits;
    assert!(left.iter().all(|hit| hit.study_ref != hits[0].study_ref));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_dropped_or_refused_leaves_nothing() {
    let house = House::new();
    let node = house.start().await;
    let set = DataSet { pixel_bytes: 3_000_000, ..DataSet::invented(1, 1) };
    let permit = house.principal(Role::Device).store().unwrap();
    let name = || Phi::new(String::new());
    let source = Arc::new(Source::new(&permit, ReceiverId::from_bytes([1; 16]), name(), name()));
    let (sop_class, sop_instance, transfer_syntax) = set.announced();
    let announced = Announced { sop_class, sop_instance, transfer_syntax };
    let bytes = Bytes::from(set.encode());

    let mut dropped = node.engine.begin(source.clone(), announced.clone()).unwrap();
    dropped.write(bytes.slice(..2_000_000)).await.unwrap();
    drop(dropped);
    let mut cut = node.engine.begin(source.clone(), announced.clone()).unwrap();
    cut.write(bytes.slice(..2_000_000)).await.unwrap();
    assert!(matches!(cut.finish().await, Err(IngestError::NotDicom(_))));
    let other = Announced { sop_instance: SopInstanceUid::parse("1.2.3").unwrap(), ..announced };
    let mut lying = node.engine.begin(source, other).unwrap();
    lying.write(bytes.clone()).await.unwrap();
    assert!(matches!(lying.finish().await, Err(IngestError::NotAnnounced)));

    assert!(matches!(house.fetch(&node, &set).await, Err(RetrieveError::Missing)));
    house.send(&node, &set, 1).await.unwrap();
    assert!(is_file_of(&house.fetch(&node, &set).await.unwrap(), &set));
    node.stop().await;
    assert_eq!(house.objects().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_store_is_an_error_and_never_wrong_bytes() {
    let house = House::new();
    let node = house.start().await;
    let set = DataSet { pixel_bytes: 200_000, ..DataSet::invented(1, 1) };
    house.send(&node, &set, 1).await.unwrap();
    node.stop().await;
    let object = house.objects().remove(0);
    let whole = std::fs::read(&object).unwrap();
    let node = house.start().await;
    let damaged = |node: &Node| {
        let (house, set, node) = (&house, set.clone(), node.engine.clone());
        async move {
            let permit = house.principal(Role::Clinician).read(Purpose::Care).unwrap();
            let target = Target::Study(StudyUid::parse(&set.study).unwrap());
            let mut found = node.locate(&permit, [1; 16], &target).await.unwrap();
            let instance = found.remove(0);
            let len = instance.len();
            instance.read(0..len).try_collect::<Vec<_>>().await.map(|pieces| pieces.concat())
        }
    };
    assert!(damaged(&node).await.is_ok());
    for (what, bytes) in [
        ("a flip in a chunk", flipped(&whole, 70_000)),
        ("a cut", whole[..whole.len() - 1].to_vec()),
        ("a longer object", [whole.as_slice(), &[0]].concat()),
        ("nothing", Vec::new()),
    ] {
        std::fs::write(&object, bytes).unwrap();
        let error = damaged(&node).await.expect_err(what);
        assert_eq!(error.fault(), Fault::Corrupt, "{what}");
    }
    std::fs::remove_file(&object).unwrap();
    assert_eq!(damaged(&node).await.unwrap_err().fault(), Fault::Corrupt, "a missing object");
    std::fs::write(&object, &whole).unwrap();
    assert!(damaged(&node).await.is_ok());
    node.stop().await;
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_index_or_audit_tree_is_not_taken() {
    let mut house = House::new();
    let node = house.start().await;
    house.send(&node, &DataSet::invented(1, 1), 1).await.unwrap();
    node.stop().await;
    // The index of a node that never was: everything in it is older than the journal's trim.
    let real = std::mem::replace(&mut house.index, Arc::new(MemoryIndex::default()));
    let error = house.try_start().await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StartError::IndexBehindJournal { .. }), "{error:?}");
    house.index = real;
    std::fs::rename(house.dir.path().join("audit"), house.dir.path().join("audit.kept")).unwrap();
    let error = house.try_start().await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StartError::TreeBehindIndex { .. }), "{error:?}");
    std::fs::remove_dir_all(house.dir.path().join("audit")).unwrap();
    std::fs::rename(house.dir.path().join("audit.kept"), house.dir.path().join("audit")).unwrap();
    house.start().await.stop().await;
}

/// A sender once filled Patient's Name and Patient ID to the brim; the audit entry was longer than the log takes, and
/// everything acknowledged behind it stayed in the journal for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_patient_with_endless_names_holds_nothing_up() {
    let house = House::new();
    let node = house.start().await;
    let long = "X".repeat(16_000);
    let endless = DataSet { patient_name: long.clone(), patient_id: long, ..DataSet::invented(1, 1) };
    house.send(&node, &endless, 1).await.unwrap();
    let after = DataSet::invented(2, 1);
    house.send(&node, &after, 1).await.unwrap();
    node.stop().await;
    assert_eq!(house.objects().len(), 2, "both were drained");
    let node = house.start().await;
    assert!(is_file_of(&house.fetch(&node, &endless).await.unwrap(), &endless));
    assert!(is_file_of(&house.fetch(&node, &after).await.unwrap(), &after));
    node.stop().await;
}

/// A file whose head is not ours: a preamble with something in it, private file meta, another implementation's name.
fn foreign_file(set: &DataSet, named: bool) -> Vec<u8> {
    let (class, instance, syntax) = set.announced();
    let mut meta = Vec::new();
    let mut put = |element: u16, vr: &[u8; 2], value: &[u8]| {
        meta.extend([0x02, 0x00]);
        meta.extend(element.to_le_bytes());
        meta.extend(vr);
        if vr == b"OB" {
            meta.extend([0, 0]);
            meta.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        } else {
            meta.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
        }
        meta.extend(value);
    };
    let even = |text: &str| if text.len().is_multiple_of(2) { text.to_owned() } else { format!("{text}\0") };
    put(0x0001, b"OB", &[0, 1]);
    if named {
        put(0x0002, b"UI", even(class.as_str()).as_bytes());
        put(0x0003, b"UI", even(instance.expose()).as_bytes());
    }
    put(0x0010, b"UI", even(syntax.as_str()).as_bytes());
    put(0x0012, b"UI", b"1.2.3.4.");
    put(0x0100, b"UI", b"1.2.3.4.");
    put(0x0102, b"OB", &[7; 300]);
    let len = u32::try_from(meta.len()).unwrap().to_le_bytes();
    let preamble: Vec<u8> = (0..128).collect();
    [&preamble[..], b"DICM\x02\x00\x00\x00UL\x04\x00", &len, &meta, &set.encode()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_back_bit_for_bit_however_it_was_cut() {
    let house = House::new();
    let node = house.start().await;
    for (number, cut) in [(1, 1), (2, 7), (3, 131), (4, 133), (5, 600), (6, 1 << 20)] {
        for (study, pixel_bytes, named) in
            [(1, 100, true), (2, 100, false), (3, 1_200_000, true), (4, 1_200_000, false)]
        {
            if pixel_bytes > 1000 && cut < 100 {
                continue;
            }
            let set = DataSet { pixel_bytes, ..DataSet::invented(study, number) };
            let file = foreign_file(&set, named);
            house.send_file(&node, &file, cut).await.unwrap();
            assert!(house.fetch(&node, &set).await.unwrap() == file, "{pixel_bytes} bytes in pieces of {cut}");
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_file_is_the_file_that_came() {
    let house = House::new();
    let node = house.start().await;
    let permit = house.principal(Role::Dpo).administer().unwrap();
    for pixel_bytes in [4_096, 2_000_000] {
        let known = DataSet { pixel_bytes, ..DataSet::invented(pixel_bytes, 1) };
        house.send(&node, &known, 1).await.unwrap();
        let stranger = DataSet { seed: 2, ..known };
        let file = foreign_file(&stranger, true);
        assert!(house.send_file(&node, &file, 100_000).await.unwrap().is_set_aside());
        let case = node.engine.quarantined(&permit).await.unwrap().remove(0).case;
        assert_eq!(node.engine.decide(&permit, case, &Verdict::Release).await.unwrap(), 1);
        assert!(house.fetch(&node, &stranger).await.unwrap() == file, "{pixel_bytes}: its head is another");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_corrects_is_told_and_the_first_stays() {
    let house = House::new();
    let node = house.start().await;
    let send = async |set: &DataSet| {
        let permit = house.principal(Role::Clinician).store().unwrap();
        let name = || Phi::new(String::from("upload"));
        let source = Source::new(&permit, ReceiverId::from_bytes([7; 16]), name(), name()).without_corrections();
        let (sop_class, sop_instance, transfer_syntax) = set.announced();
        let mut transfer =
            node.engine.begin(Arc::new(source), Announced { sop_class, sop_instance, transfer_syntax }).unwrap();
        transfer.write(set.encode().into()).await?;
        transfer.finish().await
    };
    for pixel_bytes in [4_096, 2_000_000] {
        let first = DataSet { pixel_bytes, ..DataSet::invented(pixel_bytes, 1) };
        let other = DataSet { seed: 2, ..first.clone() };
        send(&first).await.unwrap();
        assert!(matches!(send(&other).await, Err(IngestError::Different)), "{pixel_bytes}");
        send(&first).await.unwrap();
        assert!(is_file_of(&house.fetch(&node, &first).await.unwrap(), &first), "{pixel_bytes}");
        // Two that begin at once: one of them is stored, and the other is told.
        let rivals = [10, 11].map(|seed| DataSet { seed, pixel_bytes, ..DataSet::invented(pixel_bytes, 2) });
        let (a, b) = tokio::join!(send(&rivals[0]), send(&rivals[1]));
        let won = usize::from(a.is_err());
        let lost = if won == 0 { b } else { a };
        assert!(matches!(lost, Err(IngestError::Different)), "{pixel_bytes}: {lost:?}");
        assert!(is_file_of(&house.fetch(&node, &rivals[won]).await.unwrap(), &rivals[won]), "{pixel_bytes}");
    }
    node.stop().await;
    assert_eq!(house.objects().len(), 4, "nothing of what was refused is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_finds_what_it_brought_itself_and_nothing_of_others() {
    let house = House::new();
    let node = house.start().await;
    let (mine, theirs) = (DataSet::invented(1, 1), DataSet::invented(2, 1));
    let permit = house.principal(Role::Clinician).store().unwrap();
    // The person of the permit, and a device.
    house.send(&node, &mine, 7).await.unwrap();
    house.send(&node, &theirs, 1).await.unwrap();
    for (set, known) in [(&mine, true), (&theirs, false), (&DataSet::invented(3, 1), false)] {
        let (study, instance) = (StudyUid::parse(&set.study).unwrap(), SopInstanceUid::parse(&set.instance).unwrap());
        let begun = node.engine.begun_by(&permit, &study).await.unwrap();
        assert_eq!(begun.as_ref().map(|begun| &begun.study.uid), known.then_some(&study));
        assert_eq!(begun.is_some_and(|begun| begun.series.len() == 1), known);
        assert_eq!(node.engine.brought_by(&permit, &study, &instance).await.unwrap().is_some(), known);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_and_a_c_store_of_one_data_set_are_copies() {
    let house = House::new();
    let node = house.start().await;
    for pixel_bytes in [4_096, 2_000_000] {
        let set = DataSet { pixel_bytes, ..DataSet::invented(pixel_bytes, 1) };
        house.send(&node, &set, 1).await.unwrap();
        house.send_file(&node, &foreign_file(&set, true), 100_000).await.unwrap();
        assert!(is_file_of(&house.fetch(&node, &set).await.unwrap(), &set));
    }
    node.stop().await;
    assert_eq!(house.objects().len(), 2, "the copy was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_refused_with_a_reason() {
    let house = House::new();
    let node = house.start().await;
    let set = DataSet::invented(1, 1);
    let other = DataSet::invented(1, 2);
    let file = foreign_file(&set, true);
    let start = file.len() - set.encode().len();
    let mut swapped = foreign_file(&other, true)[..start].to_vec();
    swapped.extend(set.encode());
    for (bytes, code) in [
        (Vec::new(), "not-a-file"),
        (vec![b'x'; 4_000], "not-a-file"),
        (file[..200].to_vec(), "not-a-file"),
        (file[..start].to_vec(), "no-uid"),
        (file[..file.len() - 1].to_vec(), "not-dicom"),
        (set.encode(), "no-transfer-syntax"),
        (swapped, "not-announced"),
    ] {
        for cut in [1, 4096] {
            let error = house.send_file(&node, &bytes, cut).await.unwrap_err();
            assert_eq!(error.code(), code, "{} bytes in pieces of {cut}: {error}", bytes.len());
        }
    }
    assert_eq!(house.fetch(&node, &set).await.unwrap_err().fault(), Fault::Missing);
    node.stop().await;
}
