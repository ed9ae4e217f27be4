//! How long the scope of a breach takes over the logs on this machine: `cargo run -p leadglass-engine --example breach -- DIR
//! [ENTRIES]`. Two logs of so many entries each, on the disk; the way to the key service is not measured.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends where it fails, and prints")]

use leadglass_audit::{ClientRef, Entry, Event, Follower, Log, NewEntry, Outcome, SubjectToken};
use leadglass_engine::{Selector, Span, Tally};
use leadglass_model::{ActorRef, EntryId, KeyId, Purpose, StudyRef, TenantId, UnixMillis};
use std::{collections::HashMap, path::PathBuf, time::Instant};

fn id(n: u64, salt: u8) -> [u8; 16] {
    let mut id = [salt; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    id
}

fn entry(n: u64, event: Event) -> NewEntry {
    NewEntry {
        tenant: Some(TenantId::from_bytes([1; 16])),
        actor: Some(ActorRef(id(n % 40, 2))),
        purpose: Some(Purpose::Care),
        study: Some(StudyRef::from_bytes(id(n % 50_000, 3))),
        ..NewEntry::new(EntryId::from_bytes(id(n, 4)), UnixMillis(n), event, Outcome::Success)
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("a directory for the logs"));
    let entries: u64 = arguments.next().map_or(1_000_000, |n| n.parse().unwrap());
    let node = ClientRef([9; 16]);
    let access = |n| NewEntry { subject: Some(SubjectToken(id(n % 20_000, 5))), ..entry(n, Event::InstancesAccessed) };
    let unwrap = |n| NewEntry {
        entry_id: EntryId::from_bytes(id(n, 6)),
        client: Some(node),
        key: Some(KeyId::from_bytes(id(n % 50_000, 7))),
        related: Some(EntryId::from_bytes(id(n, 4))),
        ..entry(n, Event::KeyUnwrapped)
    };
    let write = |name: &str, make: &dyn Fn(u64) -> NewEntry| {
        let log = Log::open(&dir.join(name), "leadglass/breach", &[7; 32]).unwrap();
        for from in (0..entries).step_by(1_024) {
            log.append((from..entries.min(from + 1_024)).map(make).collect(), None).unwrap();
        }
        log.publish().unwrap();
        log
    };
    let (own, keys) = (write("own", &access), write("keys", &unwrap));

    // A third of the span, so that what is held stays within its bound.
    let (from, to) = (UnixMillis(entries / 3), UnixMillis(entries / 3 * 2));
    for (name, by) in [("person", Selector::Actor(ActorRef(id(7, 2)))), ("node", Selector::Node(node))] {
        let at = Instant::now();
        let mut tally = Tally::new(Span { tenant: TenantId::from_bytes([1; 16]), by, from, to, me: node });
        let mut follower = Follower::begin(keys.public_key().clone());
        for start in (0..entries).step_by(512) {
            for leaf in keys.leaves(start..entries.min(start + 512)).unwrap() {
                tally.key_entry(&follower.take(&leaf).unwrap()).unwrap();
            }
        }
        follower.compare(&keys.checkpoint()).unwrap();
        for start in (0..entries).step_by(512) {
            for leaf in own.leaves(start..entries.min(start + 512)).unwrap() {
                tally.own_entry(&Entry::decode(&leaf).unwrap()).unwrap();
            }
        }
        let counted = tally.finish(&HashMap::new());
        let (studies, lost) = (counted.opened.len(), counted.unaccounted.len());
        println!(
            "{name:<7} 2 logs of {entries} entries  {:>6.2} s  {studies} studies, {lost} unaccounted",
            at.elapsed().as_secs_f64()
        );
    }
}
