//! Compressed pixels: their fragments stay, but for what is written beside the image in them.

use super::Writer;

/// What becomes of the fragments that go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fragments {
    None,
    Copied,
    Dropped,
}

impl Writer {
    /// Bytes of a fragment of the pixels. Behind the offset table each may begin an image.
    pub(super) fn fragment_bytes(&mut self, piece: &[u8]) {
        let start = self.out.len();
        if !self.table_passed {
            self.out.extend_from_slice(piece);
            return;
        }
        let room = 2_usize.saturating_sub(self.first.len()).min(piece.len());
        let (first, rest) = piece.split_at(room);
        if room > 0 {
            self.first.extend_from_slice(first);
            if self.first.len() < 2 {
                return;
            }
            self.codestream.fragment(self.first.first_chunk().copied().unwrap_or_default());
            self.out.append(&mut self.first.clone());
        }
        self.out.extend_from_slice(rest);
        self.codestream.clean(self.out.get_mut(start..).unwrap_or_default());
    }

    /// A fragment is over: one byte alone waited for another.
    pub(super) fn fragment_end(&mut self) {
        if self.table_passed && self.first.len() < 2 {
            let start = self.out.len();
            self.out.append(&mut self.first.clone());
            self.codestream.clean(self.out.get_mut(start..).unwrap_or_default());
        }
        self.table_passed = true;
    }
}
