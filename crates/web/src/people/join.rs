//! `/api/v1/invitation`: for whoever holds the link. Its secret stands in bodies, never in an address.

use super::{arrival, problem, read};
use crate::{
    App, Problem,
    session::{self, origin},
    small::Small,
};
use axum::{
    Json,
    extract::State,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use leadglass_identity::Proof;
use leadglass_model::Fault;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    invitation: Zeroizing<String>,
}

/// `POST /api/v1/invitation`: what may be chosen from.
pub(crate) async fn look(State(app): State<App>, parts: Parts, Small(body): Small) -> Result<Response, Problem> {
    let link = open(&parts, &body)?;
    Ok(Json(app.people.offer(&link.invitation).map_err(|e| problem(&e))?).into_response())
}

/// `POST /api/v1/invitation/passkey`: begins a passkey.
pub(crate) async fn begin_passkey(
    State(app): State<App>,
    parts: Parts,
    Small(body): Small,
) -> Result<Response, Problem> {
    let link = open(&parts, &body)?;
    Ok(Json(app.people.begin_joining(&link.invitation).map_err(|e| problem(&e))?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    invitation: Zeroizing<String>,
    password: Option<Zeroizing<String>>,
    code: Option<String>,
    challenge: Option<String>,
    answer: Option<Value>,
}

/// `POST /api/v1/invitation/accept`: takes it, and signs in.
pub(crate) async fn accept(State(app): State<App>, parts: Parts, Small(body): Small) -> Result<Response, Problem> {
    if !origin::may_sign_in(&parts) {
        return Err(session::foreign());
    }
    let form = r#"{"invitation":"…"} with "password" and "code", or with "challenge" and "answer""#;
    let choice: Choice = read(&body, form)?;
    let proof = match (choice.password, choice.code, choice.challenge, choice.answer) {
        (Some(password), Some(code), None, None) => Proof::Password { password, code },
        (None, None, Some(challenge), Some(answer)) => Proof::Passkey { challenge, answer },
        _ => return Err(Problem::new(Fault::BadInput, "form", format!("Send {form}."))),
    };
    let accepted = app.people.accept(&choice.invitation, proof, arrival(&parts)).await.map_err(|e| problem(&e))?;
    let codes: Vec<&str> = accepted.codes.iter().map(|code| code.as_str()).collect();
    session::opened(&app, &parts, accepted.signed_in, json!({ "codes": codes })).await
}

fn open(parts: &Parts, body: &[u8]) -> Result<Link, Problem> {
    if !origin::may_sign_in(parts) {
        return Err(session::foreign());
    }
    read(body, r#"{"invitation":"…"}"#)
}
