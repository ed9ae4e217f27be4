//! Who looked, with proof: a patient's report, the log checked from outside, the two logs matched, the witness.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::peers::{self, run_python};
use leadglass_tests::person::{PASSWORD, joined_named};
use leadglass_tests::process::until;
use leadglass_tests::site::{alarms, drained, halt, metric, objects};
use leadglass_tests::thief::{self, tenant};
use leadglass_tests::vault::Vault;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// The same patient, another study.
fn study(number: u64) -> (Fixture, Vec<u8>) {
    Fixture::named("ct-3.dcm").visit(number)
}

fn audit(vault: &Vault, arguments: &[&str]) -> (i32, String) {
    let all: Vec<&OsStr> = ["audit"].iter().chain(arguments).map(OsStr::new).collect();
    spoken(vault.run(&all))
}

fn spoken(output: Output) -> (i32, String) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

fn python(verifier: &Path, report: &Path, keys: &Value) -> (i32, String) {
    let key = |name: &str| keys[name].as_str().unwrap().to_owned();
    let run = Command::new("python3")
        .arg("-O")
        .arg(verifier)
        .arg(report)
        .args([key("vault_key"), key("witness_key")])
        .output();
    spoken(run.unwrap())
}

#[test]
fn a_report_of_fifty_accesses_shows_exactly_fifty_and_whoever_doubts_it_can_check() {
    let vault = Vault::up();
    let data = vault.folder().display().to_string();
    let studies: Vec<(Fixture, Vec<u8>)> = (1..=25).map(study).collect();
    for (f, data_set) in &studies {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
        vault.asked_for(&f.patient_id);
    }
    // 25 studies by two people; what is looked at again within an access is none of its own.
    for (f, _) in &studies {
        for token in [&vault.up.token, &vault.up.tokens.dpo] {
            for _ in 0..2 {
                let answer =
                    vault.ask(&format!("/studies/{}/metadata", f.study), Some(token), "application/dicom+json");
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
    }
    let (code, keys) = audit(&vault, &["keys", "--data", &data, "--json"]);
    assert_eq!(code, 0, "{keys}");
    let keys: Value = serde_json::from_str(&keys).unwrap();
    let at = |name: &str| vault.folder().join(name);
    let path = |name: &str| at(name).display().to_string();
    fs::write(at("keys.json"), keys.to_string()).unwrap();
    fs::write(at("patient"), &studies[0].0.patient_id).unwrap();
    let (code, said) = audit(
        &vault,
        &[
            "report",
            "--data",
            &data,
            "--patient-file",
            &path("patient"),
            "--html",
            &path("r.html"),
            "--pdf",
            &path("r.pdf"),
            "--proof",
            &path("r.json"),
        ],
    );
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("50 accesses, 0 of them refused"), "{said}");

    // The house's verifier, and another's.
    let (code, said) = audit(&vault, &["verify-report", &path("r.json"), "--keys", &path("keys.json")]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("holds      50 accesses"), "{said}");
    let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/verify_access_report.py");
    let (code, said) = python(&verifier, &at("r.json"), &keys);
    assert!(code == 0 && said.contains("holds: 50 accesses"), "{said}");

    // One is taken out of the middle, of proofs and table both.
    let mut report: Value = serde_json::from_slice(&fs::read(at("r.json")).unwrap()).unwrap();
    let access = report["accesses"].as_array_mut().unwrap().remove(20);
    report["entries"].as_array_mut().unwrap().retain(|entry| entry["seq"] != access["entry"]);
    fs::write(at("cut.json"), report.to_string()).unwrap();
    let (code, said) = audit(&vault, &["verify-report", &path("cut.json"), "--keys", &path("keys.json")]);
    assert!(code == 1 && said.contains("there is a gap"), "{said}");
    let (code, said) = python(&verifier, &at("cut.json"), &keys);
    assert!(code == 1 && said.contains("there is a gap"), "{said}");

    // The newest are left out, and the words of one are changed.
    let whole: Value = serde_json::from_slice(&fs::read(at("r.json")).unwrap()).unwrap();
    let mut short = whole.clone();
    let asked = short["others"].as_array_mut().unwrap().pop().unwrap();
    assert_eq!(asked["event"], 110_101);
    let left = short["entries"].as_array_mut().unwrap();
    assert_eq!(left.pop().unwrap()["seq"], asked["entry"]);
    let mut reworded = whole;
    reworded["accesses"][3]["role"] = json!("patient");
    for (report, words) in [(short, "being asked for"), (reworded, "the table")] {
        fs::write(at("other.json"), report.to_string()).unwrap();
        let (code, said) = audit(&vault, &["verify-report", &path("other.json"), "--keys", &path("keys.json")]);
        assert!(code == 1 && said.contains(words), "{said}");
        let (code, said) = python(&verifier, &at("other.json"), &keys);
        assert!(code == 1 && said.contains(words), "{said}");
    }

    let page = fs::read_to_string(at("r.html")).unwrap();
    assert_eq!(page.matches("<tr><td>").count(), 50);
    assert!(!page.contains("http://") && !page.contains("<script"), "the page fetches nothing");
    assert!(fs::read(at("r.pdf")).unwrap().starts_with(b"%PDF-1.4"));

    // A patient whom the log does not know, and somebody who may not ask, get nothing.
    let body = |id: &str| json!({ "patient_id": id }).to_string().into_bytes();
    let address = format!("{}/api/v1/audit/report", vault.up.http.base);
    let ask = |token: &str, id: &str| {
        vault.http().send("POST", &address, Ask { token: Some(token), ..Ask::default() }, body(id)).status
    };
    assert_eq!(ask(&vault.up.tokens.dpo, "NOBODY-EVER"), 404);
    assert_eq!(ask(&vault.up.token, &studies[0].0.patient_id), 403);

    // Every key that was given out belongs to an access.
    drained(&vault);
    let (code, said) = audit(&vault, &["reconcile", "--data", &data, "--json"]);
    assert_eq!(code, 0, "{said}");
    let found: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((&found["unmatched"], &found["waiting"]), (&json!([]), &json!(0)));
    assert_eq!(alarms(&vault, "unmatched-unwrap"), 0);

    let mut exported = Vec::new();
    for (form, word) in [("csv", "110103"), ("dicom", "<AuditMessage>"), ("fhir", "\"AuditEvent\"")] {
        let file = path(form);
        let (code, _) = audit(&vault, &["export", "--data", &data, "--format", form, "--out", &file]);
        let said = fs::read_to_string(&file).unwrap();
        assert!(code == 0 && said.matches(word).count() >= 50, "{form}: {said:.300}");
        assert!(said.contains("110100"), "what the node itself did stands there, too: {form}");
        exported.push(file);
    }
    // Each form as another program reads it.
    let judged = run_python(JUDGE, &exported);
    assert!(judged.status.success(), "{}", peers::said(&judged));
    let numbers: Vec<usize> = serde_json::from_slice(&judged.stdout).unwrap();
    assert!(numbers[0] >= 50 && numbers.windows(2).all(|two| two[1] >= two[0]), "{numbers:?}");

    // The log itself, from outside: while the vault runs, and after it stopped.
    assert!(until(SOON, || metric(&vault, "leadglass_audit_cosigned_entries") > 75), "it was not cosigned");
    let log = vault.up.data.vault.join("audit").display().to_string();
    halt(&vault);
    let (code, said) = audit(&vault, &["verify", &log, "--keys", &path("keys.json"), "--seen", &path("r.json")]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("whole") && said.contains("witnessed"), "{said}");
    let (code, said) = audit(&vault, &["verify", &log, "--json"]);
    assert_eq!(code, 3, "without keys nobody can be sure: {said}");
}

/// Reads the three forms of an export with a CSV reader, with an XML parser against what PS3.15 A.5.1 demands, and with the FHIR R4
/// model of AuditEvent; says how many entries each has.
const JUDGE: &str = r"
import csv, json, re, sys
import xml.etree.ElementTree as xml
from fhir.resources.R4B.auditevent import AuditEvent

rows = list(csv.reader(open(sys.argv[1], newline='', encoding='utf-8'), strict=True))
assert all(len(row) == len(rows[0]) for row in rows), 'a line with other columns'
assert not any(cell[:1] in tuple('=+-@') for row in rows for cell in row), 'a cell that a spreadsheet calculates'
events = [AuditEvent.model_validate_json(line) for line in open(sys.argv[3], encoding='utf-8')]
assert len({event.id for event in events}) == len(events)

# Children in order with their least and most number, and the attributes that must be there (PS3.15 A.5.1).
CODE = ({}, ['csd-code', 'codeSystemName', 'originalText'])
WANTED = {
    'AuditMessage': ({'EventIdentification': (1, 1), 'ActiveParticipant': (1, 99), 'AuditSourceIdentification': (1, 1),
                      'ParticipantObjectIdentification': (0, 99)}, []),
    'EventIdentification': ({'EventID': (1, 1), 'EventTypeCode': (0, 99), 'PurposeOfUse': (0, 99)},
                            ['EventDateTime', 'EventOutcomeIndicator']),
    'ActiveParticipant': ({'RoleIDCode': (0, 99)}, ['UserID', 'UserIsRequestor']),
    'AuditSourceIdentification': ({}, ['AuditSourceID']),
    'ParticipantObjectIdentification': ({'ParticipantObjectIDTypeCode': (1, 1), 'ParticipantObjectName': (1, 1)},
                                        ['ParticipantObjectID']),
    'ParticipantObjectName': ({}, []),
    'EventID': CODE, 'PurposeOfUse': CODE, 'RoleIDCode': CODE, 'ParticipantObjectIDTypeCode': CODE,
}

def look(element):
    children, attributes = WANTED[element.tag]
    assert all(element.get(name) for name in attributes), (element.tag, element.attrib)
    assert all(element.attrib.values()), (element.tag, element.attrib)
    assert element.tag != 'ParticipantObjectName' or element.text
    order = [list(children).index(child.tag) for child in element]
    assert order == sorted(order), element.tag
    for name, (least, most) in children.items():
        assert least <= len(element.findall(name)) <= most, (element.tag, name)
    for child in element:
        look(child)

messages = [xml.fromstring(line) for line in open(sys.argv[2], encoding='utf-8')]
for message in messages:
    look(message)
    event = message.find('EventIdentification')
    assert event.get('EventActionCode') in 'CRUDE' and event.get('EventOutcomeIndicator') in ('0', '4', '8', '12')
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z', event.get('EventDateTime'))
print(json.dumps([len(rows) - 1, len(messages), len(events)]))
";

/// Reads a PDF as somebody else's program does, and says the text of each page.
const READ: &str = r"
import json, pypdf, sys
reader = pypdf.PdfReader(sys.argv[1], strict=True)
print(json.dumps([page.extract_text() for page in reader.pages]))
";

/// Four clinicians who say why, and one in an emergency: whoever reads the report reads their names.
#[test]
fn a_report_names_five_people_and_the_emergency_on_the_page_on_paper_and_with_its_proof() {
    let vault = Vault::with_config("care = \"stated\"\n[budgets]\nbreak_glass_per_hour = 20\n");
    let studies: Vec<(Fixture, Vec<u8>)> = (1..=10).map(study).collect();
    for (f, data_set) in &studies {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    let people = [
        ("anna", "Anna Adler"),
        ("bernd", "Bernd Buche"),
        ("clara", "Clara Dachs"),
        ("dora", "Dora Erle"),
        ("emil", "Emil Falke"),
    ];
    for (login, name) in people {
        let (browser, _, codes) = joined_named(&vault, login, name);
        let reason = "Verlaufskontrolle vor der Wurzelspitzenresektion";
        let mut why = json!({ "study": studies[0].0.study, "reason": reason });
        let path = if login == "emil" { "/api/v1/care/emergency" } else { "/api/v1/care/reason" };
        if login == "emil" {
            (why["password"], why["code"]) = (json!(PASSWORD), json!(codes[0]));
        }
        let opened = browser.ask("POST", path, &why);
        assert_eq!(opened.status, 201, "{name}: {}", opened.text());
        for (f, _) in &studies {
            for _ in 0..2 {
                let answer = browser.ask("GET", &format!("/dicomweb/studies/{}/metadata", f.study), &Value::Null);
                assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            }
        }
    }
    let at = |name: &str| vault.folder().join(name);
    let path = |name: &str| at(name).display().to_string();
    let data = vault.folder().display().to_string();
    fs::write(at("patient"), &studies[0].0.patient_id).unwrap();
    let words = ["report", "--data", &data, "--patient-file", &path("patient")];
    let files = ["--html", &path("r.html"), "--pdf", &path("r.pdf"), "--proof", &path("r.json")];
    let (code, said) = audit(&vault, &[&words[..], &files].concat());
    assert!(code == 0 && said.contains("50 accesses, 0 of them refused"), "{said}");
    let (code, said) = audit(&vault, &["verify-report", &path("r.json")]);
    assert!(code == 3 && said.contains("holds      50 accesses"), "by the keys that it brought itself: {said}");

    let report: Value = serde_json::from_slice(&fs::read(at("r.json")).unwrap()).unwrap();
    let mut told: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for access in report["accesses"].as_array().unwrap() {
        let name = report["people"][access["actor"].as_str().unwrap()].as_str().unwrap();
        *told.entry((name, access["purpose"].as_str().unwrap())).or_default() += 1;
    }
    let purpose = |login: &str| if login == "emil" { "break-glass" } else { "care" };
    let expected = people.map(|(login, name)| ((name, purpose(login)), studies.len()));
    assert_eq!(told, BTreeMap::from(expected));

    // On the page and on paper: fifty rows, ten of each, and which of them were an emergency.
    let page = fs::read_to_string(at("r.html")).unwrap();
    let rows: Vec<&str> = page.split("<tr><td>").skip(1).filter_map(|row| row.split("</tr>").next()).collect();
    let output = run_python(READ, &[path("r.pdf")]);
    assert!(output.status.success(), "{}", peers::said(&output));
    let pages: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    let paper = pages.join("\n");
    let is_row = |line: &&str| {
        line.split_once(".  ").is_some_and(|(n, rest)| n.parse::<u64>().is_ok() && rest.contains("for: "))
    };
    let lines: Vec<&str> = paper.lines().map(str::trim).filter(is_row).collect();
    assert_eq!((rows.len(), lines.len()), (50, 50), "{paper}");
    for (n, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("{}.", n + 1)), "{line}");
    }
    for (login, name) in people {
        for rows in [&rows, &lines] {
            let his: Vec<_> = rows.iter().filter(|row| row.contains(name)).collect();
            let emergencies = his.iter().filter(|row| row.contains("EMERGENCY")).count();
            assert_eq!((his.len(), emergencies), (10, if login == "emil" { 10 } else { 0 }), "{name}");
        }
    }
    assert!(pages.len() > 1 && pages[0].contains("Who opened your images"), "{paper}");
}

/// Whoever dies in the middle of a load loses no access, and the witness agrees with what is left.
#[test]
fn after_kill_9_the_witness_agrees_and_every_unwrap_has_its_access() {
    let vault = Vault::up();
    let data = vault.folder().display().to_string();
    for number in 1..=12 {
        let (f, data_set) = study(number);
        assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
        let read =
            vault.ask(&format!("/studies/{}/metadata", f.study), Some(&vault.up.token), "application/dicom+json");
        assert_eq!(read.status, 200);
        if number % 4 == 0 {
            vault.kill_vault();
        }
    }
    drained(&vault);
    let cosigned = || metric(&vault, "leadglass_audit_cosigned_entries") > 0;
    assert!(until(SOON, cosigned), "the witness does not agree");
    assert_eq!((metric(&vault, "leadglass_audit_witness_refuses"), alarms(&vault, "fork")), (0, 0));
    let (code, said) = audit(&vault, &["reconcile", "--data", &data]);
    assert_eq!((code, alarms(&vault, "unmatched-unwrap")), (0, 0), "{said}");
}

/// How the key service answers a thief with the vault's certificate.
fn unwrap(vault: &Vault, key: &str, purpose: &str) -> (u16, String) {
    let ask = json!({
        "tenant": tenant(vault), "key_ids": [key], "scope": "object", "purpose": purpose,
        "actor": "a1".repeat(16), "reason": "thief", "audit_entry": "e7".repeat(16),
    });
    let (status, body) = thief::ask(vault, "/v1/keys/unwrap", &ask);
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The keys of all studies: each object names its own at byte 32.
fn keys_of(vault: &Vault) -> Vec<String> {
    let key = |path| {
        let bytes = fs::read(path).unwrap();
        bytes[32..48].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let keys: std::collections::BTreeSet<String> = objects(vault).into_iter().map(key).collect();
    keys.into_iter().collect()
}

/// It opens what its budget allows and no more, is suspended when it goes on, and each key it got is reported.
#[test]
fn a_stolen_certificate_opens_its_budget_and_every_key_it_got_is_an_alarm() {
    // Taking eight studies in needs no unwrapping; the thief has all of the node's budget.
    let vault = Vault::with_config("[budgets]\nnode_per_hour = 2\n");
    let data = vault.folder().display().to_string();
    for number in 1..=8 {
        let (f, data_set) = study(number);
        assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
    }
    drained(&vault);
    let keys = keys_of(&vault);
    assert!(keys.len() >= 8, "{} keys", keys.len());
    let (code, said) = audit(&vault, &["reconcile", "--data", &data]);
    assert_eq!(code, 0, "{said}");

    // What a person opens needs the word of the vault's session service, which no certificate gives.
    for purpose in ["care", "break-glass", "subject-request"] {
        let (status, said) = unwrap(&vault, &keys[0], purpose);
        assert_eq!(status, 403, "{purpose}: {said}");
    }
    // In bulk it needs a human.
    let (status, said) = unwrap(&vault, &keys[0], "research");
    assert!(status == 403 && said.contains("approval"), "{status} {said}");

    let answers: Vec<(u16, String)> = keys.iter().map(|key| unwrap(&vault, key, "ingest")).collect();
    let opened = answers.iter().filter(|(status, _)| *status == 200).count();
    assert!((1..=2).contains(&opened), "{answers:?}");
    let last = answers.last().unwrap();
    assert!(last.1.contains("suspended"), "{answers:?}");
    // Who holds a stolen certificate gets nothing by crying out, either: the whole node is out until somebody looks.
    let (status, said) = unwrap(&vault, &keys[0], "break-glass");
    assert!(status >= 400 && said.contains("suspended"), "{status} {said}");

    // Each key that it got is an alarm of its own, found by whoever looks first: the vault by itself, or we.
    let _ = audit(&vault, &["reconcile", "--data", &data]);
    let opened = opened as u64;
    assert!(until(SOON, || alarms(&vault, "unmatched-unwrap") >= opened), "{opened} were opened");
    assert_eq!(alarms(&vault, "unmatched-unwrap"), opened);
    let words = String::from_utf8_lossy(&vault.words()).into_owned();
    assert!(words.contains("no-entry"), "the alarm says why");
}
