//! `/api/v1/care/reason`: why somebody wants to see a study of a patient whom he is not known to treat.

use super::{parts, problem};
use crate::{App, Problem, app::Caller, people, small::Small};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    study: String,
    reason: String,
}

/// `POST /api/v1/care/reason`: from now on the patient's studies open, until the moment that is answered.
pub(crate) async fn state_reason(
    State(app): State<App>,
    caller: Caller,
    parts_of: Parts,
    Small(body): Small,
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let Stated { study, reason } = people::read(&body, r#"{"study":"UID","reason":"…"}"#)?;
    let (study, reason) = parts(&study, &reason)?;
    let stated = app.engine.state_reason(&permit, &study, &reason, people::address(&parts_of)).await;
    let ends = stated.map_err(|error| problem(&error))?;
    Ok((StatusCode::CREATED, Json(json!({ "ends_ms": ends.0 }))).into_response())
}
