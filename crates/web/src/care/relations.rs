//! `/api/v1/care/relations`: who treats whom, and who works at which device.

use super::problem;
use crate::{App, Problem, app::Caller, people, small::Small};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use leadglass_engine::{Assigned, Matter, RelationView};
use leadglass_model::{ActorRef, Fault, Phi};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Assignment {
    person: String,
    patient_id: Option<String>,
    issuer: Option<String>,
    device: Option<String>,
}

/// `GET /api/v1/care/relations`: nobody is named; a patient stands there by a token.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    Ok(Json(app.engine.relations(&permit).iter().map(body).collect::<Vec<_>>()).into_response())
}

fn body(view: &RelationView) -> Value {
    json!({
        "person": view.actor.to_string(),
        "matter": hex::encode(view.matter.0),
        "kind": view.kind,
        "begun_ms": view.begun.0,
        "ends_ms": view.ends.map(|ends| ends.0),
    })
}

/// `POST /api/v1/care/relations`: a person treats a patient, or works at a device.
pub(crate) async fn assign(State(app): State<App>, caller: Caller, Small(sent): Small) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let form = r#"{"person":"id","patient_id":"…","issuer":"…"} or {"person":"id","device":"id"}"#;
    let assignment: Assignment = people::read(&sent, form)?;
    let person = actor(&assignment.person)?;
    let to = match (assignment.patient_id, assignment.device) {
        (Some(id), None) => Assigned::Patient { id: Phi::new(id), issuer: assignment.issuer.map(Phi::new) },
        (None, Some(device)) if assignment.issuer.is_none() => {
            Assigned::Device(device.parse().map_err(|_| Problem::not_found())?)
        }
        _ => return Err(Problem::new(Fault::BadInput, "form", format!("Send {form}."))),
    };
    let matter = app.engine.assign(&permit, person, &to).await.map_err(|error| problem(&error))?;
    let told = json!({ "person": person.to_string(), "matter": hex::encode(matter.0) });
    Ok((StatusCode::CREATED, Json(told)).into_response())
}

/// `DELETE /api/v1/care/relations/{person}/{matter}`
pub(crate) async fn unassign(
    State(app): State<App>,
    caller: Caller,
    Path((person, matter)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let (person, matter) = (actor(&person)?, Matter(actor(&matter)?.0));
    app.engine.unassign(&permit, person, matter).await.map_err(|error| problem(&error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// 16 bytes as they stand in addresses.
fn actor(id: &str) -> Result<ActorRef, Problem> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(id, &mut bytes).map_err(|_| Problem::not_found())?;
    Ok(ActorRef(bytes))
}
