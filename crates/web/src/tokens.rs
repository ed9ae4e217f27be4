//! `/api/v1/tokens`: tokens that an operator issued, for the role admin. One that leaked is ended here at once; issuing needs the
//! host of the vault.

use crate::{App, Problem, app::Caller, people};
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use leadglass_engine::Person;
use leadglass_model::{ActorRef, Fault, ManagePeople, Permit};
use leadglass_records::{TokenError, TokenInfo};
use serde::Serialize;

#[derive(Serialize)]
struct Body<'a> {
    actor: String,
    role: &'static str,
    label: &'a str,
    issued_ms: u64,
    expires_ms: Option<u64>,
    revoked_ms: Option<u64>,
}

/// `GET /api/v1/tokens`
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = permit(&caller)?;
    let all = own(&app, &permit).await?;
    Ok(Json(all.iter().map(body).collect::<Vec<_>>()).into_response())
}

/// `DELETE /api/v1/tokens/{token}`: ends it, and what it is being given. The entry is durable first.
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(actor): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let permit = permit(&caller)?;
    let mut bytes = [0; 16];
    hex::decode_to_slice(&actor, &mut bytes).map_err(|_| Problem::not_found())?;
    let actor = ActorRef(bytes);
    if own(&app, &permit).await?.iter().all(|token| token.grant.actor != actor) {
        return Err(Problem::not_found());
    }
    let by = Person {
        tenant: permit.tenant(),
        actor: permit.actor(),
        role: permit.role(),
        address: people::address(&parts),
    };
    let recorded = app.engine.record_deed(&by, actor, "token-revoked").await;
    recorded.map_err(|error| {
        tracing::warn!(%error, "that a token was ended could not be recorded");
        Problem::new(Fault::Busy, "not-audited", "It cannot be recorded, so the token goes on; try again in a moment.")
    })?;
    app.tokens.revoke(permit.tenant(), actor).await.map_err(|error| problem(&error))?;
    let accesses = app.engine.end_actor(actor);
    tracing::info!(%actor, accesses, "a token was ended");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Those of the tenant that no person made for himself: those are his.
async fn own(app: &App, permit: &Permit<ManagePeople>) -> Result<Vec<TokenInfo>, Problem> {
    let mut all = app.tokens.list(Some(permit.tenant())).await.map_err(|error| problem(&error))?;
    all.retain(|token| token.seat.is_none());
    Ok(all)
}

fn body(token: &TokenInfo) -> Body<'_> {
    Body {
        actor: token.grant.actor.to_string(),
        role: token.grant.role.as_str(),
        label: &token.grant.label,
        issued_ms: token.issued.0,
        expires_ms: token.expires.map(|at| at.0),
        revoked_ms: token.revoked.map(|at| at.0),
    }
}

fn permit(caller: &Caller) -> Result<Permit<ManagePeople>, Problem> {
    let permit = caller.principal.manage_people();
    permit.map_err(|refusal| Problem::new(refusal.fault(), "not-allowed", format!("{refusal}.")))
}

fn problem(error: &TokenError) -> Problem {
    tracing::warn!(%error, "the tokens cannot be read or written");
    Problem::new(error.fault(), "tokens", "The tokens cannot be read or written; try again in a moment.")
}
