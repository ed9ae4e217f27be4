//! The answers of a connection: which of them the peer has to take something of.

use super::{PIECE_BYTES, Stream, Traffic};
use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Request, Response, Version},
};
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;
use tower::Service;

/// A connection's service, whose requests and answers are counted.
#[derive(Debug, Clone)]
pub(crate) struct Counted<S> {
    service: S,
    traffic: Traffic,
}

impl<S> Counted<S> {
    pub(crate) const fn new(service: S, traffic: Traffic) -> Self {
        Self { service, traffic }
    }
}

impl<S, B> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let piece_bytes = if request.version() == Version::HTTP_2 { PIECE_BYTES } else { usize::MAX };
        let open = Open::new(self.traffic.clone());
        let answer = self.service.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| open.send(body, piece_bytes))) })
    }
}

/// A request whose answer is not over.
#[derive(Debug)]
struct Open(Traffic);

impl Open {
    fn new(traffic: Traffic) -> Self {
        traffic.change(|counts| counts.requests += 1);
        Self(traffic)
    }

    fn send(self, body: Body, piece_bytes: usize) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let stream = (piece_bytes < usize::MAX).then(|| {
            let mut counts = self.0.0.lock();
            counts.next_stream += 1;
            counts.next_stream
        });
        let mut sending = Sending { body, rest: Bytes::new(), piece_bytes, waits: false, stream, open: self };
        sending.wait(true);
        Body::new(sending)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.change(|counts| counts.requests -= 1);
    }
}

/// The body of an answer on its way.
struct Sending {
    body: Body,
    /// Of a piece that was too long.
    rest: Bytes,
    piece_bytes: usize,
    waits: bool,
    /// Its number among the streams of its connection.
    stream: Option<u64>,
    open: Open,
}

impl Sending {
    /// Whether the peer has to take something before this is asked on.
    fn wait(&mut self, waits: bool) {
        if self.waits != waits {
            self.waits = waits;
            let stream = self.stream;
            self.open.0.change(|counts| {
                if waits {
                    counts.waiting += 1;
                    let (since, total) = (Instant::now(), counts.total);
                    counts.streams.extend(stream.map(|number| Stream { number, since, total }));
                } else {
                    counts.waiting -= 1;
                    counts.streams.retain(|other| Some(other.number) != stream);
                }
            });
        }
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.wait(false);
        if self.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?) else { return Poll::Ready(None) };
            match frame.into_data() {
                Ok(piece) => self.rest = piece,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let piece_len = self.piece_bytes.min(self.rest.len());
        let piece = self.rest.split_to(piece_len);
        self.wait(true);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.wait(false);
    }
}
