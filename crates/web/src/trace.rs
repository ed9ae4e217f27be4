//! The outermost layer: request ids, one log line a request, problem bodies, security headers.
//!
//! **Invariant:** the log line carries the route's template, never the URI: paths hold UIDs, queries hold names.

use crate::Problem;
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use std::time::Instant;

/// Gives the request an id, runs it, logs and counts it, and writes the body of a [`Problem`].
pub(crate) async fn label(request: Request, next: Next) -> Response {
    let request_id = fresh_id();
    let method = request.method().clone();
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".to_owned(), |m| m.as_str().to_owned());
    let begun = Instant::now();

    let mut answer = next.run(request).await;
    if let Some(problem) = answer.extensions_mut().remove::<Problem>() {
        answer = problem.answer(&request_id);
    }

    let status = answer.status().as_u16();
    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(request = %request_id, %method, %route, status, duration_ms = millis, "{method} {route} {status}");
    metrics::counter!("leadglass_http_requests_total", "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!("leadglass_http_request_seconds", "route" => route).record(begun.elapsed().as_secs_f64());

    let headers = answer.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// 16 random hexadecimal digits: enough to find one line in a log.
fn fresh_id() -> String {
    let mut bytes = [0; 8];
    leadglass_model::Entropy::fill(&leadglass_model::SystemEntropy, &mut bytes);
    hex::encode(bytes)
}

/// What every answer says to a browser and to caches.
const ALWAYS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
];
