//! Instances of one request on their way into the engine.
//!
//! While the next one arrives, the ones before it are being committed: a bounded window of them, so that they share the
//! journal's group commit. Outcomes keep the order in which the instances were sent. Success is told on the engine's
//! `Acknowledged` and on nothing else.

use super::{
    incoming::{Gather, Incoming},
    outcome::{Failure, Names, Outcome, Report},
    unstored::Unstored,
};
use crate::pace::BodyError;
use bytes::Bytes;
use futures::{
    StreamExt,
    future::{self, BoxFuture, Either, FutureExt},
    pin_mut,
    stream::FuturesOrdered,
};
use leadglass_engine::{Engine, FileTransfer, Source};
use leadglass_model::{SopInstanceUid, StudyUid};
use std::{collections::HashSet, sync::Arc, task::Poll};
use tokio::sync::Semaphore;

/// One request's instances.
pub(super) struct Filing {
    engine: Engine,
    source: Arc<Source>,
    /// The study of the request's address: instances of others are refused.
    study: Option<StudyUid>,
    /// Bounds the instances that are committed at one time by all requests together.
    room: Arc<Semaphore>,
    flying: FuturesOrdered<BoxFuture<'static, Outcome>>,
    /// What is flying, by name: one instance that is sent twice is decided on in the order of sending.
    names: HashSet<SopInstanceUid>,
    busy_in_a_row: usize,
    unstored: Arc<Unstored>,
    report: Report,
}

/// An instance whose bytes are arriving.
pub(super) struct Arriving {
    stage: Stage,
    gather: Gather,
    study: Option<StudyUid>,
    names: Names,
    unstored: Arc<Unstored>,
}

enum Stage {
    Open(Box<FileTransfer>),
    Failed(Failure),
}

impl Filing {
    pub(super) fn new(engine: Engine, source: Arc<Source>, study: Option<StudyUid>, room: Arc<Semaphore>) -> Self {
        let (flying, names) = (FuturesOrdered::new(), HashSet::new());
        let unstored = Arc::default();
        Self { engine, source, study, room, flying, names, busy_in_a_row: 0, unstored, report: Report::default() }
    }

    /// Begins the next instance.
    pub(super) fn begin(&mut self) -> Arriving {
        let stage = if self.busy_in_a_row >= GIVE_UP_AFTER {
            Stage::Failed(Failure::NOT_TRIED)
        } else {
            match self.engine.begin_file(self.source.clone()) {
                Ok(transfer) => Stage::Open(Box::new(transfer)),
                Err(error) => Stage::Failed(self.unstored.note(&error)),
            }
        };
        let (study, unstored) = (self.study.clone(), self.unstored.clone());
        Arriving { stage, gather: Gather::default(), study, names: Names::default(), unstored }
    }

    /// The instance is complete: it is committed while the next one arrives.
    pub(super) async fn file(&mut self, mut arriving: Arriving) {
        arriving.flush().await;
        arriving.name();
        let Arriving { stage, names, .. } = arriving;
        let transfer = match stage {
            Stage::Open(transfer) => transfer,
            Stage::Failed(failure) => return self.fail(names, failure),
        };
        while self.flying.len() >= WINDOW || names.instance.as_ref().is_some_and(|name| self.names.contains(name)) {
            self.land().await;
        }
        let Ok(room) = self.room.clone().acquire_owned().await else {
            return self.fail(names, Failure::NOT_TRIED);
        };
        self.names.extend(names.instance.clone());
        let (lost, unstored) = (names.clone(), self.unstored.clone());
        let mut work = Box::pin(async move {
            let outcome = match transfer.finish().await {
                Ok(receipt) => Outcome::Stored { names, receipt },
                Err(error) => Outcome::Failed { names, failure: unstored.note(&error) },
            };
            drop(room);
            outcome
        });
        // What is sealed already only waits for the disk; it must go on while this request waits for its next bytes or for
        // room. A commit that nobody polls would keep its room, and be a gap before which the drain stands still.
        let landing = match futures::poll!(&mut work) {
            Poll::Ready(outcome) => future::ready(outcome).boxed(),
            Poll::Pending => {
                let task = tokio::spawn(work);
                async move { task.await.unwrap_or(Outcome::Failed { names: lost, failure: Failure::LOST }) }.boxed()
            }
        };
        self.flying.push_back(landing);
    }

    /// An instance that did not even begin, or whose part is none.
    pub(super) fn fail(&mut self, names: Names, failure: Failure) {
        self.flying.push_back(future::ready(Outcome::Failed { names, failure }).boxed());
    }

    /// An instance that cannot be made of what was sent.
    pub(super) fn misread(&mut self, names: Names, error: &dyn std::fmt::Display) {
        self.unstored.not_understood(error);
        self.fail(names, Failure::NOT_UNDERSTOOD);
    }

    /// The next piece of the body; meanwhile what has been committed is noted.
    pub(super) async fn piece(&mut self, incoming: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
        let next = incoming.next();
        pin_mut!(next);
        loop {
            if self.flying.is_empty() {
                return next.await;
            }
            let landed = self.flying.next();
            match future::select(landed, next).await {
                Either::Left((outcome, waiting)) => {
                    self.note(outcome);
                    next = waiting;
                }
                Either::Right((piece, _)) => return piece,
            }
        }
    }

    /// Waits for all that is still being committed.
    pub(super) async fn finish(mut self) -> Report {
        while !self.flying.is_empty() {
            self.land().await;
        }
        self.report
    }

    async fn land(&mut self) {
        let outcome = self.flying.next().await;
        self.note(outcome);
    }

    fn note(&mut self, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else { return };
        match &outcome {
            Outcome::Stored { names, .. } => {
                self.busy_in_a_row = 0;
                self.forget(names);
            }
            Outcome::Failed { names, failure } => {
                self.busy_in_a_row = if failure.is_busy() { self.busy_in_a_row.saturating_add(1) } else { 0 };
                self.forget(names);
            }
        }
        self.report.push(outcome);
    }

    fn forget(&mut self, names: &Names) {
        if let Some(name) = &names.instance {
            self.names.remove(name);
        }
    }
}

impl Arriving {
    /// The next bytes. After a failure the rest of the instance is passed over.
    pub(super) async fn write(&mut self, piece: Bytes) {
        for piece in self.gather.push(piece).into_iter().flatten() {
            self.pass(piece).await;
        }
    }

    async fn flush(&mut self) {
        if let Some(piece) = self.gather.rest() {
            self.pass(piece).await;
        }
    }

    async fn pass(&mut self, piece: Bytes) {
        let Stage::Open(transfer) = &mut self.stage else { return };
        let written = transfer.write(piece).await;
        // A transfer that is not its own study's is given up as soon as that shows: nothing of it is kept.
        let elsewhere = matches!((&self.study, transfer.study()), (Some(wanted), Some(named)) if wanted != named);
        let failure = match written {
            Err(error) => self.unstored.note(&error),
            Ok(()) if elsewhere => Failure::OTHER_STUDY,
            Ok(()) => return,
        };
        self.name();
        self.stage = Stage::Failed(failure);
    }

    /// Takes the names that the instance has told so far.
    fn name(&mut self) {
        let Stage::Open(transfer) = &self.stage else { return };
        if let Some(announced) = transfer.announced() {
            self.names.class = Some(announced.sop_class.clone());
            self.names.instance = Some(announced.sop_instance.clone());
        }
        self.names.study = transfer.study().cloned();
        self.names.series = transfer.series().cloned();
    }
}

/// Instances of one request that are committed at one time, each up to `leadglass_engine::INLINE_BYTES` in memory.
const WINDOW: usize = 8;

/// After so many instances in a row that could not be stored now, the others of the request are not tried.
const GIVE_UP_AFTER: usize = 8;
