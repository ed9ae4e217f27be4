//! Whose images these are is corrected by the command line: every kind of instance, with pydicom as the judge; a study that was
//! filed under another patient, two numbers of one, a series that is somebody else's; and the vault killed on the way.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::devices::audited;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::peers::{run_python, said};
use leadglass_tests::process::until;
use leadglass_tests::proxy::{Fault, Proxy, Script, Step};
use leadglass_tests::scratch;
use leadglass_tests::site::{drained, sibling};
use leadglass_tests::vault::{Vault, program};
use leadglass_tests::weed::Weed;
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);

/// Compares a file with what became of it. Arguments: before, after, Patient ID. Prints what else differs.
const COMPARE: &str = r#"
import sys, warnings, pydicom
from pydicom import config
warnings.simplefilter("ignore")
config.settings.reading_validation_mode = config.IGNORE
before, after = (pydicom.dcmread(name, force=True) for name in sys.argv[1:3])
assert after.PatientID == sys.argv[3] and after.PatientSex == "O", (after.PatientID, after.PatientSex)
item = after.OriginalAttributesSequence[0]
assert (item.ModifyingSystem, item.ReasonForTheAttributeModification) == ("Leadglass", "CORRECT")
[old] = item.ModifiedAttributesSequence
assert str(old.get("PatientID", "") or "") == str(before.get("PatientID", "") or ""), old
assert len(after.OriginalAttributesSequence) == len(before.get("OriginalAttributesSequence", [])) + 1
changed = {"PatientID", "PatientSex", "OriginalAttributesSequence"}
tags = {element.tag for data in (before, after) for element in data if element.tag.element != 0}
for tag in sorted(tags):
    if pydicom.datadict.keyword_for_tag(tag) in changed:
        continue
    assert tag in before and tag in after, tag
    assert before[tag] == after[tag] or before.get_item(tag).value == after.get_item(tag).value, tag
assert before.file_meta == after.file_meta
"#;

fn run(vault: &Vault, words: &[&str]) -> Output {
    let folder = vault.folder();
    let data = ["--data", folder.to_str().unwrap()];
    Command::new(program()).args([words, &data].concat()).stdin(Stdio::null()).output().unwrap()
}

/// `leadglass rectify … --json`, and what it said.
fn rectify(vault: &Vault, words: &[&str]) -> (i32, Value, String) {
    let output = run(vault, &[&["rectify"], words, &["--json"]].concat());
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), json, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The same, said yes to, and done.
fn rectified(vault: &Vault, words: &[&str]) -> Value {
    let (code, order, said) = rectify(vault, &[words, &["--yes"]].concat());
    assert_eq!((code, order["why"].clone()), (0, Value::Null), "{words:?} {said} {order}");
    order
}

struct Texts(tempfile::TempDir);

impl Texts {
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Study UIDs and instances of a patient, as QIDO says.
fn studies_of(vault: &Vault, patient: &str) -> Vec<(String, u64)> {
    let found = vault.ask(&format!("/studies?PatientID={patient}"), Some(&vault.up.token), "application/dicom+json");
    if found.status == 204 {
        return Vec::new();
    }
    assert_eq!(found.status, 200);
    let found: Value = serde_json::from_slice(&found.body).unwrap();
    let of = |study: &Value| {
        let value = |tag: &str| study[tag]["Value"][0].clone();
        (value("0020000D").as_str().unwrap().to_owned(), value("00201208").as_u64().unwrap())
    };
    let mut found: Vec<_> = found.as_array().unwrap().iter().map(of).collect();
    found.sort();
    found
}

fn post(vault: &Vault, path: &str, body: &Value) -> (u16, Value) {
    let ask = Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() };
    let answer =
        vault.http().send("POST", &format!("{}{path}", vault.up.http.base), ask, body.to_string().into_bytes());
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

#[test]
fn every_kind_of_instance_says_what_is_right_and_nothing_else_changes() {
    let (vault, texts) = (Vault::up(), Texts(scratch()));
    let fixtures: Vec<Fixture> = Fixture::every().into_iter().filter(|f| !f.file.contains("canary")).collect();
    for f in &fixtures {
        vault.store_fixture(f);
    }
    drained(&vault);
    let mut studies: Vec<&str> = fixtures.iter().map(|f| f.study.as_str()).collect();
    studies.sort_unstable();
    studies.dedup();
    let before: Vec<Vec<u8>> = fixtures.iter().map(|f| vault.file_of(f).unwrap()).collect();
    let (mut corrected, mut deflated) = (0, 0);
    for (number, study) in studies.iter().enumerate() {
        let id = format!("RIGHT-{number}");
        let right = texts.file("right", &json!({ "patient-id": id, "patient-sex": "O" }).to_string());
        let uid = texts.file("uid", study);
        let words = ["study", "--study-file", &uid, "--values-file", &right, "--yes"];
        let (code, order, words) = rectify(&vault, &words);
        let of_study = || fixtures.iter().zip(&before).filter(|(f, _)| f.study == *study);
        if of_study().any(|(f, _)| f.transfer_syntax == "1.2.840.10008.1.2.1.99") {
            assert!(code == 1 && words.contains("deflated"), "{words}");
            deflated += 1;
            continue;
        }
        assert_eq!(code, 0, "{study}: {words}");
        assert_eq!(order["instances"], of_study().count(), "{study}");
        for (f, file) in of_study() {
            let [old, new] = ["old", "new"].map(|name| texts.0.path().join(name));
            fs::write(&old, file).unwrap();
            fs::write(&new, vault.file_of(f).unwrap()).unwrap();
            let files = [&old, &new].map(|path| path.to_str().unwrap().to_owned());
            let judged = run_python(COMPARE, &[&files[..], std::slice::from_ref(&id)].concat());
            assert!(judged.status.success(), "{}: {}", f.file, said(&judged));
            corrected += 1;
        }
        assert_eq!(studies_of(&vault, &id).len(), 1);
    }
    assert!(corrected >= 25 && deflated >= 1, "{corrected} corrected, {deflated} refused");
}

#[test]
fn a_misfiled_study_two_numbers_and_a_series_of_somebody_else_go_where_they_belong() {
    let (vault, texts) = (Vault::up(), Texts(scratch()));
    let (one, other) = (Fixture::named("ct-1.dcm").renamed(1), Fixture::named("dx.dcm").renamed(2));
    let third = Fixture::named("cr-implicit.dcm").renamed(3);
    let beside = sibling(&one.0, &one.1, 7);
    for (f, data_set) in [&one, &beside, &other, &third] {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    drained(&vault);
    let study = texts.file("study", &one.0.study);
    let [second, last] = [&other, &third].map(|(f, _)| texts.file(&f.patient_id, &f.patient_id));

    // Looked at first; nothing changes without a yes.
    let package = texts.0.path().join("package.zip");
    let clinic = texts.file("clinic", "Clinic of the North");
    vault.asked_for(&one.0.patient_id);
    let given = ["export", "--study-file", &study, "--out", package.to_str().unwrap(), "--recipient-file", &clinic];
    let given = run(&vault, &given);
    assert!(given.status.success(), "{}", said(&given));
    let words = ["study", "--study-file", &study, "--as-patient-file", &second];
    let (code, preview, told) = rectify(&vault, &words);
    assert!(code == 3 && told.contains("Nothing was changed."), "{told}");
    let shown = &preview["studies"][0];
    assert_eq!((&shown["instances"], &shown["recipients"]), (&json!(2), &json!(["Clinic of the North"])));
    let change = shown["changes"].as_array().unwrap().iter().find(|c| c["attribute"] == "patient-id").unwrap();
    assert_eq!((&change["old"], &change["new"]), (&json!(one.0.patient_id), &json!(other.0.patient_id)));
    let human = run(&vault, &[&["rectify"], &words[..]].concat());
    let human = String::from_utf8_lossy(&human.stdout).into_owned();
    assert!(human.contains("copies are with Clinic of the North"), "{human}");
    assert_eq!(studies_of(&vault, &one.0.patient_id).len(), 1);
    let (status, problem) = post(
        &vault,
        "/api/v1/rectifications",
        &json!({ "studies": [one.0.study], "as_patient": { "patient_id": other.0.patient_id }, "digest": "00" }),
    );
    assert_eq!((status, &problem["code"]), (409, &json!("changed")));

    // Filed under another patient.
    let order = rectified(&vault, &words);
    assert_eq!(studies_of(&vault, &other.0.patient_id).len(), 2);
    assert!(studies_of(&vault, &one.0.patient_id).is_empty());
    assert_eq!(vault.store(&one.0, &one.1).unwrap().status, 0);
    let ask = Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() };
    let waiting = vault.http().get(&format!("{}/api/v1/quarantine", vault.up.http.base), ask).json();
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "what still names the other patient waits: {waiting}");

    // An output of a case; the patient whose it was may link it, and whose it is.
    let case = |words: &[&str]| run(&vault, &[&["case"], words, &["--json"]].concat());
    let opened = case(&["open", "rectification", "--patient-file", &second, "--channel", "phone"]);
    let opened: Value = serde_json::from_slice(&opened.stdout).unwrap();
    let id = order["id"].as_str().unwrap();
    let linked = case(&["link", opened["id"].as_str().unwrap(), "rectification", id]);
    assert!(linked.status.success(), "{}", said(&linked));
    let opened = case(&["open", "rectification", "--patient-file", &last, "--channel", "phone"]);
    let opened: Value = serde_json::from_slice(&opened.stdout).unwrap();
    let refused = case(&["link", opened["id"].as_str().unwrap(), "rectification", id]);
    assert!(!refused.status.success(), "it is about somebody else");

    // Two numbers of one patient.
    rectified(&vault, &["merge", "--patient-file", &last, "--as-patient-file", &second]);
    assert_eq!(studies_of(&vault, &other.0.patient_id).len(), 3);

    // One instance of the first study was hers after all.
    let instance = texts.file("instance", &beside.0.instance);
    let hers = texts.file("hers", &json!({ "patient-id": "HERS", "patient-name": "Somebody^Else" }).to_string());
    let words = [
        "split",
        "--study-file",
        &study,
        "--instance-file",
        &instance,
        "--values-file",
        &hers,
        "--reason-file",
        &clinic,
    ];
    let split = rectified(&vault, &words);
    let new_study = split["new_study"].as_str().unwrap();
    assert_eq!(studies_of(&vault, "HERS"), [(new_study.to_owned(), 1)]);
    assert_eq!(vault.file_of(&beside.0), Err(404));
    assert!(vault.file_of(&one.0).is_ok());
    let listed = rectify(&vault, &["list"]).1;
    assert_eq!(listed.as_array().map(Vec::len), Some(3));
    for word in ["rectification-ordered", "rectification-checked", "rectification-begun", "rectified"] {
        assert!(audited(&vault, word), "{word}");
    }
    let verified = run(&vault, &["verify"]);
    assert!(verified.status.success(), "{}", said(&verified));
}

#[test]
fn a_vault_that_is_killed_on_the_way_goes_on_and_comes_to_the_end() {
    // No new version gets into the bucket until somebody lets it: so the vault is killed on the way, however fast it is.
    let weed = Weed::start();
    let proxy = Proxy::start(weed.s3(), Duration::ZERO);
    let vault = Vault::with_config(&weed.settings(proxy.address()));
    let (f, data_set) = Fixture::named("ct-1.dcm").renamed(5);
    let mut all = vec![(f.clone(), data_set.clone())];
    all.extend((1..60).map(|number| sibling(&f, &data_set, 100 + number)));
    for (f, data_set) in &all {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    drained(&vault);
    let asked = json!({ "studies": [f.study], "values": { "patient-id": "RIGHT", "patient-name": "Right^Erika" } });
    let (status, preview) = post(&vault, "/api/v1/rectifications/preview", &asked);
    assert_eq!(status, 200, "{preview}");
    let mut asked = asked;
    asked["digest"] = preview["digest"].clone();
    proxy.set(Script::Every(Step::Put, Fault::Silence));
    let (status, order) = post(&vault, "/api/v1/rectifications", &asked);
    assert_eq!(status, 201, "{order}");
    let id = order["id"].as_str().unwrap().to_owned();
    assert!(until(LONG, || proxy.steps().contains(&Step::Put)), "it is under way");
    for _ in 0..2 {
        assert!(rectify(&vault, &["show", &id]).1["done_at_ms"].is_null(), "it was at its end before it was killed");
        vault.kill_vault();
    }
    // And once more wherever it then is.
    proxy.set(Script::Calm);
    vault.kill_vault();
    let mut last = Value::Null;
    let done = until(LONG, || {
        last = rectify(&vault, &["show", &id]).1;
        !last["done_at_ms"].is_null()
    });
    assert!(done, "{last}");
    assert_eq!(studies_of(&vault, "RIGHT"), [(f.study.clone(), 60)]);
    for (f, _) in &all {
        let file = vault.file_of(f).unwrap();
        assert!(holds(&file, b"Right^Erika") && holds(&file, f.patient_name.as_bytes()), "{}", f.instance);
    }
}

fn holds(file: &[u8], text: &[u8]) -> bool {
    file.windows(text.len()).any(|part| part == text)
}
