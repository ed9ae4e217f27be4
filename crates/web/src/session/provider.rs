//! Signing in through a practice's own identity provider (OpenID Connect, authorization code).
//!
//! The browser is sent there and comes back to `/provider`, a page of ours, which hands over what it was given. What belongs together
//! is told by a cookie of the browser that began: whoever is lured to somebody else's way back is not signed in as him.

use super::{cookie, foreign, origin};
use crate::{App, Problem, people};
use async_trait::async_trait;
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use leadglass_identity::{IdentityError, Vouched};
use leadglass_model::Fault;
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

/// A provider, for the sign-in page.
#[derive(Debug, Clone, Serialize)]
pub struct ProviderView {
    /// Its name in addresses.
    pub id: String,
    /// What stands on its button.
    pub name: String,
}

/// Where a browser goes to, and what it has to bring back.
#[derive(Debug)]
pub struct Departure {
    /// The provider's address.
    pub address: String,
    /// For a cookie of this browser.
    pub secret: Zeroizing<String>,
}

/// What a browser brings back.
pub struct Return {
    /// Which departure it belongs to.
    pub state: String,
    /// What the provider gave it.
    pub code: Zeroizing<String>,
    /// Who the provider says that it is (RFC 9207), if it says so.
    pub issuer: Option<String>,
    /// What the cookie says.
    pub secret: Zeroizing<String>,
}

impl std::fmt::Debug for Return {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Return(‹secret›)")
    }
}

/// Why nobody was vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// There is no such provider.
    #[error("there is no such provider")]
    Unknown,
    /// It does not answer, or not as the standard says.
    #[error("the provider cannot be asked")]
    Away,
    /// Its word, or what the browser brought, is not good.
    #[error("the provider's word is not good")]
    Refused,
}

/// The providers of this node. The program brings them.
#[async_trait]
pub trait SignInProviders: Send + Sync + 'static {
    /// All of them.
    fn list(&self) -> Vec<ProviderView>;

    /// Somebody wants to sign in through one; `here` is the host and port under which the browser finds us.
    ///
    /// Cancel safety: a dropped call begins nothing.
    async fn depart(&self, provider: &str, here: &str) -> Result<Departure, ProviderError>;

    /// Somebody came back. What he brings is good once.
    ///
    /// Cancel safety: a dropped call has used it up.
    async fn arrive(&self, back: Return) -> Result<Vouched, ProviderError>;
}

/// `GET /api/v1/session/providers`: the ways to sign in beside a passkey and a password.
pub(crate) async fn providers(State(app): State<App>) -> Response {
    Json(json!({ "providers": app.providers.list(), "tokens": app.sign_in_by_token })).into_response()
}

/// `POST /api/v1/session/providers/{provider}`: where to go.
pub(crate) async fn depart(
    State(app): State<App>,
    Path(provider): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    if !origin::may_sign_in(&parts) {
        return Err(foreign());
    }
    if !app.providers.list().iter().any(|known| known.id == provider) {
        return Err(Problem::not_found());
    }
    app.people.may_begin(people::address(&parts)).map_err(|error| people::problem(&error))?;
    let host = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let here = parts.uri.authority().map(|authority| authority.as_str()).or(host).ok_or_else(Problem::not_found)?;
    let departure = app.providers.depart(&provider, here).await.map_err(problem)?;
    let body = Json(json!({ "address": departure.address }));
    Ok((StatusCode::OK, [(header::SET_COOKIE, cookie::set_departure(&departure.secret))], body).into_response())
}

/// Whom the provider vouches for.
pub(super) async fn arrive(
    app: &App,
    parts: &Parts,
    state: String,
    code: Zeroizing<String>,
    issuer: Option<String>,
) -> Result<Vouched, Problem> {
    let secret = cookie::departure(&parts.headers).ok_or_else(|| problem(ProviderError::Refused))?;
    let back = Return { state, code, issuer, secret: Zeroizing::new(secret.to_owned()) };
    app.providers.arrive(back).await.map_err(problem)
}

fn problem(error: ProviderError) -> Problem {
    match error {
        ProviderError::Unknown => Problem::not_found(),
        ProviderError::Refused => people::problem(&IdentityError::Refused),
        ProviderError::Away => {
            let sentence =
                "The sign-in service of your practice does not answer; try again, or sign in in another way.";
            Problem::new(Fault::Busy, "provider-away", sentence)
        }
    }
}
