//! What was changed in the store or in the index is never shown, whichever way it is asked for, from a folder and from a bucket:
//! an error with a stable code, an alarm that stands in the audit log, and neighbours that know nothing of it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::devices::entries_with;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Answer;
use leadglass_tests::part10;
use leadglass_tests::process::until;
use leadglass_tests::rows::Rows;
use leadglass_tests::site::{alarms, drained, halt, instance_path, metric, objects, sibling};
use leadglass_tests::vault::Vault;
use leadglass_tests::weed::Weed;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

const DICOM: &str = "application/dicom";
const JSON: &str = "application/dicom+json";
const FILES: &str = "multipart/related; type=\"application/dicom\"";
const FRAMES: &str = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
/// SVO1: the header, a chunk's plaintext, its tag (FORMAT.md).
const HEADER: usize = 120;
const TAG: usize = 16;
const SOON: Duration = Duration::from_secs(30);

/// Where sealed objects lie, seen from outside the vault.
enum Shelf<'a> {
    Folder,
    Bucket(&'a Weed),
}

impl Shelf<'_> {
    /// Every object under its name.
    fn all(&self, vault: &Vault) -> BTreeMap<String, Vec<u8>> {
        match self {
            Self::Folder => {
                let name = |path: &Path| path.to_str().unwrap().to_owned();
                // Meanwhile a thumbnail may take the place of an older one.
                objects(vault).iter().filter_map(|path| Some((name(path), fs::read(path).ok()?))).collect()
            }
            Self::Bucket(weed) => weed.bucket().into_iter().filter(|(name, _)| !name.contains("/.uploads")).collect(),
        }
    }

    fn put(&self, name: &str, bytes: Option<&[u8]>) {
        match (self, bytes) {
            (Self::Folder, Some(bytes)) => fs::write(name, bytes).unwrap(),
            (Self::Folder, None) => fs::remove_file(name).unwrap(),
            (Self::Bucket(weed), bytes) => weed.replace(name, bytes),
        }
    }
}

/// An instance, and its object.
struct Stored {
    f: Fixture,
    data_set: Vec<u8>,
    name: String,
    sealed: Vec<u8>,
}

fn store(vault: &Vault, shelf: &Shelf, (f, data_set): (Fixture, Vec<u8>)) -> Stored {
    let before = shelf.all(vault);
    assert_eq!(vault.store(&f, &data_set).unwrap().status, 0, "{}", f.file);
    drained(vault);
    let mut new: Vec<_> = shelf.all(vault).into_iter().filter(|(name, _)| !before.contains_key(name)).collect();
    // Thumbnails of others that were looked at may be stored meanwhile; they are smaller.
    new.sort_by_key(|(_, sealed)| sealed.len());
    let (name, sealed) = new.pop().expect("an instance is an object");
    Stored { f, data_set, name, sealed }
}

impl Stored {
    /// Every way to its pixels: a name, an address, a form.
    fn ways(&self) -> [(&'static str, String, &'static str); 9] {
        let instance = instance_path(&self.f);
        let study = format!("/studies/{}", self.f.study);
        let series = format!("{study}/series/{}", self.f.series);
        [
            ("the instance", instance.clone(), DICOM),
            ("the instance in parts", instance.clone(), FILES),
            ("a frame", format!("{instance}/frames/1"), FRAMES),
            ("pixels as bulk data", format!("{instance}/bulkdata/7FE00010"), "*/*"),
            ("a rendered instance", format!("{instance}/rendered"), "image/png"),
            ("a rendered frame", format!("{instance}/frames/1/rendered"), "image/jpeg"),
            ("a thumbnail", format!("{instance}/thumbnail"), "image/jpeg"),
            ("the series", series, FILES),
            ("the study", study, FILES),
        ]
    }

    fn read(&self, vault: &Vault, way: &(&'static str, String, &'static str)) -> Option<Answer> {
        let url = format!("{}{}", vault.up.http.dicomweb, way.1);
        let ask = leadglass_tests::http::Ask { token: Some(&vault.up.token), accept: Some(way.2), range: None };
        vault.http().try_get(&url, ask)
    }

    /// All ways that lead to it alone give what was sent.
    fn is_whole(&self, vault: &Vault, what: &str) {
        for way in self.ways().iter().take(7) {
            let answer = self.read(vault, way).unwrap_or_else(|| panic!("{what}: {} broke off", way.0));
            assert_eq!(answer.status, 200, "{what}: {}: {}", way.0, answer.text());
            if way.2 == DICOM {
                assert!(part10::data_set(&answer.body) == self.data_set, "{what}: other bytes");
            }
        }
    }
}

/// What is written in the place of an object.
fn harms(victim: &Stored, twin: &Stored, older: &Stored) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let sealed = &victim.sealed;
    let flipped = |at: usize| {
        let mut bytes = sealed.clone();
        bytes[at] ^= 1;
        Some(bytes)
    };
    assert_eq!((sealed.len(), sealed.len()), (twin.sealed.len(), older.sealed.len()), "they could be exchanged");
    vec![
        ("flipped in its first chunk", flipped(HEADER + 7)),
        ("flipped in its last tag", flipped(sealed.len() - TAG / 2)),
        ("swapped with another of its series", Some(twin.sealed.clone())),
        ("given the chunks of another", Some([&sealed[..HEADER], &twin.sealed[HEADER..]].concat())),
        ("cut", Some(sealed[..sealed.len() - 1].to_vec())),
        ("cut to its header", Some(sealed[..HEADER].to_vec())),
        ("emptied", Some(Vec::new())),
        ("made longer", Some([&sealed[..], &[0; 64]].concat())),
        ("rolled back to its older version", Some(older.sealed.clone())),
        ("removed", None),
    ]
}

fn harmed_objects_are_never_shown(vault: &Vault, shelf: &Shelf) {
    let neighbour = store(vault, shelf, Fixture::named("ct-3.dcm").renamed(900));
    for number in 0..10 {
        // Each harm meets an instance that nobody has read: what memory holds of it cannot help.
        let (f, data_set) = Fixture::named("ct-1.dcm").renamed(number);
        let mut first = data_set.clone();
        let last = first.len() - 1;
        first[last] ^= 1;
        let older = store(vault, shelf, (f.clone(), first));
        let victim = store(vault, shelf, (f.clone(), data_set.clone()));
        let twin = store(vault, shelf, sibling(&f, &data_set, 907));
        let (harm, bytes) = harms(&victim, &twin, &older).swap_remove(usize::try_from(number).unwrap());
        let what = format!("an object that was {harm}");
        assert!(bytes.as_ref() != Some(&victim.sealed), "{what}: this changes nothing");
        shelf.put(&victim.name, bytes.as_deref());
        let entries = metric(vault, "leadglass_audit_entries");
        let raised = alarms(vault, "integrity");
        for way in victim.ways() {
            let before = alarms(vault, "integrity");
            match victim.read(vault, &way) {
                // It broke off after what was before it.
                None => assert!(way.0.starts_with("the s") || way.2 == FILES, "{what}: {} broke off", way.0),
                Some(answer) => {
                    assert_eq!(answer.status, 500, "{what}: {}: {}", way.0, answer.text());
                    assert_eq!(answer.content_type, "application/problem+json", "{what}: {}", way.0);
                    assert_eq!(answer.json()["code"], "damaged", "{what}: {}: {}", way.0, answer.text());
                }
            }
            assert!(alarms(vault, "integrity") > before, "{what}: {}: no alarm", way.0);
        }
        twin.is_whole(vault, &what);
        neighbour.is_whole(vault, &what);
        let came = alarms(vault, "integrity") - raised;
        assert!(
            until(SOON, || metric(vault, "leadglass_audit_entries") >= entries + came),
            "{what}: not every alarm is an entry"
        );
        shelf.put(&victim.name, Some(&victim.sealed));
        victim.is_whole(vault, "it is as before");
    }
    assert!(until(SOON, || entries_with(vault, "integrity") > 0), "no alarm stands in the audit log");
    assert!(vault.never_died());
}

#[test]
fn an_object_of_a_folder_that_was_changed_is_never_shown() {
    let vault = Vault::up();
    harmed_objects_are_never_shown(&vault, &Shelf::Folder);
}

#[test]
fn an_object_of_a_bucket_that_was_changed_is_never_shown() {
    let weed = Weed::start();
    let vault = Vault::with_config(&weed.settings(weed.s3()));
    harmed_objects_are_never_shown(&vault, &Shelf::Bucket(&weed));
}

/// Table of the prepared metadata (`index/src/row_key.rs`).
const META: u8 = 4;

#[test]
fn a_row_of_metadata_that_was_changed_is_never_shown() {
    let mut vault = Vault::up();
    let shelf = Shelf::Folder;
    let (f, data_set) = Fixture::named("ct-1.dcm").renamed(1);
    // An older version first, with another word of the same length in its metadata.
    let mut older = data_set.clone();
    let at = older.windows(8).position(|w| w == b"ORIGINAL").unwrap();
    older[at..at + 8].copy_from_slice(b"FORMERLY");
    store(&vault, &shelf, (f.clone(), older));
    let rows_now = |vault: &Vault| {
        let rows = Rows::of(vault);
        let table = rows.table(META);
        rows.close();
        table
    };
    halt(&vault);
    let [(name, older)] = &rows_now(&vault)[..] else { panic!("one instance is one row") };
    vault.restart();
    let victim = store(&vault, &shelf, (f.clone(), data_set.clone()));
    let twin = store(&vault, &shelf, sibling(&f, &data_set, 907));
    let stranger = store(&vault, &shelf, Fixture::named("ct-1.dcm").renamed(2));
    let metadata = |vault: &Vault, path: String| vault.ask(&format!("{path}/metadata"), Some(&vault.up.token), JSON);
    let of = |vault: &Vault, stored: &Stored| {
        let answer = metadata(vault, instance_path(&stored.f));
        answer.text().replace(&vault.up.http.dicomweb, "")
    };
    let right = [&victim, &twin, &stranger].map(|stored| of(&vault, stored));
    assert!(right[0].contains("ORIGINAL") && !right[0].contains("FORMERLY"));
    halt(&vault);
    let table = rows_now(&vault);
    assert_eq!(table.len(), 3);
    let current = table.iter().find(|(n, _)| n == name).unwrap().1.to_vec();
    assert_ne!(&current[..], &older[..]);
    // The study's reference stands in a row's name: another row of it is the twin's.
    let study = 18..34;
    let other_of = |same: bool| {
        let found = table.iter().find(|(n, _)| n != name && (n[study.clone()] == name[study.clone()]) == same);
        found.unwrap().1.to_vec()
    };
    let flipped = |at: usize| {
        let mut row = current.clone();
        row[at] ^= 1;
        Some(row)
    };
    let harms = [
        ("flipped in its version of format", flipped(0)),
        ("flipped in its key's name", flipped(3)),
        ("flipped in its version", flipped(24)),
        ("flipped in its middle", flipped(current.len() / 2)),
        ("flipped in its tag", flipped(current.len() - 1)),
        ("cut", Some(current[..current.len() - 1].to_vec())),
        ("emptied", Some(Vec::new())),
        ("swapped with another of its series", Some(other_of(true))),
        ("swapped with another study's", Some(other_of(false))),
        ("rolled back to its older version", Some(older.to_vec())),
        ("removed", None),
    ];
    for (harm, row) in harms {
        let what = format!("a row that was {harm}");
        let rows = Rows::of(&vault);
        rows.put(name, row.as_deref());
        rows.close();
        vault.restart();
        let series = format!("/studies/{}/series/{}", f.study, f.series);
        for path in [instance_path(&f), series, format!("/studies/{}", f.study)] {
            let before = alarms(&vault, "index");
            let url = format!("{}{path}/metadata", vault.up.http.dicomweb);
            let ask = leadglass_tests::http::Ask { token: Some(&vault.up.token), accept: Some(JSON), range: None };
            if let Some(answer) = vault.http().try_get(&url, ask) {
                assert_eq!(answer.status, 500, "{what}: {path}: {}", answer.text());
                assert_eq!(answer.json()["code"], "damaged", "{what}: {}", answer.text());
            }
            assert!(alarms(&vault, "index") > before, "{what}: {path}: no alarm");
        }
        // A picture is made of metadata, too.
        let rendered = vault.ask(&format!("{}/rendered", instance_path(&f)), Some(&vault.up.token), "image/png");
        assert_eq!(rendered.status, 500, "{what}: {}", rendered.text());
        // Pixels and whole instances need none, and others have their own.
        assert!(vault.data_set_of(&f) == data_set, "{what}");
        for (stored, right) in [(&twin, &right[1]), (&stranger, &right[2])] {
            assert!(of(&vault, stored) == *right, "{what}: a neighbour's metadata are other ones");
        }
        assert!(until(SOON, || entries_with(&vault, "index") > 0), "{what}: no alarm stands in the audit log");
        halt(&vault);
    }
    let rows = Rows::of(&vault);
    rows.put(name, Some(&current));
    rows.close();
    vault.restart();
    assert!(of(&vault, &victim) == right[0], "it is as before");
}
