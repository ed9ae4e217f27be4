//! Who may do what, on every route and for everybody: what one may not see is answered as what does not exist.
//!
//! The routes are those that stand in the code, with the methods that the running vault names; the answers follow from what a
//! route needs. `LEADGLASS_ACCESS_TABLE=FILE` writes the whole table down as it was answered.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use Needs::{
    Account, Administer, Anybody, Audit, Browser, Emergency, Export, Find, Locked, Manage, Officer, Package, Read,
    Report, Review, Search, Somebody, State, Store,
};
use leadglass_tests::cast::{self, Caller, Place, Role, told};
use leadglass_tests::devices::device;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::{Answer, Ask};
use leadglass_tests::scratch;
use leadglass_tests::scu::{Association, Callers, EXPLICIT_LE, VERIFICATION};
use leadglass_tests::vault::Vault;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

/// What a route wants of who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    /// Nothing: everybody gets this status.
    Anybody(u16),
    /// To be known; whoever it is gets this status.
    Somebody(u16),
    /// To be signed in with a browser: this status without, and with.
    Browser(u16, u16),
    /// A session that is locked: this status without, and with.
    Locked(u16, u16),
    /// The right to find studies.
    Search,
    /// The right to find what this study consists of.
    Find,
    /// The right to read, and to read this study.
    Read,
    /// The right to store; this status, because nothing is sent.
    Store(u16),
    /// The right to manage people; this status, where the address names nobody who is there.
    Manage(u16),
    /// To be signed in as a person, who gets this status: a token has no account.
    Account(u16),
    /// The same, and the right to administer.
    Officer(u16),
    /// The same, and the right to open studies in an emergency.
    Emergency(u16),
    /// A right to open studies, to which a reason is stated; this status, because nothing is sent.
    State(u16),
    /// The right to look at what was opened in emergencies.
    Review(u16),
    /// The right to audit.
    Audit(u16),
    /// The right to audit and to know whom it is about.
    Report(u16),
    /// The right to make packages; this status, because nothing is sent, or where the address names none of one's own.
    Package(u16),
    /// The right to have packages: all of the tenant's, one's own, or those that are to be handed out; this status, where the
    /// address names none of them.
    Export(u16),
    /// The right to administer; this status, where the address names nothing that is there.
    Administer(u16),
}

/// A route, a method, what is sent, and what is needed.
struct Row {
    method: &'static str,
    route: &'static str,
    needs: Needs,
}

const fn row(method: &'static str, route: &'static str, needs: Needs) -> Row {
    Row { method, route, needs }
}

const TABLE: &[Row] = &[
    row("GET", "/healthz", Anybody(200)),
    row("GET", "/readyz", Anybody(200)),
    row("GET", "/metrics", Administer(200)),
    // What the service can do is told to everybody with a token.
    row("GET", "/dicomweb", Somebody(200)),
    row("GET", "/dicomweb/", Somebody(200)),
    row("OPTIONS", "/dicomweb", Somebody(200)),
    row("OPTIONS", "/dicomweb/", Somebody(200)),
    row("GET", "/dicomweb/studies", Search),
    row("GET", "/dicomweb/series", Search),
    row("GET", "/dicomweb/instances", Search),
    row("GET", "/dicomweb/studies/{study}", Read),
    // Nothing is sent: who may store hears that it cannot be read.
    row("POST", "/dicomweb/studies", Store(415)),
    row("POST", "/dicomweb/studies/{study}", Store(415)),
    row("GET", "/dicomweb/studies/{study}/series", Find),
    row("GET", "/dicomweb/studies/{study}/instances", Find),
    row("GET", "/dicomweb/studies/{study}/series/{series}", Read),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances", Find),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}", Read),
    row("GET", "/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}", Read),
    row("GET", "/dicomweb/studies/{study}/metadata", Read),
    row("GET", "/dicomweb/studies/{study}/series/{series}/metadata", Read),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/metadata", Read),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frames}", Read),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/bulkdata/{*path}", Read),
    row("GET", "/dicomweb/studies/{study}/rendered", Read),
    row("GET", "/dicomweb/studies/{study}/thumbnail", Read),
    row("GET", "/dicomweb/studies/{study}/series/{series}/rendered", Read),
    row("GET", "/dicomweb/studies/{study}/series/{series}/thumbnail", Read),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/rendered", Read),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/thumbnail", Read),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered", Read),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/thumbnail", Read),
    row("GET", "/api/v1/studies/{study}/origin", Read),
    row("GET", "/api/v1/openapi.json", Somebody(200)),
    row("GET", "/api/v1/status", Administer(200)),
    row("GET", "/api/v1/quarantine", Administer(200)),
    row("POST", "/api/v1/quarantine/{case}", Administer(404)),
    row("POST", "/api/v1/verify", Administer(200)),
    row("GET", "/api/v1/audit/keys", Audit(200)),
    row("GET", "/api/v1/audit/entries", Audit(200)),
    row("POST", "/api/v1/audit/reconcile", Audit(200)),
    // Nothing is sent: who may report hears that it cannot be read.
    row("POST", "/api/v1/audit/report", Report(400)),
    row("POST", "/api/v1/breach/scope", Report(400)),
    row("GET", "/api/v1/retention/rules", Administer(200)),
    row("PUT", "/api/v1/retention/rules", Report(400)),
    row("DELETE", "/api/v1/retention/rules/{rule}", Report(404)),
    row("POST", "/api/v1/retention/rules/{rule}/confirm", Report(404)),
    row("POST", "/api/v1/retention/seeds", Report(400)),
    row("GET", "/api/v1/retention/due", Report(200)),
    row("GET", "/api/v1/holds", Report(200)),
    row("POST", "/api/v1/holds", Report(400)),
    row("DELETE", "/api/v1/holds/{hold}", Report(404)),
    row("GET", "/api/v1/cases", Report(200)),
    row("POST", "/api/v1/cases", Report(400)),
    row("GET", "/api/v1/cases/{request}", Report(404)),
    row("POST", "/api/v1/cases/{request}/identity", Report(404)),
    row("POST", "/api/v1/cases/{request}/extension", Report(404)),
    row("POST", "/api/v1/cases/{request}/decisions", Report(404)),
    row("POST", "/api/v1/cases/{request}/links", Report(404)),
    row("POST", "/api/v1/cases/{request}/notes", Report(404)),
    row("GET", "/api/v1/cases/{request}/letter?occasion=received", Report(404)),
    row("POST", "/api/v1/cases/{request}/close", Report(404)),
    row("DELETE", "/api/v1/cases/{request}", Report(404)),
    row("GET", "/api/v1/letters", Report(200)),
    // A letter has the same name everywhere; a tenant's own text is in its own records. Nothing is sent.
    row("GET", "/api/v1/letters/{letter}/{language}", Report(200)),
    row("PUT", "/api/v1/letters/{letter}/{language}", Report(400)),
    row("DELETE", "/api/v1/letters/{letter}/{language}", Report(404)),
    row("GET", "/api/v1/rectifications", Report(200)),
    row("POST", "/api/v1/rectifications", Report(400)),
    row("POST", "/api/v1/rectifications/preview", Report(400)),
    row("GET", "/api/v1/rectifications/{rectification}", Report(404)),
    row("DELETE", "/api/v1/rectifications/{rectification}", Report(404)),
    row("POST", "/api/v1/rectifications/{rectification}/run", Report(404)),
    row("GET", "/api/v1/erasures", Administer(200)),
    row("POST", "/api/v1/erasures", Report(400)),
    row("GET", "/api/v1/erasures/{erasure}", Administer(404)),
    row("DELETE", "/api/v1/erasures/{erasure}", Report(404)),
    row("POST", "/api/v1/erasures/{erasure}/approve", Administer(404)),
    row("POST", "/api/v1/erasures/{erasure}/run", Report(404)),
    row("GET", "/api/v1/erasures/{erasure}/certificate", Report(404)),
    row("GET", "/api/v1/erasures/{erasure}/recipients", Report(404)),
    row("PUT", "/api/v1/erasures/{erasure}/recipients", Report(404)),
    row("GET", "/api/v1/exports", Export(200)),
    row("POST", "/api/v1/exports", Package(400)),
    row("GET", "/api/v1/exports/{export}", Export(404)),
    row("DELETE", "/api/v1/exports/{export}", Package(404)),
    row("GET", "/api/v1/exports/{export}/content", Export(404)),
    row("POST", "/api/v1/exports/{export}/deliver", Package(404)),
    row("POST", "/api/v1/deidentifications", Report(400)),
    row("DELETE", "/api/v1/deidentifications/{job}", Report(404)),
    row("GET", "/api/v1/deidentifications/{job}/instances/{number}", Report(404)),
    row("POST", "/api/v1/deidentifications/{job}/deliver", Report(404)),
    row("GET", "/api/v1/devices", Administer(200)),
    row("POST", "/api/v1/devices", Administer(400)),
    row("DELETE", "/api/v1/devices/{id}", Administer(404)),
    row("PUT", "/api/v1/devices/{id}/bounds", Administer(404)),
    row("POST", "/api/v1/devices/{id}/certificate", Administer(404)),
    // Who may store is told that an empty body is no form; who may not is told that.
    row("POST", "/api/v1/uploads", Store(415)),
    // A browser's session is a matter of its cookie, not of a token beside it. Nothing is sent, so nobody is signed in.
    row("GET", "/api/v1/session", Browser(204, 200)),
    row("POST", "/api/v1/session", Anybody(400)),
    row("POST", "/api/v1/session/passkey", Anybody(200)),
    row("GET", "/api/v1/session/providers", Anybody(200)),
    row("POST", "/api/v1/session/providers/{provider}", Anybody(404)),
    row("GET", "/devices", Anybody(200)),
    row("GET", "/people", Anybody(200)),
    row("GET", "/provider", Anybody(200)),
    // Nothing is sent.
    row("PUT", "/api/v1/session", Anybody(400)),
    row("POST", "/api/v1/session/proof", Locked(401, 200)),
    // People: for who may manage them, for the holder of an invitation (none is sent), for oneself.
    row("GET", "/api/v1/tokens", Manage(200)),
    row("DELETE", "/api/v1/tokens/{token}", Manage(404)),
    row("GET", "/api/v1/people", Manage(200)),
    row("POST", "/api/v1/people", Manage(400)),
    row("GET", "/api/v1/people/{id}", Manage(404)),
    row("DELETE", "/api/v1/people/{id}", Manage(404)),
    row("POST", "/api/v1/people/{id}/invitation", Manage(404)),
    row("PUT", "/api/v1/people/{id}/role", Manage(404)),
    row("POST", "/api/v1/people/{id}/lost", Manage(404)),
    row("POST", "/api/v1/invitation", Anybody(400)),
    row("POST", "/api/v1/invitation/passkey", Anybody(400)),
    row("POST", "/api/v1/invitation/accept", Anybody(400)),
    row("GET", "/api/v1/account", Account(200)),
    row("POST", "/api/v1/account/passkeys", Account(200)),
    row("DELETE", "/api/v1/account/passkeys/{passkey}", Account(404)),
    row("POST", "/api/v1/account/codes", Account(200)),
    row("POST", "/api/v1/account/tokens", Account(400)),
    row("DELETE", "/api/v1/account/tokens/{token}", Account(404)),
    // What the key service does under a person's approval.
    row("POST", "/api/v1/keyhost/approvals", Officer(400)),
    row("GET", "/api/v1/keyhost/approvals/{approval}", Officer(404)),
    row("PUT", "/api/v1/keyhost/approvals/{approval}", Officer(400)),
    row("POST", "/api/v1/keyhost/approvals/{approval}/passkey", Officer(404)),
    row("POST", "/api/v1/keyhost/passkeys", Officer(400)),
    row("GET", "/approve", Anybody(200)),
    row("GET", "/invitation", Anybody(200)),
    row("GET", "/account", Anybody(200)),
    // Pages without anybody's data: they ask for it as the one who is signed in.
    row("GET", "/", Anybody(200)),
    row("GET", "/studies", Anybody(200)),
    row("GET", "/view/{study}", Anybody(200)),
    row("GET", "/photo", Anybody(200)),
    row("GET", "/assets/{file}", Anybody(200)),
    row("GET", "/assets/upload.js", Anybody(200)),
    row("GET", "/assets/upload.css", Anybody(200)),
    // Who opens which study.
    row("POST", "/api/v1/care/reason", State(400)),
    row("POST", "/api/v1/care/emergency", Emergency(400)),
    row("POST", "/api/v1/care/emergency/passkey", Emergency(200)),
    row("GET", "/api/v1/care/relations", Administer(200)),
    row("POST", "/api/v1/care/relations", Administer(400)),
    row("DELETE", "/api/v1/care/relations/{person}/{matter}", Administer(404)),
    row("GET", "/api/v1/reviews", Review(200)),
    row("POST", "/api/v1/reviews/{review}", Review(404)),
    row("GET", "/api/v1/restrictions", Report(200)),
    row("POST", "/api/v1/restrictions", Report(400)),
    row("POST", "/api/v1/restrictions/lift", Report(400)),
    // The last ones: they end sessions.
    row("POST", "/api/v1/account/lost", Account(200)),
    row("DELETE", "/api/v1/session", Anybody(204)),
];

/// What is sent with a row: what would be done with it is then decided by who asks for what.
fn body_of(row: &Row) -> Vec<u8> {
    let body = match row.route.strip_prefix("/api/v1/").unwrap_or_default() {
        "quarantine/{case}" => json!({ "verdict": "release" }),
        "devices/{id}/certificate" => json!({ "csr": REQUEST }),
        "devices/{id}/bounds" => json!({ "most_an_hour": 100 }),
        "people/{id}/role" => json!({ "role": "reception" }),
        "reviews/{review}" => json!({ "decision": "justified" }),
        "cases/{request}/identity" => json!({ "seen": "confirmed", "how": "came to the desk" }),
        "cases/{request}/extension" => json!({ "months": 1, "reason": "a lot of old paper" }),
        "cases/{request}/decisions" => {
            json!({ "outcome": "granted", "ground": "GDPR Art. 15", "words": "as asked for" })
        }
        "cases/{request}/links" => json!({ "what": "export", "id": "0".repeat(32) }),
        "cases/{request}/notes" => json!({ "text": "called back" }),
        "cases/{request}/close" => json!({ "reason": "withdrawn" }),
        "erasures/{erasure}/recipients" if row.method == "PUT" => json!({ "tell": true }),
        "exports/{export}/deliver" | "deidentifications/{job}/deliver" => json!({ "peer": "nobody" }),
        _ => return Vec::new(),
    };
    body.to_string().into_bytes()
}

/// What a tenant's own answers as long as there is nothing in it yet, or nothing was asked.
const IN_TIME: [(&str, u16); 1] = [("/api/v1/erasures/{erasure}/certificate", 409)];

/// The status that the table says.
fn expected(needs: Needs, caller: &Caller, place: &Place) -> u16 {
    let has = |roles: &[Role]| caller.who.is_some_and(|(_, role)| roles.contains(&role));
    match (needs, caller.who) {
        (Anybody(status), _) => status,
        (Browser(without, with), _) => {
            if caller.is_signed_in() {
                with
            } else {
                without
            }
        }
        (Locked(without, with), _) => {
            if caller.is_locked() {
                with
            } else {
                without
            }
        }
        (_, None) => 401,
        (Somebody(status), _) => status,
        (Search | Find, _) if !has(&[Role::Clinician, Role::Reception, Role::Dpo]) => 403,
        (Read | State(_), _) if !has(&[Role::Clinician, Role::Dpo, Role::Radiographer]) => 403,
        (State(status), _) => status,
        // He opens what he made himself, and there is nothing of his.
        (Read, Some((_, Role::Radiographer))) => 404,
        (Search, _) => 200,
        (Find | Read, Some((tenant, role))) => {
            if place.of == Some(tenant) && (!place.restricted || role == Role::Dpo) {
                200
            } else {
                404
            }
        }
        (Store(status), _) => {
            if has(&[Role::Device, Role::Clinician, Role::Radiographer, Role::Reception]) {
                status
            } else {
                403
            }
        }
        (Account(status), _) | (Emergency(status), Some((_, Role::Clinician))) => {
            if caller.is_person() {
                status
            } else {
                403
            }
        }
        (Emergency(_), _) => 403,
        (Officer(status), _) => {
            if caller.is_person() && has(&[Role::Dpo, Role::Admin]) {
                status
            } else {
                403
            }
        }
        (Review(status), _) => {
            if has(&[Role::Dpo, Role::Auditor, Role::Admin]) {
                status
            } else {
                403
            }
        }
        (Manage(status), _) => {
            if has(&[Role::Admin]) {
                status
            } else {
                403
            }
        }
        (Audit(status), _) => {
            if has(&[Role::Dpo, Role::Auditor]) {
                status
            } else {
                403
            }
        }
        (Report(status), _) => {
            if has(&[Role::Dpo]) {
                status
            } else {
                403
            }
        }
        (Package(status), _) => {
            if has(&[Role::Dpo, Role::Clinician]) {
                status
            } else {
                403
            }
        }
        (Export(status), _) => {
            if has(&[Role::Dpo, Role::Clinician, Role::Reception]) {
                status
            } else {
                403
            }
        }
        (Administer(status), _) => {
            if has(&[Role::Dpo, Role::Admin]) {
                status
            } else {
                403
            }
        }
    }
}

fn ask(vault: &Vault, base: &str, row: &Row, caller: &Caller, place: &Place) -> Answer {
    let headers = caller.headers(vault);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    vault.http().send_with(row.method, &format!("{base}{}", place.address(row.route)), &headers, body_of(row))
}

/// A vault with a viewer's origin of its own.
fn with_viewer() -> (Vault, tempfile::TempDir) {
    let site = scratch();
    fs::write(site.path().join("index.html"), "<!doctype html><title>viewer</title>").unwrap();
    let dir = site.path().display().to_string();
    (Vault::with_config(&format!("[viewer]\ndir = {dir:?}\nlisten = \"127.0.0.1:0\"\n")), site)
}

#[test]
fn what_one_may_not_see_is_answered_as_what_does_not_exist() {
    let (mut vault, _site) = with_viewer();
    let (callers, places) = cast::assemble(&mut vault);
    let console = vault.up.http.base.clone();
    let viewer = vault.up.http.viewer.clone().expect("it is configured");
    let mut table = String::from(
        "| method | route | who | the first tenant's | the other tenant's | none | restricted |\n|---|---|---|---|---|---|---|\n",
    );
    for row in TABLE {
        let mut strangers = BTreeMap::new();
        for caller in &callers {
            let what = format!("{} {} asked by {}", row.method, row.route, caller.name);
            // Whoever may decide does not do it here: a device that is revoked is no longer there for the next one.
            let is_officer = caller.who.is_some_and(|(_, role)| role == Role::Dpo);
            let decides = matches!(row.needs, Administer(_) | Report(_) | Manage(_) | Review(_))
                || (is_officer && matches!(row.needs, Export(_) | Package(_)));
            let may = decides && ![401, 403].contains(&expected(row.needs, caller, &places[2]));
            let is_his = |place: &Place| place.of.is_some() && place.of == caller.who.map(|(tenant, _)| tenant);
            let acts = |place: &Place| may && is_his(place);
            let named: Vec<&Place> = match Place::is_named_in(row.route) {
                true => places.iter().filter(|place| !acts(place)).collect(),
                false => places.iter().take(1).collect(),
            };
            let mut cells = BTreeMap::new();
            // What is his own is there: or the others' would be told from nothing by nobody.
            if may && row.method == "GET" && Place::is_named_in(row.route) {
                for place in places.iter().filter(|place| is_his(place) && place.has(row.route)) {
                    let answer = ask(&vault, &console, row, caller, place);
                    let there = answer.status == 200 || IN_TIME.contains(&(row.route, answer.status));
                    assert!(there, "{what}, {}: {} {}", place.name, answer.status, answer.text());
                    cells.insert(place.name, answer.status);
                }
            }
            let absent = Place::is_named_in(row.route).then(|| told(&ask(&vault, &console, row, caller, &places[2])));
            for place in named {
                let answer = ask(&vault, &console, row, caller, place);
                let wanted = expected(row.needs, caller, place);
                assert_eq!(answer.status, wanted, "{what}, {}: {}", place.name, answer.text());
                cells.insert(place.name, answer.status);
                let is_seen = caller.who.is_some_and(|(tenant, _)| place.of == Some(tenant)) && answer.status == 200;
                if let Some(absent) = absent.as_ref().filter(|_| !is_seen && !matches!(row.needs, Anybody(_))) {
                    assert_eq!(&told(&answer), absent, "{what}: {} is told from nothing", place.name);
                }
                if caller.who.is_none() && wanted == 401 {
                    // Whose session is locked is told so, wherever he asks.
                    let before = strangers.entry((place.name, caller.is_locked())).or_insert_with(|| told(&answer));
                    assert_eq!(&told(&answer), before, "{what}: who is not known is told why");
                }
                if row.needs == Search && wanted == 200 {
                    let found: BTreeSet<String> = answer
                        .json()
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|hit| hit["0020000D"]["Value"][0].as_str().unwrap().to_owned())
                        .collect();
                    let theirs = places.iter().filter(|place| place.of == caller.who.map(|(t, _)| t));
                    let shown = theirs.filter(|p| !p.restricted || caller.who.is_some_and(|(_, r)| r == Role::Dpo));
                    assert_eq!(
                        found,
                        shown.map(|place| place.address("{study}")).collect(),
                        "{what}: all of its own, and no more"
                    );
                }
                // A head says no more than the answer does; the viewer's origin reads DICOMweb for the same callers.
                let is_dicomweb = !row.route.starts_with("/api/");
                if row.method == "GET" && matches!(row.needs, Find | Read | Search) {
                    let head = ask(&vault, &console, &Row { method: "HEAD", ..*row }, caller, place);
                    assert_eq!((head.status, head.body.len()), (wanted, 0), "HEAD: {what}, {}", place.name);
                }
                if row.method == "GET" && matches!(row.needs, Find | Read | Search) && is_dicomweb {
                    let there = ask(&vault, &viewer, row, caller, place);
                    assert_eq!(there.status, wanted, "at the viewer's origin: {what}, {}", place.name);
                    if wanted != 200 {
                        assert_eq!(told(&there), told(&answer), "at the viewer's origin: {what}, {}", place.name);
                    }
                }
            }
            let cell = |place: &Place| cells.get(place.name).map_or_else(|| "–".to_owned(), u16::to_string);
            let [a, b, c, d] = places.each_ref().map(cell);
            writeln!(table, "| {} | `{}` | {} | {a} | {b} | {c} | {d} |", row.method, row.route, caller.name).unwrap();
        }
    }
    // Nobody who may not has changed anything.
    for (place, caller) in
        [(&places[0], "the data protection officer"), (&places[1], "another tenant's data protection officer")]
    {
        let caller = callers.iter().find(|c| c.name == caller).unwrap();
        let all = |route| ask(&vault, &console, &row("GET", route, Administer(200)), caller, place).json();
        let (devices, cases) = (all("/api/v1/devices"), all("/api/v1/quarantine"));
        let device =
            devices.as_array().unwrap().iter().find(|d| d["id"] == place.address("{id}")).expect("it is listed");
        assert!(device["revoked_ms"].is_null() && device["keys"] == json!([]), "{device}");
        assert_eq!(cases[0]["case"], place.address("{case}"), "the case waits");
        assert_eq!(cases.as_array().unwrap().len(), 1);
        let one = |route| ask(&vault, &console, &row("GET", route, Report(200)), caller, place).json();
        assert_eq!(one("/api/v1/erasures/{erasure}")["stage"], "ordered", "nobody else withdrew it");
        assert_eq!(one("/api/v1/erasures/{erasure}")["approved_by"], json!([]));
        assert_eq!(one("/api/v1/cases/{request}")["state"], "open", "nobody else closed it");
        assert!(one("/api/v1/exports/{export}")["id"].is_string(), "nobody else took it back");
        let listed = |route, field: &str, id: &str| {
            one(route).as_array().unwrap().iter().any(|thing| thing[field] == place.address(id))
        };
        assert!(listed("/api/v1/holds", "id", "{hold}") && listed("/api/v1/retention/rules", "id", "{rule}"));
        assert!(listed("/api/v1/care/relations", "matter", "{matter}"), "they are all there");
    }
    if let Some(file) = std::env::var_os("LEADGLASS_ACCESS_TABLE") {
        fs::write(file, table).unwrap();
    }
    assert!(vault.never_died());
}

/// A route that the table lacks would be one that nobody asked for its rights; so would a method. The vault itself says which
/// methods a route has.
#[test]
fn the_table_knows_every_route_and_every_method() {
    let (vault, _site) = with_viewer();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/web/src");
    let written: usize = files(source.as_ref()).iter().map(|file| routes_in(file).len()).sum();
    let of = |file: &str| fs::read_to_string(format!("{source}/{file}")).expect("the routes stand there");
    let (app, ohif) = (of("app.rs"), of("ohif/mod.rs"));
    let routes = routes_in(&app);
    assert!(routes.len() >= 40, "the routes are written otherwise: {routes:?}");
    // OHIF's origin has a few of its own, looked at in `ohif.rs`.
    assert_eq!(written, routes.len() + routes_in(&ohif).len(), "routes stand in another file, too");
    let place = "0".repeat(32);
    for route in routes.iter().copied().collect::<BTreeSet<_>>() {
        let path = route
            .replace("{*path}", "x")
            .split('{')
            .map(|part| part.split_once('}').map_or(part.to_owned(), |(_, rest)| format!("{place}{rest}")))
            .collect::<String>();
        let answer = vault.http().send_with("BREW", &format!("{}{path}", vault.up.http.base), &[], Vec::new());
        assert_eq!(answer.status, 405, "{route}: {}", answer.text());
        let (_, allowed) = answer
            .headers
            .iter()
            .find(|(name, _)| name == "allow")
            .unwrap_or_else(|| panic!("{route} names no methods"));
        for method in allowed.split(',').map(str::trim).filter(|method| *method != "HEAD") {
            let known = TABLE.iter().any(|row| row.route.split('?').next() == Some(route) && row.method == method);
            assert!(known, "{method} {route} is not in the table");
        }
    }
    for row in TABLE {
        assert!(
            routes.iter().any(|route| row.route.split('?').next() == Some(route)),
            "{} is in the table and nowhere else",
            row.route
        );
    }
}

/// Whom the description of the API has to name for a route.
fn described(needs: Needs) -> &'static [&'static str] {
    match needs {
        Anybody(_) | Browser(..) | Locked(..) => &["anybody"],
        Somebody(_) => &["known"],
        Account(_) => &["person"],
        Store(_) => &["device", "clinician", "radiographer", "reception"],
        State(_) | Read => &["clinician", "dpo", "radiographer"],
        Emergency(_) => &["clinician"],
        Manage(_) => &["admin"],
        Review(_) => &["dpo", "auditor", "admin"],
        Audit(_) => &["dpo", "auditor"],
        Report(_) => &["dpo"],
        Package(_) => &["dpo", "clinician"],
        Export(_) => &["dpo", "clinician", "reception"],
        Administer(_) | Officer(_) => &["dpo", "admin"],
        Search | Find => &["dicomweb"],
    }
}

/// The description of the API has each route of the table, with those who are answered there, and no other.
#[test]
fn the_description_of_the_api_says_of_every_route_whom_it_answers() {
    let vault = Vault::up();
    let ask = Ask { token: Some(&vault.up.token), ..Ask::default() };
    let document = vault.http().get(&format!("{}/api/v1/openapi.json", vault.up.http.base), ask).json();
    let mut named = 0;
    for row in TABLE.iter().filter(|row| row.route.starts_with("/api/v1/")) {
        let route = row.route.split('?').next().unwrap();
        let operation = &document["paths"][route][row.method.to_lowercase()];
        assert_eq!(operation["x-roles"], json!(described(row.needs)), "{} {}", row.method, row.route);
        named += 1;
    }
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.values().map(|path| path.as_object().unwrap().len()).sum::<usize>(), named);
}

/// A sender, as the DICOM listener knows him.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sender {
    /// Enrolled by title and address.
    Known,
    /// Enrolled by nobody.
    Stranger,
    /// His enrolment was ended.
    Expired,
    /// Enrolled, and calls the other tenant.
    Elsewhere,
    /// Enrolled with a certificate, which he does not show.
    WithoutCertificate,
}

/// What the vault serves over DICOM: each is looked at against every sender.
const SERVED: [(&str, &str); 2] = [("Echo", "C-ECHO"), ("Storage", "C-STORE")];

/// Every service of DICOM's against every sender: a device only sends, and whoever is not enrolled, or not there, does nothing at all.
#[test]
fn a_device_sends_and_does_nothing_else() {
    let sender = "[[devices]]\nname = \"known\"\naet = \"KNOWN\"\naddress = \"loopback\"\n";
    let vault = Vault::with_config(sender);
    let at_address = ["--level", "address", "--address", "127.0.0.1", "--aet"];
    for (name, aet) in [("old", "OLD"), ("first-only", "FIRSTONLY")] {
        let _ = device(&vault, &[&["add", name][..], &at_address, &[aet]].concat());
    }
    let _ = device(&vault, &["revoke", "old"]);
    let _ = device(&vault, &["add", "certified", "--level", "certificate", "--aet", "CERTIFIED"]);
    let f = Fixture::named("ct-1.dcm");
    let services: [(&str, &str, &str, bool); 7] = [
        ("C-ECHO", VERIFICATION, EXPLICIT_LE, true),
        ("C-STORE", &f.sop_class, &f.transfer_syntax, true),
        ("C-STORE of an unknown class", "1.2.826.0.1.3680043.9.9999.1", EXPLICIT_LE, false),
        ("C-FIND", "1.2.840.10008.5.1.4.1.2.2.1", EXPLICIT_LE, false),
        ("C-MOVE", "1.2.840.10008.5.1.4.1.2.2.2", EXPLICIT_LE, false),
        ("C-GET", "1.2.840.10008.5.1.4.1.2.2.3", EXPLICIT_LE, false),
        ("the worklist", "1.2.840.10008.5.1.4.31", EXPLICIT_LE, false),
    ];
    let own = vault.up.dicom.aet.clone();
    for (sender, title, called) in [
        (Sender::Known, "KNOWN", own.as_str()),
        (Sender::Stranger, "STRANGER", &own),
        (Sender::Expired, "OLD", &own),
        (Sender::Elsewhere, "FIRSTONLY", "LEADGLASS2"),
        (Sender::WithoutCertificate, "CERTIFIED", &own),
    ] {
        let who = Callers { calling: title.to_owned(), called: called.to_owned() };
        let enrolled = sender == Sender::Known;
        for (name, class, syntax, served) in &services {
            let what = format!("{name} by {sender:?}");
            let Ok(mut association) = Association::open(vault.dicom(), &who, &[(class, syntax)]).unwrap() else {
                assert!(!enrolled, "{what}: not let in");
                continue;
            };
            assert!(enrolled, "{what}: let in");
            assert_eq!(association.context(class, syntax).is_some(), *served, "{what}");
            match *name {
                "C-ECHO" => assert_eq!(association.echo().unwrap().status, 0, "{what}"),
                "C-STORE" => {
                    let data_set = f.data_set();
                    let stored = association.store(&f.sop_class, &f.instance, syntax, &mut &data_set[..]);
                    assert_eq!(stored.unwrap().status, 0, "{what}");
                }
                _ => {}
            }
        }
    }
    for (_, name) in SERVED {
        assert!(services.iter().any(|(known, _, _, served)| *known == name && *served), "{name} is looked at");
    }
    assert!(vault.never_died());
}

/// A service that the table of senders lacks would be one that nobody asked for its rights.
#[test]
fn the_table_knows_every_service_of_dicom() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates");
    let written = ["dimse/src", "leadglass/src"].map(|folder| files(format!("{source}/{folder}").as_ref())).concat();
    let of = |text: &str| -> Vec<String> {
        let parts = text.split("impl Service for ").skip(1);
        parts.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric()).collect()).collect()
    };
    let found: BTreeSet<String> = written.iter().flat_map(|text| of(text)).collect();
    assert_eq!(found, SERVED.iter().map(|(service, _)| (*service).to_owned()).collect());
}

/// The routes that stand in a file.
fn routes_in(text: &str) -> Vec<&str> {
    let calls = text.split(".route(").skip(1);
    calls.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next()).collect()
}

/// The text of every Rust file under a folder.
fn files(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| match path.is_dir() {
        true => files(&path),
        // What unit tests route, nobody is served.
        false => vec![fs::read_to_string(path).unwrap().split("#[cfg(test)]").next().unwrap_or_default().to_owned()],
    };
    entries.flat_map(read).collect()
}

/// A signing request as a device makes it; its key was thrown away.
const REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIHLMHMCAQAwETEPMA0GA1UEAwwGcm9vbS0xMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAExLg12Yl312USdnLI7E8RKUzLb25vqagCI4NRMJa8j9OpbOF3U9Aw7/4R
Ln50sG+FJmRT9wOAB1IvFviUKpY7jKAAMAoGCCqGSM49BAMCA0gAMEUCIQDy5ikA
HgEAmtIMh+TLTaYDFIJ6lubhttzOwe7IoIZS/wIgClEd2p/YCtUMmIG2lFzNl3eR
1VdeArfAoixnAWNSxbg=
-----END CERTIFICATE REQUEST-----
";
