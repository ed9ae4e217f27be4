//! A request's body as it arrives: only while its sender gets on with it, and never faster than it is used.

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// Why a body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// The sender does not get on.
    #[error("the body made no progress")]
    Stalled,
    /// The connection broke, or its framing did.
    #[error("the body broke off")]
    Broken,
    /// More bytes that are neither a file's nor a field's than a form has.
    #[error("the form is mostly wrapping")]
    Wrapping,
}

/// A body that is being read. Clones share it.
#[derive(Clone)]
pub(super) struct Incoming(Arc<Mutex<State>>);

struct State {
    body: BodyDataStream,
    /// Wakes us when the sender was waited for long enough.
    alarm: Pin<Box<Sleep>>,
    waiting_since: Option<Instant>,
    waited: Duration,
    progress: u64,
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
            waited: Duration::ZERO,
            progress: 0,
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

    /// Reads on for a moment after a refusal: a sender that is still sending would otherwise see its connection break
    /// instead of the reason.
    pub(super) async fn drain(&self) {
        if self.0.lock().ended.is_some() {
            return;
        }
        let mut left = DRAINED_BYTES;
        let read = async {
            let mut incoming = self.clone();
            while let Some(Ok(piece)) = incoming.next().await {
                self.used(piece.len());
                left = left.saturating_sub(piece.len());
                if left == 0 {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(DRAINED_TIME, read).await;
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
                if let Some(since) = state.waiting_since.take() {
                    state.waited += since.elapsed();
                }
                state.progress += piece.len() as u64;
                if state.progress >= PROGRESS_BYTES {
                    (state.waited, state.progress) = (Duration::ZERO, 0);
                }
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
                    state.alarm.as_mut().reset(now + PATIENCE.saturating_sub(state.waited));
                    now
                });
                // Only waiting for the sender counts against it, never our own work.
                let too_long = state.waited + since.elapsed() >= PATIENCE;
                if too_long || state.alarm.as_mut().poll(cx).is_ready() {
                    return fail(BodyError::Stalled);
                }
                Poll::Pending
            }
        }
    }
}

/// So long a sender may take for [`PROGRESS_BYTES`].
const PATIENCE: Duration = Duration::from_secs(30);
/// What counts as getting on: 2 KiB a second.
const PROGRESS_BYTES: u64 = 64 * 1024;
/// Boundaries, part headers and what is read ahead.
const MAX_WRAPPING_BYTES: u64 = 1 << 20;
/// Bytes and time that are spent on a body that is refused.
const DRAINED_BYTES: usize = 4 << 20;
const DRAINED_TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use std::convert::Infallible;

    fn dripping(len: usize, every: Duration, count: usize) -> Incoming {
        let pieces = stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(every).await;
            Ok::<_, Infallible>(Bytes::from(vec![7; len]))
        });
        Incoming::new(Body::from_stream(pieces))
    }

    async fn read(mut incoming: Incoming) -> Result<usize, BodyError> {
        let mut bytes = 0;
        while let Some(piece) = incoming.next().await {
            let piece = piece?;
            incoming.used(piece.len());
            bytes += piece.len();
        }
        Ok(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_gets_on_slowly_is_heard_to_its_end() {
        assert_eq!(read(dripping(40_000, Duration::from_secs(14), 20)).await, Ok(800_000));
        assert_eq!(read(dripping(10, Duration::from_secs(20), 1)).await, Ok(10), "a short body may take its time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_does_not_get_on_is_ended() {
        let begun = Instant::now();
        assert_eq!(read(dripping(1, Duration::from_secs(1), 100_000)).await, Err(BodyError::Stalled), "single bytes");
        assert_eq!(read(dripping(1, Duration::from_secs(3600), 1)).await, Err(BodyError::Stalled), "silence");
        assert!(begun.elapsed() < Duration::from_secs(62), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn bytes_that_nobody_uses_come_to_an_end() {
        let mut incoming = dripping(100_000, Duration::ZERO, 1_000);
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
