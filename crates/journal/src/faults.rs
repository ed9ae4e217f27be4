//! The law under faults: each step of the disk fails, or is done and reported as failed; the process dies or the power does;
//! the journal opens again and everything acknowledged is there.

use crate::{
    CommitError, JournalConfig, JournalError, MIN_SEGMENT_BYTES, open,
    simulated::{Fault, SimulatedDisk, When},
    writer::{Waiting, Writer},
};
use bytes::Bytes;
use leadglass_model::{Entropy, SystemEntropy};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

/// A journal on a simulated disk, and what it must remember.
struct Bench {
    disk: SimulatedDisk,
    config: JournalConfig,
    writer: Option<Writer>,
    dice: u64,
    /// Told to somebody, or shown by a replay.
    promised: BTreeMap<u64, Bytes>,
    attempted: BTreeSet<Bytes>,
    trimmed: u64,
    /// A trim that failed may have happened.
    perhaps_trimmed: u64,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self {
            disk: SimulatedDisk::default(),
            config: JournalConfig { segment_bytes: MIN_SEGMENT_BYTES, max_bytes: 4 * MIN_SEGMENT_BYTES },
            writer: None,
            dice: seed,
            promised: BTreeMap::new(),
            attempted: BTreeSet::new(),
            trimmed: 0,
            perhaps_trimmed: 0,
        }
    }

    /// Opens, and holds the replay against what must be in it.
    fn open(&mut self) -> Result<(), JournalError> {
        self.writer = None;
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let (writer, replay) = open::open(Arc::new(self.disk.clone()), self.config, entropy)?;
        let told = replay.remaining();
        let mut found = BTreeMap::new();
        let mut before = None;
        for replayed in replay {
            let replayed = replayed.expect("what opened is readable");
            assert!(before.is_none_or(|before| replayed.position.0 == before + 1), "a gap in the replay");
            before = Some(replayed.position.0);
            found.insert(replayed.position.0, replayed.record);
        }
        assert_eq!(found.len() as u64, told);
        let last_promised = self.promised.keys().next_back().copied().unwrap_or(0);
        let first = found.keys().next().copied().unwrap_or(last_promised.max(self.trimmed) + 1);
        assert!(first > self.trimmed, "{first} came back, trimmed up to {}", self.trimmed);
        assert!(first <= self.perhaps_trimmed.max(self.trimmed) + 1, "{first} is too late");
        for (position, record) in self.promised.range(first..) {
            assert!(found.get(position) == Some(record), "record {position} is lost or changed");
        }
        for (position, record) in &found {
            assert!(self.attempted.contains(record), "record {position} was written by nobody");
        }
        self.promised = found;
        self.trimmed = first - 1;
        self.perhaps_trimmed = self.trimmed;
        self.writer = Some(writer);
        Ok(())
    }

    /// Commits records of these lengths as one batch; answers how many were acknowledged.
    fn commit(&mut self, lens: &[usize]) -> usize {
        let records: Vec<Bytes> = lens.iter().map(|len| self.record(*len)).collect();
        let waiting: Vec<Waiting> = records
            .iter()
            .map(|record| {
                let middle = record.len() / 2;
                let pieces = vec![record.slice(..middle), Bytes::new(), record.slice(middle..)];
                Waiting::new(pieces, u32::try_from(record.len()).expect("records here are small"))
            })
            .collect();
        let Some(writer) = &mut self.writer else { return 0 };
        let answers = writer.commit(&waiting);
        assert_eq!(answers.len(), records.len());
        let mut acknowledged = 0;
        for (record, answer) in records.into_iter().zip(answers) {
            match answer {
                Ok(position) => {
                    let before = self.promised.insert(position, record);
                    assert!(before.is_none(), "position {position} was given twice");
                    acknowledged += 1;
                }
                Err(CommitError::TooLong { .. } | CommitError::Closed) => panic!("nothing here is too long or shut"),
                Err(_) => {}
            }
        }
        acknowledged
    }

    fn trim(&mut self, upto: u64) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        let upto = upto.min(self.promised.keys().next_back().copied().unwrap_or(self.trimmed));
        let done = writer.trim(upto).is_ok();
        if done {
            self.trimmed = self.trimmed.max(upto);
        }
        self.perhaps_trimmed = self.perhaps_trimmed.max(upto);
        done
    }

    fn trim_all(&mut self) -> bool {
        self.trim(u64::MAX)
    }

    fn lose_power(&mut self) {
        self.writer = None;
        let mut dice = self.dice;
        self.disk.lose_power(|| roll(&mut dice).is_multiple_of(2));
        self.dice = dice;
    }

    /// A record like no other.
    fn record(&mut self, len: usize) -> Bytes {
        let number = self.attempted.len() as u64;
        let mut bytes = number.to_le_bytes().to_vec();
        let mut seed = number + 1;
        bytes.resize_with(len.max(8), || roll(&mut seed).to_le_bytes()[0]);
        let record = Bytes::from(bytes);
        self.attempted.insert(record.clone());
        record
    }
}

/// Whether it was done or not: the bench has noted it.
fn done<T: Copy>(_: T) {}

/// SplitMix64.
fn roll(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A life with everything in it: several batches, a second and third segment, trims, reuse.
fn live(bench: &mut Bench, stop_at_fault: bool) {
    let stop = |bench: &Bench| stop_at_fault && bench.disk.has_failed();
    let chapters: [&dyn Fn(&mut Bench); 12] = [
        &|b| done(b.commit(&[100])),
        &|b| done(b.commit(&[10, 5000, 8, 4096, 700])),
        &|b| done(b.commit(&[20_000, 20_000])),
        &|b| done(b.trim(2)),
        &|b| done(b.commit(&[30_000, 9, 30_000])),
        &|b| done(b.commit(&[60_000])),
        &|b| done(b.trim(10)),
        &|b| done(b.commit(&[60_000, 100])),
        &|b| done(b.trim_all()),
        &|b| b.writer.iter_mut().for_each(Writer::prepare),
        &|b| done(b.commit(&[40_000, 40_000, 40_000])),
        &|b| done(b.commit(&[50])),
    ];
    for chapter in chapters {
        chapter(bench);
        if stop(bench) {
            return;
        }
    }
}

/// After any fault: opens, goes on, loses power, opens, goes on.
fn survive(bench: &mut Bench) {
    bench.disk.set_fault(None);
    bench.open().expect("it opens again");
    bench.lose_power();
    bench.open().expect("what was shown once stays");
    bench.trim(bench.trimmed + 2);
    let acknowledged = bench.commit(&[3000, 10]);
    assert!(acknowledged == 2 || bench.promised.len() > 2, "it takes records again");
    bench.lose_power();
    bench.open().expect("it opens again");
    assert!(bench.trim_all());
    assert_eq!(bench.commit(&[60_000, 60_000]), 2, "it takes records again");
    bench.open().expect("it opens after a clean end");
}

#[test]
fn every_step_may_fail_or_lie_and_nothing_acknowledged_is_lost() {
    let mut whole = Bench::new(0);
    whole.open().unwrap();
    live(&mut whole, false);
    assert!(whole.promised.len() > 15, "the life without a fault succeeds");
    let steps = whole.disk.steps();
    for step in ["create", "allocate", "write", "sync", "rename", "sync_dir"] {
        assert!(steps.contains(&step), "no {step} among {steps:?}");
    }
    for step in 0..steps.len() as u64 {
        for when in [When::Before, When::After] {
            for (stop_at_fault, power, seed) in [
                (true, false, 0),
                (false, false, 0),
                (true, true, 1),
                (true, true, 2),
                (true, true, 3),
                (false, true, 1),
                (false, true, 2),
            ] {
                let mut bench = Bench::new(seed * 1000 + step);
                let kind = io::ErrorKind::Other;
                bench.disk.set_fault(Some(Fault { step, when, kind, lasting: false }));
                if bench.open().is_ok() {
                    live(&mut bench, stop_at_fault);
                }
                assert!(bench.disk.has_failed());
                if power {
                    bench.lose_power();
                }
                survive(&mut bench);
            }
        }
    }
}

#[test]
fn a_full_disk_is_answered_and_forgotten_once_there_is_space() {
    let mut bench = Bench::new(0);
    bench.open().unwrap();
    assert_eq!(bench.commit(&[100]), 1);
    // The next segment finds no space; what fits the old one still fits.
    bench.disk.set_fault(Some(Fault { step: 0, when: When::Before, kind: io::ErrorKind::StorageFull, lasting: true }));
    let writer = bench.writer.as_mut().unwrap();
    let long = || Waiting::new(vec![Bytes::from(vec![1; 60_000])], 60_000);
    for _ in 0..3 {
        assert!(matches!(writer.commit(&[long()])[..], [Err(CommitError::NoSpace)]));
    }
    bench.disk.set_fault(None);
    assert_eq!(bench.commit(&[60_000, 60_000]), 2);
    bench.open().unwrap();
}

#[test]
fn a_read_only_disk_is_named_so() {
    let mut bench = Bench::new(0);
    bench.open().unwrap();
    let kind = io::ErrorKind::ReadOnlyFilesystem;
    bench.disk.set_fault(Some(Fault { step: 0, when: When::Before, kind, lasting: true }));
    let answers = bench.writer.as_mut().unwrap().commit(&[Waiting::new(vec![], 0)]);
    assert!(matches!(answers[..], [Err(CommitError::ReadOnly)]));
    bench.disk.set_fault(None);
    assert_eq!(bench.commit(&[10]), 1);
}

#[test]
fn a_failed_sync_is_never_taken_back_by_a_later_one() {
    let mut bench = Bench::new(7);
    bench.open().unwrap();
    assert_eq!(bench.commit(&[100]), 1);
    // A commit is a write and a sync.
    bench.disk.set_fault(Some(Fault { step: 1, when: When::Before, kind: io::ErrorKind::Other, lasting: false }));
    assert_eq!(bench.commit(&[200]), 0);
    assert_eq!(bench.disk.steps(), ["write", "sync"]);
    bench.disk.set_fault(None);
    assert_eq!(bench.commit(&[300]), 1);
    assert!(bench.disk.steps().contains(&"rename"), "the next commit went to another segment");
    bench.lose_power();
    bench.open().unwrap();
    assert_eq!(bench.promised.len(), 2);
}

/// The process dies after a failed sync; the page cache still shows the record. What replay shows must then be on disk.
#[test]
fn what_a_replay_shows_survives_power_loss_even_after_a_failed_sync() {
    let mut bench = Bench::new(7);
    bench.open().unwrap();
    assert_eq!(bench.commit(&[100]), 1);
    bench.disk.set_fault(Some(Fault { step: 1, when: When::Before, kind: io::ErrorKind::Other, lasting: false }));
    assert_eq!(bench.commit(&[200]), 0);
    bench.disk.set_fault(None);
    bench.open().unwrap();
    assert_eq!(bench.promised.len(), 2, "the page cache shows it");
    assert_eq!(bench.commit(&[300]), 1);
    bench.lose_power();
    bench.open().unwrap();
    assert_eq!(bench.promised.len(), 3);
}

/// Three batches; each byte that a replay needs is damaged once.
#[test]
fn damage_before_the_last_batch_is_refused_with_its_position() {
    let mut bench = Bench::new(0);
    bench.open().unwrap();
    for _ in 0..3 {
        assert_eq!(bench.commit(&[50, 50]), 2);
    }
    let segment = "seg-0000000000000001.lgj";
    // Two records of 82 bytes, the second at the next multiple of 8, in each block from the second on.
    let records = [(1, 4096), (2, 4184), (3, 8192), (4, 8280)];
    for (position, at) in records {
        for byte in at..at + 82 {
            bench.disk.flip(segment, byte);
            match bench.open() {
                Err(JournalError::Damaged { position: found, offset, generation: 1 }) => {
                    assert_eq!((found, offset), (position, at), "byte {byte}");
                }
                other => panic!("byte {byte}: {other:?}"),
            }
            bench.disk.flip(segment, byte);
        }
    }
    for byte in 0..96 {
        bench.disk.flip(segment, byte);
        assert!(matches!(bench.open(), Err(JournalError::DamagedHeader { generation: 1 })), "byte {byte}");
        bench.disk.flip(segment, byte);
    }
    bench.open().unwrap();
    assert_eq!(bench.promised.len(), 6);
}

#[test]
fn a_segment_that_vanished_is_noticed() {
    use crate::disk::Disk;
    let mut bench = Bench::new(0);
    bench.open().unwrap();
    for _ in 0..3 {
        assert_eq!(bench.commit(&[50_000]), 1);
    }
    for (generation, missing) in [(1, 1), (2, 2)] {
        let disk = bench.disk.clone();
        let name = format!("seg-{generation:016x}.lgj");
        disk.rename(&name, "elsewhere").unwrap();
        match bench.open() {
            Err(JournalError::Damaged { position, .. }) => assert_eq!(position, missing),
            other => panic!("{other:?}"),
        }
        disk.rename("elsewhere", &name).unwrap();
    }
    bench.open().unwrap();
}

/// A reused segment still holds whole records of its earlier life.
#[test]
fn records_of_an_earlier_life_never_come_back() {
    let mut bench = Bench::new(0);
    bench.open().unwrap();
    for _ in 0..40 {
        assert_eq!(bench.commit(&[3000]), 1);
        assert!(bench.trim_all());
    }
    assert_eq!(bench.commit(&[10]), 1);
    bench.open().unwrap();
    assert_eq!(bench.promised.len(), 1);
}

/// A failed record stays in its abandoned file. The file is used again, starts with the same position, and the process dies
/// before the first batch: then the old bytes stand exactly where a record of that position would.
#[test]
fn a_failed_record_does_not_come_back_through_a_reused_file() {
    let mut bench = Bench::new(0);
    bench.open().unwrap();
    assert_eq!(bench.commit(&[10_000]), 1);
    bench.disk.set_fault(Some(Fault { step: 8, when: When::Before, kind: io::ErrorKind::Other, lasting: false }));
    assert_eq!(bench.commit(&[60_000]), 0);
    let steps = ["create", "allocate", "allocate", "write", "sync", "rename", "sync_dir", "write", "sync"];
    assert_eq!(bench.disk.steps(), steps);
    bench.disk.set_fault(Some(Fault { step: 6, when: When::Before, kind: io::ErrorKind::Other, lasting: true }));
    assert_eq!(bench.commit(&[60_000]), 0);
    let steps = ["rename", "sync_dir", "allocate", "write", "sync", "rename", "sync_dir", "remove", "remove"];
    assert_eq!(bench.disk.steps(), steps);
    bench.disk.set_fault(None);
    bench.open().unwrap();
    assert_eq!(bench.promised.len(), 1);
}

#[derive(Debug, Clone)]
enum Deed {
    Commit(Vec<usize>),
    Trim(u64),
    Fault(u64, When, bool),
    Heal,
    Prepare,
    Reopen,
    PowerLoss,
    Resize(u64),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let len = prop_oneof![3 => 8..2000_usize, 1 => 2000..20_000_usize, 1 => Just(61_408_usize)];
    let deed = prop_oneof![
        8 => prop::collection::vec(len, 1..6).prop_map(Deed::Commit),
        4 => (0..12_u64).prop_map(Deed::Trim),
        3 => (0..12_u64, prop_oneof![Just(When::Before), Just(When::After)], any::<bool>())
            .prop_map(|(step, when, lasting)| Deed::Fault(step, when, lasting)),
        2 => Just(Deed::Heal),
        1 => Just(Deed::Prepare),
        2 => Just(Deed::Reopen),
        2 => Just(Deed::PowerLoss),
        1 => (1..3_u64).prop_map(Deed::Resize),
    ];
    prop::collection::vec(deed, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_what_was_acknowledged_is_replayed_in_order(deeds in deeds(), seed in any::<u64>()) {
        let mut bench = Bench::new(seed);
        bench.open().unwrap();
        for deed in deeds {
            match deed {
                Deed::Commit(lens) => done(bench.commit(&lens)),
                Deed::Trim(more) => done(bench.trim(bench.trimmed + more)),
                Deed::Fault(step, when, lasting) => {
                    bench.disk.set_fault(Some(Fault { step, when, kind: io::ErrorKind::Other, lasting }));
                }
                Deed::Heal => bench.disk.set_fault(None),
                Deed::Prepare => bench.writer.iter_mut().for_each(Writer::prepare),
                // With a fault standing it may not open; without one it must.
                Deed::Reopen => drop(bench.open()),
                Deed::PowerLoss => {
                    bench.lose_power();
                    bench.disk.set_fault(None);
                    bench.open().unwrap();
                }
                Deed::Resize(times) => {
                    let segment_bytes = times * MIN_SEGMENT_BYTES;
                    bench.config = JournalConfig { segment_bytes, max_bytes: 4 * segment_bytes };
                }
            }
        }
        survive(&mut bench);
    }
}
