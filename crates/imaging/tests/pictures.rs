//! Uploads of every kind: what they become, read back by pydicom and Pillow, judged by dciodvfy, and looked through for what
//! must stay behind.
#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod common;

use bytes::Bytes;
use common::{Pictures, find, record, validate};
use leadglass_imaging::{
    Format, Instance, Patient, Record, Series, Text, Upload, UploadError, VL_PHOTOGRAPHIC_IMAGE_STORAGE,
};
use std::{collections::BTreeMap, process::Command};

const NATIVE: &str = "1.2.840.10008.1.2.1";
const JPEG: &str = "1.2.840.10008.1.2.4.50";

fn make(bytes: Vec<u8>) -> Result<Instance, UploadError> {
    Upload::recognise(bytes.into())?.into_instance(&record())
}

#[test]
fn every_picture_shows_the_same_afterwards_and_stands_as_the_standard_wants_it() {
    let pictures = Pictures::make();
    assert!(find(&pictures.read("turned-6.jpg"), b"CANARY gps").is_some(), "she is in what is uploaded");
    let instances = tempfile::tempdir().unwrap();
    let names: Vec<String> = pictures.names().into_iter().filter(|name| !name.starts_with("refused")).collect();
    assert!(names.len() > 40, "{names:?}");
    for name in &names {
        let made = make(pictures.read(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(made.sop_class.as_str(), VL_PHOTOGRAPHIC_IMAGE_STORAGE);
        let file = common::part10(&made);
        assert!(find(&file, b"CANARY").is_none(), "{name}: the canary came along");
        assert!(find(&file, b"Exif").is_none() && find(&file, b"xmpmeta").is_none(), "{name}: metadata came along");
        let path = instances.path().join(format!("{name}.dcm"));
        std::fs::write(&path, file).unwrap();
        validate(&path);
    }

    let mut check = Command::new(common::python());
    let check = check.arg(common::script("check.py")).arg(pictures.folder()).arg(instances.path()).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let said: BTreeMap<String, serde_json::Value> = String::from_utf8(check.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|value| (value["name"].as_str().unwrap().to_owned(), value))
        .collect();
    assert_eq!(said.len(), names.len());
    for name in &names {
        let it = &said[name];
        let kind = name.split(['-', '.']).next().unwrap();
        let (syntax, largest, mean, lossy, methods) = match kind {
            // The same coded bytes: decoders differ by rounding, and in how they smooth halved colours.
            "untouched" => (JPEG, 6.0, 0.6, "01", "ISO_10918_1"),
            "turned" | "coded" => (JPEG, 12.0, 1.5, "01", "['ISO_10918_1', 'ISO_10918_1']"),
            "native" => (NATIVE, 1.0, 0.5, "00", ""),
            "lossy" => (NATIVE, 4.0, 0.5, "01", "VP8"),
            _ => panic!("{name}"),
        };
        assert_eq!(it["syntax"], syntax, "{name}");
        assert!(it["largest"].as_f64().unwrap() <= largest && it["mean"].as_f64().unwrap() <= mean, "{name}: {it}");
        assert_eq!((&it["lossy"], &it["methods"]), (&lossy.into(), &methods.into()), "{name}");
        let photometric = match (name.contains("grey") || name.contains("bits"), syntax) {
            (true, _) => "MONOCHROME2",
            (false, JPEG) => "YBR_FULL_422",
            (false, _) => "RGB",
        };
        assert_eq!(it["photometric"], photometric, "{name}");
        assert_eq!(it["patient"], "Müller^Zoë", "{name}");
        let (kept, left) = (name.contains("profile"), name.contains("left"));
        assert_eq!((&it["profile"], &it["space"]), (&kept.into(), &(if kept { "SRGB" } else { "" }).into()), "{name}");
        assert_eq!(it["comments"].as_str().unwrap().contains("left out"), left, "{name}: {it}");
    }
}

#[test]
fn the_coded_data_of_an_upright_baseline_jpeg_stay_as_they_are_bit_for_bit() {
    let pictures = Pictures::make();
    let untouched: Vec<String> = pictures.names().into_iter().filter(|name| name.starts_with("untouched")).collect();
    assert!(untouched.len() >= 8);
    for name in untouched {
        let original = pictures.read(&name);
        let file = common::part10(&make(original.clone()).unwrap());
        // From the scan header to the end of the image; what make.py wrote behind it is another copy and text.
        let scan = find(&original, b"\xFF\xDA").unwrap();
        let end = find(&original, b"CANARY behind").unwrap();
        assert!(find(&file, &original[scan..end]).is_some(), "{name}: the scan was changed");
        for (segment, marker) in [("tables", b"\xFF\xC4"), ("quantisation", b"\xFF\xDB"), ("frame", b"\xFF\xC0")] {
            let at = find(&original, marker).unwrap();
            let len = usize::from(u16::from_be_bytes([original[at + 2], original[at + 3]]));
            assert!(find(&file, &original[at..at + 2 + len]).is_some(), "{name}: {segment} were changed");
        }
    }
}

#[test]
fn a_record_that_says_little_makes_a_valid_instance_too() {
    let pictures = Pictures::make();
    let folder = tempfile::tempdir().unwrap();
    let mut record = record();
    record.patient = Patient::default();
    record.series =
        Series { description: Text::default(), body_part: Text::default(), laterality: None, ..record.series };
    record.study.description = Text::default();
    record.taken = None;
    record.place = None;
    for (name, bytes) in [("photo", pictures.read("untouched-420.jpg")), ("document", b"%PDF-1.4\n%%EOF".to_vec())] {
        let made = Upload::recognise(bytes.into()).unwrap().into_instance(&record).unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, common::part10(&made)).unwrap();
        assert_eq!(common::complaints(&path), Vec::<String>::new(), "{name}");
        // The validator sees what is wrong where something is.
        let (from, to): (&[u8], &[u8]) = if name == "photo" {
            (b"YBR_FULL_422", b"PALETTECOLOR")
        } else {
            (b"application/pdf ", b"application/txt ")
        };
        let mut file = common::part10(&made);
        let at = find(&file, from).unwrap();
        file[at..at + to.len()].copy_from_slice(to);
        std::fs::write(&path, file).unwrap();
        assert!(!common::complaints(&path).is_empty(), "{name}: nothing is ever wrong");
    }
}

#[test]
fn what_is_not_taken_is_said_so() {
    let pictures = Pictures::make();
    for (name, code) in [
        ("refused-animated.webp", "unsupported"),
        ("refused-gif.gif", "unknown-format"),
        ("refused-bmp.bmp", "unknown-format"),
    ] {
        assert_eq!(make(pictures.read(name)).unwrap_err().code(), code, "{name}");
    }
    for bytes in [&b""[..], b"\xFF\xD8", b"%PDF", b"RIFF\0\0\0\0WAVE", b"<svg/>", b"PK\x03\x04"] {
        assert_eq!(make(bytes.to_vec()).unwrap_err(), UploadError::UnknownFormat);
    }
}

#[test]
fn a_file_that_breaks_off_anywhere_is_refused() {
    let pictures = Pictures::make();
    for name in [
        "untouched-420.jpg",
        "coded-progressive.jpg",
        "native-1.png",
        "native-alpha.png",
        "lossy.webp",
        "native-1.webp",
    ] {
        let whole = pictures.read(name);
        let end = find(&whole, b"CANARY behind").unwrap_or(whole.len());
        for cut in (0..end).step_by(37).chain([end - 1, end - 2]) {
            assert!(make(whole[..cut].to_vec()).is_err(), "{name} cut at {cut} of {end}");
        }
    }
}

#[test]
fn a_document_goes_in_as_it_is_up_to_its_end() {
    let pdf = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n".to_vec();
    let made = make([&pdf[..], b"PK\x03\x04 CANARY"].concat()).unwrap();
    assert_eq!(Upload::recognise(pdf.clone().into()).unwrap().format(), Format::Document);
    let file = common::part10(&made);
    assert!(find(&file, &pdf).is_some() && find(&file, b"CANARY").is_none());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("document.dcm");
    std::fs::write(&path, file).unwrap();
    validate(&path);
    for broken in [&b"%PDF-1.4\n1 0 obj"[..], b"\n%PDF-1.4\n%%EOF", b"MZ%PDF-1.4\n%%EOF"] {
        assert!(make(broken.to_vec()).is_err());
    }
}

#[test]
fn a_copy_of_large_data_is_never_made() {
    let pictures = Pictures::make();
    let original = Bytes::from(pictures.read("untouched-large.jpg"));
    let range = original.as_ptr_range();
    let made = Upload::recognise(original.clone()).unwrap().into_instance(&record()).unwrap();
    let shared: usize = made.pieces.iter().filter(|piece| range.contains(&piece.as_ptr())).map(Bytes::len).sum();
    let copied: usize = made.pieces.iter().map(Bytes::len).sum::<usize>() - shared;
    assert!(shared > 20_000 && copied < 2_000, "{shared} shared, {copied} copied");
}

#[test]
fn the_same_upload_sent_again_becomes_the_same_data_set() {
    let pictures = Pictures::make();
    let record = Record { received: None, ..record() };
    let made = |name: &str| Upload::recognise(pictures.read(name).into()).unwrap().into_instance(&record).unwrap();
    for name in ["untouched-420.jpg", "turned-6.jpg", "native-1.png"] {
        let (first, again) = (made(name), made(name));
        assert_eq!(first.sop_instance, record.instance);
        assert!(first.pieces.concat() == again.pieces.concat(), "{name}");
        // Instance Creation Date and Software Versions: what changes between two tries is not said.
        for element in [&b"\x08\0\x12\0DA"[..], b"\x18\0\x20\x10LO"] {
            assert_eq!(find(&first.pieces.concat(), element), None, "{name}");
            assert!(find(&make(pictures.read(name)).unwrap().pieces.concat(), element).is_some(), "{name}");
        }
        let path = pictures.folder().join("again.dcm");
        std::fs::write(&path, common::part10(&first)).unwrap();
        validate(&path);
    }
}
