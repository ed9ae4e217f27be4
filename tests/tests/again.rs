//! What is sent a second time, because the sender heard no answer, is stored once: photos and documents by form, and what an
//! import brings.
#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

use leadglass_tests::form::Part::{Field, File};
use leadglass_tests::form::{Part, files, found, pictures, post, refused, retrieve, send, send_alone};
use leadglass_tests::peers::said;
use leadglass_tests::scratch;
use leadglass_tests::site::metric;
use leadglass_tests::vault::{Vault, program};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::thread;

const PDF: &[u8] = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n";
const COPIES: &str = "leadglass_instances_total{outcome=\"copy\"}";

/// A form of somebody nobody knows yet, without a time: day and hour of the study are the vault's to say.
fn about<'a>(key: &'a str, patient: &'a str) -> Vec<Part<'a>> {
    vec![
        Field("key", key),
        Field("patient_id", patient),
        Field("patient_name", "Muster^Änne"),
        Field("utc_offset", "+01:00"),
    ]
}

fn with<'a>(mut parts: Vec<Part<'a>>, files: &[&'a [u8]]) -> Vec<Part<'a>> {
    parts.extend(files.iter().map(|bytes| File(bytes)));
    parts
}

fn instances(vault: &Vault, study: &Value) -> Vec<Value> {
    found(vault, &format!("/studies/{}/instances", study.as_str().unwrap()))
}

#[test]
fn a_form_that_is_sent_again_is_stored_once() {
    let (mut vault, folder) = (Vault::up(), scratch());
    pictures(folder.path());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    // One that goes in as it is, one that is coded again, one of more than a MiB, and a document.
    let (untouched, turned, large) = (read("untouched-420.jpg"), read("turned-6.jpg"), read("untouched-large.jpg"));
    let form = with(about("key-1", "AGAIN-1"), &[&untouched, PDF, &turned, &large]);
    let first = files(&send(&vault, &form));
    assert!(first.iter().all(|file| file["outcome"] == "stored"), "{first:?}");
    let bytes: Vec<Vec<u8>> = first.iter().map(|file| retrieve(&vault, file)).collect();
    assert_eq!(files(&send(&vault, &form)), first);
    assert_eq!(metric(&vault, COPIES), 4);
    // After a restart nothing but what is stored knows of the first try.
    vault.restart();
    assert_eq!(files(&send(&vault, &form)), first);
    assert_eq!(metric(&vault, COPIES), 4);
    assert_eq!(found(&vault, "/studies?PatientID=AGAIN-1").len(), 1);
    assert_eq!(instances(&vault, &first[0]["study"]).len(), 4);
    for (file, bytes) in first.iter().zip(&bytes) {
        assert!(retrieve(&vault, file) == *bytes, "{file}");
    }

    // Half of it came the first time.
    let half = files(&send(&vault, &with(about("key-2", "AGAIN-2"), &[&untouched])));
    let whole = files(&send(&vault, &with(about("key-2", "AGAIN-2"), &[&untouched, PDF])));
    assert_eq!((whole.len(), &whole[0]), (2, &half[0]));
    assert_eq!(instances(&vault, &whole[0]["study"]).len(), 2);

    // On in the same series; the second try finds it one longer.
    let series = [first[0]["study"].as_str().unwrap(), first[0]["series"].as_str().unwrap()];
    let on = [Field("key", "key-3"), Field("study_uid", series[0]), Field("series_uid", series[1]), File(&turned)];
    let third = files(&send(&vault, &on));
    assert_eq!(files(&send(&vault, &on)), third);
    let all = instances(&vault, &first[0]["study"]);
    let photos = all.iter().filter(|one| one["0020000E"]["Value"][0] == series[1]);
    let numbers: Vec<i64> = photos.map(|one| one["00200013"]["Value"][0].as_i64().unwrap()).collect();
    assert_eq!((all.len(), numbers.len()), (5, 4));
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 4, "each has a number of its own: {numbers:?}");

    // Two tries at once, as when the first is given up in the middle.
    let form = with(about("key-4", "AGAIN-4"), &[&untouched, &turned]);
    let vault = &vault;
    let answers = thread::scope(|scope| {
        let tries: Vec<_> = (0..4)
            .map(|_| {
                let form = &form;
                scope.spawn(move || send_alone(vault, form))
            })
            .collect();
        tries.into_iter().map(|one| files(&one.join().unwrap())).collect::<Vec<_>>()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(found(vault, "/studies?PatientID=AGAIN-4").len(), 1);
    assert_eq!(instances(vault, &answers[0][0]["study"]).len(), 2);
}

#[test]
fn another_file_under_a_used_key_is_told_and_replaces_nothing() {
    let (vault, folder) = (Vault::up(), scratch());
    pictures(folder.path());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let (one, other) = (read("untouched-420.jpg"), read("turned-6.jpg"));
    let first = files(&send(&vault, &with(about("key", "USED-1"), &[&one]))).remove(0);
    let bytes = retrieve(&vault, &first);
    let reused = (409, "key-reused".to_owned());
    assert_eq!(refused(&send(&vault, &with(about("key", "USED-1"), &[&other]))), reused, "another picture");
    assert_eq!(refused(&send(&vault, &with(about("key", "USED-1"), &[PDF]))), reused, "a document");
    let mut described = about("key", "USED-1");
    described.push(Field("description", "Wound"));
    assert_eq!(refused(&send(&vault, &with(described, &[&one]))), reused, "another subject");
    assert_eq!(refused(&send(&vault, &with(about("key", "USED-2"), &[&one]))), reused, "another patient");
    let elsewhere = files(&send(&vault, &with(about("key-2", "USED-3"), &[&one]))).remove(0);
    let into = [Field("key", "key"), Field("study_uid", elsewhere["study"].as_str().unwrap()), File(&one)];
    assert_eq!(refused(&send(&vault, &into)), reused, "another study");
    // Of a form, each file by itself.
    let both = files(&send(&vault, &with(about("key", "USED-1"), &[&one, &other])));
    assert_eq!((&both[0], &both[1]["outcome"]), (&first, &Value::from("stored")));
    let mixed = files(&send(&vault, &with(about("key", "USED-1"), &[&one, PDF])));
    assert_eq!((&mixed[0], &mixed[1]["code"]), (&first, &Value::from("key-reused")));
    assert!(retrieve(&vault, &first) == bytes, "the first stays");
    assert_eq!(found(&vault, "/studies?PatientID=USED*").len(), 2);
    assert_eq!(instances(&vault, &first["study"]).len(), 2);

    // The key of somebody else is another key.
    let theirs =
        files(&post(&vault, &vault.up.tokens.other_tenant, &with(about("key", "USED-1"), &[&other]))).remove(0);
    assert_ne!(theirs["instance"], first["instance"]);
    for bad in ["", "two words", "Schlüssel", &"k".repeat(129)] {
        assert_eq!(refused(&send(&vault, &with(about(bad, "USED-1"), &[&one]))), (400, "field".to_owned()), "{bad}");
    }
}

/// The run that sent it died before it noted the answer.
#[test]
fn what_an_import_sent_and_did_not_note_is_stored_once() {
    let (vault, dir) = (Vault::up(), scratch());
    let made = scratch();
    pictures(made.path());
    let source = dir.path().join("in");
    std::fs::create_dir_all(&source).unwrap();
    // One is held and known by its bytes, the other goes by and is known by where it lies.
    let small = std::fs::read(made.path().join("untouched-420.jpg")).unwrap();
    std::fs::write(source.join("I-1_Muster^Anna.jpg"), &small).unwrap();
    let padding = [
        &b"%PDF-1.4\n%"[..],
        &vec![b'x'; 5 << 20],
        b"\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    ];
    std::fs::write(source.join("I-2_Muster^Bert.pdf"), padding.concat()).unwrap();
    let ledger = dir.path().join("ledger");
    let mut stored = Vec::new();
    for _ in 0..2 {
        let output = Command::new(program())
            .arg("import")
            .arg("--data")
            .arg(vault.folder())
            .arg("--ledger")
            .arg(&ledger)
            .args([
                "--json",
                "--patient-from",
                "{patient_id}_{last}^{first}.jpg",
                "--patient-from",
                "{patient_id}_{last}^{first}.pdf",
            ])
            .arg(&source)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        stored.push(report["stored"].clone());
        // Its key stays: with it the next run makes the same keys.
        std::fs::remove_file(&ledger).unwrap();
    }
    assert_eq!(stored[0], stored[1], "both were told that it is stored");
    assert_eq!(metric(&vault, COPIES), 2);
    for patient in ["I-1", "I-2"] {
        let studies = found(&vault, &format!("/studies?PatientID={patient}"));
        assert_eq!(studies.len(), 1, "{patient}");
        assert_eq!(instances(&vault, &studies[0]["0020000D"]["Value"][0]).len(), 1, "{patient}");
    }
}
