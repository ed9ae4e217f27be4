//! Signing in with a browser, over real sockets: what the cookie is, who may use it from where, and when it is over.

use leadglass_tests::devices::{entries_with, refusals};
use leadglass_tests::http::Answer;
use leadglass_tests::process::until;
use leadglass_tests::site::large;
use leadglass_tests::vault::Vault;
use serde_json::json;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The one cookie that an answer sets: its value, and what it says about it.
fn set_cookie(answer: &Answer) -> (String, String) {
    let set: Vec<&str> =
        answer.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, v)| v.as_str()).collect();
    let [one] = set[..] else { panic!("{set:?}") };
    let (pair, flags) = one.split_once(';').expect("flags");
    let value = pair.strip_prefix("__Host-leadglass=").unwrap_or_else(|| panic!("{pair}"));
    (value.to_owned(), flags.to_owned())
}

/// A browser's requests: with its cookie, from a page of some origin.
struct Browser<'a> {
    vault: &'a Vault,
    origin: String,
    site: &'static str,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn of(vault: &'a Vault) -> Self {
        Self { vault, origin: vault.up.http.base.clone(), site: "same-origin", cookie: None }
    }

    fn from(&self, origin: &str, site: &'static str) -> Self {
        Self { vault: self.vault, origin: origin.to_owned(), site, cookie: self.cookie.clone() }
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let cookie = self.cookie.as_ref().map(|value| format!("theme=dark; __Host-leadglass={value}"));
        let mut headers = vec![("sec-fetch-site", self.site)];
        // Browsers name the page's origin in what changes something, and in what crosses origins.
        if method != "GET" || self.site == "cross-site" {
            headers.push(("origin", &self.origin));
        }
        if let Some(cookie) = &cookie {
            headers.push(("cookie", cookie));
        }
        self.vault.http().send_with(method, &format!("{}{path}", self.vault.up.http.base), &headers, body.to_vec())
    }

    fn sign_in(&mut self, token: &str) -> Answer {
        let answer = self.ask("POST", "/api/v1/session", json!({ "token": token }).to_string().as_bytes());
        if answer.status == 201 {
            self.cookie = Some(set_cookie(&answer).0);
        }
        answer
    }
}

const SEARCH: &str = "/dicomweb/studies?limit=1";

#[test]
fn who_signs_in_is_known_by_a_cookie_that_scripts_and_other_hosts_never_get() {
    let vault = Vault::up();
    let mut browser = Browser::of(&vault);
    assert_eq!(browser.ask("GET", SEARCH, b"").status, 401);
    assert_eq!(browser.ask("GET", "/api/v1/session", b"").status, 204, "nobody is signed in");
    let answer = browser.sign_in(&vault.up.tokens.clinician);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let (value, flags) = set_cookie(&answer);
    assert_eq!(value.len(), 43, "256 bits");
    let mut flags: Vec<&str> = flags.split(';').map(str::trim).collect();
    flags.sort_unstable();
    assert_eq!(flags, ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"], "and no Domain, no Max-Age");
    assert!(!answer.text().contains(&value), "the body does not tell it");
    let session = browser.ask("GET", "/api/v1/session", b"").json();
    assert_eq!((&session["role"], &session["label"]), (&json!("clinician"), &json!("up: clinician")));
    assert!(session["ends_ms"].as_u64() > session["idle_ends_ms"].as_u64());
    assert_eq!(browser.ask("GET", SEARCH, b"").status, 200);
    assert_eq!(browser.ask("GET", "/api/v1/status", b"").status, 403, "the role is the token's");
    let words = String::from_utf8_lossy(&vault.words()).into_owned();
    assert!(!words.contains(&value) && words.contains("signed in"), "the log knows of it and not what it is");
}

#[test]
fn a_cookie_counts_from_a_page_of_its_own_origin_only() {
    let vault = Vault::up();
    let mut browser = Browser::of(&vault);
    assert_eq!(browser.sign_in(&vault.up.tokens.clinician).status, 201);
    let foreign = [("https://evil.test", "cross-site"), ("https://127.0.0.1:1", "same-site"), ("null", "cross-site")];
    for (origin, site) in foreign {
        let page = browser.from(origin, site);
        for (method, path) in
            [("GET", SEARCH), ("GET", "/api/v1/session"), ("POST", "/api/v1/uploads"), ("DELETE", "/api/v1/session")]
        {
            let answer = page.ask(method, path, b"");
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (403, Some("foreign-page")),
                "{method} {path} from {origin}"
            );
        }
    }
    // What no browser vouches for may not change anything either.
    let url = format!("{}/api/v1/session", vault.up.http.base);
    let cookie = format!("__Host-leadglass={}", browser.cookie.clone().expect("signed in"));
    assert_eq!(vault.http().send_with("DELETE", &url, &[("cookie", &cookie)], Vec::new()).status, 403);
    assert_eq!(vault.http().send_with("GET", &url, &[("cookie", &cookie)], Vec::new()).status, 200);
    assert_eq!(browser.ask("GET", SEARCH, b"").status, 200, "the session itself goes on");
    let stranger = browser.from("https://evil.test", "cross-site");
    let token = json!({ "token": vault.up.tokens.clinician }).to_string();
    let answer = stranger.ask("POST", "/api/v1/session", token.as_bytes());
    assert_eq!(answer.status, 403, "nobody is signed in from elsewhere");
}

#[test]
fn a_planted_reference_is_never_taken_over_and_signing_in_anew_ends_the_session_before() {
    let vault = Vault::up();
    let mut browser = Browser::of(&vault);
    let planted = "A".repeat(43);
    browser.cookie = Some(planted.clone());
    assert_eq!(browser.sign_in(&vault.up.tokens.clinician).status, 201);
    let first = browser.cookie.clone().expect("signed in");
    assert_ne!(first, planted);
    assert_eq!(browser.sign_in(&vault.up.tokens.dpo).status, 201);
    assert_ne!(browser.cookie.as_ref(), Some(&first));
    assert_eq!(browser.ask("GET", "/api/v1/session", b"").json()["role"], "dpo");
    for old in [planted, first] {
        browser.cookie = Some(old);
        assert_eq!(browser.ask("GET", SEARCH, b"").status, 401);
    }
}

#[test]
fn signing_out_ends_the_session_and_takes_the_cookie_away() {
    let mut vault = Vault::up();
    let mut browser = Browser::of(&vault);
    assert_eq!(browser.sign_in(&vault.up.tokens.clinician).status, 201);
    let out = browser.ask("DELETE", "/api/v1/session", b"");
    let (value, flags) = set_cookie(&out);
    assert_eq!((out.status, value.as_str()), (204, ""));
    assert!(flags.contains("Max-Age=0") && flags.contains("Secure"), "{flags}");
    assert_eq!(browser.ask("GET", SEARCH, b"").status, 401);
    assert_eq!(browser.ask("DELETE", "/api/v1/session", b"").status, 204, "twice is fine");
    // One session ends, and one goes on over a restart.
    let ended = browser.cookie.take();
    assert_eq!(browser.sign_in(&vault.up.tokens.clinician).status, 201);
    let goes_on = browser.cookie.take();
    vault.restart();
    let mut browser = Browser::of(&vault);
    for (cookie, status) in [(goes_on, 200), (ended, 401)] {
        browser.cookie = cookie;
        assert_eq!(browser.ask("GET", SEARCH, b"").status, status);
    }
}

#[test]
fn what_is_no_token_signs_nobody_in() {
    let vault = Vault::up();
    let mut browser = Browser::of(&vault);
    assert_eq!(browser.sign_in("lg_not-a-token").status, 401);
    let own = &vault.up.tokens.clinician;
    assert_eq!(browser.sign_in(&format!("{}x", &own[..own.len() - 1])).status, 401);
    for body in [&b""[..], b"{}", b"token=x", br#"{"token":"x","role":"admin"}"#] {
        assert_eq!(browser.ask("POST", "/api/v1/session", body).status, 400, "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(browser.sign_in(&format!(" {own} ")).status, 201, "a pasted space does no harm");
}

/// The pages themselves: the same for everybody, and nothing in them that a browser would run or fetch from elsewhere.
#[test]
fn pages_are_nobodys_and_shut_against_foreign_code() {
    let vault = Vault::up();
    let browser = Browser::of(&vault);
    for path in ["/", "/studies", "/view/1.2.3"] {
        let answer = browser.ask("GET", path, b"");
        assert_eq!((answer.status, answer.content_type.as_str()), (200, "text/html; charset=utf-8"), "{path}");
        let header =
            |name: &str| answer.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or_default();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!((header("cache-control"), header("referrer-policy")), ("no-store", "no-referrer"));
        assert_eq!(header("cross-origin-opener-policy"), "same-origin");
    }
    let asset = browser.ask("GET", "/assets/view.js", b"");
    assert_eq!((asset.status, asset.content_type.as_str()), (200, "text/javascript; charset=utf-8"));
    let tag = asset.headers.iter().find(|(name, _)| name == "etag").map(|(_, v)| v.clone()).expect("a tag");
    let url = format!("{}/assets/view.js", vault.up.http.base);
    let again = vault.http().send_with("GET", &url, &[("if-none-match", &tag)], Vec::new());
    assert_eq!((again.status, again.body.len()), (304, 0));
    for path in ["/assets/", "/assets/nothing.js", "/assets/..%2F..%2FCargo.toml", "/assets/signin.html"] {
        assert_eq!(browser.ask("GET", path, b"").status, 404, "{path}");
    }
}

/// Signing in and out, and failing to, stand in the audit log; so does whoever is signed out by signing in anew.
#[test]
fn signing_in_and_out_and_failing_to_are_entries_of_the_audit_log() {
    let vault = Vault::up();
    let mut browser = Browser::of(&vault);
    let counted = || ["signed-in", "signed-out", "sign-in-refused"].map(|word| entries_with(&vault, word));
    let come_to = |wanted: [usize; 3], what: &str| {
        assert!(until(SOON, || counted() == wanted), "{what}: {:?} instead of {wanted:?}", counted());
    };
    assert_eq!(browser.sign_in("lg_not-a-token").status, 401);
    come_to([0, 0, 1], "somebody failed to");
    assert_eq!(refusals(&vault, "sign-in-refused"), 1);
    assert_eq!(browser.sign_in(&vault.up.tokens.clinician).status, 201);
    come_to([1, 0, 1], "a clinician");
    assert_eq!(browser.sign_in(&vault.up.tokens.dpo).status, 201);
    come_to([2, 1, 1], "another one at the same browser");
    assert_eq!(browser.ask("DELETE", "/api/v1/session", b"").status, 204);
    come_to([2, 2, 1], "nobody any more");
    // Who is not signed in leaves nothing by leaving; who only looks leaves nothing either.
    assert_eq!(browser.ask("DELETE", "/api/v1/session", b"").status, 204);
    assert_eq!(browser.ask("GET", "/api/v1/session", b"").status, 204);
    assert_eq!(browser.sign_in(&vault.up.tokens.clinician).status, 201);
    come_to([3, 2, 1], "once more");
    // A flood of attempts is counted, not written down one by one.
    for _ in 0..20 {
        assert_eq!(browser.sign_in("lg_not-a-token").status, 401);
    }
    assert_eq!(refusals(&vault, "sign-in-refused"), 21);
    assert!(counted()[2] <= 3, "{:?} entries", counted());
}

/// What is on its way to a browser stops when it signs out: no request has to come for that.
#[test]
fn a_download_ends_when_its_browser_signs_out() {
    const MIB: u32 = 64;
    let vault = Vault::up();
    let (f, data_set) = large(1, MIB);
    assert_eq!(vault.store(&f, &data_set).expect("it is sent").status, 0);
    let mut browser = Browser::of(&vault);
    assert_eq!(browser.sign_in(&vault.up.tokens.clinician).status, 201);
    let download = |browser: &Browser<'_>| {
        let cookie = format!("__Host-leadglass={}", browser.cookie.as_deref().expect("signed in"));
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
        // It has begun; the rest waits until somebody takes it.
        body.read_exact(&mut [0; 4096]).expect("its first bytes");
        (curl, body)
    };
    let (mut curl, mut body) = download(&browser);
    assert_eq!(browser.ask("DELETE", "/api/v1/session", b"").status, 204);
    let mut rest = Vec::new();
    body.read_to_end(&mut rest).expect("a pipe");
    assert!(!curl.wait().expect("it ends").success(), "it came whole");
    assert!(rest.len() < data_set.len() / 2, "{} of {} bytes after the sign-out", rest.len(), data_set.len());

    assert_eq!(browser.sign_in(&vault.up.tokens.clinician).status, 201);
    let (mut curl, mut body) = download(&browser);
    rest.clear();
    body.read_to_end(&mut rest).expect("a pipe");
    assert!(curl.wait().expect("it ends").success(), "who stays is given all of it");
    assert!(rest.len() + 4096 > data_set.len());
}

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_token_signs_no_browser_in_unless_the_house_says_so() {
    let vault = Vault::with_config("[sessions]\nfrom_tokens = false\n");
    for token in [vault.up.tokens.dpo.as_str(), &vault.up.tokens.clinician, "lg_nothing"] {
        let mut browser = Browser::of(&vault);
        let answer = browser.sign_in(token);
        assert_eq!((answer.status, browser.cookie.is_none()), (403, true));
        assert_eq!(answer.json()["code"], "token-signs-nobody-in");
    }
    let ways = Browser::of(&vault).ask("GET", "/api/v1/session/providers", b"").json();
    assert_eq!(ways, json!({ "providers": [], "tokens": false }));
    // A program sends it with each request.
    let found = vault.ask("/studies?limit=1", Some(&vault.up.tokens.clinician), "application/dicom+json");
    assert!(matches!(found.status, 200 | 204), "{}", found.status);
}
