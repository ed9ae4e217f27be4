//! BLAKE3 at full width, whatever the slices.
//!
//! BLAKE3 hashes 16 of its 1024-byte leaves side by side (AVX-512; 8 with AVX2), but only those of one call whose place
//! in the stream is a multiple of their number. Slices as PDUs bring them, and a data set that starts after an odd
//! preface, cost up to half of its speed. So what does not fill [`BLOCK_LEN`] waits here, and the hasher sees whole
//! blocks at whole multiples; of a long slice no more than the two ends are copied.
//!
//! Law: the slices never change the digest (`tests::the_slices_never_change_the_digest`).

use crate::waiting::Waiting;
use std::fmt;

/// A BLAKE3 digest that is fed in slices of any size.
pub(crate) struct Digest {
    hasher: blake3::Hasher,
    waiting: Waiting,
}

impl Digest {
    pub(crate) fn new() -> Self {
        Self { hasher: blake3::Hasher::new(), waiting: Waiting::new(BLOCK_LEN) }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        if !self.waiting.is_empty() {
            bytes = self.waiting.take(bytes);
            if !self.waiting.is_full() {
                return;
            }
            self.hasher.update(self.waiting.bytes());
            self.waiting.clear();
        }
        let (blocks, rest) = bytes.split_at(bytes.len() - bytes.len() % BLOCK_LEN);
        self.hasher.update(blocks);
        self.waiting.take(rest);
    }

    /// The digest of what came so far.
    pub(crate) fn value(&self) -> [u8; 32] {
        let mut hasher = self.hasher.clone();
        hasher.update(self.waiting.bytes());
        hasher.finalize().into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(‹of plaintext›)")
    }
}

/// Sixteen leaves: the widest that BLAKE3 works side by side.
const BLOCK_LEN: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_slices_never_change_the_digest(cuts in prop::collection::vec(0_usize..40_000, 0..8)) {
            let bytes: Vec<u8> = (0..cuts.iter().sum::<usize>()).map(|i| (i % 251).to_le_bytes()[0]).collect();
            let (mut digest, mut rest) = (Digest::new(), &bytes[..]);
            let mut taken = 0;
            for cut in cuts {
                let (head, tail) = rest.split_at(cut);
                digest.update(head);
                (rest, taken) = (tail, taken + cut);
                prop_assert_eq!(digest.value(), *blake3::hash(&bytes[..taken]).as_bytes());
            }
        }
    }
}
