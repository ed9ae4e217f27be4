//! A scripted incident over real processes: the scope has to be what happened, and nothing else.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_model::{Clock, SystemClock};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::site::drained;
use leadglass_tests::vault::Vault;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;

/// Milliseconds since 1970, and the clock has moved on when this answers.
fn now() -> u64 {
    let read = || SystemClock.now().0;
    let at = read();
    while read() == at {
        std::thread::yield_now();
    }
    at + 1
}

fn opens(vault: &Vault, f: &Fixture, token: &str) {
    let path = format!("/studies/{}/metadata", f.study);
    let answer = vault.ask(&path, Some(token), "application/dicom+json");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn ask(vault: &Vault, token: &str, body: &Value) -> (u16, Value) {
    let address = format!("{}/api/v1/breach/scope", vault.up.http.base);
    let answer = vault.http().send(
        "POST",
        &address,
        Ask { token: Some(token), ..Ask::default() },
        body.to_string().into_bytes(),
    );
    (answer.status, serde_json::from_str(&answer.text()).unwrap_or_default())
}

/// Each patient's studies that were reached this way.
fn reached(scope: &Value, way: &str) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for patient in scope["patients"].as_array().unwrap() {
        let studies = patient[way].as_array().unwrap().iter().map(|study| study["study"].as_str().unwrap().to_owned());
        let studies: Vec<String> = studies.collect();
        if !studies.is_empty() {
            all.insert(patient["patient_id"].as_str().unwrap().to_owned(), studies);
        }
    }
    all
}

fn of(fixtures: &[&Fixture]) -> BTreeMap<String, Vec<String>> {
    fixtures.iter().map(|f| (f.patient_id.clone(), vec![f.study.clone()])).collect()
}

/// The pseudonym under which the log has what was opened last.
fn last_actor(vault: &Vault) -> String {
    drained(vault);
    let address = format!("{}/api/v1/audit/entries", vault.up.http.base);
    let entries = vault.http().get(&address, Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() }).text();
    let mut accesses = entries.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let last = accesses.rfind(|entry| entry["event"] == 110_103).unwrap();
    last["actor"].as_str().unwrap().to_owned()
}

#[test]
fn the_scope_of_a_scripted_incident_is_what_happened() {
    let vault = Vault::up();
    let studies: Vec<(Fixture, Vec<u8>)> = (1..=5).map(|n| Fixture::named("ct-3.dcm").renamed(n)).collect();
    for (f, data_set) in &studies {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    let [one, two, three, four, five] = [0, 1, 2, 3, 4].map(|n| &studies[n].0);
    drained(&vault);

    // Before the span, within it by two people, behind it. Nobody opens the fifth.
    opens(&vault, four, &vault.up.token);
    let clinician = last_actor(&vault);
    let from = now();
    opens(&vault, one, &vault.up.token);
    opens(&vault, two, &vault.up.token);
    opens(&vault, one, &vault.up.token);
    opens(&vault, three, &vault.up.tokens.dpo);
    let officer = last_actor(&vault);
    assert_ne!(clinician, officer);
    let to = now();
    opens(&vault, five, &vault.up.token);
    drained(&vault);

    let dpo = &vault.up.tokens.dpo;
    let scope = |by: &str, id: &str| {
        let (status, scope) = ask(&vault, dpo, &json!({ by: id, "from_ms": from, "to_ms": to }));
        assert_eq!(status, 200, "{scope}");
        assert_eq!((&scope["unaccounted"], &scope["unaccounted_elsewhere"]), (&json!([]), &json!(0)), "{scope}");
        scope
    };
    let hers = scope("actor", &clinician);
    assert_eq!((reached(&hers, "opened"), reached(&hers, "sealed")), (of(&[one, two]), of(&[])));
    let instances: Vec<&Value> =
        hers["patients"].as_array().unwrap().iter().map(|p| &p["opened"][0]["instances"]).collect();
    assert!(instances.contains(&&json!([one.instance])) && instances.contains(&&json!([two.instance])), "{hers}");
    assert_eq!(reached(&scope("actor", &officer), "opened"), of(&[three]));
    let key = hers["patients"][0]["opened"][0]["keys"][0].as_str().unwrap();
    assert_eq!(reached(&scope("key", key), "opened").len(), 1);
    assert_eq!(scope("device", &"d".repeat(32))["patients"], json!([]));

    // A lost machine: what it was given keys for, and everything else sealed.
    let node = scope("node", "this");
    assert_eq!(reached(&node, "opened"), of(&[one, two, three]));
    let sealed = reached(&node, "sealed");
    for f in [four, five] {
        assert_eq!(sealed.get(&f.patient_id), Some(&vec![f.study.clone()]), "{node}");
    }
    assert!([one, two, three].iter().all(|f| !sealed.contains_key(&f.patient_id)));

    // Who may not know, gets nothing; that it was asked stands in the log.
    let asked = json!({ "node": "this", "from_ms": from, "to_ms": to });
    assert_eq!(ask(&vault, &vault.up.token, &asked).0, 403);
    assert_eq!(ask(&vault, dpo, &json!({ "node": "this", "from_ms": to, "to_ms": from })).0, 400);
    drained(&vault);
    let address = format!("{}/api/v1/audit/entries", vault.up.http.base);
    let entries = vault.http().get(&address, Ask { token: Some(dpo), ..Ask::default() }).text();
    assert_eq!(entries.matches("breach-scope").count(), 5, "one for each that was asked and may be");

    // The words of the command line, the draft and the list.
    let at = |name: &str| vault.folder().join(name);
    let path = |name: &str| at(name).display().to_string();
    let data = vault.folder().display().to_string();
    let (draft, letters) = (path("draft.txt"), path("letters.csv"));
    let arguments =
        ["breach", "scope", "--data", &data, "--actor", &clinician, "--from", "2020-01-01", "--to", "2100-01-01"];
    let more = ["--aware", "2026-01-01T00:00:00Z", "--draft", &draft, "--letters", &letters];
    let all: Vec<&OsStr> = arguments.iter().chain(&more).map(OsStr::new).collect();
    let output = vault.run(&all);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("opened   4 patients, 4 studies") && said.contains("Notify by 2026-01-04T00:00:00Z"),
        "{said}"
    );
    let draft = fs::read_to_string(at("draft.txt")).unwrap();
    assert!(
        draft.contains("approximately 4 persons") && draft.contains("etwa 4 Personen") && draft.contains("[likely"),
        "{draft}"
    );
    assert!(!draft.contains(&one.patient_id), "the draft names nobody");
    let letters = fs::read_to_string(at("letters.csv")).unwrap();
    assert_eq!(letters.lines().filter(|line| line.contains(",opened,")).count(), 4, "{letters}");
}
