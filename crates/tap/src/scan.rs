//! The visitor behind a tap: sorts what goes by into header, metadata, pixels and marks.

use crate::{
    Charset, Element, InstanceHeader, Limits, Marks, RequestIds, Tag, Visitor, Vr, Want,
    dictionary::{self, Known},
    frames::PixelScan,
    json::{Context, Json, Place},
    text,
};
use std::collections::BTreeSet;

/// What holds inside of one item, inherited from around it.
#[derive(Debug, Clone, Default)]
struct Surroundings {
    charset: Charset,
    signed: bool,
}

/// The value that is being collected.
#[derive(Debug, Clone, Copy)]
struct Current {
    element: Element,
    vr: Vr,
    inline: bool,
    header: bool,
}

#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) limits: Limits,
    pub(crate) header: InstanceHeader,
    pub(crate) json: Json,
    pub(crate) pixels: PixelScan,
    pub(crate) pixel_value_offset: Option<u64>,
    pub(crate) marks: Marks,
    elements: u64,
    /// Top-level attributes of the header that were there, so that the first one stands even if it is empty.
    taken: BTreeSet<Tag>,
    /// One for the data set, one for each open item.
    surroundings: Vec<Surroundings>,
    path: Vec<Tag>,
    /// An item of Request Attributes Sequence is open, and kept.
    in_request: bool,
    current: Option<Current>,
    buffer: Vec<u8>,
    fragments: Option<Element>,
    fragment: Piece,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    BasicTable,
    Head,
}

const OTHER_PATIENT_IDS: Tag = Tag(0x0010, 0x1002);
const PATIENT_ID: Tag = Tag(0x0010, 0x0020);
/// Request Attributes Sequence.
const REQUESTS: Tag = Tag(0x0040, 0x0275);
/// Scheduled Procedure Step ID, Requested Procedure ID.
const REQUEST_IDS: [Tag; 2] = [Tag(0x0040, 0x0009), Tag(0x0040, 0x1001)];
/// First bytes of a fragment: they tell a codestream's start.
const HEAD: usize = 2;

impl Scan {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            header: InstanceHeader::default(),
            json: Json::new(),
            pixels: PixelScan::default(),
            pixel_value_offset: None,
            marks: Marks::default(),
            elements: 0,
            taken: BTreeSet::new(),
            surroundings: vec![Surroundings::default()],
            path: Vec::new(),
            in_request: false,
            current: None,
            buffer: Vec::new(),
            fragments: None,
            fragment: Piece::Head,
        }
    }

    fn at_top(&self) -> bool {
        self.path.is_empty()
    }

    fn count(&mut self) {
        self.elements = self.elements.saturating_add(1);
        if self.elements > self.limits.elements {
            self.json.cut();
        }
    }

    /// The VR to read a value by: the written one, unless it is none, or UN for a tag that the standard knows (a sender's
    /// older dictionary, PS3.5 §6.2.2 note 2).
    fn vr_of(&self, element: &Element) -> Vr {
        match dictionary::lookup(element.tag) {
            Some(Known::UsOrSs) if element.implicit => {
                if self.surroundings.last().is_some_and(|s| s.signed) {
                    Vr::SS
                } else {
                    Vr::US
                }
            }
            Some(Known::Exact(vr)) if element.vr == Vr::UN && vr != Vr::SQ => vr,
            _ => element.vr,
        }
    }

    /// Takes a value that decides how others are read.
    fn surround(&mut self, current: &Current) {
        let Some(here) = self.surroundings.last_mut() else { return };
        match current.element.tag {
            Tag::SPECIFIC_CHARACTER_SET => {
                here.charset = Charset::parse(&self.buffer);
                self.marks.unknown_charset |= !here.charset.is_known();
            }
            Tag::PIXEL_REPRESENTATION => {
                here.signed = text::u16_first(&self.buffer, current.element.big_endian) == Some(1);
            }
            _ => {}
        }
    }

    /// Whether the index wants an element below the top.
    fn is_wanted_inside(&self, tag: Tag) -> bool {
        (tag == PATIENT_ID && self.path == [OTHER_PATIENT_IDS])
            || (REQUEST_IDS.contains(&tag) && self.path == [REQUESTS])
    }
}

impl Visitor for Scan {
    fn value(&mut self, element: &Element) -> Want {
        self.count();
        let tag = element.tag;
        let len = element.len.unwrap_or(u32::MAX);
        let top = self.at_top();
        if top && tag.is_pixels() && self.pixels.tag.is_none() {
            self.pixel_value_offset = Some(element.value_at);
            self.pixels.native(tag, element.value_at, len);
        }
        let vr = self.vr_of(element);
        let inline = self.json.value(element, vr, &self.limits) == Place::Inline;
        let wanted = (top && InstanceHeader::wants(tag) && self.taken.insert(tag)) || self.is_wanted_inside(tag);
        let header = wanted && len <= self.limits.header_value;
        self.marks.header_cut |= wanted && !header;
        let decides =
            matches!(tag, Tag::SPECIFIC_CHARACTER_SET | Tag::PIXEL_REPRESENTATION) && len <= self.limits.header_value;
        let table = top
            && tag == Tag::EXTENDED_OFFSET_TABLE
            && self.pixels.extended.is_empty()
            && len as usize <= self.limits.table_bytes;
        if !(inline || header || decides || table) {
            return Want::Nothing;
        }
        self.buffer.clear();
        self.current = Some(Current { element: *element, vr, inline, header });
        Want::Bytes
    }

    fn bytes(&mut self, piece: &[u8]) {
        let room = match (&self.fragments, self.fragment) {
            (Some(_), Piece::Head) => HEAD.saturating_sub(self.buffer.len()),
            _ => piece.len(),
        };
        self.buffer.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
    }

    fn value_end(&mut self) {
        if self.fragments.is_some() {
            match self.fragment {
                Piece::BasicTable => self.pixels.basic = std::mem::take(&mut self.buffer),
                Piece::Head => self.pixels.fragment_head(self.buffer.first_chunk().copied().unwrap_or_default()),
            }
            self.buffer.clear();
            return;
        }
        let Some(current) = self.current.take() else { return };
        self.surround(&current);
        let Some(here) = self.surroundings.last() else { return };
        let Current { element, vr, inline, header } = current;
        if header && self.path.is_empty() {
            let understood = self.header.set(&element, &self.buffer, &here.charset);
            self.marks.header_not_understood |= !understood;
        } else if header && element.tag == PATIENT_ID {
            self.header.add_other_id(&here.charset.decode(&self.buffer).text);
        } else if header
            && self.in_request
            && let Some(request) = self.header.requests.last_mut()
        {
            request.set(element.tag, &here.charset.decode(&self.buffer).text);
        }
        if inline {
            // An UN that stands for a known VR is little endian, whatever is around it.
            let big_endian = element.big_endian && element.vr != Vr::UN;
            let context = Context { vr, big_endian, charset: &here.charset };
            let written = self.json.inline(element.tag, &self.buffer, context, &self.limits);
            self.marks.undecodable_text |= written.undecodable;
            self.marks.ragged_numbers |= written.ragged;
        }
        if self.path.is_empty() && element.tag == Tag::EXTENDED_OFFSET_TABLE && self.pixels.extended.is_empty() {
            self.pixels.extended_big_endian = element.big_endian;
            self.pixels.extended = std::mem::take(&mut self.buffer);
        }
        self.buffer.clear();
    }

    fn sequence(&mut self, element: &Element) {
        self.count();
        self.json.sequence(element.tag, &self.limits);
        self.path.push(element.tag);
    }

    fn sequence_end(&mut self) {
        self.json.sequence_end();
        self.path.pop();
        if self.path.is_empty() {
            self.header.requests.pop_if(|last| last.is_empty());
            self.in_request = false;
        }
    }

    fn item(&mut self) {
        self.json.item(&self.limits);
        let around = self.surroundings.last().cloned().unwrap_or_default();
        self.surroundings.push(around);
        if self.path == [REQUESTS] {
            self.header.requests.pop_if(|last| last.is_empty());
            self.in_request = self.header.requests.len() < InstanceHeader::REQUESTS;
            if self.in_request {
                self.header.requests.push(RequestIds::default());
            }
        }
    }

    fn item_end(&mut self) {
        self.json.item_end();
        self.surroundings.pop();
    }

    fn fragments(&mut self, element: &Element) {
        self.count();
        if self.at_top() && element.tag.is_pixels() && self.pixels.tag.is_none() {
            self.pixel_value_offset = Some(element.value_at);
            self.pixels.encapsulated(element.tag);
        }
        self.fragments = Some(*element);
    }

    fn fragment(&mut self, at: u64, len: u32) -> Want {
        self.buffer.clear();
        let ours = self.fragments.map(|f| f.value_at) == self.pixel_value_offset && self.pixel_value_offset.is_some();
        if !ours {
            return Want::Nothing;
        }
        if self.pixels.fragment(at, len, &self.limits) {
            self.fragment = Piece::BasicTable;
            return if len as usize <= self.limits.table_bytes { Want::Bytes } else { Want::Nothing };
        }
        self.fragment = Piece::Head;
        if self.pixels.too_many { Want::Nothing } else { Want::Bytes }
    }

    fn fragments_end(&mut self, at: u64) {
        if let Some(element) = self.fragments.take() {
            self.json.fragments(&element, at, &self.limits);
        }
    }
}
