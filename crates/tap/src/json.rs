//! DICOM JSON, written while the elements go by.
//!
//! Source: PS3.18 Annex F. Binary values over [`Limits::inline_binary`] and other values over [`Limits::inline_text`]
//! become a `BulkDataURI`, Pixel Data always does: a relative path of tags and item numbers (`bulkdata/00420011`,
//! `bulkdata/52009229/0/00281201`), with the place of its bytes in [`BulkValue`]. Group lengths and trailing padding are
//! left out. Specific Character Set, where present, reads `ISO_IR 192`, for that is what the text is in now.
//!
//! An object has no name twice: of a repeated element the first stands, an element out of order is written where it came.
//! Once the output passes its cap it is dropped whole; half an answer would look like a whole one.

use crate::{Charset, Element, Limits, Tag, Vr, text};
use base64::Engine as _;
use std::collections::BTreeSet;
use std::io::Write as _;

/// A value that the metadata only point at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkValue {
    /// As in `BulkDataURI`; tags and item numbers only, so it names nobody.
    pub path: String,
    /// Its VR.
    pub vr: Vr,
    /// First byte, from the start of the (inflated) data set.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// What the bytes are.
    pub form: BulkForm,
}

/// What the bytes of a bulk value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkForm {
    /// The value.
    Plain,
    /// Big endian numbers of so many bytes: to be swapped for DICOMweb, which is little endian (PS3.18 §F.2.7).
    BigEndian(usize),
    /// All items of encapsulated pixel data, basic offset table first, sequence delimiter last.
    Fragments,
}

/// What a value is to be interpreted by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) vr: Vr,
    pub(crate) big_endian: bool,
    pub(crate) charset: &'a Charset,
}

/// What writing a value met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Text that its character set cannot explain.
    pub(crate) undecodable: bool,
    /// A number cut short.
    pub(crate) ragged: bool,
}

/// Whether an element goes into the output, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// To be written by [`Json::inline`] once its bytes are there.
    Inline,
    /// Written as a reference.
    Bulk,
    /// Left out.
    Nowhere,
}

#[derive(Debug)]
pub(crate) struct Json {
    out: Vec<u8>,
    bulk: Vec<BulkValue>,
    /// Bytes of `bulk` and of the names remembered.
    beside: usize,
    levels: Vec<Level>,
    path: Vec<(Tag, u32)>,
    /// Sequences and items open inside of one that is left out.
    mute: usize,
    cut: bool,
    pub(crate) repeated: bool,
    pub(crate) out_of_order: bool,
}

/// The names of one open object.
#[derive(Debug, Default)]
struct Level {
    rising: Vec<u32>,
    strays: BTreeSet<u32>,
    any: bool,
}

impl Json {
    pub(crate) fn new() -> Self {
        Self {
            out: vec![b'{'],
            bulk: Vec::new(),
            beside: 0,
            levels: vec![Level::default()],
            path: Vec::new(),
            mute: 0,
            cut: false,
            repeated: false,
            out_of_order: false,
        }
    }

    /// Drops the output: from here on nothing is kept.
    pub(crate) fn cut(&mut self) {
        self.cut = true;
        self.out = Vec::new();
        self.bulk = Vec::new();
        self.levels = Vec::new();
        self.path = Vec::new();
    }

    pub(crate) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// The bulk places so far.
    pub(crate) fn bulk(&self) -> &[BulkValue] {
        &self.bulk
    }

    /// The output and the bulk places, or `None` where it was cut.
    pub(crate) fn finish(mut self) -> Option<(Vec<u8>, Vec<BulkValue>)> {
        if self.cut {
            return None;
        }
        self.out.push(b'}');
        Some((self.out, self.bulk))
    }

    /// Decides on a value of defined length.
    pub(crate) fn value(&mut self, element: &Element, vr: Vr, limits: &Limits) -> Place {
        let tag = element.tag;
        if tag.is_group_length() || tag == Tag::TRAILING_PADDING || !self.admit(tag, limits) {
            return Place::Nowhere;
        }
        let len = element.len.unwrap_or(u32::MAX);
        let most = if vr.is_binary() { limits.inline_binary } else { limits.inline_text };
        let bulk = if tag.is_pixels() { len > 0 } else { len > most };
        if !bulk {
            return Place::Inline;
        }
        let form = match vr.width() {
            width @ 2.. if element.big_endian => BulkForm::BigEndian(width),
            _ => BulkForm::Plain,
        };
        self.refer(tag, vr, element.value_at, u64::from(len), form);
        self.check(limits);
        Place::Bulk
    }

    /// Pixel data in fragments, complete: from the first item to behind the delimiter.
    pub(crate) fn fragments(&mut self, element: &Element, end: u64, limits: &Limits) {
        if self.admit(element.tag, limits) {
            let len = end.saturating_sub(element.value_at);
            let vr = if element.vr == Vr::UN || element.implicit { Vr::OB } else { element.vr };
            self.refer(element.tag, vr, element.value_at, len, BulkForm::Fragments);
            self.check(limits);
        }
    }

    /// Writes a value.
    pub(crate) fn inline(&mut self, tag: Tag, value: &[u8], context: Context<'_>, limits: &Limits) -> Written {
        if self.cut {
            return Written::default();
        }
        self.name(tag, context.vr);
        let written = if tag == Tag::SPECIFIC_CHARACTER_SET && !value.is_empty() {
            self.raw(r#","Value":["ISO_IR 192"]"#);
            Written::default()
        } else {
            self.content(value, context)
        };
        self.out.push(b'}');
        self.check(limits);
        written
    }

    pub(crate) fn sequence(&mut self, tag: Tag, limits: &Limits) {
        if self.mute > 0 || !self.admit(tag, limits) {
            self.mute = self.mute.saturating_add(1);
            return;
        }
        self.name(tag, Vr::SQ);
        self.path.push((tag, 0));
        self.check(limits);
    }

    pub(crate) fn sequence_end(&mut self) {
        if self.mute > 0 {
            self.mute = self.mute.saturating_sub(1);
            return;
        }
        if self.cut {
            return;
        }
        if let Some((_, items)) = self.path.pop() {
            self.raw(if items > 0 { "]}" } else { "}" });
        }
    }

    pub(crate) fn item(&mut self, limits: &Limits) {
        if self.mute > 0 {
            self.mute = self.mute.saturating_add(1);
            return;
        }
        if self.cut {
            return;
        }
        if let Some((_, items)) = self.path.last_mut() {
            *items = items.saturating_add(1);
            let open = if *items == 1 { r#","Value":[{"# } else { ",{" };
            self.raw(open);
        }
        self.levels.push(Level::default());
        self.check(limits);
    }

    pub(crate) fn item_end(&mut self) {
        if self.mute > 0 {
            self.mute = self.mute.saturating_sub(1);
            return;
        }
        if self.cut {
            return;
        }
        self.levels.pop();
        self.out.push(b'}');
    }

    /// Claims a name in the innermost object.
    fn admit(&mut self, tag: Tag, limits: &Limits) -> bool {
        if self.cut || self.mute > 0 {
            return false;
        }
        let Some(level) = self.levels.last_mut() else { return false };
        let name = tag.number();
        let fresh = match level.rising.last() {
            Some(last) if name <= *last => {
                let fresh = level.rising.binary_search(&name).is_err() && level.strays.insert(name);
                self.out_of_order |= fresh;
                fresh
            }
            _ if level.strays.contains(&name) => false,
            _ => {
                level.rising.push(name);
                true
            }
        };
        self.repeated |= !fresh;
        self.beside = self.beside.saturating_add(NAME_BYTES);
        self.check(limits);
        fresh && !self.cut
    }

    fn refer(&mut self, tag: Tag, vr: Vr, offset: u64, len: u64, form: BulkForm) {
        let mut path = String::from("bulkdata/");
        for (tag, items) in &self.path {
            path.push_str(&format!("{:08X}/{}/", tag.number(), items.saturating_sub(1)));
        }
        path.push_str(&format!("{:08X}", tag.number()));
        let vr = shown(vr);
        self.name(tag, vr);
        self.raw(r#","BulkDataURI":""#);
        self.raw(&path);
        self.raw(r#""}"#);
        self.beside = self.beside.saturating_add(path.len()).saturating_add(size_of::<BulkValue>());
        self.bulk.push(BulkValue { path, vr, offset, len, form });
    }

    /// `"00100010":{"vr":"PN"`, with a comma in front where it is not the first.
    fn name(&mut self, tag: Tag, vr: Vr) {
        if let Some(level) = self.levels.last_mut()
            && std::mem::replace(&mut level.any, true)
        {
            self.out.push(b',');
        }
        // Writing into a Vec cannot fail.
        let _ = write!(self.out, r#""{:08X}":{{"vr":"{}""#, tag.number(), shown(vr));
    }

    fn content(&mut self, value: &[u8], context: Context<'_>) -> Written {
        let Context { vr, big_endian, charset } = context;
        let mut written = Written::default();
        if value.is_empty() {
            return written;
        }
        match &shown(vr).0 {
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"UN" => {
                let swapped: Vec<u8> = if big_endian && vr.width() > 1 {
                    value.chunks(vr.width()).flat_map(|c| c.iter().rev().copied()).collect()
                } else {
                    Vec::new()
                };
                let bytes = if swapped.is_empty() { value } else { &swapped };
                self.raw(r#","InlineBinary":""#);
                self.raw(&base64::engine::general_purpose::STANDARD.encode(bytes));
                self.raw("\"");
            }
            b"AT" | b"FD" | b"FL" | b"SL" | b"SS" | b"SV" | b"UL" | b"US" | b"UV" => {
                written.ragged = !value.len().is_multiple_of(number_width(vr));
                let numbers = value.chunks_exact(number_width(vr)).map(|c| number(vr, c, big_endian));
                self.list(numbers);
            }
            letters => {
                let decoded = charset_for(vr, charset).decode(value);
                written.undecodable = !decoded.clean;
                let single = matches!(letters, b"LT" | b"ST" | b"UR" | b"UT");
                let whole = text::trim_end(&decoded.text);
                if whole.is_empty() {
                    return written;
                }
                if single {
                    self.list(std::iter::once(string(whole)));
                } else {
                    self.list(whole.split('\\').map(|part| one(vr, text::trim_end(part))));
                }
            }
        }
        written
    }

    fn list(&mut self, values: impl Iterator<Item = String>) {
        let mut open = false;
        for value in values {
            self.raw(if std::mem::replace(&mut open, true) { "," } else { r#","Value":["# });
            self.raw(&value);
        }
        if open {
            self.out.push(b']');
        }
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn check(&mut self, limits: &Limits) {
        if !self.cut && self.out.len().saturating_add(self.beside) > limits.kept_bytes {
            self.cut();
        }
    }
}

/// What a remembered name costs, in bytes.
const NAME_BYTES: usize = 8;

/// A VR that the standard has; anything else is shown as UN.
fn shown(vr: Vr) -> Vr {
    if vr.is_known() { vr } else { Vr::UN }
}

fn number_width(vr: Vr) -> usize {
    if &vr.0 == b"AT" { 4 } else { vr.width() }
}

/// Only these VRs follow Specific Character Set (PS3.5 §6.1.2.3); the others are in the default repertoire.
fn charset_for(vr: Vr, charset: &Charset) -> std::borrow::Cow<'_, Charset> {
    if matches!(&vr.0, b"LO" | b"LT" | b"PN" | b"SH" | b"ST" | b"UC" | b"UT") {
        std::borrow::Cow::Borrowed(charset)
    } else {
        std::borrow::Cow::Owned(Charset::default())
    }
}

/// One of several values of a text VR.
fn one(vr: Vr, part: &str) -> String {
    let bare = part.trim_start_matches(' ');
    match &vr.0 {
        _ if part.is_empty() => "null".to_owned(),
        b"DS" => text::json_number(part).unwrap_or_else(|| string(bare)),
        b"IS" => match text::json_number(part) {
            Some(number) if number.parse::<i64>().is_ok() => number,
            _ => string(bare),
        },
        b"PN" => person(part),
        _ => string(part),
    }
}

/// A person name by component groups (PS3.18 §F.2.2).
fn person(name: &str) -> String {
    let mut out = String::from("{");
    for (key, group) in ["Alphabetic", "Ideographic", "Phonetic"].iter().zip(name.splitn(3, '=')) {
        let group = text::trim_end(group);
        if !group.is_empty() {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&format!("\"{key}\":{}", string(group)));
        }
    }
    if out.len() == 1 {
        return "null".to_owned();
    }
    out.push('}');
    out
}

fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// One binary number. 64-bit integers that a double cannot hold, and what is no number, are strings.
fn number(vr: Vr, bytes: &[u8], big_endian: bool) -> String {
    fn read<const N: usize>(bytes: &[u8], big_endian: bool) -> [u8; N] {
        let mut out: [u8; N] = bytes.first_chunk().copied().unwrap_or([0; N]);
        if big_endian {
            out.reverse();
        }
        out
    }
    match &vr.0 {
        b"AT" => {
            let (group, element) = bytes.split_at_checked(2).unwrap_or_default();
            let half = |b| u16::from_le_bytes(read(b, big_endian));
            format!("\"{:04X}{:04X}\"", half(group), half(element))
        }
        b"US" => u16::from_le_bytes(read(bytes, big_endian)).to_string(),
        b"SS" => i16::from_le_bytes(read(bytes, big_endian)).to_string(),
        b"UL" => u32::from_le_bytes(read(bytes, big_endian)).to_string(),
        b"SL" => i32::from_le_bytes(read(bytes, big_endian)).to_string(),
        b"UV" => match u64::from_le_bytes(read(bytes, big_endian)) {
            n if n <= SAFE_INTEGER => n.to_string(),
            n => format!("\"{n}\""),
        },
        b"SV" => match i64::from_le_bytes(read(bytes, big_endian)) {
            n if n.unsigned_abs() <= SAFE_INTEGER => n.to_string(),
            n => format!("\"{n}\""),
        },
        b"FL" => {
            let n = f32::from_le_bytes(read(bytes, big_endian));
            serde_json::Number::from_f64(f64::from(n)).map_or_else(|| not_finite(f64::from(n)), |n| n.to_string())
        }
        _ => {
            let n = f64::from_le_bytes(read(bytes, big_endian));
            serde_json::Number::from_f64(n).map_or_else(|| not_finite(n), |n| n.to_string())
        }
    }
}

fn not_finite(n: f64) -> String {
    let word = if n.is_nan() {
        "NaN"
    } else if n.is_sign_negative() {
        "-inf"
    } else {
        "inf"
    };
    format!("\"{word}\"")
}

/// The largest integer that every reader of JSON keeps exact.
const SAFE_INTEGER: u64 = (1 << 53) - 1;
