//! The viewer's own origin: its files, DICOMweb to read, and nothing else of the house. What a browser does with the real OHIF is
//! looked at in `browser.rs`; here stands a site of three files.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Answer;
use leadglass_tests::scratch;
use leadglass_tests::vault::Vault;
use serde_json::json;
use std::fs;

const INDEX: &str = "<!doctype html><title>OHIF</title><script>one()</script><script src=\"/app.bundle.js\"></script>";

fn site() -> tempfile::TempDir {
    let dir = scratch();
    fs::write(dir.path().join("index.html"), INDEX).unwrap();
    fs::write(dir.path().join("app.bundle.js"), "app()").unwrap();
    fs::write(dir.path().join("app-config.js"), "window.config = {}; // as shipped").unwrap();
    fs::write(dir.path().join("secret.key"), "not a viewer's file").unwrap();
    dir
}

fn vault(site: &tempfile::TempDir) -> Vault {
    let dir = site.path().display().to_string();
    Vault::with_config(&format!("[viewer]\ndir = {dir:?}\nlisten = \"127.0.0.1:0\"\n"))
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or_default()
}

/// A cookie from the console.
fn cookie(vault: &Vault) -> String {
    let url = format!("{}/api/v1/session", vault.up.http.base);
    let body = json!({ "token": vault.up.tokens.clinician }).to_string().into_bytes();
    let answer = vault.http().send_with("POST", &url, &[], body);
    header(&answer, "set-cookie").split(';').next().unwrap().to_owned()
}

#[test]
fn the_viewers_origin_serves_its_files_and_dicomweb_to_read() {
    let site = site();
    let vault = vault(&site);
    let viewer = vault.up.http.viewer.clone().expect("it is configured");
    let f = Fixture::named("ct-1.dcm");
    vault.store_fixture(&f);
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        vault.http().send_with(method, &format!("{viewer}{path}"), headers, Vec::new())
    };
    let get = |path: &str| ask("GET", path, &[]);

    for path in ["/", "/viewer", "/viewer?StudyInstanceUIDs=1.2", "/metrics", "/healthz", "/photo", "/studies"] {
        assert_eq!(
            (get(path).status, get(path).text().as_str()),
            (200, INDEX),
            "{path}: OHIF's first page, not the house's"
        );
    }
    let page = get("/");
    let policy = header(&page, "content-security-policy");
    assert!(policy.contains("'sha256-") && !policy.contains("'unsafe-eval'") && !policy.contains("http"), "{policy}");
    assert_eq!(header(&page, "cross-origin-opener-policy"), "same-origin");
    assert_eq!(header(&page, "cross-origin-embedder-policy"), "require-corp");
    assert_eq!(get("/app.bundle.js").text(), "app()");
    let port = vault.up.http.base.rsplit(':').next().unwrap();
    let config = get("/app-config.js").text();
    assert!(
        config.contains(&format!(":{port}/`")) && !config.contains("as shipped"),
        "the house's configuration: {config}"
    );
    for path in ["/sw.js", "/init-service-worker.js"] {
        assert_eq!((get(path).status, get(path).text().as_str()), (200, ""), "{path}");
    }
    for path in [
        "/secret.key",
        "/..%2fsecret.key",
        "/%2e%2e/Cargo.toml",
        "/none.js",
        "/api/v1/status",
        "/api/v1/devices",
        "/dicomweb/none",
    ] {
        assert_eq!(get(path).status, 404, "{path}");
    }

    let cookie = cookie(&vault);
    let search = "/dicomweb/studies?limit=1";
    assert_eq!(get(search).status, 401);
    assert_eq!(get("/api/v1/session").status, 204);
    let own = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin"), ("origin", viewer.as_str())];
    assert_eq!(ask("GET", search, &own).status, 200, "who is signed in at the console is so here");
    assert_eq!(ask("GET", "/api/v1/session", &own).json()["role"], "clinician");
    let metadata = format!("/dicomweb/studies/{}/series/{}/metadata", f.study, f.series);
    assert_eq!(ask("GET", &metadata, &own).status, 200);
    // Nothing is changed from here.
    for (method, path) in [
        ("POST", "/dicomweb/studies"),
        ("POST", "/api/v1/session"),
        ("DELETE", "/api/v1/session"),
        ("POST", "/api/v1/uploads"),
        ("POST", "/"),
    ] {
        assert!([404, 405].contains(&ask(method, path, &own).status), "{method} {path}");
    }
}

#[test]
fn neither_origin_acts_for_a_page_of_the_other() {
    let site = site();
    let vault = vault(&site);
    let (console, viewer) = (vault.up.http.base.clone(), vault.up.http.viewer.clone().expect("it is configured"));
    let cookie = cookie(&vault);
    for (from, to) in [(&console, &viewer), (&viewer, &console)] {
        let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-site"), ("origin", from.as_str())];
        for path in ["/dicomweb/studies", "/api/v1/session"] {
            let answer = vault.http().send_with("GET", &format!("{to}{path}"), &headers, Vec::new());
            assert_eq!(answer.status, 403, "{path} of {to} from a page of {from}");
        }
    }
    let headers = [("cookie", cookie.as_str()), ("origin", viewer.as_str())];
    let answer = vault.http().send_with("DELETE", &format!("{console}/api/v1/session"), &headers, Vec::new());
    assert_eq!(answer.status, 403, "OHIF's code signs nobody out");
}
