//! `/api/v1/care/emergency`: break-glass. For people who are signed in, and show once more who they are.

use super::{parts, problem};
use crate::{
    App, Problem,
    app::{Caller, denied},
    people::{self, Own},
    small::Small,
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use leadglass_identity::Again;
use leadglass_model::Fault;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    study: String,
    reason: String,
    password: Option<Zeroizing<String>>,
    code: Option<String>,
    challenge: Option<String>,
    answer: Option<Value>,
}

/// `POST /api/v1/care/emergency/passkey`: what a browser is asked for.
pub(crate) async fn begin(State(app): State<App>, caller: Caller, Own(owner): Own) -> Result<Response, Problem> {
    caller.principal.emergency().map_err(|refusal| denied(&refusal))?;
    Ok(Json(app.people.begin_proving(&owner).map_err(|error| people::problem(&error))?).into_response())
}

/// `POST /api/v1/care/emergency`: the patient's studies open for an hour.
pub(crate) async fn break_glass(
    State(app): State<App>,
    caller: Caller,
    Own(owner): Own,
    parts_of: Parts,
    Small(body): Small,
) -> Result<Response, Problem> {
    let permit = caller.principal.emergency().map_err(|refusal| denied(&refusal))?;
    let form = r#"{"study":"UID","reason":"…"} with "password" and "code", or with "challenge" and "answer""#;
    let opened: Opened = people::read(&body, form)?;
    let (study, reason) = parts(&opened.study, &opened.reason)?;
    let again = match (opened.password, opened.code, opened.challenge, opened.answer) {
        (Some(password), Some(code), None, None) => Again::Password { password, code },
        (None, None, Some(challenge), Some(answer)) => Again::Passkey { challenge, answer },
        _ => return Err(Problem::new(Fault::BadInput, "form", format!("Send {form}."))),
    };
    app.people.prove(&owner, again).await.map_err(|error| unproven(&error))?;
    let begun = app.engine.break_glass(&permit, &study, &reason, people::address(&parts_of)).await;
    let begun = begun.map_err(|error| problem(&error))?;
    let body = json!({ "review": begun.review.to_string(), "ends_ms": begun.ends.0 });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// He is signed in, so it is no 401, which would lead a page to the sign-in.
fn unproven(error: &leadglass_identity::IdentityError) -> Problem {
    match error {
        leadglass_identity::IdentityError::Refused => {
            let sentence = "That does not fit: check password and code, or use your passkey.";
            Problem::new(Fault::Denied, "not-proven", sentence)
        }
        other => people::problem(other),
    }
}
