//! A request's body as it arrives: piece by piece, without copies, and only while its sender gets on with it.

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use std::time::Duration;
use tokio::time::Instant;

/// Why a body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// The sender does not get on.
    #[error("the body made no progress")]
    Stalled,
    /// The connection broke, or its framing did.
    #[error("the body broke off")]
    Broken,
}

/// A body that is being read.
#[derive(Debug)]
pub(super) struct Incoming {
    body: BodyDataStream,
    /// Time that was spent waiting for the sender since it last got on, and bytes that came meanwhile.
    waited: Duration,
    bytes: u64,
    ended: bool,
}

impl Incoming {
    pub(super) fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), waited: Duration::ZERO, bytes: 0, ended: false }
    }

    /// The next piece; `None` at the end. Only waiting for the sender counts against it, never our own work. An error is
    /// final.
    ///
    /// Cancel safety: nothing is lost; the time waited in a dropped future is forgiven.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let begun = Instant::now();
        let piece = tokio::time::timeout(PATIENCE.saturating_sub(self.waited), self.body.next()).await;
        let piece = match piece {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => {
                self.ended = true;
                return Ok(None);
            }
            Ok(Some(Err(_))) => return Err(self.end(BodyError::Broken)),
            Err(_) => return Err(self.end(BodyError::Stalled)),
        };
        self.waited += begun.elapsed();
        self.bytes += piece.len() as u64;
        if self.bytes >= PROGRESS_BYTES {
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(Some(piece))
    }

    /// Reads on for a moment after a refusal: a sender that is still sending would otherwise see its connection break
    /// instead of the reason.
    pub(super) async fn drain(&mut self) {
        if self.ended {
            return;
        }
        let mut left = DRAINED_BYTES;
        let read = async {
            while let Some(Ok(piece)) = self.body.next().await {
                left = left.saturating_sub(piece.len());
                if left == 0 {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(DRAINED_TIME, read).await;
    }

    fn end(&mut self, error: BodyError) -> BodyError {
        self.ended = true;
        error
    }
}

/// Gathers pieces that are too small to be handed on one by one: a sender that cuts its body into single bytes must not
/// make us keep a slice for each.
#[derive(Debug, Default)]
pub(super) struct Gather {
    small: BytesMut,
}

impl Gather {
    /// Gives what is to be handed on now, in order; large pieces pass uncopied.
    pub(super) fn push(&mut self, piece: Bytes) -> [Option<Bytes>; 2] {
        if piece.len() >= SMALL_BYTES {
            return [self.rest(), Some(piece)];
        }
        self.small.extend_from_slice(&piece);
        [(self.small.len() >= GATHERED_BYTES).then(|| self.small.split().freeze()), None]
    }

    /// What is left.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        (!self.small.is_empty()).then(|| self.small.split().freeze())
    }
}

/// So long a sender may take for [`PROGRESS_BYTES`].
const PATIENCE: Duration = Duration::from_secs(30);
/// What counts as getting on: 2 KiB a second.
const PROGRESS_BYTES: u64 = 64 * 1024;
/// Bytes and time that are spent on a body that is refused.
const DRAINED_BYTES: usize = 4 << 20;
const DRAINED_TIME: Duration = Duration::from_secs(2);
/// Pieces below this are gathered, up to this.
const SMALL_BYTES: usize = 4 * 1024;
const GATHERED_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use std::convert::Infallible;

    /// `count` pieces of `len` bytes, one every `every`.
    fn dripping(len: usize, every: Duration, count: usize) -> Incoming {
        let pieces = stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(every).await;
            Ok::<_, Infallible>(Bytes::from(vec![7; len]))
        });
        Incoming::new(Body::from_stream(pieces))
    }

    async fn read(mut incoming: Incoming) -> Result<usize, BodyError> {
        let mut bytes = 0;
        while let Some(piece) = incoming.next().await? {
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

    #[tokio::test(start_paused = true)]
    async fn a_refused_body_is_read_on_for_a_moment_only() {
        let begun = Instant::now();
        dripping(1, Duration::from_secs(1), 100_000).drain().await;
        dripping(1 << 20, Duration::ZERO, 100_000).drain().await;
        assert!(begun.elapsed() <= 2 * DRAINED_TIME);
    }

    #[test]
    fn small_pieces_are_gathered_in_order_and_large_ones_pass() {
        let (mut gather, mut out) = (Gather::default(), Vec::new());
        let (mut sent, mut handed_on) = (Vec::new(), 0);
        for (n, len) in (0u8..).zip([1, 2, SMALL_BYTES, 5].into_iter().chain([SMALL_BYTES - 1; 20])) {
            let piece = Bytes::from(vec![n; len]);
            sent.extend_from_slice(&piece);
            for piece in gather.push(piece).into_iter().flatten() {
                handed_on += 1;
                out.extend_from_slice(&piece);
            }
        }
        out.extend(gather.rest().into_iter().flatten());
        assert_eq!(out, sent);
        assert!(handed_on < 6, "{handed_on} pieces");
    }
}
