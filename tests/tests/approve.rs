//! A person's passkey approves at the key service what the vault alone may not do: an erasure and an opening in bulk. The
//! authenticator is ours, in software; vault and key service are the real ones.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::peers::{python, said};
use leadglass_tests::person::{Browser, browser_is_here, joined, person};
use leadglass_tests::site::{drained, keyd, keyd_program};
use leadglass_tests::vault::Vault;
use leadglass_tests::{built_programs, workspace_root};
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::process::{Command, Stdio};

const RULES: &str = "[erasure]\ncooling_off = \"0s\"\napprovals = 0\n";
const ORIGIN: &str = "https://localhost:8443";

/// A passkey, and the browser around it.
struct Passkey {
    pair: KeyPair,
    id: Vec<u8>,
    person: String,
}

impl Passkey {
    /// ES256, as COSE_Key.
    fn public_key(pair: &KeyPair) -> Vec<u8> {
        let point = pair.der_bytes();
        [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32][..], &point[1..33], &[0x22, 0x58, 32], &point[33..]].concat()
    }

    fn said(kind: &str, challenge: &Value) -> String {
        json!({ "type": kind, "challenge": challenge, "origin": ORIGIN, "crossOrigin": false }).to_string()
    }

    /// What `navigator.credentials.create` answers.
    fn create(options: &Value) -> (Self, Value) {
        let (pair, id) = (KeyPair::generate().unwrap(), b"a software passkey".to_vec());
        let public_key = &options["publicKey"];
        let said = Self::said("webauthn.create", &public_key["challenge"]);
        let data = [
            &Sha256::digest(public_key["rp"]["id"].as_str().unwrap())[..],
            &[0x45, 0, 0, 0, 0],
            &[0; 16],
            &[0, u8::try_from(id.len()).unwrap()],
            &id,
            &Self::public_key(&pair),
        ]
        .concat();
        // {"fmt": "none", "attStmt": {}, "authData": data}
        let head =
            [&[0xa3, 0x63][..], b"fmt", &[0x64], b"none", &[0x67], b"attStmt", &[0xa0, 0x68], b"authData"].concat();
        let len = u8::try_from(data.len()).unwrap();
        let attestation = [&head[..], &[0x58, len], &data].concat();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let response = json!({ "attestationObject": text(&attestation), "clientDataJSON": text(said.as_bytes()) });
        let answer = json!({
            "id": text(&id), "rawId": text(&id), "type": "public-key", "response": response, "extensions": {},
        });
        let person = public_key["user"]["id"].as_str().unwrap().to_owned();
        (Self { pair, id, person }, answer)
    }

    /// What `navigator.credentials.get` answers.
    fn get(&self, options: &Value) -> Value {
        let public_key = &options["publicKey"];
        let said = Self::said("webauthn.get", &public_key["challenge"]);
        let rp_id = public_key["rpId"].as_str().unwrap();
        let data = [&Sha256::digest(rp_id)[..], &[5, 0, 0, 0, 0]].concat();
        let signature = self.pair.sign(&[&data[..], &Sha256::digest(&said)[..]].concat()).unwrap();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let response = json!({
            "authenticatorData": text(&data), "clientDataJSON": text(said.as_bytes()),
            "signature": text(&signature), "userHandle": self.person,
        });
        json!({ "id": text(&self.id), "rawId": text(&self.id), "type": "public-key", "response": response, "extensions": {} })
    }
}

/// A vault whose key service takes passkeys of its pages.
fn vault() -> Vault {
    with_passkeys_of(|_| ORIGIN.to_owned())
}

/// The same, with pages at an origin that follows from where it serves.
fn with_passkeys_of(origin: impl Fn(&Vault) -> String) -> Vault {
    let mut vault = Vault::with_config(RULES);
    let file = vault.up.data.keyd.join("keyd.toml");
    let text = fs::read_to_string(&file).unwrap();
    let known = origin(&vault);
    fs::write(&file, format!("{text}\n[passkeys]\nrp_id = \"localhost\"\norigins = [\"{known}\"]\n")).unwrap();
    vault.restart();
    assert_eq!(origin(&vault), known, "it serves elsewhere after a restart");
    vault
}

/// Somebody who was invited in this role and chose a passkey.
fn joined_with_passkey<'a>(vault: &'a Vault, login: &str, role: &str) -> (Browser<'a>, Passkey) {
    let link = person(vault, &["invite", login, "--role", role])["link"].as_str().unwrap().to_owned();
    let invitation = link.split_once('#').unwrap().1;
    let mut browser = Browser::of(vault);
    let begun = browser.ask("POST", "/api/v1/invitation/passkey", &json!({ "invitation": invitation })).json();
    let (passkey, answer) = Passkey::create(&begun["options"]);
    let choice = json!({ "invitation": invitation, "challenge": begun["challenge"], "answer": answer });
    let joined = browser.keep("POST", "/api/v1/invitation/accept", &choice);
    assert_eq!(joined.status, 201, "{}", joined.text());
    (browser, passkey)
}

/// Adds the person at the key host and brings the passkey there: the person's id, and the fingerprint that the page shows.
fn brought(vault: &Vault, browser: &Browser<'_>, role: &str) -> (String, String) {
    let data = &vault.up.data.keyd;
    let tenant = keyd(data, &["tenant", "list"])["tenants"][0]["tenant"].as_str().unwrap().to_owned();
    let added = keyd(data, &["people", "add", "--tenant", &tenant, "--role", role, "--label", "Officer"]);
    let passkey = browser.ask("GET", "/api/v1/account", &Value::Null).json()["own_passkeys"][0]["id"].clone();
    let wrong = json!({ "code": "00000-00000-00000-00000", "passkey": passkey });
    assert_eq!(browser.ask("POST", "/api/v1/keyhost/passkeys", &wrong).status, 403);
    let body = json!({ "code": added["code"], "passkey": passkey });
    let made = browser.ask("POST", "/api/v1/keyhost/passkeys", &body);
    assert_eq!(made.status, 201, "{}", made.text());
    (added["id"].as_str().unwrap().to_owned(), made.json()["fingerprint"].as_str().unwrap().to_owned())
}

/// Signs a job as it is now, and hands it in.
fn approve(browser: &Browser<'_>, passkey: &Passkey, id: &str) -> (u16, Value) {
    let begun = browser.ask("POST", &format!("/api/v1/keyhost/approvals/{id}/passkey"), &Value::Null);
    assert_eq!(begun.status, 200, "{}", begun.text());
    let body = json!({ "answer": passkey.get(&begun.json()["options"]) });
    (browser.ask("PUT", &format!("/api/v1/keyhost/approvals/{id}"), &body).status, body)
}

#[test]
fn an_erasure_runs_when_an_officers_confirmed_passkey_approved_it_and_not_before() {
    let vault = vault();
    let (doomed, data_set) = Fixture::named("ct-1.dcm").renamed(1);
    assert_eq!(vault.store(&doomed, &data_set).unwrap().status, 0);
    let (browser, passkey) = joined_with_passkey(&vault, "erika", "dpo");
    let order = json!({ "level": "study", "study": doomed.study, "ground": "objection", "no_rule": true });
    let order = browser.ask("POST", "/api/v1/erasures", &order);
    assert_eq!(order.status, 201, "{}", order.text());
    let erasure = format!("/api/v1/erasures/{}", order.json()["id"].as_str().unwrap());
    let run = || browser.ask("POST", &format!("{erasure}/run"), &Value::Null);
    let waits = run();
    assert_eq!((waits.status, waits.json()["code"].as_str()), (409, Some("key-host-approval")), "{}", waits.text());
    let job = browser.ask("GET", &erasure, &Value::Null).json()["key_host_approval"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/keyhost/approvals/{job}");
    let shown = browser.ask("GET", &path, &Value::Null).json();
    assert_eq!((&shown["action"], &shown["studies"], &shown["state"]), (&"destroy".into(), &1.into(), &"open".into()));
    assert!(shown["text"].as_str().unwrap().contains("\"action\":\"destroy\""), "{shown}");

    // Unknown at the key service, then brought and not confirmed: it counts for nothing, whatever the vault says of it.
    assert_eq!(approve(&browser, &passkey, &job).0, 403);
    let (id, fingerprint) = brought(&vault, &browser, "dpo");
    assert_eq!(approve(&browser, &passkey, &job).0, 403);
    assert_eq!(run().status, 409);

    keyd(&vault.up.data.keyd, &["people", "confirm", &id, "--fingerprint", &fingerprint]);
    let (status, body) = approve(&browser, &passkey, &job);
    assert_eq!(status, 204);
    let again = browser.ask("PUT", &path, &body);
    assert_eq!((again.status, again.json()["code"].as_str()), (409, Some("approval-over")), "{}", again.text());
    assert_eq!(browser.ask("GET", &path, &Value::Null).json()["state"], "approved");
    let done = run();
    assert_eq!((done.status, done.json()["stage"].as_str()), (200, Some("done")), "{}", done.text());
    assert_eq!(vault.file_of(&doomed).unwrap_err(), 404);

    // What was signed for it opens nothing else, and both logs know who brought and signed.
    let other = json!({ "purpose": "subject-request", "studies": 40, "hours": 8 });
    let other = browser.ask("POST", "/api/v1/keyhost/approvals", &other);
    assert_eq!(other.status, 201, "{}", other.text());
    let other = other.json()["id"].as_str().unwrap().to_owned();
    let replayed = browser.ask("PUT", &format!("/api/v1/keyhost/approvals/{other}"), &body);
    assert_eq!((replayed.status, replayed.json()["code"].as_str()), (403, Some("key-host-refused")));
    assert_eq!(approve(&browser, &passkey, &other).0, 204);
    let given = keyd(&vault.up.data.keyd, &["approvals"]);
    let given: Vec<&Value> = given["approvals"].as_array().unwrap().iter().map(|a| &a["given_by"]).collect();
    assert_eq!(given, [&Value::from(id.as_str()), &Value::from(id.as_str())]);
    // Entries are durable at once and in the log's tree a moment later.
    drained(&vault);
    let ask = Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() };
    let entries = vault.http().get(&format!("{}/api/v1/audit/entries", vault.up.http.base), ask).text();
    for word in ["key-host-passkey-brought", "key-host-job-signed"] {
        assert!(entries.contains(word), "{word}");
    }
}

#[test]
fn whoever_is_no_officer_or_not_there_in_person_asks_the_key_host_for_nothing() {
    let vault = vault();
    let (clinician, ..) = joined(&vault, "anna");
    let (admin, passkey) = joined_with_passkey(&vault, "boss", "admin");
    let ask = json!({ "purpose": "research", "studies": 40, "hours": 8 });
    assert_eq!(clinician.ask("POST", "/api/v1/keyhost/approvals", &ask).status, 403);
    let token = format!("Bearer {}", vault.up.tokens.dpo);
    let url = format!("{}/api/v1/keyhost/approvals", vault.up.http.base);
    let answer =
        vault.http().send_with("POST", &url, &[("authorization", token.as_str())], ask.to_string().into_bytes());
    assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("no-account")), "{}", answer.text());
    for bad in [json!({ "purpose": "research", "studies": 0, "hours": 8 }), json!({ "purpose": "x" })] {
        assert_eq!(admin.ask("POST", "/api/v1/keyhost/approvals", &bad).status, 400);
    }
    let (id, fingerprint) = brought(&vault, &admin, "admin");
    keyd(&vault.up.data.keyd, &["people", "confirm", &id, "--fingerprint", &fingerprint]);
    let lodged = |purpose: &str| {
        let body = json!({ "purpose": purpose, "studies": 40, "hours": 8 });
        admin.ask("POST", "/api/v1/keyhost/approvals", &body).json()["id"].as_str().unwrap().to_owned()
    };
    // She runs the vault; research is the officer's.
    assert_eq!(approve(&admin, &passkey, &lodged("research")).0, 403);
    assert_eq!(approve(&admin, &passkey, &lodged("storage-check")).0, 204);
}

/// The officer's pages in Chromium, whose virtual authenticator shows the passkey.
#[test]
fn an_officer_brings_a_passkey_and_approves_an_erasure_in_a_browser() {
    if !browser_is_here() {
        return;
    }
    let vault = with_passkeys_of(|vault| vault.up.http.base.replacen("//127.0.0.1", "//localhost", 1));
    let (doomed, data_set) = Fixture::named("ct-1.dcm").renamed(1);
    assert_eq!(vault.store(&doomed, &data_set).unwrap().status, 0);
    let link = person(&vault, &["invite", "erika", "--role", "dpo"])["link"].as_str().unwrap().to_owned();
    let output = Command::new(python())
        .arg(workspace_root().join("tests/browser/approve.py"))
        .args([&link, &doomed.study])
        .arg(keyd_program())
        .arg(&vault.up.data.keyd)
        .arg(built_programs().join("screenshots").join("approve"))
        .stdin(Stdio::null())
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(vault.file_of(&doomed).unwrap_err(), 404);
}
