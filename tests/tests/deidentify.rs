//! Instances leave the house without names: nothing that named a patient in any byte or file name, references that
//! still resolve, what may show somebody held back until a person has looked, and a way back that nobody finds.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::devices::entries_with;
use leadglass_tests::eyes::Eyes;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::peers::{dcmtk, echoscu, free_port, run_python, said};
use leadglass_tests::process::until;
use leadglass_tests::scratch;
use leadglass_tests::vault::{Vault, program};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs the program; the exit code, what it said as JSON, and in words.
fn deidentify(vault: &Vault, arguments: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(program());
    command.args(["deidentify", "--json", "--data", vault.folder().to_str().unwrap()]).args(arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), told, said(&output))
}

fn written(dir: &Path, name: &str, text: &str) -> String {
    let file = dir.join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}

/// Whatever names the patient of this fixture or points at her.
fn words_of(f: &Fixture) -> Vec<String> {
    let even = |uid: &str| uid[..uid.len() - 1].to_owned();
    vec![f.patient_id.clone(), f.patient_name.clone(), even(&f.study), even(&f.series), even(&f.instance)]
}

/// Holds a folder of nameless files against each other. Arguments: the folder, how many.
const READ: &str = r#"
import os, sys, pydicom
folder, count = sys.argv[1], int(sys.argv[2])
paths = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names if name.startswith("IM")]
found = [pydicom.dcmread(path) for path in paths]
assert len(found) == count, len(found)
assert len({ds.SOPInstanceUID for ds in found}) == count
for ds in found:
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert ds.PatientIdentityRemoved == "YES"
    assert [code.CodeValue for code in ds.DeidentificationMethodCodeSequence][0] == "113100"
    assert ds.PatientID == str(ds.PatientName) and ds.PatientID.startswith("P-")
    if "PixelData" in ds:
        ds.pixel_array
print(len({ds.StudyInstanceUID for ds in found}), len({ds.SeriesInstanceUID for ds in found}),
      len({ds.PatientID for ds in found}), sorted({ds.get("StudyDate", "") for ds in found}))
"#;

fn read(folder: &Path, count: usize) -> String {
    let output = run_python(READ, &[folder.to_str().unwrap().to_owned(), count.to_string()]);
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_study_goes_out_nameless_and_hangs_together_and_a_second_job_gives_other_names() {
    let (vault, dir) = (Vault::up(), scratch());
    let slices = ["ct-1.dcm", "ct-2.dcm", "ct-3.dcm"].map(Fixture::named);
    for f in &slices {
        vault.store_fixture(f);
    }
    let study = written(dir.path(), "study.txt", &slices[0].study);
    let series: Vec<&str> = slices.iter().map(|f| f.series.as_str()).collect();
    let series = written(dir.path(), "series.txt", &series.join("\n"));
    let words: Vec<String> = slices.iter().flat_map(words_of).collect();
    let eyes = Eyes::for_words(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let mut names = Vec::new();
    for n in 0..2 {
        let out = dir.path().join(format!("out-{n}"));
        let reviewed = ["--study-file", &study, "--preset", "research", "--reviewed-file", &series];
        let arguments = [&reviewed[..], &["--out", out.to_str().unwrap()]].concat();
        let (code, report, said) = deidentify(&vault, &arguments);
        assert_eq!(code, 0, "{said}");
        assert_eq!(report["instances"].as_array().unwrap().len(), 3);
        assert_eq!(report["methods"].as_array().unwrap().len(), 3, "{report}");
        assert!(read(&out, 3).starts_with("1 "), "one study stays one");
        let seen = eyes.look_under(&out);
        assert!(seen.is_empty(), "{seen:#?}");
        let text = fs::read_to_string(out.join("REPORT.TXT")).unwrap();
        assert!(text.contains("113107") && text.contains("3 instances"), "{text}");
        names.push(report["instances"][0]["sop_instance"].clone());
        let (code, _, again) = deidentify(&vault, &arguments);
        assert!(code == 1 && again.contains("is not empty"), "{again}");
    }
    assert_ne!(names[0], names[1], "another job has another key");
    assert!(until(Duration::from_secs(30), || entries_with(&vault, "nameless-research") >= 2));
    // What the job knew is in no log and on no disk.
    let new = Eyes::for_words(&[names[0].as_str().unwrap()]);
    assert!(new.look("words", &vault.words()).is_empty());
    assert!(new.look_under(&vault.folder()).is_empty());
}

#[test]
fn what_may_show_somebody_is_held_back_until_a_person_has_looked() {
    let (vault, dir) = (Vault::up(), scratch());
    let f = Fixture::named("canary.dcm");
    vault.store_fixture(&f);
    let study = written(dir.path(), "study.txt", &f.study);
    let held = dir.path().join("held.txt");
    let out = dir.path().join("first");
    let base = ["--study-file", &study, "--preset", "teaching"];
    let first = [&base[..], &["--out", out.to_str().unwrap(), "--held", held.to_str().unwrap()]].concat();
    let (code, report, said) = deidentify(&vault, &first);
    assert_eq!((code, report["instances"].as_array().unwrap().len()), (3, 0), "{said}");
    assert!(said.contains("1: pictures of its kind often have text burned in"), "{said}");
    assert_eq!(files(&out).len(), 2, "the report alone");
    let list = fs::read_to_string(&held).unwrap();
    assert!(list.lines().any(|line| line.starts_with(&f.instance)), "{list}");

    // Her name stands in the pixels, too: the region goes, and somebody says that nothing is left.
    let rules = json!([{ "modality": "OT", "regions": [{ "x": 0, "y": 0, "width": 5000, "height": 5000 }] }]);
    let rules = written(dir.path(), "regions.json", &rules.to_string());
    let package = dir.path().join("second.zip");
    let second = ["--out", package.to_str().unwrap(), "--regions", &rules, "--reviewed-file", held.to_str().unwrap()];
    let (code, report, said) = deidentify(&vault, &[&base[..], &second].concat());
    assert_eq!(code, 0, "{said}");
    assert_eq!((&report["instances"][0]["blanked"], &report["instances"][0]["reviewed"]), (&json!(true), &json!(true)));
    let bytes = fs::read(&package).unwrap();
    let words = words_of(&f);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["CANARY"]).collect();
    let seen = Eyes::for_words(&words).look("package", &bytes);
    assert!(seen.is_empty(), "{seen:#?}");
    let unpacked = dir.path().join("unpacked");
    let unzip = "import sys, zipfile\nzipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
    let arguments = [&package, &unpacked].map(|path| path.to_str().unwrap().to_owned());
    assert!(run_python(unzip, &arguments).status.success());
    read(&unpacked, 1);
    let dump = Command::new(dcmtk("dcmdump")).arg(unpacked.join("DICOM/ST000001/SE000001/IM000001")).output().unwrap();
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(dump.contains("113101") && dump.contains("113108") && dump.contains("BurnedInAnnotation"), "{dump}");
}

#[test]
fn slices_that_may_be_of_a_head_are_held_back_and_go_to_a_vendor_without_pixels() {
    let (vault, dir) = (Vault::up(), scratch());
    let f = Fixture::named("ct-1.dcm");
    vault.store_fixture(&f);
    let study = written(dir.path(), "study.txt", &f.study);
    for (preset, code, count) in [("research", 3, 0), ("vendor-support", 0, 1)] {
        let out = dir.path().join(preset);
        let arguments = ["--study-file", &study, "--preset", preset, "--out", out.to_str().unwrap()];
        let (found, report, said) = deidentify(&vault, &arguments);
        assert_eq!((found, report["instances"].as_array().unwrap().len()), (code, count), "{said}");
        assert!(code == 0 || said.contains("it may be a slice of a head"), "{said}");
    }
}

#[test]
fn documents_and_compressed_pixels_with_regions_stay_here() {
    let (vault, dir) = (Vault::up(), scratch());
    let rules = json!([{ "regions": [{ "x": 0, "y": 0, "width": 8, "height": 8 }] }]).to_string();
    let rules = written(dir.path(), "regions.json", &rules);
    for (n, (file, words)) in [
        ("pdf.dcm", "an encapsulated document cannot be made nameless"),
        ("ct-jpegls.dcm", "regions of compressed pixels cannot be blanked"),
    ]
    .into_iter()
    .enumerate()
    {
        let f = Fixture::named(file);
        vault.store_fixture(&f);
        let study = written(dir.path(), "study.txt", &f.study);
        let out = dir.path().join(n.to_string());
        let arguments =
            ["--study-file", &study, "--preset", "research", "--regions", &rules, "--out", out.to_str().unwrap()];
        let (code, report, said) = deidentify(&vault, &arguments);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(words) && report["left_out"][words] == 1, "{said}");
    }
}

#[test]
fn a_peer_gets_them_nameless_and_a_forgotten_job_is_gone() {
    let port = free_port();
    let vault = Vault::with_config(&format!(
        "[[peers]]\nname = \"colleague\"\nhost = \"127.0.0.1\"\naet = \"COLLEAGUE\"\nport = {port}\n"
    ));
    let dir = scratch();
    let fixtures = ["ct-1.dcm", "ct-2.dcm"].map(Fixture::named);
    for f in &fixtures {
        vault.store_fixture(f);
    }
    let inbox = dir.path().join("inbox");
    fs::create_dir_all(&inbox).unwrap();
    let mut colleague = Command::new(dcmtk("storescp"))
        .args(["-aet", "COLLEAGUE", "+B", "+xa", "-od"])
        .arg(&inbox)
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let here = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    assert!(until(Duration::from_secs(30), || echoscu(here, "TEST", "COLLEAGUE").status.success()));
    let study = written(dir.path(), "study.txt", &fixtures[0].study);
    let series = written(dir.path(), "series.txt", &format!("{}\n{}", fixtures[0].series, fixtures[1].series));
    let reviewed = ["--study-file", &study, "--preset", "research", "--reviewed-file", &series];
    let (code, told, words) = deidentify(&vault, &[&reviewed[..], &["--to", "colleague"]].concat());
    colleague.kill().unwrap();
    colleague.wait().unwrap();
    assert_eq!((code, &told["taken"]), (0, &json!(2)), "{words}");
    let words: Vec<String> = fixtures.iter().flat_map(words_of).collect();
    let eyes = Eyes::for_words(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(files(&inbox).len(), 2);
    let seen = eyes.look_under(&inbox);
    assert!(seen.is_empty(), "{seen:#?}");
    assert!(until(Duration::from_secs(30), || entries_with(&vault, "nameless-to-colleague") > 0));

    let ask = || Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() };
    let url = format!("{}/api/v1/deidentifications", vault.up.http.base);
    let body = json!({ "study": fixtures[0].study, "preset": "vendor-support" }).to_string();
    let begun = vault.http().send("POST", &url, ask(), body.into_bytes());
    assert_eq!(begun.status, 201, "{}", begun.text());
    let job = format!("{url}/{}", begun.json()["id"].as_str().unwrap());
    let got = vault.http().get(&format!("{job}/instances/0"), ask());
    assert_eq!(
        (got.status, got.body.len() as u64),
        (200, begun.json()["report"]["instances"][0]["bytes"].as_u64().unwrap())
    );
    assert!(got.body.windows(4).all(|tag| tag != [0xE0, 0x7F, 0x10, 0x00]), "no pixels for a vendor");
    assert_eq!(vault.http().get(&format!("{job}/instances/2"), ask()).status, 404);
    assert_eq!(vault.http().send("DELETE", &job, ask(), Vec::new()).status, 204);
    assert_eq!(vault.http().get(&format!("{job}/instances/0"), ask()).status, 404);
}
