//! The slow hash and the pepper, in this order and always both.

use crate::{
    IdentityError,
    password::{self, Cost},
};
use leadglass_keys::{
    KeyService,
    wire::{Base64Bytes, MacName, MacRequest},
};
use leadglass_model::{ActorRef, TenantId};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Hashes passwords, a few at a time.
pub(crate) struct Hasher {
    keys: Arc<dyn KeyService>,
    places: Semaphore,
    done: AtomicUsize,
}

impl Hasher {
    pub(crate) fn new(keys: Arc<dyn KeyService>) -> Self {
        let places = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_AT_ONCE));
        Self { keys, places: Semaphore::new(places), done: AtomicUsize::new(0) }
    }

    /// What is kept of a password, computed anew.
    ///
    /// Cancel safety: yes; the hash that was begun is finished and thrown away.
    pub(crate) async fn mac(
        &self,
        tenant: TenantId,
        person: ActorRef,
        password: Zeroizing<String>,
        salt: [u8; 16],
        cost: Cost,
    ) -> Result<[u8; 32], IdentityError> {
        let turn = tokio::time::timeout(LONGEST_WAIT, self.places.acquire());
        let _place = turn.await.map_err(|_| IdentityError::Busy)?.map_err(|_| IdentityError::Busy)?;
        let hash = tokio::task::spawn_blocking(move || password::slow(&password, &salt, cost));
        let slow = hash.await.map_err(|_| IdentityError::Broken)?.ok_or(IdentityError::Damaged)?;
        self.done.fetch_add(1, Ordering::Relaxed);
        let data = password::to_pepper(person, &slow);
        let ask =
            MacRequest { tenant, name: MacName::Pepper, data: Base64Bytes::new(&data).ok_or(IdentityError::Broken)? };
        let answer = self.keys.mac(&ask).await.map_err(|source| IdentityError::Pepper { source: Box::new(source) })?;
        Ok(answer.mac.0)
    }

    /// Passwords hashed so far.
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }
}

/// Each takes 19 MiB and a core.
const MOST_AT_ONCE: usize = 4;
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(20);
