//! Bytes to a disk, past the page cache.
//!
//! A journal record is read again only after a crash, a stored object minutes later if at all. Through the page cache each
//! of their bytes is copied into a fresh page, which costs more than sealing it: 540 KB into a new file took 0.81 ms of
//! processor time, past the cache 0.14 ms. So [`BlockFile`] writes with `O_DIRECT`, in whole blocks out of one aligned
//! [`Buffer`] that is used over and over, and through the cache only where a file system cannot do that.
//!
//! **Invariant:** nothing here promises durability; whoever wrote syncs, by [`BlockFile::sync`] or with the file system.

#![forbid(unsafe_code)]

mod block_file;
mod buffer;
mod trays;

pub use block_file::{BlockFile, Blocks};
pub use buffer::Buffer;
pub use trays::{Tray, Trays};

/// What addresses, offsets and lengths are multiples of: the largest block of common disks and file systems, and a page.
pub const BLOCK_BYTES: usize = 4096;
