//! Calls under way that others may wait for too.

use crate::KeysError;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use std::{collections::HashMap, future::Future, hash::Hash};
use tokio_util::task::TaskTracker;

/// A call under way. It runs in a task, so that a waiter who leaves does not stop it for the others.
pub(crate) type Flight<T> = Shared<BoxFuture<'static, Result<T, KeysError>>>;

/// Starts a call.
pub(crate) fn launch<T: Clone + Send + Sync + 'static>(
    tasks: &TaskTracker,
    call: impl Future<Output = Result<T, KeysError>> + Send + 'static,
) -> Flight<T> {
    let task = tasks.spawn(call);
    async move { task.await.unwrap_or(Err(KeysError::GivenUp)) }.boxed().shared()
}

/// Calls under way by what they are for.
pub(crate) struct Flights<K, T>(HashMap<K, Flight<T>>);

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, T: Clone> Flights<K, T> {
    /// The call for `key`, if one is under way. (One whose task panicked stays in the map; it is not under way.)
    pub(crate) fn get(&self, key: &K) -> Option<Flight<T>> {
        self.0.get(key).filter(|flight| flight.peek().is_none()).cloned()
    }

    /// The call for `key`, or a new one.
    pub(crate) fn get_or_start(&mut self, key: K, start: impl FnOnce() -> Flight<T>) -> Flight<T> {
        self.get(&key).unwrap_or_else(|| {
            let flight = start();
            self.0.insert(key, flight.clone());
            flight
        })
    }

    /// A call was started for `key`.
    pub(crate) fn insert(&mut self, key: K, flight: Flight<T>) {
        self.0.insert(key, flight);
    }

    /// The call's task is about to end.
    pub(crate) fn remove(&mut self, key: &K) {
        self.0.remove(key);
    }
}
