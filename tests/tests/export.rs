//! What leaves the house as a package: media that others read, the same bytes after a vault was killed, nothing on the disk in
//! clear, in bounded memory.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::devices::entries_with;
use leadglass_tests::eyes::Eyes;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::peers::{dcmtk, echoscu, free_port, run_python, said};
use leadglass_tests::process::{forget_peak, kill_9, peak_bytes, resident_bytes, until};
use leadglass_tests::scratch;
use leadglass_tests::site::{drained, large, sibling};
use leadglass_tests::vault::{Vault, program};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Takes a package apart and holds it against what dcmtk makes of the same images. Arguments: the ZIP, a folder, dcmmkdir.
const TAKE_APART: &str = r##"
import hashlib, json, os, shutil, subprocess, sys, warnings, zipfile
import pydicom
from pydicom.fileset import FileSet
warnings.simplefilter("ignore")
package, folder, dcmmkdir = sys.argv[1:4]
archive = zipfile.ZipFile(package)
assert archive.testzip() is None
archive.extractall(folder)
os.chdir(folder)
lines = [line for line in open("SHA256SUMS").read().splitlines() if not line.startswith("#")]
assert {line[66:] for line in lines} == set(archive.namelist()) - {"SHA256SUMS", "SIGNATURE"}
for line in lines:
    assert hashlib.sha256(open(line[66:], "rb").read()).hexdigest() == line[:64], line
subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "KEY.PEM", "-rawin", "-in", "SHA256SUMS",
                "-sigfile", "SIGNATURE"], check=True, stdout=subprocess.DEVNULL)

def records(name):
    listed = pydicom.dcmread(name).DirectoryRecordSequence
    return [(r.DirectoryRecordType, list(r.ReferencedFileID), r.ReferencedSOPInstanceUIDInFile,
             r.ReferencedTransferSyntaxUIDInFile) for r in listed if "ReferencedFileID" in r]

def tree(name):
    levels = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SOPInstanceUID"]
    return sorted([str(getattr(instance, level)) for level in levels] for instance in FileSet(name))

ours = records("DICOMDIR")
found = FileSet("DICOMDIR")
assert len(list(found)) == len(ours)
for instance in found:
    loaded = instance.load()
    for level in ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]:
        assert str(getattr(loaded, level)) == str(getattr(instance, level)), level
os.mkdir("other")
shutil.copytree("DICOM", "other/DICOM")
made = subprocess.run([dcmmkdir, "-W", "-Nxc", "-Nrc", "+I", "+r", "+id", ".", "DICOM"], cwd="other", capture_output=True, text=True)
assert made.returncode == 0, made.stderr
assert sorted(map(str, records("other/DICOMDIR"))) == sorted(map(str, ours)), (ours, records("other/DICOMDIR"))
assert tree("other/DICOMDIR") == tree("DICOMDIR"), (tree("other/DICOMDIR"), tree("DICOMDIR"))
names = archive.namelist()
for name in names:
    if name.startswith("METADATA"):
        json.load(open(name))
upper = [r.DirectoryRecordType for r in pydicom.dcmread("DICOMDIR").DirectoryRecordSequence if "ReferencedFileID" not in r]
print(json.dumps({"kinds": [kind for kind, *_ in ours], "names": names, "upper": sorted(upper)}))
"##;

fn leadglass(vault: &Vault) -> Command {
    let mut command = Command::new(program());
    command.args(["export", "--data", vault.folder().to_str().unwrap()]).stdin(Stdio::null());
    command
}

/// Exports with the program, and answers the export's view.
fn exported(vault: &Vault, arguments: &[&str], out: &Path) -> Value {
    let output = leadglass(vault).args(arguments).arg("--json").arg("--out").arg(out).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn study_file(dir: &Path, f: &Fixture) -> PathBuf {
    let file = dir.join("study.txt");
    fs::write(&file, &f.study).unwrap();
    file
}

fn taken_apart(package: &Path, to: &Path) -> Value {
    let dcmmkdir = dcmtk("dcmmkdir");
    let arguments = [package, to, &dcmmkdir].map(|path| path.to_str().unwrap().to_owned());
    let output = run_python(TAKE_APART, &arguments);
    assert!(output.status.success(), "{}", said(&output));
    let dump = Command::new(dcmtk("dcmdump")).arg(to.join("DICOMDIR")).output().unwrap();
    assert!(dump.status.success() && !said(&dump).contains("E:"), "{}", said(&dump));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_kind_of_instance_goes_out_as_it_came_and_others_read_the_media() {
    let (vault, dir) = (Vault::up(), scratch());
    let kinds = [
        ("ct-1.dcm", "IMAGE"),
        ("dx-jpegll.dcm", "IMAGE"),
        ("pdf.dcm", "ENCAP DOC"),
        ("rtstruct.dcm", "RT STRUCTURE SET"),
        ("ecg.dcm", "WAVEFORM"),
        ("names-ja.dcm", "IMAGE"),
    ];
    for (n, (file, kind)) in kinds.into_iter().enumerate() {
        let (f, data_set) = Fixture::named(file).renamed(n as u64 + 1);
        assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
        vault.asked_for(&f.patient_id);
        let (package, unpacked) = (dir.path().join(format!("{n}.zip")), dir.path().join(n.to_string()));
        exported(&vault, &["--study-file", study_file(dir.path(), &f).to_str().unwrap()], &package);
        let found = taken_apart(&package, &unpacked);
        assert_eq!(found["kinds"], json!([kind]), "{file}");
        let file_out = fs::read(unpacked.join("DICOM/ST000001/SE000001/IM000001")).unwrap();
        assert!(file_out == vault.file_of(&f).unwrap(), "{file} goes out as it lies here");
        let previews = found["names"].as_array().unwrap().iter().filter(|n| n.as_str().unwrap().starts_with("PREVIEW"));
        assert_eq!(previews.count(), usize::from(kind == "IMAGE"), "{file}");
    }
}

/// The same images in another series of their study: its UID ends with these three digits.
fn of_other_series((f, data_set): &(Fixture, Vec<u8>), number: u64) -> (Fixture, Vec<u8>) {
    let (f, mut data_set) = sibling(f, data_set, number);
    let new = format!("{}{number:03}", &f.series[..f.series.len() - 3]);
    while let Some(at) = data_set.windows(new.len()).position(|part| part == f.series.as_bytes()) {
        data_set[at..at + new.len()].copy_from_slice(new.as_bytes());
    }
    (Fixture { series: new, ..f }, data_set)
}

#[test]
fn a_patient_of_several_studies_and_series_has_a_directory_that_others_make_alike() {
    let (vault, dir) = (Vault::up(), scratch());
    let ct = Fixture::named("ct-1.dcm").renamed(1);
    let second = of_other_series(&ct, 501);
    let (dx, pdf) = (Fixture::named("dx.dcm").renamed(2), Fixture::named("pdf.dcm").renamed(3));
    let all = [&ct, &sibling(&ct.0, &ct.1, 401), &second, &sibling(&second.0, &second.1, 402), &dx, &pdf];
    for (f, data_set) in all {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    drained(&vault);
    let at = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // They are one patient's, with two numbers until now.
    let studies = at("studies", &format!("{}\n{}\n", dx.0.study, pdf.0.study));
    let patient = at("patient", &ct.0.patient_id);
    let merged = Command::new(program())
        .args(["rectify", "study", "--study-file", &studies, "--as-patient-file", &patient, "--yes", "--data"])
        .arg(vault.folder())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(merged.status.success(), "{}", said(&merged));
    vault.asked_for(&ct.0.patient_id);
    let (package, unpacked) = (dir.path().join("all.zip"), dir.path().join("all"));
    exported(&vault, &["--patient-file", &patient], &package);
    let found = taken_apart(&package, &unpacked);
    let mut kinds: Vec<&str> = found["kinds"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["ENCAP DOC", "IMAGE", "IMAGE", "IMAGE", "IMAGE", "IMAGE"]);
    let upper = ["PATIENT", "SERIES", "SERIES", "SERIES", "SERIES", "STUDY", "STUDY", "STUDY"];
    assert_eq!(found["upper"], json!(upper));
}

#[test]
fn a_patient_goes_out_with_the_report_and_stays_unseen_on_the_disk() {
    let (vault, dir) = (Vault::up(), scratch());
    let f = Fixture::named("canary.dcm");
    let eyes = Eyes::for_words(&["CANARY", &f.study, &f.series, &f.instance[..f.instance.len() - 1]]);
    vault.store_fixture(&f);
    let patient = dir.path().join("patient.txt");
    fs::write(&patient, &f.patient_id).unwrap();
    let package = dir.path().join("p.zip");
    // For an officer there is nothing to see before somebody asks.
    let early = leadglass(&vault).args(["--patient-file", patient.to_str().unwrap(), "--out", "-"]).output().unwrap();
    assert!(early.stdout.is_empty() && said(&early).contains("No case of this patient is open."), "{}", said(&early));
    vault.asked_for(&f.patient_id);
    let view = exported(&vault, &["--patient-file", patient.to_str().unwrap()], &package);
    let found = taken_apart(&package, &dir.path().join("p"));
    for name in ["README.TXT", "INDEX.HTM", "INFO/INFO.PDF", "ACCESS/REPORT.JSN", "ACCESS/REPORT.HTM"] {
        assert!(found["names"].as_array().unwrap().contains(&json!(name)), "{name} is missing");
    }
    let report = dir.path().join("p/ACCESS/REPORT.JSN");
    let checked = Command::new(program()).args(["audit", "verify-report"]).arg(&report).output().unwrap();
    assert!(matches!(checked.status.code(), Some(0 | 3)), "{}", said(&checked));
    let sealed = dir.path().join("p.age");
    let view_sealed = exported(&vault, &["--sealed", "--patient-file", patient.to_str().unwrap()], &sealed);
    let words = view_sealed["passphrase"].as_str().unwrap().to_owned();
    let bytes = fs::read(&sealed).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/v1\n-> scrypt ") && eyes.look("sealed", &bytes).is_empty());
    // A list survives the node that made it, the envelope's secrets with it; the passphrase is nowhere.
    vault.kill_vault();
    let id = view_sealed["id"].as_str().unwrap();
    let again = dir.path().join("again.age");
    exported(&vault, &["--resume", id], &again);
    assert!(fs::read(&again).unwrap() == bytes, "sealed to the same bytes");
    let seen = eyes.look_under(&vault.folder());
    assert!(seen.is_empty(), "she lies on the disk: {seen:#?}");
    assert!(eyes.look("words", &vault.words()).is_empty(), "she stands in the logs");
    assert!(Eyes::for_words(&[&words]).look_under(&vault.folder()).is_empty(), "the passphrase lies on the disk");
    // Taken back, it is gone.
    let taken = leadglass(&vault).args(["--take-back", view["id"].as_str().unwrap()]).output().unwrap();
    assert!(taken.status.success(), "{}", said(&taken));
    let gone = leadglass(&vault).args(["--resume", view["id"].as_str().unwrap(), "--out", "-"]).output().unwrap();
    assert!(!gone.status.success());
}

#[test]
fn a_download_that_a_killed_vault_broke_off_goes_on_with_the_same_bytes_in_bounded_memory() {
    let (vault, dir) = (Vault::up(), scratch());
    vault.store_fixture(&Fixture::named("dx.dcm"));
    let (f, data_set) = large(7, 300);
    assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
    drop(data_set);
    vault.asked_for(&f.patient_id);
    let whole = dir.path().join("whole.zip");
    let file = study_file(dir.path(), &f);
    forget_peak(vault.now().pids.vault).unwrap();
    let idle = resident_bytes(vault.now().pids.vault);
    let view = exported(&vault, &["--study-file", file.to_str().unwrap()], &whole);
    let peak = peak_bytes(vault.now().pids.vault).saturating_sub(idle) / MIB;
    eprintln!("exporting 300 MiB took {peak} MiB above idle");
    assert!(peak < 96, "exporting took {peak} MiB above idle");
    let (id, bytes) = (view["id"].as_str().unwrap(), fs::read(&whole).unwrap());
    assert_eq!(view["bytes"].as_u64(), Some(bytes.len() as u64));

    // Killed while it sends: the program goes on by itself.
    let second = dir.path().join("second.zip");
    let part = dir.path().join("second.zip.part");
    let mut running = leadglass(&vault)
        .args(["--resume", id, "--out"])
        .arg(&second)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let some = || fs::metadata(&part).is_ok_and(|m| m.len() > 8 * MIB) || second.exists();
    assert!(until(Duration::from_secs(60), some));
    let pid = vault.now().pids.vault;
    kill_9(pid);
    vault.wait_restarted(pid);
    assert!(running.wait().unwrap().success());
    assert!(fs::read(&second).unwrap() == bytes, "the same bytes");

    // Any piece, of a vault that has just been killed and remembers nothing.
    vault.kill_vault();
    let url = format!("{}/api/v1/exports/{id}/content", vault.now().http.base);
    let (from, to) = (bytes.len() - 700, bytes.len() - 300);
    for (from, to) in [(from, to), (10, 5_000)] {
        let range = format!("bytes={from}-{}", to - 1);
        let ask = Ask { token: Some(&vault.up.tokens.dpo), range: Some(&range), ..Ask::default() };
        let answer = vault.http().get(&url, ask);
        assert_eq!(answer.status, 206);
        assert!(answer.body == bytes[from..to], "{range}");
    }
}

/// dcmtk's storescp as another house.
struct Colleague(std::process::Child);

impl Colleague {
    fn open(port: u16, words: &[&str], folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let child = Command::new(dcmtk("storescp"))
            .args(["-aet", "COLLEAGUE", "+B", "-od"])
            .arg(folder)
            .args(words)
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let here = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        assert!(until(Duration::from_secs(30), || echoscu(here, "TEST", "COLLEAGUE").status.success()));
        Self(child)
    }
}

impl Drop for Colleague {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn another_practice_gets_the_images_as_they_came_and_what_it_does_not_take_is_said() {
    let port = free_port();
    let peer = "[[peers]]\nname = \"colleague\"\nhost = \"127.0.0.1\"\naet = \"COLLEAGUE\"\n";
    let vault = Vault::with_config(&format!("{peer}port = {port}\n"));
    let dir = scratch();
    let sent: Vec<(Fixture, Vec<u8>)> = ["ct-1.dcm", "ct-2.dcm", "ct-3.dcm"]
        .map(|name| {
            let f = Fixture::named(name);
            let data_set = f.data_set();
            (f, data_set)
        })
        .into();
    let (coded, coded_set) = Fixture::named("dx-jpegll.dcm").renamed(1);
    let (big, big_set) = large(2, 8);
    for (f, data_set) in sent.iter().chain([&(coded.clone(), coded_set.clone()), &(big.clone(), big_set.clone())]) {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
        vault.asked_for(&f.patient_id);
    }
    let to = |f: &Fixture, peer: &str| {
        let file = study_file(dir.path(), f);
        let output = leadglass(&vault).args(["--json", "--to", peer, "--study-file"]).arg(file).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), told, said(&output))
    };
    let got = |folder: &Path| -> Vec<Vec<u8>> {
        fs::read_dir(folder).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
    };
    let everything = dir.path().join("everything");
    {
        let _colleague = Colleague::open(port, &["+xa"], &everything);
        for (f, instances) in [(&sent[0].0, 3), (&coded, 1), (&big, 1)] {
            let (code, told, words) = to(f, "colleague");
            assert_eq!((code, &told["taken"], &told["total"]), (0, &json!(instances), &json!(instances)), "{words}");
        }
    }
    let files = got(&everything);
    assert_eq!(files.len(), 5);
    for data_set in sent.iter().map(|(_, set)| set).chain([&coded_set, &big_set]) {
        assert!(files.iter().any(|file| file.ends_with(data_set)), "it arrived otherwise than it came");
    }
    let (code, told, words) = to(&coded, "colleague");
    assert_eq!((code, &told["taken"]), (3, &json!(0)), "nobody is there any more: {words}");
    {
        let _colleague = Colleague::open(port, &["+x="], &dir.path().join("plain"));
        let (code, told, words) = to(&coded, "colleague");
        assert_eq!((code, &told["taken"]), (3, &json!(0)), "{words}");
        assert!(told["why"][0].as_str().unwrap().contains("does not take"), "{told}");
    }
    let (code, _, words) = to(&coded, "stranger");
    assert!(code == 1 && words.contains("no peer of this name"), "{words}");
    for word in ["to-colleague", "brought"] {
        assert!(until(Duration::from_secs(30), || entries_with(&vault, word) > 0), "{word} is in no entry");
    }
}
