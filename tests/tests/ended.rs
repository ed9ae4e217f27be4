//! What is on its way ends within five seconds of whatever takes the right to it away: by HTTP/1.1 and HTTP/2, instances, frames and
//! packages.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::person::{Browser, PASSWORD, joined, person};
use leadglass_tests::scratch;
use leadglass_tests::site::large;
use leadglass_tests::vault::Vault;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The promise, by the clock.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// It begins within this time.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);
const MIB: u32 = 96;
/// A reader's pace, so that what is whole takes more than twice the time in which it has to end.
const PACE: &str = "8M";

/// What is asked for: its name, the version, what is accepted, and from where.
type Way = (&'static str, &'static str, &'static str, String);

fn ways(vault: &Vault, f: &Fixture) -> Vec<Way> {
    let instance = vault.instance_url(f);
    let frames: Vec<String> = (1..=MIB).map(|frame| frame.to_string()).collect();
    let frames = format!("{instance}/frames/{}", frames.join(","));
    let octets = "multipart/related; type=\"application/octet-stream\"";
    vec![
        ("an instance by HTTP/1.1", "--http1.1", "application/dicom", instance.clone()),
        ("an instance by HTTP/2", "--http2", "application/dicom", instance),
        ("frames", "--http2", octets, frames),
    ]
}

/// A package of the study for the data protection officer.
fn package(vault: &Vault, f: &Fixture) -> Way {
    vault.asked_for(&f.patient_id);
    let base = format!("{}/api/v1/exports", vault.up.http.base);
    let ask = Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() };
    let body = json!({ "level": "study", "study": f.study }).to_string().into_bytes();
    let begun = vault.http().send("POST", &base, ask, body);
    assert_eq!(begun.status, 201, "{}", begun.text());
    let content = format!("{base}/{}/content", begun.json()["id"].as_str().unwrap());
    ("a package", "--http1.1", "*/*", content)
}

/// A download that has begun.
struct Going {
    what: String,
    curl: Child,
    /// Bytes that came, and when the last of them did.
    came: JoinHandle<(usize, Instant)>,
    began: Receiver<()>,
}

fn begin(vault: &Vault, who: &str, ways: &[Way]) -> Vec<Going> {
    let going = ways.iter().map(|(what, version, accept, url)| {
        let mut curl = Command::new("curl")
            .args(["-q", "-sS", "--noproxy", "*", "--limit-rate", PACE, version, "--cacert", &vault.up.ca])
            .args(["-H", who, "-H", "Sec-Fetch-Site: same-origin", "-H", &format!("Accept: {accept}"), "--fail", url])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("curl is missing: run tests/all once, or install curl");
        let mut body = curl.stdout.take().unwrap();
        let (tell, began) = sync_channel(1);
        let came = thread::spawn(move || {
            let (mut came, mut piece) = (0, vec![0; 1 << 16]);
            loop {
                match body.read(&mut piece).expect("a pipe") {
                    0 => return (came, Instant::now()),
                    held => came += held,
                }
                // Once is enough.
                let _ = tell.try_send(());
            }
        });
        let who = who.split(':').next().unwrap_or_default();
        Going { what: format!("{what} by {who}"), curl, came, began }
    });
    let going: Vec<Going> = going.collect();
    for one in &going {
        one.began.recv_timeout(BEGINS_WITHIN).unwrap_or_else(|_| panic!("{} does not begin", one.what));
    }
    going
}

/// `why` was answered now.
fn all_end(why: &str, going: Vec<Going>) {
    let answered = Instant::now();
    for mut one in going {
        let (came, over) = one.came.join().unwrap();
        let took = over.saturating_duration_since(answered);
        eprintln!("{why}: {} ended after {took:?} with {} MiB", one.what, came >> 20);
        assert!(!one.curl.wait().unwrap().success(), "{why}: {} came whole", one.what);
        assert!(took < ENDS_WITHIN, "{why}: {} went on for {took:?}", one.what);
    }
}

fn all_come(going: Vec<Going>) {
    for mut one in going {
        let (came, _) = one.came.join().unwrap();
        assert!(one.curl.wait().unwrap().success() && came > (MIB as usize) << 20, "{} was cut, too", one.what);
    }
}

fn cookie(browser: &Browser<'_>) -> String {
    format!("Cookie: __Host-leadglass={}", browser.cookie("__Host-leadglass").unwrap())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn held() -> (Vault, Fixture) {
    let vault = Vault::up();
    let (f, data_set) = large(1, MIB);
    assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
    (vault, f)
}

#[test]
fn whatever_a_person_loses_every_open_stream_of_his_ends_within_five_seconds() {
    let (vault, f) = held();
    let ways = ways(&vault, &f);
    let (mut erika, _, codes) = joined(&vault, "erika");
    let (karl, _, _) = joined(&vault, "karl");
    let token = |browser: &Browser<'_>| {
        let made = browser.ask("POST", "/api/v1/account/tokens", &json!({ "label": "sync", "days": 30 })).json();
        (made["id"].as_str().unwrap().to_owned(), bearer(made["token"].as_str().unwrap()))
    };

    // A token is revoked; what its owner reads himself goes on.
    let (id, program) = token(&erika);
    let going = begin(&vault, &program, &ways);
    assert_eq!(erika.ask("DELETE", &format!("/api/v1/account/tokens/{id}"), &Value::Null).status, 204);
    all_end("a token was revoked", going);

    // She signs out.
    let going = begin(&vault, &cookie(&erika), &ways);
    assert_eq!(erika.ask("DELETE", "/api/v1/session", &Value::Null).status, 204);
    all_end("signed out", going);

    // Her phone is lost: what is read on it, and by the program whose token was made on it. Karl does not notice.
    assert_eq!(erika.sign_in("erika", PASSWORD, &codes[0]).status, 201);
    let (_, program) = token(&erika);
    let mut going = begin(&vault, &cookie(&erika), &ways[..2]);
    going.extend(begin(&vault, &program, &ways[1..]));
    let others = begin(&vault, &cookie(&karl), &ways[..1]);
    let account = erika.ask("GET", "/api/v1/account", &Value::Null).json();
    let this = account["devices"].as_array().unwrap().iter().find(|device| device["this"] == json!(true)).unwrap();
    assert_eq!(erika.ask("POST", "/api/v1/account/lost", &json!({ "device": this["id"] })).status, 200);
    all_end("a lost phone", going);
    all_come(others);

    // She leaves.
    assert_eq!(erika.sign_in("erika", PASSWORD, &codes[1]).status, 201);
    let (_, program) = token(&erika);
    let mut going = begin(&vault, &cookie(&erika), &ways[..2]);
    going.extend(begin(&vault, &program, &ways[1..]));
    person(&vault, &["leave", "erika"]);
    all_end("she left", going);

    // Karl is given a role that sees no image.
    let going = begin(&vault, &cookie(&karl), &ways);
    person(&vault, &["role", "karl", "reception"]);
    all_end("another role", going);
}

#[test]
fn a_sign_out_ends_a_package_too_and_a_restriction_all_but_what_the_patient_asked_for() {
    let (vault, f) = held();
    let mut ways = ways(&vault, &f);
    ways.push(package(&vault, &f));
    let mut officer = Browser::of(&vault);
    assert_eq!(officer.keep("POST", "/api/v1/session", &json!({ "token": vault.up.tokens.dpo })).status, 201);
    let going = begin(&vault, &cookie(&officer), &ways);
    assert_eq!(officer.ask("DELETE", "/api/v1/session", &Value::Null).status, 204);
    all_end("signed out", going);

    let dir = scratch();
    let paper = dir.path().join("study.txt");
    fs::write(&paper, &f.study).unwrap();
    let going = begin(&vault, &bearer(&vault.up.tokens.clinician), &ways[..3]);
    let excepted = begin(&vault, &bearer(&vault.up.tokens.dpo), &ways[3..]);
    let (paper, data) = (paper.display().to_string(), vault.folder().display().to_string());
    let words = ["restriction", "add", "--study-file", &paper, "--order", "2026-19", "--data", &data];
    assert!(vault.run(&words.map(OsStr::new)).status.success());
    all_end("restricted", going);
    // What is fetched for the patient's own request is an exception of the law.
    all_come(excepted);
}
