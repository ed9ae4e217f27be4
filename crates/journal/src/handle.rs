//! The journal as the engine sees it: a handle on the thread that writes.

use crate::{
    CommitError, JournalConfig, JournalError, Replay, TrimError,
    disk::{Disk as _, RealDisk},
    mark::MarkFile,
    open,
    writer::{Gauges, Waiting, Writer},
};
use bytes::Bytes;
use leadglass_model::{Acknowledged, Entropy};
use std::{
    fs::{File, TryLockError},
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot};

/// A place in the journal of one node: 1 for its first record ever, then without gaps. 0 stands before all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(pub u64);

impl From<&Acknowledged> for Position {
    fn from(receipt: &Acknowledged) -> Self {
        Self(receipt.position())
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An open journal. Clones share it; the last one to go waits for the writing thread to end.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    gauges: Arc<Gauges>,
    max_record_bytes: u64,
}

enum Request {
    Commit(Waiting, oneshot::Sender<Result<Acknowledged, CommitError>>),
    Trim(u64, oneshot::Sender<Result<(), TrimError>>),
}

impl Journal {
    /// Opens the journal in `dir`, which is made if need be, and starts its thread. Reads the whole journal once, so it
    /// blocks: call it at start or on a blocking thread. `entropy` names the segments.
    pub fn open(dir: &Path, config: JournalConfig, entropy: Arc<dyn Entropy>) -> Result<(Self, Replay), JournalError> {
        let failed = |source| JournalError::Io { doing: "open", source };
        let disk = RealDisk::open(dir).map_err(failed)?;
        let lock = disk.lock_file().map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let (writer, replay) = open::open(Arc::new(disk), config, entropy)?;
        let gauges = writer.gauges();
        let (requests, inbox) = mpsc::channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || serve(writer, inbox, lock))
            .map_err(failed)?;
        let max_record_bytes = config.max_record_bytes();
        let shared = Shared { requests: Some(requests), thread: Some(thread), gauges, max_record_bytes };
        Ok((Self { shared: Arc::new(shared) }, replay))
    }

    /// Makes an empty journal in `dir` that goes on behind `position`, as if everything up to there had been trimmed: for a
    /// vault that is restored, whose log and index count these positions already. A directory in which a journal lies is
    /// refused. Blocks.
    ///
    /// Dead on the way: what stands there opens as a journal of its own, from the beginning.
    pub fn begin_behind(dir: &Path, position: Position) -> Result<(), JournalError> {
        let failed = |source| JournalError::Io { doing: "begin", source };
        let disk = RealDisk::open(dir).map_err(failed)?;
        if disk.list().map_err(failed)?.iter().any(|name| name != "lock") {
            return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
        }
        let lock = disk.lock_file().map_err(failed)?;
        lock.try_lock().map_err(|_| JournalError::Locked)?;
        MarkFile::open(&disk).and_then(|mut mark| mark.settle(position.0)).map_err(failed)?;
        disk.sync_dir().map_err(failed)
    }

    /// Makes one record, given in pieces, durable: once this answers, it survives power loss. Positions order the records
    /// of a node as they were taken.
    ///
    /// Cancel safety: a dropped call may or may not have committed. Whoever must know runs it in a task of its own.
    pub async fn commit(&self, pieces: Vec<Bytes>) -> Result<Acknowledged, CommitError> {
        let len: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let too_long = CommitError::TooLong { len, max: self.shared.max_record_bytes };
        if len > self.shared.max_record_bytes {
            return Err(too_long);
        }
        let short = u32::try_from(len).map_err(|_| too_long)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting::new(pieces, short);
        self.send(Request::Commit(waiting, answer)).await.ok_or(CommitError::Closed)?;
        answered.await.unwrap_or(Err(CommitError::Closed))
    }

    /// Gives up every record up to and including `upto`: once this answers, no replay shows them again.
    ///
    /// Cancel safety: a dropped call may or may not have trimmed; trimming again is harmless.
    pub async fn trim(&self, upto: Position) -> Result<(), TrimError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Trim(upto.0, answer)).await.ok_or(TrimError::Closed)?;
        answered.await.unwrap_or(Err(TrimError::Closed))
    }

    /// Bytes of the segments that hold records not yet trimmed, headers and padding included. Segments are freed whole, so
    /// it does not fall to zero when the last record is trimmed.
    pub fn used_bytes(&self) -> u64 {
        self.shared.gauges.used_bytes.load(Ordering::Relaxed)
    }

    /// How many records are not trimmed.
    pub fn pending(&self) -> u64 {
        let next = self.shared.gauges.next.load(Ordering::Relaxed);
        (next - 1).saturating_sub(self.shared.gauges.trimmed.load(Ordering::Relaxed))
    }

    /// The position of the newest durable record; 0 if there never was one.
    pub fn last(&self) -> Position {
        Position(self.shared.gauges.next.load(Ordering::Relaxed) - 1)
    }

    /// Up to where it is trimmed.
    pub fn trimmed(&self) -> Position {
        Position(self.shared.gauges.trimmed.load(Ordering::Relaxed))
    }

    async fn send(&self, request: Request) -> Option<()> {
        self.shared.requests.as_ref()?.send(request).await.ok()
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("last", &self.last()).field("trimmed", &self.trimmed()).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The channel closes, the thread answers what it holds and ends, and the lock is free when this returns.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut writer: Writer, mut inbox: mpsc::Receiver<Request>, lock: File) {
    let mut held_over = None;
    while let Some(request) = held_over.take().or_else(|| inbox.blocking_recv()) {
        let (mut waiting, mut answers, mut trims) = (Vec::new(), Vec::new(), Vec::new());
        let mut upto = 0;
        let mut bytes = 0_u64;
        let mut next = Some(request);
        while let Some(request) = next {
            match request {
                // Positions follow the order of arrival, so the first that does not fit ends the batch.
                Request::Commit(record, answer) => {
                    bytes += u64::from(record.len);
                    if bytes > BATCH_BYTES && !waiting.is_empty() {
                        held_over = Some(Request::Commit(record, answer));
                        break;
                    }
                    waiting.push(record);
                    answers.push(answer);
                }
                Request::Trim(position, answer) => {
                    upto = upto.max(position);
                    trims.push(answer);
                }
            }
            next = if waiting.len() + trims.len() < WAITING_MAX { inbox.try_recv().ok() } else { None };
        }
        // Trimming first: it may free the segment that the batch needs.
        if !trims.is_empty() {
            let outcome = writer.trim(upto);
            if let Err(e) = &outcome {
                tracing::warn!(error = %e, "Could not trim the journal");
            }
            for answer in trims {
                let _ = answer.send(outcome.clone());
            }
        }
        for (answer, outcome) in answers.into_iter().zip(writer.commit(&waiting)) {
            if let Err(e @ CommitError::Io { source }) = &outcome {
                tracing::error!(error = %e, cause = %source, "A journal segment was abandoned");
            }
            // Nobody listens when the call was dropped.
            let _ = answer.send(outcome.map(Acknowledged::attest));
        }
        if held_over.is_none() && inbox.is_empty() {
            writer.prepare();
        }
    }
    drop(lock);
}

/// Requests in the queue, and in one batch.
const WAITING_MAX: usize = 1024;
/// Payload of one batch; a longer single record makes a batch of its own.
const BATCH_BYTES: u64 = 32 << 20;
