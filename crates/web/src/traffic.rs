//! Whether the peer of a connection gets on: one that takes nothing of what it asked for, or asks for nothing, is let go.
//!
//! HTTP/1.1 and HTTP/2 stall in different places. A socket that takes no more is seen where it is written. A stream of HTTP/2
//! that takes no more leaves its socket free: it is seen by its body not being asked for the next piece, so bodies are
//! counted while they wait for that, and long pieces are cut, for a piece that was handed over is out of our hands.

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Request, Response, Version},
};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};
use tower::Service;

/// What goes on on one connection. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Traffic(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    /// Requests whose answers are not over.
    requests: usize,
    /// Answers of which the peer has to take the next piece.
    waiting: usize,
    /// Those of HTTP/2, which get on or do not each by itself: since when each has waited.
    streams: Vec<(u64, Instant)>,
    next_stream: u64,
    /// The socket takes no more.
    blocked: bool,
    /// Bytes that were written since `since`.
    written: usize,
    /// When the peer last got on, or began not to.
    since: Instant,
}

impl Counts {
    const fn is_pressing(&self) -> bool {
        self.waiting > 0 || self.blocked
    }

    fn restart(&mut self) {
        (self.written, self.since) = (0, Instant::now());
    }

    /// Changes something, and begins to count where that makes us wait, or not wait any more.
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let was = (self.is_pressing(), self.requests > 0);
        change(self);
        if was != (self.is_pressing(), self.requests > 0) {
            self.restart();
        }
    }
}

impl Traffic {
    pub(crate) fn new() -> Self {
        let since = Instant::now();
        Self(Arc::new(Mutex::new(Counts {
            requests: 0,
            waiting: 0,
            streams: Vec::new(),
            next_stream: 0,
            blocked: false,
            written: 0,
            since,
        })))
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        self.0.lock().change(change);
    }

    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        let mut counts = self.0.lock();
        match outcome {
            Poll::Pending => counts.change(|counts| counts.blocked = true),
            Poll::Ready(Ok(bytes)) => {
                counts.written += bytes;
                if counts.written >= PROGRESS_BYTES {
                    counts.restart();
                    counts.blocked = false;
                }
            }
            Poll::Ready(Err(_)) => {}
        }
    }

    /// Nothing is left to be written.
    fn flushed(&self) {
        self.change(|counts| counts.blocked = false);
    }

    /// Whether it is over.
    fn is_over(&self) -> bool {
        let counts = self.0.lock();
        let quiet = counts.since.elapsed();
        if counts.streams.iter().any(|(_, since)| since.elapsed() >= STREAM_TIME) {
            return true;
        }
        if counts.is_pressing() { quiet >= STALL_TIME } else { counts.requests == 0 && quiet >= IDLE_TIME }
    }
}

/// A connection that ends itself when its peer does not get on. `P` is held as long as it is.
#[derive(Debug)]
pub(crate) struct Watched<S, P = crate::doorman::Place> {
    stream: S,
    traffic: Traffic,
    look: Pin<Box<Sleep>>,
    _place: P,
}

impl<S, P> Watched<S, P> {
    pub(crate) fn new(stream: S, traffic: Traffic, place: P) -> Self {
        Self { stream, traffic, look: Box::pin(tokio::time::sleep(LOOK_EVERY)), _place: place }
    }

    /// Looks now and then, whoever asks.
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.look.as_mut().poll(cx).is_ready() {
            if self.traffic.is_over() {
                metrics::counter!("leadglass_http_connections_ended_total").increment(1);
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.look.as_mut().reset(Instant::now() + LOOK_EVERY);
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin, P: Unpin> AsyncRead for Watched<S, P> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.look(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin, P: Unpin> AsyncWrite for Watched<S, P> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.look(cx)?;
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.traffic.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.look(cx)?;
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.traffic.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look(cx)?;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.traffic.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

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
                    counts.streams.extend(stream.map(|stream| (stream, Instant::now())));
                } else {
                    counts.waiting -= 1;
                    counts.streams.retain(|(other, _)| Some(*other) != stream);
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

/// So long a peer may take nothing of what it asked for. The standard tools wait as long.
const STALL_TIME: Duration = Duration::from_secs(30);
/// So long a stream of HTTP/2 may take nothing while others of its connection get on; its connection ends with it, for
/// nothing else reaches a stream whose peer gives it no room. Even a slow line carries a piece of each of its streams in that.
const STREAM_TIME: Duration = Duration::from_secs(120);
/// What counts as getting on within that; answers to pings are less.
const PROGRESS_BYTES: usize = 4 * 1024;
/// So long a connection is kept on which nothing is asked for. A browser opens another without its user noticing.
const IDLE_TIME: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Bytes that a stream of HTTP/2 is given at a time.
const PIECE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use hyper_util::{
        rt::{TokioExecutor, TokioIo, TokioTimer},
        server::conn::auto,
        service::TowerToHyperService,
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        task::JoinHandle,
    };

    /// Serves 1 MiB to whoever asks, over a pipe that holds little; tells when the connection is over.
    fn serve() -> (DuplexStream, JoinHandle<()>) {
        let (near, far) = tokio::io::duplex(1_024);
        let traffic = Traffic::new();
        let whole = axum::Router::new().fallback(|| async { vec![7_u8; ANSWER as usize] });
        let service = TowerToHyperService::new(Counted::new(whole, traffic.clone()));
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(20)));
        let task = tokio::spawn(async move {
            let connection = builder.serve_connection(TokioIo::new(Watched::new(far, traffic, ())), service);
            let _ = connection.await;
        });
        (near, task)
    }

    const ANSWER: u32 = 1 << 20;

    type Client = hyper::client::conn::http2::SendRequest<Body>;

    async fn speak_http2(near: DuplexStream) -> Client {
        // Its window is smaller than the answer; it answers pings as long as it lives.
        let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (ask, connection) =
            client.initial_stream_window_size(ANSWER / 2).handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        ask
    }

    async fn ask(client: &mut Client) -> hyper::body::Incoming {
        client.send_request(Request::new(Body::empty())).await.unwrap().into_body()
    }

    // Time is wound on whenever nothing else happens.

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_is_asked_is_ended() {
        let begun = Instant::now();
        let (_near, task) = serve();
        task.await.unwrap();
        assert!(begun.elapsed() < 2 * IDLE_TIME, "before its first byte");
        let (near, task) = serve();
        let mut client = speak_http2(near).await;
        let mut body = Body::new(ask(&mut client).await).into_data_stream();
        let mut len = 0;
        while let Some(piece) = body.next().await {
            len += piece.unwrap().len();
        }
        assert_eq!(len, ANSWER as usize);
        let begun = Instant::now();
        task.await.unwrap();
        assert!((IDLE_TIME..2 * IDLE_TIME).contains(&begun.elapsed()), "though it answers pings");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_which_nobody_reads_on_is_ended() {
        let (mut near, task) = serve();
        near.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let begun = Instant::now();
        task.await.unwrap();
        assert!(begun.elapsed() < 2 * STALL_TIME, "HTTP/1.1");
        let (near, task) = serve();
        let mut client = speak_http2(near).await;
        let _unread = ask(&mut client).await;
        let begun = Instant::now();
        task.await.unwrap();
        assert!(begun.elapsed() < 2 * STALL_TIME, "HTTP/2");
    }

    /// The room that an unread answer holds was once held for ever by whoever read another beside it.
    #[tokio::test(start_paused = true)]
    async fn a_stream_of_which_nobody_reads_on_is_ended_though_others_get_on() {
        let (near, task) = serve();
        let mut client = speak_http2(near).await;
        let _unread = ask(&mut client).await;
        let begun = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let Ok(answer) = client.send_request(Request::new(Body::empty())).await else { break };
            let mut body = Body::new(answer.into_body()).into_data_stream();
            while let Some(Ok(_)) = body.next().await {}
            assert!(begun.elapsed() < 2 * STREAM_TIME, "it goes on for ever");
        }
        assert!(begun.elapsed() >= STREAM_TIME, "a reader may rest for a while: {:?}", begun.elapsed());
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_that_gets_on_is_served_to_the_end() {
        let (mut near, _task) = serve();
        near.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let (mut len, mut piece) = (0, vec![0; 16 * 1024]);
        while let Ok(some @ 1..) = near.read(&mut piece).await {
            len += some;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(len > ANSWER as usize, "{len}");
    }
}
