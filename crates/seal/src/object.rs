//! Layer B, writing: BODY, INDEX and FOOTER become one sealed object.
//!
//! The digests are computed as the bytes pass, so the caller holds no more than one slice of the body. Cipher and digests
//! go over one chunk after the other, while it is in the processor's cache.
//!
//! An instance has two digests, of BODY (FOOTER) and of the data set within it (record 08). BLAKE3 mixes each leaf's place
//! in the stream into it, and the data set starts at another place than BODY, so no work of one serves the other.
//! Source: FORMAT.md §6.

use crate::{
    digest::Digest,
    error::SealError,
    footer::{DigestKind, FOOTER_LEN, Footer},
    header::{HEADER_LEN, Header, SealedName},
    key::StudyKey,
    records::ObjectRecords,
    sealer::{MAX_PLAIN_LEN, SealOptions, Sealer},
};
use leadglass_model::Entropy;

/// Seals one object.
#[derive(Debug)]
pub struct ObjectSealer {
    sealer: Sealer,
    body: Digest,
    content: Content,
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

#[derive(Debug)]
enum Content {
    /// The body's digest is the content's.
    Body,
    /// Not reached yet.
    Ahead { at: Option<u64> },
    /// Reached at `at`.
    Within { at: u64, digest: Box<Digest> },
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
    /// BLAKE3 of BODY.
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
        out: &mut Vec<u8>,
    ) -> Self {
        let content = match content {
            ContentStart::Body | ContentStart::At(0) => Content::Body,
            ContentStart::At(at) => Content::Ahead { at: Some(at) },
            ContentStart::Marked => Content::Ahead { at: None },
        };
        Self { sealer: Sealer::begin(key, name, options, entropy, out), body: Digest::new(), content }
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
    pub fn body(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
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

    fn piece(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let start = self.body_len();
        self.sealer.write(bytes, out)?;
        self.body.update(bytes);
        match &mut self.content {
            Content::Body => {}
            Content::Within { digest, .. } => digest.update(bytes),
            Content::Ahead { at: Some(at) } if *at <= self.sealer.plain_len() => {
                let front = usize::try_from(*at - start).expect("within a slice");
                let mut digest = Box::new(Digest::new());
                digest.update(&bytes[front..]);
                self.content = Content::Within { at: *at, digest };
            }
            Content::Ahead { .. } => {}
        }
        Ok(())
    }

    /// The next byte of BODY is the first of the data set. Only the first call counts, and only where
    /// [`ContentStart::Marked`] was said.
    pub fn mark_content_start(&mut self) {
        if let Content::Ahead { at: None } = self.content {
            self.content = match self.body_len() {
                0 => Content::Body,
                at => Content::Within { at, digest: Box::new(Digest::new()) },
            };
        }
    }

    /// BLAKE3 of the content taken so far (record 08), so that a copy of a known instance can be told before the object is
    /// finished; `None` while the content has not begun.
    pub fn content_digest(&self) -> Option<[u8; 32]> {
        match &self.content {
            Content::Body => Some(self.body.value()),
            Content::Within { digest, .. } => Some(digest.value()),
            Content::Ahead { .. } => None,
        }
    }

    /// Appends INDEX and FOOTER and seals the last chunk. Records that contradict the body are refused, and so is a
    /// content digest that does not start where the records say the data set starts.
    pub fn finish(mut self, records: &ObjectRecords, out: &mut Vec<u8>) -> Result<Sealed, SealError> {
        let body_len = self.body_len();
        let body_digest = self.body.value();
        let (content_start, content_digest) = match self.content {
            Content::Body => (0, body_digest),
            Content::Within { at, ref digest } => (at, digest.value()),
            Content::Ahead { .. } => return Err(SealError::ContentStart),
        };
        if content_start != records.content_start() {
            return Err(SealError::ContentStart);
        }
        let index = records.encode(&content_digest, body_len)?;
        let footer = Footer { digest: DigestKind::Blake3, body_len, index_len: index.len() as u64, body_digest };
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
