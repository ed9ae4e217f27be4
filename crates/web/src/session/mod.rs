//! Signing in with a browser: a password with a code, a passkey, or a bearer token is exchanged for a session, whose
//! reference lives in a cookie.
//!
//! A script never sees the reference (`HttpOnly`), no other host's page ever sends it (`SameSite=Strict`), and a request that
//! comes with it must come from a page of the very origin it goes to ([`origin`]): cookies are shared between the ports of
//! a host, scripts are not.

pub(crate) mod cookie;
mod lock;
pub(crate) mod origin;
mod provider;

pub(crate) use lock::{begin_proof, turn};
pub use provider::{Departure, ProviderError, ProviderView, Return, SignInProviders};
pub(crate) use provider::{depart, providers};

use crate::{App, Problem, people, small::Small};
use axum::{
    Json,
    extract::{ConnectInfo, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use leadglass_engine::{Person, Signing};
use leadglass_identity::SignedIn;
use leadglass_model::Fault;
use leadglass_policy::Principal;
use leadglass_records::{SessionGrant, TokenError, TokenGrant, Use};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use zeroize::Zeroizing;

/// Whom a request's cookie speaks for, if it bears one that does. An error when it comes from a foreign page.
pub(crate) fn of_cookie(parts: &Parts, app: &App, counts: Use) -> Result<Option<SessionGrant>, Problem> {
    let Some(reference) = cookie::read(&parts.headers) else { return Ok(None) };
    if !origin::is_own(parts) {
        return Err(foreign());
    }
    app.sessions.resolve(reference, counts).map_err(|error| unknown(&error))
}

/// Who is signed in with a cookie. Whose session is locked is told so: he need not sign in anew.
pub(crate) fn signed_in(parts: &Parts, app: &App, counts: Use) -> Result<SessionGrant, Problem> {
    if let Some(session) = of_cookie(parts, app, counts)? {
        return Ok(session);
    }
    Err(if lock::of(parts, app)?.is_some() { lock::is_locked() } else { Problem::unauthenticated() })
}

/// One of the ways to sign in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: Option<Zeroizing<String>>,
    login: Option<String>,
    password: Option<Zeroizing<String>>,
    code: Option<String>,
    challenge: Option<String>,
    answer: Option<Value>,
    state: Option<String>,
    iss: Option<String>,
}

/// `POST /api/v1/session` with `{"login":"…","password":"…","code":"…"}`, with `{"challenge":"…","answer":{…}}` for a passkey,
/// with `{"state":"…","code":"…"}` for whom a provider vouches, or with `{"token":"lg_…"}`: signs in. The session is always a new one; the one before it ends.
pub(crate) async fn begin(State(app): State<App>, parts: Parts, Small(body): Small) -> Result<Response, Problem> {
    if !origin::may_sign_in(&parts) {
        return Err(foreign());
    }
    let sentence = "Send login, password and code; or challenge and answer of a passkey; or the token you were given.";
    let no_form = || Problem::new(Fault::BadInput, "sign-in", sentence);
    let sign_in: SignIn = serde_json::from_slice(&body).map_err(|_| no_form())?;
    let arrival = people::arrival(&parts);
    let signed_in = match sign_in {
        SignIn {
            token: Some(token),
            login: None,
            password: None,
            code: None,
            challenge: None,
            answer: None,
            state: None,
            iss: None,
        } => {
            return begin_with_token(&app, &parts, &token).await;
        }
        SignIn {
            state: Some(state),
            code: Some(code),
            iss,
            token: None,
            login: None,
            password: None,
            challenge: None,
            answer: None,
        } => {
            let vouched = provider::arrive(&app, &parts, state, Zeroizing::new(code), iss).await?;
            app.people.sign_in_vouched(vouched, arrival).await
        }
        SignIn {
            login: Some(login),
            password: Some(password),
            code,
            token: None,
            challenge: None,
            answer: None,
            state: None,
            iss: None,
        } => app.people.sign_in(&login, password, code.as_deref().unwrap_or_default(), arrival).await,
        SignIn {
            challenge: Some(challenge),
            answer: Some(answer),
            token: None,
            login: None,
            password: None,
            code: None,
            state: None,
            iss: None,
        } => app.people.sign_in_with_passkey(&challenge, answer, arrival).await,
        _ => return Err(no_form()),
    };
    opened(&app, &parts, signed_in.map_err(|error| people::problem(&error))?, json!({})).await
}

/// `POST /api/v1/session/passkey`: what a browser is asked for. It is the same for everybody.
pub(crate) async fn begin_passkey(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    if !origin::may_sign_in(&parts) {
        return Err(foreign());
    }
    Ok(Json(app.people.begin_sign_in(people::address(&parts)).map_err(|error| people::problem(&error))?)
        .into_response())
}

async fn begin_with_token(app: &App, parts: &Parts, token: &str) -> Result<Response, Problem> {
    if !app.sign_in_by_token {
        return Err(Problem::new(Fault::Denied, "token-signs-nobody-in", BY_TOKEN));
    }
    let mut is_person = true;
    let times = |grant: &TokenGrant| {
        let times = Principal { tenant: grant.tenant, actor: grant.actor, role: grant.role }.session_times();
        is_person = times.is_some();
        times
    };
    let begun = app.sessions.begin(token.trim(), times).await.map_err(|error| unknown(&error))?;
    let Some((reference, session)) = begun else {
        return Err(if is_person { Problem::unauthenticated() } else { no_person() });
    };
    opened(app, parts, SignedIn { reference, session, device: None }, json!({})).await
}

/// What whoever tries it can do.
const BY_TOKEN: &str = "A token signs nobody in here: people have logins of their own, with a second factor. Ask for an invitation \
                        (leadglass person invite). Programs send the token with each request.";

/// Records a sign-in, ends the session before it, and hands out the cookies.
pub(crate) async fn opened(app: &App, parts: &Parts, signed_in: SignedIn, more: Value) -> Result<Response, Problem> {
    let SignedIn { reference, session, device } = signed_in;
    if app.engine.record_signing(&person(&session.grant, parts), Signing::In).await.is_err() {
        app.sessions.end(reference.reveal()).await.map_err(|error| unknown(&error))?;
        let sentence = "The sign-in cannot be recorded, so nobody is signed in; try again in a moment.";
        return Err(Problem::new(Fault::Busy, "not-audited", sentence));
    }
    leave(app, parts).await?;
    tracing::info!(tenant = %session.grant.tenant, actor = %session.grant.actor, "signed in");
    let mut body = body_of(app, &session);
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    let mut answer = (StatusCode::CREATED, Json(body)).into_response();
    let headers = answer.headers_mut();
    headers.append(header::SET_COOKIE, cookie::set(&reference));
    if let Some(device) = device {
        headers.append(header::SET_COOKIE, cookie::set_device(&device));
    }
    Ok(answer)
}

/// `GET /api/v1/session`: who is signed in, and until when; 204 when nobody is. Asking is no use, unless it says `?used`:
/// somebody works with what the page has fetched already.
pub(crate) async fn look(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    let counts = if parts.uri.query() == Some("used") { Use::Counts } else { Use::Peek };
    match of_cookie(&parts, &app, counts)? {
        Some(session) => Ok(Json(body_of(&app, &session)).into_response()),
        None => match lock::of(&parts, &app)? {
            Some(session) => Ok(Json(lock::body_of(&app, &session)).into_response()),
            None => Ok(StatusCode::NO_CONTENT.into_response()),
        },
    }
}

/// `DELETE /api/v1/session`: signs out. Who is not signed in is so afterwards, too.
pub(crate) async fn end(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    if cookie::read(&parts.headers).is_some() && !origin::is_own(&parts) {
        return Err(foreign());
    }
    leave(&app, &parts).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie::clear())]).into_response())
}

/// Ends the session that a request bears, if it bears one, and what is being given out in it. An entry says so; what cannot be
/// recorded is ended all the same.
async fn leave(app: &App, parts: &Parts) -> Result<(), Problem> {
    let Some(reference) = cookie::read(&parts.headers) else { return Ok(()) };
    let open = app.sessions.resolve(reference, Use::Peek).map_err(|error| unknown(&error))?;
    let session = match open {
        Some(session) => Some(session),
        None => app.sessions.locked(reference).map_err(|error| unknown(&error))?,
    };
    app.sessions.end(reference).await.map_err(|error| unknown(&error))?;
    if let Some(session) = &session {
        app.engine.end_session(session.session);
    }
    if let Some(session) = session
        && let Err(error) = app.engine.record_signing(&person(&session.grant, parts), Signing::Out).await
    {
        tracing::error!(%error, "a sign-out could not be recorded");
    }
    Ok(())
}

fn person(grant: &TokenGrant, parts: &Parts) -> Person {
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    Person { tenant: grant.tenant, actor: grant.actor, role: grant.role, address }
}

fn body_of(app: &App, session: &SessionGrant) -> Value {
    json!({
        "locked": false,
        "role": session.grant.role,
        "label": session.grant.label,
        "account": session.seat.is_some(),
        "ends_ms": session.ends.0,
        "idle_ends_ms": session.idle_ends.0,
        "viewer_port": app.origins.viewer.get(),
    })
}

pub(crate) fn foreign() -> Problem {
    let sentence = "The request comes from a page of another origin. Open Leadglass itself and try again there.";
    Problem::new(Fault::Denied, "foreign-page", sentence)
}

fn no_person() -> Problem {
    Problem::new(Fault::Denied, "no-person", "This token belongs to a device: nobody signs in with it.")
}

fn unknown(error: &TokenError) -> Problem {
    Problem::new(error.fault(), "records", "Sessions cannot be looked up now.")
}
