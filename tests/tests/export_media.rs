//! Packages of patients whose names are attacks, and of one with more images than memory: nothing is injected, nothing
//! is changed, others open the media, and nothing stays in clear.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::big::{BigObject, SOP_CLASS};
use leadglass_tests::eyes::{Eyes, files_under};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::part10;
use leadglass_tests::peers::{Orthanc, dcmtk, run_python, said};
use leadglass_tests::process::{forget_peak, peak_bytes};
use leadglass_tests::scratch;
use leadglass_tests::scu::EXPLICIT_LE;
use leadglass_tests::site::{drained, objects};
use leadglass_tests::vault::{Vault, program};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const MIB: u64 = 1 << 20;

/// Files whose every text is an attack, under UIDs of 64 characters. Arguments: a fixture, a folder. Prints what it
/// made.
const MAKE_HOSTILE: &str = r##"
import json, sys, warnings, pydicom
from pydicom import config
warnings.simplefilter("ignore")
config.settings.writing_validation_mode = config.settings.reading_validation_mode = config.IGNORE
source, folder = sys.argv[1:3]
hostile = [('=HYPERLINK("x")', '=1+1'), ('@SUM(1)', '@SUM(1)'), ('../../x', '../../x'),
           ('<script>alert(1)</script>', '<script>'), ('Doe\u202egpj^\u2066Eve', 'RTL\u202e1'),
           ('Nul\x00in^\x1b[31mred', 'NUL-1')]
made = []
for n, (name, number) in enumerate(hostile):
    ds = pydicom.dcmread(source)
    uids = [("2.25.%d%d" % (role, n) + "7" * 64)[:64] for role in (1, 2, 3)]
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID = name, number
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = uids
    ds.file_meta.MediaStorageSOPInstanceUID = uids[2]
    for keyword in ("StudyDescription", "SeriesDescription", "ReferringPhysicianName", "AccessionNumber", "StudyID"):
        setattr(ds, keyword, name)
    path = "%s/%d.dcm" % (folder, n)
    ds.save_as(path)
    made.append({"path": path, "patient": number, "study": uids[0], "series": uids[1], "instance": uids[2]})
print(json.dumps(made))
"##;

/// Opens the media as pydicom does. Arguments: the folder, how many instances it holds.
const OPEN_MEDIA: &str = r#"
import sys, warnings
from pydicom import config
from pydicom.fileset import FileSet
warnings.simplefilter("ignore")
config.settings.reading_validation_mode = config.IGNORE
found = FileSet(sys.argv[1] + "/DICOMDIR")
assert len(list(found)) == int(sys.argv[2])
for instance in found:
    assert instance.load().SOPInstanceUID == instance.SOPInstanceUID
"#;

/// Reads each file as CSV, and finds no cell that a spreadsheet calculates. Prints the cells.
const READ_CSV: &str = r#"
import csv, sys
for name in sys.argv[1:]:
    rows = list(csv.reader(open(name, newline="", encoding="utf-8")))
    assert len(rows) > 1 and len({len(row) for row in rows if row}) == 1, name
    for row in rows:
        for cell in row:
            assert not cell.startswith(tuple("=+-@\t\r\n|%")), (name, cell)
            assert not any(ord(c) < 32 or 0x202a <= ord(c) <= 0x202e or 0x2066 <= ord(c) <= 0x2069 for c in cell), (name, cell)
            print(cell)
"#;

/// Holds a package against its own checksums, file by file. Argument: the ZIP.
const CHECK_SUMS: &str = r##"
import hashlib, sys, zipfile
package = zipfile.ZipFile(sys.argv[1])
lines = [line for line in package.read("SHA256SUMS").decode().splitlines() if not line.startswith("#")]
assert {line[66:] for line in lines} == set(package.namelist()) - {"SHA256SUMS", "SIGNATURE"}
for line in lines:
    digest = hashlib.sha256()
    with package.open(line[66:]) as member:
        while piece := member.read(1 << 20):
            digest.update(piece)
    assert digest.hexdigest() == line[:64], line[66:]
"##;

#[derive(Deserialize)]
struct Made {
    path: PathBuf,
    patient: String,
    study: String,
    series: String,
    instance: String,
}

fn leadglass(vault: &Vault, words: &[&str], rest: &[&str]) -> Output {
    let folder = vault.folder();
    let data = ["--data", folder.to_str().unwrap()];
    Command::new(program()).args([words, &data, rest].concat()).stdin(Stdio::null()).output().unwrap()
}

fn done(output: &Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", said(output));
    output.stdout.clone()
}

/// Nothing in a text speaks to a terminal, turns a line, or is a script.
fn harmless(name: &str, text: &str) {
    let unseen = |c: char| {
        let turns = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        turns || (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    };
    assert!(!text.contains(unseen), "{name}: {text:?}");
    assert!(!name.ends_with("HTM") || !text.to_lowercase().contains("<script"), "{name}: {text}");
}

fn papers(unpacked: &Path) {
    for path in files_under(unpacked) {
        let name = path.strip_prefix(unpacked).unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        match name.rsplit_once('.').map(|(_, kind)| kind) {
            Some("HTM" | "TXT") => harmless(&name, &String::from_utf8(bytes).unwrap()),
            Some("JSN") => drop(serde_json::from_slice::<Value>(&bytes).unwrap()),
            Some("PDF") => {
                let acts = ["/JavaScript", "/JS", "/URI", "/Launch", "/OpenAction", "/AA"];
                let text = String::from_utf8_lossy(&bytes).into_owned();
                assert!(bytes.starts_with(b"%PDF-1.4") && !acts.iter().any(|act| text.contains(act)), "{name}");
            }
            _ => {}
        }
    }
}

fn sha(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[test]
fn a_name_that_is_an_attack_stays_a_name_in_everything_that_goes_out() {
    let (vault, dir) = (Vault::up(), scratch());
    let given = [Fixture::named("ct-1.dcm").path(), dir.path().to_owned()];
    let made = run_python(MAKE_HOSTILE, &given.map(|path| path.to_str().unwrap().to_owned()));
    let made: Vec<Made> = serde_json::from_slice(&done(&made)).unwrap();
    let orthanc = Orthanc::start(dir.path(), &[]);
    let like = Fixture::named("ct-1.dcm");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for one in &made {
        let Made { study, series, instance, .. } = one;
        assert!([study, series, instance].iter().all(|uid| uid.len() == 64));
        let f = Fixture { study: study.clone(), series: series.clone(), instance: instance.clone(), ..like.clone() };
        let sent = part10::data_set(&fs::read(&one.path).unwrap()).to_vec();
        assert_eq!(vault.store(&f, &sent).unwrap().status, 0, "{}", one.patient);

        let patient = file("patient.txt", &one.patient);
        let (package, unpacked) = (dir.path().join("p.zip"), dir.path().join("p"));
        vault.asked_for(&one.patient);
        let out = package.to_str().unwrap();
        done(&leadglass(&vault, &["export"], &["--patient-file", &patient, "--out", out]));
        let listed = done(&Command::new("unzip").args(["-Z1", out]).output().expect("unzip is missing: install it"));
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'/');
        for name in String::from_utf8(listed).unwrap().lines() {
            assert!(name.bytes().all(plain) && !name.starts_with('/') && !name.contains(".."), "{name}");
        }
        done(&Command::new("unzip").args(["-q", out, "-d"]).arg(&unpacked).output().unwrap());
        papers(&unpacked);
        let dump = Command::new(dcmtk("dcmdump")).arg(unpacked.join("DICOMDIR")).output().unwrap();
        assert!(dump.status.success() && !said(&dump).contains("E:"), "{}", said(&dump));
        let media = unpacked.to_str().unwrap().to_owned();
        done(&run_python(OPEN_MEDIA, &[media, "1".to_owned()]));
        let given_out = fs::read(unpacked.join("DICOM/ST000001/SE000001/IM000001")).unwrap();
        assert_eq!(sha(part10::data_set(&given_out)), sha(&sent), "{}", one.patient);

        // Orthanc takes the package as it is, and has the instance as it was sent.
        let base = orthanc.base();
        let taken =
            vault.http().send("POST", &format!("{base}/instances"), Ask::default(), fs::read(&package).unwrap());
        assert_eq!(taken.status, 200, "{}", taken.text());
        let known =
            vault.http().send("POST", &format!("{base}/tools/lookup"), Ask::default(), one.instance.clone().into());
        let id = known.json()[0]["ID"].as_str().expect("Orthanc has the instance").to_owned();
        let held = vault.http().get(&format!("{base}/instances/{id}/file"), Ask::default());
        assert_eq!(sha(&held.body), sha(&given_out), "{}", one.patient);
        fs::remove_dir_all(&unpacked).unwrap();
        fs::remove_file(&package).unwrap();

        let opened = ["--patient-file", &patient, "--channel", "letter", "--json"];
        let opened: Value =
            serde_json::from_slice(&done(&leadglass(&vault, &["case", "open", "access"], &opened))).unwrap();
        for language in ["en", "de"] {
            let words = [opened["id"].as_str().unwrap(), "received", "--language", language];
            let letter = done(&leadglass(&vault, &["case", "letter"], &words));
            harmless("letter.txt", &String::from_utf8(letter).unwrap());
        }
    }
    drained(&vault);
    let (letters, log) = (dir.path().join("letters.csv"), dir.path().join("log.csv"));
    let from_to = ["--node", "this", "--from", "2020-01-01", "--to", "2100-01-01", "--letters"];
    let scope = leadglass(&vault, &["breach", "scope"], &[&from_to[..], &[letters.to_str().unwrap()]].concat());
    done(&scope);
    fs::write(&log, done(&leadglass(&vault, &["audit", "export"], &["--format", "csv"]))).unwrap();
    let files = [&letters, &log].map(|path| path.to_str().unwrap().to_owned());
    let cells = String::from_utf8(done(&run_python(READ_CSV, &files))).unwrap();
    for seen in ["'=HYPERLINK(\"x\")", "'@SUM(1)", "../../x", "<script>"] {
        assert!(cells.lines().any(|cell| cell.contains(seen)), "{seen} is in no cell: {cells}");
    }
}

/// Files that a process has open and that a name or an inode stands for; what lies in memory alone is none.
fn open_files(pid: u32) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let names = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('/') && !name.starts_with("/dev/") && !name.starts_with("/memfd:")).collect()
}

/// Stores this many objects of a patient, each made while it is sent.
fn stored(vault: &Vault, patient: &str, seeds: std::ops::Range<u64>, mib: u32) {
    for seed in seeds {
        let mut object = BigObject::of(patient, seed, mib);
        let instance = object.instance.clone();
        let mut a = vault.associate(&[(SOP_CLASS, EXPLICIT_LE)]).unwrap().unwrap();
        assert_eq!(a.store(SOP_CLASS, &instance, EXPLICIT_LE, &mut object).unwrap().status, 0);
        a.release().unwrap();
    }
}

/// Exports a patient into a file; `half_way` looks around when half of it came and nothing moves. Answers what the
/// vault's memory rose to.
fn exported(vault: &Vault, patient: &Path, package: &Path, half_way: impl FnOnce()) -> u64 {
    vault.asked_for(fs::read_to_string(patient).unwrap().trim());
    let pid = vault.now().pids.vault;
    forget_peak(pid).unwrap();
    let folder = vault.folder();
    let mut running = Command::new(program())
        .args(["export", "--data", folder.to_str().unwrap(), "--out", "-", "--patient-file"])
        .arg(patient)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut came = running.stdout.take().unwrap();
    let mut file = fs::File::create(package).unwrap();
    // The first line of what it says tells the length.
    let mut words = running.stderr.take().unwrap();
    let said = std::thread::spawn(move || {
        let mut all = String::new();
        let _ = words.read_to_string(&mut all);
        all
    });
    let mut piece = vec![0; 1 << 20];
    let (mut taken, mut half_way) = (0, Some(half_way));
    loop {
        let n = came.read(&mut piece).unwrap();
        if n == 0 {
            break;
        }
        file.write_all(&piece[..n]).unwrap();
        taken += n as u64;
        if taken > HALF_WAY
            && let Some(look) = half_way.take()
        {
            look();
        }
    }
    let ended = running.wait().unwrap();
    assert!(ended.success(), "{}", said.join().unwrap());
    assert_eq!(file.metadata().unwrap().len(), taken);
    peak_bytes(pid)
}

/// How much larger the larger patient is: `LEADGLASS_EXPORT_MIB` says it for a run by hand.
fn large_mib() -> u32 {
    let given =
        std::env::var_os("LEADGLASS_EXPORT_MIB").and_then(|text| text.to_str().and_then(|text| text.parse().ok()));
    given.unwrap_or(1_280)
}

#[test]
fn the_export_of_a_big_patient_takes_no_more_memory_than_a_small_one_and_leaves_nothing_in_clear() {
    let (vault, dir) = (Vault::up(), scratch());
    let (small, large) = ("CANARYSMALL", "CANARYLARGE");
    stored(&vault, small, 1..3, OBJECT_MIB);
    let count = u64::from(large_mib() / OBJECT_MIB);
    stored(&vault, large, 100..100 + count, OBJECT_MIB);
    drained(&vault);
    let eyes = Eyes::for_words(&[small, large, "FIXTURE^BIG"]);
    let lying = objects(&vault);
    let look = || {
        for path in files_under(&vault.folder()) {
            // Sealed objects lay there before; that nothing came to them is looked at below.
            if !path.starts_with(&vault.up.data.objects) {
                let bytes = fs::read(&path).unwrap_or_default();
                let seen = eyes.look(&path.display().to_string(), &bytes);
                assert!(seen.is_empty(), "{seen:?}");
            }
        }
        // Whatever it has open has a name here, or is its own program or the system's.
        let (folder, own) = (vault.folder().display().to_string(), program().display().to_string());
        let known = [folder.as_str(), &own, "/usr/", "/lib", "/proc/", "/sys/", "/etc/"];
        let open = open_files(vault.now().pids.vault);
        let is_known =
            |name: &String| known.iter().any(|start| name.starts_with(start)) && !name.ends_with(" (deleted)");
        assert!(open.iter().all(is_known), "{open:?}");
    };
    let patient = |number: &str| {
        let path = dir.path().join("patient.txt");
        fs::write(&path, number).unwrap();
        path
    };
    let package = dir.path().join("package.zip");
    let first = exported(&vault, &patient(small), &package, look) / MIB;
    let second = exported(&vault, &patient(large), &package, look) / MIB;
    eprintln!("the vault's peak: {first} MiB for a small patient, {second} MiB for {} MiB", large_mib());
    assert!(second <= first + GROWTH_MIB, "{first} MiB for a small patient, {second} MiB for a large one");
    assert!(fs::metadata(&package).unwrap().len() > u64::from(OBJECT_MIB) * count * MIB);
    done(&run_python(CHECK_SUMS, &[package.to_str().unwrap().to_owned()]));
    look();
    let thumbnails: BTreeSet<_> = objects(&vault).difference(&lying).cloned().collect();
    for path in &thumbnails {
        assert!(eyes.look("a new object", &fs::read(path).unwrap()).is_empty(), "{}", path.display());
    }
    assert!(vault.never_died());
}

/// An X-ray film of many frames.
const OBJECT_MIB: u32 = 32;
/// Both patients' exports are longer than that, and nothing but the pipe lies behind it.
const HALF_WAY: u64 = 24 * MIB;
/// What the peak of a large export may lie above that of a small one: lists, and what the allocator keeps.
const GROWTH_MIB: u64 = 32;
