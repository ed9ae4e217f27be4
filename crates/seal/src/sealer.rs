//! Layer A, writing: a stream of unknown length becomes a sealed object.
//!
//! The last chunk is always shorter than the others, if need be empty: so a stream that was cut at a border shows it.
//! A full chunk is sealed straight from the caller's slice; what is left over waits in one buffer of the sealer's own,
//! so `out` never holds a byte of plaintext and may be drained between calls.
//!
//! Law: how the input is cut into slices never changes the sealed bytes (`tests::laws`).
//! Source: FORMAT.md §2.

use crate::{
    error::SealError,
    header::{HEADER_LEN, Header, SealedName},
    key::ObjectRoot,
    opener::nonce,
    out::Out,
    range::ChunkSize,
    suite::{Backend, Cipher, Suite, TAG_LEN},
    waiting::Waiting,
};
use leadglass_model::Entropy;
use std::fmt;

/// How to seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SealOptions {
    /// Cipher suite, AES-256-GCM unless told.
    pub suite: Suite,
    /// Plaintext bytes of a chunk, 64 KiB unless told.
    pub chunk_size: ChunkSize,
    /// Who computes.
    pub backend: Backend,
}

/// Seals one stream. Dropped before [`finish`](Sealer::finish), what it wrote is no object.
pub struct Sealer {
    header: Header,
    cipher: Cipher,
    base_nonce: [u8; 12],
    next_chunk: u64,
    plain_len: u64,
    /// What does not fill a chunk yet.
    pending: Waiting,
}

/// What a finished stream is pinned by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "header and length are what a reader pins"]
pub struct SealedStream {
    /// The first 120 bytes.
    pub header: [u8; HEADER_LEN],
    /// Bytes of the sealed object.
    pub sealed_len: u64,
    /// Bytes of the plaintext.
    pub plain_len: u64,
}

impl Sealer {
    /// Draws a salt, derives the object's key, and writes the header to `out`.
    pub fn begin(
        root: &impl ObjectRoot,
        name: &SealedName,
        options: SealOptions,
        entropy: &dyn Entropy,
        out: &mut impl Out,
    ) -> Self {
        let mut salt = [0; 32];
        entropy.fill(&mut salt);
        let SealOptions { suite, chunk_size, backend } = options;
        let (header, derived) = Header::write(root, name, suite, chunk_size, &salt, backend);
        out.room(HEADER_LEN).copy_from_slice(header.as_bytes());
        Self {
            header,
            cipher: derived.cipher(suite, backend),
            base_nonce: derived.base_nonce(),
            next_chunk: 0,
            plain_len: 0,
            pending: Waiting::new(chunk_size.plain_len()),
        }
    }

    /// The header, as written.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Plaintext bytes taken so far.
    pub const fn plain_len(&self) -> u64 {
        self.plain_len
    }

    /// Takes more plaintext; appends the chunks that became full to `out`.
    pub fn write(&mut self, mut plain: &[u8], out: &mut impl Out) -> Result<(), SealError> {
        self.plain_len = self.check_room(plain.len())?;
        if !self.pending.is_empty() {
            plain = self.pending.take(plain);
            if !self.pending.is_full() {
                return Ok(());
            }
            self.seal_chunk(self.pending.bytes(), out);
            self.next_chunk += 1;
            self.pending.clear();
        }
        let mut chunks = plain.chunks_exact(self.header.chunk_size().plain_len());
        for chunk in &mut chunks {
            self.seal_chunk(chunk, out);
            self.next_chunk += 1;
        }
        self.pending.take(chunks.remainder());
        Ok(())
    }

    /// The plaintext's length with so many more bytes, if an object may be so long.
    pub(crate) fn check_room(&self, more: usize) -> Result<u64, SealError> {
        let len = self.plain_len.checked_add(more as u64);
        len.filter(|len| *len <= MAX_PLAIN_LEN).ok_or(SealError::TooLarge)
    }

    /// Seals the last chunk, which may be empty.
    pub fn finish(self, out: &mut impl Out) -> SealedStream {
        self.seal_chunk(self.pending.bytes(), out);
        let chunk_size = self.header.chunk_size();
        SealedStream {
            header: *self.header.as_bytes(),
            sealed_len: chunk_size.object_len(self.plain_len).expect("at most 64 GiB"),
            plain_len: self.plain_len,
        }
    }

    /// Seals the chunk whose turn it is.
    fn seal_chunk(&self, plain: &[u8], out: &mut impl Out) {
        let sealed = out.room(plain.len() + TAG_LEN);
        self.cipher.seal(nonce(&self.base_nonce, self.next_chunk), b"", plain, sealed);
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("object_id", &self.header.object_id())
            .field("plain_len", &self.plain_len)
            .finish_non_exhaustive()
    }
}

/// Most plaintext bytes of one object: 64 GiB.
pub const MAX_PLAIN_LEN: u64 = 64 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StudyKey, tests::name};
    use leadglass_model::SystemEntropy;

    fn begin(out: &mut Vec<u8>) -> Sealer {
        Sealer::begin(&StudyKey::from_bytes([1; 32]), &name(), SealOptions::default(), &SystemEntropy, out)
    }

    #[test]
    fn an_object_that_is_too_large_is_refused_and_nothing_of_it_is_written() {
        let mut out = Vec::new();
        let mut sealer = begin(&mut out);
        sealer.plain_len = MAX_PLAIN_LEN - 1;
        assert_eq!(sealer.write(b"12", &mut out), Err(SealError::TooLarge));
        assert_eq!((sealer.plain_len(), out.len()), (MAX_PLAIN_LEN - 1, HEADER_LEN));
        assert_eq!(sealer.write(b"1", &mut out), Ok(()));
    }

    #[test]
    fn the_same_plaintext_under_the_same_name_never_gives_the_same_bytes() {
        let seal = || {
            let mut out = Vec::new();
            let mut sealer = begin(&mut out);
            sealer.write(b"the same picture", &mut out).unwrap();
            let _ = sealer.finish(&mut out);
            out
        };
        let (one, two) = (seal(), seal());
        assert_eq!(one[..56], two[..56]);
        for part in [56..88, 88..120, 120..136] {
            assert_ne!(one[part.clone()], two[part]);
        }
    }
}
