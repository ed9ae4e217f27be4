//! How many send at one time: all together, and each of them.
//!
//! One sender's requests never take more than a part of the places, however slowly they come: the others of the house, and
//! of other houses, send beside them.

use super::{modelled, store};
use crate::{App, Problem};
use axum::{
    Extension,
    routing::{MethodRouter, post},
};
use leadglass_engine::{Room, Rooms};
use leadglass_model::Fault;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Bounds what all requests together may hold in memory. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    files: Arc<Rooms<[u8; 16]>>,
    models: Arc<Rooms<[u8; 16]>>,
    committing: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn new() -> Self {
        Self {
            files: Arc::new(Rooms::new(PLACES)),
            models: Arc::new(Rooms::new(modelled::PLACES)),
            committing: Arc::new(Semaphore::new(COMMITTING)),
        }
    }

    /// `POST` of `/studies` and of `/studies/{study}`.
    pub(crate) fn route(&self) -> MethodRouter<App> {
        post(store).layer(Extension(self.clone()))
    }

    /// A place for a request of that session; waits for one a while.
    pub(super) async fn enter(&self, session: [u8; 16]) -> Result<Room, Problem> {
        self.files.take(&self.files.share(session, PLACES_OF_ONE), 1).await.ok_or_else(busy)
    }

    /// A place for metadata, which are held in memory.
    pub(super) async fn model(&self, session: [u8; 16]) -> Result<Room, Problem> {
        self.models.take(&self.models.share(session, 1), 1).await.ok_or_else(busy)
    }

    pub(super) fn committing(&self) -> Arc<Semaphore> {
        self.committing.clone()
    }
}

fn busy() -> Problem {
    Problem::new(Fault::Busy, "busy", "Too many are sending at the moment; send again later.")
}

/// Requests that send at one time. Each holds one instance that is not longer than what the engine holds, or a few parts
/// of one that flows, and a window of those being committed.
const PLACES: usize = 32;
/// Of those, of one session.
const PLACES_OF_ONE: usize = 24;
/// Instances of all requests that are being committed at one time.
const COMMITTING: usize = 64;
