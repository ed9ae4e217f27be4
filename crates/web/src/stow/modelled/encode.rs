//! A described data set, written as a PS3.10 file in explicit VR little endian.
//!
//! Sequences and items have undefined lengths, so that nothing is written twice; bulk data go through uncopied. Pixel Data
//! of a compressed media type become fragments, one a part (PS3.5 §A.4), under the transfer syntax that the part names.

use super::{
    super::outcome::{Failure, Names},
    Allowance, Bulk, BulkPart,
    data_set::{DataSet, Element, Value},
};
use bytes::Bytes;
use leadglass_model::{SeriesUid, SopClassUid, SopInstanceUid, StudyUid, TransferSyntaxUid};
use leadglass_tap::{Framing, Syntax, Tag, Vr, part10};

/// The file's bytes, in order. They use up `room`; what has none is too long.
pub(super) fn file(set: &DataSet, bulk: &Bulk, room: &mut Allowance) -> Result<Vec<Bytes>, Failure> {
    let Names { class: Some(class), instance: Some(instance), .. } = names(set) else {
        return Err(Failure::NOT_UNDERSTOOD);
    };
    let pixels = pixel_parts(set, bulk)?;
    let uid = match pixels {
        Pixels::Plain => EXPLICIT_LE.to_owned(),
        Pixels::Compressed(_, ref uid) => uid.clone(),
    };
    let syntax = TransferSyntaxUid::parse(&uid).map_err(|_| Failure::BULK_SYNTAX)?;
    let head = part10::write_head(&class, &instance, &syntax, None);
    let mut writer = Writer { bulk, room, pieces: Vec::new(), buffer: head };
    writer.data_set(set, &pixels, if set.is_beyond_ascii() { Words::Utf8 } else { Words::AsTheyAre }, Level::Top)?;
    writer.flush()?;
    Ok(writer.pieces)
}

/// The names that a data set gives itself.
pub(super) fn names(set: &DataSet) -> Names {
    Names {
        class: set.text(Tag(0x0008, 0x0016)).and_then(|uid| SopClassUid::parse(uid).ok()),
        instance: set.text(Tag(0x0008, 0x0018)).and_then(|uid| SopInstanceUid::parse(uid).ok()),
        study: set.text(Tag(0x0020, 0x000D)).and_then(|uid| StudyUid::parse(uid).ok()),
        series: set.text(Tag(0x0020, 0x000E)).and_then(|uid| SeriesUid::parse(uid).ok()),
    }
}

/// How Pixel Data are to be written.
enum Pixels<'a> {
    /// As any value.
    Plain,
    /// As fragments, in this transfer syntax.
    Compressed(&'a [BulkPart], String),
}

/// Looks at the parts that Pixel Data point at.
fn pixel_parts<'a>(set: &DataSet, bulk: &'a Bulk) -> Result<Pixels<'a>, Failure> {
    let Some(Element { value: Value::Bulk(uri), .. }) = set.elements.get(&Tag::PIXEL_DATA) else {
        return Ok(Pixels::Plain);
    };
    let parts = bulk.get(uri).ok_or(Failure::NOT_UNDERSTOOD)?;
    let media = &parts.first().ok_or(Failure::NOT_UNDERSTOOD)?.media;
    let declared = media.transfer_syntax().or_else(|| set.text(TRANSFER_SYNTAX));
    let family = FAMILIES.iter().find(|family| family.media.contains(&media.essence.as_str()));
    let syntax = match (family, declared) {
        (Some(family), Some(uid)) if family.syntaxes.contains(&uid) => uid,
        // A syntax that is none of this media type's: what the bytes are is not to be guessed.
        (Some(_), Some(_)) if media.transfer_syntax().is_some() => return Err(Failure::BULK_SYNTAX),
        (Some(family), _) => default_syntax(family, parts),
        (None, Some(uid)) => uid,
        (None, None) => EXPLICIT_LE,
    };
    let read = Syntax::of(&TransferSyntaxUid::parse(syntax).map_err(|_| Failure::BULK_SYNTAX)?);
    match read.framing {
        Framing::Encapsulated | Framing::Video => Ok(Pixels::Compressed(parts, syntax.to_owned())),
        // Uncompressed bulk data are little endian, whatever syntax they were once stored in (PS3.18 §8.7.3.3.2).
        Framing::Native => Ok(Pixels::Plain),
    }
}

/// The syntax of a media type that names none: the standard's default, but a JPEG stream says itself what it is.
fn default_syntax(family: &Family, parts: &[BulkPart]) -> &'static str {
    let default = family.syntaxes.first().copied().unwrap_or(EXPLICIT_LE);
    if default != JPEG_LOSSLESS {
        return default;
    }
    let first = parts.first().and_then(|part| part.pieces.first()).map_or(&[][..], |piece| piece.as_ref());
    match frame_marker(first) {
        Some(0xC0) => "1.2.840.10008.1.2.4.50",
        Some(0xC1) => "1.2.840.10008.1.2.4.51",
        _ => default,
    }
}

/// The first start-of-frame marker of a JPEG stream (ITU-T T.81 §B.1.1.3).
fn frame_marker(stream: &[u8]) -> Option<u8> {
    let mut rest = stream.strip_prefix(&[0xFF, 0xD8])?;
    loop {
        match rest {
            [0xFF, 0xFF, ..] => rest = rest.get(1..)?,
            [0xFF, marker @ (0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF), ..] => return Some(*marker),
            [0xFF, 0xDA | 0xD9, ..] => return None,
            [0xFF, _, high, low, ..] => rest = rest.get(2 + usize::from(u16::from_be_bytes([*high, *low]))..)?,
            _ => return None,
        }
    }
}

/// Media types and the transfer syntaxes they may have, the default first (PS3.18 Tables 8.7.3-2 to 8.7.3-5).
struct Family {
    media: &'static [&'static str],
    syntaxes: &'static [&'static str],
}

const FAMILIES: [Family; 10] = [
    Family {
        media: &["image/jpeg"],
        syntaxes: &[JPEG_LOSSLESS, "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57"],
    },
    Family { media: &["image/dicom-rle", "image/x-dicom-rle"], syntaxes: &["1.2.840.10008.1.2.5"] },
    Family { media: &["image/jls", "image/x-jls"], syntaxes: &["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"] },
    Family { media: &["image/jp2"], syntaxes: &["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"] },
    Family { media: &["image/jpx"], syntaxes: &["1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.93"] },
    Family {
        media: &["image/jphc"],
        syntaxes: &["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"],
    },
    Family {
        media: &["image/jxl"],
        syntaxes: &["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112"],
    },
    Family { media: &["video/mpeg", "video/mpeg2"], syntaxes: &["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101"] },
    Family {
        media: &["video/mp4"],
        syntaxes: &[
            "1.2.840.10008.1.2.4.102",
            "1.2.840.10008.1.2.4.103",
            "1.2.840.10008.1.2.4.104",
            "1.2.840.10008.1.2.4.105",
            "1.2.840.10008.1.2.4.106",
        ],
    },
    Family { media: &["video/h265"], syntaxes: &["1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.108"] },
];

/// In which characters text is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    /// ASCII only: whatever character set is declared, it reads the same.
    AsTheyAre,
    /// UTF-8, as the model is: the data set says so once, and no item says otherwise.
    Utf8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Top,
    Item,
}

struct Writer<'a> {
    bulk: &'a Bulk,
    /// Encoded bytes that the request may still become.
    room: &'a mut Allowance,
    pieces: Vec<Bytes>,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    /// Recursion is bounded by the depth that the readers allow.
    fn data_set(&mut self, set: &DataSet, pixels: &Pixels<'_>, words: Words, level: Level) -> Result<(), Failure> {
        let mut says_utf8 = words == Words::AsTheyAre || level == Level::Item;
        for (tag, element) in &set.elements {
            if tag.0 == 0x0002 {
                continue;
            }
            if !says_utf8 && *tag >= Tag::SPECIFIC_CHARACTER_SET {
                self.header(Tag::SPECIFIC_CHARACTER_SET, Vr(*b"CS"), UTF8.len())?;
                self.buffer.extend_from_slice(UTF8);
                says_utf8 = true;
            }
            if *tag == Tag::SPECIFIC_CHARACTER_SET && words == Words::Utf8 {
                continue;
            }
            match (pixels, level) {
                (Pixels::Compressed(parts, _), Level::Top) if *tag == Tag::PIXEL_DATA => self.fragments(parts)?,
                _ => self.element(*tag, element, words)?,
            }
        }
        Ok(())
    }

    fn element(&mut self, tag: Tag, element: &Element, words: Words) -> Result<(), Failure> {
        match &element.value {
            Value::Bytes(bytes) => {
                self.header(tag, element.vr, bytes.len())?;
                self.buffer.extend_from_slice(bytes);
            }
            Value::Bulk(uri) => {
                let parts = self.bulk.get(uri).ok_or(Failure::NOT_UNDERSTOOD)?;
                self.admit(parts)?;
                let len = parts.iter().map(|part| part.len).sum::<u64>();
                let even = usize::try_from(len.next_multiple_of(2)).map_err(|_| Failure::NOT_UNDERSTOOD)?;
                self.header(tag, element.vr, even)?;
                parts.iter().try_for_each(|part| self.part(part))?;
                if len % 2 == 1 {
                    self.buffer.push(if element.vr.is_binary() { 0 } else { b' ' });
                }
            }
            Value::Items(items) => {
                self.undefined(tag, Vr::SQ);
                for item in items {
                    self.marker(Tag::ITEM, UNDEFINED);
                    self.data_set(item, &Pixels::Plain, words, Level::Item)?;
                    self.marker(Tag::ITEM_END, 0);
                }
                self.marker(Tag::SEQUENCE_END, 0);
            }
        }
        Ok(())
    }

    /// Encapsulated pixel data: an empty offset table, then one fragment a part.
    fn fragments(&mut self, parts: &[BulkPart]) -> Result<(), Failure> {
        self.admit(parts)?;
        self.undefined(Tag::PIXEL_DATA, Vr::OB);
        self.marker(Tag::ITEM, 0);
        for part in parts {
            let even = u32::try_from(part.len.next_multiple_of(2)).map_err(|_| Failure::NOT_UNDERSTOOD)?;
            self.marker(Tag::ITEM, even);
            self.part(part)?;
            if part.len % 2 == 1 {
                self.buffer.push(0);
            }
        }
        self.marker(Tag::SEQUENCE_END, 0);
        Ok(())
    }

    /// An element's header. A value too long for a short header becomes UN, which has a long one (PS3.5 §6.2.2).
    fn header(&mut self, tag: Tag, vr: Vr, len: usize) -> Result<(), Failure> {
        let short = u16::try_from(len).ok().filter(|_| !vr.is_wide());
        self.tag(tag);
        match short {
            Some(len) => {
                self.buffer.extend_from_slice(&vr.0);
                self.buffer.extend_from_slice(&len.to_le_bytes());
            }
            None => {
                let len = u32::try_from(len).ok().filter(|len| *len != UNDEFINED).ok_or(Failure::NOT_UNDERSTOOD)?;
                self.buffer.extend_from_slice(if vr.is_wide() { &vr.0 } else { b"UN" });
                self.buffer.extend_from_slice(&[0, 0]);
                self.buffer.extend_from_slice(&len.to_le_bytes());
            }
        }
        Ok(())
    }

    fn undefined(&mut self, tag: Tag, vr: Vr) {
        self.tag(tag);
        self.buffer.extend_from_slice(&vr.0);
        self.buffer.extend_from_slice(&[0, 0]);
        self.buffer.extend_from_slice(&UNDEFINED.to_le_bytes());
    }

    fn marker(&mut self, tag: Tag, len: u32) {
        self.tag(tag);
        self.buffer.extend_from_slice(&len.to_le_bytes());
    }

    fn tag(&mut self, Tag(group, element): Tag) {
        self.buffer.extend_from_slice(&group.to_le_bytes());
        self.buffer.extend_from_slice(&element.to_le_bytes());
    }

    /// Makes room for parts before any of them is looked at: metadata may point at them as often as they like.
    fn admit(&mut self, parts: &[BulkPart]) -> Result<(), Failure> {
        parts.iter().try_for_each(|part| self.room.spend(part.len.max(MIN_PART_COST))).ok_or(Failure::TOO_LONG)
    }

    fn part(&mut self, part: &BulkPart) -> Result<(), Failure> {
        self.flush()?;
        self.pieces.extend(part.pieces.iter().cloned());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.room.spend(self.buffer.len() as u64).ok_or(Failure::TOO_LONG)?;
        if !self.buffer.is_empty() {
            self.pieces.push(std::mem::take(&mut self.buffer).into());
        }
        Ok(())
    }
}

const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
const JPEG_LOSSLESS: &str = "1.2.840.10008.1.2.4.70";
/// Transfer Syntax UID of file meta, where a model has it.
const TRANSFER_SYNTAX: Tag = Tag(0x0002, 0x0010);
const UTF8: &[u8] = b"ISO_IR 192";
const UNDEFINED: u32 = u32::MAX;
/// What pointing at a part costs at least, in bytes: an empty one must be visited, too.
const MIN_PART_COST: u64 = 16;

#[cfg(test)]
mod tests;
