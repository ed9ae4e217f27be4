//! Where sealed bytes go.

/// Takes sealed bytes, one behind the other.
pub trait Out {
    /// The next `len` bytes, which the caller writes in full. What they hold before that means nothing.
    fn room(&mut self, len: usize) -> &mut [u8];
}

impl Out for Vec<u8> {
    fn room(&mut self, len: usize) -> &mut [u8] {
        let start = self.len();
        self.resize(start + len, 0);
        &mut self[start..]
    }
}
