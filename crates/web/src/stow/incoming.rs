//! A request's body as it arrives: piece by piece, without copies, and only while its sender gets on with it.

use crate::pace::{self, BodyError, Pace};
use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::time::Instant;

/// A body that is being read.
#[derive(Debug)]
pub(super) struct Incoming {
    body: BodyDataStream,
    pace: Pace,
    ended: bool,
}

impl Incoming {
    pub(super) fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), pace: Pace::default(), ended: false }
    }

    /// The next piece; `None` at the end. Only waiting for the sender counts against it, never our own work. An error is
    /// final.
    ///
    /// Cancel safety: nothing is lost; the time waited in a dropped future is forgiven.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let begun = Instant::now();
        let piece = tokio::time::timeout(self.pace.left(), self.body.next()).await;
        let piece = match piece {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => {
                self.ended = true;
                return Ok(None);
            }
            Ok(Some(Err(_))) => return Err(self.end(BodyError::Broken)),
            Err(_) => return Err(self.end(BodyError::Stalled)),
        };
        self.pace.came(begun.elapsed(), piece.len());
        Ok(Some(piece))
    }

    /// Reads on for a moment after a refusal.
    pub(super) async fn drain(&mut self) {
        if !self.ended {
            pace::drain(&mut self.body).await;
        }
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

/// Pieces below this are gathered, up to this.
const SMALL_BYTES: usize = 4 * 1024;
const GATHERED_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::tests::holds;

    #[tokio::test(start_paused = true)]
    async fn a_sender_is_heard_as_long_as_it_gets_on() {
        holds(async |body| {
            let (mut incoming, mut bytes) = (Incoming::new(body), 0);
            while let Some(piece) = incoming.next().await? {
                bytes += piece.len();
            }
            Ok(bytes)
        })
        .await;
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
