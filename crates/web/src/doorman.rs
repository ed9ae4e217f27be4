//! Who gets in: so many connections at a time and no more, each without Nagle's delay.
//!
//! A connection that only idles costs a file descriptor and some memory; without a bound, whoever can connect decides how
//! many. Over the bound a connection is closed at once, so that those inside are served.

use axum_server::accept::Accept;
use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Admits connections while there is room. Clones share the room.
#[derive(Debug, Clone)]
pub(crate) struct Doorman(Arc<Semaphore>);

/// A connection that was admitted; its place is free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl Doorman {
    pub(crate) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }
}

impl<S> Accept<TcpStream, S> for Doorman {
    type Stream = Admitted;
    type Service = S;
    type Future = Ready<io::Result<(Admitted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Ok(place) = self.0.clone().try_acquire_owned() else {
            metrics::counter!("leadglass_http_connections_refused_total").increment(1);
            return ready(Err(io::Error::other("too many connections")));
        };
        ready(stream.set_nodelay(true).map(|()| (Admitted { stream, _place: place }, service)))
    }
}

impl AsyncRead for Admitted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_place_is_free_again_when_its_connection_ends() {
        let doorman = Doorman::new(1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = async || {
            let (_near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            far.unwrap().0
        };
        let (first, ()) = doorman.accept(connect().await, ()).await.unwrap();
        assert!(doorman.accept(connect().await, ()).await.is_err(), "there is one place");
        drop(first);
        assert!(doorman.accept(connect().await, ()).await.is_ok());
    }
}
