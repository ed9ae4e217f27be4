//! `/api/v1/people`: for the role admin.

use super::{address, device_of, problem, read};
use crate::{App, Problem, app::Caller, small::Small};
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use leadglass_identity::{Invited, NewPerson};
use leadglass_model::{ActorRef, ManagePeople, Permit, Role};
use serde::Deserialize;
use serde_json::json;

/// `GET /api/v1/people`
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let all = app.people.list(&permit(&caller)?).await.map_err(|e| problem(&e))?;
    Ok(Json(all).into_response())
}

/// `POST /api/v1/people`
pub(crate) async fn invite(
    State(app): State<App>,
    caller: Caller,
    parts: Parts,
    Small(body): Small,
) -> Result<Response, Problem> {
    let permit = permit(&caller)?;
    let new: NewPerson = read(&body, r#"{"login":"…","name":"…","role":"clinician"}"#)?;
    let invited = app.people.invite(&permit, new, address(&parts)).await.map_err(|e| problem(&e))?;
    Ok((StatusCode::CREATED, Json(link(&invited))).into_response())
}

/// `GET /api/v1/people/{id}`
pub(crate) async fn look(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let permit = permit(&caller)?;
    Ok(Json(app.people.account_of(&permit, person(&id)?).await.map_err(|e| problem(&e))?).into_response())
}

/// `POST /api/v1/people/{id}/invitation`
pub(crate) async fn invite_again(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let permit = permit(&caller)?;
    let again = app.people.invite_again(&permit, person(&id)?, address(&parts)).await.map_err(|e| problem(&e))?;
    Ok((StatusCode::CREATED, Json(link(&again))).into_response())
}

/// `PUT /api/v1/people/{id}/role`
pub(crate) async fn change_role(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    parts: Parts,
    Small(body): Small,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Change {
        role: Role,
    }
    let permit = permit(&caller)?;
    let Change { role } = read(&body, r#"{"role":"clinician"}"#)?;
    let changed = app.people.change_role(&permit, person(&id)?, role, address(&parts)).await;
    changed.map_err(|e| problem(&e))?;
    Ok(Json(json!({ "id": id, "role": role })).into_response())
}

/// `DELETE /api/v1/people/{id}`: somebody does not work here any more.
pub(crate) async fn leave(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let permit = permit(&caller)?;
    app.people.leave(&permit, person(&id)?, address(&parts)).await.map_err(|e| problem(&e))?;
    Ok(Json(json!({ "id": id, "state": "left" })).into_response())
}

/// `POST /api/v1/people/{id}/lost`
pub(crate) async fn lost(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    parts: Parts,
    Small(body): Small,
) -> Result<Response, Problem> {
    let permit = permit(&caller)?;
    let device = device_of(&body)?;
    let ended = app.people.lost_by(&permit, person(&id)?, device, address(&parts)).await.map_err(|e| problem(&e))?;
    Ok(Json(json!({ "id": id, "sessions": ended })).into_response())
}

fn permit(caller: &Caller) -> Result<Permit<ManagePeople>, Problem> {
    let permit = caller.principal.manage_people();
    permit.map_err(|refusal| Problem::new(refusal.fault(), "not-allowed", format!("{refusal}.")))
}

fn person(id: &str) -> Result<ActorRef, Problem> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(id, &mut bytes).map_err(|_| Problem::not_found())?;
    Ok(ActorRef(bytes))
}

/// The link's end: a browser never sends what stands behind `#`.
fn link(invited: &Invited) -> serde_json::Value {
    json!({
        "id": invited.id.to_string(),
        "path": format!("/invitation#{}", &*invited.secret),
        "ends_ms": invited.ends.0,
    })
}
