//! Layer B, writing: BODY, INDEX and FOOTER become one sealed object.
//!
//! The digests are computed as the bytes pass, so the caller holds no more than one slice of the body. Cipher and digests
//! go over one chunk after the other, while it is in the processor's cache.
//!
//! An instance has two digests, of BODY (FOOTER) and of the data set within it (record 08). Every byte is hashed once: where
//! something stands in front of the content, BODY's digest is made of the digests of the two.
//! Source: FORMAT.md §6.

use crate::{
    digest::Digest,
    error::SealError,
    footer::{DigestKind, FOOTER_LEN, Footer, of_halves},
    header::{HEADER_LEN, Header, SealedName},
    key::StudyKey,
    out::Out,
    records::ObjectRecords,
    sealer::{MAX_PLAIN_LEN, SealOptions, Sealer},
};
use leadglass_model::Entropy;

/// Seals one object.
#[derive(Debug)]
pub struct ObjectSealer {
    sealer: Sealer,
    /// Where the content starts; `None` until somebody says.
    start: Option<u64>,
    front: Digest,
    content: Digest,
}

/// Where the content that record 08 covers starts in BODY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContentStart {
    /// At byte 0: every kind but an instance.
    #[default]
    Body,
    /// At this offset: the data set of an instance whose preamble and file meta we wrote.
    At(u64),
    /// Where [`ObjectSealer::mark_content_start`] says: the data set of an instance that is parsed as it passes.
    Marked,
}

/// What a finished object is pinned by, and what its index row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "header and length are what a reader pins"]
pub struct Sealed {
    /// The first 120 bytes.
    pub header: [u8; HEADER_LEN],
    /// Bytes of the sealed object.
    pub sealed_len: u64,
    /// Bytes of BODY.
    pub body_len: u64,
    /// Digest of BODY, as in FOOTER.
    pub body_digest: [u8; 32],
    /// BLAKE3 of the content (record 08).
    pub content_digest: [u8; 32],
}

impl ObjectSealer {
    /// Draws a salt, derives the object's key, and writes the header to `out`.
    pub fn begin(
        key: &StudyKey,
        name: &SealedName,
        options: SealOptions,
        content: ContentStart,
        entropy: &dyn Entropy,
        out: &mut impl Out,
    ) -> Self {
        let start = match content {
            ContentStart::Body => Some(0),
            ContentStart::At(at) => Some(at),
            ContentStart::Marked => None,
        };
        let sealer = Sealer::begin(key, name, options, entropy, out);
        Self { sealer, start, front: Digest::new(), content: Digest::new() }
    }

    /// The header, as written.
    pub const fn header(&self) -> &Header {
        self.sealer.header()
    }

    /// Bytes of BODY taken so far.
    pub const fn body_len(&self) -> u64 {
        self.sealer.plain_len()
    }

    /// Takes more of BODY, in slices of any size; appends what became full chunks to `out`.
    pub fn body(&mut self, mut bytes: &[u8], out: &mut impl Out) -> Result<(), SealError> {
        self.sealer.check_room(bytes.len())?;
        let stride = self.header().chunk_size().plain_len().max(STRIDE_LEN) as u64;
        while !bytes.is_empty() {
            let room = usize::try_from(stride - self.body_len() % stride).expect("at most a chunk");
            let (piece, rest) = bytes.split_at(bytes.len().min(room));
            self.piece(piece, out)?;
            bytes = rest;
        }
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8], out: &mut impl Out) -> Result<(), SealError> {
        let front = self.start.map_or(u64::MAX, |start| start.saturating_sub(self.body_len()));
        self.sealer.write(bytes, out)?;
        let (front, content) = bytes.split_at(usize::try_from(front).unwrap_or(usize::MAX).min(bytes.len()));
        self.front.update(front);
        self.content.update(content);
        Ok(())
    }

    /// The next byte of BODY is the first of the data set. Only the first call counts, and only where
    /// [`ContentStart::Marked`] was said.
    pub fn mark_content_start(&mut self) {
        self.start.get_or_insert(self.sealer.plain_len());
    }

    /// BLAKE3 of the content taken so far (record 08), so that a copy of a known instance can be told before the object is
    /// finished; `None` while the content has not begun.
    pub fn content_digest(&self) -> Option<[u8; 32]> {
        self.start.filter(|start| *start <= self.body_len()).map(|_| self.content.value())
    }

    /// Appends INDEX and FOOTER and seals the last chunk. Records that contradict the body are refused, and so is a
    /// content digest that does not start where the records say the data set starts.
    pub fn finish(mut self, records: &ObjectRecords, out: &mut impl Out) -> Result<Sealed, SealError> {
        let body_len = self.body_len();
        let start = self.start.filter(|start| *start <= body_len && *start == records.content_start());
        let start = start.ok_or(SealError::ContentStart)?;
        let content_digest = self.content.value();
        let (digest, body_digest) = match start {
            0 => (DigestKind::Blake3, content_digest),
            _ => (DigestKind::Blake3Halves, of_halves(self.front.value(), content_digest)),
        };
        let index = records.encode(&content_digest, body_len)?;
        let footer = Footer { digest, body_len, index_len: index.len() as u64, body_digest };
        self.sealer.write(&index, out)?;
        self.sealer.write(&footer.encode(), out)?;
        let sealed = self.sealer.finish(out);
        Ok(Sealed { header: sealed.header, sealed_len: sealed.sealed_len, body_len, body_digest, content_digest })
    }
}

/// Bytes that cipher and digests take in turns: a default chunk, which fits a core's own cache.
const STRIDE_LEN: usize = 64 * 1024;

/// Most bytes of BODY: what an object may hold, less the longest INDEX and FOOTER.
pub const MAX_BODY_LEN: u64 = MAX_PLAIN_LEN - crate::records::MAX_INDEX_LEN - FOOTER_LEN as u64;
