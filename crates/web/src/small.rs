//! The body of a small request, such as a JSON object: all of it, soon, or none.

use crate::Problem;
use axum::{
    body,
    extract::{FromRequest, Request},
    http::StatusCode,
};
use bytes::Bytes;
use std::time::Duration;

/// A whole body of at most [`MAX_BODY_BYTES`]. Let it stand behind the caller: nobody unknown makes us wait for one.
#[derive(Debug)]
pub(crate) struct Small(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Small {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let whole = body::to_bytes(request.into_body(), MAX_BODY_BYTES);
        match tokio::time::timeout(BODY_TIME, whole).await {
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(error)) if is_too_long(&error) => {
                let sentence = format!("The body is longer than {MAX_BODY_BYTES} bytes.");
                Err(Problem::with_status(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", sentence))
            }
            Ok(Err(_)) => {
                Err(Problem::with_status(StatusCode::BAD_REQUEST, "body-broken", "The body broke off before its end."))
            }
            Err(_) => {
                let sentence = "The body did not come in time; send it together with the request.";
                Err(Problem::with_status(StatusCode::REQUEST_TIMEOUT, "body-too-slow", sentence))
            }
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// Bytes of a body.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;
/// From its first byte to its last.
const BODY_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, response::IntoResponse};
    use futures::stream::{self, StreamExt};

    async fn read(body: Body) -> Result<usize, u16> {
        let small = Small::from_request(Request::new(body), &()).await;
        small.map(|Small(bytes)| bytes.len()).map_err(|problem| problem.into_response().status().as_u16())
    }

    /// A client that sends headers and no body, or a byte now and then, once held a place for as long as it liked: 512 such
    /// requests, and nobody else was answered.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        assert_eq!(read(Body::from("{}")).await, Ok(2));
        assert_eq!(read(Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())).await, Err(408));
        let dripping = stream::repeat(Bytes::from_static(b"x")).then(async |byte| {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok::<_, std::io::Error>(byte)
        });
        assert_eq!(read(Body::from_stream(dripping)).await, Err(408));
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_or_breaks_off_is_a_problem() {
        assert_eq!(read(Body::from(vec![b' '; MAX_BODY_BYTES])).await, Ok(MAX_BODY_BYTES));
        assert_eq!(read(Body::from(vec![b' '; MAX_BODY_BYTES + 1])).await, Err(413));
        let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]);
        assert_eq!(read(Body::from_stream(broken)).await, Err(400));
    }
}
