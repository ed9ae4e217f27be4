//! The tail: what was appended since the last published checkpoint, one signed frame a batch.
//!
//! Bytes: AUDIT.md §4. The file begins with a *base* frame (the head it starts from) and goes on with *batch* frames. A
//! frame is acknowledged only after its fdatasync, so the last one may be torn; every other must be whole and signed.

use crate::{Hash, LogKey, PublicKey, hash::sha256, log::TreeHead};

/// A leaf and its sealed details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) bytes: Vec<u8>,
    pub(crate) detail: Option<Vec<u8>>,
}

/// One frame. `head` and `position` are what holds after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) head: TreeHead,
    pub(crate) position: Option<u64>,
    /// `None`: a base frame.
    pub(crate) leaves: Option<Vec<Leaf>>,
}

/// What the tail's bytes hold.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) frames: Vec<Frame>,
    /// Length of the whole frames; what follows was torn off and never acknowledged.
    pub(crate) whole_bytes: usize,
}

/// The tail is not what was written; the value is the byte offset of the bad frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadFrame(pub(crate) usize);

impl Frame {
    pub(crate) fn encode(&self, key: &LogKey) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.head.size.to_be_bytes());
        body.extend_from_slice(&self.head.root.0);
        body.push(u8::from(self.position.is_some()));
        body.extend_from_slice(&self.position.unwrap_or(0).to_be_bytes());
        for leaf in self.leaves.iter().flatten() {
            let detail = leaf.detail.as_deref().unwrap_or(&[]);
            body.extend_from_slice(&length(leaf.bytes.len()));
            body.extend_from_slice(&length(detail.len()));
            body.extend_from_slice(&leaf.bytes);
            body.extend_from_slice(detail);
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[if self.leaves.is_some() { BATCH } else { BASE }, 0, 0, 0]);
        out.extend_from_slice(&length(body.len()));
        out.extend_from_slice(&header_check(&out));
        out.extend_from_slice(&body);
        let digest = sha256(&[&out]);
        out.extend_from_slice(&digest.0);
        out.extend_from_slice(&key.sign(&message(key.name(), &digest)));
        out
    }
}

/// Reads a tail. A torn last frame is cut off; anything else that is not a whole, signed frame is an error.
pub(crate) fn parse(bytes: &[u8], key: &PublicKey) -> Result<Tail, BadFrame> {
    let mut frames = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        match parse_one(rest, key) {
            Some((frame, len)) if frame.leaves.is_none() == frames.is_empty() => {
                frames.push(frame);
                at += len;
            }
            _ if !frames.is_empty() && is_torn(rest, at) => break,
            _ => return Err(BadFrame(at)),
        }
    }
    if frames.is_empty() { Err(BadFrame(0)) } else { Ok(Tail { frames, whole_bytes: at }) }
}

fn parse_one(bytes: &[u8], key: &PublicKey) -> Option<(Frame, usize)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let (kind, len) = parse_header(header)?;
    let (body, rest) = rest.split_at_checked(len)?;
    let (digest, rest) = rest.split_first_chunk::<32>()?;
    let (signature, _) = rest.split_first_chunk::<64>()?;
    let digest = Hash(*digest);
    if sha256(&[header, body]) != digest || !key.verify(&message(key.name(), &digest), signature) {
        return None;
    }
    let (size, body) = body.split_first_chunk::<8>()?;
    let (root, body) = body.split_first_chunk::<32>()?;
    let (&has_position, body) = body.split_first()?;
    let (position, mut body) = body.split_first_chunk::<8>()?;
    let mut leaves = Vec::new();
    while !body.is_empty() {
        let (leaf_len, rest) = body.split_first_chunk::<4>()?;
        let (detail_len, rest) = rest.split_first_chunk::<4>()?;
        let (leaf, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*leaf_len)).ok()?)?;
        let (detail, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*detail_len)).ok()?)?;
        leaves.push(Leaf { bytes: leaf.to_vec(), detail: (!detail.is_empty()).then(|| detail.to_vec()) });
        body = rest;
    }
    let frame = Frame {
        head: TreeHead { size: u64::from_be_bytes(*size), root: Hash(*root) },
        position: (has_position == 1).then(|| u64::from_be_bytes(*position)),
        leaves: (kind == BATCH).then_some(leaves),
    };
    Some((frame, HEADER + len + TRAILER))
}

/// Whether the rest of the file is a frame that a crash cut short: the file ends inside it, or a sector of it never
/// reached the disk and reads as zeros. A whole frame with a wrong byte is neither: somebody changed it.
fn is_torn(rest: &[u8], at: usize) -> bool {
    let header = rest.split_first_chunk::<HEADER>().and_then(|(header, _)| parse_header(header));
    let complete = header.map(|(_, len)| rest.len() >= HEADER + len + TRAILER);
    let prefix_of_header = rest.len() < HEADER && MAGIC.iter().zip(rest).all(|(a, b)| a == b);
    let first = SECTOR - at % SECTOR;
    let (head, tail) = rest.split_at(first.min(rest.len()));
    let zero = |piece: &[u8]| piece.len() >= MIN_ZEROS && piece.iter().all(|b| *b == 0);
    prefix_of_header || complete == Some(false) || zero(head) || tail.chunks(SECTOR).any(zero)
}

/// Kind and length of the body. The check keeps a changed length from looking like a torn frame.
fn parse_header(header: &[u8; HEADER]) -> Option<(u8, usize)> {
    let [m0, m1, m2, m3, kind, 0, 0, 0, l0, l1, l2, l3, check @ ..] = *header else { return None };
    let len = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).ok()?;
    let good = [m0, m1, m2, m3] == MAGIC && matches!(kind, BASE | BATCH) && len <= MAX_FRAME_BYTES;
    (good && header_check(&header[..HEADER - 4]) == check).then_some((kind, len))
}

fn header_check(header: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256(&[header]).0;
    [a, b, c, d]
}

fn message(origin: &str, digest: &Hash) -> Vec<u8> {
    [b"leadglass audit frame v1\0", origin.as_bytes(), b"\0", &digest.0[..]].concat()
}

fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("frames are at most MAX_FRAME_BYTES long").to_be_bytes()
}

const MAGIC: [u8; 4] = *b"LGAF";
const BASE: u8 = 1;
const BATCH: u8 = 2;
/// Magic, kind, three zeros, length, check.
const HEADER: usize = 16;
/// Digest and signature.
const TRAILER: usize = 32 + 64;
/// The smallest piece that a disk writes whole.
const SECTOR: usize = 512;
/// Fewer zeros than this may stand in an honest frame.
const MIN_ZEROS: usize = 40;
/// A frame's body is at most this long: the log closes a group before.
pub(crate) const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
