//! The description of the JSON API (OpenAPI 3.1), made of `data/api.txt`. DICOMweb describes itself by its capabilities; pages
//! and what a supervisor asks for are no part of it.
//!
//! It tells nothing of anybody, and what can be asked here at all is for whoever is known here.

mod document;
mod read;
mod shape;

use crate::{App, Problem, app::Caller};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use std::sync::LazyLock;

/// `GET /api/v1/openapi.json`
pub(crate) async fn show(State(_): State<App>, _: Caller) -> Result<Response, Problem> {
    let document = DOCUMENT.clone();
    let document = document.ok_or_else(|| {
        let sentence = "The description of this API cannot be made.";
        Problem::new(leadglass_model::Fault::Broken, "openapi", sentence)
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response())
}

/// `None` where `data/api.txt` does not read, which a test would say first.
static DOCUMENT: LazyLock<Option<Bytes>> = LazyLock::new(|| {
    let api = read::api(include_str!("../../data/api.txt")).ok()?;
    Some(Bytes::from(document::of(&api).to_string()))
});

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// `GET /api/v1/…` of every route that the code has.
    fn routed() -> BTreeSet<String> {
        let mut routed = BTreeSet::new();
        for call in include_str!("../app.rs").split(".route(").skip(1) {
            let mut parts = call.trim_start().splitn(3, '"');
            let (Some(_), Some(path), Some(handlers)) = (parts.next(), parts.next(), parts.next()) else { continue };
            if !path.starts_with("/api/v1/") {
                continue;
            }
            for method in ["get", "post", "put", "delete"] {
                let called = |start: &str| handlers.contains(&format!("{start}{method}("));
                if called(" ") || called(".") {
                    routed.insert(format!("{} {path}", method.to_uppercase()));
                }
            }
        }
        // The one that brings its own method.
        routed.insert("POST /api/v1/uploads".to_owned());
        routed
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let api = read::api(include_str!("../../data/api.txt")).unwrap();
        let described: BTreeSet<String> =
            api.operations.iter().map(|operation| format!("{} {}", operation.method, operation.path)).collect();
        assert_eq!(described.len(), api.operations.len(), "an operation stands twice");
        let routed = routed();
        assert!(routed.len() > 90, "routes are written otherwise: {routed:?}");
        assert_eq!(routed.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new(), "not described");
        assert_eq!(described.difference(&routed).collect::<Vec<_>>(), Vec::<&String>::new(), "no route");
        assert!(DOCUMENT.is_some());
    }
}
