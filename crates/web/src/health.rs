//! `/healthz`, `/readyz`, `/metrics`: for supervisors, load balancers and Prometheus. No token, no patient.

use crate::App;
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

/// The process runs and answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Studies can be stored and opened right now. 503 names what is missing.
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let readiness = app.engine.readiness();
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Prometheus text format. Labels are codes and states, never names.
pub(crate) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    app.engine.publish_gauges();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render())
}
