//! Whether the sender of a body gets on with it, and what is done with a body that is refused.
//!
//! Only waiting for the sender counts against it, never our own work.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::time::Duration;

/// Why a body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
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

/// How a sender gets on.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Time that was spent waiting for the sender since it last got on, and bytes that came meanwhile.
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// So long the sender may still be waited for.
    pub(crate) const fn left(&self) -> Duration {
        PATIENCE.saturating_sub(self.waited)
    }

    /// So many bytes came after so long a wait.
    pub(crate) fn came(&mut self, waited: Duration, bytes: usize) {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.bytes >= PROGRESS_BYTES {
            *self = Self::default();
        }
    }
}

/// Reads on for a moment after a refusal: a sender that is still sending would otherwise see its connection break instead of
/// the reason.
pub(crate) async fn drain<E>(mut body: impl Stream<Item = Result<Bytes, E>> + Unpin) {
    let mut left = DRAINED_BYTES;
    let read = async {
        while let Some(Ok(piece)) = body.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DRAINED_TIME, read).await;
}

/// So long a sender may take for [`PROGRESS_BYTES`].
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// What counts as getting on: 2 KiB a second.
const PROGRESS_BYTES: u64 = 64 * 1024;
/// Bytes and time that are spent on a body that is refused.
const DRAINED_BYTES: usize = 4 << 20;
const DRAINED_TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use axum::body::Body;
    use futures::stream;
    use std::convert::Infallible;
    use tokio::time::Instant;

    /// A body of `count` pieces of `len` bytes, one every `every`.
    pub(crate) fn dripping(len: usize, every: Duration, count: usize) -> Body {
        let pieces = stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(every).await;
            Ok::<_, Infallible>(Bytes::from(vec![7; len]))
        });
        Body::from_stream(pieces)
    }

    /// What every reader of a body holds to; `read` gives the bytes that came.
    pub(crate) async fn holds(read: impl AsyncFn(Body) -> Result<usize, BodyError>) {
        assert_eq!(read(dripping(40_000, Duration::from_secs(14), 20)).await, Ok(800_000), "slowly, to the end");
        assert_eq!(read(dripping(10, Duration::from_secs(20), 1)).await, Ok(10), "a short body may take its time");
        let begun = Instant::now();
        assert_eq!(read(dripping(1, Duration::from_secs(1), 100_000)).await, Err(BodyError::Stalled), "single bytes");
        assert_eq!(read(dripping(1, Duration::from_secs(3600), 1)).await, Err(BodyError::Stalled), "silence");
        assert!(begun.elapsed() < Duration::from_secs(62), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_body_is_read_on_for_a_moment_only() {
        let begun = Instant::now();
        drain(Box::pin(dripping(1, Duration::from_secs(1), 100_000).into_data_stream())).await;
        drain(Box::pin(dripping(1 << 20, Duration::ZERO, 100_000).into_data_stream())).await;
        assert!(begun.elapsed() <= 2 * DRAINED_TIME);
    }
}
