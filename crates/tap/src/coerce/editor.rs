//! What is changed in a data set that goes by, and what is put in.

use super::{CoerceError, Coerced, CoercedBy, coerced::form, writing::Writing};
use crate::{Charset, Element, Encoding, Tag, Visitor, Vr, Want};

/// Input from `from` to `to` becomes `bytes`.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) bytes: Vec<u8>,
}

/// An attribute as it was.
#[derive(Debug)]
pub(super) struct Original {
    pub(super) tag: Tag,
    pub(super) vr: Vr,
    pub(super) value: Vec<u8>,
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

#[derive(Debug)]
pub(super) struct Editor {
    pub(super) by: CoercedBy,
    /// Still to come, the next one last.
    pub(super) waiting: Vec<Coerced>,
    sequence: Sequence,
    pub(super) charset: Charset,
    pub(super) writing: Writing,
    /// Sequences that are open.
    pub(super) depth: usize,
    catching: Option<Catching>,
    /// What changed, in order.
    pub(super) originals: Vec<Original>,
    pub(super) edits: Vec<Edit>,
    pub(super) hold_from: Option<u64>,
    pub(super) failed: Option<CoerceError>,
    /// The element of the top level before this one.
    pub(super) last: Option<Tag>,
    /// Where Original Attributes Sequence began that gets an item.
    pub(super) opened: Option<u64>,
    /// Input before this place was left out, or is copied already.
    pub(super) left_out: u64,
}

impl Editor {
    /// At the start of a data set. `waiting`: the next one last.
    pub(super) fn new(encoding: Encoding, waiting: Vec<Coerced>, by: CoercedBy) -> Self {
        Self {
            by,
            waiting,
            sequence: Sequence::Waits,
            charset: Charset::default(),
            writing: Writing { encoding, begun: false },
            depth: 0,
            catching: None,
            originals: Vec::new(),
            edits: Vec::new(),
            hold_from: None,
            failed: None,
            last: None,
            opened: None,
            left_out: 0,
        }
    }

    /// Whether every attribute has been met that might change, and what they were is said.
    pub(super) fn is_settled(&self) -> bool {
        let said = self.originals.is_empty() || self.sequence == Sequence::Done;
        self.waiting.is_empty() && self.catching.is_none() && said
    }

    fn fail(&mut self, error: CoerceError) {
        self.failed = self.failed.or(Some(error));
    }

    /// An element of the top level begins: puts in what stands before it and is not there.
    pub(super) fn before(&mut self, tag: Tag, at: u64) {
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
        let changes = tag.0 == ORIGINAL_ATTRIBUTES.0 || self.waiting.iter().any(|next| next.tag.0 == tag.0);
        if tag.is_group_length() && changes {
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

/// Original Attributes Sequence.
pub(super) const ORIGINAL_ATTRIBUTES: Tag = Tag(0x0400, 0x0561);
/// The longest value of a short VR.
const MAX_VALUE: u64 = 65_534;
