//! An export is given out: any piece of its file, made while it is sent.
//!
//! One task walks through the members from the one in which the piece begins; what is taken slowly is made slowly. Behind it
//! the envelope, if there is one, seals chunk by chunk.

use super::{
    ExportBy, ExportError, ExportId, Handed,
    body::{Hashing, Run},
};
use crate::{Shared, retrieve::Target};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use leadglass_index::StudyEntry;
use leadglass_policy::Use;
use std::{ops::Range, sync::Arc};
use tokio::sync::mpsc;

impl Shared {
    pub(super) async fn export_content(
        self: &Arc<Self>,
        by: ExportBy,
        id: ExportId,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, ExportError>> + Send + 'static, ExportError> {
        let turn = self.exports.turns.clone().try_acquire_owned().map_err(|_| ExportError::Busy)?;
        let job = self.job(&by, id).await?;
        let refs: Vec<_> = job.head.studies.iter().map(|(study, _)| *study).collect();
        let first = refs.first().and_then(|study| self.catalog.study_by_ref(by.permit.tenant(), *study));
        let first = first.ok_or(ExportError::Missing)?;
        let by = self.opened(by, &first).await?;
        let access = self.access(&by.permit, by.session, &first).await?;
        let entry = self.export_entry(&by, "given-out", &first, &refs, job.head.view.instances);
        self.commit_entry(entry, None).await?;
        if let Some(recipient) = &job.head.view.recipient {
            self.note_disclosure(by.permit.tenant(), &job, recipient, Handed::Package).await?;
        }
        let run = Arc::new(Run { shared: self.clone(), job, by, access });
        let (out, pieces) = mpsc::channel(PIECES_AHEAD);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut sink = Sink::new(&run, range, out.clone());
            let sent = tokio::select! {
                // A node that stops lets the client come again.
                () = stop.cancelled() => Err(ExportError::Stopping.into()),
                () = out.closed() => return,
                sent = run.give(&mut sink) => sent,
            };
            match sent {
                Ok(()) | Err(End::Over) => {}
                Err(End::Failed(error)) => {
                    tracing::warn!(fault = ?error.fault(), %error, "an export broke off");
                    let _ = out.send(Err(error)).await;
                }
            }
            drop(turn);
        });
        Ok(futures::stream::unfold(
            pieces,
            |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) },
        ))
    }
}

/// Why nothing more is made.
enum End {
    /// All that was asked for is sent, or nobody takes it.
    Over,
    Failed(ExportError),
}

impl From<ExportError> for End {
    fn from(error: ExportError) -> Self {
        Self::Failed(error)
    }
}

impl Shared {
    /// Whoever asks, for the purpose that the study opens to him.
    pub(super) async fn opened(self: &Arc<Self>, by: ExportBy, study: &StudyEntry) -> Result<ExportBy, ExportError> {
        let target = Target::Study(study.row.uid.clone());
        let (.., permit) = self.find(&by.permit, &target, Use::Taken).await?;
        Ok(ExportBy { permit, ..by })
    }
}

impl Run {
    async fn give(self: &Arc<Self>, sink: &mut Sink) -> Result<(), End> {
        sink.begin(self).await?;
        let zip = &self.job.zip;
        for member in zip.member_at(sink.at)..zip.members().len() {
            let place = zip.place(member);
            let header = zip.header(member);
            let start = place.start + header.len() as u64;
            sink.put(self, place.start, Bytes::from(header)).await?;
            let len = zip.members()[member].len;
            let known = self.job.sums.lock()[member];
            // What went by before need not be read again for its digest.
            let from = if known.is_some() { sink.at.saturating_sub(start).min(len) } else { 0 };
            let sum = if let Some(sum) = known.filter(|_| from == len) {
                sum
            } else {
                let (mut body, mut hashing, mut at) = (self.body(member, from), Hashing::default(), start + from);
                while let Some(piece) = body.next().await {
                    let piece = piece?;
                    if known.is_none() {
                        hashing.update(&piece);
                    }
                    let next = at + piece.len() as u64;
                    if next > start + len {
                        return Err(ExportError::Changed.into());
                    }
                    sink.put(self, at, piece).await?;
                    at = next;
                }
                match known {
                    Some(sum) if at == start + len => sum,
                    Some(_) => return Err(ExportError::Changed.into()),
                    None => self.remember(member, hashing)?,
                }
            };
            sink.put(self, start + len, Bytes::from(zip.descriptor(member, sum.crc))).await?;
        }
        let mut crcs = Vec::with_capacity(zip.members().len());
        for member in 0..zip.members().len() {
            crcs.push(self.sum(member).await?.crc);
        }
        sink.put(self, zip.directory_start(), Bytes::from(zip.directory(&crcs))).await?;
        sink.finish(self).await
    }
}

/// What stands between the package and whoever takes it: it lets the asked-for piece through, sealed where there is an
/// envelope.
struct Sink {
    out: mpsc::Sender<Result<Bytes, ExportError>>,
    /// Of the file that goes out.
    range: Range<u64>,
    /// Byte of the package that comes next.
    at: u64,
    /// Of an envelope: the chunk that is being filled.
    chunk: u64,
    filling: BytesMut,
}

impl Sink {
    fn new(run: &Run, range: Range<u64>, out: mpsc::Sender<Result<Bytes, ExportError>>) -> Self {
        let (at, chunk) = match &run.job.envelope {
            None => (range.start, 0),
            Some(envelope) => {
                let chunk = envelope.chunk_at(range.start);
                (envelope.plain_place(chunk).start, chunk)
            }
        };
        Self { out, range, at, chunk, filling: BytesMut::new() }
    }

    async fn begin(&mut self, run: &Run) -> Result<(), End> {
        match &run.job.envelope {
            Some(envelope) => self.let_through(0, Bytes::copy_from_slice(envelope.head())).await,
            None => Ok(()),
        }
    }

    /// Takes bytes of the package that stand at `at`; what lies before the asked-for piece falls away.
    async fn put(&mut self, run: &Run, at: u64, mut bytes: Bytes) -> Result<(), End> {
        let before = usize::try_from(self.at.saturating_sub(at)).map_or(bytes.len(), |n| n.min(bytes.len()));
        let mut bytes = bytes.split_off(before);
        if bytes.is_empty() {
            return Ok(());
        }
        let start = self.at;
        self.at += bytes.len() as u64;
        let Some(envelope) = &run.job.envelope else { return self.let_through(start, bytes).await };
        while !bytes.is_empty() {
            let place = envelope.plain_place(self.chunk);
            let wanted = usize::try_from(place.end - place.start).unwrap_or(0) - self.filling.len();
            self.filling.extend_from_slice(&bytes.split_to(wanted.min(bytes.len())));
            if self.filling.len() as u64 == place.end - place.start {
                self.seal(run).await?;
            }
        }
        Ok(())
    }

    async fn seal(&mut self, run: &Run) -> Result<(), End> {
        let Some(envelope) = &run.job.envelope else { return Ok(()) };
        let mut chunk = Vec::with_capacity(SEALED_CHUNK);
        chunk.extend_from_slice(&self.filling);
        self.filling.clear();
        envelope.seal(self.chunk, &mut chunk).ok_or(ExportError::Sealing)?;
        let start = envelope.sealed_place(self.chunk).start;
        self.chunk += 1;
        self.let_through(start, Bytes::from(chunk)).await
    }

    async fn finish(&mut self, run: &Run) -> Result<(), End> {
        if self.at == run.job.zip.len() { Ok(()) } else { Err(ExportError::Changed.into()) }
    }

    /// Sends what of these bytes of the file was asked for.
    async fn let_through(&mut self, start: u64, bytes: Bytes) -> Result<(), End> {
        let clip = |at: u64| usize::try_from(at.saturating_sub(start)).map_or(bytes.len(), |at| at.min(bytes.len()));
        let piece = bytes.slice(clip(self.range.start)..clip(self.range.end));
        if !piece.is_empty() && self.out.send(Ok(piece)).await.is_err() {
            return Err(End::Over);
        }
        if start + bytes.len() as u64 >= self.range.end { Err(End::Over) } else { Ok(()) }
    }
}

/// Pieces that are made and not taken yet: of a few chunks each.
const PIECES_AHEAD: usize = 2;
/// A chunk of an envelope with its tag.
const SEALED_CHUNK: usize = 64 * 1024 + 16;
