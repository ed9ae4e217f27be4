//! Memory for what is read and opened: taken, handed on as [`Bytes`], used again when the last reader is gone.
//!
//! Fresh memory for every read costs a page fault every 4 KiB, and zeroing it first more than opening what is in it. What
//! lies unused is bounded, and given back when nobody read for a while; so long it holds what was read last.

use bytes::Bytes;
use leadglass_model::ActorRef;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The memory of a node's readers. Clones share it.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    shelf: Mutex<Shelf>,
    /// KiB that all readers together may hold.
    room: Arc<Semaphore>,
    /// KiB that the readers of one person or program may hold.
    shares: Mutex<HashMap<ActorRef, Share>>,
}

/// What the readers of one person or program may hold.
pub(crate) type Share = Arc<Semaphore>;

/// Leave to hold memory, until it is dropped.
pub(super) struct Room {
    _share: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Shelf {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    /// Whether anything was taken since the pool was looked at.
    used: bool,
}

/// Memory of a pool, on its way back.
struct Lent {
    memory: Vec<u8>,
    pool: Pool,
    _room: Room,
}

impl Default for Pool {
    fn default() -> Self {
        Self(Arc::new(Inner {
            shelf: Mutex::default(),
            room: Arc::new(Semaphore::new(ROOM_KIB)),
            shares: Mutex::default(),
        }))
    }
}

impl Pool {
    /// The share of a person or program, whatever the number of its sessions.
    pub(super) fn share(&self, actor: ActorRef) -> Share {
        self.0.shares.lock().entry(actor).or_insert_with(|| Arc::new(Semaphore::new(SHARE_KIB))).clone()
    }

    /// Waits until there is room for `len` bytes, [`ROOM_WAIT`] at most: readers whose clients take nothing keep what they
    /// hold until they are ended, and keep nobody waiting but their own person or program.
    ///
    /// Cancel safety: yes.
    pub(super) async fn room(&self, share: &Share, len: usize) -> Option<Room> {
        let bytes = if len <= SMALL_BYTES { SMALL_BYTES } else { len.max(LARGE_BYTES) };
        let kib = u32::try_from(bytes.div_ceil(1024).min(SHARE_KIB)).unwrap_or(u32::MAX);
        let both = async {
            // The own share first: who has none left does not stand in the way of others.
            let share = share.clone().acquire_many_owned(kib).await.ok()?;
            let all = self.0.room.clone().acquire_many_owned(kib).await.ok()?;
            Some(Room { _share: share, _all: all })
        };
        tokio::time::timeout(ROOM_WAIT, both).await.ok()?
    }

    /// Memory of at least `len` bytes, of any content.
    pub(super) fn take(&self, len: usize) -> Vec<u8> {
        let kept = {
            let mut shelf = self.0.shelf.lock();
            shelf.used = true;
            if len <= SMALL_BYTES {
                shelf.small.pop()
            } else if len <= LARGE_BYTES {
                shelf.large.pop()
            } else {
                None
            }
        };
        kept.unwrap_or_else(|| vec![0; if len <= SMALL_BYTES { SMALL_BYTES } else { len.max(LARGE_BYTES) }])
    }

    /// The memory as bytes; it comes back when the last clone and slice of them is dropped.
    pub(super) fn lend(&self, memory: Vec<u8>, room: Room) -> Bytes {
        Bytes::from_owner(Lent { memory, pool: self.clone(), _room: room })
    }

    /// Memory that nobody needs.
    pub(super) fn give_back(&self, memory: Vec<u8>) {
        let mut shelf = self.0.shelf.lock();
        match memory.len() {
            SMALL_BYTES if shelf.small.len() < SMALL_KEPT => shelf.small.push(memory),
            LARGE_BYTES if shelf.large.len() < LARGE_KEPT => shelf.large.push(memory),
            _ => {}
        }
    }

    /// Gives back to the system what lies here, unless something was read since the last call.
    pub(crate) fn rest(&self) {
        self.0.shares.lock().retain(|_, share| Arc::strong_count(share) > 1);
        let mut shelf = self.0.shelf.lock();
        if !std::mem::take(&mut shelf.used) {
            let idle = (std::mem::take(&mut shelf.small), std::mem::take(&mut shelf.large));
            drop(shelf);
            drop(idle);
        }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.memory));
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shelf = self.0.shelf.lock();
        write!(f, "Pool({} small, {} large kept)", shelf.small.len(), shelf.large.len())
    }
}

/// Two chunks of the default size with their tags, or fewer.
const SMALL_BYTES: usize = 132 << 10;
/// A run of chunks with their tags.
const LARGE_BYTES: usize = 1025 << 10;
const SMALL_KEPT: usize = 64;
/// So much for 24 readers at full speed.
const LARGE_KEPT: usize = 48;
/// 256 MiB of plaintext on its way to all clients.
const ROOM_KIB: usize = 256 << 10;
/// So long a reader waits for room before it is told to come back.
const ROOM_WAIT: Duration = Duration::from_secs(10);
/// 64 MiB on its way to one person or program: some thirty streams at full speed.
const SHARE_KIB: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn kept(pool: &Pool) -> (usize, usize) {
        let shelf = pool.0.shelf.lock();
        (shelf.small.len(), shelf.large.len())
    }

    /// Memory as a reader of `actor` gets it; `None` where it would have to wait.
    fn lent(pool: &Pool, actor: u8, len: usize) -> Option<Bytes> {
        let share = pool.share(ActorRef([actor; 16]));
        // A test that never waits would use up its turn.
        let room = tokio::task::unconstrained(pool.room(&share, len)).now_or_never()??;
        Some(pool.lend(pool.take(len), room))
    }

    #[tokio::test]
    async fn who_takes_nothing_away_keeps_nobody_else_waiting() {
        let pool = Pool::default();
        let held: Vec<Bytes> = (0..100).map_while(|_| lent(&pool, 1, LARGE_BYTES)).collect();
        assert_eq!(held.len(), SHARE_KIB / (LARGE_BYTES >> 10));
        assert!(lent(&pool, 1, LARGE_BYTES).is_none());
        assert!(lent(&pool, 2, LARGE_BYTES).is_some());
        drop(held);
        assert!(lent(&pool, 1, LARGE_BYTES).is_some());
    }

    #[tokio::test]
    async fn all_readers_together_are_bounded() {
        let pool = Pool::default();
        let held: Vec<Bytes> = (0..1000).map_while(|n| lent(&pool, (n / 40) as u8, LARGE_BYTES)).collect();
        assert_eq!(held.len(), ROOM_KIB / (LARGE_BYTES >> 10));
        assert!(lent(&pool, 100, 1).is_none() || held.len() * LARGE_BYTES < ROOM_KIB << 10);
        drop(held);
        pool.rest();
        assert_eq!(pool.0.shares.lock().len(), 0);
    }

    #[tokio::test]
    async fn memory_comes_back_when_the_last_slice_is_gone() {
        let pool = Pool::default();
        let mut memory = pool.take(600_000);
        memory[..3].copy_from_slice(b"abc");
        let place = memory.as_ptr();
        let room = pool.room(&pool.share(ActorRef([1; 16])), 600_000).now_or_never().unwrap().unwrap();
        let bytes = pool.lend(memory, room);
        let slice = bytes.slice(1..3);
        drop(bytes);
        assert_eq!((&slice[..], kept(&pool)), (&b"bc"[..], (0, 0)));
        drop(slice);
        assert_eq!(kept(&pool), (0, 1));
        let again = pool.take(700_000);
        assert_eq!(again.as_ptr(), place);
    }

    #[tokio::test]
    async fn what_lies_unused_is_bounded_and_goes_in_the_end() {
        let pool = Pool::default();
        let small: Vec<_> = (0..100).map(|_| lent(&pool, 1, 1).unwrap()).collect();
        let large: Vec<_> = (0..60).map(|n| lent(&pool, 2 + n / 20, LARGE_BYTES).unwrap()).collect();
        drop((small, large, lent(&pool, 1, LARGE_BYTES + 1).unwrap()));
        assert_eq!(kept(&pool), (SMALL_KEPT, LARGE_KEPT));
        pool.rest();
        assert_eq!(kept(&pool), (SMALL_KEPT, LARGE_KEPT), "it was used just now");
        pool.rest();
        assert_eq!(kept(&pool), (0, 0));
    }
}
