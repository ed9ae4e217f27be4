//! Attributes of a data set coerced, and everything else as it lies.
//!
//! What a person corrects (whose images these are, what the study is called, of which study they are) is replaced or put
//! in where it belongs; the values from before are kept in an item of Original Attributes Sequence (PS3.3 §C.12.1.1.9),
//! the newest item first. All other bytes go through untouched, pixels and private elements with them. Left out are group lengths of
//! the groups that change: they would not be true any more.
//!
//! Law: the output does not depend on how the input is cut. A data set that says all of it already comes out unchanged.
//! Memory: one attribute that may change, at most 64 KiB, and what came out of the last piece.
//!
//! Not done here: a data set that is one deflate stream, attributes inside of sequences, signatures.

mod coerced;
mod editor;
mod writing;

use crate::{Encoding, Limits, Syntax, Tag, Vr, WalkError, Walker};
pub use coerced::Coerced;
use editor::{Editor, ORIGINAL_ATTRIBUTES};
use std::mem;

/// What stands in Original Attributes Sequence beside the old values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoercedBy {
    /// Attribute Modification DateTime, as DICOM writes it.
    pub at: String,
    /// Modifying System.
    pub system: String,
}

/// Why a data set cannot be coerced. It names a tag and never a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoerceError {
    /// It is broken.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// It is one deflate stream.
    #[error("its data set is deflated, and what is deflated is not corrected")]
    Deflated,
    /// Nobody corrects this attribute.
    #[error("{tag} is none of the attributes that can be corrected")]
    NotCorrectable {
        /// Which.
        tag: Tag,
    },
    /// The new value is not of the attribute's form.
    #[error("what {tag} is to say is not of its form ({vr})")]
    Form {
        /// Of which.
        tag: Tag,
        /// The form.
        vr: Vr,
    },
    /// The character set of the data set has no place for the new value.
    #[error("the character set of this data set cannot say what {tag} is to say")]
    Charset {
        /// Of which.
        tag: Tag,
    },
    /// Attributes do not stand in their order.
    #[error("{tag} does not stand in its order")]
    Order {
        /// Which.
        tag: Tag,
    },
    /// An attribute that is not written as what it is, or is too long for it.
    #[error("{tag} is not written as what it is")]
    Unlike {
        /// Which.
        tag: Tag,
    },
}

/// Coerces one data set, pushed in pieces of any size.
#[derive(Debug)]
pub struct Coercer {
    walker: Walker,
    editor: Editor,
    /// Input that is not handed on yet, and the place of its first byte.
    held: Vec<u8>,
    held_at: u64,
}

impl Coercer {
    /// A coercer at the start of a data set of this syntax.
    ///
    /// # Errors
    /// [`CoerceError::Deflated`].
    pub fn new(syntax: Syntax, mut coerced: Vec<Coerced>, by: CoercedBy) -> Result<Self, CoerceError> {
        if syntax.deflated {
            return Err(CoerceError::Deflated);
        }
        coerced.sort_by_key(|one| std::cmp::Reverse(one.tag));
        coerced.dedup_by_key(|one| one.tag);
        let editor = Editor::new(syntax.encoding, coerced, by);
        Ok(Self { walker: Walker::new(syntax.encoding, Limits::default().depth), editor, held: Vec::new(), held_at: 0 })
    }

    /// Takes the next bytes; what can be handed on is appended to `out`.
    ///
    /// # Errors
    /// [`CoerceError`]; it is final.
    pub fn feed(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), CoerceError> {
        self.held.extend_from_slice(data);
        let walked = self.walker.feed(data, &mut self.editor);
        if let Some(error) = self.editor.failed {
            return Err(error);
        }
        walked?;
        if let Some(at) = self.editor.opened.take() {
            self.is_written_as_sequence(at)?;
        }
        // The header of the next element may have begun.
        let mut upto = self.walker.position().saturating_sub(HEADER);
        if let Some(from) = self.editor.hold_from {
            upto = upto.min(from);
        }
        self.hand_over(upto, out);
        Ok(())
    }

    /// To be called once after the last byte.
    ///
    /// # Errors
    /// A data set that breaks off; what could not be put in any more.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), CoerceError> {
        self.walker.finish()?;
        let zeros = self.walker.oddities().trailing_zeros;
        let end = self.walker.position().saturating_sub(zeros);
        self.editor.before(END, end);
        if let Some(error) = self.editor.failed {
            return Err(error);
        }
        if zeros > 0 && self.editor.edits.iter().any(|edit| edit.from < self.held_at) {
            return Err(CoerceError::Order { tag: Tag(0, 0) });
        }
        self.hand_over(self.walker.position(), out);
        Ok(())
    }

    /// Whether every attribute has been met that might change, and what they were is said: nothing can fail any more but the
    /// data set itself.
    pub fn is_settled(&self) -> bool {
        self.editor.is_settled()
    }

    /// Whether anything changes, as far as is known.
    pub fn changes(&self) -> bool {
        !self.editor.originals.is_empty()
    }

    /// One that is written as unknown holds its items in another encoding.
    fn is_written_as_sequence(&self, at: u64) -> Result<(), CoerceError> {
        let at = usize::try_from(at.saturating_sub(self.held_at)).unwrap_or(usize::MAX);
        let written = self.held.get(at.saturating_add(4)..at.saturating_add(6));
        let explicit = self.editor.writing.encoding != Encoding::ImplicitLe;
        if explicit && written != Some(&Vr::SQ.0) {
            return Err(CoerceError::Unlike { tag: ORIGINAL_ATTRIBUTES });
        }
        Ok(())
    }

    fn hand_over(&mut self, upto: u64, out: &mut Vec<u8>) {
        let mut from = self.held_at;
        for edit in mem::take(&mut self.editor.edits) {
            if edit.from > upto {
                self.editor.edits.push(edit);
                continue;
            }
            self.copy(from, edit.from, out);
            out.extend_from_slice(&edit.bytes);
            self.editor.left_out = self.editor.left_out.max(edit.to);
            from = from.max(edit.from);
        }
        self.copy(from, upto, out);
        let gone = usize::try_from(upto.saturating_sub(self.held_at)).unwrap_or(usize::MAX).min(self.held.len());
        self.held.drain(..gone);
        self.held_at = self.held_at.saturating_add(gone as u64);
    }

    /// Copies input, but for what was left out.
    fn copy(&self, from: u64, to: u64, out: &mut Vec<u8>) {
        let from = from.max(self.editor.left_out);
        let at = |place: u64| usize::try_from(place.saturating_sub(self.held_at)).unwrap_or(usize::MAX);
        out.extend_from_slice(self.held.get(at(from)..at(to)).unwrap_or_default());
    }
}

/// Behind every element.
const END: Tag = Tag(u16::MAX, u16::MAX);
/// The longest header of an element.
const HEADER: u64 = 12;

#[cfg(test)]
#[path = "coerce_tests.rs"]
mod tests;
