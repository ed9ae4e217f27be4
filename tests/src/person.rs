//! People of a vault: they come by a link, sign in with a password and a code, and ask from a page of the vault's own.

use crate::http::Answer;
use crate::peers::{python, said};
use crate::vault::Vault;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// A browser's requests from a page of the vault's own; it keeps its cookies.
#[derive(Debug)]
pub struct Browser<'a> {
    /// Whom it asks.
    pub vault: &'a Vault,
    /// What it was given.
    pub cookies: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    /// One that nobody has used.
    #[must_use]
    pub const fn of(vault: &'a Vault) -> Self {
        Self { vault, cookies: Vec::new() }
    }

    /// A cookie's value.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A request that claims to come from a page of that origin.
    #[must_use]
    pub fn ask_from(&self, origin: &str, site: &str, method: &str, path: &str, body: &Value) -> Answer {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut headers = vec![("sec-fetch-site", site), ("user-agent", "Firefox on Linux"), ("origin", origin)];
        if !cookies.is_empty() {
            headers.push(("cookie", &cookies));
        }
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.vault.http().send_with(method, &format!("{}{path}", self.vault.up.http.base), &headers, body)
    }

    /// A request from a page of the vault's own.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_from(&self.vault.up.http.base, "same-origin", method, path, body)
    }

    /// The same, keeping what the answer sets.
    ///
    /// # Panics
    /// When a cookie is not as it has to be.
    pub fn keep(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let answer = self.ask(method, path, body);
        for (_, set) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (pair, flags) = set.split_once(';').expect("a cookie has flags");
            for flag in ["Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
                assert!(flags.contains(flag), "{set}");
            }
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            assert!(name.starts_with("__Host-") && !flags.contains("Domain"), "{set}");
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        answer
    }

    /// Signs in.
    pub fn sign_in(&mut self, login: &str, password: &str, code: &str) -> Answer {
        self.keep("POST", "/api/v1/session", &json!({ "login": login, "password": password, "code": code }))
    }

    /// Who is signed in.
    ///
    /// # Panics
    /// When the answer has no role.
    #[must_use]
    pub fn role(&self) -> Option<String> {
        let answer = self.ask("GET", "/api/v1/session", &Value::Null);
        (answer.status == 200).then(|| answer.json()["role"].as_str().expect("a role").to_owned())
    }
}

/// `leadglass person … --json`.
///
/// # Panics
/// When it fails.
pub fn person(vault: &Vault, words: &[&str]) -> Value {
    let folder = vault.folder();
    let data: [&OsStr; 3] = [OsStr::new("--json"), OsStr::new("--data"), folder.as_os_str()];
    let words: Vec<&OsStr> =
        std::iter::once("person").chain(words.iter().copied()).map(OsStr::new).chain(data).collect();
    let output = vault.run(&words);
    assert!(output.status.success(), "{words:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// An authenticator of somebody else's making: the code of the step so many steps from now.
///
/// # Panics
/// When Python does not run.
#[must_use]
pub fn code(seed: &str, steps: i64) -> String {
    let script = "import sys,hmac,base64,struct,time
h=hmac.new(base64.b32decode(sys.argv[1]),struct.pack('>Q',int(time.time())//30+int(sys.argv[2])),'sha1').digest()
o=h[-1]&15
print('%06d'%((struct.unpack('>I',h[o:o+4])[0]&0x7fffffff)%1000000))";
    let output = Command::new(python()).args(["-c", script, seed, &steps.to_string()]).output().expect("Python runs");
    String::from_utf8(output.stdout).expect("digits").trim().to_owned()
}

/// Which step of thirty seconds it is.
#[allow(clippy::disallowed_methods, reason = "an authenticator goes by the time of day, as the vault under test does")]
fn step_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() / 30
}

/// Whether there is a browser to drive: `tests/all` brings Chromium and Playwright.
///
/// # Panics
/// When it is missing though everything has to be here.
#[must_use]
pub fn browser_is_here() -> bool {
    let imports = || Command::new(python()).args(["-c", "import playwright"]).stderr(Stdio::null()).status();
    let here = Path::new("/usr/bin/chromium").exists() && imports().is_ok_and(|status| status.success());
    assert!(
        here || std::env::var_os("LEADGLASS_ALL_TOOLS").is_none(),
        "chromium or playwright is missing: run tests/all"
    );
    if !here {
        eprintln!("chromium or playwright is not on this machine: not looked at");
    }
    here
}

/// What people of these tests choose.
pub const PASSWORD: &str = "kiefer-tasse-wolke-nagel";

/// Somebody who was invited in this role and chose a password: signed in, with a seed and recovery codes.
///
/// # Panics
/// When anything of it is refused.
#[must_use]
pub fn joined_as<'a>(vault: &'a Vault, login: &str, role: &str) -> (Browser<'a>, String, Vec<String>) {
    came(vault, &["invite", login, "--role", role])
}

/// The same, as a clinician who is called so.
#[must_use]
pub fn joined_named<'a>(vault: &'a Vault, login: &str, name: &str) -> (Browser<'a>, String, Vec<String>) {
    came(vault, &["invite", login, "--name", name])
}

fn came<'a>(vault: &'a Vault, invite: &[&str]) -> (Browser<'a>, String, Vec<String>) {
    let link = person(vault, invite)["link"].as_str().expect("a link").to_owned();
    let invitation = link.split_once('#').expect("its end").1;
    let mut browser = Browser::of(vault);
    let offer = browser.ask("POST", "/api/v1/invitation", &json!({ "invitation": invitation })).json();
    let seed = offer["totp_secret"].as_str().expect("a seed").to_owned();
    // The step before, so that the one of now and the one after it are still good; where time steps on meanwhile, it was one too
    // many.
    let (choice, answer) = loop {
        let step = step_now();
        let choice = json!({ "invitation": invitation, "password": PASSWORD, "code": code(&seed, -1) });
        let answer = browser.keep("POST", "/api/v1/invitation/accept", &choice);
        if answer.status == 201 || step == step_now() {
            break (choice, answer);
        }
    };
    assert_eq!(answer.status, 201, "{}", answer.text());
    let codes = answer.json()["codes"].as_array().expect("codes").clone();
    let codes = codes.iter().map(|code| code.as_str().expect("a code").to_owned()).collect();
    let again = browser.ask("POST", "/api/v1/invitation/accept", &choice);
    assert_eq!((again.status, again.json()["code"].as_str()), (400, Some("invitation")), "it works once");
    (browser, seed, codes)
}

/// The same, as a clinician.
#[must_use]
pub fn joined<'a>(vault: &'a Vault, login: &str) -> (Browser<'a>, String, Vec<String>) {
    joined_as(vault, login, "clinician")
}
