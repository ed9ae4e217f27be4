//! Refusals on the wire: RFC 9457 with a stable code, a sentence and a request id.

use crate::refusal::Refusal;
use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use leadglass_keys::wire::{PROBLEM_MEDIA_TYPE, Problem};
use leadglass_model::Fault;
use serde::Serialize;

/// A refusal with the request that it answers.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) request_id: String,
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    problem: &'a Problem,
    request_id: &'a str,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response<Body> {
        let problem = self.refusal.problem();
        let causes = self.refusal.causes();
        match self.refusal.fault() {
            Fault::Broken | Fault::Corrupt => {
                tracing::error!(request = self.request_id, code = ?problem.code, causes, "A call failed");
            }
            _ => tracing::info!(request = self.request_id, code = ?problem.code, causes, "A call was refused"),
        }
        let body = serde_json::to_vec(&Told { problem, request_id: &self.request_id }).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
        if let Some(seconds) = problem.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
