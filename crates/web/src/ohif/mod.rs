//! OHIF, a viewer of others, on an origin of its own: its files and DICOMweb to read, nothing else.
//!
//! Cookies are shared between the ports of a host and scripts are not: who is signed in at the console is so here, and what
//! OHIF's code does, it does to what this origin serves. The console keeps its stricter rules for code.

mod site;

pub use site::{Site, SiteError};

use crate::{App, Problem, app, front::Fronts, head::Hosts, session};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::sync::{Arc, OnceLock};

/// Where browsers find the two origins: the hosts' names, and the ports once they are bound.
#[derive(Debug, Default)]
pub struct Origins {
    /// The console: sign-in, studies, the house's own viewer.
    pub console: OnceLock<u16>,
    /// OHIF.
    pub viewer: OnceLock<u16>,
    /// Both.
    pub hosts: Hosts,
    /// What stands before them.
    pub fronts: Fronts,
}

/// All routes of the viewer's origin.
pub fn viewer_routes(app: App, site: Site) -> Router {
    let site = Arc::new(site);
    let file = {
        let site = site.clone();
        move |method: Method, uri: Uri, headers: HeaderMap| async move {
            if method == Method::GET { file(&site, &uri, &headers).await } else { Err(Problem::not_found()) }
        }
    };
    let config =
        move |State(app): State<App>, headers: HeaderMap| async move { script(&site, &config(&app), &headers) };
    let routes = app::reading()
        .route("/api/v1/session", get(session::look))
        .route("/app-config.js", get(config))
        .route("/init-service-worker.js", get(empty))
        .route("/sw.js", get(empty))
        .fallback(file);
    app::layered(routes, Router::new(), app)
}

fn config(app: &App) -> String {
    let port = app.origins.console.get().copied().unwrap_or(443);
    let config = include_str!("../../pages/ohif-config.js").replace("__CONSOLE_PORT__", &port.to_string());
    format!("{}{config}", include_str!("../../pages/ohif-patience.js"))
}

/// In place of OHIF's service worker, which would fetch code from elsewhere.
async fn empty() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(JAVASCRIPT))], "").into_response()
}

fn script(site: &Site, text: &str, headers: &HeaderMap) -> Response {
    let mut answer = text.to_owned().into_response();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JAVASCRIPT));
    guard(site, headers, &mut answer);
    answer
}

/// A file of OHIF's, or its first page for the addresses that it makes itself.
async fn file(site: &Site, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    let path = uri.path().trim_start_matches('/');
    let ours = path.starts_with("api/") || path.starts_with("dicomweb/") || path == "dicomweb";
    let mut answer = match site.file(path, headers).await {
        Some(answer) => answer,
        None if ours || path.rsplit('/').next().is_some_and(|last| last.contains('.')) => {
            return Err(Problem::not_found());
        }
        None => site.index(),
    };
    guard(site, headers, &mut answer);
    Ok(answer)
}

/// What a browser may do with OHIF's code.
fn guard(site: &Site, headers: &HeaderMap, answer: &mut Response) {
    let out = answer.headers_mut();
    out.insert(header::CONTENT_SECURITY_POLICY, site.policy(headers).clone());
    out.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    out.insert(HeaderName::from_static("cross-origin-embedder-policy"), HeaderValue::from_static("require-corp"));
    out.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
