//! What can go wrong, one enum an operation. No message holds a byte of plaintext or key.

use crate::header::HeaderField;
use leadglass_model::Fault;

/// A sealed object did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not one of our objects, or a length that no plaintext has.
    #[error("this is no sealed object")]
    NotSealed,
    /// The object ends at a border between chunks: its end is missing.
    #[error("the sealed object is cut short")]
    Truncated,
    /// A header field has a value that no writer gives it.
    #[error("the sealed object's header cannot be: {field:?}")]
    Header {
        /// Which field.
        field: HeaderField,
    },
    /// A whole, well-formed object, but not the one that was asked for.
    #[error("the sealed object is another one than was asked for")]
    WrongObject,
    /// The object lies under another key or generation than the index says.
    #[error("the sealed object names another key")]
    WrongKey,
    /// The commitment does not fit: other key, other tenant, or a changed header.
    #[error("the key does not fit the sealed object")]
    KeyMismatch,
    /// The store holds more or fewer bytes than the index pinned. An integrity alarm goes with it.
    #[error("the sealed object has {found} bytes where {pinned} were pinned")]
    LengthChanged {
        /// As in the index row.
        pinned: u64,
        /// As the store says.
        found: u64,
    },
    /// The stored header is not the pinned one. An integrity alarm goes with it.
    #[error("the sealed object's header is not the pinned one")]
    HeaderChanged,
    /// What was handed in is not whole chunks of this object: a short read.
    #[error("{given} bytes are no run of chunks from chunk {first_chunk}")]
    NotARun {
        /// Where the run should start.
        first_chunk: u64,
        /// Bytes handed in.
        given: usize,
    },
    /// A chunk's tag does not fit: flipped, moved, or from elsewhere.
    #[error("chunk {chunk} did not authenticate")]
    NotAuthentic {
        /// Which chunk, from zero.
        chunk: u64,
    },
    /// Every chunk is authentic, yet what they hold contradicts itself: a writer's defect.
    #[error("the sealed object contradicts itself: {what}")]
    Corrupt {
        /// Where.
        what: Corruption,
    },
}

/// Where the inside of an object contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// No FOOTER, or fields that no writer gives it.
    #[error("the footer cannot be")]
    Footer,
    /// The lengths in the FOOTER do not add up to the plaintext.
    #[error("the footer's lengths do not add up")]
    Lengths,
    /// INDEX is longer than any writer makes it.
    #[error("the index records are {len} bytes long")]
    TooLong {
        /// Bytes.
        len: u64,
    },
    /// A record ends behind the end of INDEX.
    #[error("an index record is cut short")]
    RecordCut,
    /// Records are not in ascending order, or one occurs twice.
    #[error("index record {kind:#04x} is out of order")]
    RecordOrder {
        /// The record's type.
        kind: u8,
    },
    /// A record's value cannot be.
    #[error("index record {kind:#04x} cannot be read")]
    Record {
        /// The record's type.
        kind: u8,
    },
    /// A record of a critical type that this reader does not know.
    #[error("index record {kind:#04x} is critical and unknown")]
    RecordUnknown {
        /// The record's type.
        kind: u8,
    },
    /// A record that every object has is missing.
    #[error("index record {kind:#04x} is missing")]
    RecordMissing {
        /// The record's type.
        kind: u8,
    },
    /// BODY does not have the digest that the FOOTER names.
    #[error("the body's digest does not fit")]
    BodyDigest,
    /// The content does not have the digest of record 08.
    #[error("the content's digest does not fit")]
    ContentDigest,
}

/// A range that the plaintext does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// It ends behind the end, or before its start.
    #[error("bytes {start}..{end} of {plain_len} do not exist")]
    Outside {
        /// First byte.
        start: u64,
        /// Byte after the last.
        end: u64,
        /// Length of the plaintext.
        plain_len: u64,
    },
}

/// An object could not be sealed. What was written so far is no object; throw it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// More than [`MAX_PLAIN_LEN`](crate::MAX_PLAIN_LEN) bytes.
    #[error("the object is larger than an object may be")]
    TooLarge,
    /// A record that no reader would accept, or one that contradicts BODY.
    #[error("index record {kind:#04x} does not fit the body")]
    Record {
        /// The record's type.
        kind: u8,
    },
    /// The content does not start where the records say the data set starts.
    #[error("the content digest starts elsewhere than the data set")]
    ContentStart,
}

impl From<Corruption> for OpenError {
    fn from(what: Corruption) -> Self {
        Self::Corrupt { what }
    }
}

impl OpenError {
    /// The kind of failure: all but a caller's slip mean that bytes at rest are not what was written.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NotARun { .. } => Fault::Broken,
            _ => Fault::Corrupt,
        }
    }
}

impl RangeError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }
}

impl SealError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::TooLarge => Fault::BadInput,
            Self::Record { .. } | Self::ContentStart => Fault::Broken,
        }
    }
}
