//! Plaintext that waits for the rest of its block: a buffer that never moves and is wiped at the end.

use crate::key::wipe;

/// At most `capacity` bytes. A buffer that grew would leave copies of plaintext behind, so it takes all its room at once,
/// when the first byte comes.
pub(crate) struct Waiting {
    bytes: Vec<u8>,
    capacity: usize,
    /// Most bytes that ever were in here: what lies behind was never plaintext.
    most: usize,
}

impl Waiting {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { bytes: Vec::new(), capacity, most: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() == self.capacity
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes as much of `plain` as there is room for and gives back the rest.
    pub(crate) fn take<'a>(&mut self, plain: &'a [u8]) -> &'a [u8] {
        let (head, rest) = plain.split_at(plain.len().min(self.capacity - self.bytes.len()));
        if !head.is_empty() {
            self.bytes.reserve_exact(self.capacity - self.bytes.len());
            self.bytes.extend_from_slice(head);
            self.most = self.most.max(self.bytes.len());
        }
        rest
    }

    /// What was in here was dealt with.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bytes.resize(self.most, 0);
        wipe(&mut self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_what_fits_and_stays_where_it_is() {
        let mut waiting = Waiting::new(5);
        assert!(waiting.is_empty() && !waiting.is_full());
        assert_eq!(waiting.take(b"abc"), b"");
        let place = waiting.bytes().as_ptr();
        assert_eq!(waiting.take(b"defg"), b"fg");
        assert!(waiting.is_full());
        assert_eq!((waiting.bytes(), waiting.bytes().as_ptr()), (&b"abcde"[..], place));
        waiting.clear();
        assert_eq!(waiting.take(b"x"), b"");
        assert_eq!((waiting.bytes(), waiting.bytes().as_ptr(), waiting.most), (&b"x"[..], place, 5));
    }
}
