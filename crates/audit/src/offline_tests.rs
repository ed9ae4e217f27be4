//! Attacks on a log that lies on a disk, each by its name (threats T17 and T18: edit, delete, reorder, truncate, write anew
//! and sign again, fork).

use super::*;
use crate::{Cosigner, Event, Log, LogKey, LogOptions, MemoryDisk, NewEntry, Outcome, SubjectToken};
use leadglass_model::{EntryId, UnixMillis};

const SEED: [u8; 32] = [3; 32];
const ORIGIN: &str = "leadglass/test";

fn report(n: u64, salt: u8) -> NewEntry {
    let mut id = [salt; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    NewEntry {
        subject: n.is_multiple_of(3).then_some(SubjectToken([u8::try_from(n % 5).unwrap(); 16])),
        ..NewEntry::new(EntryId::from_bytes(id), UnixMillis(1_000 + n), Event::InstancesAccessed, Outcome::Success)
    }
}

fn witness() -> Cosigner {
    Cosigner::from_seed("witness", &[9; 32]).unwrap()
}

fn open(disk: &MemoryDisk) -> Log {
    Log::open_on(Box::new(disk.clone()), ORIGIN, &SEED, LogOptions::default()).unwrap()
}

fn fill(log: &Log, range: std::ops::Range<u64>, salt: u8) {
    for n in range {
        log.append(vec![report(n, salt)], None).unwrap();
    }
}

fn cosign(log: &Log) {
    let note = log.checkpoint();
    let signed = witness().cosign(log.public_key(), None, &note, &[], 1_000).unwrap();
    log.keep_cosignature(&note, &signed.line).unwrap();
}

/// 600 entries: 500 published, 550 cosigned.
fn honest() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let log = open(&disk);
    fill(&log, 0..500, 1);
    log.publish().unwrap();
    fill(&log, 500..550, 1);
    cosign(&log);
    fill(&log, 550..600, 1);
    disk
}

fn keys() -> KnownKeys {
    let log = LogKey::from_seed(ORIGIN, &SEED).unwrap().public();
    KnownKeys { log: Some(log), witness: Some(witness().public()), seen: Vec::new() }
}

fn verify(disk: &MemoryDisk) -> Verdict {
    verify_offline(disk, &keys(), |_, _| {})
}

fn flaw(disk: &MemoryDisk) -> String {
    verify(disk).flaw.expect("it must be found").to_string()
}

/// The first bundle's leaves, changed.
fn with_first_bundle(disk: &MemoryDisk, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let path = tile::bundle_path(0, WIDTH);
    let mut leaves = tile::parse_bundle(&disk.read(&path).unwrap().unwrap(), WIDTH).unwrap();
    change(&mut leaves);
    disk.replace(&path, &tile::bundle_bytes(leaves.iter().map(Vec::as_slice))).unwrap();
}

#[test]
fn a_whole_log_verifies_and_says_how_far_it_was_witnessed() {
    let verdict = verify(&honest());
    assert!(verdict.flaw.is_none(), "{:?}", verdict.flaw);
    assert_eq!((verdict.head.size, verdict.published, verdict.cosigned), (600, 500, Some((550, 1_000))));
    assert_eq!(verdict.origin, ORIGIN);
}

#[test]
fn an_edited_entry_is_named() {
    let disk = honest();
    with_first_bundle(&disk, |leaves| {
        let mut entry = Entry::decode(&leaves[7]).unwrap();
        entry.report.time = UnixMillis(5);
        leaves[7] = entry.encode();
    });
    assert_eq!(flaw(&disk), "entry 7 was changed after it was written");
    with_first_bundle(&disk, |leaves| leaves[3][0] ^= 0xff);
    assert_eq!(flaw(&disk), "entry 3 was changed: it no longer reads");
}

#[test]
fn a_deleted_and_a_moved_entry_are_named() {
    let disk = honest();
    with_first_bundle(&disk, |leaves| leaves.swap(10, 11));
    assert_eq!(flaw(&disk), "where entry 10 belongs stands entry 11: entries were left out, put in or moved");
    let disk = honest();
    let path = tile::bundle_path(0, WIDTH);
    let mut leaves = tile::parse_bundle(&disk.read(&path).unwrap().unwrap(), WIDTH).unwrap();
    leaves.remove(20);
    disk.replace(&path, &tile::bundle_bytes(leaves.iter().map(Vec::as_slice))).unwrap();
    assert_eq!(flaw(&disk), "entries 0 to 255 are missing or were cut: their bundle does not read");
}

#[test]
fn an_end_that_was_cut_off_is_named() {
    // Frames off the tail: the witness has seen more.
    let disk = honest();
    let tail = disk.read(TAIL).unwrap().unwrap();
    let frames = frame::parse(&tail, keys().log.as_ref().unwrap()).unwrap().frames.len();
    assert_eq!(frames, 101);
    let each = tail.len() / frames;
    // Cut at a border of frames: all that a torn write could leave, and what a crash never leaves behind the witness.
    let mut at = tail.len() - 70 * each;
    while frame::parse(&tail[..at], keys().log.as_ref().unwrap()).unwrap().whole_bytes != at {
        at -= 1;
    }
    disk.replace(TAIL, &tail[..at]).unwrap();
    let found = flaw(&disk);
    assert!(found.contains("the witness signed 550: its end was cut off"), "{found}");
}

/// Whoever holds the log's own key writes another history and signs it. Only the witness's signature tells.
#[test]
fn a_history_that_was_signed_anew_is_not_the_one_the_witness_saw() {
    let honest = honest();
    let forged = MemoryDisk::default();
    let log = open(&forged);
    fill(&log, 0..100, 1);
    fill(&log, 100..600, 2);
    log.publish().unwrap();
    drop(log);
    assert_eq!(flaw(&forged), "no checkpoint here carries the witness's signature");
    forged.replace(COSIGNED, &honest.read(COSIGNED).unwrap().unwrap()).unwrap();
    assert_eq!(
        flaw(&forged),
        "the witness signed another history of the first 550 entries: the log was written anew and signed again"
    );
    // The same without a witness: a checkpoint that somebody was handed does it, too.
    let seen = vec![String::from_utf8(honest.read(COSIGNED).unwrap().unwrap()).unwrap()];
    let verdict = verify_offline(&forged, &KnownKeys { seen, witness: None, ..keys() }, |_, _| {});
    assert_eq!(verdict.flaw.unwrap().code(), "fork");
}

/// A witness refuses to sign a fork, whatever the log signs.
#[test]
fn the_witness_refuses_the_fork() {
    let (disk, other) = (honest(), MemoryDisk::default());
    let (log, forged) = (open(&disk), open(&other));
    fill(&forged, 0..700, 2);
    let seen = TreeHead { size: 550, root: log.root_at(550).unwrap() };
    let proof = forged.prove_consistency(550, 700).unwrap();
    let refused = witness().cosign(log.public_key(), Some(&seen), &forged.checkpoint(), &proof, 2_000);
    assert!(matches!(refused, Err(crate::CosignError::Fork { size: 700, seen: 550, .. })));
}

#[test]
fn an_older_state_of_everything_is_found_by_what_was_handed_out() {
    let disk = honest();
    let log = open(&disk);
    fill(&log, 600..650, 1);
    let seen = vec![log.checkpoint()];
    drop(log);
    let older = honest();
    let verdict = verify_offline(&older, &KnownKeys { seen, ..keys() }, |_, _| {});
    assert_eq!(verdict.flaw.unwrap().code(), "cut-off");
    assert!(open_error(&older, &disk).contains("the log has 600 entries, its witness signed 650"));
}

/// The node itself refuses it when the newest cosigned checkpoint is still there.
fn open_error(older: &MemoryDisk, newer: &MemoryDisk) -> String {
    let log = open(newer);
    cosign(&log);
    older.replace(COSIGNED, &newer.read(COSIGNED).unwrap().unwrap()).unwrap();
    Log::open_on(Box::new(older.clone()), ORIGIN, &SEED, LogOptions::default()).unwrap_err().to_string()
}

#[test]
fn another_key_and_another_witness_are_not_believed() {
    let disk = honest();
    let other = LogKey::from_seed(ORIGIN, &[8; 32]).unwrap().public();
    let verdict = verify_offline(&disk, &KnownKeys { log: Some(other), ..keys() }, |_, _| {});
    assert_eq!(verdict.flaw.unwrap().code(), "checkpoint");
    let stranger = Cosigner::from_seed("witness", &[1; 32]).unwrap().public();
    let verdict = verify_offline(&disk, &KnownKeys { witness: Some(stranger), ..keys() }, |_, _| {});
    assert_eq!(verdict.flaw.unwrap().code(), "not-witnessed");
}
