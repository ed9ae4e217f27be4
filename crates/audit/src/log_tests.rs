//! What the log promises, tried out.

use super::*;
use crate::{Entry, EntryError, Event, Hash, MemoryDisk, NoteError, Outcome, SubjectToken, leaf_hash, tile, verify};
use leadglass_model::{EntryId, UnixMillis};
use std::sync::atomic::{AtomicUsize, Ordering};

const SEED: [u8; 32] = [3; 32];
const ORIGIN: &str = "leadglass/test";

fn report(n: u64) -> NewEntry {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    NewEntry {
        subject: n.is_multiple_of(3).then_some(SubjectToken([u8::try_from(n % 5).unwrap(); 16])),
        detail: n.is_multiple_of(4).then(|| vec![u8::try_from(n % 251).unwrap(); 50]),
        ..NewEntry::new(EntryId::from_bytes(id), UnixMillis(1_000 + n), Event::InstancesAccessed, Outcome::Success)
    }
}

fn open(disk: &dyn Fn() -> Box<dyn Disk>) -> Result<Log, OpenError> {
    Log::open_on(disk(), ORIGIN, &SEED, LogOptions::default())
}

fn open_memory(disk: &MemoryDisk) -> Result<Log, OpenError> {
    open(&|| Box::new(disk.clone()))
}

/// Appends `range` in batches of `step`, positions counting from 1.
fn fill(log: &Log, range: std::ops::Range<u64>, step: usize) {
    let all: Vec<u64> = range.collect();
    for batch in all.chunks(step) {
        log.append(batch.iter().map(|n| report(*n)).collect(), Some(batch[0] + 1)).unwrap();
    }
}

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let disk = MemoryDisk::default();
    let head = {
        let log = open_memory(&disk).unwrap();
        fill(&log, 0..300, 7);
        log.publish().unwrap();
        fill(&log, 300..700, 11);
        log.head()
    };
    let log = open_memory(&disk).unwrap();
    assert_eq!(log.head(), head);
    assert_eq!(head.size, 700);
    for seq in 0..700 {
        let entry = log.entry(seq).unwrap();
        assert_eq!(entry.report.entry_id, report(seq).entry_id);
        assert_eq!(log.detail(seq).unwrap(), report(seq).detail);
    }
    assert_eq!(log.verify().unwrap(), head);
    assert!(matches!(log.entry(700), Err(ReadError::OutOfRange { size: 700 })));
}

#[test]
fn a_position_is_taken_once_also_after_opening_again() {
    let disk = MemoryDisk::default();
    let log = open_memory(&disk).unwrap();
    let head = log.append(vec![report(0), report(1)], Some(10)).unwrap();
    assert_eq!(log.append(vec![report(0), report(1)], Some(10)).unwrap(), head);
    drop(log);
    let log = open_memory(&disk).unwrap();
    assert_eq!(log.position(), Some(10));
    assert_eq!(log.append(vec![report(0)], Some(9)).unwrap(), head);
    assert_eq!(log.append(vec![], Some(11)).unwrap(), head);
    log.append(vec![report(2)], None).unwrap();
    log.publish().unwrap();
    drop(log);
    assert_eq!(open_memory(&disk).unwrap().position(), Some(11));
}

#[test]
fn proofs_hold_for_published_and_unpublished_entries() {
    let log = open_memory(&MemoryDisk::default()).unwrap();
    fill(&log, 0..520, 13);
    log.publish().unwrap();
    fill(&log, 520..900, 17);
    let head = log.head();
    for seq in (0..900).step_by(37).chain([255, 256, 511, 512, 519, 520, 899]) {
        let proof = log.prove_inclusion(seq, 900).unwrap();
        let leaf = leaf_hash(&log.leaf(seq).unwrap());
        assert_eq!(verify::inclusion(&leaf, seq, 900, &proof, &head.root), Ok(()));
    }
    for old in [0, 1, 255, 256, 257, 512, 520, 521, 899, 900] {
        let proof = log.prove_consistency(old, 900).unwrap();
        assert_eq!(verify::consistency(old, &log.root_at(old).unwrap(), 900, &head.root, &proof), Ok(()));
    }
}

#[test]
fn a_subjects_entries_are_chained_and_a_missing_one_is_noticed() {
    let log = open_memory(&MemoryDisk::default()).unwrap();
    fill(&log, 0..200, 9);
    let mut one: Vec<Entry> = (0..200).map(|s| log.entry(s).unwrap()).collect();
    one.retain(|e| e.report.subject == Some(SubjectToken([3; 16])));
    assert!(one.len() > 5);
    assert_eq!(verify::subject_chain(&one), Ok(()));
    let seq = one[4].seq;
    one.remove(3);
    assert_eq!(verify::subject_chain(&one), Err(verify::VerifyError::Chain { seq }));
}

/// Every byte of every file, changed: the log refuses to open, or (details) to give out the changed bytes.
#[test]
fn every_changed_byte_is_found() {
    let disk = MemoryDisk::default();
    let log = open_memory(&disk).unwrap();
    fill(&log, 0..259, 40);
    log.publish().unwrap();
    fill(&log, 259..262, 2);
    let details: Vec<_> = (0..262).map(|s| log.detail(s).unwrap()).collect();
    drop(log);
    for name in disk.names() {
        let bytes = disk.read(&name).unwrap().unwrap();
        // A stride that hits every kind of byte; the small files are tried whole.
        let step = if bytes.len() < 1500 { 1 } else { 101 };
        for at in (0..bytes.len()).step_by(step) {
            let copy = disk.copy();
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            copy.replace(&name, &changed).unwrap();
            match open_memory(&copy) {
                Err(_) => {}
                Ok(log) if name.starts_with("detail/") => {
                    for (seq, detail) in (0..).zip(&details) {
                        let read = log.detail(seq);
                        assert!(read.as_ref().is_err() || read.as_ref().ok() == Some(detail), "{name} byte {at}");
                    }
                }
                Ok(_) => panic!("{name}: a change at byte {at} was not found"),
            }
        }
    }
}

#[test]
fn every_missing_or_shortened_file_is_found() {
    let disk = MemoryDisk::default();
    let log = open_memory(&disk).unwrap();
    fill(&log, 0..600, 50);
    log.publish().unwrap();
    drop(log);
    for name in disk.names().into_iter().filter(|n| !n.starts_with("detail/")) {
        let gone = disk.copy();
        gone.remove(&name).unwrap();
        assert!(open_memory(&gone).is_err(), "{name} is gone");
        let bytes = disk.read(&name).unwrap().unwrap();
        for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let cut = disk.copy();
            cut.replace(&name, &bytes[..len]).unwrap();
            assert!(open_memory(&cut).is_err(), "{name} cut to {len}");
        }
    }
}

/// Leaves swapped, dropped or doubled inside a bundle, with tiles made to fit by somebody without the log's key.
#[test]
fn reordered_entries_are_found_even_with_new_tiles() {
    let disk = MemoryDisk::default();
    let log = open_memory(&disk).unwrap();
    fill(&log, 0..5, 5);
    log.publish().unwrap();
    drop(log);
    let bundle = disk.read("tile/entries/000.p/5").unwrap().unwrap();
    let mut leaves = tile::parse_bundle(&bundle, 5).unwrap();
    leaves.swap(1, 2);
    disk.replace("tile/entries/000.p/5", &tile::bundle_bytes(leaves.iter().map(Vec::as_slice))).unwrap();
    let hashes: Vec<Hash> = leaves.iter().map(|l| leaf_hash(l)).collect();
    disk.replace("tile/0/000.p/5", &tile::hash_tile_bytes(&hashes)).unwrap();
    assert!(matches!(open_memory(&disk), Err(OpenError::Entry { seq: 1 })));
}

/// The tail cut at every byte: what was acknowledged before the cut frame is there, and the log goes on.
#[test]
fn a_tail_torn_anywhere_opens_with_what_came_before() {
    let disk = MemoryDisk::default();
    let log = open_memory(&disk).unwrap();
    fill(&log, 0..4, 2);
    let before = disk.read(TAIL).unwrap().unwrap().len();
    fill(&log, 4..6, 2);
    drop(log);
    let bytes = disk.read(TAIL).unwrap().unwrap();
    for len in before..bytes.len() {
        let cut = disk.copy();
        cut.replace(TAIL, &bytes[..len]).unwrap();
        let log = open_memory(&cut).unwrap();
        assert_eq!(log.head().size, 4, "cut to {len}");
        fill(&log, 4..6, 2);
        let head = log.head();
        drop(log);
        assert_eq!(open_memory(&cut).unwrap().head(), head);
    }
    // A sector that never reached the disk.
    let mut hole = bytes.clone();
    let from = before.next_multiple_of(SECTOR);
    assert!(from + 40 < hole.len());
    hole[from..].fill(0);
    let torn = disk.copy();
    torn.replace(TAIL, &hole).unwrap();
    assert_eq!(open_memory(&torn).unwrap().head().size, 4);
}

const SECTOR: usize = 512;

/// How the operation fails that the fault table picks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fail {
    NotDone,
    DoneButReported,
    HalfDone,
}

/// Fails one operation, and every one after it if the process is to die there.
#[derive(Clone)]
struct Faulty {
    inner: MemoryDisk,
    left: Arc<AtomicUsize>,
    fail: Fail,
    dies: bool,
}

impl Faulty {
    fn strike(&self) -> Option<Fail> {
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
            Ok(1) => Some(self.fail),
            Ok(_) => None,
            Err(_) if self.dies => Some(Fail::NotDone),
            Err(_) => None,
        }
    }
    fn run(&self, half: impl FnOnce(&MemoryDisk), whole: impl FnOnce(&MemoryDisk)) -> io::Result<()> {
        match self.strike() {
            None => {
                whole(&self.inner);
                return Ok(());
            }
            Some(Fail::NotDone) => {}
            Some(Fail::DoneButReported) => whole(&self.inner),
            Some(Fail::HalfDone) => half(&self.inner),
        }
        Err(io::Error::other("failed on purpose"))
    }
}

impl Disk for Faulty {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.inner.read(path)
    }
    fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        // Temporary file, fsync, rename: half of it leaves no trace under the name.
        self.run(|_| (), |d| d.replace(path, bytes).unwrap())
    }
    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.run(|d| d.append(path, &bytes[..bytes.len() / 2]).unwrap(), |d| d.append(path, bytes).unwrap())
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.run(|_| (), |d| d.remove(path).unwrap())
    }
}

/// Work that touches every durable step: appends, publishes over bundle borders, details. A caller that is told of a
/// failure tries the position again, as the journal's drain does.
fn work(disk: Box<dyn Disk>, acknowledged: &mut u64, tries: usize) {
    let Ok(log) = Log::open_on(disk, ORIGIN, &SEED, LogOptions { tail_bytes: 12_000 }) else { return };
    for position in log.position().unwrap_or(0) + 1..=20 {
        let batch: Vec<NewEntry> = (0..30).map(|n| report(position * 30 + n)).collect();
        let done = (0..tries).any(|_| log.append(batch.clone(), Some(position)).is_ok());
        if !done {
            return;
        }
        *acknowledged = position;
        if position % 6 == 0 {
            log.publish().ok();
        }
    }
}

/// The fault table: {every durable step} × {not done, done but reported failed, half done} × {dies there, goes on}.
#[test]
fn no_failing_step_loses_or_doubles_an_entry() {
    let clean = MemoryDisk::default();
    work(Box::new(clean.clone()), &mut 0, 1);
    let want: Vec<EntryId> = ids(&clean);
    assert_eq!(want.len(), 600);
    let mut steps = 0;
    for fail in [Fail::NotDone, Fail::DoneButReported, Fail::HalfDone] {
        for dies in [true, false] {
            for step in 1.. {
                let inner = MemoryDisk::default();
                let left = Arc::new(AtomicUsize::new(step));
                let mut acknowledged = 0;
                let faulty = Faulty { inner: inner.clone(), left: Arc::clone(&left), fail, dies };
                work(Box::new(faulty), &mut acknowledged, 2);
                let reached = left.load(Ordering::SeqCst) == 0;
                let name = format!("{fail:?}, dies: {dies}, step {step}");
                let log = open_memory(&inner).unwrap_or_else(|e| panic!("{name}: {e:?}"));
                assert!(log.position().unwrap_or(0) >= acknowledged, "{name}: an acknowledged batch is lost");
                drop(log);
                work(Box::new(inner.clone()), &mut acknowledged, 1);
                assert_eq!(ids(&inner), want, "{name}");
                if !reached {
                    break;
                }
                steps += 1;
            }
        }
    }
    assert!(steps > 200, "the table has {steps} rows");
}

fn ids(disk: &MemoryDisk) -> Vec<EntryId> {
    let log = open_memory(disk).unwrap();
    (0..log.head().size).map(|seq| log.entry(seq).unwrap().report.entry_id).collect()
}

#[test]
fn many_threads_share_commits_and_nobody_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), ORIGIN, &SEED).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..25 {
                    let head = log.append(vec![report(thread * 25 + n)], None).unwrap();
                    assert!(head.size > n);
                }
            });
        }
    });
    assert_eq!(log.head().size, 200);
    log.publish().unwrap();
    let mut seen: Vec<EntryId> = (0..200).map(|s| log.entry(s).unwrap().report.entry_id).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 200);
    assert!(matches!(Log::open(dir.path(), ORIGIN, &SEED), Err(OpenError::Locked)));
    drop(log);
    let log = Log::open(dir.path(), ORIGIN, &SEED).unwrap();
    assert_eq!(log.verify().unwrap().size, 200);
    fill(&log, 200..300, 10);
    log.publish().unwrap();
    drop(log);
    let log = Log::open(dir.path(), ORIGIN, &SEED).unwrap();
    assert_eq!(log.head().size, 300);
    // Only the partial tiles of the newest head are left.
    assert!(!dir.path().join("tile/entries/000.p").exists());
    assert!(dir.path().join("tile/entries/001.p/44").exists());
}

#[test]
fn a_log_with_another_key_or_name_does_not_open() {
    let disk = MemoryDisk::default();
    open_memory(&disk).unwrap();
    let other = |origin, seed| Log::open_on(Box::new(disk.clone()), origin, seed, LogOptions::default());
    assert!(matches!(other(ORIGIN, &[4; 32]), Err(OpenError::Checkpoint(NoteError::NotSigned))));
    assert!(matches!(other("leadglass/other", &SEED), Err(OpenError::Checkpoint(NoteError::OtherLog))));
}

#[test]
fn a_cosignature_stays_with_the_published_checkpoint() {
    let disk = MemoryDisk::default();
    let log = open_memory(&disk).unwrap();
    fill(&log, 0..3, 1);
    let note = log.publish().unwrap();
    let witness = crate::Cosigner::from_seed("witness", &[9; 32]).unwrap();
    let cosigned = witness.cosign(log.public_key(), None, &note, &[], 77).unwrap();
    log.keep_cosignature(&note, &cosigned.line).unwrap();
    drop(log);
    let stored = String::from_utf8(disk.read(CHECKPOINT).unwrap().unwrap()).unwrap();
    assert_eq!(witness.public().cosigned_at(&stored), Some(77));
    assert_eq!(open_memory(&disk).unwrap().head(), cosigned.head);
}

#[test]
fn what_is_too_large_is_refused_whole() {
    let log = open_memory(&MemoryDisk::default()).unwrap();
    let long = NewEntry { detail: Some(vec![0; crate::MAX_DETAIL_BYTES + 1]), ..report(1) };
    assert!(matches!(log.append(vec![report(0), long], Some(1)), Err(AppendError::Entry(EntryError::TooLong))));
    assert!(matches!(log.append(vec![report(1); MAX_BATCH + 1], Some(1)), Err(AppendError::TooLarge)));
    assert_eq!(log.head().size, 0);
    assert_eq!(log.position(), None);
}
