//! Retention rules and legal holds. For the data protection officer, who knows what a lawyer said; whoever administers may read
//! them. Whom a hold is about stands in the body: an address stands in the logs of whatever lies between.

use crate::{App, Problem, app::Caller, small::Small};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use leadglass_engine::{Day, Hold, RetentionError, Rule, WhatToHold};
use leadglass_model::{Administer, Fault, Permit, Phi, Role, StudyUid};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// `GET /api/v1/retention/rules`
pub(crate) async fn rules(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    Ok(Json(app.engine.retention_rules(&permit).await.map_err(|e| problem(&e))?).into_response())
}

/// `PUT /api/v1/retention/rules`: writes a rule; it has to be confirmed then.
pub(crate) async fn put_rule(State(app): State<App>, caller: Caller, Small(sent): Small) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let rule: Rule = serde_json::from_slice(&sent).map_err(|_| {
        let sentence = r#"Send {"id":"de-x-ray","country":"DE","class":{"modalities":["CT"]},"years":10,"since":"last-examination","minors_until":28,"source":"…"}."#;
        Problem::new(Fault::BadInput, "rule", sentence)
    })?;
    Ok(Json(app.engine.put_retention_rule(&permit, rule).await.map_err(|e| problem(&e))?).into_response())
}

/// `DELETE /api/v1/retention/rules/{rule}`
pub(crate) async fn drop_rule(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    app.engine.drop_retention_rule(&permit, &id).await.map_err(|e| problem(&e))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/retention/rules/{rule}/confirm`
pub(crate) async fn confirm(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    Ok(Json(app.engine.confirm_retention_rule(&permit, &id).await.map_err(|e| problem(&e))?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seeds {
    country: String,
}

/// `POST /api/v1/retention/seeds`: rules that are known for a country, none of them confirmed.
pub(crate) async fn seed(State(app): State<App>, caller: Caller, Small(sent): Small) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let Seeds { country } = serde_json::from_slice(&sent)
        .map_err(|_| Problem::new(Fault::BadInput, "form", r#"Send {"country":"DE"}."#))?;
    Ok(Json(app.engine.seed_retention(&permit, &country).await.map_err(|e| problem(&e))?).into_response())
}

#[derive(Deserialize)]
pub(crate) struct On {
    on: Option<String>,
}

/// A study whose time is over.
#[derive(Serialize)]
struct Over {
    study: String,
    study_ref: String,
    until: Day,
    rule: String,
}

/// `GET /api/v1/retention/due`: what is over today, or on another day (`?on=2030-01-01`), the longest ago first.
pub(crate) async fn due(
    State(app): State<App>,
    caller: Caller,
    Query(On { on }): Query<On>,
) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let on = on.map(|on| on.parse()).transpose();
    let on = on.map_err(|_| Problem::new(Fault::BadInput, "day", "Say ?on=2030-01-31."))?;
    let list = app.engine.retention_due(&permit, on, MOST_DUE).await.map_err(|e| problem(&e))?;
    let studies = list.studies.into_iter().map(|due| Over {
        study: due.study.expose().to_owned(),
        study_ref: due.study_ref.to_string(),
        until: due.until,
        rule: due.rule,
    });
    let body = json!({ "on": list.on, "total": list.total, "studies": studies.collect::<Vec<_>>() });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    study: Option<String>,
    patient_id: Option<String>,
    issuer: Option<String>,
    reason: String,
}

/// `GET /api/v1/holds`. Nobody is named.
pub(crate) async fn holds(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let holds = app.engine.holds(&permit).await.map_err(|e| problem(&e))?;
    let body = Json(holds.iter().map(told).collect::<Vec<_>>());
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// `POST /api/v1/holds`: nothing of a study or a patient is erased until the hold is lifted.
pub(crate) async fn hold(State(app): State<App>, caller: Caller, Small(sent): Small) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let form = || {
        let sentence = r#"Send {"study":"UID","reason":"…"} or {"patient_id":"…","issuer":"…","reason":"…"}."#;
        Problem::new(Fault::BadInput, "form", sentence)
    };
    let asked: Asked = serde_json::from_slice(&sent).map_err(|_| form())?;
    let what = match (asked.study, asked.patient_id, asked.issuer) {
        (Some(study), None, None) => WhatToHold::Study(StudyUid::parse(&study).map_err(|_| Problem::not_found())?),
        (None, Some(id), issuer) if !id.is_empty() => {
            WhatToHold::Patient { id: Phi::new(id), issuer: issuer.map(Phi::new) }
        }
        _ => return Err(form()),
    };
    if !(1..=MAX_REASON_BYTES).contains(&asked.reason.len()) {
        return Err(form());
    }
    let hold = app.engine.hold(&permit, what, asked.reason).await.map_err(|e| problem(&e))?;
    Ok((StatusCode::CREATED, Json(told(&hold))).into_response())
}

/// `DELETE /api/v1/holds/{hold}`
pub(crate) async fn lift(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let id = id.parse().map_err(|_| Problem::not_found())?;
    app.engine.lift_hold(&permit, id).await.map_err(|e| problem(&e))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn told(hold: &Hold) -> serde_json::Value {
    let level = if hold.is_of_patient() { "patient" } else { "study" };
    json!({ "id": hold.id, "level": level, "reason": hold.reason, "by": hold.by, "at_ms": hold.at.0 })
}

fn officer(caller: &Caller) -> Result<Permit<Administer>, Problem> {
    let permit = caller.administer()?;
    if permit.role() == Role::Dpo {
        return Ok(permit);
    }
    let sentence = "What has to be kept is for the data protection officer.";
    Err(Problem::new(Fault::Denied, "not-allowed", sentence))
}

fn problem(error: &RetentionError) -> Problem {
    let sentence = match error {
        RetentionError::Missing => return Problem::not_found(),
        RetentionError::Form => {
            "A rule has a name of small letters, digits and hyphens, a country such as DE, 1 to 200 years and a source."
        }
        RetentionError::TooMany => "There are too many already; drop some.",
        RetentionError::NoSeeds => {
            "No rule is known for this country. Its law has to be looked up and the rule written."
        }
        RetentionError::Changed => "Somebody else changed it at the same time; look at it again.",
        error => {
            tracing::warn!(fault = ?error.fault(), %error, "what has to be kept could not be asked or changed");
            "What has to be kept cannot be told now; try again."
        }
    };
    Problem::new(error.fault(), error.code(), sentence)
}

/// Told at once; how many there are is told beside.
const MOST_DUE: usize = 1_000;
const MAX_REASON_BYTES: usize = 4_096;
