//! The push walker: one data set, in pieces of any size.
//!
//! Bytes go in through [`Walker::feed`]; what they mean comes out as calls of a [`Visitor`]. The walker keeps one element
//! header (12 bytes) and a stack of open sequences and items. It never recurses, never allocates by a length field, and
//! an element may not reach past the container it is in.
//!
//! Source: PS3.5 §7.1 (elements), §7.5 (sequences), §A.4 (fragments), §6.2.2 note on UN of undefined length (CP-246).
//! Law: the calls do not depend on how the bytes are cut, but for where [`Visitor::bytes`] is cut.

use crate::{Encoding, Tag, Vr, dictionary};

/// What a walk runs into. Positions count from the first byte of the data set; no value is ever part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// More sequences and items inside each other than allowed.
    #[error("{tag} at byte {at} opens one level more than allowed")]
    TooDeep {
        /// What would have been opened.
        tag: Tag,
        /// Just past its header.
        at: u64,
    },
    /// A tag that cannot stand here.
    #[error("{tag} cannot stand at byte {at}")]
    UnexpectedTag {
        /// Which.
        tag: Tag,
        /// Just past its header.
        at: u64,
    },
    /// An undefined length where only a defined one may be.
    #[error("{tag} at byte {at} has no defined length")]
    UndefinedLength {
        /// Which.
        tag: Tag,
        /// Just past its header.
        at: u64,
    },
    /// A length that reaches past the item or sequence around it.
    #[error("{tag} at byte {at} reaches past what it stands in")]
    Overrun {
        /// Which.
        tag: Tag,
        /// Just past its header.
        at: u64,
    },
    /// Two bytes that are no value representation.
    #[error("{tag} at byte {at} has no value representation")]
    BadVr {
        /// Which.
        tag: Tag,
        /// Just past its header.
        at: u64,
    },
    /// The bytes end inside of something.
    #[error("the data set breaks off at byte {at}")]
    Truncated {
        /// How many bytes there were.
        at: u64,
    },
}

/// The header of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// Its tag.
    pub tag: Tag,
    /// As written; from the dictionary where it is implicit, `UN` where that does not know it.
    pub vr: Vr,
    /// The VR was not written.
    pub implicit: bool,
    /// Numbers are big endian.
    pub big_endian: bool,
    /// Bytes of the value; `None` when undefined.
    pub len: Option<u32>,
    /// First byte of the header.
    pub at: u64,
    /// First byte of the value.
    pub value_at: u64,
}

/// Whether a visitor wants the bytes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// [`Visitor::bytes`] and [`Visitor::value_end`] follow.
    Bytes,
    /// Nothing follows.
    Nothing,
}

/// Who listens to a walk. Calls nest properly, also where lengths are defined.
pub trait Visitor {
    /// An element with a value.
    fn value(&mut self, element: &Element) -> Want;
    /// The next bytes of the wanted value.
    fn bytes(&mut self, piece: &[u8]);
    /// The wanted value is complete (at once, where it is empty).
    fn value_end(&mut self);
    /// A sequence opens.
    fn sequence(&mut self, element: &Element);
    /// The innermost sequence is over.
    fn sequence_end(&mut self);
    /// An item of the innermost sequence opens.
    fn item(&mut self);
    /// The innermost item is over.
    fn item_end(&mut self);
    /// An element whose value lies in fragments.
    fn fragments(&mut self, element: &Element);
    /// A fragment; `at` is its first byte after the item header. The first one is the basic offset table.
    fn fragment(&mut self, at: u64, len: u32) -> Want;
    /// The fragments are over; `at` is the first byte after their delimiter.
    fn fragments_end(&mut self, at: u64);
}

/// What the walker met that is not by the book, and went on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oddities {
    /// The first element showed another encoding than declared; this one was used.
    pub encoding: Option<Encoding>,
    /// Single elements without VR inside an explicit data set.
    pub implicit_elements: bool,
    /// Zero bytes after the last element.
    pub trailing_zeros: u64,
}

/// Where a walk ends before its bytes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    DataSet,
    /// The elements of one group (a command set, file meta).
    Group(u16),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// `outer` holds again after it.
    Sequence {
        outer: Encoding,
    },
    Item,
    Fragments,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    kind: Kind,
    /// Its own end; `u64::MAX` where undefined.
    end: u64,
    /// The nearest defined end of this and all around it.
    fence: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    Value { left: u64, want: Want },
    Padding,
    Stopped,
    Failed(WalkError),
}

/// The state machine.
#[derive(Debug)]
pub struct Walker {
    encoding: Encoding,
    scope: Scope,
    max_depth: usize,
    pos: u64,
    head: [u8; 12],
    head_len: usize,
    state: State,
    stack: Vec<Level>,
    elements: u64,
    deepest: usize,
    oddities: Oddities,
}

const UNDEFINED: u32 = u32::MAX;
const OPEN: u64 = u64::MAX;

impl Walker {
    /// A walker at the start of a data set.
    pub fn new(encoding: Encoding, max_depth: usize) -> Self {
        Self::with_scope(encoding, max_depth, Scope::DataSet)
    }

    /// A walker over the elements of one group; it stops in front of the first other one.
    pub(crate) fn of_group(encoding: Encoding, max_depth: usize, group: u16) -> Self {
        Self::with_scope(encoding, max_depth, Scope::Group(group))
    }

    fn with_scope(encoding: Encoding, max_depth: usize, scope: Scope) -> Self {
        Self {
            encoding,
            scope,
            max_depth,
            pos: 0,
            head: [0; 12],
            head_len: 0,
            state: State::Header,
            stack: Vec::new(),
            elements: 0,
            deepest: 0,
            oddities: Oddities::default(),
        }
    }

    /// Takes the next bytes. An error is final: each later call returns it again.
    pub fn feed(&mut self, data: &[u8], visitor: &mut impl Visitor) -> Result<(), WalkError> {
        self.feed_some(data, visitor).map(|_| ())
    }

    /// As [`Walker::feed`]; says how many bytes were taken. Fewer than all only where the group was over: then
    /// [`Walker::leftover`] holds the bytes that were taken too many.
    pub(crate) fn feed_some(&mut self, data: &[u8], visitor: &mut impl Visitor) -> Result<usize, WalkError> {
        let fed = self.run(data, visitor);
        if let Err(error) = fed {
            self.state = State::Failed(error);
        }
        fed
    }

    /// The header bytes of the element at which a group walk stopped.
    pub(crate) fn leftover(&self) -> Option<&[u8]> {
        matches!(self.state, State::Stopped).then(|| self.head.get(..self.head_len).unwrap_or_default())
    }

    /// To be called once after the last byte: the data set is complete only when this says so.
    pub fn finish(&mut self) -> Result<(), WalkError> {
        match self.state {
            State::Failed(error) => return Err(error),
            State::Header if self.head_len > 0 => {
                // Fewer than eight zero bytes after the last element are padding too.
                let zeros = self.head.get(..self.head_len).is_some_and(|h| h.iter().all(|b| *b == 0));
                if !(zeros && self.stack.is_empty() && self.elements > 0 && self.scope == Scope::DataSet) {
                    return Err(WalkError::Truncated { at: self.pos });
                }
                self.oddities.trailing_zeros = self.head_len as u64;
            }
            State::Value { .. } => return Err(WalkError::Truncated { at: self.pos }),
            State::Header | State::Padding | State::Stopped => {}
        }
        if self.stack.is_empty() { Ok(()) } else { Err(WalkError::Truncated { at: self.pos }) }
    }

    /// Bytes taken so far.
    pub const fn position(&self) -> u64 {
        self.pos
    }

    /// Elements met so far, at all levels.
    pub const fn elements(&self) -> u64 {
        self.elements
    }

    /// Most containers that were open at once.
    pub const fn deepest(&self) -> usize {
        self.deepest
    }

    /// What was not by the book.
    pub const fn oddities(&self) -> &Oddities {
        &self.oddities
    }

    /// How the elements at the current place are read.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn run(&mut self, mut data: &[u8], visitor: &mut impl Visitor) -> Result<usize, WalkError> {
        let given = data.len();
        while !data.is_empty() {
            match self.state {
                State::Value { left, want } => {
                    let (now, rest) = data.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(data.len()));
                    data = rest;
                    self.pos = self.pos.saturating_add(now.len() as u64);
                    let left = left.saturating_sub(now.len() as u64);
                    if want == Want::Bytes {
                        visitor.bytes(now);
                    }
                    self.state = State::Value { left, want };
                    if left == 0 {
                        self.value_end(want, visitor);
                    }
                }
                State::Header => {
                    // Eight bytes first, four more where the VR has a long length.
                    let need: usize = if self.head_len < 8 { 8 } else { 12 };
                    let (now, rest) = data.split_at(need.saturating_sub(self.head_len).min(data.len()));
                    data = rest;
                    for byte in now {
                        if let Some(slot) = self.head.get_mut(self.head_len) {
                            *slot = *byte;
                        }
                        self.head_len = self.head_len.saturating_add(1);
                    }
                    self.pos = self.pos.saturating_add(now.len() as u64);
                    if self.head_len == need {
                        self.header(visitor)?;
                    }
                }
                State::Padding => {
                    let zeros = data.iter().take_while(|b| **b == 0).count() as u64;
                    self.pos = self.pos.saturating_add(zeros);
                    self.oddities.trailing_zeros = self.oddities.trailing_zeros.saturating_add(zeros);
                    if zeros < data.len() as u64 {
                        return Err(WalkError::UnexpectedTag { tag: Tag(0, 0), at: self.pos });
                    }
                    data = &[];
                }
                State::Stopped => break,
                State::Failed(error) => return Err(error),
            }
        }
        Ok(given.saturating_sub(data.len()))
    }

    /// Called with 8 header bytes, and again with 12 where the first call asked for more by leaving them.
    fn header(&mut self, visitor: &mut impl Visitor) -> Result<(), WalkError> {
        let at = self.pos;
        let tag = Tag(self.u16_at(0), self.u16_at(2));
        if at > self.fence() {
            return Err(WalkError::Overrun { tag, at });
        }
        if let Scope::Group(group) = self.scope
            && self.stack.is_empty()
            && tag.0 != group
        {
            self.pos = self.pos.saturating_sub(self.head_len as u64);
            self.state = State::Stopped;
            return Ok(());
        }
        if tag.0 == 0xFFFE {
            let len = self.u32_at(4);
            self.head_len = 0;
            return self.delimiter(tag, len, visitor);
        }
        if matches!(self.stack.last(), Some(Level { kind: Kind::Sequence { .. } | Kind::Fragments, .. })) {
            return Err(WalkError::UnexpectedTag { tag, at });
        }
        if tag.0 == 0 && self.scope == Scope::DataSet {
            return self.zeros(tag);
        }
        if self.elements == 0 && self.stack.is_empty() && self.head_len == 8 {
            self.settle_encoding();
        }
        let written = Vr([self.head[4], self.head[5]]);
        let explicit = match self.encoding {
            Encoding::ImplicitLe => false,
            _ if written.is_letters() => true,
            Encoding::ExplicitBe => return Err(WalkError::BadVr { tag, at }),
            Encoding::ExplicitLe => {
                self.oddities.implicit_elements |= self.elements > 0;
                false
            }
        };
        if explicit && written.is_wide() && self.head_len == 8 {
            return Ok(()); // four more bytes
        }
        let head_len = self.head_len;
        let len = match (explicit, written.is_wide()) {
            (false, _) => self.u32_at(4),
            (true, true) => self.u32_at(8),
            (true, false) => u32::from(self.u16_at(6)),
        };
        self.head_len = 0;
        self.elements = self.elements.saturating_add(1);
        let element = Element {
            tag,
            vr: if explicit { written } else { dictionary::lookup(tag).map_or(Vr::UN, dictionary::Known::usual) },
            implicit: !explicit,
            big_endian: self.encoding == Encoding::ExplicitBe,
            len: (len != UNDEFINED).then_some(len),
            at: at.saturating_sub(head_len as u64),
            value_at: at,
        };
        self.open(element, visitor)
    }

    /// An element's header is complete.
    fn open(&mut self, element: Element, visitor: &mut impl Visitor) -> Result<(), WalkError> {
        let Element { tag, vr, implicit, value_at: at, .. } = element;
        let Some(len) = element.len else {
            let outer = self.encoding;
            // Implicit VR says nothing about what has no length: it is a sequence, unless it is Pixel Data.
            let sequence = !tag.is_pixels() && (implicit || vr == Vr::SQ || vr == Vr::UN);
            if sequence {
                self.push(Kind::Sequence { outer }, OPEN, tag)?;
                // Inside of an UN of undefined length all is implicit VR little endian (CP-246).
                if !implicit && vr == Vr::UN {
                    self.encoding = Encoding::ImplicitLe;
                }
                visitor.sequence(&Element { vr: Vr::SQ, ..element });
            } else if tag.is_pixels() || matches!(&vr.0, b"OB" | b"OW") {
                self.push(Kind::Fragments, OPEN, tag)?;
                visitor.fragments(&element);
            } else {
                return Err(WalkError::UndefinedLength { tag, at });
            }
            return Ok(());
        };
        let end = self.within(tag, len)?;
        if vr == Vr::SQ {
            self.push(Kind::Sequence { outer: self.encoding }, end, tag)?;
            visitor.sequence(&element);
            self.close(visitor);
            return Ok(());
        }
        let want = visitor.value(&element);
        self.value(len, want, visitor);
        Ok(())
    }

    /// An item or one of the two delimiters.
    fn delimiter(&mut self, tag: Tag, len: u32, visitor: &mut impl Visitor) -> Result<(), WalkError> {
        let at = self.pos;
        match (tag, self.stack.last().map(|l| (l.kind, l.end))) {
            (Tag::ITEM, Some((Kind::Sequence { .. }, _))) => {
                let end = if len == UNDEFINED { OPEN } else { self.within(tag, len)? };
                self.push(Kind::Item, end, tag)?;
                visitor.item();
                self.close(visitor);
                Ok(())
            }
            (Tag::ITEM, Some((Kind::Fragments, _))) => {
                if len == UNDEFINED {
                    return Err(WalkError::UndefinedLength { tag, at });
                }
                self.within(tag, len)?;
                let want = visitor.fragment(at, len);
                self.value(len, want, visitor);
                Ok(())
            }
            (Tag::ITEM_END, Some((Kind::Item, OPEN)))
            | (Tag::SEQUENCE_END, Some((Kind::Sequence { .. } | Kind::Fragments, OPEN))) => {
                self.leave(visitor);
                self.close(visitor);
                Ok(())
            }
            _ => Err(WalkError::UnexpectedTag { tag, at }),
        }
    }

    fn value(&mut self, len: u32, want: Want, visitor: &mut impl Visitor) {
        self.state = State::Value { left: u64::from(len), want };
        if len == 0 {
            self.value_end(want, visitor);
        }
    }

    fn value_end(&mut self, want: Want, visitor: &mut impl Visitor) {
        self.state = State::Header;
        if want == Want::Bytes {
            visitor.value_end();
        }
        self.close(visitor);
    }

    fn push(&mut self, kind: Kind, end: u64, tag: Tag) -> Result<(), WalkError> {
        if self.stack.len() >= self.max_depth {
            return Err(WalkError::TooDeep { tag, at: self.pos });
        }
        let fence = end.min(self.fence());
        self.stack.push(Level { kind, end, fence });
        self.deepest = self.deepest.max(self.stack.len());
        Ok(())
    }

    /// Leaves every container that ends at this byte.
    fn close(&mut self, visitor: &mut impl Visitor) {
        while self.stack.last().is_some_and(|top| top.end == self.pos) {
            self.leave(visitor);
        }
    }

    fn leave(&mut self, visitor: &mut impl Visitor) {
        match self.stack.pop().map(|l| l.kind) {
            Some(Kind::Sequence { outer }) => {
                self.encoding = outer;
                visitor.sequence_end();
            }
            Some(Kind::Item) => visitor.item_end(),
            Some(Kind::Fragments) => visitor.fragments_end(self.pos),
            None => {}
        }
    }

    fn fence(&self) -> u64 {
        self.stack.last().map_or(OPEN, |l| l.fence)
    }

    fn within(&self, tag: Tag, len: u32) -> Result<u64, WalkError> {
        let end = self.pos.saturating_add(u64::from(len));
        if end > self.fence() { Err(WalkError::Overrun { tag, at: self.pos }) } else { Ok(end) }
    }

    /// Group 0000 in a data set: zero padding after the last element, or a fault.
    fn zeros(&mut self, tag: Tag) -> Result<(), WalkError> {
        let zero = self.head.get(..self.head_len).is_some_and(|h| h.iter().all(|b| *b == 0));
        if !(zero && self.stack.is_empty() && self.elements > 0) {
            return Err(WalkError::UnexpectedTag { tag, at: self.pos });
        }
        self.oddities.trailing_zeros = self.head_len as u64;
        self.head_len = 0;
        self.state = State::Padding;
        Ok(())
    }

    /// Some senders declare one encoding and write the other: the first element shows it.
    fn settle_encoding(&mut self) {
        let vr = Vr([self.head[4], self.head[5]]);
        let shown = match self.encoding {
            // A first element of 16,000 bytes and more whose length spells a VR is not met.
            Encoding::ImplicitLe if vr.is_known() && vr.is_letters() => Encoding::ExplicitLe,
            Encoding::ExplicitLe if !vr.is_letters() => Encoding::ImplicitLe,
            _ => return,
        };
        self.oddities.encoding = Some(shown);
        self.encoding = shown;
    }

    fn u16_at(&self, at: usize) -> u16 {
        let bytes = self.head.get(at..).and_then(|h| h.first_chunk()).copied().unwrap_or_default();
        if self.encoding == Encoding::ExplicitBe { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32_at(&self, at: usize) -> u32 {
        let bytes = self.head.get(at..).and_then(|h| h.first_chunk()).copied().unwrap_or_default();
        if self.encoding == Encoding::ExplicitBe { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}
