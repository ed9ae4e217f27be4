//! Room that is shared: so much for all, so much for each.
//!
//! For what waits for clients (plaintext in memory, requests in work): whoever fills his share keeps nobody waiting but himself.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Room, counted in whatever its owner counts in, of which each `K` has a share.
#[derive(Debug)]
pub struct Rooms<K> {
    all: Arc<Semaphore>,
    /// Kept while somebody of that name is inside or waits.
    shares: Mutex<HashMap<K, Weak<Semaphore>>>,
}

/// What one may hold.
#[derive(Debug, Clone)]
pub struct Share {
    left: Arc<Semaphore>,
    size: usize,
}

/// Leave to hold something, until it is dropped.
#[derive(Debug)]
pub struct Room {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl<K: Copy + Eq + Hash> Rooms<K> {
    /// So much for everybody together.
    pub fn new(all: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), shares: Mutex::default() }
    }

    /// The share of `who`, of this size: the same one for all who ask while anybody holds it.
    pub fn share(&self, who: K, size: usize) -> Share {
        let mut shares = self.shares.lock();
        if let Some(left) = shares.get(&who).and_then(Weak::upgrade) {
            return Share { left, size };
        }
        shares.retain(|_, left| left.strong_count() > 0);
        let left = Arc::new(Semaphore::new(size));
        shares.insert(who, Arc::downgrade(&left));
        Share { left, size }
    }

    /// Waits until there is room for `amount`, thirty seconds at most: `None` then. What is larger than a share takes all of it.
    ///
    /// Cancel safety: yes.
    pub async fn take(&self, share: &Share, amount: usize) -> Option<Room> {
        let amount = u32::try_from(amount.clamp(1, share.size.max(1))).unwrap_or(u32::MAX);
        let both = async {
            // The own share first: whoever waits for that does not stand in the way of others.
            let own = share.left.clone().acquire_many_owned(amount).await.ok()?;
            let all = self.all.clone().acquire_many_owned(amount).await.ok()?;
            Some(Room { _own: own, _all: all })
        };
        timeout(PATIENCE, both).await.ok()?
    }
}

/// So long somebody waits for room before he is told to come back: as long as whoever takes nothing may keep it. A viewer on a
/// slow line asks for more frames at once than his share holds.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(rooms: &Rooms<u8>, who: u8, amount: usize) -> Option<Room> {
        rooms.take(&rooms.share(who, 40), amount).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_nothing_back_keeps_nobody_else_waiting() {
        let rooms = Rooms::new(100);
        let held = [taken(&rooms, 1, 30).await.unwrap(), taken(&rooms, 1, 10).await.unwrap()];
        assert!(taken(&rooms, 1, 1).await.is_none());
        assert!(taken(&rooms, 2, 40).await.is_some());
        drop(held);
        assert!(taken(&rooms, 1, 1).await.is_some(), "what was given back can be taken again");
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_are_bounded_and_what_is_too_large_takes_a_whole_share() {
        let rooms = Rooms::new(100);
        let first = taken(&rooms, 1, usize::MAX).await.unwrap();
        let second = taken(&rooms, 2, 40).await.unwrap();
        assert!(taken(&rooms, 3, 40).await.is_none());
        assert!(taken(&rooms, 3, 20).await.is_some());
        drop((first, second));
        let _last = taken(&rooms, 4, 1).await;
        assert_eq!(rooms.shares.lock().len(), 1, "who has left is forgotten");
    }
}
