//! The outermost layer: request ids, one log line a request, problem bodies, security headers.
//!
//! **Invariant:** the log line carries the route's template, never the URI: paths hold UIDs, queries hold names.

use crate::{Problem, open_answers};
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
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
    if let Some(problem) = answer.extensions_mut().remove::<Problem>().or_else(|| unsaid(&answer)) {
        answer = told(&problem, &request_id, answer.headers());
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
    answer.map(open_answers::counted)
}

/// A problem's answer, with what else the handler's said of it: `Content-Range`, for example.
fn told(problem: &Problem, request_id: &str, more: &HeaderMap) -> Response {
    let mut answer = problem.answer(request_id);
    let of_the_body = [header::CONTENT_TYPE, header::CONTENT_LENGTH];
    let more = more.iter().filter(|(name, _)| !of_the_body.contains(name) && !answer.headers().contains_key(*name));
    for (name, value) in more.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>() {
        answer.headers_mut().append(name, value);
    }
    answer
}

/// The problem in what was answered before a handler was asked, which is empty or plain text.
fn unsaid(answer: &Response) -> Option<Problem> {
    let status = answer.status();
    let is_failure = status.is_client_error() || status.is_server_error();
    let kind = answer.headers().get(header::CONTENT_TYPE);
    if !is_failure || kind.is_some_and(|kind| !kind.as_bytes().starts_with(b"text/plain")) {
        return None;
    }
    let (code, sentence) = match status {
        StatusCode::METHOD_NOT_ALLOWED => ("method", "This address takes other methods: Allow names them."),
        StatusCode::PAYLOAD_TOO_LARGE => ("body-too-large", "The body is longer than this address takes."),
        _ if status.is_client_error() => ("request", "The request, or its address, cannot be read."),
        _ => ("internal", "Something broke on our side. The request's id helps to find it."),
    };
    Some(Problem::with_status(status, code, sentence))
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        body::Body,
        extract::Query,
        middleware,
        response::IntoResponse,
        routing::{MethodRouter, get},
    };
    use std::collections::HashMap;
    use tower::ServiceExt;

    async fn ask(method: &str, uri: &str) -> (StatusCode, HeaderMap) {
        let beyond = async |Query(_): Query<HashMap<String, u8>>| {
            let problem = Problem::with_status(StatusCode::RANGE_NOT_SATISFIABLE, "range", "No.");
            ([(header::CONTENT_RANGE, "bytes */7")], problem).into_response()
        };
        let service: MethodRouter = get(beyond).layer(middleware::from_fn(label));
        let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
        let answer = service.oneshot(request).await.unwrap();
        (answer.status(), answer.headers().clone())
    }

    /// The length that a 416 has to tell (RFC 9110 §15.5.17) once got lost, and 405 and 400 of the router's own had no body.
    #[tokio::test]
    async fn every_failure_is_a_problem_and_keeps_its_headers() {
        for (method, uri, status, kept) in [
            ("GET", "/", 416, Some((header::CONTENT_RANGE, "bytes */7"))),
            ("PUT", "/", 405, Some((header::ALLOW, "GET,HEAD"))),
            ("GET", "/?unread=x", 400, None),
        ] {
            let (told, headers) = ask(method, uri).await;
            assert_eq!(told.as_u16(), status, "{uri}");
            assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json", "{method} {uri}");
            if let Some((name, value)) = kept {
                assert_eq!(headers[name], value, "{uri}");
            }
        }
    }
}
