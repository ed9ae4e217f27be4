//! Scripted incidents over real processes: the scope has to be what happened, and nothing else.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_model::{Clock, SystemClock};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::process::until;
use leadglass_tests::site::{drained, halt, keyd, metric, objects};
use leadglass_tests::vault::Vault;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::time::Duration;

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

    vault.asked_for(&three.patient_id);
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
        draft.contains("approximately 4 persons")
            && draft.contains("2026-01-04T00:00:00Z")
            && draft.contains("[likely"),
        "{draft}"
    );
    assert!(!draft.contains(&one.patient_id), "the draft names nobody");
    let letters = fs::read_to_string(at("letters.csv")).unwrap();
    assert_eq!(letters.lines().filter(|line| line.contains(",opened,")).count(), 4, "{letters}");
}

/// `leadglass …` of the running vault: exit code, and what it said.
fn said(vault: &Vault, words: &[&str]) -> (i32, String) {
    let data = vault.folder().display().to_string();
    let with_data = [words, &["--data", &data]].concat();
    let output = vault.run(&with_data.iter().map(OsStr::new).collect::<Vec<_>>());
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

fn json_of(vault: &Vault, words: &[&str]) -> (i32, Value) {
    let (code, text) = said(vault, &[words, &["--json"]].concat());
    let line = text.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{words:?}: {text}"));
    (code, serde_json::from_str(line).unwrap())
}

/// The study keys that objects name, at byte 32 of each.
fn keys_of(vault: &Vault) -> BTreeSet<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    objects(vault).into_iter().map(|path| hex(&fs::read(path).unwrap()[32..48])).collect()
}

/// Whoever has the vault's certificate has a key given out, and no access here accounts for it.
fn unwrapped_by_a_thief(vault: &Vault, key: &str) {
    let config: toml::Table = fs::read_to_string(vault.folder().join("config/vault.toml")).unwrap().parse().unwrap();
    let keys = |name: &str| config["keys"][name].as_str().unwrap().to_owned();
    let ask = json!({
        "tenant": config["tenants"][0]["id"], "key_ids": [key], "scope": "object", "purpose": "ingest",
        "actor": "a1".repeat(16), "reason": "thief", "audit_entry": "e7".repeat(16),
    });
    let output = Command::new("curl")
        .args(["-q", "-sS", "-f", "--noproxy", "*", "-o", "/dev/null", "--cacert", &keys("ca")])
        .args(["--cert", &keys("certificate"), "--key", &keys("key"), "-H", "Content-Type: application/json"])
        .args(["-d", &ask.to_string()])
        .arg(format!("https://{}/v1/keys/unwrap", keys("address")))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// What a patient's erasure leaves of a breach, what nothing accounts for, the case with its clock; and the log, whose proofs
/// hold although nobody reads any more whom its entries named.
#[test]
fn an_erased_patient_and_an_opening_that_nothing_accounts_for_stand_in_the_scope() {
    let vault = Vault::with_config("[erasure]\ncooling_off = \"0s\"\napprovals = 0\n");
    let at = |name: &str| vault.folder().join(name);
    let path = |name: &str| at(name).display().to_string();
    let from = now();
    let [(gone, gone_data), (stolen, stolen_data)] = [1, 2].map(|n| Fixture::named("ct-3.dcm").renamed(n));
    assert_eq!(vault.store(&gone, &gone_data).unwrap().status, 0);
    drained(&vault);
    let hers = keys_of(&vault);
    assert_eq!(vault.store(&stolen, &stolen_data).unwrap().status, 0);
    opens(&vault, &gone, &vault.up.token);
    drained(&vault);
    let key = keys_of(&vault).difference(&hers).next().unwrap().clone();
    unwrapped_by_a_thief(&vault, &key);
    let to = now();

    // She is in the log by name, and then she is erased.
    fs::write(at("patient"), &gone.patient_id).unwrap();
    let (code, keys) = json_of(&vault, &["audit", "keys"]);
    assert_eq!(code, 0);
    fs::write(at("keys.json"), keys.to_string()).unwrap();
    let report = ["audit", "report", "--patient-file", &path("patient"), "--proof", &path("before.json")];
    assert_eq!(said(&vault, &report).0, 0);
    let order = ["erase", "order", "--patient-file", &path("patient"), "--ground", "objection", "--no-rule"];
    let id = json_of(&vault, &order).1["id"].as_str().unwrap().to_owned();
    let (code, waits) = json_of(&vault, &["erase", "run", &id]);
    assert_eq!((code, &waits["waits"]), (3, &json!("key-host-approval")), "{waits}");
    let approval = waits["detail"].as_str().unwrap().rsplit(' ').next().unwrap().trim_end_matches('.');
    keyd(&vault.up.data.keyd, &["approve", approval]);
    assert_eq!(json_of(&vault, &["erase", "run", &id]).1["stage"], "done");
    drained(&vault);

    let asked = json!({ "node": "this", "from_ms": from, "to_ms": to });
    let (status, scope) = ask(&vault, &vault.up.tokens.dpo, &asked);
    assert_eq!(status, 200, "{scope}");
    assert_eq!(scope["unaccounted"].as_array().unwrap().len(), 1, "{scope}");
    assert_eq!((&scope["unaccounted"][0]["key"], &scope["unaccounted"][0]["why"]), (&json!(key), &json!("no-entry")));
    let patients = scope["patients"].as_array().unwrap();
    let erased = patients.iter().find(|patient| patient["opened"][0]["study"].is_null()).expect("the erased one");
    assert!(erased["subject"].is_string() && erased["name"].is_null() && erased["patient_id"].is_null(), "{erased}");
    assert_eq!((&erased["opened"][0]["instances"], &erased["opened"][0]["accesses"]), (&Value::Null, &json!(1)));
    let other = patients.iter().find(|patient| patient["patient_id"] == json!(stolen.patient_id)).unwrap();
    assert_eq!((&other["opened"][0]["unaccounted"], &other["opened"][0]["study"]), (&json!(1), &json!(stolen.study)));

    // Its clock runs in a case, from the same moment; its draft says both, in the officer's language.
    let (code, told) = said(
        &vault,
        &[
            "breach",
            "scope",
            "--node",
            "this",
            "--from",
            "2020-01-01",
            "--to",
            "2100-01-01",
            "--aware",
            "2026-01-01T14:05:00Z",
            "--draft",
            &path("draft.txt"),
            "--letters",
            &path("who.csv"),
            "--language",
            "es",
        ],
    );
    assert_eq!(code, 3, "{told}");
    let opening = "leadglass case open breach --received 2026-01-01 --at 14:05 --channel";
    assert!(told.contains(opening) && told.contains("Notify by 2026-01-04T14:05:00Z"), "{told}");
    let (_, case) =
        json_of(&vault, &["case", "open", "breach", "--received", "2026-01-01", "--at", "14:05", "--channel", "email"]);
    assert_eq!((&case["deadline"], &case["patient_id"]), (&json!("2026-01-04 14:05 UTC"), &Value::Null));
    let id = case["id"].as_str().unwrap();
    let letter = said(&vault, &["case", "letter", id, "received", "--language", "es"]).1;
    assert!(letter.contains("2026-01-01 14:05 UTC") && letter.contains("2026-01-04 14:05 UTC"), "{letter}");
    assert_eq!(said(&vault, &["case", "list"]).0, 3, "its 72 hours are over");
    let draft = fs::read_to_string(at("draft.txt")).unwrap();
    for words in ["BORRADOR", "Suprimidos desde entonces: 1", "no constan en el registro de la caja: 1", "art. 33.3"] {
        assert!(draft.contains(words), "{words}: {draft}");
    }
    let list = fs::read_to_string(at("who.csv")).unwrap();
    assert!(list.starts_with("seudónimo,") && list.matches(",abiertos,").count() == 2, "{list}");
    assert!(!list.contains(&gone.patient_id) && list.contains(&stolen.patient_id), "{list}");

    // What she is named by is closed; every proof that was given out holds, and so does the log.
    let verify = ["audit", "verify-report", &path("before.json"), "--keys", &path("keys.json")];
    let verified = |words: &[&str]| {
        let output = vault.run(&words.iter().map(OsStr::new).collect::<Vec<_>>());
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    };
    let (code, told) = verified(&verify);
    assert_eq!(code, 0, "{told}");
    assert!(until(SOON, || metric(&vault, "leadglass_audit_cosigned_entries") > 0), "it was not cosigned");
    halt(&vault);
    let log = vault.up.data.vault.join("audit").display().to_string();
    let seen = ["audit", "verify", &log, "--keys", &path("keys.json"), "--seen", &path("before.json")];
    let (code, told) = verified(&seen);
    assert!(code == 0 && told.contains("whole") && told.contains("witnessed"), "{told}");
}

const SOON: Duration = Duration::from_secs(60);
