//! A request's body as it arrives: only while its sender gets on with it, and never faster than it is used.

use crate::pace::{self, BodyError, PATIENCE, Pace};
use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// A body that is being read. Clones share it.
#[derive(Clone)]
pub(super) struct Incoming(Arc<Mutex<State>>);

struct State {
    body: BodyDataStream,
    /// Wakes us when the sender was waited for long enough.
    alarm: Pin<Box<Sleep>>,
    waiting_since: Option<Instant>,
    pace: Pace,
    /// Bytes that were given out and of which nobody has said what they are.
    unused: u64,
    /// Bytes of the newest piece, which may be as large as the transport has them.
    newest: u64,
    /// A piece was just given out: the reader is to use it before it gets the next.
    pause: bool,
    ended: Option<Result<(), BodyError>>,
}

impl Incoming {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(State {
            body: body.into_data_stream(),
            alarm: Box::pin(tokio::time::sleep(PATIENCE)),
            waiting_since: None,
            pace: Pace::default(),
            unused: 0,
            newest: 0,
            pause: false,
            ended: None,
        })))
    }

    /// So many bytes of the body were a file's or a field's.
    pub(super) fn used(&self, bytes: usize) {
        let mut state = self.0.lock();
        state.unused = state.unused.saturating_sub(bytes as u64);
    }

    /// Why the body ended too early, if it did.
    pub(super) fn error(&self) -> Option<BodyError> {
        self.0.lock().ended.and_then(Result::err)
    }

    /// Reads on for a moment after a refusal.
    pub(super) async fn drain(&self) {
        if self.0.lock().ended.is_none() {
            let used = |piece: &Bytes| self.used(piece.len());
            pace::drain(self.clone().inspect_ok(used)).await;
        }
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        match state.ended {
            Some(Ok(())) => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => {}
        }
        // A reader that takes all there is before it looks at any of it would hold it all.
        if std::mem::take(&mut state.pause) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut fail = |error| {
            state.ended = Some(Err(error));
            Poll::Ready(Some(Err(error)))
        };
        if state.unused.saturating_sub(state.newest) > MAX_WRAPPING_BYTES {
            return fail(BodyError::Wrapping);
        }
        match state.body.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                let waited = state.waiting_since.take().map_or(Duration::ZERO, |since| since.elapsed());
                state.pace.came(waited, piece.len());
                state.newest = piece.len() as u64;
                state.unused += state.newest;
                state.pause = true;
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(_))) => fail(BodyError::Broken),
            Poll::Ready(None) => {
                state.ended = Some(Ok(()));
                Poll::Ready(None)
            }
            Poll::Pending => {
                let since = *state.waiting_since.get_or_insert_with(|| {
                    let now = Instant::now();
                    state.alarm.as_mut().reset(now + state.pace.left());
                    now
                });
                // Only waiting for the sender counts against it, never our own work.
                let too_long = since.elapsed() >= state.pace.left();
                if too_long || state.alarm.as_mut().poll(cx).is_ready() {
                    return fail(BodyError::Stalled);
                }
                Poll::Pending
            }
        }
    }
}

/// Boundaries, part headers and what is read ahead.
const MAX_WRAPPING_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::tests::{dripping, holds};

    #[tokio::test(start_paused = true)]
    async fn a_sender_is_heard_as_long_as_it_gets_on() {
        holds(async |body| {
            let (mut incoming, mut bytes) = (Incoming::new(body), 0);
            while let Some(piece) = incoming.next().await {
                let piece = piece?;
                incoming.used(piece.len());
                bytes += piece.len();
            }
            Ok(bytes)
        })
        .await;
    }

    #[tokio::test]
    async fn bytes_that_nobody_uses_come_to_an_end() {
        let mut incoming = Incoming::new(dripping(100_000, Duration::ZERO, 1_000));
        let mut bytes = 0;
        let error = loop {
            match incoming.next().await {
                Some(Ok(piece)) => bytes += piece.len(),
                Some(Err(error)) => break error,
                None => panic!("all of it was read"),
            }
        };
        assert_eq!((error, incoming.error()), (BodyError::Wrapping, Some(BodyError::Wrapping)));
        assert!(bytes < 1_300_000, "{bytes}");
    }
}
