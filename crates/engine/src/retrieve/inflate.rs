//! A deflated data set (PS3.5 §A.5), inflated while it is read. Its parts cannot be reached otherwise than from its start.
//!
//! What grows out of it was bounded at ingest. One piece is held at a time, and whoever stops reading stops the work.

use super::{RetrieveError, reader::Reader};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use futures::{Stream, TryStreamExt, stream};
use leadglass_seal::{Corruption, OpenError};
use std::ops::Range;

/// What it means that a data set ends before the bytes that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Short {
    /// It is over.
    Ends,
    /// It is not what the tables say.
    Broken,
}

/// Bytes `wanted` of the data set that lies deflated in bytes `body` of the object's body.
pub(super) fn inflated(
    reader: Reader,
    body: Range<u64>,
    wanted: Range<u64>,
    short: Short,
) -> impl Stream<Item = Result<Bytes, RetrieveError>> + Send + 'static {
    let broken = {
        let reader = reader.clone();
        move || reader.damaged(OpenError::Corrupt { what: Corruption::ContentDigest })
    };
    let state = State {
        sealed: Box::pin(reader.plain(body)),
        input: Bytes::new(),
        inflater: Decompress::new(false),
        done: false,
        at: 0,
    };
    stream::try_unfold((state, broken), move |(mut state, broken)| {
        let wanted = wanted.clone();
        async move {
            while state.at < wanted.end {
                let start = state.at;
                let Some(piece) = state.next().await? else {
                    return if short == Short::Ends { Ok(None) } else { Err(broken()) };
                };
                state.at = start.saturating_add(piece.len() as u64);
                let from = wanted.start.clamp(start, state.at) - start;
                let to = wanted.end.clamp(start, state.at) - start;
                if from < to {
                    let within = |at: u64| usize::try_from(at).unwrap_or(piece.len());
                    return Ok(Some((piece.slice(within(from)..within(to)), (state, broken))));
                }
                // Many pieces in front of what is wanted may come without a wait.
                tokio::task::consume_budget().await;
            }
            Ok(None)
        }
    })
}

struct State<S> {
    sealed: S,
    input: Bytes,
    inflater: Decompress,
    done: bool,
    at: u64,
}

impl<S: Stream<Item = Result<Bytes, RetrieveError>> + Unpin> State<S> {
    /// The next inflated bytes; `None` where the stream ends, or breaks.
    async fn next(&mut self) -> Result<Option<Bytes>, RetrieveError> {
        let mut out = Vec::with_capacity(PIECE_BYTES);
        while out.is_empty() && !self.done {
            if self.input.is_empty() {
                match self.sealed.try_next().await? {
                    Some(piece) => self.input = piece,
                    None => return Ok(None),
                }
            }
            let before = self.inflater.total_in();
            let status = self.inflater.decompress_vec(&self.input, &mut out, FlushDecompress::None);
            let taken = usize::try_from(self.inflater.total_in() - before).unwrap_or(usize::MAX);
            self.input = self.input.split_off(taken.min(self.input.len()));
            match status {
                Ok(Status::StreamEnd) => self.done = true,
                Ok(Status::Ok | Status::BufError) if taken > 0 || !out.is_empty() => {}
                _ => return Ok(None),
            }
        }
        Ok(Some(Bytes::from(out)).filter(|piece| !piece.is_empty()))
    }
}

/// Inflated at a time.
const PIECE_BYTES: usize = 256 << 10;
