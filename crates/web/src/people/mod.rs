//! People over HTTP: who works here (for those who may manage that), how one comes, and one's own account.

mod account;
mod join;
mod staff;

pub(crate) use account::{
    Own, add_passkey, codes, issue_token, look as account, lost as own_lost, remove_passkey, revoke_token,
};
pub(crate) use join::{accept, begin_passkey as join_with_passkey, look as invitation};
pub(crate) use staff::{change_role, invite, invite_again, leave, list, look as person, lost};

use crate::Problem;
use axum::{
    extract::ConnectInfo,
    http::{StatusCode, header, request::Parts},
};
use leadglass_identity::{Arrival, DeviceId, IdentityError};
use leadglass_model::Fault;
use serde::de::DeserializeOwned;
use std::net::{IpAddr, SocketAddr};

/// What a caller is told.
pub(crate) fn problem(error: &IdentityError) -> Problem {
    let sentence = match error {
        IdentityError::Refused => {
            let sentence = "That does not fit: check name, password and code, or use your passkey.";
            return Problem::with_status(StatusCode::UNAUTHORIZED, error.code(), sentence);
        }
        IdentityError::TooSoon { seconds } => {
            let sentence = format!("Too many attempts. Try again in {seconds} s.");
            return Problem::with_status(StatusCode::TOO_MANY_REQUESTS, error.code(), sentence);
        }
        IdentityError::Missing => return Problem::not_found(),
        IdentityError::Invitation => {
            "This invitation was used, or is over. Ask whoever sent it for another one.".to_owned()
        }
        IdentityError::Pepper { .. } => "Nobody can sign in with a password at the moment; try again soon.".to_owned(),
        other => format!("{}.", other.to_string().trim_end_matches('.')),
    };
    if matches!(error.fault(), Fault::Broken | Fault::Corrupt) {
        tracing::error!(%error, "people");
    }
    Problem::new(error.fault(), error.code(), sentence)
}

/// Where a request comes from, as far as a sign-in wants to know it.
pub(crate) fn arrival(parts: &Parts) -> Arrival {
    let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Arrival {
        address: address(parts),
        device: crate::session::cookie::device(&parts.headers).map(str::to_owned),
        agent: agent.unwrap_or_default().to_owned(),
    }
}

pub(crate) fn address(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip())
}

pub(crate) fn read<T: DeserializeOwned>(body: &[u8], form: &str) -> Result<T, Problem> {
    // What was sent may hold a password: nothing of it is repeated.
    serde_json::from_slice(body).map_err(|_| Problem::new(Fault::BadInput, "form", format!("Send {form}.")))
}

/// A device of a body `{"device":"…"}`; all of them where it names none.
fn device_of(body: &[u8]) -> Result<Option<DeviceId>, Problem> {
    #[derive(serde::Deserialize, Default)]
    #[serde(deny_unknown_fields)]
    struct Lost {
        device: Option<String>,
    }
    let form = r#"{"device":"…"}, or nothing for all devices"#;
    let lost: Lost = if body.is_empty() { Lost::default() } else { read(body, form)? };
    let Some(text) = lost.device else { return Ok(None) };
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).map_err(|_| Problem::not_found())?;
    Ok(Some(id))
}
