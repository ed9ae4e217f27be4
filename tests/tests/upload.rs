//! Photos and documents by form, over real sockets: what a phone sends is found, comes back as an image, and left its traces
//! nowhere; a photo cannot be filed to somebody else; what wants to blow the vault up is refused.
#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

use leadglass_tests::eyes::Eyes;
use leadglass_tests::form::Part::{Field, File};
use leadglass_tests::form::{files, found, pictures, post, refused, retrieve, send};
use leadglass_tests::http::Ask;
use leadglass_tests::peers::{python, said};
use leadglass_tests::process::{forget_peak, peak_bytes, resident_bytes};
use leadglass_tests::vault::Vault;
use leadglass_tests::{part10, scratch, workspace_root};
use serde_json::Value;
use std::process::Command;

const JSON: &str = "application/dicom+json";

fn studies(vault: &Vault, query: &str) -> Vec<Value> {
    found(vault, &format!("/studies?{query}"))
}

#[test]
fn what_a_phone_sends_comes_back_as_images_and_left_its_traces_nowhere() {
    let (mut vault, folder) = (Vault::up(), scratch());
    pictures(folder.path());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let pdf = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n".to_vec();
    let names = [
        "untouched-420.jpg",
        "turned-6.jpg",
        "coded-progressive.jpg",
        "native-alpha.png",
        "native-5.webp",
        "untouched-large.jpg",
    ];
    let sent: Vec<Vec<u8>> = names.iter().map(|name| read(name)).collect();
    let mut parts = vec![
        Field("patient_id", "PH-4711-XQ"),
        Field("patient_name", "Farbenfroh^Zoë"),
        Field("birth_date", "1984-02-29"),
        Field("sex", "F"),
        Field("description", "Wundheilung"),
        Field("body_part", "HAND"),
        Field("laterality", "L"),
        Field("taken_at", "2026-11-22T14:05"),
        Field("utc_offset", "+01:00"),
    ];
    parts.extend(sent.iter().map(|bytes| File(bytes)));
    parts.push(File(&pdf));
    let stored = files(&send(&vault, &parts));
    assert!(stored.iter().all(|file| file["outcome"] == "stored"), "{stored:?}");
    let study = stored[0]["study"].as_str().unwrap().to_owned();
    assert!(stored.iter().all(|file| file["study"] == study.as_str()), "one form is one study");
    let series: std::collections::BTreeSet<&str> = stored.iter().map(|file| file["series"].as_str().unwrap()).collect();
    assert_eq!(series.len(), 2, "photos, and documents");

    // They are found by what was typed.
    for query in ["PatientID=PH-4711-XQ", "PatientName=farbenfroh*", "StudyDate=20261122&ModalitiesInStudy=XC"] {
        let found = studies(&vault, query);
        assert_eq!(found.len(), 1, "{query}");
        assert_eq!(found[0]["0020000D"]["Value"][0], study.as_str(), "{query}");
    }

    // They come back, and foreign eyes see in them what was sent.
    let instances = scratch();
    for (name, file) in names.iter().zip(&stored) {
        let came = retrieve(&vault, file);
        assert!(!came.windows(6).any(|w| w == b"CANARY"), "{name}");
        std::fs::write(instances.path().join(format!("{name}.dcm")), came).unwrap();
    }
    let check = workspace_root().join("crates/imaging/tests/pictures/check.py");
    let checked = Command::new(python()).arg(check).arg(folder.path()).arg(instances.path()).output().unwrap();
    assert!(checked.status.success(), "{}", said(&checked));
    let lines: Vec<Value> =
        String::from_utf8(checked.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), names.len());
    for line in &lines {
        assert!(line["mean"].as_f64().unwrap() < 1.5, "{line}");
        assert_eq!((&line["patient"], &line["laterality"]), (&"Farbenfroh^Zoë".into(), &"L".into()));
    }
    let original = &sent[0];
    let scan = original.windows(2).position(|w| w == b"\xFF\xDA").unwrap();
    let end = original.windows(13).position(|w| w == b"CANARY behind").unwrap();
    let file = retrieve(&vault, &stored[0]);
    assert!(part10::data_set(&file).windows(end - scan).any(|w| w == &original[scan..end]), "the scan was changed");
    let document = retrieve(&vault, stored.last().unwrap());
    assert!(document.windows(pdf.len()).any(|w| w == pdf.as_slice()));

    // Nothing of it lies readable anywhere, and nothing of EXIF or file names lies anywhere at all.
    let eyes = Eyes::for_words(&["CANARY", "Farbenfroh", "PH-4711-XQ", "Wundheilung", &study]);
    assert!(!eyes.look("sent", &sent[1]).is_empty(), "the eyes see what was sent");
    for when in ["after the upload", "after a restart"] {
        let seen = eyes.look_under(&vault.folder());
        assert!(seen.is_empty(), "{when}: {seen:#?}");
        assert!(eyes.look("words", &vault.words()).is_empty(), "{when}, in the logs");
        assert!(eyes.look("metrics", &vault.metrics().body).is_empty(), "{when}, in the metrics");
        vault.restart();
    }
    assert_eq!(retrieve(&vault, &stored[0]), file, "and it comes back as before");
}

#[test]
fn a_photo_goes_to_whom_the_vault_knows_and_to_nobody_else() {
    let (vault, folder) = (Vault::up(), scratch());
    pictures(folder.path());
    let photo = std::fs::read(folder.path().join("untouched-420.jpg")).unwrap();
    let photo = || File(&photo);
    let number = Field("patient_id", "REG-1");

    // Nobody is made up from a number.
    assert_eq!(refused(&send(&vault, &[number, photo()])), (422, "patient-incomplete".to_owned()));
    let number = || Field("patient_id", "REG-1");
    let name = || Field("patient_name", "Muster^Änne");
    let first = files(&send(&vault, &[number(), name(), Field("birth_date", "1990-01-02"), photo()])).remove(0);
    // The number is enough from now on; what is known is taken.
    let second = files(&send(&vault, &[number(), photo()])).remove(0);
    assert_ne!(first["study"], second["study"]);
    for study in studies(&vault, "PatientID=REG-1") {
        assert_eq!(study["00100010"]["Value"][0]["Alphabetic"], "Muster^Änne");
        assert_eq!(study["00100030"]["Value"][0], "19900102");
    }
    // What is typed may say it again, and must not contradict it.
    files(&send(&vault, &[number(), Field("patient_name", "MUSTER^ANNE"), photo()]));
    for wrong in [Field("patient_name", "Master^Änne"), Field("birth_date", "1990-01-03")] {
        assert_eq!(refused(&send(&vault, &[number(), wrong, photo()])), (409, "patient-differs".to_owned()));
    }

    // Into a study that is there: its patient, the next series; or on in the same series.
    let study = first["study"].as_str().unwrap();
    let next = files(&send(&vault, &[Field("study_uid", study), photo()])).remove(0);
    assert_eq!(next["study"], first["study"]);
    assert_ne!(next["series"], first["series"]);
    let series = first["series"].as_str().unwrap();
    let on = files(&send(&vault, &[Field("study_uid", study), Field("series_uid", series), photo()])).remove(0);
    assert_eq!(on["series"], first["series"]);
    let url = format!("/studies/{study}/series");
    let list = vault.ask(&url, Some(&vault.up.token), JSON).json();
    let numbers: Vec<&Value> = list.as_array().unwrap().iter().map(|s| &s["00200011"]["Value"][0]).collect();
    assert_eq!(numbers.len(), 2);
    assert_ne!(numbers[0], numbers[1], "two series, two numbers");
    let wrong = [Field("study_uid", study), Field("patient_id", "REG-2"), photo()];
    assert_eq!(refused(&send(&vault, &wrong)).0, 409);
    let wrong = [Field("study_uid", study), Field("series_uid", "2.25.1"), photo()];
    assert_eq!(refused(&send(&vault, &wrong)).0, 404);
    assert_eq!(refused(&send(&vault, &[Field("study_uid", "2.25.1"), photo()])).0, 404);

    // The other practice knows neither the patient nor the study; a data protection officer sends nothing.
    let other = &vault.up.tokens.other_tenant;
    assert_eq!(refused(&post(&vault, other, &[number(), photo()])).0, 422);
    assert_eq!(refused(&post(&vault, other, &[Field("study_uid", study), photo()])).0, 404);
    assert_eq!(refused(&post(&vault, &vault.up.tokens.dpo, &[number(), name(), photo()])).0, 403);
    assert_eq!(refused(&post(&vault, "lg_nobody", &[number(), name(), photo()])).0, 401);
    assert_eq!(studies(&vault, "PatientID=REG-1").len(), 3, "and none of the refused was kept");
}

#[test]
fn what_is_no_photo_or_wants_too_much_is_refused_and_the_rest_is_stored() {
    let (vault, folder) = (Vault::up(), scratch());
    pictures(folder.path());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let good = read("untouched-420.jpg");
    let mut huge_png = read("native-1.png");
    huge_png[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    let mut lying_jpeg = good.clone();
    let frame = lying_jpeg.windows(2).position(|w| w == b"\xFF\xC0").unwrap();
    lying_jpeg[frame + 5..frame + 9].copy_from_slice(&[0x1F, 0x40, 0x1F, 0x40]);
    let cut = &good[..1_500];
    let bombs: Vec<(&str, &[u8])> = vec![
        ("60000 by 60000", &huge_png),
        ("lying", &lying_jpeg),
        ("cut", cut),
        ("a program", b"MZ\x90\0 this is no photo"),
        ("a page", b"<html><script>alert(1)</script></html>"),
        ("nothing", b""),
    ];
    let about = || vec![Field("patient_id", "BOMB-1"), Field("patient_name", "Test^Bomb")];

    let mut parts = about();
    parts.push(File(&good));
    files(&send(&vault, &parts));
    let pid = vault.now().pids.vault;
    forget_peak(pid).unwrap();
    let before = resident_bytes(pid);
    for _ in 0..5 {
        for (what, bytes) in &bombs {
            let mut parts = about();
            parts.push(File(bytes));
            let answer = send(&vault, &parts);
            assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        }
    }
    assert!(peak_bytes(pid) < before + (64 << 20), "{} before, {} at the peak", before, peak_bytes(pid));

    // One bad file does not spoil the others of its form.
    let mut parts = about();
    parts.extend([File(&good), File(&huge_png), File(&good)]);
    let all = files(&send(&vault, &parts));
    let outcomes: Vec<&str> = all.iter().map(|file| file["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["stored", "refused", "stored"]);
    assert_eq!(all[1]["code"], "too-large");

    // Forms that are none, or not in order.
    let mut parts = about();
    parts.push(Field("favourite_colour", "blue"));
    parts.push(File(&good));
    assert_eq!(refused(&send(&vault, &parts)), (400, "field".to_owned()));
    assert_eq!(refused(&send(&vault, &about())), (400, "no-file".to_owned()));
    assert_eq!(refused(&send(&vault, &[Field("patient_id", "A*"), File(&good)])), (400, "field".to_owned()));
    let late = Field("patient_name", "Test^Late");
    let answer = send(&vault, &[Field("patient_id", "BOMB-9"), File(&good), late]);
    assert_eq!(refused(&answer).0, 422, "the name stands behind the file, too late");
    assert!(vault.never_died());
    assert_eq!(studies(&vault, "PatientID=BOMB-1").len(), 2);
}

/// Writes `black.png`, 8190 pixels square of four samples of 16 bits, all zero, and `photo.png` of 24 megapixels.
const LARGE: &str = r#"
import struct, sys, zlib
from PIL import Image
side, folder = 8190, sys.argv[1]
chunk = lambda name, body: struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
pack = zlib.compressobj(9)
data = b"".join(pack.compress(bytes(1 + side * 8)) for _ in range(side)) + pack.flush()
head = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
with open(folder + "/black.png", "wb") as out:
    out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
bands = [Image.effect_noise((750, 500), 60).resize((6000, 4000), Image.Resampling.BICUBIC) for _ in range(3)]
Image.merge("RGB", bands).save(folder + "/photo.png", compress_level=1)
"#;

#[test]
fn a_small_file_that_is_a_large_picture_costs_no_memory_and_a_large_photo_is_stored() {
    let (vault, folder) = (Vault::up(), scratch());
    let made = Command::new(python()).args(["-c", LARGE]).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let (black, photo) = (read("black.png"), read("photo.png"));
    assert!(black.len() < 600_000 && (8 << 20..64 << 20).contains(&photo.len()), "{} {}", black.len(), photo.len());
    let about = || vec![Field("patient_id", "LARGE-1"), Field("patient_name", "Test^Large")];
    let with = |bytes| about().into_iter().chain([File(bytes)]).collect::<Vec<_>>();

    let pid = vault.now().pids.vault;
    forget_peak(pid).unwrap();
    let before = resident_bytes(pid);
    for _ in 0..3 {
        assert_eq!(refused(&send(&vault, &with(&black))), (400, "image-too-large".to_owned()));
    }
    assert!(peak_bytes(pid) < before + (64 << 20), "{} before, {} at the peak", before, peak_bytes(pid));

    let stored = files(&send(&vault, &with(&photo))).remove(0);
    // 24 megapixels of three bytes, the file as it came, and two cleaned copies of it at most.
    let most = (6_000 * 4_000 * 3 + 3 * photo.len() as u64) + (96 << 20);
    assert!(peak_bytes(pid) < before + most, "{} before, {} at the peak", before, peak_bytes(pid));
    assert!(retrieve(&vault, &stored).len() > 6_000 * 4_000 * 3);
    assert!(vault.never_died());
}

#[test]
fn the_page_loads_from_the_vault_alone() {
    let vault = Vault::up();
    let get = |path: &str| vault.http().get(&format!("{}{path}", vault.up.http.base), Ask::default());
    let page = get("/photo");
    assert_eq!((page.status, page.content_type.as_str()), (200, "text/html; charset=utf-8"));
    let policy = page.headers.iter().find(|(name, _)| name == "content-security-policy").unwrap();
    assert!(policy.1.contains("default-src 'none'") && !policy.1.contains("unsafe"), "{policy:?}");
    for asset in ["/assets/upload.js", "/assets/upload.css"] {
        assert!(page.text().contains(asset));
        let answer = get(asset);
        assert_eq!(answer.status, 200);
        assert!(answer.headers.contains(&("x-content-type-options".to_owned(), "nosniff".to_owned())));
    }
}
