//! The cast of the table of rights: everybody who may come to the vault's HTTP, and everything of a tenant's that an address can
//! name.

use crate::fixture::Fixture;
use crate::http::Answer;
use crate::peers::said;
use crate::person::{Browser, PASSWORD, joined_as, person};
use crate::process::until;
use crate::site::halt;
use crate::stow::{DICOM_PARTS, body, file_of};
use crate::vault::Vault;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::time::Duration;

/// 16 bytes that name nobody and nothing.
const NOBODY: &str = "00000000000000000000000000000000";

/// What somebody may do, as far as the vault knows him.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Sends.
    Device,
    /// Views and sends.
    Clinician,
    /// Sends.
    Radiographer,
    /// Finds and sends; views nothing.
    Reception,
    /// Views for patients' requests, and decides.
    Dpo,
    /// Decides, and sees nobody.
    Admin,
    /// Reads the log.
    Auditor,
    /// Nothing yet.
    Patient,
}

/// One of the two tenants that every vault of these tests has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tenant {
    /// The first one: it owns what is asked for first.
    Own,
    /// The other one.
    Other,
}

/// How somebody shows who he is.
#[derive(Clone, Debug)]
enum Proof {
    Nothing,
    Token(String),
    /// Signed in with this token, and perhaps out again.
    Session {
        token: String,
        over: bool,
    },
    /// The cookies of a person who came by an invitation.
    Person(String),
    /// The same, whose session is locked.
    Locked(String),
}

/// Somebody.
#[derive(Clone, Debug)]
pub struct Caller {
    /// For messages and the printed table.
    pub name: &'static str,
    /// Whom the vault must take him for; nobody, if it must not know him.
    pub who: Option<(Tenant, Role)>,
    proof: Proof,
}

/// What an address can name: a study and what is in it, and one of everything else that a tenant has.
#[derive(Clone, Debug)]
pub struct Place {
    /// For messages.
    pub name: &'static str,
    /// Whose; `None`: it does not exist.
    pub of: Option<Tenant>,
    /// Its study is restricted (GDPR Art. 18).
    pub restricted: bool,
    study: String,
    series: String,
    instance: String,
    /// Everything else, by its word in braces; what is not here names nothing.
    things: BTreeMap<&'static str, String>,
}

impl Place {
    /// The route with names in the place of its words in braces.
    #[must_use]
    pub fn address(&self, route: &str) -> String {
        // Devices and people are called alike.
        let id = if route.contains("/people/") { "{person}" } else { "{device}" };
        let own = [
            ("{study}", self.study.as_str()),
            ("{series}", &self.series),
            ("{instance}", &self.instance),
            ("{id}", self.thing(id)),
            ("{frames}", "1"),
            ("{*path}", "7FE00010"),
            ("{file}", "view.js"),
            // What everybody has, under the same name.
            ("{letter}", "received"),
            ("{language}", "en"),
            ("{number}", "0"),
            ("{provider}", "none"),
            // Passkeys are made by a browser; a correction would change what the others are about.
            ("{passkey}", NOBODY),
            ("{rectification}", NOBODY),
        ];
        let things = THINGS.iter().map(|word| (*word, self.thing(word)));
        let address =
            own.into_iter().chain(things).fold(route.to_owned(), |path, (word, value)| path.replace(word, value));
        assert!(!address.contains('{'), "{address}: nobody says what stands there");
        address
    }

    fn thing(&self, word: &str) -> &str {
        self.things.get(word).map_or(NOBODY, String::as_str)
    }

    /// Whether everything of a tenant's that the route names is there.
    #[must_use]
    pub fn has(&self, route: &str) -> bool {
        let id = if route.contains("/people/") { "{person}" } else { "{device}" };
        let route = route.replace("{id}", id);
        self.of.is_some()
            && THINGS.iter().filter(|word| route.contains(*word)).all(|word| self.things.contains_key(word))
    }

    /// The words in braces that name something of a tenant's.
    #[must_use]
    pub fn is_named_in(route: &str) -> bool {
        ["{study}", "{id}"].iter().chain(&THINGS).any(|word| route.contains(word))
    }
}

/// What a tenant has beside studies, as the routes call it.
const THINGS: [&str; 13] = [
    "{device}",
    "{case}",
    "{export}",
    "{erasure}",
    "{request}",
    "{rule}",
    "{hold}",
    "{job}",
    "{person}",
    "{matter}",
    "{review}",
    "{token}",
    "{approval}",
];

impl Caller {
    /// Headers as he sends them now. Who is signed in has a session of this one request, so that a sign-out ends no other's.
    ///
    /// # Panics
    /// When the vault does not sign him in.
    #[must_use]
    pub fn headers(&self, vault: &Vault) -> Vec<(&'static str, String)> {
        match &self.proof {
            Proof::Nothing => Vec::new(),
            Proof::Token(token) => vec![("authorization", format!("Bearer {token}"))],
            Proof::Session { token, over } => {
                let cookie = sign_in(vault, token);
                let own = vec![("cookie", cookie), ("sec-fetch-site", "same-origin".to_owned())];
                if *over {
                    let headers: Vec<(&str, &str)> = own.iter().map(|(k, v)| (*k, v.as_str())).collect();
                    let answer = vault.http().send_with("DELETE", &session(vault), &headers, Vec::new());
                    assert_eq!(answer.status, 204, "{}", answer.text());
                }
                own
            }
            Proof::Person(cookie) | Proof::Locked(cookie) => {
                vec![("cookie", cookie.clone()), ("sec-fetch-site", "same-origin".to_owned())]
            }
        }
    }

    /// Whether he comes with a cookie that is good, though it be locked.
    #[must_use]
    pub fn is_signed_in(&self) -> bool {
        matches!(self.proof, Proof::Session { over: false, .. }) || self.is_person() || self.is_locked()
    }

    /// Whether his session waits for him to show once more who he is.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self.proof, Proof::Locked(_))
    }

    /// Whether he has an account of his own.
    #[must_use]
    pub fn is_person(&self) -> bool {
        self.who.is_some() && matches!(self.proof, Proof::Person(_))
    }
}

fn session(vault: &Vault) -> String {
    format!("{}/api/v1/session", vault.up.http.base)
}

/// A browser's cookie for whoever this token belongs to.
///
/// # Panics
/// When the vault does not sign him in.
#[must_use]
pub fn sign_in(vault: &Vault, token: &str) -> String {
    let body = json!({ "token": token }).to_string().into_bytes();
    let answer = vault.http().send_with("POST", &session(vault), &[], body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let (_, cookie) = answer.headers.iter().find(|(name, _)| name == "set-cookie").expect("a cookie");
    cookie.split(';').next().unwrap_or_default().to_owned()
}

/// Everybody, and a place of each tenant's, one of nobody's, and one of the first tenant's whose study is restricted. The vault is stopped and started for it: tokens are issued by the
/// command line, and only while it does not run.
///
/// # Panics
/// When anything of it is refused.
#[must_use]
pub fn assemble(vault: &mut Vault) -> (Vec<Caller>, [Place; 4]) {
    halt(vault);
    let listed = tokens(vault, &["list"]);
    let of = |label: &str| {
        let found = listed.iter().find(|token| token["label"] == label).expect("up issued it");
        found["tenant"].as_str().expect("a tenant").to_owned()
    };
    let [own, other] = ["up: clinician", "up: clinician elsewhere"].map(of);
    let issue = |tenant: &str, role: &str| {
        let issued = tokens(vault, &["issue", "--tenant", tenant, "--role", role, "--label", "of the cast"]).remove(0);
        let word = |field: &str| issued[field].as_str().expect("a word").to_owned();
        (word("token"), word("actor"))
    };
    let device = issue(&own, "device").0;
    let admin = issue(&own, "admin").0;
    let [radiographer, reception, auditor, patient] =
        ["radiographer", "reception", "auditor", "patient"].map(|role| issue(&own, role).0);
    let elsewhere = ["device", "dpo", "admin"].map(|role| issue(&other, role).0);
    let (revoked, actor) = issue(&own, "clinician");
    let _ = tokens(vault, &["revoke", "--tenant", &own, &actor]);
    let outlived = outlived(vault);
    vault.restart();

    let known = vault.up.tokens.clone();
    let token = |name, tenant, role, token: &str| Caller {
        name,
        who: Some((tenant, role)),
        proof: Proof::Token(token.to_owned()),
    };
    let nobody = |name, proof| Caller { name, who: None, proof };
    let ended = Proof::Session { token: known.clinician.clone(), over: true };
    let mut callers = vec![
        nobody("nobody", Proof::Nothing),
        nobody("a wrong token", Proof::Token("lg_not-a-token".to_owned())),
        nobody("a revoked token", Proof::Token(revoked)),
        nobody("an ended session", ended),
        token("a device", Tenant::Own, Role::Device, &device),
        token("a clinician", Tenant::Own, Role::Clinician, &known.clinician),
        Caller {
            name: "a clinician's browser",
            who: Some((Tenant::Own, Role::Clinician)),
            proof: Proof::Session { token: known.clinician.clone(), over: false },
        },
        token("the data protection officer", Tenant::Own, Role::Dpo, &known.dpo),
        token("the administrator", Tenant::Own, Role::Admin, &admin),
        token("a radiographer", Tenant::Own, Role::Radiographer, &radiographer),
        token("the reception", Tenant::Own, Role::Reception, &reception),
        token("an auditor", Tenant::Own, Role::Auditor, &auditor),
        token("a patient", Tenant::Own, Role::Patient, &patient),
        token("another tenant's device", Tenant::Other, Role::Device, &elsewhere[0]),
        token("another tenant's clinician", Tenant::Other, Role::Clinician, &known.other_tenant),
        token("another tenant's data protection officer", Tenant::Other, Role::Dpo, &elsewhere[1]),
        token("another tenant's administrator", Tenant::Other, Role::Admin, &elsewhere[2]),
    ];
    let fixture = Fixture::named("ct-1.dcm");
    let tokens = |clinician: &str, dpo: &str, admin: &str| Staff {
        clinician: clinician.to_owned(),
        dpo: dpo.to_owned(),
        admin: admin.to_owned(),
    };
    let staff = tokens(&known.clinician, &known.dpo, &admin);
    let mut first = place(vault, "the first tenant's", Tenant::Own, &fixture.renamed(1), &staff);
    of_a_person(vault, &mut first);
    let staff = tokens(&known.other_tenant, &elsewhere[1], &elsewhere[2]);
    let second = place(vault, "the other tenant's", Tenant::Other, &fixture.renamed(2), &staff);
    for (name, login, role, word) in [
        ("a clinician with a login", "own.c", Role::Clinician, "clinician"),
        ("a radiographer with a login", "own.r", Role::Radiographer, "radiographer"),
        ("somebody of the reception with a login", "own.e", Role::Reception, "reception"),
        ("an auditor with a login", "own.a", Role::Auditor, "auditor"),
    ] {
        let cookie = cookie_of(&joined_as(vault, login, word).0);
        callers.push(Caller { name, who: Some((Tenant::Own, role)), proof: Proof::Person(cookie) });
    }
    let left = cookie_of(&joined_as(vault, "gone", "clinician").0);
    let _ = person(vault, &["leave", "gone"]);
    callers.push(nobody("a session of somebody who left", Proof::Person(left)));
    callers.extend(outlived);
    let restricted = restricted(vault, &first, &fixture.renamed(4), &known.clinician, &known.dpo);
    let (absent, _) = fixture.renamed(3);
    let none = Place {
        name: "none",
        of: None,
        restricted: false,
        study: absent.study,
        series: absent.series,
        instance: absent.instance,
        things: BTreeMap::new(),
    };
    (callers, [first, second, none, restricted])
}

/// Sessions that the clock ended or locked. The vault, which does not run, is run with short times for them, and stopped; what began
/// with them keeps them.
fn outlived(vault: &mut Vault) -> [Caller; 5] {
    shorten(vault, [LONG, LONG, SHORT]);
    vault.restart();
    let ended = browsers_that_ended(vault, "old.a");
    shorten(vault, [SHORT, SHORT, LONG]);
    vault.restart();
    let unused = browsers_that_ended(vault, "old.b");
    shorten(vault, [SHORT, LONG, LONG]);
    vault.restart();
    let locked = cookie_of(&joined_as(vault, "old.c", "clinician").0);
    let is_locked = || standing(vault, &locked) == (200, true);
    assert!(until(Duration::from_secs(60), is_locked), "not locked: {:?}", standing(vault, &locked));
    shorten(vault, [LONG, LONG, LONG]);
    halt(vault);
    let nobody = |name, proof| Caller { name, who: None, proof };
    [
        nobody("a person's session past its limit", Proof::Person(ended.0)),
        nobody("a token's session past its limit", Proof::Person(ended.1)),
        nobody("a person's session that was not used", Proof::Person(unused.0)),
        nobody("a person's session that is locked", Proof::Locked(locked)),
        nobody("a token's session that was not used", Proof::Person(unused.1)),
    ]
}

/// The cookies of a person and of a token's holder, once neither is signed in any more.
fn browsers_that_ended(vault: &Vault, login: &str) -> (String, String) {
    let person = cookie_of(&joined_as(vault, login, "clinician").0);
    let token = sign_in(vault, &vault.up.tokens.clinician);
    let is_over = || standing(vault, &person).0 == 204 && standing(vault, &token).0 == 204;
    let said = || (standing(vault, &person), standing(vault, &token));
    assert!(until(Duration::from_secs(60), is_over), "still signed in: {:?}", said());
    (person, token)
}

/// What the vault says of a session: the status, and whether it is locked.
fn standing(vault: &Vault, cookie: &str) -> (u16, bool) {
    let headers = [("cookie", cookie), ("sec-fetch-site", "same-origin")];
    let answer = vault.http().send_with("GET", &session(vault), &headers, Vec::new());
    let locked = answer.status == 200 && answer.json()["locked"] == true;
    (answer.status, locked)
}

/// How long a browser stays signed in from the next start on: until it is locked, until it ends unused, and in any case.
fn shorten(vault: &Vault, [lock, idle, absolute]: [&str; 3]) {
    let file = vault.folder().join("config/vault.toml");
    let text = fs::read_to_string(&file).expect("the vault's configuration");
    let (before, after) = text.split_once("[sessions]\n").expect("it says how long sessions last");
    let rest = after.split_once("\n[").map_or(String::new(), |(_, rest)| format!("[{rest}"));
    let times = format!("lock = {lock:?}\nidle = {idle:?}\nabsolute = {absolute:?}");
    let text = format!("{before}[sessions]\n{times}\nfrom_tokens = true\n\n{rest}");
    fs::write(&file, text).expect("the configuration is writable");
}

/// Times of sessions.
const SHORT: &str = "1s";
const LONG: &str = "1day";

fn cookie_of(browser: &Browser<'_>) -> String {
    format!("__Host-leadglass={}", browser.cookie("__Host-leadglass").expect("he is signed in"))
}

/// One more study of that place's tenant, restricted.
fn restricted(vault: &Vault, beside: &Place, (f, data_set): &(Fixture, Vec<u8>), clinician: &str, dpo: &str) -> Place {
    store(vault, clinician, &file_of(f, data_set));
    let url = format!("{}/api/v1/restrictions", vault.up.http.base);
    let order = json!({ "study": f.study, "order": "art18-1" }).to_string().into_bytes();
    let bearer = format!("Bearer {dpo}");
    let answer = vault.http().send_with("POST", &url, &[("authorization", &bearer)], order);
    assert_eq!(answer.status, 200, "{}", answer.text());
    // An officer opens it because somebody asked, restricted or not.
    let url = format!("{}/api/v1/cases", vault.up.http.base);
    let case = json!({ "type": "access", "patient_id": f.patient_id, "channel": "letter" }).to_string().into_bytes();
    let answer = vault.http().send_with("POST", &url, &[("authorization", &bearer)], case);
    assert_eq!(answer.status, 201, "{}", answer.text());
    Place {
        name: "a restricted one",
        restricted: true,
        study: f.study.clone(),
        series: f.series.clone(),
        instance: f.instance.clone(),
        ..beside.clone()
    }
}

/// What somebody of the first tenant has who is none of the callers: a token of his own, and an emergency that nobody has looked at.
fn of_a_person(vault: &Vault, place: &mut Place) {
    let (browser, _, codes) = joined_as(vault, "own.t", "clinician");
    let made = browser.ask("POST", "/api/v1/account/tokens", &json!({ "label": "sync", "days": 30 }));
    assert_eq!(made.status, 201, "{}", made.text());
    place.things.insert("{token}", made.json()["id"].as_str().expect("an id").to_owned());
    let reason = "collapsed in the waiting room";
    let proof = json!({ "study": place.study, "reason": reason, "password": PASSWORD, "code": codes[0] });
    let opened = browser.ask("POST", "/api/v1/care/emergency", &proof);
    assert_eq!(opened.status, 201, "{}", opened.text());
    place.things.insert("{review}", opened.json()["review"].as_str().expect("a review").to_owned());
}

/// Tokens of those who make what a place has.
struct Staff {
    clinician: String,
    dpo: String,
    admin: String,
}

/// A study, a device, a case of quarantine, and one of everything that an officer makes, in a tenant.
fn place(
    vault: &Vault,
    name: &'static str,
    of: Tenant,
    (f, data_set): &(Fixture, Vec<u8>),
    Staff { clinician, dpo, admin }: &Staff,
) -> Place {
    let file = file_of(f, data_set);
    store(vault, clinician, &file);
    // The same study, and somebody else: this is for a person to decide.
    let at = file.windows(f.patient_id.len()).position(|w| w == f.patient_id.as_bytes()).expect("a patient's id");
    let mut strange = file.clone();
    strange[at] = b'X';
    let end = strange.len();
    for from in 0..end - f.instance.len() {
        if strange[from..].starts_with(f.instance.as_bytes()) {
            let last = from + f.instance.len() - 1;
            strange[last] = if strange[last] == b'9' { b'8' } else { b'9' };
        }
    }
    store(vault, clinician, &strange);
    let by = |token: &str, method: &str, path: &str, body: Value| {
        let url = format!("{}/api/v1/{path}", vault.up.http.base);
        let bearer = format!("Bearer {token}");
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        vault.http().send_with(method, &url, &[("authorization", &bearer)], body)
    };
    let api = |method: &str, path: &str, body: Value| by(dpo, method, path, body);
    let case = || api("GET", "quarantine", Value::Null).json()[0]["case"].as_str().map(str::to_owned);
    assert!(
        until(Duration::from_secs(30), || case().is_some()),
        "no case: {}",
        api("GET", "quarantine", Value::Null).text()
    );
    let added =
        api("POST", "devices", json!({ "name": "room-1", "level": "certificate", "aet": format!("ROOM{of:?}") }));
    let made = |word: &'static str, field: &str, answer: Answer| {
        assert!([200, 201].contains(&answer.status), "{word}: {}", answer.text());
        (word, answer.json()[field].as_str().expect("an id").to_owned())
    };
    let somebody =
        json!({ "login": format!("somebody.{of:?}").to_lowercase(), "name": "Somebody", "role": "reception" });
    let invited = made("{person}", "id", by(admin, "POST", "people", somebody));
    let related = json!({ "person": invited.1, "patient_id": "P-4711" });
    // First: what is held, asked for or under a rule is not ordered to be erased.
    let study = |rest: Value| {
        let mut body = json!({ "level": "study", "study": f.study });
        body.as_object_mut().expect("an object").extend(rest.as_object().cloned().unwrap_or_default());
        body
    };
    let order = made(
        "{erasure}",
        "id",
        api("POST", "erasures", study(json!({ "ground": "unlawful", "reason": "a test", "no_rule": true }))),
    );
    let rule = json!({
        "id": format!("rule-{of:?}").to_lowercase(), "country": "DE", "years": 10, "since": "examination", "source": "a test",
    });
    let request = json!({ "type": "access", "patient_id": f.patient_id, "channel": "letter" });
    let nameless = json!({ "study": f.study, "preset": "vendor-support" });
    let things = BTreeMap::from([
        ("{case}", case().expect("it was there")),
        order,
        made("{device}", "id", added),
        made("{matter}", "matter", api("POST", "care/relations", related)),
        made("{request}", "id", api("POST", "cases", request)),
        made("{export}", "id", api("POST", "exports", study(json!({ "sealed": false })))),
        made("{job}", "id", api("POST", "deidentifications", nameless)),
        made("{rule}", "id", api("PUT", "retention/rules", rule)),
        made("{hold}", "id", api("POST", "holds", json!({ "study": f.study, "reason": "a claim" }))),
        invited,
    ]);
    Place {
        name,
        of: Some(of),
        restricted: false,
        study: f.study.clone(),
        series: f.series.clone(),
        instance: f.instance.clone(),
        things,
    }
}

fn store(vault: &Vault, token: &str, file: &[u8]) {
    let url = format!("{}/studies", vault.up.http.dicomweb);
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", DICOM_PARTS)];
    let answer = vault.http().send_with("POST", &url, &headers, body([file]));
    assert!([200, 202].contains(&answer.status), "{}", answer.text());
}

/// `leadglass token …`, and the lines of JSON that it prints.
fn tokens(vault: &Vault, words: &[&str]) -> Vec<Value> {
    let config = vault.folder().join("config/vault.toml");
    let before = [OsStr::new("token"), OsStr::new("--config"), config.as_os_str(), OsStr::new("--json")];
    let words: Vec<&OsStr> = before.into_iter().chain(words.iter().map(OsStr::new)).collect();
    let output = vault.run(&words);
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// An answer without what is another each time: two of these are told apart by nobody.
#[must_use]
pub fn told(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let mut text = answer.text();
    if let Ok(Value::Object(mut body)) = serde_json::from_slice(&answer.body) {
        body.remove("request_id");
        text = Value::Object(body).to_string();
    }
    let fixed = |(name, _): &&(String, String)| !["x-request-id", "date", "content-length"].contains(&name.as_str());
    let mut headers: Vec<_> = answer.headers.iter().filter(fixed).cloned().collect();
    headers.sort();
    (answer.status, headers, text)
}
