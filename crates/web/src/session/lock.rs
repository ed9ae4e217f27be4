//! A session that nobody used for a while is locked: its person shows once more who he is, and it goes on.

use super::{body_of as open_body, cookie, foreign, origin, person, unknown};
use crate::{App, Problem, people, small::Small};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use leadglass_engine::Signing;
use leadglass_identity::{Again, Owner};
use leadglass_model::Fault;
use leadglass_records::SessionGrant;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// The locked session of a request's cookie, if there is one.
pub(super) fn of(parts: &Parts, app: &App) -> Result<Option<SessionGrant>, Problem> {
    let Some(reference) = cookie::read(&parts.headers) else { return Ok(None) };
    if !origin::is_own(parts) {
        return Err(foreign());
    }
    app.sessions.locked(reference).map_err(|error| unknown(&error))
}

pub(super) fn is_locked() -> Problem {
    let sentence = "Your session is locked because it was not used. Show once more who you are.";
    Problem::with_status(StatusCode::UNAUTHORIZED, "session-locked", sentence)
}

/// Who it is, and how he may come back; nothing else.
pub(super) fn body_of(app: &App, session: &SessionGrant) -> Value {
    let (password, passkey) = app.people.ways(session.grant.actor);
    json!({
        "locked": true,
        "label": session.grant.label,
        "ends_ms": session.ends.0,
        "password": password,
        "passkey": passkey,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    locked: bool,
    password: Option<Zeroizing<String>>,
    code: Option<String>,
    challenge: Option<String>,
    answer: Option<Value>,
}

/// `PUT /api/v1/session` with `{"locked":true}`, or with `{"locked":false}` and a proof: a password with a code, or a passkey.
pub(crate) async fn turn(State(app): State<App>, parts: Parts, Small(body): Small) -> Result<Response, Problem> {
    let form = r#"{"locked":true}, or {"locked":false} with "password" and "code", or with "challenge" and "answer""#;
    let turn: Turn = people::read(&body, form)?;
    match (turn.locked, turn.password, turn.code, turn.challenge, turn.answer) {
        (true, None, None, None, None) => lock(&app, &parts).await,
        (false, Some(password), Some(code), None, None) => {
            unlock(&app, &parts, Again::Password { password, code }).await
        }
        (false, None, None, Some(challenge), Some(answer)) => {
            unlock(&app, &parts, Again::Passkey { challenge, answer }).await
        }
        _ => Err(Problem::new(Fault::BadInput, "form", format!("Send {form}."))),
    }
}

/// `POST /api/v1/session/proof`: what a browser is asked for, for whoever comes back to his session.
pub(crate) async fn begin_proof(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    let session = of(&parts, &app)?.ok_or_else(Problem::unauthenticated)?;
    let owner = owner(&session, &parts).ok_or_else(Problem::unauthenticated)?;
    Ok(Json(app.people.begin_proving(&owner).map_err(|error| people::problem(&error))?).into_response())
}

async fn lock(app: &App, parts: &Parts) -> Result<Response, Problem> {
    if !origin::is_own(parts) {
        return Err(foreign());
    }
    let reference = cookie::read(&parts.headers).ok_or_else(Problem::unauthenticated)?;
    if !app.sessions.lock(reference).await.map_err(|error| unknown(&error))? {
        return Err(Problem::unauthenticated());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What can be recorded only goes on.
async fn unlock(app: &App, parts: &Parts, again: Again) -> Result<Response, Problem> {
    let locked = of(parts, app)?.ok_or_else(Problem::unauthenticated)?;
    let owner = owner(&locked, parts).ok_or_else(Problem::unauthenticated)?;
    app.people.prove(&owner, again).await.map_err(|error| people::problem(&error))?;
    if app.engine.record_signing(&person(&locked.grant, parts), Signing::Resumed).await.is_err() {
        let sentence = "It cannot be recorded that you came back, so the session stays locked; try again in a moment.";
        return Err(Problem::new(Fault::Busy, "not-audited", sentence));
    }
    let reference = cookie::read(&parts.headers).ok_or_else(Problem::unauthenticated)?;
    let opened = app.sessions.unlock(reference).await.map_err(|error| unknown(&error))?;
    let (reference, session) = opened.ok_or_else(Problem::unauthenticated)?;
    let body = Json(open_body(app, &session));
    Ok((StatusCode::OK, [(header::SET_COOKIE, cookie::set(&reference))], body).into_response())
}

fn owner(session: &SessionGrant, parts: &Parts) -> Option<Owner> {
    let address = people::address(parts);
    session.seat.map(|seat| Owner { seat, begun: session.begun, address })
}
