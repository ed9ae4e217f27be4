//! What can go wrong with records and tokens.

use leadglass_model::Fault;
use std::{error::Error, io};

/// Why the file of records did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("another process has the records open")]
    Locked,
    /// The file is not what was written.
    #[error("the file of records is damaged")]
    Damaged {
        /// What the engine said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The disk refused.
    #[error("could not open the records")]
    Io {
        /// What the system said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl OpenError {
    /// What a caller can do about it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Damaged { .. } => Fault::Corrupt,
            Self::Locked | Self::Io { .. } => Fault::Broken,
        }
    }
}

impl From<redb::Error> for OpenError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            redb::Error::Corrupted(_) | redb::Error::RepairAborted | redb::Error::UpgradeRequired(_) => {
                Self::Damaged { source: Box::new(error) }
            }
            // A file whose first bytes are not the engine's own.
            redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
                Self::Damaged { source: Box::new(source) }
            }
            other => Self::Io { source: Box::new(other) },
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(source: io::Error) -> Self {
        Self::Io { source: Box::new(source) }
    }
}

/// Why a record was not written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Empty, or longer than a key or a value may be, or a scan that asks for too much.
    #[error("a record key is 1 to 256 bytes, a value at most 1 MiB")]
    Limits,
    /// The record is not as the writer expected it.
    #[error("the record was changed meanwhile")]
    Changed,
    /// The value did not open: changed, moved, or of another record key.
    #[error("the record did not authenticate")]
    NotAuthentic,
    /// The disk is full.
    #[error("the disk has no space for records")]
    NoSpace,
    /// The disk failed.
    #[error("could not read or write records")]
    Io {
        /// What the engine said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl RecordError {
    /// What a caller can do about it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Limits => Fault::BadInput,
            Self::Changed => Fault::Conflict,
            Self::NotAuthentic => Fault::Corrupt,
            Self::NoSpace => Fault::Busy,
            Self::Io { .. } => Fault::Broken,
        }
    }
}

impl From<redb::Error> for RecordError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                Self::NoSpace
            }
            other => Self::Io { source: Box::new(other) },
        }
    }
}

impl From<tokio::task::JoinError> for RecordError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Io { source: Box::new(error) }
    }
}

/// Why a token was not issued, listed or revoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The label is empty, too long or holds control characters.
    #[error("a token's label is 1 to 64 printable characters")]
    Label,
    /// It would have expired before it was issued.
    #[error("a token must expire in the future")]
    Expired,
    /// There are too many.
    #[error("there are too many tokens")]
    TooMany,
    /// There is no such token.
    #[error("there is no such token")]
    Missing,
    /// A row is not what was written.
    #[error("a token's row is damaged")]
    Damaged,
    /// The disk failed.
    #[error("could not read or write tokens")]
    Io {
        /// What the engine said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl TokenError {
    /// What a caller can do about it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Label | Self::Expired => Fault::BadInput,
            Self::TooMany => Fault::Busy,
            Self::Missing => Fault::Missing,
            Self::Damaged => Fault::Corrupt,
            Self::Io { .. } => Fault::Broken,
        }
    }
}

impl From<redb::Error> for TokenError {
    fn from(error: redb::Error) -> Self {
        Self::Io { source: Box::new(error) }
    }
}

impl From<tokio::task::JoinError> for TokenError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Io { source: Box::new(error) }
    }
}
