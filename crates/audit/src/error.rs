//! What can go wrong with a log.

use crate::{
    EntryError, NoteError,
    log::{MAX_BATCH, MAX_BATCH_BYTES},
};
use leadglass_model::Fault;
use std::{io, sync::Arc};

/// Why the log does not open or does not verify. All but `Disk`, `Locked` and `Key` mean that bytes at rest are not what
/// was written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file system failed.
    #[error("the log's directory cannot be read or written")]
    Disk(#[source] Arc<io::Error>),
    /// Another process has the log.
    #[error("the log is in use by another process")]
    Locked,
    /// The name or the seed is not fit for a log.
    #[error("the log's key was refused")]
    Key(#[source] NoteError),
    /// The checkpoint is gone, was changed, or was signed by another key.
    #[error("the log's checkpoint was refused")]
    Checkpoint(#[source] NoteError),
    /// There are entries but no checkpoint, or a checkpoint but no tail.
    #[error("a part of the log is missing: {what}")]
    Missing {
        /// Which part.
        what: &'static str,
    },
    /// A bundle of entries is gone or malformed.
    #[error("entry bundle {index} is missing or malformed")]
    Bundle {
        /// Its number.
        index: u64,
    },
    /// A tile does not hold the hashes that the entries give.
    #[error("tile {index} at level {level} is missing or wrong")]
    Tile {
        /// Its level.
        level: u32,
        /// Its number.
        index: u64,
    },
    /// An entry is malformed or not in its place.
    #[error("entry {seq} is malformed or not in its place")]
    Entry {
        /// Its place.
        seq: u64,
    },
    /// An entry does not follow its subject's previous one.
    #[error("entry {seq} does not follow its subject's previous entry")]
    Chain {
        /// Its place.
        seq: u64,
    },
    /// The entries do not give the signed root.
    #[error("the first {size} entries do not give the signed root")]
    Root {
        /// How many entries.
        size: u64,
    },
    /// The log is shorter than what its witness signed.
    #[error("the log has {size} entries, its witness signed {seen}")]
    BehindWitness {
        /// How many entries there are.
        size: u64,
        /// How many there were.
        seen: u64,
    },
    /// The tail was changed.
    #[error("the log's tail was changed at byte {at}")]
    Tail {
        /// Offset of the bad frame.
        at: usize,
    },
}

impl OpenError {
    pub(crate) fn disk(error: io::Error) -> Self {
        Self::Disk(Arc::new(error))
    }

    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Disk(_) => Fault::Broken,
            Self::Locked => Fault::Conflict,
            Self::Key(_) => Fault::BadInput,
            _ => Fault::Corrupt,
        }
    }
}

/// Why a batch was not appended. Nothing of it counts; it may be tried again.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// An entry is too long.
    #[error("an entry was refused")]
    Entry(#[source] EntryError),
    /// More entries or more details than one batch may hold.
    #[error("a batch holds at most {MAX_BATCH} entries and {MAX_BATCH_BYTES} bytes")]
    TooLarge,
    /// The file system failed.
    #[error("the log cannot be written")]
    Disk(#[source] Arc<io::Error>),
    /// The tail cannot be published and has reached its limit.
    #[error("the log's tail is full and cannot be published")]
    TailFull,
}

impl AppendError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Entry(_) | Self::TooLarge => Fault::BadInput,
            Self::Disk(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                Fault::Busy
            }
            Self::TailFull => Fault::Busy,
            Self::Disk(_) => Fault::Broken,
        }
    }
}

/// Why something could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The log is not that long.
    #[error("the log has {size} entries")]
    OutOfRange {
        /// Its size.
        size: u64,
    },
    /// The details are gone, or were changed.
    #[error("the details of entry {seq} are not there")]
    NoDetail {
        /// The entry's place.
        seq: u64,
    },
    /// The files are not what was written.
    #[error("the log's files were refused")]
    Log(#[source] OpenError),
}

impl ReadError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::OutOfRange { .. } | Self::NoDetail { .. } => Fault::Missing,
            Self::Log(source) => source.fault(),
        }
    }
}
