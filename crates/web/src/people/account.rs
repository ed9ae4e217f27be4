//! `/api/v1/account`: one's own devices, passkeys and codes. For people who are signed in; a token has no account.

use super::{address, device_of, problem, read};
use crate::{App, Problem, app::Caller, session, small::Small};
use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use leadglass_identity::Owner;
use leadglass_model::Fault;
use leadglass_records::Use;
use serde::Deserialize;
use serde_json::{Value, json};

/// The person who is signed in. Extracting it answers 401 to nobody, and 403 to a token.
pub(crate) struct Own(pub(crate) Owner);

impl FromRequestParts<App> for Own {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Caller::from_request_parts(parts, app).await?;
        let signed_in = match parts.headers.contains_key(header::AUTHORIZATION) {
            true => None,
            false => session::of_cookie(parts, app, Use::Counts)?,
        };
        let owner = signed_in.and_then(|session| Some((session.seat?, session.begun)));
        let Some((seat, begun)) = owner else {
            let sentence = "An access token has no account: sign in as yourself.";
            return Err(Problem::new(Fault::Denied, "no-account", sentence));
        };
        Ok(Self(Owner { seat, begun, address: address(parts) }))
    }
}

/// `GET /api/v1/account`
pub(crate) async fn look(State(app): State<App>, Own(owner): Own) -> Result<Response, Problem> {
    let account = app.people.account(&owner).map_err(|e| problem(&e))?;
    let tokens = app.people.tokens(&owner).await.map_err(|e| problem(&e))?;
    let mut body = serde_json::to_value(account).unwrap_or_default();
    body["tokens"] = serde_json::to_value(tokens).unwrap_or_default();
    Ok(Json(body).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    challenge: String,
    answer: Value,
}

/// `POST /api/v1/account/passkeys`: without a body, begins one more; with the browser's answer, adds it.
pub(crate) async fn add_passkey(
    State(app): State<App>,
    Own(owner): Own,
    Small(body): Small,
) -> Result<Response, Problem> {
    if body.is_empty() {
        return Ok(Json(app.people.begin_adding(&owner).map_err(|e| problem(&e))?).into_response());
    }
    let Made { challenge, answer } = read(&body, r#"{"challenge":"…","answer":{…}}, or nothing to begin"#)?;
    app.people.add_passkey(&owner, &challenge, answer).await.map_err(|e| problem(&e))?;
    Ok(StatusCode::CREATED.into_response())
}

/// `DELETE /api/v1/account/passkeys/{passkey}`
pub(crate) async fn remove_passkey(
    State(app): State<App>,
    Own(owner): Own,
    Path(passkey): Path<String>,
) -> Result<Response, Problem> {
    app.people.remove_passkey(&owner, &passkey).await.map_err(|e| problem(&e))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/account/codes`: ten fresh ones.
pub(crate) async fn codes(State(app): State<App>, Own(owner): Own) -> Result<Response, Problem> {
    let codes = app.people.renew_codes(&owner).await.map_err(|e| problem(&e))?;
    let codes: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    Ok(Json(json!({ "codes": codes })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    label: String,
    days: u64,
}

/// `POST /api/v1/account/tokens`: one for a program of one's own; its text is in this answer and nowhere else.
pub(crate) async fn issue_token(
    State(app): State<App>,
    Own(owner): Own,
    Small(body): Small,
) -> Result<Response, Problem> {
    let NewToken { label, days } = read(&body, r#"{"label":"…","days":90}"#)?;
    let (token, view) = app.people.issue_token(&owner, label, days).await.map_err(|e| problem(&e))?;
    let body = json!({ "token": token.reveal(), "id": view.id, "ends_ms": view.ends_ms });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// `DELETE /api/v1/account/tokens/{token}`
pub(crate) async fn revoke_token(
    State(app): State<App>,
    Own(owner): Own,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    app.people.revoke_token(&owner, &token).await.map_err(|e| problem(&e))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/account/lost`
pub(crate) async fn lost(State(app): State<App>, Own(owner): Own, Small(body): Small) -> Result<Response, Problem> {
    let device = device_of(&body)?;
    let ended = app.people.lost(&owner, device).await.map_err(|e| problem(&e))?;
    Ok(Json(json!({ "sessions": ended })).into_response())
}
