//! Memory for what is read and opened: taken, handed on as [`Bytes`], used again when the last reader is gone.
//!
//! Fresh memory for every read costs a page fault every 4 KiB, and zeroing it first more than opening what is in it. What
//! lies unused is bounded, and given back when nobody read for a while; so long it holds what was read last.

use crate::rooms::{Room, Rooms, Share};
use bytes::Bytes;
use leadglass_model::ActorRef;
use parking_lot::Mutex;
use std::sync::Arc;

/// The memory of a node's readers. Clones share it.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    shelf: Mutex<Shelf>,
    rooms: Rooms<ActorRef>,
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
        Self(Arc::new(Inner { shelf: Mutex::default(), rooms: Rooms::new(ROOM_KIB) }))
    }
}

impl Pool {
    /// The share of a person or program.
    pub(super) fn share(&self, actor: ActorRef) -> Share {
        self.0.rooms.share(actor, SHARE_KIB)
    }

    /// Waits for leave to [`take`](Self::take) `len` bytes.
    ///
    /// Cancel safety: yes.
    pub(super) async fn room(&self, share: &Share, len: usize) -> Option<Room> {
        let bytes = if len <= SMALL_BYTES { SMALL_BYTES } else { len.max(LARGE_BYTES) };
        self.0.rooms.take(share, bytes.div_ceil(1024)).await
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
/// 32 MiB on its way to one person or program: sixteen streams at full speed, twice as many at half of it. More made no
/// reader faster, and memory follow the moments at which all of them wanted the most.
const SHARE_KIB: usize = 32 << 10;

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
