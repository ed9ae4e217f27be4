//! What can go wrong with objects at rest.

use crate::Told;
use leadglass_model::Fault;
use std::{error::Error, io};

/// Why an operation on objects failed. Names of objects are random, so they may stand in these errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such object.
    #[error("there is no such object")]
    Missing,
    /// Another object stands under that name.
    #[error("an object with other bytes stands under that name")]
    Conflict,
    /// This node is writing that object right now.
    #[error("the object is being written by somebody else")]
    InUse,
    /// The object is shorter than its reader knows it to be.
    #[error("the object is {len} bytes, too short for what was asked")]
    TooShort {
        /// Its length in the store.
        len: u64,
    },
    /// The store is full.
    #[error("the store has no space")]
    NoSpace,
    /// The store takes no writes.
    #[error("the store is read-only")]
    ReadOnly,
    /// A remote store does not answer, or answers that it cannot just now. It was asked for as long as the configuration says.
    #[error("the store does not answer")]
    Away {
        /// What it said last.
        #[source]
        source: Told,
    },
    /// A remote store does not let us, or has no such bucket.
    #[error("the store refuses us")]
    Refused {
        /// What it said.
        #[source]
        source: Told,
    },
    /// The store failed.
    #[error("the store failed")]
    Io {
        /// What it said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    /// What a caller can do about it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::Conflict => Fault::Conflict,
            // Whoever sends keeps what was not taken and comes back.
            Self::InUse | Self::NoSpace | Self::ReadOnly | Self::Away { .. } => Fault::Busy,
            Self::TooShort { .. } => Fault::Corrupt,
            Self::Refused { .. } | Self::Io { .. } => Fault::Broken,
        }
    }
}

impl From<object_store::Error> for StoreError {
    fn from(error: object_store::Error) -> Self {
        let told = Told::of(&error);
        match (error, told) {
            (object_store::Error::NotFound { .. }, Some(told)) if told.is_about_the_bucket() => {
                Self::Refused { source: told }
            }
            (object_store::Error::NotFound { .. }, _) => Self::Missing,
            (object_store::Error::AlreadyExists { .. }, _) => Self::Conflict,
            (_, Some(told)) if told.refuses() => Self::Refused { source: told },
            (_, Some(told)) if told.passing() => Self::Away { source: told },
            // Not its source: that may quote the request.
            (_, Some(told)) => Self::Io { source: Box::new(told) },
            (other, None) => match io_kind(&other) {
                Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Self::NoSpace,
                Some(io::ErrorKind::ReadOnlyFilesystem) => Self::ReadOnly,
                _ => Self::Io { source: Box::new(other) },
            },
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Io { source: Box::new(error) },
        }
    }
}

impl From<tokio::task::JoinError> for StoreError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Io { source: Box::new(error) }
    }
}

/// The kind of the system's error at the bottom of a chain.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        at = error.source();
    }
    None
}
