//! Whole objects, read as they arrive.
//!
//! Sealed bytes come in pieces of any size; a chunk's plaintext goes out once its tag passed. The stream is only
//! finished when [`finish`](StreamOpener::finish) said so: until then the end may be missing.
//! Source: FORMAT.md §5 and §6.

use crate::{
    error::{Corruption, OpenError},
    footer::{DigestKind, Hasher, of_halves},
    header::{HEADER_LEN, Header, SealedName},
    key::{StudyKey, wipe},
    opener::Opener,
    suite::TAG_LEN,
    tail::{Tail, TailStep},
};
use std::fmt;

/// Opens one whole sealed object, header included, from its first byte to its last.
pub struct StreamOpener {
    opener: Opener,
    header_seen: usize,
    next_chunk: u64,
    /// Sealed bytes of a chunk that is not whole yet.
    pending: Vec<u8>,
    /// Plaintext bytes that still go out.
    release: u64,
    check: Option<Check>,
    failed: Option<OpenError>,
}

/// Digests of a verified stream.
struct Check {
    /// BODY's, of kind 00 or 01: over all of it.
    body: Option<Hasher>,
    body_expected: [u8; 32],
    /// Of what stands in front of the content, and of the content.
    front: Hasher,
    content: Hasher,
    content_expected: Option<[u8; 32]>,
    /// Bytes of BODY in front of the content that are still to come.
    skip: u64,
}

impl StreamOpener {
    /// Gives out the whole plaintext: layer A, such as the keyring file.
    pub fn plain(opener: Opener) -> Self {
        let release = opener.geometry().plain_len();
        Self::new(opener, release, None)
    }

    /// Gives out BODY, whose length the index row pins. Every chunk is authenticated; BODY's digest is not checked.
    /// Refused where BODY would be longer than the plaintext.
    pub fn body(opener: Opener, body_len: u64) -> Result<Self, OpenError> {
        if body_len > opener.geometry().plain_len() {
            return Err(Corruption::Lengths.into());
        }
        Ok(Self::new(opener, body_len, None))
    }

    /// Gives out BODY and checks the digests of BODY and content at the end: for export and `verify`. `tail` was read
    /// through the same opener.
    pub fn verified(opener: Opener, tail: &Tail) -> Result<Self, OpenError> {
        let kind = tail.footer.digest;
        let mut stream = Self::body(opener, tail.footer.body_len)?;
        stream.check = Some(Check {
            body: (kind != DigestKind::Blake3Halves).then(|| Hasher::new(kind)),
            body_expected: tail.footer.body_digest,
            front: Hasher::new(DigestKind::Blake3),
            content: Hasher::new(DigestKind::Blake3),
            content_expected: tail.opened.content_digest,
            skip: tail.opened.records.content_start(),
        });
        Ok(stream)
    }

    fn new(opener: Opener, release: u64, check: Option<Check>) -> Self {
        Self { opener, header_seen: 0, next_chunk: 0, pending: Vec::new(), release, check, failed: None }
    }

    /// The opener inside.
    pub const fn opener(&self) -> &Opener {
        &self.opener
    }

    /// Takes more of the sealed object and appends the plaintext of the chunks that became whole to `out`: at most
    /// the piece's length and one chunk. On failure `out` is as long as before, what was appended is zeroed, and
    /// every later call fails the same way.
    pub fn feed(&mut self, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let start = out.len();
        self.take(sealed, out).inspect_err(|error| {
            wipe(&mut out[start..]);
            out.truncate(start);
            self.failed = Some(*error);
        })
    }

    /// Confirms that the object was whole and, for a verified stream, that its digests fit.
    pub fn finish(self) -> Result<(), OpenError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.next_chunk != self.opener.geometry().chunks() {
            return Err(OpenError::Truncated);
        }
        self.check.map_or(Ok(()), Check::finish)
    }

    fn take(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let header = self.opener.header().as_bytes();
        let (head, rest) = sealed.split_at(sealed.len().min(HEADER_LEN - self.header_seen));
        if header[self.header_seen..][..head.len()] != *head {
            return Err(OpenError::HeaderChanged);
        }
        self.header_seen += head.len();
        sealed = rest;
        while !sealed.is_empty() {
            let geometry = self.opener.geometry();
            if self.next_chunk == geometry.chunks() {
                let pinned = geometry.sealed_len();
                return Err(OpenError::LengthChanged { pinned, found: pinned.saturating_add(sealed.len() as u64) });
            }
            let chunk_len = geometry.chunk_sealed_len(self.next_chunk);
            let missing = chunk_len - self.pending.len();
            let (head, rest) = sealed.split_at(sealed.len().min(missing));
            sealed = rest;
            if head.len() < missing || !self.pending.is_empty() {
                self.pending.reserve_exact(missing);
                self.pending.extend_from_slice(head);
                if self.pending.len() < chunk_len {
                    return Ok(());
                }
                let whole = std::mem::take(&mut self.pending);
                self.open_chunk(&whole, out)?;
                self.pending = whole;
                self.pending.clear();
            } else {
                self.open_chunk(head, out)?;
            }
        }
        Ok(())
    }

    fn open_chunk(&mut self, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let start = out.len();
        self.opener.open_run_into(self.next_chunk, sealed, out)?;
        self.next_chunk += 1;
        let opened = sealed.len() - TAG_LEN;
        let released = usize::try_from(self.release).unwrap_or(usize::MAX).min(opened);
        wipe(&mut out[start + released..]);
        out.truncate(start + released);
        self.release -= released as u64;
        if let Some(check) = &mut self.check {
            check.update(&out[start..]);
        }
        Ok(())
    }
}

/// Opens and verifies an object that lies in memory whole, such as a note or an escrow reader's file. The caller bounds
/// its length.
pub fn open_object(key: &StudyKey, name: &SealedName, sealed: &[u8]) -> Result<(Tail, Vec<u8>), OpenError> {
    let header = Header::parse(sealed)?;
    let opener = Opener::proved(key, name, header.as_bytes(), sealed.len() as u64, sealed)?;
    let TailStep::Complete(tail) = opener.read_tail(sealed)? else {
        return Err(OpenError::NotARun { first_chunk: 0, given: sealed.len() });
    };
    let mut stream = StreamOpener::verified(opener, &tail)?;
    let mut body = Vec::new();
    stream.feed(sealed, &mut body)?;
    stream.finish().inspect_err(|_| wipe(&mut body))?;
    Ok((*tail, body))
}

impl fmt::Debug for StreamOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamOpener")
            .field("object_id", &self.opener.header().object_id())
            .field("next_chunk", &self.next_chunk)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Check {
    fn update(&mut self, body: &[u8]) {
        if let Some(hasher) = &mut self.body {
            hasher.update(body);
        }
        let (front, content) = body.split_at(usize::try_from(self.skip).unwrap_or(usize::MAX).min(body.len()));
        self.skip -= front.len() as u64;
        self.front.update(front);
        self.content.update(content);
    }

    fn finish(self) -> Result<(), OpenError> {
        let content = self.content.digest();
        let body = self.body.map_or_else(|| of_halves(self.front.digest(), content), Hasher::digest);
        if body != self.body_expected {
            return Err(Corruption::BodyDigest.into());
        }
        if self.content_expected.is_some_and(|expected| expected != content) {
            return Err(Corruption::ContentDigest.into());
        }
        Ok(())
    }
}
