//! `/api/v1/restrictions`: processing of a study is restricted (GDPR Art. 18), or no longer.

use super::problem;
use crate::{
    App, Problem,
    app::{Caller, denied},
    people,
    small::Small,
    wado,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use leadglass_engine::{OrderId, Restriction};
use leadglass_model::Fault;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ordered {
    study: String,
    order: String,
}

/// `POST /api/v1/restrictions`: from now on the study opens for the patient's requests and legal claims only.
pub(crate) async fn restrict(State(app): State<App>, caller: Caller, Small(sent): Small) -> Result<Response, Problem> {
    change(&app, &caller, &sent, Restriction::Begins).await
}

/// `POST /api/v1/restrictions/lift`
pub(crate) async fn lift(State(app): State<App>, caller: Caller, Small(sent): Small) -> Result<Response, Problem> {
    change(&app, &caller, &sent, Restriction::Ends).await
}

async fn change(app: &App, caller: &Caller, sent: &[u8], what: Restriction) -> Result<Response, Problem> {
    let permit = caller.principal.restrict().map_err(|refusal| denied(&refusal))?;
    let form = r#"{"study":"UID","order":"2026-17"}"#;
    let Ordered { study, order } = people::read(sent, form)?;
    let study = wado::study_uid(&study)?;
    let sentence = "An order is a short code of small letters, digits, dots and hyphens: 48 at most, and never a name.";
    let order = OrderId::new(&order).filter(|order| order.as_str().len() <= MOST_CHARS);
    let order = order.ok_or_else(|| Problem::new(Fault::BadInput, "order", sentence))?;
    app.engine.restrict(&permit, &study, &order, what).await.map_err(|error| problem(&error))?;
    Ok(Json(json!({ "restricted": what == Restriction::Begins })).into_response())
}

/// As long as a code in the log.
const MOST_CHARS: usize = 48;
