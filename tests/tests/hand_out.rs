//! What leaves the house otherwise than by an officer: a clinician takes out one study, the reception hands out what he ordered.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Answer;
use leadglass_tests::peers::{run_python, said};
use leadglass_tests::person::{Browser, PASSWORD, joined_as};
use leadglass_tests::scratch;
use leadglass_tests::site::drained;
use leadglass_tests::vault::{Vault, program};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};

const EXPORTS: &str = "/api/v1/exports";
const REASON: &str = "takes over from Dr. Weber while she is away";

/// The one instance of a package, and whether it is the file that is given. Arguments: the ZIP, the file.
const HOLDS: &str = "
import sys, zipfile
package = zipfile.ZipFile(sys.argv[1])
assert package.testzip() is None
found = [name for name in package.namelist() if name.startswith('DICOM/')]
assert [package.read(name) for name in found] == [open(sys.argv[2], 'rb').read()], found
assert not [name for name in package.namelist() if name.startswith('ACCESS')], 'who looked is for the patient'
";

fn get(browser: &Browser<'_>, path: &str) -> Answer {
    browser.ask("GET", path, &Value::Null)
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

/// The exports that somebody is shown, by their ids.
fn listed(browser: &Browser<'_>) -> Vec<String> {
    let answer = get(browser, EXPORTS);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

fn begun(browser: &Browser<'_>, asked: &Value) -> String {
    let answer = browser.ask("POST", EXPORTS, asked);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_clinician_takes_out_one_study_and_the_reception_hands_out_what_he_ordered() {
    let (vault, dir) = (Vault::up(), scratch());
    let (f, data_set) = Fixture::named("ct-1.dcm").renamed(1);
    let (other, other_set) = Fixture::named("ct-3.dcm").renamed(2);
    for (f, data_set) in [(&f, &data_set), (&other, &other_set)] {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    drained(&vault);
    let ((clinician, ..), (colleague, ..), (desk, ..)) = (
        joined_as(&vault, "weber", "clinician"),
        joined_as(&vault, "berg", "clinician"),
        joined_as(&vault, "desk", "reception"),
    );
    let study = |f: &Fixture, hand_out: bool| json!({ "level": "study", "study": f.study, "hand_out": hand_out });

    // One study, without the report on who looked: the rest is the officer's.
    let patient = json!({ "level": "patient", "patient_id": f.patient_id });
    let reported = json!({ "level": "study", "study": f.study, "report": true });
    for too_much in [&patient, &reported] {
        assert_eq!(code(&clinician.ask("POST", EXPORTS, too_much)), (403, "not-allowed".to_owned()), "{too_much}");
    }
    assert_eq!(code(&desk.ask("POST", EXPORTS, &study(&f, false))), (403, "not-allowed".to_owned()));
    let own = begun(&clinician, &study(&f, false));
    assert_eq!(listed(&clinician), [&*own]);
    for stranger in [&colleague, &desk] {
        assert!(listed(stranger).is_empty(), "it is his own");
        for path in ["", "/content"] {
            assert_eq!(get(stranger, &format!("{EXPORTS}/{own}{path}")).status, 404, "{path}");
        }
    }

    // What is to be handed out is there for the reception, and nothing else is.
    let ordered = begun(&clinician, &study(&f, true));
    let shown = get(&desk, EXPORTS).json();
    assert_eq!((&shown[0]["id"], &shown[0]["study_uids"]), (&json!(ordered), &json!([f.study])));
    assert_eq!(shown.as_array().map(Vec::len), Some(1));
    let list = Command::new(program()).args(["export", "--list", "--data"]).arg(vault.folder()).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let line = list.lines().find(|line| line.starts_with(&ordered)).unwrap();
    assert!(line.ends_with(&format!("to be handed out: {}", f.study)), "{line}");
    let content = get(&desk, &format!("{EXPORTS}/{ordered}/content"));
    assert_eq!(content.status, 200, "{}", content.text());
    let (package, file) = (dir.path().join("p.zip"), dir.path().join("f.dcm"));
    fs::write(&package, &content.body).unwrap();
    fs::write(&file, vault.file_of(&f).unwrap()).unwrap();
    let held = run_python(HOLDS, &[&package, &file].map(|path| path.to_str().unwrap().to_owned()));
    assert!(held.status.success(), "{}", said(&held));
    for seen in ["metadata", "rendered", "thumbnail"] {
        assert_eq!(get(&desk, &format!("/dicomweb/studies/{}/{seen}", f.study)).status, 403, "{seen}");
    }
    let to = json!({ "peer": "nobody" });
    assert_eq!(desk.ask("POST", &format!("{EXPORTS}/{ordered}/deliver"), &to).status, 403, "it goes over the counter");
    for (stranger, status) in [(&colleague, 404), (&desk, 403)] {
        assert_eq!(stranger.ask("DELETE", &format!("{EXPORTS}/{ordered}"), &Value::Null).status, status);
    }

    // The report names both: who ordered it and who handed it out.
    let asked = dir.path().join("patient");
    fs::write(&asked, &f.patient_id).unwrap();
    let report = Command::new(program())
        .args(["audit", "report", "--json", "--patient-file", asked.to_str().unwrap(), "--data"])
        .arg(vault.folder())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(report.status.success(), "{}", said(&report));
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let roles: Vec<&str> =
        report["accesses"].as_array().unwrap().iter().filter_map(|access| access["role"].as_str()).collect();
    assert!(roles.contains(&"clinician") && roles.contains(&"reception"), "{roles:?}");

    // Once it is taken back, or the study is restricted, there is nothing at the desk.
    let taken = begun(&clinician, &study(&other, true));
    assert_eq!(listed(&desk).len(), 2);
    assert_eq!(clinician.ask("DELETE", &format!("{EXPORTS}/{taken}"), &Value::Null).status, 204);
    assert_eq!(listed(&desk), [&*ordered]);
    assert_eq!(get(&desk, &format!("{EXPORTS}/{taken}/content")).status, 404);
    let paper = dir.path().join("study");
    fs::write(&paper, &f.study).unwrap();
    let words = ["restriction", "add", "--order", "2026-7", "--study-file", paper.to_str().unwrap(), "--data"];
    let restricted = Command::new(program()).args(words).arg(vault.folder()).stdin(Stdio::null()).output().unwrap();
    assert!(restricted.status.success(), "{}", said(&restricted));
    assert_eq!(get(&desk, &format!("{EXPORTS}/{ordered}/content")).status, 404);
    assert_eq!(get(&clinician, &format!("{EXPORTS}/{own}/content")).status, 404);
}

/// An emergency opens a study to be looked at, and to nothing else.
#[test]
fn nothing_leaves_the_house_because_of_an_emergency() {
    let vault = Vault::with_config("care = \"stated\"\n");
    let (f, data_set) = Fixture::named("ct-1.dcm").renamed(1);
    assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
    drained(&vault);
    let (clinician, _, codes) = joined_as(&vault, "weber", "clinician");
    let one = json!({ "level": "study", "study": f.study });
    assert_eq!(code(&clinician.ask("POST", EXPORTS, &one)), (403, "reason-needed".to_owned()));
    let proof = json!({
        "study": f.study, "reason": "collapsed in the waiting room", "password": PASSWORD, "code": codes[0],
    });
    assert_eq!(clinician.ask("POST", "/api/v1/care/emergency", &proof).status, 201);
    assert_eq!(get(&clinician, &format!("/dicomweb/studies/{}/metadata", f.study)).status, 200);
    assert_eq!(code(&clinician.ask("POST", EXPORTS, &one)), (403, "reason-needed".to_owned()));
    let reason = json!({ "study": f.study, "reason": REASON });
    assert!(clinician.ask("POST", "/api/v1/care/reason", &reason).status < 300);
    let id = begun(&clinician, &one);
    assert_eq!(get(&clinician, &format!("{EXPORTS}/{id}/content")).status, 200);
}
