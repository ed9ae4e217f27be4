//! The description of the JSON API: valid OpenAPI 3.1, and what the vault answers is as it says.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::peers::python;
use leadglass_tests::scratch;
use leadglass_tests::site::drained;
use leadglass_tests::vault::Vault;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

#[test]
fn the_description_of_the_api_is_valid_and_is_what_is_answered() {
    let (vault, texts) = (Vault::up(), scratch());
    let f = Fixture::named("ct-1.dcm");
    vault.store_fixture(&f);
    drained(&vault);
    let dpo = Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() };
    let base = &vault.up.http.base;
    let document = vault.http().get(&format!("{base}/api/v1/openapi.json"), dpo).json();

    let mut answers = Vec::new();
    let mut ask = |method: &str, route: &str, path: &str, body: Value| {
        let sent = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let dpo = Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() };
        let answer = vault.http().send(method, &format!("{base}{path}"), dpo, sent);
        assert!(answer.status < 300, "{method} {path}: {}", answer.text());
        let body = answer.json();
        answers.push(json!([method, route, answer.status, body]));
        body
    };
    let patient = || json!(f.patient_id);
    let case = ask(
        "POST",
        "/api/v1/cases",
        "/api/v1/cases",
        json!({ "type": "access", "patient_id": patient(), "channel": "letter" }),
    );
    ask("POST", "/api/v1/cases", "/api/v1/cases", json!({ "type": "breach", "channel": "email" }));
    let one = format!("/api/v1/cases/{}", case["id"].as_str().unwrap());
    let step = "/api/v1/cases/{request}";
    for (word, body) in [
        ("identity", json!({ "seen": "confirmed", "how": "She came." })),
        ("extension", json!({ "months": 1, "reason": "Many images." })),
        ("decisions", json!({ "outcome": "granted", "ground": "15(3)", "words": "Yes." })),
        ("notes", json!({ "text": "She called." })),
        ("close", json!({})),
    ] {
        ask("POST", &format!("{step}/{word}"), &format!("{one}/{word}"), body);
    }
    let letter = "/api/v1/letters/{letter}/{language}";
    ask("PUT", letter, "/api/v1/letters/frame/fr", json!({ "text": "{letter}" }));
    let hold = json!({ "patient_id": patient(), "reason": "A claim." });
    ask("POST", "/api/v1/holds", "/api/v1/holds", hold);
    let report = json!({ "patient_id": patient() });
    ask("POST", "/api/v1/audit/report", "/api/v1/audit/report", report);
    let scope = json!({ "node": "this", "from_ms": 0, "to_ms": 4_102_444_800_000_u64 });
    ask("POST", "/api/v1/breach/scope", "/api/v1/breach/scope", scope);
    ask("POST", "/api/v1/audit/reconcile", "/api/v1/audit/reconcile", Value::Null);
    let export = json!({ "level": "study", "study": f.study });
    ask("POST", "/api/v1/exports", "/api/v1/exports", export);
    let device = json!({ "name": "room-1", "level": "address", "aet": "ROOM1", "address": "loopback" });
    ask("POST", "/api/v1/devices", "/api/v1/devices", device);
    for route in [
        "status",
        "quarantine",
        "retention/rules",
        "retention/due",
        "holds",
        "cases",
        "letters",
        "erasures",
        "exports",
        "audit/keys",
        "devices",
        "reviews",
        "restrictions",
        "care/relations",
    ] {
        let route = format!("/api/v1/{route}");
        ask("GET", &route, &route, Value::Null);
    }
    ask("GET", step, &one, Value::Null);
    ask("GET", letter, "/api/v1/letters/refused/de", Value::Null);
    // After what it would keep from being ordered: the hold is lifted.
    let held = ask("GET", "/api/v1/holds", "/api/v1/holds", Value::Null)[0]["id"].as_str().unwrap().to_owned();
    let lifted = vault.http().send("DELETE", &format!("{base}/api/v1/holds/{held}"), dpo, Vec::new());
    assert_eq!(lifted.status, 204, "{}", lifted.text());
    let order = json!({ "level": "study", "study": f.study, "ground": "objection", "no_rule": true });
    ask("POST", "/api/v1/erasures", "/api/v1/erasures", order);
    // Rules that nobody confirmed would have kept it, too.
    let seeds = "/api/v1/retention/seeds";
    ask("POST", seeds, seeds, json!({ "country": "DE" }));
    for route in ["/api/v1/retention/rules", "/api/v1/erasures", "/api/v1/exports", "/api/v1/devices"] {
        ask("GET", route, route, Value::Null);
    }

    let file = |name: &str, value: &Value| {
        let path = texts.path().join(name);
        fs::write(&path, value.to_string()).unwrap();
        path
    };
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/check.py");
    let output = Command::new(python())
        .arg(check)
        .args([file("document", &document), file("answers", &Value::from(answers))])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
