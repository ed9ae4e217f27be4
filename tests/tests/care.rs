//! Who opens which study: a relation or a stated reason, an emergency and its review, a restriction; as people do it, over HTTP.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::devices::entries_with;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Answer;
use leadglass_tests::peers::{python, said};
use leadglass_tests::person::{Browser, PASSWORD, browser_is_here, joined, joined_as, person};
use leadglass_tests::process::until;
use leadglass_tests::site::{alarms, drained, keyd, large};
use leadglass_tests::stow::{DICOM_PARTS, body, file_of};
use leadglass_tests::vault::Vault;
use leadglass_tests::{built_programs, workspace_root};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

fn stated() -> Vault {
    Vault::with_config("care = \"stated\"\n")
}

fn metadata(f: &Fixture) -> String {
    format!("/dicomweb/studies/{}/metadata", f.study)
}

fn get(browser: &Browser<'_>, path: &str) -> u16 {
    browser.ask("GET", path, &Value::Null).status
}

fn by_token(vault: &Vault, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    vault.http().send_with(method, &format!("{}{path}", vault.up.http.base), &[("authorization", &bearer)], body)
}

fn code_of(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

fn audited(vault: &Vault, word: &str) -> bool {
    until(Duration::from_secs(30), || entries_with(vault, word) > 0)
}

fn id_of(vault: &Vault, login: &str) -> String {
    let people = person(vault, &["list"]);
    let found = people.as_array().unwrap().iter().find(|person| person["login"] == login).unwrap();
    found["id"].as_str().unwrap().to_owned()
}

/// `leadglass …` in the vault's folder, in JSON.
fn cli(vault: &Vault, words: &[&str]) -> Value {
    let folder = vault.folder();
    let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    let more = [OsStr::new("--json"), OsStr::new("--data"), folder.as_os_str()];
    let output = vault.run(&words.into_iter().chain(more).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

const REASON: &str = "Zweitmeinung vor der Wurzelspitzenresektion, Frau CANARY^NEVER";

#[test]
fn whoever_does_not_treat_a_patient_states_a_reason_and_it_stands_sealed_in_the_log() {
    let mut vault = stated();
    let (ct, other) = (Fixture::named("ct-1.dcm"), Fixture::named("dx.dcm"));
    vault.store_fixture(&ct);
    vault.store_fixture(&other);
    let dpo = vault.up.tokens.dpo.clone();
    {
        let (erika, _, _) = joined(&vault, "erika");
        // She may find it, and is told what it takes. Nobody else's answer says that it is there.
        assert_eq!(get(&erika, &format!("/dicomweb/studies?StudyInstanceUID={}", ct.study)), 200);
        for path in [metadata(&ct), format!("/dicomweb/studies/{}/rendered", ct.study)] {
            let told = erika.ask("GET", &path, &Value::Null);
            assert_eq!(code_of(&told), (403, "reason-needed".to_owned()), "{path}: {}", told.text());
        }
        let absent = erika.ask("GET", "/dicomweb/studies/1.2.3/metadata", &Value::Null);
        assert_eq!(absent.status, 404);
        // Her token's other self is asked the same.
        let token = by_token(&vault, &vault.up.token, "GET", &metadata(&ct), &Value::Null);
        assert_eq!(code_of(&token), (403, "reason-needed".to_owned()));

        let state = |study: &str, reason: &str| {
            erika.ask("POST", "/api/v1/care/reason", &json!({ "study": study, "reason": reason }))
        };
        assert_eq!(code_of(&state(&ct.study, "because")), (400, "reason".to_owned()));
        assert_eq!(code_of(&state("1.2.3", REASON)), (404, "not-found".to_owned()));
        let opened = state(&ct.study, REASON);
        assert_eq!(opened.status, 201, "{}", opened.text());
        assert!(opened.json()["ends_ms"].as_u64().unwrap() > 0);
        assert_eq!(get(&erika, &metadata(&ct)), 200);
        assert_eq!(get(&erika, &metadata(&other)), 403, "a reason opens one patient");
        assert!(audited(&vault, "reason-stated"));

        // The practice assigns a patient, and takes it back.
        let to = json!({ "person": id_of(&vault, "erika"), "patient_id": other.patient_id });
        let assigned = by_token(&vault, &dpo, "POST", "/api/v1/care/relations", &to);
        assert_eq!(assigned.status, 201, "{}", assigned.text());
        assert_eq!(get(&erika, &metadata(&other)), 200);
        let all = by_token(&vault, &dpo, "GET", "/api/v1/care/relations", &Value::Null);
        assert_eq!(all.json().as_array().unwrap().len(), 2, "{}", all.text());
        assert!(!all.text().contains(&other.patient_id), "nobody is named");
        let one = assigned.json();
        let at =
            format!("/api/v1/care/relations/{}/{}", one["person"].as_str().unwrap(), one["matter"].as_str().unwrap());
        assert_eq!(by_token(&vault, &dpo, "DELETE", &at, &Value::Null).status, 204);
        assert_eq!(get(&erika, &metadata(&other)), 403);
        assert_eq!(by_token(&vault, &dpo, "DELETE", &at, &Value::Null).status, 404);

        // What she brings in herself is her patient's. What a radiographer brought in opens to him, and nothing else is there.
        let (mine, data_set) = Fixture::named("ct-1.dcm").renamed(7);
        let (walter, _, _) = joined_as(&vault, "walter", "radiographer");
        for (browser, salt_of) in [(&erika, &mine), (&walter, &Fixture::named("ct-1.dcm").renamed(8).0)] {
            let bytes =
                if salt_of.study == mine.study { data_set.clone() } else { Fixture::named("ct-1.dcm").renamed(8).1 };
            let file = file_of(salt_of, &bytes);
            let cookie = format!("__Host-leadglass={}", browser.cookie("__Host-leadglass").unwrap());
            let headers =
                [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin"), ("content-type", DICOM_PARTS)];
            let url = format!("{}/studies", vault.up.http.dicomweb);
            let stored = vault.http().send_with("POST", &url, &headers, body([file.as_slice()]));
            assert_eq!(stored.status, 200, "{}", stored.text());
            assert_eq!(get(browser, &metadata(salt_of)), 200, "what somebody made opens to him");
        }
        assert_eq!(get(&walter, &metadata(&ct)), 404);
        assert_eq!(get(&walter, "/dicomweb/studies/1.2.3/metadata"), 404);
        assert!(audited(&vault, "relation-made"));
    }
    // The reason outlives a start, and is nowhere in clear.
    vault.restart();
    let mut again = Browser::of(&vault);
    assert_eq!(again.role(), None);
    let words = String::from_utf8_lossy(&vault.words()).into_owned();
    assert!(!words.contains("CANARY") && !words.contains("Zweitmeinung"), "{words}");
    for file in leadglass_tests::eyes::files_under(&vault.up.data.vault) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!bytes.windows(13).any(|w| w == b"Zweitmeinung " || w == b"CANARY^NEVER\""), "{}", file.display());
    }
    assert_eq!(again.keep("GET", "/", &Value::Null).status, 200);
}

#[test]
fn an_emergency_wants_the_person_again_tells_the_practice_and_waits_for_somebody_else() {
    let vault = stated();
    let ct = Fixture::named("ct-1.dcm");
    vault.store_fixture(&ct);
    let (erika, _, codes) = joined(&vault, "erika");
    let (karl, _, _) = joined(&vault, "karl");
    let open = |password: &str, code: &str, reason: &str| {
        let body = json!({ "study": ct.study, "reason": reason, "password": password, "code": code });
        erika.ask("POST", "/api/v1/care/emergency", &body)
    };
    assert_eq!(code_of(&open(PASSWORD, &codes[0], "hurry")), (400, "reason".to_owned()));
    assert_eq!(code_of(&open("wrong", &codes[0], REASON)), (403, "not-proven".to_owned()));
    assert_eq!(code_of(&open(PASSWORD, "000000", REASON)), (403, "not-proven".to_owned()));
    assert_eq!(get(&erika, &metadata(&ct)), 403);
    // A token proves nobody.
    let body = json!({ "study": ct.study, "reason": REASON, "password": PASSWORD, "code": codes[0] });
    let token = by_token(&vault, &vault.up.token, "POST", "/api/v1/care/emergency", &body);
    assert_eq!(code_of(&token), (403, "no-account".to_owned()));

    let opened = open(PASSWORD, &codes[0], REASON);
    assert_eq!(opened.status, 201, "{}", opened.text());
    assert_eq!(code_of(&open(PASSWORD, &codes[0], REASON)).0, 403, "a code is good once");
    assert_eq!(get(&erika, &metadata(&ct)), 200);
    assert_eq!(get(&karl, &metadata(&ct)), 403, "it is her emergency and nobody else's");
    assert_eq!(alarms(&vault, "break-glass"), 1);
    assert!(audited(&vault, "break-glass"));

    // It waits for a decision: in the terminal, and for those who may look.
    let data = vault.folder();
    let run = |words: &[&str]| {
        let mut all: Vec<&OsStr> = std::iter::once("review").chain(words.iter().copied()).map(OsStr::new).collect();
        all.extend([OsStr::new("--json"), OsStr::new("--data"), data.as_os_str()]);
        let output = vault.run(&all);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (waits, listed) = run(&["list"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((waits, listed[0]["reason"].as_str()), (Some(3), Some(REASON)));
    let review = listed[0]["review"].as_str().unwrap().to_owned();
    assert_eq!(opened.json()["review"], review);
    assert_eq!(get(&karl, "/api/v1/reviews"), 403);
    let (code, _) = run(&["close", &review, "not-justified"]);
    assert_eq!(code, Some(0));
    assert_eq!(get(&erika, &metadata(&ct)), 403, "closing it ends it");
    assert_eq!(run(&["list"]).0, Some(0));
    assert_ne!(run(&["close", &review, "justified"]).0, Some(0), "it was decided on");
    assert!(audited(&vault, "not-justified"));

    // The patient is told that it was an emergency.
    let asked = json!({ "patient_id": ct.patient_id });
    let report = by_token(&vault, &vault.up.tokens.dpo, "POST", "/api/v1/audit/report", &asked).json();
    let purposes: Vec<&str> =
        report["accesses"].as_array().unwrap().iter().map(|access| access["purpose"].as_str().unwrap()).collect();
    assert_eq!(purposes, ["break-glass"], "{report}");
}

#[test]
fn a_restricted_study_is_hidden_and_opens_for_the_exceptions_only() {
    let mut vault = Vault::up();
    let ct = Fixture::named("ct-1.dcm");
    vault.store_fixture(&ct);
    let (clinician, dpo) = (vault.up.token.clone(), vault.up.tokens.dpo.clone());
    let read = |vault: &Vault, token: &str| by_token(vault, token, "GET", &metadata(&ct), &Value::Null);
    let find = |vault: &Vault, token: &str| {
        let path = format!("/dicomweb/studies?PatientID={}", ct.patient_id);
        let found = by_token(vault, token, "GET", &path, &Value::Null).json();
        found.as_array().map_or(0, Vec::len)
    };
    assert_eq!((read(&vault, &clinician).status, find(&vault, &clinician)), (200, 1));
    let order = json!({ "study": ct.study, "order": "art18-2026-1" });
    let change = |vault: &Vault, token: &str, path: &str| {
        by_token(vault, token, "POST", &format!("/api/v1/restrictions{path}"), &order).status
    };
    assert_eq!(change(&vault, &clinician, ""), 403);
    assert_eq!(change(&vault, &dpo, ""), 200);
    // Nobody asked for it yet.
    assert_eq!(code_of(&read(&vault, &dpo)), (403, "case-needed".to_owned()));
    vault.asked_for(&ct.patient_id);
    let absent = by_token(&vault, &clinician, "GET", "/dicomweb/studies/1.2.3/metadata", &Value::Null);
    let told = |answer: &Answer| {
        let mut body = answer.json();
        body["request_id"] = Value::Null;
        (answer.status, body)
    };
    for restarted in [false, true] {
        if restarted {
            // A node learns from the key service what is restricted, before it answers anybody.
            vault.restart();
        }
        assert_eq!(told(&read(&vault, &clinician)), told(&absent), "restarted: {restarted}");
        assert_eq!(find(&vault, &clinician), 0);
        let series = format!("/dicomweb/studies/{}/series", ct.study);
        assert_eq!(by_token(&vault, &clinician, "GET", &series, &Value::Null).status, 404);
        let reason = json!({ "study": ct.study, "reason": REASON });
        assert_eq!(by_token(&vault, &clinician, "POST", "/api/v1/care/reason", &reason).status, 404);
        assert_eq!((read(&vault, &dpo).status, find(&vault, &dpo)), (200, 1), "for the patient's request it opens");
        let nameless = json!({ "study": ct.study, "preset": "research" });
        let refused = by_token(&vault, &dpo, "POST", "/api/v1/deidentifications", &nameless);
        assert_eq!(refused.status, 404, "research is no exception: {}", refused.text());
    }
    assert!(audited(&vault, "art18-2026-1"));
    assert_eq!(change(&vault, &dpo, "/lift"), 200);
    let nameless = json!({ "study": ct.study, "preset": "research" });
    assert_eq!(by_token(&vault, &dpo, "POST", "/api/v1/deidentifications", &nameless).status, 201);
    assert_eq!((read(&vault, &clinician).status, find(&vault, &clinician)), (200, 1));
}

/// An order that a study be left alone holds for whoever is reading it, too: seconds, not the end of the file.
#[test]
fn a_restriction_and_an_erasure_end_what_is_being_downloaded() {
    let vault = Vault::with_config("[erasure]\ncooling_off = \"0s\"\napprovals = 0\n");
    let sent = [large(1, 64), large(2, 64)];
    for (f, data_set) in &sent {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    drained(&vault);
    let paper = tempfile::NamedTempFile::new().unwrap();
    let path = paper.path().to_str().unwrap();
    for (n, (f, data_set)) in sent.iter().enumerate() {
        std::fs::write(path, &f.study).unwrap();
        let bearer = format!("Authorization: Bearer {}", vault.up.token);
        let mut curl = Command::new("curl")
            .args(["-q", "-sS", "--noproxy", "*", "--http1.1", "--cacert", &vault.up.ca, "-H", &bearer])
            .args(["-H", "Accept: application/dicom", &vault.instance_url(f)])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("curl is missing: run tests/all once, or install curl");
        let mut body = curl.stdout.take().unwrap();
        body.read_exact(&mut [0; 4096]).unwrap();
        if n == 0 {
            cli(&vault, &["restriction", "add", "--study-file", path, "--order", "2026-19"]);
        } else {
            let order = cli(&vault, &["erase", "order", "--study-file", path, "--ground", "objection", "--no-rule"]);
            let id = order["id"].as_str().unwrap();
            let run = || {
                let folder = vault.folder();
                let words = ["erase", "run", id, "--json", "--data", folder.to_str().unwrap()];
                vault.run(&words.map(OsStr::new))
            };
            let waits: Value = serde_json::from_slice(&run().stdout).unwrap();
            let approval =
                waits["detail"].as_str().unwrap().rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
            keyd(&vault.up.data.keyd, &["approve", &approval]);
            assert!(run().status.success());
        }
        let mut rest = Vec::new();
        body.read_to_end(&mut rest).unwrap();
        assert!(!curl.wait().unwrap().success(), "it came whole");
        assert!(rest.len() < data_set.len() / 2, "{} bytes came after it", rest.len());
    }
}

#[test]
fn relations_and_restrictions_are_listed_made_and_ended_from_the_command_line() {
    let vault = stated();
    let ct = Fixture::named("ct-1.dcm");
    vault.store_fixture(&ct);
    let (erika, _, _) = joined(&vault, "erika");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(get(&erika, &metadata(&ct)), 403);
    std::fs::write(path, format!("{}\n", ct.patient_id)).unwrap();
    let made = cli(&vault, &["care", "assign", &id_of(&vault, "erika"), "--patient-file", path]);
    assert_eq!(get(&erika, &metadata(&ct)), 200);
    let listed = cli(&vault, &["care", "list"]);
    assert_eq!((&listed[0]["matter"], &listed[0]["kind"]), (&made["matter"], &json!("assigned")));

    std::fs::write(path, format!("{}\n", ct.study)).unwrap();
    assert_eq!(cli(&vault, &["restriction", "list"]), json!([]));
    cli(&vault, &["restriction", "add", "--study-file", path, "--order", "2026-17"]);
    assert_eq!(get(&erika, &metadata(&ct)), 404);
    let restricted = cli(&vault, &["restriction", "list"]);
    let study = restricted[0]["study_ref"].as_str().unwrap();
    assert!(!restricted.to_string().contains(&ct.study), "nobody is named");
    cli(&vault, &["restriction", "remove", study, "--order", "2026-18"]);
    assert_eq!((get(&erika, &metadata(&ct)), cli(&vault, &["restriction", "list"])), (200, json!([])));

    let (person, matter) = (made["person"].as_str().unwrap(), made["matter"].as_str().unwrap());
    cli(&vault, &["care", "end", person, matter]);
    assert_eq!((get(&erika, &metadata(&ct)), cli(&vault, &["care", "list"])), (403, json!([])));
}

/// The dialog that asks why, and the passkey that opens in an emergency, as a clinician meets them.
#[test]
fn the_viewer_asks_why_and_a_passkey_opens_in_an_emergency() {
    if !browser_is_here() {
        return;
    }
    let vault = stated();
    let mut studies = Vec::new();
    for (name, salt) in [("ct-1.dcm", 31), ("ct-1.dcm", 32), ("dx.dcm", 33)] {
        let (f, data_set) = Fixture::named(name).renamed(salt);
        assert_eq!(vault.store(&f, &data_set).expect("it is sent").status, 0);
        studies.push(f.study);
    }
    let link = person(&vault, &["invite", "erika"])["link"].as_str().unwrap().to_owned();
    let output = Command::new(python())
        .arg(workspace_root().join("tests/browser/care.py"))
        .arg(&link)
        .args(&studies)
        .arg(built_programs().join("screenshots").join("care"))
        .stdin(Stdio::null())
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", said(&output));
    for word in ["reason-stated", "break-glass"] {
        assert!(audited(&vault, word), "{word}");
    }
    let words = String::from_utf8_lossy(&vault.words()).into_owned();
    assert!(!words.contains("CANARY"), "the vault's log says the reason");
}
