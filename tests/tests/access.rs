//! Every route, asked by nobody, by a stranger with a token of another tenant, and by the wrong role.

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::vault::Vault;

/// What a route answers to nobody, to the other tenant, to a clinician and to a data protection officer.
struct Row {
    method: &'static str,
    route: &'static str,
    nobody: u16,
    other_tenant: u16,
    clinician: u16,
    dpo: u16,
}

const fn row(method: &'static str, route: &'static str, answers: [u16; 4]) -> Row {
    let [nobody, other_tenant, clinician, dpo] = answers;
    Row { method, route, nobody, other_tenant, clinician, dpo }
}

/// The other tenant's search finds nothing and its look-ups find nobody: what one may not see is absent.
const TABLE: &[Row] = &[
    row("GET", "/healthz", [200, 200, 200, 200]),
    row("GET", "/readyz", [200, 200, 200, 200]),
    row("GET", "/metrics", [200, 200, 200, 200]),
    // What the service can do is told to everybody with a token.
    row("GET", "/dicomweb", [401, 200, 200, 200]),
    row("GET", "/dicomweb/", [401, 200, 200, 200]),
    row("OPTIONS", "/dicomweb", [401, 200, 200, 200]),
    row("OPTIONS", "/dicomweb/", [401, 200, 200, 200]),
    row("GET", "/dicomweb/studies", [401, 200, 200, 200]),
    row("GET", "/dicomweb/studies/{study}", [401, 404, 200, 200]),
    // Nothing is sent: who may store hears that it cannot be read.
    row("POST", "/dicomweb/studies", [401, 415, 415, 403]),
    row("POST", "/dicomweb/studies/{study}", [401, 415, 415, 403]),
    row("GET", "/dicomweb/studies/{study}/series", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/instances", [401, 404, 200, 200]),
    row("GET", "/dicomweb/series", [401, 200, 200, 200]),
    row("GET", "/dicomweb/instances", [401, 200, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/series/{series}", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/metadata", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/series/{series}/metadata", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/metadata", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frames}", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/bulkdata/{*path}", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/rendered", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/thumbnail", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/series/{series}/rendered", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/series/{series}/thumbnail", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/rendered", [401, 404, 200, 200]),
    row("GET", "/dicomweb/studies/{study}/series/{series}/instances/{instance}/thumbnail", [401, 404, 200, 200]),
    row(
        "GET",
        "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered",
        [401, 404, 200, 200],
    ),
    row(
        "GET",
        "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/thumbnail",
        [401, 404, 200, 200],
    ),
    row("GET", "/api/v1/status", [401, 403, 403, 200]),
    row("GET", "/api/v1/quarantine", [401, 403, 403, 200]),
    // The case is a random name of nobody: who may decide hears that it is absent.
    row("POST", "/api/v1/quarantine/{case}", [401, 403, 403, 404]),
    row("POST", "/api/v1/verify", [401, 403, 403, 200]),
    row("GET", "/api/v1/devices", [401, 403, 403, 200]),
    row("POST", "/api/v1/devices", [401, 403, 403, 400]),
    row("DELETE", "/api/v1/devices/{id}", [401, 403, 403, 404]),
    row("POST", "/api/v1/devices/{id}/certificate", [401, 403, 403, 400]),
    // Who may store is told that an empty body is no form; who may not is told that.
    row("POST", "/api/v1/uploads", [401, 415, 415, 403]),
    // A browser's session is a matter of its cookie, not of a token beside it. Nothing is sent, so nobody is signed in.
    row("GET", "/api/v1/session", [204, 204, 204, 204]),
    row("POST", "/api/v1/session", [400, 400, 400, 400]),
    row("DELETE", "/api/v1/session", [204, 204, 204, 204]),
    // Pages without anybody's data: they ask for it as the one who is signed in.
    row("GET", "/", [200, 200, 200, 200]),
    row("GET", "/studies", [200, 200, 200, 200]),
    row("GET", "/view/{study}", [200, 200, 200, 200]),
    row("GET", "/assets/{file}", [200, 200, 200, 200]),
    // A page without anybody's data: the token is typed into it.
    row("GET", "/photo", [200, 200, 200, 200]),
    row("GET", "/assets/upload.js", [200, 200, 200, 200]),
    row("GET", "/assets/upload.css", [200, 200, 200, 200]),
];

#[test]
fn every_route_answers_as_the_table_says() {
    let vault = Vault::up();
    let fixture = Fixture::all().into_iter().next().expect("there are fixtures");
    vault.store_fixture(&fixture);
    let tokens = &vault.up.tokens;
    for row in TABLE {
        let path = row
            .route
            .replace("{study}", &fixture.study)
            .replace("{series}", &fixture.series)
            .replace("{instance}", &fixture.instance)
            .replace("{case}", &"0".repeat(32))
            .replace("{frames}", "1")
            .replace("{*path}", "7FE00010")
            .replace("{file}", "view.js")
            .replace("{id}", &"0".repeat(32));
        let url = format!("{}{path}", vault.up.http.base);
        let callers = [
            ("nobody", None, row.nobody),
            ("a wrong token", Some("lg_not-a-token"), row.nobody),
            ("the other tenant", Some(tokens.other_tenant.as_str()), row.other_tenant),
            ("a clinician", Some(tokens.clinician.as_str()), row.clinician),
            ("the data protection officer", Some(tokens.dpo.as_str()), row.dpo),
        ];
        for (who, token, expected) in callers {
            let ask = Ask { token, accept: None, range: None };
            let body = if row.route.ends_with("{case}") { br#"{"verdict":"release"}"#.to_vec() } else { Vec::new() };
            let answer = vault.http().send(row.method, &url, ask, body);
            assert_eq!(answer.status, expected, "{} {} asked by {who}", row.method, row.route);
            let searches = ["/dicomweb/studies", "/dicomweb/series", "/dicomweb/instances"];
            if who == "the other tenant" && row.method == "GET" && searches.contains(&row.route) {
                assert_eq!(answer.json(), serde_json::json!([]), "the other tenant finds something");
            }
        }
    }
}

/// A route that the table lacks would be one that nobody asked for its rights.
#[test]
fn the_table_knows_every_route() {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/web/src/app.rs"))
        .expect("the routes stand there");
    let routes: Vec<&str> = source
        .split(".route(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect();
    assert!(routes.len() >= 10, "the routes are written otherwise: {routes:?}");
    for route in routes {
        assert!(TABLE.iter().any(|row| row.route == route), "{route} is not in the table");
    }
}
