//! One thread that commits: what waits goes into one batch, one flush, one fdatasync.

use crate::store::Store;
use leadglass_index::{Batch, IndexError};
use leadglass_model::Indexed;
use std::{sync::Arc, thread::JoinHandle};
use tokio::sync::{mpsc, oneshot};

#[derive(Debug)]
pub(crate) struct Committer {
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Waiting {
    batch: Batch,
    done: oneshot::Sender<Result<Indexed, IndexError>>,
}

/// The committer's thread is gone.
#[derive(Debug, thiserror::Error)]
#[error("the index is closing")]
struct Closing;

/// One commit failed for all that shared it; the first of them has the cause.
#[derive(Debug, thiserror::Error)]
#[error("a commit that shared the same sync failed")]
struct SharedFailure;

impl Committer {
    pub(crate) fn start(store: Arc<Store>) -> Result<Self, IndexError> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("index-commit".to_owned())
            .spawn(move || run(&store, waiting))
            .map_err(|e| IndexError::Engine(Box::new(e)))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<Indexed, IndexError> {
        let closing = || IndexError::Engine(Box::new(Closing));
        let (done, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(closing)?;
        queue.send(Waiting { batch, done }).await.map_err(|_| closing())?;
        answer.await.map_err(|_| closing())?
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("The index's committer panicked");
        }
    }
}

fn run(store: &Store, mut waiting: mpsc::Receiver<Waiting>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut bytes = weight(&first.batch);
        let mut group = vec![first];
        while group.len() < GROUP_BATCHES && bytes < GROUP_BYTES {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += weight(&next.batch);
            group.push(next);
        }
        let (batches, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|w| (w.batch, w.done)).unzip();
        let mut failure = store.commit(batches).err();
        let failed = failure.is_some();
        for answer in answers {
            let result = match (failed, failure.take()) {
                (false, _) => Ok(Indexed::attest()),
                (true, Some(error)) => Err(error),
                (true, None) => Err(IndexError::Engine(Box::new(SharedFailure))),
            };
            // Nobody may be waiting any more: the commit stands all the same.
            answer.send(result).ok();
        }
    }
}

fn weight(batch: &Batch) -> usize {
    batch.puts.iter().map(|(_, _, bytes)| bytes.len()).sum()
}

/// Batches that may wait; further callers wait to hand theirs in.
const QUEUE: usize = 256;
/// Batches and bytes that share one sync.
const GROUP_BATCHES: usize = 256;
const GROUP_BYTES: usize = 8 << 20;
