//! The last 64 bytes of an object's plaintext: where BODY ends, where INDEX lies, and BODY's digest.
//!
//! Source: FORMAT.md §6.

use crate::{error::Corruption, header::field, records::MAX_INDEX_LEN};
use sha2::Digest as _;

/// FOOTER, checked against the plaintext's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// What `body_digest` was computed with.
    pub digest: DigestKind,
    /// Bytes of BODY.
    pub body_len: u64,
    /// Bytes of INDEX, padding included.
    pub index_len: u64,
    /// Digest of BODY.
    pub body_digest: [u8; 32],
}

/// Digest of BODY. All are 32 bytes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestKind {
    /// 00, read and never written: seven times as slow as the encryption.
    Sha256,
    /// 01: BLAKE3 of BODY, where all of BODY is content.
    Blake3,
    /// 02: BLAKE3 over the BLAKE3 of what stands in front of the content, then that of the content (record 08).
    Blake3Halves,
}

/// A digest under way.
#[derive(Debug, Clone)]
pub(crate) enum Hasher {
    Sha256(Box<sha2::Sha256>),
    Blake3(Box<blake3::Hasher>),
}

/// BODY's digest of kind 02.
pub(crate) fn of_halves(front: [u8; 32], content: [u8; 32]) -> [u8; 32] {
    blake3::Hasher::new().update(&front).update(&content).finalize().into()
}

impl Footer {
    /// Parses the last 64 bytes of a plaintext of `plain_len` bytes.
    pub fn parse(bytes: &[u8; FOOTER_LEN], plain_len: u64) -> Result<Self, Corruption> {
        let digest = match bytes[..8] {
            [b'S', b'V', b'O', b'F', 1, 0, 0, 0] => DigestKind::Sha256,
            [b'S', b'V', b'O', b'F', 1, 1, 0, 0] => DigestKind::Blake3,
            [b'S', b'V', b'O', b'F', 1, 2, 0, 0] => DigestKind::Blake3Halves,
            _ => return Err(Corruption::Footer),
        };
        let number = |at| u64::from_be_bytes(field(bytes, at));
        let (body_len, index_at, index_len) = (number(8), number(16), number(24));
        let total = body_len.checked_add(index_len).and_then(|len| len.checked_add(FOOTER_LEN as u64));
        if total != Some(plain_len) || index_at != body_len {
            return Err(Corruption::Lengths);
        }
        if index_len > MAX_INDEX_LEN {
            return Err(Corruption::TooLong { len: index_len });
        }
        Ok(Self { digest, body_len, index_len, body_digest: field(bytes, 32) })
    }

    /// The 64 bytes.
    pub(crate) fn encode(&self) -> [u8; FOOTER_LEN] {
        let mut bytes = [0; FOOTER_LEN];
        bytes[..4].copy_from_slice(b"SVOF");
        bytes[4] = 1;
        bytes[5] = match self.digest {
            DigestKind::Sha256 => 0,
            DigestKind::Blake3 => 1,
            DigestKind::Blake3Halves => 2,
        };
        bytes[8..16].copy_from_slice(&self.body_len.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.body_len.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.index_len.to_be_bytes());
        bytes[32..].copy_from_slice(&self.body_digest);
        bytes
    }
}

impl Hasher {
    /// The function that a kind is made of.
    pub(crate) fn new(kind: DigestKind) -> Self {
        match kind {
            DigestKind::Sha256 => Self::Sha256(Box::default()),
            DigestKind::Blake3 | DigestKind::Blake3Halves => Self::Blake3(Box::default()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    pub(crate) fn digest(self) -> [u8; 32] {
        match self {
            Self::Sha256(hasher) => hasher.finalize().into(),
            Self::Blake3(hasher) => hasher.finalize().into(),
        }
    }
}

/// Length of FOOTER, bytes.
pub const FOOTER_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        Footer { digest: DigestKind::Blake3, body_len: 1000, index_len: 36, body_digest: [7; 32] }
    }

    #[test]
    fn a_footer_comes_back() {
        assert_eq!(Footer::parse(&footer().encode(), 1100), Ok(footer()));
        for digest in [DigestKind::Sha256, DigestKind::Blake3Halves] {
            let other = Footer { digest, ..footer() };
            assert_eq!(Footer::parse(&other.encode(), 1100), Ok(other));
        }
    }

    #[test]
    fn every_change_in_front_of_the_digest_is_refused() {
        let halves = Footer { digest: DigestKind::Blake3Halves, ..footer() };
        // A flip in the digest's kind may be a footer again; the digest itself then fails.
        for (footer, harmless) in [(footer(), (5, 0)), (halves, (5, 1))] {
            for at in 0..32 {
                for bit in 0..8 {
                    let mut bytes = footer.encode();
                    bytes[at] ^= 1 << bit;
                    let parsed = Footer::parse(&bytes, 1100);
                    assert_eq!(parsed.is_err(), (at, bit) != harmless, "byte {at} bit {bit}");
                }
            }
        }
    }

    #[test]
    fn lengths_that_overflow_or_do_not_add_up_are_refused() {
        assert_eq!(Footer::parse(&footer().encode(), 1101), Err(Corruption::Lengths));
        let huge = Footer { body_len: u64::MAX, ..footer() };
        assert_eq!(Footer::parse(&huge.encode(), 99), Err(Corruption::Lengths));
        let long = Footer { body_len: 0, index_len: MAX_INDEX_LEN + 1, ..footer() };
        assert_eq!(
            Footer::parse(&long.encode(), MAX_INDEX_LEN + 65),
            Err(Corruption::TooLong { len: MAX_INDEX_LEN + 1 })
        );
    }
}
