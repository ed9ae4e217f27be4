//! People over real sockets: how they come, sign in, change and leave; and what an attacker of the sign-in gets.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::devices::{device, entries_with};
use leadglass_tests::http::Answer;
use leadglass_tests::peers::{python, said};
use leadglass_tests::person::{Browser, PASSWORD, browser_is_here, code, joined, person};
use leadglass_tests::process::until;
use leadglass_tests::provider::Provider;
use leadglass_tests::site::{alarms, large};
use leadglass_tests::vault::Vault;
use leadglass_tests::{built_programs, workspace_root};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What an answer tells, without what is another one each time.
fn told(answer: &Answer) -> (u16, Value, Vec<String>) {
    let mut body = answer.json();
    body["request_id"] = Value::Null;
    let mut headers: Vec<String> = answer.headers.iter().map(|(name, _)| name.clone()).collect();
    headers.sort();
    (answer.status, body, headers)
}

#[test]
fn the_sign_in_tells_nothing_takes_nothing_twice_and_hears_no_foreign_page() {
    let vault = Vault::up();
    let (mut browser, seed, codes) = joined(&vault, "erika@praxis.example");
    assert_eq!(browser.role().as_deref(), Some("clinician"));
    let first = browser.cookie("__Host-leadglass").unwrap().to_owned();
    assert_eq!(browser.ask("GET", "/dicomweb/studies?limit=1", &Value::Null).status, 200);

    // Whoever is not there and whoever is wrong are told the same.
    let stranger = Browser::of(&vault);
    let now = code(&seed, 0);
    let attempt = |login: &str, password: &str, code: &str| {
        stranger.ask("POST", "/api/v1/session", &json!({ "login": login, "password": password, "code": code }))
    };
    let nobody = attempt("nobody", PASSWORD, &now);
    assert_eq!(nobody.status, 401);
    assert_eq!(told(&attempt("erika@praxis.example", "wrong", &now)), told(&nobody));
    assert_eq!(told(&attempt("erika@praxis.example", PASSWORD, "000000")), told(&nobody));
    let no_passkey = json!({ "challenge": "00", "answer": {} });
    assert_eq!(told(&stranger.ask("POST", "/api/v1/session", &no_passkey)), told(&nobody));

    // A planted reference is not taken over; signing in anew ends the session before; a code is good once.
    let mut other = Browser::of(&vault);
    other.cookies.push(("__Host-leadglass".to_owned(), "A".repeat(43)));
    assert_eq!(other.sign_in("Erika@Praxis.Example", PASSWORD, &now).status, 201);
    assert_ne!(other.cookie("__Host-leadglass"), Some("A".repeat(43).as_str()));
    assert_eq!(Browser::of(&vault).sign_in("erika@praxis.example", PASSWORD, &now).status, 401, "replayed");
    assert_eq!(browser.sign_in("erika@praxis.example", PASSWORD, &codes[0]).status, 201);
    let old = Browser { vault: &vault, cookies: vec![("__Host-leadglass".to_owned(), first)] };
    assert_eq!(old.role(), None, "the reference before is dead");

    // No page of elsewhere signs in, takes an invitation or changes an account.
    let form = json!({ "login": "erika@praxis.example", "password": PASSWORD, "code": codes[1] });
    for (origin, site) in
        [("https://evil.test", "cross-site"), ("https://127.0.0.1:1", "same-site"), ("null", "cross-site")]
    {
        for (method, path, body) in [
            ("POST", "/api/v1/session", &form),
            ("POST", "/api/v1/session/passkey", &Value::Null),
            ("POST", "/api/v1/invitation/accept", &json!({ "invitation": "x", "password": "x", "code": "x" })),
            ("GET", "/api/v1/account", &Value::Null),
            ("POST", "/api/v1/account/lost", &json!({})),
            ("POST", "/api/v1/account/codes", &Value::Null),
        ] {
            let answer = browser.ask_from(origin, site, method, path, body);
            assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("foreign-page")), "{method} {path}");
        }
    }
    assert_eq!(browser.role().as_deref(), Some("clinician"), "nothing of that did anything");
    let account = browser.ask("GET", "/api/v1/account", &Value::Null).json();
    assert_eq!((&account["codes"], &account["devices"].as_array().unwrap().len()), (&json!(9), &2));
    assert_eq!(account["devices"][0]["label"], "Firefox on Linux");

    // Guessing takes longer and longer, for whoever is not there as well; the owner's device is not kept out.
    for login in ["erika@praxis.example", "nobody"] {
        let answers: Vec<u16> = (0..6).map(|_| attempt(login, "wrong", "0").status).collect();
        assert!(answers.ends_with(&[429]), "{login}: {answers:?}");
    }
    assert_eq!(browser.sign_in("erika@praxis.example", PASSWORD, &codes[2]).status, 201);
    let words = String::from_utf8_lossy(&vault.words()).into_owned();
    for secret in ["erika", PASSWORD, &codes[2], &seed] {
        assert!(!words.to_lowercase().contains(&secret.to_lowercase()), "the vault's log says {secret}");
    }
    for word in ["person-invited", "person-joined", "sign-in-refused", "signed-in"] {
        assert!(until(SOON, || entries_with(&vault, word) > 0), "{word}");
    }
}

#[test]
fn a_role_holds_at_once_and_whoever_leaves_or_loses_a_phone_is_out_in_the_middle_of_a_download() {
    const MIB: u32 = 64;
    let vault = Vault::up();
    let (f, data_set) = large(1, MIB);
    assert_eq!(vault.store(&f, &data_set).expect("it is sent").status, 0);
    let (mut browser, _, codes) = joined(&vault, "erika");
    let download = |browser: &Browser<'_>| {
        let cookie = format!("__Host-leadglass={}", browser.cookie("__Host-leadglass").unwrap());
        let mut words = vec!["-q", "-sS", "--noproxy", "*", "--http1.1", "--cacert", &vault.up.ca, "-H"];
        words.extend(["Sec-Fetch-Site: same-origin", "-H", "Accept: application/dicom", "-b", &cookie]);
        let mut curl = Command::new("curl")
            .args(&words)
            .arg(vault.instance_url(&f))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("curl is missing: run tests/all once, or install curl");
        let mut body = curl.stdout.take().expect("a pipe");
        body.read_exact(&mut [0; 4096]).expect("its first bytes");
        (curl, body)
    };
    for (words, role, code) in [
        (&["lost", "erika"][..], None, &codes[0]),
        (&["role", "erika", "reception"], Some("reception"), &codes[1]),
        (&["role", "erika", "clinician"], Some("clinician"), &codes[1]),
        (&["leave", "erika"], None, &codes[1]),
    ] {
        let cut = words != ["role", "erika", "clinician"];
        let going = cut.then(|| download(&browser));
        person(&vault, words);
        assert_eq!(browser.role().as_deref(), role, "{words:?}");
        if let Some((mut curl, mut body)) = going {
            let mut rest = Vec::new();
            body.read_to_end(&mut rest).expect("a pipe");
            assert!(!curl.wait().expect("it ends").success(), "{words:?}: it came whole");
            assert!(rest.len() < data_set.len() / 2, "{words:?}: {} bytes came after it", rest.len());
        }
        if words[0] == "lost" {
            assert_eq!(browser.sign_in("erika", PASSWORD, code).status, 201);
        }
    }
    assert_eq!(browser.sign_in("erika", PASSWORD, &codes[2]).status, 401, "whoever left does not come back");
    assert_eq!(person(&vault, &["list"]), json!([]));
    for word in ["device-lost", "person-role-changed", "person-left"] {
        assert!(until(SOON, || entries_with(&vault, word) > 0), "{word}");
    }
}

#[test]
fn a_locked_session_goes_on_for_its_person_and_a_lost_phone_takes_its_tokens_along() {
    let vault = Vault::up();
    let (f, data_set) = large(1, 64);
    assert_eq!(vault.store(&f, &data_set).expect("it is sent").status, 0);
    let (mut browser, _, codes) = joined(&vault, "erika");
    let session = |browser: &Browser<'_>| browser.ask("GET", "/api/v1/session", &Value::Null).json();
    let search = "/dicomweb/studies?limit=1";
    assert_eq!(browser.ask("GET", search, &Value::Null).status, 200);
    let first = browser.cookie("__Host-leadglass").unwrap().to_owned();
    let ends = session(&browser)["ends_ms"].clone();
    assert_eq!(browser.ask("PUT", "/api/v1/session", &json!({ "locked": true })).status, 204);
    let refused = browser.ask("GET", search, &Value::Null);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (401, Some("session-locked")));
    let locked = session(&browser);
    assert_eq!(
        (&locked["locked"], &locked["password"], &locked["passkey"]),
        (&json!(true), &json!(true), &json!(false))
    );
    assert_eq!(locked["role"], Value::Null);
    // Until when he may come back: half an hour after the last use, of ten hours.
    let [back, over] = [&locked["ends_ms"], &ends].map(|end| end.as_u64().unwrap());
    let hour = 60 * 60 * 1000;
    assert!((over - 10 * hour..over - 9 * hour).contains(&back), "{back} {over}");

    let proof = |code: &str| json!({ "locked": false, "password": PASSWORD, "code": code });
    let foreign = browser.ask_from("https://evil.test", "cross-site", "PUT", "/api/v1/session", &proof(&codes[0]));
    assert_eq!(foreign.status, 403);
    assert_eq!(browser.keep("PUT", "/api/v1/session", &proof("000000")).status, 401);
    assert_eq!(browser.keep("PUT", "/api/v1/session", &proof(&codes[0])).status, 200);
    assert_eq!(browser.ask("GET", search, &Value::Null).status, 200, "it goes on");
    assert_eq!((&session(&browser)["locked"], &session(&browser)["ends_ms"]), (&json!(false), &ends));
    let old = Browser { vault: &vault, cookies: vec![("__Host-leadglass".to_owned(), first)] };
    assert_eq!(old.role(), None, "the reference before is dead");
    assert_eq!(browser.ask("PUT", "/api/v1/session", &proof(&codes[1])).status, 401, "what is open needs no opening");
    assert!(until(SOON, || entries_with(&vault, "session-resumed") == 1));

    // A program of hers reads with a token of its own, which ends with the phone on which she made it.
    let made = browser.ask("POST", "/api/v1/account/tokens", &json!({ "label": "sync", "days": 30 })).json();
    let bearer = format!("Authorization: Bearer {}", made["token"].as_str().unwrap());
    let curl = |url: &str| {
        Command::new("curl")
            .args(["-q", "-sS", "--noproxy", "*", "--http1.1", "--cacert", &vault.up.ca, "-H", &bearer])
            .args(["-H", "Accept: application/dicom", "-w", "%{http_code}", url])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("curl is missing: run tests/all once, or install curl")
    };
    let mut going = curl(&vault.instance_url(&f));
    let mut body = going.stdout.take().expect("a pipe");
    body.read_exact(&mut [0; 4096]).expect("its first bytes");
    let account = browser.ask("GET", "/api/v1/account", &Value::Null).json();
    assert_eq!(account["tokens"][0]["label"], "sync");
    let this = account["devices"].as_array().unwrap().iter().find(|device| device["this"] == json!(true)).unwrap();
    assert_eq!(browser.ask("POST", "/api/v1/account/lost", &json!({ "device": this["id"] })).status, 200);
    let mut rest = Vec::new();
    body.read_to_end(&mut rest).expect("a pipe");
    assert!(!going.wait().expect("it ends").success(), "it came whole");
    assert!(rest.len() < data_set.len() / 2, "{} bytes came after it", rest.len());
    let search = format!("{}{search}", vault.up.http.base);
    let after = curl(&search).wait_with_output().expect("curl ends");
    assert!(after.stdout.ends_with(b"401"), "{}", String::from_utf8_lossy(&after.stdout));
}

/// The whole way through a provider of somebody else's making, as a browser goes it.
#[test]
fn people_sign_in_through_their_practices_own_provider_with_the_role_of_their_groups() {
    let Some(provider) = Provider::start() else { return };
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "not-a-secret-of-anybody\n").unwrap();
    let config = |id: &str, amr: &str| {
        format!(
            "[[oidc]]\nid = {id:?}\nname = \"Praxis\"\nissuer = {:?}\nclient_id = \"leadglass\"\nclient_secret = {{ file = {:?} }}\n{amr}\n\
             roles = [{{ group = \"admins\", role = \"admin\" }}, {{ group = \"clinicians\", role = \"clinician\" }}, {{ group = \"desk\", role = \"reception\" }}]\n",
            provider.issuer,
            secret.path().display().to_string()
        )
    };
    let vault = Vault::with_config(
        &(config("praxis", "asks_for_second_factor = true")
            + &config("strong", "amr = [\"otp\"]\nstrong_amr = [\"hwk\"]")),
    );
    let depart = |browser: &mut Browser<'_>, id: &str| {
        let answer = browser.keep("POST", &format!("/api/v1/session/providers/{id}"), &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["address"].as_str().unwrap().to_owned()
    };
    let come = |browser: &mut Browser<'_>, id: &str, who: &str, change: &Value| {
        provider.person(who, change);
        let address = depart(browser, id);
        for word in ["code_challenge_method=S256", "nonce=", "state=", "response_type=code"] {
            assert!(address.contains(word), "{address}");
        }
        let back = provider.carry(&address);
        (browser.keep("POST", "/api/v1/session", &back).status, back)
    };
    let mut browser = Browser::of(&vault);
    let listed = browser.ask("GET", "/api/v1/session/providers", &Value::Null).json();
    assert_eq!(listed["providers"][0], json!({ "id": "praxis", "name": "Praxis" }));
    let (status, back) = come(&mut browser, "praxis", "erika", &Value::Null);
    assert_eq!((status, browser.role().as_deref()), (201, Some("clinician")));
    assert_eq!(browser.ask("GET", "/dicomweb/studies?limit=1", &Value::Null).status, 200);
    let account = browser.ask("GET", "/api/v1/account", &Value::Null).json();
    assert_eq!(
        (&account["name"], &account["login"], &account["vouched"]),
        (&json!("Erika Muster"), &json!("erika"), &json!(true))
    );
    assert_eq!(browser.ask("POST", "/api/v1/session", &back).status, 401, "what was brought is good once");

    // What belongs to another browser, or to another state, signs nobody in.
    let (mut victim, mut thief) = (Browser::of(&vault), Browser::of(&vault));
    let _ = depart(&mut victim, "praxis");
    let stolen = provider.carry(&depart(&mut thief, "praxis"));
    assert_eq!(victim.keep("POST", "/api/v1/session", &stolen).status, 401, "lured to somebody else's way back");
    assert_eq!(thief.keep("POST", "/api/v1/session", &stolen).status, 401, "and then it is used");
    let mut mixed = provider.carry(&depart(&mut thief, "praxis"));
    mixed["iss"] = json!("https://evil.test");
    assert_eq!(thief.keep("POST", "/api/v1/session", &mixed).status, 401, "another provider's answer");
    let away =
        thief.ask_from("https://evil.test", "cross-site", "POST", "/api/v1/session/providers/praxis", &Value::Null);
    assert_eq!(away.status, 403);

    // Groups are roles, at each sign-in; without a passkey that is vouched for, nobody is an administrator: a code is none.
    let mut other = Browser::of(&vault);
    assert_eq!(come(&mut other, "praxis", "max", &Value::Null).0, 401, "no group of his has a role");
    assert_eq!(come(&mut other, "praxis", "boss", &Value::Null).0, 401);
    assert_eq!(come(&mut other, "strong", "erika", &Value::Null).0, 401, "a password alone");
    assert_eq!(come(&mut other, "strong", "boss", &Value::Null).0, 401, "a password and a code");
    assert_eq!(come(&mut other, "praxis", "boss", &json!({ "amr": ["pwd", "hwk"] })).0, 401, "not asked for there");
    assert_eq!(come(&mut other, "strong", "boss", &Value::Null).0, 201);
    assert_eq!(other.role().as_deref(), Some("admin"));
    let (status, _) = come(&mut Browser::of(&vault), "praxis", "erika", &json!({ "groups": ["desk"] }));
    assert_eq!((status, browser.role()), (201, None), "another role: what went on before is over");

    let people = other.ask("GET", "/api/v1/people", &Value::Null).json();
    let id = people.as_array().unwrap().iter().find(|person| person["login"] == "erika").unwrap()["id"].clone();
    let path = format!("/api/v1/people/{}", id.as_str().unwrap());
    assert_eq!(other.ask("DELETE", &path, &Value::Null).status, 200);
    assert_eq!(
        come(&mut browser, "praxis", "erika", &Value::Null).0,
        401,
        "whoever left here does not come back by it"
    );
    for word in ["person-vouched-for", "person-role-changed", "person-left", "signed-in", "sign-in-refused"] {
        assert!(until(SOON, || entries_with(&vault, word) > 0), "{word}");
    }
    if browser_is_here() {
        let output = Command::new(python())
            .arg(workspace_root().join("tests/browser/provider.py"))
            .args([&vault.up.http.base, &provider.issuer])
            .arg(built_programs().join("screenshots").join("provider"))
            .stdin(Stdio::null())
            .output()
            .expect("Python runs");
        assert!(output.status.success(), "{}", said(&output));
    }
    let words = String::from_utf8_lossy(&vault.words()).into_owned();
    for word in ["Muster", "not-a-secret", back["code"].as_str().unwrap()] {
        assert!(!words.contains(word), "the vault's log says {word}");
    }
}

/// Three browsers in three places at once: an alarm, and words for it in the list and in what the doctor says.
#[test]
fn a_login_that_three_people_use_is_an_alarm_and_is_named() {
    let vault = Vault::up();
    let (_browser, _, codes) = joined(&vault, "erika");
    let enter = |from: &str, code: &str| {
        let form = json!({ "login": "erika", "password": PASSWORD, "code": code }).to_string();
        let output = Command::new("curl")
            .args(["-q", "-sS", "--noproxy", "*", "--fail-with-body", "--interface", from, "--cacert", &vault.up.ca])
            .args(["--header", "Sec-Fetch-Site: same-origin", "--data", &form])
            .arg(format!("{}/api/v1/session", vault.up.http.base))
            .output()
            .expect("curl runs");
        assert!(output.status.success(), "{from}: {}", said(&output));
    };
    enter("127.0.0.2", &codes[0]);
    assert_eq!(alarms(&vault, "shared-login"), 0, "a computer and a phone");
    enter("127.0.0.3", &codes[1]);
    assert!(until(SOON, || alarms(&vault, "shared-login") == 1));
    assert!(until(SOON, || entries_with(&vault, "shared-login") == 1));
    let folder = vault.folder();
    let run = |words: &[&str]| {
        let words = words.iter().map(OsStr::new).chain([OsStr::new("--data"), folder.as_os_str()]);
        vault.run(&words.collect::<Vec<_>>())
    };
    let listed = run(&["person", "list"]);
    assert_eq!(listed.status.code(), Some(3), "{}", said(&listed));
    assert!(String::from_utf8_lossy(&listed.stdout).contains("SHARED?"), "{}", said(&listed));
    let diagnosis = run(&["doctor"]);
    assert!(String::from_utf8_lossy(&diagnosis.stdout).contains("perhaps shared: erika."), "{}", said(&diagnosis));
}

/// An administrator has no other way in than a passkey. Chromium makes one, at a virtual authenticator, and signs in with it.
#[test]
fn a_passkey_is_made_and_opens_the_vault_in_a_browser() {
    if !browser_is_here() {
        return;
    }
    let vault = Vault::up();
    let link = person(&vault, &["invite", "boss", "--role", "admin"])["link"].as_str().unwrap().to_owned();
    let sensor = ["--level", "address", "--aet", "SENSOR3", "--address", "10.20.1.17"];
    device(&vault, &[&["add", "sensor-3"][..], &sensor].concat());
    device(&vault, &["add", "ct-1"]);
    let by_password = person(&vault, &["invite", "erika"])["link"].as_str().unwrap().to_owned();
    let output = Command::new(python())
        .arg(workspace_root().join("tests/browser/people.py"))
        .args([&link, &by_password])
        .arg(built_programs().join("screenshots").join("people"))
        .stdin(Stdio::null())
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", said(&output));
    let people = person(&vault, &["list"]);
    let boss = people.as_array().unwrap().iter().find(|person| person["login"] == "boss").unwrap();
    // The last one was lost.
    assert_eq!((&boss["state"], &boss["passkeys"], &boss["password"]), (&json!("active"), &json!(0), &json!(false)));
    for word in ["passkey-added", "passkey-removed"] {
        assert!(until(SOON, || entries_with(&vault, word) == 1), "{word}");
    }
}

const SOON: Duration = Duration::from_secs(30);
