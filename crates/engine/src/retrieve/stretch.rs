//! Runs of chunks that lie behind one another in a bucket: asked for once, and opened run by run as they come.
//!
//! A request for each run would cost a round trip for each MiB. What a reader has not taken waits at the bucket: nothing is
//! read ahead but what the connection holds, and a reader that goes away ends the answer. A run that is kept opened is not
//! asked for.

use super::{
    RetrieveError,
    reader::{Again, Reader},
};
use bytes::{Buf as _, Bytes};
use futures::{Stream, TryStreamExt, stream};
use leadglass_seal::RangePlan;
use leadglass_store::{ObjectStream, StoreError};
use std::{collections::VecDeque, ops::Range};

/// What is left to read.
struct Stretch {
    reader: Reader,
    runs: VecDeque<RangePlan>,
    again: Again,
    answer: Option<Answer>,
}

/// A bucket's answer that is being read.
struct Answer {
    pieces: ObjectStream,
    /// Of the last piece, what belongs to the next run.
    rest: Bytes,
    /// Where in the object the next byte stands, and where the answer ends.
    left: Range<u64>,
    total: u64,
}

/// The plaintext of adjacent runs, each in pieces.
pub(super) fn stretch(
    reader: Reader,
    runs: Vec<RangePlan>,
    again: Again,
) -> impl Stream<Item = Result<Vec<Bytes>, RetrieveError>> + Send {
    let stretch = Stretch { reader, runs: runs.into(), again, answer: None };
    stream::try_unfold(stretch, |mut stretch| async move {
        let Some(run) = stretch.runs.pop_front() else { return Ok(None) };
        let pieces = stretch.read(&run).await?;
        Ok(Some((pieces, stretch)))
    })
}

impl Stretch {
    async fn read(&mut self, run: &RangePlan) -> Result<Vec<Bytes>, RetrieveError> {
        self.reader.hold_lease().await?;
        let begun = self.answer.take().filter(|answer| answer.left.start == run.sealed().start);
        if begun.is_none()
            && let Some(pieces) = self.reader.remembered(run, self.again)
        {
            return Ok(pieces);
        }
        let (mut memory, opening) = self.reader.opening(run).await?;
        let failed = |error| self.reader.shared.store_failed(self.reader.object(), error);
        let mut answer = match begun {
            Some(answer) => answer,
            None => ask(&self.reader, run, &self.runs, self.again).await.map_err(failed)?,
        };
        answer.fill(&mut memory[..opening.len]).await.map_err(failed)?;
        let opened = opening.open(memory, answer.total);
        let (opened, weight) = opened.map_err(|error| self.reader.damaged(error))?;
        self.answer = (!answer.left.is_empty()).then_some(answer);
        Ok(self.reader.remember(run, self.again, &opened, weight))
    }
}

/// Asks for a run and those behind it, up to one that is kept.
async fn ask(
    reader: &Reader,
    run: &RangePlan,
    behind: &VecDeque<RangePlan>,
    again: Again,
) -> Result<Answer, StoreError> {
    let mut wanted = run.sealed();
    for next in behind {
        let sealed = next.sealed();
        let adjacent = sealed.start == wanted.end && sealed.end - wanted.start <= STRETCH_BYTES;
        if !adjacent || reader.remembered(next, again).is_some() {
            break;
        }
        wanted.end = sealed.end;
    }
    let (pieces, total) = reader.shared.objects.range_stream(reader.object(), wanted.clone()).await?;
    Ok(Answer { pieces, rest: Bytes::new(), left: wanted, total })
}

impl Answer {
    /// The next bytes.
    async fn fill(&mut self, mut memory: &mut [u8]) -> Result<(), StoreError> {
        self.left.start += memory.len() as u64;
        while !memory.is_empty() {
            if self.rest.is_empty() {
                let next = self.pieces.try_next().await?;
                self.rest = next.ok_or(StoreError::TooShort { len: self.total })?;
            }
            let some = self.rest.len().min(memory.len());
            let (now, later) = memory.split_at_mut(some);
            now.copy_from_slice(&self.rest[..some]);
            self.rest.advance(some);
            memory = later;
        }
        Ok(())
    }
}

/// Sealed bytes that are asked for at once: what a connection that breaks may have to be asked for again, more or less.
const STRETCH_BYTES: u64 = 64 << 20;
