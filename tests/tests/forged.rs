//! A real log and what can be done to it by whoever holds its disk, or the vault's key as well: `leadglass audit verify` names each,
//! and the witness refuses.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_audit::{Event, Log, NewEntry, Outcome};
use leadglass_model::{EntryId, UnixMillis};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::process::until;
use leadglass_tests::scratch;
use leadglass_tests::site::{alarms, copy_tree, drained, halt, metric};
use leadglass_tests::thief;
use leadglass_tests::vault::{Vault, program};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
/// A whole bundle of entries and part of a second.
const STUDIES: u64 = 300;
const WIDTH: u64 = 256;
const ORIGIN: &str = "leadglass/vault";

fn audit(vault: &Vault, arguments: &[&str]) -> String {
    let all: Vec<&OsStr> = ["audit"].iter().chain(arguments).map(OsStr::new).collect();
    let output = vault.run(&all);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn stored(vault: &Vault, numbers: RangeInclusive<u64>) {
    for number in numbers {
        let (f, data_set) = Fixture::named("ct-3.dcm").visit(number);
        assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
    }
    drained(vault);
}

/// What a stranger finds who has a copy of the log, the public keys and perhaps a report.
struct Stranger {
    keys: PathBuf,
    report: PathBuf,
}

impl Stranger {
    fn of(vault: &Vault) -> Self {
        let at = |name: &str| vault.folder().join(name);
        let path = |name: &str| at(name).display().to_string();
        let data = vault.folder().display().to_string();
        fs::write(at("keys.json"), audit(vault, &["keys", "--data", &data, "--json"])).unwrap();
        fs::write(at("patient"), Fixture::named("ct-3.dcm").patient_id).unwrap();
        audit(vault, &["report", "--data", &data, "--patient-file", &path("patient"), "--proof", &path("r.json")]);
        Self { keys: at("keys.json"), report: at("r.json") }
    }

    fn verify(&self, log: &Path, more: &[&OsStr]) -> (i32, Value) {
        let mut command = Command::new(program());
        let output = command.args(["audit", "verify", "--json"]).arg(log).args(more).output().unwrap();
        let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (output.status.code().unwrap(), told)
    }

    fn with_keys(&self, log: &Path) -> (i32, Value) {
        self.verify(log, &["--keys".as_ref(), self.keys.as_ref()])
    }

    /// The fault's name and the sentence about it.
    fn named(&self, log: &Path) -> (String, String) {
        named(self.with_keys(log))
    }

    /// With a report of earlier and without the witness's key.
    fn named_by_report(&self, log: &Path) -> (String, String) {
        let keys: Value = serde_json::from_slice(&fs::read(&self.keys).unwrap()).unwrap();
        let own = keys["vault_key"].as_str().unwrap();
        let more: [&OsStr; 4] = ["--vault-key".as_ref(), own.as_ref(), "--seen".as_ref(), self.report.as_ref()];
        named(self.verify(log, &more))
    }
}

fn named((code, told): (i32, Value)) -> (String, String) {
    assert_eq!((code, &told["whole"]), (1, &json!(false)), "it was not found: {told}");
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    (text("fault"), text("sentence"))
}

/// A file of a log's folder, changed.
fn change(log: &Path, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = log.join(file);
    let mut bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// A bundle's leaves, changed: each lies behind its length in two bytes.
fn bundle(log: &Path, file: &str, alter: impl FnOnce(&mut Vec<Vec<u8>>)) {
    change(log, file, |bytes| {
        let (mut leaves, mut rest) = (Vec::new(), bytes.as_slice());
        while let Some((len, more)) = rest.split_first_chunk::<2>() {
            let (leaf, more) = more.split_at(usize::from(u16::from_be_bytes(*len)));
            leaves.push(leaf.to_vec());
            rest = more;
        }
        alter(&mut leaves);
        let framed = |leaf: &Vec<u8>| [&u16::try_from(leaf.len()).unwrap().to_be_bytes()[..], leaf].concat();
        *bytes = leaves.iter().flat_map(framed).collect();
    });
}

/// The log's key as the vault gets it: one record of a version, a time and 32 bytes, behind how many records there are.
fn stolen_seed(vault: &Vault) -> Vec<u8> {
    let (status, record) = thief::ask(vault, "/v1/secrets", &json!({ "tenant": "00".repeat(16), "name": "audit-log" }));
    assert_eq!((status, record.len()), (200, 44), "{}", String::from_utf8_lossy(&record));
    record[12..].to_vec()
}

/// What somebody who has the key puts into a log.
fn invented(n: u64) -> NewEntry {
    let mut id = [0xEE; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    NewEntry::new(EntryId::from_bytes(id), UnixMillis(1_000 + n), Event::Query, Outcome::Success)
}

/// The log of a folder, opened by whoever has its key. A folder of its own: opening takes it for oneself.
fn opened(log: &Path, seed: &[u8]) -> (tempfile::TempDir, Log) {
    let place = scratch();
    copy_tree(log, place.path()).unwrap();
    let log = Log::open(place.path(), ORIGIN, seed).unwrap();
    (place, log)
}

/// The first entries of a log without one of them, and something invented behind them, signed anew: as honest as a log can look.
fn signed_anew(honest: &Path, to: &Path, seed: &[u8], entries: impl Iterator<Item = u64>, more: u64) -> Log {
    let (_place, whole) = opened(honest, seed);
    let entry = |seq| NewEntry { detail: whole.detail(seq).unwrap(), ..whole.entry(seq).unwrap().report };
    let forged = Log::open(to, ORIGIN, seed).unwrap();
    forged.append(entries.map(entry).chain((0..more).map(invented)).collect(), None).unwrap();
    forged.publish().unwrap();
    forged
}

/// Asks the witness to sign a log behind what it has signed.
fn cosign(vault: &Vault, log: &Log, known: u64) -> (u16, Value) {
    let proof = log.prove_consistency(known, log.head().size).unwrap();
    let proof: Vec<String> = proof.iter().map(ToString::to_string).collect();
    let body = json!({ "checkpoint": log.checkpoint(), "old_size": known, "proof": proof });
    let (status, told) = thief::ask(vault, "/v1/log/cosign", &body);
    (status, serde_json::from_slice(&told).unwrap())
}

#[test]
fn whatever_is_done_to_a_copy_of_the_log_the_program_names_it_and_the_witness_refuses() {
    let mut vault = Vault::up();
    stored(&vault, 1..=STUDIES / 2);
    let place = scratch();
    let earlier = place.path().join("earlier");
    halt(&vault);
    copy_tree(&vault.up.data.vault.join("audit"), &earlier).unwrap();
    vault.restart();
    stored(&vault, STUDIES / 2 + 1..=STUDIES);
    let path = format!("/studies/{}/metadata", Fixture::named("ct-3.dcm").visit(1).0.study);
    assert_eq!(vault.ask(&path, Some(&vault.up.token), "application/dicom+json").status, 200);
    drained(&vault);
    let stranger = Stranger::of(&vault);
    let seed = stolen_seed(&vault);
    let entries = metric(&vault, "leadglass_audit_entries");
    assert!(until(SOON, || metric(&vault, "leadglass_audit_cosigned_entries") >= entries), "it is not cosigned");
    halt(&vault);

    let honest = place.path().join("honest");
    copy_tree(&vault.up.data.vault.join("audit"), &honest).unwrap();
    let (code, told) = stranger.with_keys(&honest);
    assert_eq!((code, &told["whole"]), (0, &json!(true)), "{told}");
    let size = told["entries"].as_u64().unwrap();
    let cosigned = told["cosigned"].as_u64().unwrap();
    let published = told["published"].as_u64().unwrap();
    assert!(published > STUDIES && cosigned >= entries, "{told}");
    let last = format!("tile/entries/001.p/{}", published - WIDTH);
    let first = "tile/entries/000";

    // By whoever holds the disk.
    let mut number = 0;
    let mut copy = || {
        number += 1;
        let to = place.path().join(number.to_string());
        copy_tree(&honest, &to).unwrap();
        to
    };
    type Attack<'a> = (&'a str, &'a str, &'a str, Box<dyn Fn(&Path) + 'a>);
    let attacks: [Attack<'_>; 12] = [
        ("edited", "entry-changed", "entry 70 was changed", {
            Box::new(|log| bundle(log, first, |leaves| *leaves[70].last_mut().unwrap() ^= 1))
        }),
        ("deleted", "entries-missing", "entries 0 to 255", {
            Box::new(|log| bundle(log, first, |leaves| drop(leaves.remove(70))))
        }),
        ("deleted, and the rest moved up", "entry-out-of-place", "where entry 70 belongs stands entry 71", {
            Box::new(|log| {
                let mut next = Vec::new();
                bundle(log, &last, |leaves| next = leaves.remove(0));
                bundle(log, first, |leaves| {
                    leaves.remove(70);
                    leaves.push(next);
                });
            })
        }),
        ("put in twice", "entry-out-of-place", "where entry 71 belongs stands entry 70", {
            Box::new(|log| bundle(log, first, |leaves| leaves[71] = leaves[70].clone()))
        }),
        ("reordered", "entry-out-of-place", "where entry 10 belongs stands entry 11", {
            Box::new(|log| bundle(log, first, |leaves| leaves.swap(10, 11)))
        }),
        ("its end is cut off", "entries-missing", "entries 256 to", {
            Box::new(|log| bundle(log, &last, |leaves| drop(leaves.pop())))
        }),
        ("a bundle is gone", "entries-missing", "entries 0 to 255", {
            Box::new(|log| fs::remove_file(log.join(first)).unwrap())
        }),
        ("another size is claimed", "checkpoint", "does not stand", {
            Box::new(|log| {
                change(log, "checkpoint", |note| {
                    let digit = note.iter().position(u8::is_ascii_digit).unwrap();
                    note[digit] ^= 1;
                });
            })
        }),
        ("the newest are edited", "tail", "the log's tail was changed", {
            Box::new(|log| {
                change(log, "tail", |frames| {
                    let middle = frames.len() / 2;
                    frames[middle] ^= 1;
                });
            })
        }),
        ("a hash is changed", "entry-changed", "entry 1 was changed", {
            Box::new(|log| change(log, "tile/0/000", |tile| tile[40] ^= 1))
        }),
        ("the hashes are gone", "tile", "tile 0 at level 0", {
            Box::new(|log| fs::remove_file(log.join("tile/0/000")).unwrap())
        }),
        ("the witness's signature is gone", "not-witnessed", "witness", {
            Box::new(|log| {
                fs::remove_file(log.join("cosigned")).unwrap();
                change(log, "checkpoint", |note| {
                    let text = String::from_utf8(note.clone()).unwrap();
                    let own = text.rfind("\u{2014} leadglass/vault").unwrap();
                    let end = own + text[own..].find('\n').unwrap() + 1;
                    note.truncate(end);
                });
            })
        }),
    ];
    for (what, fault, words, attack) in attacks {
        let log = copy();
        attack(&log);
        let (named, sentence) = stranger.named(&log);
        assert!(named == fault && sentence.contains(words), "{what}: {named}: {sentence}");
    }

    // An older state of everything hangs together: what was handed out since tells.
    assert_eq!(stranger.with_keys(&earlier).0, 0);
    let (fault, sentence) = stranger.named_by_report(&earlier);
    assert!(fault == "cut-off" && sentence.contains("an older state was put back"), "{fault}: {sentence}");

    // By whoever has the vault's key as well. An access is left out, or the log goes on otherwise from somewhere in the middle.
    let (anew, fork) = (place.path().join("anew"), place.path().join("fork"));
    let without_one = signed_anew(&honest, &anew, &seed, (0..size).filter(|seq| *seq != 70), 50);
    drop(signed_anew(&honest, &fork, &seed, 0..200, 200));
    for (log, what) in [(&anew, "one left out"), (&fork, "a fork")] {
        assert_eq!(stranger.named(log).0, "not-witnessed", "{what}");
        let (fault, sentence) = stranger.named_by_report(log);
        assert!(fault == "fork" && sentence.contains("written anew and signed again"), "{what}: {sentence}");
        fs::copy(honest.join("cosigned"), log.join("cosigned")).unwrap();
        let (fault, sentence) = stranger.named(log);
        assert!(fault == "fork" && sentence.contains("the witness signed another history"), "{what}: {sentence}");
    }

    // The witness signs nothing that does not continue what it saw.
    vault.restart();
    let counts = || ["entries", "cosigned_entries"].map(|name| metric(&vault, &format!("leadglass_audit_{name}")));
    assert!(until(SOON, || counts()[0] == counts()[1]), "{:?}", counts());
    let known = counts()[1];
    assert!(without_one.head().size > known);
    let (status, told) = cosign(&vault, &without_one, known);
    assert_eq!((status, &told["code"]), (409, &json!("fork")), "{told}");
    assert_eq!(alarms(&vault, "fork"), 0, "nothing happened to the log itself");

    // What does continue it was not written by the vault: it is the vault that notices.
    let (_place, live) = opened(&vault.up.data.vault.join("audit"), &seed);
    live.append((0..5).map(invented).collect(), None).unwrap();
    assert_eq!(cosign(&vault, &live, known).0, 200);
    stored(&vault, STUDIES + 1..=STUDIES + 1);
    assert!(until(SOON, || alarms(&vault, "fork") == 1), "the vault does not notice the fork");
    assert_eq!(metric(&vault, "leadglass_audit_witness_refuses"), 1);
}
