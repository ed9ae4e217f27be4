//! `/api/v1/reviews`: emergencies, for those who look at them afterwards.

use super::problem;
use crate::{
    App, Problem,
    app::{Caller, denied},
    people,
    small::Small,
};
use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use leadglass_engine::{Decision, ReviewView};
use leadglass_model::{EntryId, Permit, Review};
use serde::Deserialize;
use serde_json::{Value, json};

/// `GET /api/v1/reviews`
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = permit(&caller)?;
    let reviews = app.engine.reviews(&permit).await.map_err(|error| problem(&error))?;
    Ok(Json(reviews.iter().map(body).collect::<Vec<_>>()).into_response())
}

fn body(view: &ReviewView) -> Value {
    let closed =
        view.closed.map(|(by, at, decision)| json!({ "by": by.to_string(), "at_ms": at.0, "decision": decision }));
    json!({
        "review": view.id.to_string(),
        "actor": view.actor.to_string(),
        "study": view.study.to_string(),
        "begun_ms": view.begun.0,
        "ends_ms": view.ends.0,
        "reason": view.reason.as_ref().map(|reason| reason.expose()),
        "closed": closed,
    })
}

/// `POST /api/v1/reviews/{review}`: closes it with a decision.
pub(crate) async fn close(
    State(app): State<App>,
    caller: Caller,
    Path(review): Path<String>,
    Small(sent): Small,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Decided {
        decision: Decision,
    }
    let permit = permit(&caller)?;
    let id: EntryId = review.parse().map_err(|_| Problem::not_found())?;
    let form = r#"{"decision":"justified"} or {"decision":"not-justified"}"#;
    let Decided { decision } = people::read(&sent, form)?;
    app.engine.close_review(&permit, id, decision).await.map_err(|error| problem(&error))?;
    Ok(Json(json!({ "review": review, "decision": decision })).into_response())
}

fn permit(caller: &Caller) -> Result<Permit<Review>, Problem> {
    caller.principal.review().map_err(|refusal| denied(&refusal))
}
