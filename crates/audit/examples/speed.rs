//! How fast the log is: appends, reading back, proofs, a report. `cargo run --release -p leadglass-audit --example speed -- DIR
//! [ENTRIES]`; figures stand in benches/README.md.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends where it fails, and prints")]

use leadglass_audit::{
    ClientRef, Event, KnownKeys, LeaseId, Log, NewEntry, Outcome, ReadOnlyDisk, SubjectToken, verify, verify_offline,
};
use leadglass_model::{ActorRef, EntryId, Purpose, Role, StudyRef, TenantId, UnixMillis};
use std::{path::PathBuf, time::Instant};

fn entry(n: u64) -> NewEntry {
    let id = |salt: u64| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        id[8..].copy_from_slice(&salt.to_be_bytes());
        id
    };
    let mut subject = [1; 16];
    subject[..8].copy_from_slice(&(n % 20_000).to_be_bytes());
    NewEntry {
        tenant: Some(TenantId::from_bytes([1; 16])),
        actor: Some(ActorRef([2; 16])),
        client: Some(ClientRef([3; 16])),
        role: Some(Role::Clinician),
        purpose: Some(Purpose::Care),
        subject: Some(SubjectToken(subject)),
        study: Some(StudyRef::from_bytes(id(1))),
        lease: Some(LeaseId(id(2))),
        ..NewEntry::new(EntryId::from_bytes(id(3)), UnixMillis(n), Event::InstancesAccessed, Outcome::Success)
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("a directory for the log"));
    let entries: u64 = arguments.next().map_or(1_000_000, |n| n.parse().unwrap());
    let rate = |n: u64, at: Instant| n as f64 / at.elapsed().as_secs_f64();

    let log = Log::open(&dir, "leadglass/speed", &[7; 32]).unwrap();
    // One entry a commit from each of eight threads that wait for it: as accesses come.
    let at = Instant::now();
    let single = entries.min(20_000);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for n in (thread..single).step_by(8) {
                    log.append(vec![entry(n)], None).unwrap();
                }
            });
        }
    });
    println!("appends, 8 at a time, each durable  {:>10.0} /s", rate(single, at));
    let at = Instant::now();
    for from in (single..entries).step_by(512) {
        log.append((from..entries.min(from + 512)).map(entry).collect(), None).unwrap();
    }
    println!("appends, as the drain's batches     {:>10.0} /s", rate(entries - single, at));
    log.publish().unwrap();

    let head = log.head();
    let at = Instant::now();
    for n in 0..1_000 {
        let seq = n * (entries / 1_000);
        let proof = log.prove_inclusion(seq, head.size).unwrap();
        let leaf = leadglass_audit::leaf_hash(&log.leaf(seq).unwrap());
        verify::inclusion(&leaf, seq, head.size, &proof, &head.root).unwrap();
    }
    println!("inclusion proofs                    {:>10.0} /s", rate(1_000, at));
    let mut subject = [1; 16];
    subject[..8].copy_from_slice(&77_u64.to_be_bytes());
    let at = Instant::now();
    let of = log.subject(SubjectToken(subject), 0).unwrap();
    println!("a patient's {} entries with proofs  {:>9.2} s", of.entries.len(), at.elapsed().as_secs_f64());
    let key = log.public_key().clone();
    drop(log);

    let at = Instant::now();
    let keys = KnownKeys { log: Some(key), ..KnownKeys::default() };
    let verdict = verify_offline(&ReadOnlyDisk::new(&dir), &keys, |_, _| {});
    assert!(verdict.flaw.is_none() && verdict.head == head, "{:?}", verdict.flaw);
    println!("verified from outside               {:>10.0} /s", rate(entries, at));
    let at = Instant::now();
    Log::open(&dir, "leadglass/speed", &[7; 32]).unwrap();
    println!("opened, all of it read              {:>10.0} /s", rate(entries, at));
}
