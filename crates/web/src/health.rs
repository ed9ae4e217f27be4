//! `/healthz`, `/readyz`, `/metrics`: for supervisors, load balancers and Prometheus. No patient.
//!
//! On the doors for everybody, anybody hears whether the process runs and whether it is ready, and nothing else: how much is
//! stored, how busy the house is and what failed is for those who may administer. The listener for monitoring, on loopback,
//! asks nobody.

use crate::{App, Problem, app::Caller};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// The process runs and answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether studies can be stored and opened right now: 200 or 503. Who may administer is told what is missing.
pub(crate) async fn readyz(State(app): State<App>, caller: Result<Caller, Problem>) -> Response {
    if caller.is_ok_and(|caller| caller.administer().is_ok()) {
        return readiness(State(app)).await;
    }
    let ready = app.engine.readiness().is_ready();
    (status(ready), Json(json!({ "ready": ready }))).into_response()
}

/// The same with all that is known.
pub(crate) async fn readiness(State(app): State<App>) -> Response {
    let readiness = app.engine.readiness();
    (status(readiness.is_ready()), Json(readiness)).into_response()
}

/// `GET /metrics`, for those who may administer.
pub(crate) async fn metrics(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    caller.administer()?;
    Ok(page(State(app)).await)
}

/// Prometheus text format. Labels are codes and states, never names.
pub(crate) async fn page(State(app): State<App>) -> Response {
    app.engine.publish_gauges();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render()).into_response()
}

const fn status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
