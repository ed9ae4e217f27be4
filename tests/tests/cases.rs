//! A case of the data protection officer, from the request to its end, by the command line: what was acknowledged is
//! there after the node is killed, nobody else sees any of it, and no log names the patient.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::cast;
use leadglass_tests::devices::audited;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::scratch;
use leadglass_tests::site::drained;
use leadglass_tests::vault::{Vault, program};
use serde_json::Value;
use std::fs;
use std::process::{Command, Output};

fn run(vault: &Vault, words: &[&str]) -> Output {
    let folder = vault.folder();
    let data = ["--data", folder.to_str().unwrap()];
    Command::new(program()).args([words, &data].concat()).output().unwrap()
}

/// `leadglass case …`: exit code, what it printed, what it said.
fn case(vault: &Vault, words: &[&str]) -> (i32, String, String) {
    let output = run(vault, &[&["case"], words].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The same, done, with its JSON.
fn done(vault: &Vault, words: &[&str]) -> Value {
    let (code, out, said) = case(vault, &[words, &["--json"]].concat());
    assert_eq!(code, 0, "{words:?}: {said}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn a_case_is_carried_from_the_request_to_its_end_and_survives_kills() {
    let (vault, texts) = (Vault::up(), scratch());
    let file = |name: &str, text: &str| {
        let path = texts.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (f, data_set) = Fixture::named("ct-1.dcm").renamed(1);
    assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
    drained(&vault);
    let patient = file("id", &f.patient_id);
    let opened = done(&vault, &["open", "access", "--patient-file", &patient, "--channel", "letter"]);
    let id = opened["id"].as_str().unwrap().to_owned();
    assert_eq!((&opened["state"], &opened["patient_id"]), (&"open".into(), &f.patient_id.clone().into()));

    // Nothing is decided before it is known who asks.
    let words = file("words", "Your images of this year.\n");
    let decide = ["decide", &id, "granted", "--ground", "15(3)", "--words-file", &words];
    let (code, _, said) = case(&vault, &decide);
    assert!(code == 1 && said.contains("Confirm first that it is the patient who asks."), "{said}");
    let how = file("how", "She came with her passport; no copy was kept.");
    vault.kill_vault();
    done(&vault, &["identity", &id, "confirmed", "--how-file", &how]);
    vault.kill_vault();
    let (code, _, said) = case(&vault, &["decide", &id, "granted", "--ground", "17(3)(b)", "--words-file", &words]);
    assert!(code == 1 && said.contains("15(1), 15(3)"), "{said}");
    done(&vault, &decide);
    let reason = file("reason", "Her lawyer keeps them.");
    let held = run(&vault, &["hold", "add", "--patient-file", &patient, "--reason-file", &reason]);
    let hold = String::from_utf8(held.stdout).unwrap().trim().to_owned();
    let (code, _, said) = case(&vault, &["link", &id, "export", &hold]);
    assert!(code == 1 && said.contains("There is no such export"), "{said}");
    done(&vault, &["link", &id, "hold", &hold]);
    done(&vault, &["note", &id, &file("note", "She called.")]);
    let letter = case(&vault, &["letter", &id, "granted", "--language", "de"]).1;
    for part in [&id, "Auskunft über Ihre Daten", "Art. 15 Abs. 3 DSGVO", "Your images of this year."] {
        assert!(letter.contains(part), "{part}: {letter}");
    }
    let closed = done(&vault, &["close", &id]);
    vault.kill_vault();
    let shown = done(&vault, &["show", &id]);
    assert_eq!(shown, closed, "what was acknowledged is there");
    let trail: Vec<&str> =
        shown["trail"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(trail, ["opened", "identity", "decided", "linked", "noted", "closed"]);
    let human = case(&vault, &["show", &id]).1;
    assert!(human.contains("type      access, closed") && human.contains("She called."), "{human}");
    for code in ["opened", "identity", "decided", "linked", "noted", "letter", "closed", "read"] {
        assert!(audited(&vault, &format!("case-{code}")), "{code}");
    }

    // What is overdue stands first and is told by the exit code.
    assert_eq!(case(&vault, &["list"]).0, 0);
    let late = ["open", "breach", "--received", "2026-01-31", "--at", "14:05", "--channel", "email"];
    let late = done(&vault, &late);
    assert_eq!(late["deadline"], "2026-02-03 14:05 UTC");
    let (code, list, _) = case(&vault, &["list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert!(code == 3 && lines.len() == 2 && lines[0].contains("OVERDUE"), "{list}");
    assert!(!list.contains(&f.patient_id), "the list names nobody");
    let logs = String::from_utf8_lossy(&vault.words()).into_owned();
    for named in [&f.patient_id, "passport", "She called", "Your images of this year"] {
        assert!(!logs.contains(named), "{named}");
    }
}

/// A practice takes a template out, changes it, puts it in, and goes back; what it does not know is refused by name.
#[test]
fn a_practice_changes_a_letter_and_goes_back() {
    let (vault, texts) = (Vault::up(), scratch());
    let file = |name: &str, text: &str| {
        let path = texts.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let patient = file("id", "P-1 {until} $(x)");
    let opened = done(&vault, &["open", "access", "--patient-file", &patient, "--channel", "email"]);
    let id = opened["id"].as_str().unwrap();
    let letter = || case(&vault, &["letter", id, "received", "--language", "fr"]).1;
    let before = letter();
    assert!(
        before.contains("Accès à vos données (art. 15 du RGPD)") && before.contains("P-1 {until} $(x)"),
        "{before}"
    );

    let template = |words: &[&str]| case(&vault, &[&["template"], words, &["--language", "fr"]].concat());
    let (code, text, said) = template(&["export", "received"]);
    assert!(code == 0 && text.contains("{until}") && said.contains("May hold {received}"), "{text}{said}");
    let own = file("own.txt", &text.replace("Votre demande", "Chère patiente, votre demande"));
    assert_eq!(template(&["import", "received", &own]).0, 0);
    vault.kill_vault();
    let after = letter();
    assert!(after.contains("Chère patiente, votre demande nous est parvenue"), "{after}");
    assert_eq!(template(&["export", "received", "--built-in"]).1, text);
    let (_, list, _) = case(&vault, &["template", "list"]);
    let owned: Vec<&str> = list.lines().filter(|line| line.contains("own, by")).collect();
    assert!(list.lines().count() == 50 && owned.len() == 1 && owned[0].starts_with("received"), "{list}");
    for (bad, why) in [("{until} {nom}", "{nom}"), ("{received}", "{until}"), ("{until} {", "brace"), ("", "16384")] {
        let (code, _, said) = template(&["import", "received", &file("bad.txt", bad)]);
        assert!(code == 1 && said.contains(why), "{bad}: {said}");
    }
    assert_eq!(letter(), after, "what was refused changed nothing");
    assert_eq!(template(&["reset", "received"]).0, 0);
    assert_eq!((letter(), template(&["reset", "received"]).0), (before, 1));
    for code in ["letter-template-set", "letter-template-reset"] {
        assert!(audited(&vault, code), "{code}");
    }
}

/// An export is linked to the case of the patient whose it is, and a case that is not over is not deleted.
#[test]
fn an_export_is_linked_to_its_patients_case_alone() {
    let (vault, texts) = (Vault::up(), scratch());
    let sent = [1, 2].map(|n| Fixture::named("ct-1.dcm").renamed(n));
    let cases = [0, 1].map(|n| {
        let (f, data_set) = &sent[n];
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
        let path = texts.path().join(format!("id-{n}"));
        fs::write(&path, &f.patient_id).unwrap();
        let path = path.to_str().unwrap();
        let opened = done(&vault, &["open", "access", "--patient-file", path, "--channel", "letter"]);
        (opened["id"].as_str().unwrap().to_owned(), path.to_owned())
    });
    drained(&vault);
    let out = texts.path().join("package.zip");
    let made = run(&vault, &["export", "--patient-file", &cases[0].1, "--out", out.to_str().unwrap(), "--json"]);
    let view: Value = serde_json::from_slice(&made.stdout).unwrap();
    let export = view["id"].as_str().unwrap();
    let (code, _, said) = case(&vault, &["link", &cases[1].0, "export", export]);
    assert!(code == 1 && said.contains("somebody else"), "{said}");
    let linked = done(&vault, &["link", &cases[0].0, "export", export]);
    assert_eq!(linked["links"][0]["id"], export);

    let reason = texts.path().join("reason");
    fs::write(&reason, "Taken back.").unwrap();
    done(&vault, &["close", &cases[0].0, "--reason-file", reason.to_str().unwrap()]);
    let expired = done(&vault, &["expire", "--delete"]);
    assert_eq!(expired, serde_json::json!({ "expired": [], "deleted": true }));
    let url = format!("{}/api/v1/cases/{}", vault.up.http.base, cases[0].0);
    let ask = leadglass_tests::http::Ask { token: Some(&vault.up.tokens.dpo), ..Default::default() };
    let kept = vault.http().send("DELETE", &url, ask, Vec::new());
    assert_eq!((kept.status, kept.json()["code"].as_str()), (409, Some("kept")));
}

#[test]
fn nobody_but_the_tenants_officer_sees_a_case() {
    let (mut vault, texts) = (Vault::up(), scratch());
    let (callers, _) = cast::assemble(&mut vault);
    let patient = texts.path().join("id");
    fs::write(&patient, "P-4711").unwrap();
    let patient = patient.to_str().unwrap();
    let opened = done(&vault, &["open", "erasure", "--patient-file", patient, "--channel", "portal"]);
    let id = opened["id"].as_str().unwrap();
    let (list, one) = ("/api/v1/cases".to_owned(), format!("/api/v1/cases/{id}"));
    for caller in &callers {
        let headers = caller.headers(&vault);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let ask = |method: &str, path: &str, body: &str| {
            let url = format!("{}{path}", vault.up.http.base);
            vault.http().send_with(method, &url, &headers, body.as_bytes().to_vec())
        };
        let statuses = [
            ask("GET", &list, "").status,
            ask("GET", &one, "").status,
            ask("GET", &format!("{one}/letter?occasion=received"), "").status,
            ask("POST", &format!("{one}/notes"), r#"{"text":"x"}"#).status,
        ];
        let wanted = match caller.name {
            "the data protection officer" => [200; 4],
            "another tenant's data protection officer" => [200, 404, 404, 404],
            _ if caller.who.is_none() => [401; 4],
            _ => [403; 4],
        };
        assert_eq!(statuses, wanted, "{}", caller.name);
        if caller.name.starts_with("another tenant's data") {
            assert!(!ask("GET", &list, "").text().contains(id), "its own cases alone");
        }
    }
}
