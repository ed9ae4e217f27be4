//! Room for plaintext on its way out: so much for all, so much for each person or program.

use leadglass_model::ActorRef;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Room in memory that is shared fairly: whoever fills his share keeps nobody waiting but himself.
#[derive(Debug)]
pub struct Rooms {
    all: Arc<Semaphore>,
    share_kib: usize,
    shares: Mutex<HashMap<ActorRef, Share>>,
}

/// What one person or program may hold, whatever the number of its sessions.
pub type Share = Arc<Semaphore>;

/// Leave to hold memory, until it is dropped.
#[derive(Debug)]
pub struct Room {
    _share: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Rooms {
    /// `all_kib` for everybody together, `share_kib` of it for one.
    pub fn new(all_kib: usize, share_kib: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all_kib)), share_kib: share_kib.min(all_kib), shares: Mutex::default() }
    }

    /// The share of a person or program.
    pub fn share(&self, actor: ActorRef) -> Share {
        self.shares.lock().entry(actor).or_insert_with(|| Arc::new(Semaphore::new(self.share_kib))).clone()
    }

    /// Waits until there is room for `bytes`, ten seconds at most: `None` then. What is larger than a share takes all of it.
    ///
    /// Cancel safety: yes.
    pub async fn take(&self, share: &Share, bytes: usize) -> Option<Room> {
        let kib = u32::try_from(bytes.div_ceil(1024).clamp(1, self.share_kib)).unwrap_or(u32::MAX);
        let both = async {
            // The own share first: who has none left does not stand in the way of others.
            let share = share.clone().acquire_many_owned(kib).await.ok()?;
            let all = self.all.clone().acquire_many_owned(kib).await.ok()?;
            Some(Room { _share: share, _all: all })
        };
        timeout(PATIENCE, both).await.ok()?
    }

    /// Forgets the shares that nobody uses.
    pub fn tidy(&self) {
        self.shares.lock().retain(|_, share| Arc::strong_count(share) > 1);
    }
}

/// So long a reader waits for room before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(rooms: &Rooms, actor: u8, bytes: usize) -> Option<Room> {
        rooms.take(&rooms.share(ActorRef([actor; 16])), bytes).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_nothing_back_keeps_nobody_else_waiting() {
        let rooms = Rooms::new(100, 40);
        let held = [taken(&rooms, 1, 30 << 10).await.unwrap(), taken(&rooms, 1, 10 << 10).await.unwrap()];
        assert!(taken(&rooms, 1, 1).await.is_none());
        assert!(taken(&rooms, 2, 40 << 10).await.is_some());
        drop(held);
        assert!(taken(&rooms, 1, 1).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_are_bounded_and_what_is_too_large_takes_a_whole_share() {
        let rooms = Rooms::new(100, 40);
        let first = taken(&rooms, 1, usize::MAX).await.unwrap();
        let second = taken(&rooms, 2, 40 << 10).await.unwrap();
        assert!(taken(&rooms, 3, 40 << 10).await.is_none());
        assert!(taken(&rooms, 3, 20 << 10).await.is_some());
        drop((first, second));
        rooms.tidy();
        assert!(rooms.shares.lock().is_empty());
    }
}
