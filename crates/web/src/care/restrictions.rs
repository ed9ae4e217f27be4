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
use leadglass_model::{Fault, StudyRef, StudyUid};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ordered {
    study: Option<String>,
    study_ref: Option<String>,
    order: String,
}

/// `GET /api/v1/restrictions`: the studies' random names. Nobody is named.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = caller.principal.restrict().map_err(|refusal| denied(&refusal))?;
    let all = app.engine.restrictions(&permit);
    Ok(Json(all.iter().map(|study| json!({ "study_ref": study.to_string() })).collect::<Vec<_>>()).into_response())
}

/// `POST /api/v1/restrictions`: from now on the study opens for the patient's requests and legal claims only.
pub(crate) async fn restrict(State(app): State<App>, caller: Caller, Small(sent): Small) -> Result<Response, Problem> {
    change(&app, &caller, &sent, Restriction::Begins).await
}

/// `POST /api/v1/restrictions/lift`: by the study's UID, or by its name in the list.
pub(crate) async fn lift(State(app): State<App>, caller: Caller, Small(sent): Small) -> Result<Response, Problem> {
    change(&app, &caller, &sent, Restriction::Ends).await
}

async fn change(app: &App, caller: &Caller, sent: &[u8], what: Restriction) -> Result<Response, Problem> {
    let permit = caller.principal.restrict().map_err(|refusal| denied(&refusal))?;
    let form = r#"{"study":"UID","order":"2026-17"}; to lift one also {"study_ref":"…","order":"2026-18"}"#;
    let Ordered { study, study_ref, order } = people::read(sent, form)?;
    let named = match (study, study_ref, what) {
        (Some(study), None, _) => Named::Uid(wado::study_uid(&study)?),
        (None, Some(study), Restriction::Ends) => Named::Ref(study.parse().map_err(|_| Problem::not_found())?),
        _ => return Err(Problem::new(Fault::BadInput, "form", format!("Send {form}."))),
    };
    let sentence = "An order is a short code of small letters, digits, dots and hyphens: 48 at most, and never a name.";
    let order = OrderId::new(&order).filter(|order| order.as_str().len() <= MOST_CHARS);
    let order = order.ok_or_else(|| Problem::new(Fault::BadInput, "order", sentence))?;
    let changed = match named {
        Named::Uid(study) => app.engine.restrict(&permit, &study, &order, what).await,
        Named::Ref(study) => app.engine.lift_restriction(&permit, study, &order).await,
    };
    changed.map_err(|error| problem(&error))?;
    Ok(Json(json!({ "restricted": what == Restriction::Begins })).into_response())
}

enum Named {
    Uid(StudyUid),
    Ref(StudyRef),
}

/// As long as a code in the log.
const MOST_CHARS: usize = 48;
