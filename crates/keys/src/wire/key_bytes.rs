//! 32 secret bytes on their way between key service and vault.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A key's 32 bytes. They stand on the heap, so that moving the value copies a pointer and not the key, and are wiped
/// when it goes. Not `Clone`; `Debug` is mute.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct KeyBytes(Box<[u8; 32]>);

impl KeyBytes {
    /// A key that `fill` writes in place.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; 32])) -> Self {
        let mut key = Self(Box::new([0; 32]));
        fill(&mut key.0);
        key
    }

    /// A key with a copy of these bytes; wiping the original is the caller's work.
    pub fn copy_of(bytes: &[u8; 32]) -> Self {
        Self::fill_with(|out| out.copy_from_slice(bytes))
    }

    /// Reads the key. Each caller answers for where it goes.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether all bytes are zero, as the unused places of a record are and no key is.
    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().fold(0, |acc, byte| acc | byte) == 0
    }
}

impl std::fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("‹key›")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_mute() {
        assert_eq!(format!("{:?}", KeyBytes::copy_of(&[7; 32])), "‹key›");
    }
}
