//! A data set as Explicit VR Little Endian (PS3.5 §A.2), rewritten while its elements go by.
//!
//! Element headers are written anew, numbers of big endian are turned, sequences and items get delimiters instead of
//! lengths. Group lengths, trailing padding and offset tables are left out: none of them is true any more. A VR that was
//! not written comes from the dictionary; one that has no room for its length becomes UN (PS3.5 §6.2.2, note 2).
//!
//! Pixel data in fragments are not rewritten here: the rewriter says where they stand ([`Part::Pixels`]) and whoever
//! drives it puts the element. An icon in fragments is left out with its sequence, of which the standard demands none; any
//! other fragments below the top end the rewriting.

use crate::{
    Element, Limits, Syntax, Tag, Visitor, Vr, WalkError, Walker, Want,
    dictionary::{self, Known},
    text,
};

/// An attribute of the top level that reads otherwise afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Which.
    pub tag: Tag,
    /// Its VR, one with a short length.
    pub vr: Vr,
    /// Its value, of an even number of bytes, at most 65,534.
    pub value: Vec<u8>,
    /// Whether one that is there stands.
    pub only_if_absent: bool,
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes of the new data set.
    Bytes(Vec<u8>),
    /// The element of the pixel data, which lie in fragments.
    Pixels,
}

/// Why a data set cannot be rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// It is broken.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// Fragments inside of a sequence.
    #[error("{tag} lies in fragments inside of a sequence")]
    Nested {
        /// Where.
        tag: Tag,
    },
}

/// Rewrites one data set, pushed in pieces of any size. It holds what came out of the last piece, and of an icon up to
/// 1 MiB.
#[derive(Debug)]
pub struct Rewriter {
    walker: Walker,
    writer: Writer,
}

impl Rewriter {
    /// A rewriter at the start of a data set of this syntax, inflated.
    pub fn new(syntax: Syntax, mut replaced: Vec<Replaced>) -> Self {
        replaced.sort_by_key(|one| std::cmp::Reverse(one.tag));
        let walker = Walker::new(syntax.encoding, Limits::default().depth);
        Self { walker, writer: Writer { replaced, signed: vec![false], ..Writer::default() } }
    }

    /// Takes the next bytes; what they became is appended to `parts`.
    ///
    /// # Errors
    /// [`RewriteError`]; it is final.
    pub fn feed(&mut self, data: &[u8], parts: &mut Vec<Part>) -> Result<(), RewriteError> {
        let walked = self.walker.feed(data, &mut self.writer);
        if let Some(tag) = self.writer.nested {
            return Err(RewriteError::Nested { tag });
        }
        walked?;
        self.writer.hand_over(parts);
        Ok(())
    }

    /// To be called once after the last byte.
    ///
    /// # Errors
    /// A data set that breaks off.
    pub fn finish(&mut self, parts: &mut Vec<Part>) -> Result<(), RewriteError> {
        self.walker.finish()?;
        self.writer.replace_before(None);
        self.writer.hand_over(parts);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Writer {
    out: Vec<u8>,
    parts: Vec<Part>,
    /// Still to be put in, the next one last.
    replaced: Vec<Replaced>,
    /// Sequences that are open.
    depth: usize,
    /// Pixel Representation, one for the data set and one for each open item.
    signed: Vec<bool>,
    value: Option<Value>,
    fragments: bool,
    icon: Icon,
    nested: Option<Tag>,
}

/// The value that goes by.
#[derive(Debug)]
struct Value {
    width: usize,
    /// The beginning of a number.
    carry: Vec<u8>,
    pad: Option<u8>,
    /// First bytes of Pixel Representation, as they come in.
    representation: Option<(Vec<u8>, bool)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Icon {
    #[default]
    Outside,
    Held,
    Dropped,
}

impl Writer {
    fn hand_over(&mut self, parts: &mut Vec<Part>) {
        if self.icon == Icon::Outside {
            self.cut();
        }
        parts.append(&mut self.parts);
    }

    /// Ends the current part.
    fn cut(&mut self) {
        if !self.out.is_empty() {
            self.parts.push(Part::Bytes(std::mem::take(&mut self.out)));
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.icon == Icon::Dropped {
            return;
        }
        self.out.extend_from_slice(bytes);
        if self.icon == Icon::Held && self.out.len() > MAX_ICON_BYTES {
            self.drop_icon();
        }
    }

    fn drop_icon(&mut self) {
        self.icon = Icon::Dropped;
        self.out = Vec::new();
    }

    fn tag(&mut self, tag: Tag) {
        self.put(&tag.0.to_le_bytes());
        self.put(&tag.1.to_le_bytes());
    }

    fn header(&mut self, tag: Tag, vr: Vr, len: u32) {
        self.tag(tag);
        match u16::try_from(len) {
            Ok(short) if !vr.is_wide() => {
                self.put(&vr.0);
                self.put(&short.to_le_bytes());
            }
            _ => {
                let vr = if vr.is_wide() { vr } else { Vr::UN };
                self.put(&vr.0);
                self.put(&[0, 0]);
                self.put(&len.to_le_bytes());
            }
        }
    }

    /// Puts in what stands before `tag`, or all. Whether `tag` itself was replaced.
    fn replace_before(&mut self, tag: Option<Tag>) -> bool {
        while let Some(next) = self.replaced.pop_if(|next| tag.is_none_or(|tag| next.tag <= tag)) {
            let there = Some(next.tag) == tag;
            if there && next.only_if_absent {
                return false;
            }
            self.header(next.tag, next.vr, u32::try_from(next.value.len()).unwrap_or(u32::MAX));
            self.put(&next.value);
            if there {
                return true;
            }
        }
        false
    }

    fn vr(&self, element: &Element) -> Vr {
        match dictionary::lookup(element.tag) {
            Some(Known::UsOrSs) if element.implicit && self.signed.last() == Some(&true) => Vr::SS,
            _ => element.vr,
        }
    }
}

impl Visitor for Writer {
    fn value(&mut self, element: &Element) -> Want {
        let tag = element.tag;
        let top = self.depth == 0;
        let tables = tag.0 == 0x7FE0 && matches!(tag.1, 0x0001..=0x0003);
        if tag.is_group_length() || tag == Tag::TRAILING_PADDING || (top && tables) {
            return Want::Nothing;
        }
        if top && self.replace_before(Some(tag)) {
            return Want::Nothing;
        }
        let vr = self.vr(element);
        let len = element.len.unwrap_or_default();
        let odd = len % 2 == 1;
        self.header(tag, vr, len.saturating_add(u32::from(odd)));
        let blank = !(vr.is_binary() || vr.width() > 1 || &vr.0 == b"UI");
        let representation = (tag == Tag::PIXEL_REPRESENTATION).then(|| (Vec::new(), element.big_endian));
        self.value = Some(Value {
            width: if element.big_endian { vr.width() } else { 1 },
            carry: Vec::new(),
            pad: odd.then_some(if blank { b' ' } else { 0 }),
            representation,
        });
        Want::Bytes
    }

    fn bytes(&mut self, piece: &[u8]) {
        let Some(mut value) = self.value.take() else { return };
        if let Some((bytes, _)) = &mut value.representation {
            let room = 2_usize.saturating_sub(bytes.len()).min(piece.len());
            bytes.extend_from_slice(piece.get(..room).unwrap_or_default());
        }
        if value.width == 1 {
            self.put(piece);
        } else {
            value.carry.extend_from_slice(piece);
            let mut numbers = std::mem::take(&mut value.carry);
            let whole = numbers.len().saturating_sub(numbers.chunks_exact(value.width).remainder().len());
            value.carry = numbers.split_off(whole);
            for number in numbers.chunks_exact_mut(value.width) {
                number.reverse();
            }
            self.put(&numbers);
        }
        self.value = Some(value);
    }

    fn value_end(&mut self) {
        let Some(value) = self.value.take() else { return };
        // A number that was cut short stays as it is.
        self.put(&value.carry);
        if let Some(pad) = value.pad {
            self.put(&[pad]);
        }
        if let (Some((bytes, big_endian)), Some(signed)) = (value.representation, self.signed.last_mut()) {
            *signed = text::u16_first(&bytes, big_endian) == Some(1);
        }
    }

    fn sequence(&mut self, element: &Element) {
        if self.depth == 0 {
            self.replace_before(Some(element.tag));
            if element.tag == ICON {
                self.cut();
                self.icon = Icon::Held;
            }
        }
        self.depth = self.depth.saturating_add(1);
        self.header(element.tag, Vr::SQ, u32::MAX);
    }

    fn sequence_end(&mut self) {
        self.tag(Tag::SEQUENCE_END);
        self.put(&[0; 4]);
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            self.icon = Icon::Outside;
        }
    }

    fn item(&mut self) {
        self.tag(Tag::ITEM);
        self.put(&u32::MAX.to_le_bytes());
        self.signed.push(self.signed.last().copied().unwrap_or_default());
    }

    fn item_end(&mut self) {
        self.tag(Tag::ITEM_END);
        self.put(&[0; 4]);
        self.signed.pop();
    }

    fn fragments(&mut self, element: &Element) {
        match self.icon {
            Icon::Held | Icon::Dropped => self.drop_icon(),
            Icon::Outside if self.depth == 0 && element.tag.is_pixels() && !self.fragments => {
                self.fragments = true;
                self.replace_before(Some(element.tag));
                self.cut();
                self.parts.push(Part::Pixels);
            }
            Icon::Outside => self.nested = self.nested.or(Some(element.tag)),
        }
    }

    fn fragment(&mut self, _: u64, _: u32) -> Want {
        Want::Nothing
    }

    fn fragments_end(&mut self, _: u64) {}
}

/// Icon Image Sequence.
const ICON: Tag = Tag(0x0088, 0x0200);
/// An icon that is longer is left out.
const MAX_ICON_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoding;

    fn rewritten(encoding: Encoding, data: &[u8], replaced: &[Replaced]) -> Result<Vec<Part>, RewriteError> {
        let syntax = Syntax { encoding, ..Syntax::EXPLICIT_LE };
        let whole = pieces(syntax, data, replaced, data.len().max(1));
        // However the bytes are cut, the same comes out.
        for cut in [1, 2, 3, 7] {
            assert_eq!(pieces(syntax, data, replaced, cut), whole, "cut by {cut}");
        }
        whole
    }

    fn pieces(syntax: Syntax, data: &[u8], replaced: &[Replaced], cut: usize) -> Result<Vec<Part>, RewriteError> {
        let mut rewriter = Rewriter::new(syntax, replaced.to_vec());
        let mut parts = Vec::new();
        for piece in data.chunks(cut) {
            rewriter.feed(piece, &mut parts)?;
        }
        rewriter.finish(&mut parts)?;
        let mut joined: Vec<Part> = Vec::new();
        for part in parts {
            match (joined.last_mut(), part) {
                (Some(Part::Bytes(held)), Part::Bytes(more)) => held.extend(more),
                (_, part) => joined.push(part),
            }
        }
        Ok(joined)
    }

    fn element(group: u16, number: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let vr = Vr(*vr);
        let mut writer = Writer::default();
        writer.header(Tag(group, number), vr, u32::try_from(value.len()).unwrap());
        writer.put(value);
        writer.out
    }

    fn implicit(group: u16, number: u16, value: &[u8]) -> Vec<u8> {
        let len = u32::try_from(value.len()).unwrap();
        [&group.to_le_bytes()[..], &number.to_le_bytes(), &len.to_le_bytes(), value].concat()
    }

    fn delimiter(element: u16, len: u32) -> Vec<u8> {
        [&0xFFFE_u16.to_le_bytes()[..], &element.to_le_bytes(), &len.to_le_bytes()].concat()
    }

    fn sequence(group: u16, number: u16, item: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.header(Tag(group, number), Vr::SQ, u32::MAX);
        let (open, end) = (delimiter(0xE000, u32::MAX), delimiter(0xE00D, 0));
        [&writer.out[..], &open, item, &end, &delimiter(0xE0DD, 0)].concat()
    }

    #[test]
    fn what_was_implicit_is_explicit() {
        let item = implicit(0x0008, 0x1155, b"1.2.3\0");
        let item = [&delimiter(0xE000, u32::try_from(item.len()).unwrap())[..], &item].concat();
        let data = [
            implicit(0x0008, 0x0000, &[8, 0, 0, 0]),
            implicit(0x0008, 0x0060, b"CT"),
            implicit(0x0008, 0x1140, &item),
            implicit(0x0009, 0x0010, b"MAKER "),
            implicit(0x0009, 0x1001, b"x"),
            implicit(0x0028, 0x0103, &[1, 0]),
            implicit(0x0028, 0x0106, &[0xFF, 0xFF]),
            implicit(0x7FE0, 0x0010, &[1, 2, 3, 4]),
        ]
        .concat();
        let expected = [
            element(0x0008, 0x0060, b"CS", b"CT"),
            sequence(0x0008, 0x1140, &element(0x0008, 0x1155, b"UI", b"1.2.3\0")),
            element(0x0009, 0x0010, b"LO", b"MAKER "),
            element(0x0009, 0x1001, b"UN", b"x\0"),
            element(0x0028, 0x0103, b"US", &[1, 0]),
            element(0x0028, 0x0106, b"SS", &[0xFF, 0xFF]),
            element(0x7FE0, 0x0010, b"OW", &[1, 2, 3, 4]),
        ]
        .concat();
        assert_eq!(rewritten(Encoding::ImplicitLe, &data, &[]).unwrap(), [Part::Bytes(expected)]);
    }

    #[test]
    fn a_value_that_is_too_long_for_its_vr_becomes_unknown() {
        let long = vec![b'1'; 70_000];
        let data = implicit(0x0018, 0x0022, &long);
        let expected = [&[0x18, 0, 0x22, 0, b'U', b'N', 0, 0][..], &70_000_u32.to_le_bytes(), &long].concat();
        assert_eq!(rewritten(Encoding::ImplicitLe, &data, &[]).unwrap(), [Part::Bytes(expected)]);
    }

    #[test]
    fn numbers_of_big_endian_are_turned() {
        let data = [
            &[0x00, 0x28, 0x00, 0x10, b'U', b'S', 0, 2, 0x02, 0x00][..],
            &[0x00, 0x40, 0xA0, 0x30, b'A', b'T', 0, 4, 0x00, 0x10, 0x00, 0x20],
            &[0x7F, 0xE0, 0x00, 0x10, b'O', b'W', 0, 0, 0, 0, 0, 4, 1, 2, 3, 4],
        ]
        .concat();
        let expected = [
            element(0x0028, 0x0010, b"US", &[0x00, 0x02]),
            element(0x0040, 0xA030, b"AT", &[0x10, 0x00, 0x20, 0x00]),
            element(0x7FE0, 0x0010, b"OW", &[2, 1, 4, 3]),
        ]
        .concat();
        assert_eq!(rewritten(Encoding::ExplicitBe, &data, &[]).unwrap(), [Part::Bytes(expected)]);
    }

    fn pixels(group: u16) -> Vec<u8> {
        let head = [&group.to_le_bytes()[..], &[0x10, 0, b'O', b'B', 0, 0], &u32::MAX.to_le_bytes()].concat();
        [head, delimiter(0xE000, 0), delimiter(0xE000, 2), vec![9, 9], delimiter(0xE0DD, 0)].concat()
    }

    #[test]
    fn fragments_are_pointed_at_and_what_describes_them_is_replaced() {
        let replace = |number, vr: &[u8; 2], value: &[u8], only_if_absent| Replaced {
            tag: Tag(0x0028, number),
            vr: Vr(*vr),
            value: value.to_vec(),
            only_if_absent,
        };
        let replaced = [
            replace(0x2110, b"CS", b"01", true),
            replace(0x0004, b"CS", b"RGB ", false),
            replace(0x0006, b"US", &[0, 0], false),
            replace(0x0010, b"US", &[7, 7], true),
        ];
        let icon = sequence(0x0088, 0x0200, &[element(0x0028, 0x0010, b"US", &[1, 0]), pixels(0x7FE0)].concat());
        let data = [
            element(0x0028, 0x0004, b"CS", b"YBR_FULL_422"),
            element(0x0028, 0x0010, b"US", &[2, 0]),
            icon,
            element(0x7FE0, 0x0001, b"OV", &[0; 8]),
            pixels(0x7FE0),
            element(0xFFFC, 0xFFFC, b"OB", &[0, 0]),
            element(0xFFFC, 0xFFFD, b"UN", &[0, 0]),
        ]
        .concat();
        let front = [
            element(0x0028, 0x0004, b"CS", b"RGB "),
            element(0x0028, 0x0006, b"US", &[0, 0]),
            element(0x0028, 0x0010, b"US", &[2, 0]),
            element(0x0028, 0x2110, b"CS", b"01"),
        ];
        let behind = element(0xFFFC, 0xFFFD, b"UN", &[0, 0]);
        let expected = [Part::Bytes(front.concat()), Part::Pixels, Part::Bytes(behind)];
        assert_eq!(rewritten(Encoding::ExplicitLe, &data, &replaced).unwrap(), expected);
    }

    #[test]
    fn an_icon_without_fragments_stays() {
        let icon = sequence(0x0088, 0x0200, &element(0x7FE0, 0x0010, b"OB", &[1, 2]));
        assert_eq!(rewritten(Encoding::ExplicitLe, &icon, &[]).unwrap(), [Part::Bytes(icon)]);
    }

    #[test]
    fn other_fragments_inside_of_a_sequence_and_what_breaks_off_are_refused() {
        let nested = sequence(0x0040, 0xA730, &pixels(0x7FE0));
        let refused = RewriteError::Nested { tag: Tag::PIXEL_DATA };
        assert_eq!(rewritten(Encoding::ExplicitLe, &nested, &[]), Err(refused));
        let cut = &element(0x0008, 0x0060, b"CS", b"CT")[..9];
        assert!(matches!(rewritten(Encoding::ExplicitLe, cut, &[]), Err(RewriteError::Walk(_))));
    }

    #[test]
    fn unknown_of_undefined_length_becomes_a_sequence_of_explicit_elements() {
        let head = [0x09, 0, 0x01, 0x10, b'U', b'N', 0, 0, 255, 255, 255, 255];
        let item = [delimiter(0xE000, u32::MAX), implicit(0x0008, 0x0060, b"CT"), delimiter(0xE00D, 0)].concat();
        let data = [&head[..], &item, &delimiter(0xE0DD, 0)].concat();
        let expected = sequence(0x0009, 0x1001, &element(0x0008, 0x0060, b"CS", b"CT"));
        assert_eq!(rewritten(Encoding::ExplicitLe, &data, &[]).unwrap(), [Part::Bytes(expected)]);
    }
}
