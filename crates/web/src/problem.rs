//! What a caller is told when something went wrong: RFC 9457 problem details with a stable code and the request's id.
//!
//! One table from [`Fault`] to a status. The sentence helps; it never names a patient, a UID or what exists elsewhere.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use leadglass_model::Fault;
use serde::Serialize;

/// An error on its way to a caller. The request's id is filled in by the outermost layer.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    sentence: String,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    request_id: &'a str,
}

impl Problem {
    /// A problem with a stable `code` (kebab-case) and a `sentence` that helps.
    pub fn new(fault: Fault, code: &'static str, sentence: impl Into<String>) -> Self {
        Self { status: status(fault), code, sentence: sentence.into() }
    }

    /// A problem with a status of its own, where HTTP has a finer word than [`Fault`].
    pub fn with_status(status: StatusCode, code: &'static str, sentence: impl Into<String>) -> Self {
        Self { status, code, sentence: sentence.into() }
    }

    /// No or an unknown bearer token: the two look alike.
    pub fn unauthenticated() -> Self {
        Self::with_status(StatusCode::UNAUTHORIZED, "unauthenticated", "Send a valid token: Authorization: Bearer …")
    }

    /// Absent, or not for this caller.
    pub fn not_found() -> Self {
        Self::new(Fault::Missing, "not-found", "There is nothing here that you may see.")
    }

    /// Gives the answer for the request `request_id`.
    pub fn answer(&self, request_id: &str) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = Body {
            r#type: "about:blank",
            title,
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.sentence,
            request_id,
        };
        let mut answer = (self.status, Json(body)).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        answer
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // The body is written by `trace::label`, which knows the request's id.
        let mut answer = self.status.into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}

/// The one table from faults to statuses.
const fn status(fault: Fault) -> StatusCode {
    match fault {
        Fault::BadInput => StatusCode::BAD_REQUEST,
        Fault::Denied => StatusCode::FORBIDDEN,
        Fault::Missing => StatusCode::NOT_FOUND,
        Fault::Conflict => StatusCode::CONFLICT,
        Fault::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Fault::Corrupt | Fault::Broken => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_answer_says_when_to_come_back() {
        let answer = Problem::new(Fault::Busy, "full", "Try again.").answer("r1");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "5");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn an_unauthenticated_answer_names_the_scheme() {
        assert_eq!(Problem::unauthenticated().answer("r1").headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
