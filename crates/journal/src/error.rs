//! What can go wrong, one enum an operation.

use leadglass_model::Fault;
use std::{io, sync::Arc};

/// Why a journal did not open, or why replay stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process has it open.
    #[error("another process has the journal open")]
    Locked,
    /// The sizes do not fit together.
    #[error("segment_bytes must be a multiple of 4096 of at least 64 KiB, and max_bytes at least two segments")]
    Config,
    /// A segment's header is not what was written.
    #[error("the header of journal segment {generation:016x} is damaged")]
    DamagedHeader {
        /// The generation that the file's name carries.
        generation: u64,
    },
    /// A record that was acknowledged is not there any more.
    #[error("journal record {position} is damaged or missing (segment {generation:016x}, byte {offset})")]
    Damaged {
        /// Its position.
        position: u64,
        /// The segment that should hold it.
        generation: u64,
        /// Where in the file it was looked for.
        offset: u64,
    },
    /// The disk refused.
    #[error("could not {doing} the journal")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl JournalError {
    /// What a caller can do about it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::DamagedHeader { .. } | Self::Damaged { .. } => Fault::Corrupt,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Fault::Busy,
            Self::Locked | Self::Config | Self::Io { .. } => Fault::Broken,
        }
    }
}

/// Why a record was not acknowledged. It may nevertheless come back in a replay after a crash.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Records that nobody has trimmed fill `max_bytes`.
    #[error("the journal is full until it is drained")]
    Full,
    /// The disk has no space for another segment.
    #[error("the disk has no space for the journal")]
    NoSpace,
    /// The file system takes no writes.
    #[error("the journal's file system is read-only")]
    ReadOnly,
    /// The record is longer than a record may be.
    #[error("a record of {len} bytes is longer than the journal takes ({max})")]
    TooLong {
        /// Its length.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// The disk failed. The segment is abandoned; the next commit uses another.
    #[error("could not make the record durable")]
    Io {
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The journal is shut.
    #[error("the journal is shut")]
    Closed,
}

impl CommitError {
    /// What a caller can do about it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Full | Self::NoSpace | Self::ReadOnly => Fault::Busy,
            Self::TooLong { .. } => Fault::BadInput,
            Self::Io { .. } | Self::Closed => Fault::Broken,
        }
    }
}

impl From<io::Error> for CommitError {
    fn from(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Io { source: Arc::new(source) },
        }
    }
}

/// Why a trim is not durable. Nothing is lost by it: the records will be replayed once more.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TrimError {
    /// The disk failed.
    #[error("could not make the trim mark durable")]
    Io {
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The journal is shut.
    #[error("the journal is shut")]
    Closed,
}

impl TrimError {
    /// What a caller can do about it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Io { source } if source.kind() == io::ErrorKind::StorageFull => Fault::Busy,
            Self::Io { .. } | Self::Closed => Fault::Broken,
        }
    }
}

impl From<io::Error> for TrimError {
    fn from(source: io::Error) -> Self {
        Self::Io { source: Arc::new(source) }
    }
}
