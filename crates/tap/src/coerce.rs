//! Attributes of a data set coerced, and everything else as it lies.
//!
//! What a person corrects (whose images these are, what the study is called) is replaced or put in where it belongs;
//! the values from before are kept in an item of Original Attributes Sequence (PS3.3 §C.12.1.1.9), the newest item
//! first. All other bytes go through untouched, pixels and private elements with them. Left out are group lengths of
//! the groups that change: they would not be true any more.
//!
//! Law: the output does not depend on how the input is cut. A data set that says all of it already comes out unchanged.
//! Memory: one attribute that may change, at most [`MAX_VALUE`] bytes, and what came out of the last piece.
//!
//! Not done here: a data set that is one deflate stream, attributes inside of sequences, signatures.

use crate::{Charset, Element, Encoding, Limits, Syntax, Tag, Visitor, Vr, WalkError, Walker, Want};
use leadglass_model::Phi;
use std::{fmt, mem};

/// What an attribute is to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Coerced {
    tag: Tag,
    form: Form,
    value: Phi<String>,
}

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

/// The form of an attribute's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    vr: Vr,
    /// Characters; of each component group of a name.
    max: usize,
}

impl Coerced {
    /// An attribute and its new value; an empty one empties it.
    ///
    /// # Errors
    /// [`CoerceError::NotCorrectable`], [`CoerceError::Form`].
    pub fn new(tag: Tag, value: Phi<String>) -> Result<Self, CoerceError> {
        let form = form(tag).ok_or(CoerceError::NotCorrectable { tag })?;
        let text = value.expose();
        let no_control = !text.chars().any(|c| c.is_control() || c == '\\') && text.trim_matches(' ') == text;
        let short = |text: &str| text.chars().count() <= form.max;
        let fits = match &form.vr.0 {
            b"PN" => text.split('=').count() <= 3 && text.split('=').all(|g| short(g) && g.split('^').count() <= 5),
            b"DA" => text.is_empty() || (text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit())),
            b"CS" => short(text) && text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'_')),
            _ => short(text),
        };
        if no_control && fits { Ok(Self { tag, form, value }) } else { Err(CoerceError::Form { tag, vr: form.vr }) }
    }

    /// Which.
    pub const fn tag(&self) -> Tag {
        self.tag
    }
}

impl fmt::Debug for Coerced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coerced").field("tag", &self.tag).finish_non_exhaustive()
    }
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
        let editor = Editor {
            by,
            waiting: coerced,
            sequence: Sequence::Waits,
            charset: Charset::default(),
            writing: Writing { encoding: syntax.encoding, begun: false },
            depth: 0,
            catching: None,
            originals: Vec::new(),
            edits: Vec::new(),
            hold_from: None,
            failed: None,
            last: None,
            opened: None,
            left_out: 0,
        };
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

    /// Whether every attribute has been met that might change.
    pub fn is_settled(&self) -> bool {
        self.editor.waiting.is_empty() && self.editor.catching.is_none()
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

/// Input from `from` to `to` becomes `bytes`.
#[derive(Debug)]
struct Edit {
    from: u64,
    to: u64,
    bytes: Vec<u8>,
}

/// An attribute as it was.
#[derive(Debug)]
struct Original {
    tag: Tag,
    vr: Vr,
    value: Vec<u8>,
}

/// A value that is looked at.
#[derive(Debug)]
struct Catching {
    tag: Tag,
    vr: Vr,
    from: u64,
    to: u64,
    value: Vec<u8>,
}

/// Whether Original Attributes Sequence is behind us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sequence {
    Waits,
    Done,
}

/// How headers are written.
#[derive(Debug, Clone, Copy)]
struct Writing {
    encoding: Encoding,
    /// The first element shows it, whatever was declared.
    begun: bool,
}

#[derive(Debug)]
struct Editor {
    by: CoercedBy,
    /// Still to come, the next one last.
    waiting: Vec<Coerced>,
    sequence: Sequence,
    charset: Charset,
    writing: Writing,
    /// Sequences that are open.
    depth: usize,
    catching: Option<Catching>,
    /// What changed, in order.
    originals: Vec<Original>,
    edits: Vec<Edit>,
    hold_from: Option<u64>,
    failed: Option<CoerceError>,
    /// The element of the top level before this one.
    last: Option<Tag>,
    /// Where Original Attributes Sequence began that gets an item.
    opened: Option<u64>,
    /// Input before this place was left out, or is copied already.
    left_out: u64,
}

impl Editor {
    fn fail(&mut self, error: CoerceError) {
        self.failed = self.failed.or(Some(error));
    }

    /// An element of the top level begins: puts in what stands before it and is not there.
    fn before(&mut self, tag: Tag, at: u64) {
        while let Some(next) = self.waiting.pop_if(|next| next.tag < tag) {
            if next.value.expose().is_empty() {
                continue;
            }
            if let Some(value) = self.encoded(&next) {
                let bytes = self.writing.element(next.tag, next.form.vr, &value);
                self.edits.push(Edit { from: at, to: at, bytes });
                self.originals.push(Original { tag: next.tag, vr: next.form.vr, value: Vec::new() });
            }
        }
        if tag > ORIGINAL_ATTRIBUTES && self.sequence == Sequence::Waits {
            self.sequence = Sequence::Done;
            if !self.originals.is_empty() {
                let item = self.item_bytes();
                self.edits.push(Edit {
                    from: at,
                    to: at,
                    bytes: self.writing.element(ORIGINAL_ATTRIBUTES, Vr::SQ, &item),
                });
            }
        }
    }

    /// An element of the top level, whatever it is.
    fn top(&mut self, element: &Element) {
        if !self.writing.begun {
            self.writing = Writing { encoding: encoding_of(element), begun: true };
        }
        let tag = element.tag;
        let has_place = form(tag).is_some() || tag == Tag::SPECIFIC_CHARACTER_SET || tag == ORIGINAL_ATTRIBUTES;
        if has_place && self.last.is_some_and(|last| last >= tag) {
            self.fail(CoerceError::Order { tag });
        }
        self.last = Some(tag);
        self.before(tag, element.at);
    }

    /// The new value in the character set of the data set.
    fn encoded(&mut self, coerced: &Coerced) -> Option<Vec<u8>> {
        let value = self.charset.encode(coerced.value.expose());
        if value.is_none() {
            self.fail(CoerceError::Charset { tag: coerced.tag });
        }
        value
    }

    /// The item that says what was there before.
    fn item_bytes(&self) -> Vec<u8> {
        let writing = self.writing;
        let mut old = Vec::new();
        for one in &self.originals {
            old.extend(writing.element(one.tag, one.vr, &one.value));
        }
        let text =
            |number: u16, vr: &[u8; 2], text: &str| writing.element(Tag(0x0400, number), Vr(*vr), text.as_bytes());
        let content = [
            writing.element(Tag(0x0400, 0x0550), Vr::SQ, &writing.item(&old)),
            text(0x0562, b"DT", &self.by.at),
            text(0x0563, b"LO", &self.by.system),
            text(0x0564, b"LO", ""),
            text(0x0565, b"CS", "CORRECT"),
        ];
        writing.item(&content.concat())
    }

    fn catch(&mut self, element: &Element) -> Want {
        let (from, len) = (element.at, u64::from(element.len.unwrap_or_default()));
        if len > MAX_VALUE {
            self.fail(CoerceError::Unlike { tag: element.tag });
            return Want::Nothing;
        }
        let to = element.value_at.saturating_add(len);
        self.hold_from = Some(from);
        self.catching = Some(Catching { tag: element.tag, vr: element.vr, from, to, value: Vec::new() });
        Want::Bytes
    }
}

impl Visitor for Editor {
    fn value(&mut self, element: &Element) -> Want {
        if self.depth > 0 || self.failed.is_some() {
            return Want::Nothing;
        }
        self.top(element);
        let tag = element.tag;
        if self.waiting.last().is_some_and(|next| next.tag == tag) || tag == Tag::SPECIFIC_CHARACTER_SET {
            return self.catch(element);
        }
        if tag == ORIGINAL_ATTRIBUTES {
            // Written as something else than a sequence.
            self.fail(CoerceError::Unlike { tag });
        }
        if tag.is_group_length() && matches!(tag.0, 0x0008 | 0x0010 | 0x0400) {
            let to = element.value_at.saturating_add(u64::from(element.len.unwrap_or_default()));
            self.edits.push(Edit { from: element.at, to, bytes: Vec::new() });
        }
        Want::Nothing
    }

    fn bytes(&mut self, piece: &[u8]) {
        if let Some(catching) = &mut self.catching {
            catching.value.extend_from_slice(piece);
        }
    }

    fn value_end(&mut self) {
        let Some(caught) = self.catching.take() else { return };
        self.hold_from = None;
        if caught.tag == Tag::SPECIFIC_CHARACTER_SET {
            self.charset = Charset::parse(&caught.value);
            return;
        }
        let Some(coerced) = self.waiting.pop() else { return };
        let was = self.charset.decode(&caught.value);
        if was.clean && trimmed(&was.text) == trimmed(coerced.value.expose()) {
            return;
        }
        let Some(value) = self.encoded(&coerced) else { return };
        let bytes = self.writing.element(coerced.tag, coerced.form.vr, &value);
        self.edits.push(Edit { from: caught.from, to: caught.to, bytes });
        let vr = if caught.vr.is_wide() { coerced.form.vr } else { caught.vr };
        self.originals.push(Original { tag: caught.tag, vr, value: caught.value });
    }

    fn sequence(&mut self, element: &Element) {
        if self.depth == 0 && self.failed.is_none() {
            if self.waiting.last().is_some_and(|next| next.tag == element.tag) {
                self.fail(CoerceError::Unlike { tag: element.tag });
            }
            let waits = element.tag == ORIGINAL_ATTRIBUTES && self.sequence == Sequence::Waits;
            self.top(element);
            if waits && !self.originals.is_empty() {
                let item = self.item_bytes();
                let grown = |len: u32| u32::try_from(item.len()).ok().and_then(|more| len.checked_add(more));
                let len = element.len.map_or(Some(u32::MAX), grown);
                match len {
                    Some(len) if element.implicit == (self.writing.encoding == Encoding::ImplicitLe) => {
                        let bytes = [self.writing.header(element.tag, Vr::SQ, len), item].concat();
                        self.edits.push(Edit { from: element.at, to: element.value_at, bytes });
                        self.opened = Some(element.at);
                    }
                    _ => self.fail(CoerceError::Unlike { tag: element.tag }),
                }
            }
            if element.tag == ORIGINAL_ATTRIBUTES {
                self.sequence = Sequence::Done;
            }
        }
        self.depth = self.depth.saturating_add(1);
    }

    fn sequence_end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn item(&mut self) {}
    fn item_end(&mut self) {}

    fn fragments(&mut self, element: &Element) {
        if self.depth == 0 && self.failed.is_none() {
            self.top(element);
        }
    }

    fn fragment(&mut self, _: u64, _: u32) -> Want {
        Want::Nothing
    }

    fn fragments_end(&mut self, _: u64) {}
}

impl Writing {
    /// An element with its value, padded to an even length.
    fn element(self, tag: Tag, vr: Vr, value: &[u8]) -> Vec<u8> {
        let odd = value.len() % 2;
        // Nothing here is longer than an attribute may be, or an item of a few of them.
        let len = u32::try_from(value.len().saturating_add(odd)).unwrap_or_default();
        let mut out = self.header(tag, vr, len);
        out.extend_from_slice(value);
        out.extend(std::iter::repeat_n(b' ', odd));
        out
    }

    fn item(self, content: &[u8]) -> Vec<u8> {
        let len = u32::try_from(content.len()).unwrap_or_default();
        [&self.tag(Tag::ITEM)[..], &self.u32(len), content].concat()
    }

    fn header(self, tag: Tag, vr: Vr, len: u32) -> Vec<u8> {
        let tag = self.tag(tag);
        match u16::try_from(len) {
            _ if self.encoding == Encoding::ImplicitLe => [&tag[..], &self.u32(len)].concat(),
            Ok(short) if !vr.is_wide() => [&tag[..], &vr.0, &self.u16(short)].concat(),
            _ => [&tag[..], &vr.0, &[0, 0], &self.u32(len)].concat(),
        }
    }

    fn tag(self, tag: Tag) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.u16(tag.0), self.u16(tag.1));
        [a, b, c, d]
    }

    fn u16(self, number: u16) -> [u8; 2] {
        if self.encoding == Encoding::ExplicitBe { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u32(self, number: u32) -> [u8; 4] {
        if self.encoding == Encoding::ExplicitBe { number.to_be_bytes() } else { number.to_le_bytes() }
    }
}

fn encoding_of(element: &Element) -> Encoding {
    match (element.implicit, element.big_endian) {
        (true, _) => Encoding::ImplicitLe,
        (false, true) => Encoding::ExplicitBe,
        (false, false) => Encoding::ExplicitLe,
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\0'])
}

/// The attributes that a person corrects, and their forms.
fn form(tag: Tag) -> Option<Form> {
    let (vr, max) = match tag {
        Tag(0x0008, 0x0020) | Tag(0x0010, 0x0030) => (b"DA", 8),
        Tag(0x0008, 0x0050) => (b"SH", 16),
        Tag(0x0008, 0x0090) | Tag(0x0010, 0x0010) => (b"PN", 64),
        Tag(0x0008, 0x1030) | Tag(0x0010, 0x0020 | 0x0021) => (b"LO", 64),
        Tag(0x0010, 0x0040) => (b"CS", 16),
        _ => return None,
    };
    Some(Form { vr: Vr(*vr), max })
}

/// Original Attributes Sequence.
const ORIGINAL_ATTRIBUTES: Tag = Tag(0x0400, 0x0561);
/// Behind every element.
const END: Tag = Tag(u16::MAX, u16::MAX);
/// The longest header of an element.
const HEADER: u64 = 12;
/// The longest value of a short VR.
const MAX_VALUE: u64 = 65_534;

#[cfg(test)]
#[path = "coerce_tests.rs"]
mod tests;
