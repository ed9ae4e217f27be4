//! What follows after a sender was told: objects to the store, subject keys to the records, entries to the audit tree, rows
//! to the index, the journal trimmed.
//!
//! One task, in the journal's order. Every step may be done twice: after a crash the journal replays what was not
//! trimmed. What survives if we die between the steps:
//! - after the objects: they lie in the store under random names; the replay finds them there with equal bytes.
//! - after the subject keys: they lie in the records; the replay leaves them as they are.
//! - after the audit tree: it is ahead of the index, which is allowed; the replay skips positions the tree has.
//! - after the index: the replay writes the same rows again.
//!
//! A step that fails (full disk, store away) is tried again after a rest, for ever: the journal keeps everything until
//! then, and when it is full senders are told to come back.

use crate::{Shared, alarm::AlarmKind, commit::Waiting};
use bytes::Bytes;
use leadglass_audit::{AppendError, CodeWord, Event, MAX_DETAIL_BYTES, NewEntry, Outcome, TreeHead};
use leadglass_index::Mark;
use leadglass_journal::Position;
use leadglass_model::{EntryId, Fault};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Why a batch could not be drained.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DrainError {
    #[error("an object could not be put into the store")]
    Store(#[from] leadglass_store::StoreError),
    #[error("subject keys could not be written down")]
    Records(#[from] leadglass_records::RecordError),
    #[error("entries could not be appended to the audit tree")]
    Audit(#[from] leadglass_audit::AppendError),
    #[error("the node is stopping")]
    Stopped,
    #[error("rows could not be committed to the index")]
    Index(#[from] leadglass_index::IndexError),
    #[error("the journal could not be trimmed")]
    Trim(#[from] leadglass_journal::TrimError),
}

impl DrainError {
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Records(error) => error.fault(),
            Self::Audit(error) => error.fault(),
            Self::Stopped => Fault::Busy,
            Self::Index(error) => error.fault(),
            Self::Trim(error) => error.fault(),
        }
    }
}

/// The running drain, for whoever ends it.
#[derive(Debug)]
pub(crate) struct Handle {
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    stop: CancellationToken,
}

impl Handle {
    pub(crate) fn new(task: JoinHandle<()>, stop: CancellationToken) -> Self {
        Self { task: tokio::sync::Mutex::new(Some(task)), stop }
    }

    /// Lets it drain what there is, then ends it.
    pub(crate) async fn finish(&self) {
        self.stop.cancel();
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

/// Drains until `stop`, then what is left.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        match step(&shared).await {
            // What came meanwhile is a few records on a busy node: they share the syncs with those that follow.
            Ok(true) => linger(&shared, &stop).await,
            Ok(false) if stop.is_cancelled() => return,
            Ok(false) => tokio::select! {
                () = idle(&shared) => {}
                () = shared.backlog.arrived.notified() => linger(&shared, &stop).await,
                () = stop.cancelled() => {}
            },
            // What is not drained now is replayed at the next start.
            Err(_) if stop.is_cancelled() => return,
            Err(rest) => tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.cancelled() => {}
            },
        }
    }
}

/// After a while without work, memory that was kept for more of it goes back to the system.
async fn idle(shared: &Shared) {
    if shared.trays.is_empty() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(IDLE).await;
    shared.trays.clear();
}

/// Waits for more, so that it shares the syncs; not when much waits already.
async fn linger(shared: &Shared, stop: &CancellationToken) {
    let enough = async {
        while !shared.backlog.has_plenty() {
            shared.backlog.plenty.notified().await;
        }
    };
    tokio::pin!(enough);
    tokio::select! {
        () = stop.cancelled() => return,
        () = tokio::time::sleep(LINGER) => {}
        () = &mut enough => return,
    }
    // Each batch costs syncs that searches and accesses wait behind, and nobody waits for entries that are durable.
    if shared.backlog.has_many_entries_alone() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LINGER_OVER_ENTRIES) => {}
            () = shared.backlog.heavy.notified() => {}
            () = &mut enough => {}
        }
    }
}

/// Drains what there is; at start, when everything waits for it.
pub(crate) async fn settle(shared: &Shared) {
    loop {
        match step(shared).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(rest) => tokio::time::sleep(rest).await,
        }
    }
}

/// Drains one batch. `Ok(false)`: there was none. `Err`: it failed; rest so long before the next attempt.
async fn step(shared: &Shared) -> Result<bool, Duration> {
    let _turn = shared.drains.lock().await;
    let drained = shared.drained.load(Ordering::Acquire);
    let batch = shared.backlog.batch(drained + 1);
    if batch.is_empty() {
        return Ok(false);
    }
    let upto = drained + batch.len() as u64;
    match drain(shared, &batch, upto).await {
        Ok(()) => {
            shared.drained.store(upto, Ordering::Release);
            shared.backlog.stuck.store(false, Ordering::Relaxed);
            Ok(true)
        }
        Err(error) => {
            metrics::counter!("leadglass_drain_failures_total").increment(1);
            tracing::warn!(fault = ?error.fault(), error = %chain(&error), "could not drain; trying again");
            shared.backlog.stuck.store(true, Ordering::Relaxed);
            shared.backlog.put_back(batch);
            Err(REST)
        }
    }
}

async fn drain(shared: &Shared, batch: &[(u64, Waiting)], upto: u64) -> Result<(), DrainError> {
    let objects = batch.iter().filter_map(|(_, w)| w.record.object.clone()).map(|(id, sealed)| (id, vec![sealed]));
    shared.objects.put_batch(objects.collect()).await?;
    shared.keep_subjects(batch.iter().flat_map(|(_, w)| &w.record.subjects)).await?;

    let head = append(shared, batch, upto).await?;
    shared.witness.grown(head.size);

    let mark = Mark { tree_size: head.size, position: upto };
    shared.catalog.commit(mark).await?;
    shared.backlog.forget_objects(batch);
    shared.journal.trim(Position(upto)).await?;
    Ok(())
}

/// Entries of records that the tree does not hold yet. After a crash it may hold the first part of a batch.
async fn append(shared: &Shared, batch: &[(u64, Waiting)], upto: u64) -> Result<TreeHead, DrainError> {
    let held = shared.log.position().unwrap_or(0);
    let (mut parts, mut part, mut bytes, mut last) = (Vec::new(), Vec::new(), 0, held);
    for (position, waiting) in batch.iter().filter(|(position, _)| *position > held) {
        let entries = &waiting.record.entries;
        let more: usize = entries.iter().map(Bytes::len).sum();
        if part.len() + entries.len() > MAX_APPENDED || bytes + more > MAX_APPENDED_BYTES {
            parts.push((std::mem::take(&mut part), last));
            bytes = 0;
        }
        part.extend(entries.iter().map(|bytes| acceptable(shared, bytes)));
        (bytes, last) = (bytes + more, *position);
    }
    parts.push((part, upto));
    let log = shared.log.clone();
    let append = move || {
        let mut head = log.head();
        for (entries, position) in parts {
            head = log.append(entries, Some(position))?;
        }
        Ok::<_, AppendError>(head)
    };
    let appended = tokio::task::spawn_blocking(append).await;
    Ok(appended.map_err(|_| DrainError::Stopped)??)
}

/// An entry as the log takes it. One that does not read, or whose details are too long, must not hold up what was
/// acknowledged behind it: it goes in without them, and the log says so.
fn acceptable(shared: &Shared, bytes: &[u8]) -> NewEntry {
    let fits = |entry: &NewEntry| entry.detail.as_ref().is_none_or(|detail| detail.len() <= MAX_DETAIL_BYTES);
    match NewEntry::decode(bytes) {
        Ok(entry) if fits(&entry) => entry,
        Ok(entry) => NewEntry { detail: None, code: CodeWord::parse("detail-too-long"), ..entry },
        Err(error) => {
            metrics::counter!("leadglass_alarms_total", "kind" => AlarmKind::Log.as_str()).increment(1);
            tracing::error!(%error, "alarm: a journalled entry does not read");
            let id = EntryId::random(&*shared.entropy);
            let entry = NewEntry::new(id, shared.clock.now(), Event::LogAlarm, Outcome::Failed);
            NewEntry { code: CodeWord::parse("entry-unreadable"), ..entry }
        }
    }
}

/// Writes tiles and checkpoint now and then, until `stop`; then once more.
pub(crate) async fn publish(shared: Arc<Shared>, stop: CancellationToken) {
    let mut published = 0;
    loop {
        let stopping = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(PUBLISH_EVERY) => false,
        };
        let size = shared.log.head().size;
        if size != published {
            let log = shared.log.clone();
            match tokio::task::spawn_blocking(move || log.publish()).await {
                Ok(Ok(_)) => published = size,
                Ok(Err(error)) => tracing::warn!(error = %chain(&error), "the audit tree could not be published"),
                Err(_) => {}
            }
        }
        if stopping {
            return;
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// How old a published checkpoint may be.
const PUBLISH_EVERY: Duration = Duration::from_secs(10);
/// What comes within this time of the first shares its syncs. Readers do not wait: they are served from memory.
const LINGER: Duration = Duration::from_millis(500);
/// So much longer when entries alone come, many of them.
const LINGER_OVER_ENTRIES: Duration = Duration::from_millis(4_500);
/// Entries that go into the log at a time: it takes 1,024, and 8 MiB.
const MAX_APPENDED: usize = 1_000;
const MAX_APPENDED_BYTES: usize = 4 << 20;
/// After so long without a record a node is at rest.
const IDLE: Duration = Duration::from_secs(5);
/// Between attempts, when a disk is full or a store away.
const REST: Duration = Duration::from_millis(500);
