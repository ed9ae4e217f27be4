//! Binary answers: a count, then records of one fixed length.
//!
//! Law: `decode_records(encode_records(r))` gives `r` back, and no other length or count is accepted
//! (`tests::*`). A count is compared with the bytes that are there before anything is allocated.

use super::KeyBytes;
use leadglass_model::{Fault, KeyGen};
use zeroize::Zeroizing;

/// Why a message is not what this version speaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// More bytes than this message may have.
    #[error("message of {len} bytes, at most {max} are read")]
    TooLong {
        /// Bytes that came.
        len: usize,
        /// Bytes that are read.
        max: usize,
    },
    /// The record count is above the limit.
    #[error("{count} records, at most {max} are read")]
    TooMany {
        /// Records that were announced.
        count: usize,
        /// Records that are read.
        max: usize,
    },
    /// Bytes that the record count does not account for.
    #[error("{len} bytes are not what {count} records of {record_len} bytes take")]
    Length {
        /// Bytes that came.
        len: usize,
        /// Records that were announced.
        count: usize,
        /// Bytes of a record.
        record_len: usize,
    },
    /// A field holds what it never holds.
    #[error("field {field} holds a value that it never has")]
    Field {
        /// Name of the field.
        field: &'static str,
    },
    /// JSON that does not fit the message. The text is not repeated: it may hold anything.
    #[error("JSON does not fit the message (line {line}, column {column})")]
    Json {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault.
        column: usize,
    },
}

impl WireError {
    /// A message that cannot be read is the sender's fault.
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }
}

/// A record of fixed length.
pub trait Record: Sized {
    /// Bytes of a record.
    const LEN: usize;
    /// Appends exactly [`Self::LEN`] bytes.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads one record.
    ///
    /// # Errors
    /// A field that holds what it never holds.
    fn take(from: &mut Fields<'_>) -> Result<Self, WireError>;
}

/// The bytes of records, in a buffer that is wiped when it goes. The buffer never grows, so no copy stays behind.
pub fn encode_records<R: Record>(records: &[R]) -> Zeroizing<Vec<u8>> {
    let room = R::LEN.saturating_mul(records.len()).saturating_add(COUNT_LEN);
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    let count = u32::try_from(records.len()).expect("batches are bounded far below 2^32");
    out.extend_from_slice(&count.to_be_bytes());
    for record in records {
        record.put(&mut out);
    }
    debug_assert_eq!(out.len(), room);
    out
}

/// Reads at most `max` records.
///
/// # Errors
/// A count above `max`, a length that the count does not give, or a field with a value it never has.
pub fn decode_records<R: Record>(bytes: &[u8], max: usize) -> Result<Vec<R>, WireError> {
    let mut fields = Fields(bytes);
    let count = usize::try_from(fields.u32("count")?).unwrap_or(usize::MAX);
    if count > max {
        return Err(WireError::TooMany { count, max });
    }
    if fields.0.len() != count.saturating_mul(R::LEN) {
        return Err(WireError::Length { len: fields.0.len(), count, record_len: R::LEN });
    }
    (0..count).map(|_| R::take(&mut fields)).collect()
}

/// Reads fields from the front of a message.
#[derive(Debug)]
pub struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(WireError::Field { field })?;
        self.0 = tail;
        Ok(*head)
    }

    /// The next 32 bytes, which are a key; they go straight into custody.
    pub(super) fn key(&mut self, field: &'static str) -> Result<KeyBytes, WireError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(WireError::Field { field })?;
        self.0 = tail;
        Ok(KeyBytes::copy_of(head))
    }

    /// The next four bytes as a number.
    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// The next four bytes as a generation.
    pub(super) fn key_gen(&mut self, field: &'static str) -> Result<KeyGen, WireError> {
        KeyGen::new(self.u32(field)?).ok_or(WireError::Field { field })
    }

    /// `N` bytes that are zero.
    pub(super) fn zeros<const N: usize>(&mut self, field: &'static str) -> Result<(), WireError> {
        let bytes: [u8; N] = self.array(field)?;
        if bytes.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(WireError::Field { field }) }
    }

    /// 32 bytes that are a key, so not all zero.
    pub(super) fn real_key(&mut self, field: &'static str) -> Result<KeyBytes, WireError> {
        let key = self.key(field)?;
        if key.is_zero() { Err(WireError::Field { field }) } else { Ok(key) }
    }
}

const COUNT_LEN: usize = 4;
