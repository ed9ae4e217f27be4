//! Layer A, reading: chunks of a sealed object become plaintext.
//!
//! An opener exists only where the object's length is known for sure: *pinned* by an index row, or *proved* by opening
//! the last chunk at its place. Without that, a cut object would look like a shorter one. It then opens any run of
//! chunks, in any order, from any thread.
//!
//! Law: no byte of plaintext is given out before its chunk's tag passed; on failure the buffer is zero.
//! Source: FORMAT.md §5.

use crate::{
    error::OpenError,
    header::{HEADER_LEN, Header, SealedName},
    key::{ObjectRoot, wipe},
    range::{Geometry, RangePlan},
    suite::{Backend, Cipher, TAG_LEN},
};
use std::ops::Range;

/// Opens chunks of one sealed object.
#[derive(Debug)]
pub struct Opener {
    header: Header,
    geometry: Geometry,
    cipher: Cipher,
    base_nonce: [u8; 12],
}

/// Plaintext of a run of chunks, where it was opened: in the buffer that held the sealed bytes.
#[derive(Debug, Clone, Copy)]
pub struct PlainRun<'a> {
    buffer: &'a [u8],
    sealed_chunk_len: usize,
}

impl Opener {
    /// The normal way: header and length come from the index row, which is sealed itself.
    ///
    /// Whoever fetches then compares the store's total with [`check_total`](Self::check_total).
    pub fn pinned(
        root: &impl ObjectRoot,
        name: &SealedName,
        header: &[u8; HEADER_LEN],
        sealed_len: u64,
    ) -> Result<Self, OpenError> {
        Self::pinned_on(Backend::default(), root, name, header, sealed_len)
    }

    /// As [`pinned`](Self::pinned), with the backend told.
    pub fn pinned_on(
        backend: Backend,
        root: &impl ObjectRoot,
        name: &SealedName,
        header: &[u8; HEADER_LEN],
        sealed_len: u64,
    ) -> Result<Self, OpenError> {
        let header = Header::parse(header)?;
        let geometry = Geometry::new(header.chunk_size(), sealed_len)?;
        header.check_name(name)?;
        let derived = header.unlock(root, &name.tenant, backend)?;
        let cipher = derived.cipher(header.suite(), backend);
        Ok(Self { header, geometry, cipher, base_nonce: derived.base_nonce() })
    }

    /// Without an index: `sealed_len` and `suffix` come from one suffix GET of
    /// [`suffix_len`](crate::ChunkSize::suffix_len) bytes. The last chunk opens at its place, or there is no opener.
    pub fn proved(
        root: &impl ObjectRoot,
        name: &SealedName,
        header: &[u8; HEADER_LEN],
        sealed_len: u64,
        suffix: &[u8],
    ) -> Result<Self, OpenError> {
        Self::proved_on(Backend::default(), root, name, header, sealed_len, suffix)
    }

    /// As [`proved`](Self::proved), with the backend told.
    pub fn proved_on(
        backend: Backend,
        root: &impl ObjectRoot,
        name: &SealedName,
        header: &[u8; HEADER_LEN],
        sealed_len: u64,
        suffix: &[u8],
    ) -> Result<Self, OpenError> {
        let opener = Self::pinned_on(backend, root, name, header, sealed_len)?;
        let last = opener.geometry.chunks() - 1;
        let at = suffix.len().checked_sub(opener.geometry.chunk_sealed_len(last));
        let sealed = at.and_then(|at| suffix.get(at..)).ok_or(OpenError::Truncated)?;
        let mut plain = vec![0; sealed.len() - TAG_LEN];
        opener.open_chunk(last, sealed, &mut plain)?;
        wipe(&mut plain);
        Ok(opener)
    }

    /// The object's header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How the object is divided; makes range plans.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Compares the total length that the store reports (`Content-Range`, file length) with the pinned one.
    pub const fn check_total(&self, found: u64) -> Result<(), OpenError> {
        let pinned = self.geometry.sealed_len();
        if found == pinned { Ok(()) } else { Err(OpenError::LengthChanged { pinned, found }) }
    }

    /// Opens a planned range. `sealed` is exactly `plan.sealed()`; the run's plaintext is appended to `out`, and the
    /// answer says where in `out` the asked bytes lie: no byte is moved after it was opened. On failure `out` is as
    /// long as before and what was appended is zeroed.
    pub fn open_range(&self, plan: &RangePlan, sealed: &[u8], out: &mut Vec<u8>) -> Result<Range<usize>, OpenError> {
        let start = out.len();
        self.open_run_into(plan.first_chunk(), sealed, out)?;
        let asked = plan.plain();
        let from = start + plan.skip();
        let to = usize::try_from(asked.end - asked.start).ok().and_then(|len| from.checked_add(len));
        match to.filter(|to| *to <= out.len()) {
            Some(to) => Ok(from..to),
            None => {
                wipe(&mut out[start..]);
                out.truncate(start);
                Err(OpenError::NotARun { first_chunk: plan.first_chunk(), given: sealed.len() })
            }
        }
    }

    /// Opens whole chunks from `first_chunk` on, appending their plaintext to `out`. On failure `out` is as long as
    /// before and what was appended is zeroed.
    pub fn open_run_into(&self, first_chunk: u64, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let chunks = self.run_chunks(first_chunk, sealed.len())?;
        let start = out.len();
        out.resize(start + sealed.len() - chunks * TAG_LEN, 0);
        let opened = self.open_run_to(first_chunk, sealed, &mut out[start..]);
        if opened.is_err() {
            out.truncate(start);
        }
        opened
    }

    /// As [`open_run_into`](Self::open_run_into), into a slice of exactly the plaintext's length.
    pub fn open_run_to(&self, first_chunk: u64, sealed: &[u8], out: &mut [u8]) -> Result<(), OpenError> {
        let chunks = self.run_chunks(first_chunk, sealed.len())?;
        if out.len() != sealed.len() - chunks * TAG_LEN {
            return Err(OpenError::NotARun { first_chunk, given: sealed.len() });
        }
        let size = self.geometry.chunk_size();
        let pairs = sealed.chunks(size.sealed_len()).zip(Pieces { rest: &mut *out, len: size.plain_len() });
        let mut opened = Ok(());
        for (chunk, (sealed, plain)) in (first_chunk..).zip(pairs) {
            opened = self.open_chunk(chunk, sealed, plain);
            if opened.is_err() {
                break;
            }
        }
        if opened.is_err() {
            wipe(out);
        }
        opened
    }

    /// Opens whole chunks in the buffer that holds them. On failure the whole buffer is zero.
    pub fn open_run<'a>(&self, first_chunk: u64, sealed: &'a mut [u8]) -> Result<PlainRun<'a>, OpenError> {
        self.run_chunks(first_chunk, sealed.len())?;
        let sealed_chunk_len = self.geometry.chunk_size().sealed_len();
        let mut opened = Ok(());
        for (chunk, sealed) in (first_chunk..).zip(sealed.chunks_mut(sealed_chunk_len)) {
            let nonce = nonce(&self.base_nonce, chunk);
            opened = self.cipher.open_in_place(nonce, b"", sealed).map_err(|_| OpenError::NotAuthentic { chunk });
            if opened.is_err() {
                break;
            }
        }
        if let Err(error) = opened {
            wipe(sealed);
            return Err(error);
        }
        Ok(PlainRun { buffer: sealed, sealed_chunk_len })
    }

    fn open_chunk(&self, chunk: u64, sealed: &[u8], plain: &mut [u8]) -> Result<(), OpenError> {
        self.cipher
            .open(nonce(&self.base_nonce, chunk), b"", sealed, plain)
            .map_err(|_| OpenError::NotAuthentic { chunk })
    }

    /// Number of chunks that `given` sealed bytes from `first_chunk` on are, if they are whole chunks.
    fn run_chunks(&self, first_chunk: u64, given: usize) -> Result<usize, OpenError> {
        let misfit = OpenError::NotARun { first_chunk, given };
        let full = self.geometry.chunk_size().sealed_len();
        let chunks = given.div_ceil(full);
        let Some(end) = first_chunk.checked_add(chunks as u64).filter(|end| *end <= self.geometry.chunks()) else {
            return Err(misfit);
        };
        if chunks == 0 {
            return Ok(0);
        }
        let expected = (chunks - 1) * full + self.geometry.chunk_sealed_len(end - 1);
        if given == expected { Ok(chunks) } else { Err(misfit) }
    }
}

impl<'a> PlainRun<'a> {
    /// The plaintext in order, one slice a chunk; the last one may be empty.
    pub fn slices(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.buffer.chunks(self.sealed_chunk_len).map(|chunk| &chunk[..chunk.len() - TAG_LEN])
    }

    /// Plaintext bytes in all.
    pub fn plain_len(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }
}

/// `chunks_mut`, but with an empty last piece where the sealed side has a bare tag.
struct Pieces<'a> {
    rest: &'a mut [u8],
    len: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a mut [u8];
    fn next(&mut self) -> Option<&'a mut [u8]> {
        let rest = std::mem::take(&mut self.rest);
        let (head, tail) = rest.split_at_mut(self.len.min(rest.len()));
        self.rest = tail;
        Some(head)
    }
}

/// The nonce of a chunk: its number, big-endian, XORed into the object's base nonce.
pub(crate) fn nonce(base: &[u8; 12], chunk: u64) -> [u8; 12] {
    let mut nonce = *base;
    for (byte, number) in nonce[4..].iter_mut().zip(chunk.to_be_bytes()) {
        *byte ^= number;
    }
    nonce
}
