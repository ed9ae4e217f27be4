//! The socket of a connection: what is written, and that it ends when its peer does not get on.

use super::{LOOK_EVERY, Traffic};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

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
