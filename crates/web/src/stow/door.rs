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
use leadglass_model::Fault;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds what all requests together may hold in memory. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    files: Arc<Places>,
    models: Arc<Places>,
    committing: Arc<Semaphore>,
}

/// Places of one kind.
#[derive(Debug)]
struct Places {
    all: Arc<Semaphore>,
    of_one: usize,
    /// By session; kept while somebody of that session is inside or waits.
    senders: Mutex<HashMap<[u8; 16], Weak<Semaphore>>>,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Door {
    pub(crate) fn new() -> Self {
        Self {
            files: Arc::new(Places::new(PLACES, PLACES_OF_ONE)),
            models: Arc::new(Places::new(modelled::PLACES, 1)),
            committing: Arc::new(Semaphore::new(COMMITTING)),
        }
    }

    /// `POST` of `/studies` and of `/studies/{study}`.
    pub(crate) fn route(&self) -> MethodRouter<App> {
        post(store).layer(Extension(self.clone()))
    }

    /// A place for a request of that session; waits for one a while.
    pub(super) async fn enter(&self, session: [u8; 16]) -> Result<Place, Problem> {
        self.files.take(session).await.ok_or_else(busy)
    }

    /// A place for metadata, which are held in memory.
    pub(super) async fn model(&self, session: [u8; 16]) -> Result<Place, Problem> {
        self.models.take(session).await.ok_or_else(busy)
    }

    pub(super) fn committing(&self) -> Arc<Semaphore> {
        self.committing.clone()
    }
}

impl Places {
    fn new(all: usize, of_one: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), of_one, senders: Mutex::default() }
    }

    /// First its own: whoever waits for that does not stand in the way of others.
    async fn take(&self, session: [u8; 16]) -> Option<Place> {
        let own = self.sender(session);
        let both = async {
            let own = own.acquire_owned().await.ok()?;
            Some(Place { _own: own, _all: self.all.clone().acquire_owned().await.ok()? })
        };
        tokio::time::timeout(DOOR_TIME, both).await.ok().flatten()
    }

    fn sender(&self, session: [u8; 16]) -> Arc<Semaphore> {
        let mut senders = self.senders.lock();
        if let Some(sender) = senders.get(&session).and_then(Weak::upgrade) {
            return sender;
        }
        senders.retain(|_, sender| sender.strong_count() > 0);
        let sender = Arc::new(Semaphore::new(self.of_one));
        senders.insert(session, Arc::downgrade(&sender));
        sender
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
/// So long a request waits for its place.
const DOOR_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_sender_never_takes_the_places_of_all() {
        let places = Places::new(3, 2);
        let mut greedy = Vec::new();
        while let Some(place) = places.take([1; 16]).await {
            greedy.push(place);
        }
        assert_eq!(greedy.len(), 2);
        let other = places.take([2; 16]).await;
        assert!(other.is_some(), "there is a place left for somebody else");
        assert!(places.take([3; 16]).await.is_none(), "all are taken");
        drop(greedy);
        assert!(places.take([1; 16]).await.is_some(), "what was given back can be taken again");
        drop(other);
        let _last = places.take([4; 16]).await;
        assert!(places.senders.lock().len() <= 2, "who has left is forgotten");
    }
}
