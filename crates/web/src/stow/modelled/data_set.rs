//! A data set that was described in JSON or XML, before it is written as DICOM.
//!
//! Values are encoded as they are read: what is held is the little endian value field, not the words it was told in.

use super::{Misread, ModelError, encode};
use leadglass_model::Phi;
use leadglass_tap::{Tag, Vr};
use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
};

/// Elements in the order of their tags.
#[derive(Debug, Default)]
pub(super) struct DataSet {
    pub(super) elements: BTreeMap<Tag, Element>,
    /// The first that was not understood, at any level. Reading goes on, so that the instance can be named.
    flaw: Option<ModelError>,
}

#[derive(Debug)]
pub(super) struct Element {
    pub(super) vr: Vr,
    pub(super) value: Value,
}

/// A value field. Mute in `Debug`: it names patients.
pub(super) enum Value {
    /// As it will be written, of even length.
    Bytes(Vec<u8>),
    /// In a part of the body: by the name that its Content-Location has.
    Bulk(Phi<String>),
    /// A sequence.
    Items(Vec<DataSet>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "Bytes(‹phi›)",
            Self::Bulk(_) => "Bulk(‹phi›)",
            Self::Items(_) => "Items(‹phi›)",
        })
    }
}

impl DataSet {
    /// Puts an element in. The standard's file meta and delimiters have no place in a model (PS3.18 §F.2.1.1, PS3.19
    /// §A.1.5): file meta is kept aside only for its transfer syntax, delimiters are refused.
    ///
    /// An element that is there already is no element: which of the two is meant is not to be guessed.
    pub(super) fn put(&mut self, tag: Tag, element: Element) -> Result<(), ModelError> {
        if tag.0 == 0xFFFE || tag.0 == 0x0000 {
            return Err(ModelError::Tag);
        }
        if let Value::Items(items) = &element.value
            && let Some(flaw) = items.iter().find_map(|item| item.flaw)
        {
            self.flawed(flaw);
        }
        if tag.is_group_length() {
            return Ok(());
        }
        match self.elements.entry(tag) {
            Entry::Vacant(place) => {
                place.insert(element);
                Ok(())
            }
            Entry::Occupied(_) => Err(ModelError::Twice),
        }
    }

    /// Something of it was not understood.
    pub(super) fn flawed(&mut self, flaw: ModelError) {
        self.flaw.get_or_insert(flaw);
    }

    /// The data set, if all of it was understood.
    pub(super) fn sound(self) -> Result<Self, Misread> {
        match self.flaw {
            None => Ok(self),
            Some(error) => Err(Misread { error, names: encode::names(&self) }),
        }
    }

    /// Puts a private element in by its creator: into the creator's block, or a new one (PS3.5 §7.8.1).
    pub(super) fn put_private(&mut self, tag: Tag, creator: &str, element: Element) -> Result<(), ModelError> {
        let group = tag.0;
        let named = tag.1 >> 8;
        let block = match named {
            0 => self.block(group, creator)?,
            block => {
                self.reserve(group, block, creator);
                block
            }
        };
        self.put(Tag(group, block << 8 | tag.1 & 0x00FF), element)
    }

    /// A value of the top level as text, without padding.
    pub(super) fn text(&self, tag: Tag) -> Option<&str> {
        match &self.elements.get(&tag)?.value {
            Value::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(|text| text.trim_matches([' ', '\0'])),
            Value::Bulk(_) | Value::Items(_) => None,
        }
    }

    /// Whether any text, at any level, is beyond ASCII.
    pub(super) fn is_beyond_ascii(&self) -> bool {
        self.elements.values().any(|element| match &element.value {
            Value::Bytes(bytes) => is_text(element.vr) && !bytes.is_ascii(),
            Value::Bulk(_) => false,
            Value::Items(items) => items.iter().any(Self::is_beyond_ascii),
        })
    }

    fn block(&mut self, group: u16, creator: &str) -> Result<u16, ModelError> {
        for block in FIRST_BLOCK..=LAST_BLOCK {
            match self.text(Tag(group, block)) {
                Some(known) if known == creator => return Ok(block),
                Some(_) => {}
                None => {
                    self.reserve(group, block, creator);
                    return Ok(block);
                }
            }
        }
        Err(ModelError::Tag)
    }

    fn reserve(&mut self, group: u16, block: u16, creator: &str) {
        self.elements.entry(Tag(group, block)).or_insert_with(|| {
            let mut value = ValueWriter::new(Vr(*b"LO"));
            value.put(creator);
            Element { vr: Vr(*b"LO"), value: Value::Bytes(value.finish()) }
        });
    }
}

/// Reads `GGGGEEEE`.
pub(super) fn tag(text: &str) -> Result<Tag, ModelError> {
    let digits = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = digits.then(|| u32::from_str_radix(text, 16).ok()).flatten().ok_or(ModelError::Tag)?;
    let [a, b, c, d] = number.to_be_bytes();
    Ok(Tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// Reads a VR's two letters.
pub(super) fn vr(text: &str) -> Result<Vr, ModelError> {
    let letters: [u8; 2] = text.as_bytes().try_into().map_err(|_| ModelError::Vr)?;
    Some(Vr(letters)).filter(|vr| vr.is_known()).ok_or(ModelError::Vr)
}

/// Whether the value is written in the Specific Character Set (PS3.5 §6.1.2.2).
fn is_text(vr: Vr) -> bool {
    matches!(&vr.0, b"LO" | b"LT" | b"PN" | b"SH" | b"ST" | b"UC" | b"UT")
}

/// Encodes the values of one element, one after the other.
#[derive(Debug)]
pub(super) struct ValueWriter {
    vr: Vr,
    out: Vec<u8>,
    values: usize,
}

impl ValueWriter {
    pub(super) const fn new(vr: Vr) -> Self {
        Self { vr, out: Vec::new(), values: 0 }
    }

    /// The next value, written as text. Numbers are read from it where the VR is binary.
    pub(super) fn text(&mut self, text: &str) -> Result<(), ModelError> {
        let word = text.trim();
        match &self.vr.0 {
            b"SS" => self.bytes(&parse::<i16>(word)?.to_le_bytes()),
            b"US" => self.bytes(&parse::<u16>(word)?.to_le_bytes()),
            b"SL" => self.bytes(&parse::<i32>(word)?.to_le_bytes()),
            b"UL" => self.bytes(&parse::<u32>(word)?.to_le_bytes()),
            b"SV" => self.bytes(&parse::<i64>(word)?.to_le_bytes()),
            b"UV" => self.bytes(&parse::<u64>(word)?.to_le_bytes()),
            b"FL" => self.bytes(&parse::<f32>(word)?.to_le_bytes()),
            b"FD" => self.bytes(&parse::<f64>(word)?.to_le_bytes()),
            b"AT" => {
                let Tag(group, element) = tag(word)?;
                self.bytes(&group.to_le_bytes());
                self.bytes(&element.to_le_bytes());
            }
            b"SQ" => return Err(ModelError::Value),
            _ if self.vr.is_binary() => return Err(ModelError::Value),
            _ => self.put(text),
        }
        Ok(())
    }

    /// The next value, a number as it stands in JSON.
    pub(super) fn number(&mut self, digits: &str) -> Result<(), ModelError> {
        match &self.vr.0 {
            b"DS" => self.put(&decimal(digits)?),
            b"IS" => self.put(&integer(digits)?),
            b"SS" | b"US" | b"SL" | b"UL" | b"SV" | b"UV" => self.text(&integer(digits)?)?,
            b"FL" | b"FD" => self.text(digits)?,
            _ => return Err(ModelError::Value),
        }
        Ok(())
    }

    /// The next value, which is empty. Only text can have one.
    pub(super) fn empty(&mut self) -> Result<(), ModelError> {
        if self.vr.width() > 1 || self.vr.is_binary() {
            return Err(ModelError::Value);
        }
        self.put("");
        Ok(())
    }

    /// The value field, padded to an even length (PS3.5 §6.2).
    pub(super) fn finish(mut self) -> Vec<u8> {
        if !self.out.len().is_multiple_of(2) {
            let pad = if &self.vr.0 == b"UI" || self.vr.is_binary() { 0 } else { b' ' };
            self.out.push(pad);
        }
        self.out
    }

    fn put(&mut self, text: &str) {
        if self.values > 0 {
            self.out.push(b'\\');
        }
        self.values += 1;
        self.out.extend_from_slice(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

fn parse<T: std::str::FromStr>(word: &str) -> Result<T, ModelError> {
    word.parse().map_err(|_| ModelError::Value)
}

/// A whole number, also where it is written with a point or an exponent.
fn integer(digits: &str) -> Result<Cow<'_, str>, ModelError> {
    if digits.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return Ok(Cow::Borrowed(digits));
    }
    let number: f64 = parse(digits)?;
    // Beyond this a float does not name one whole number.
    let is_whole = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
    if is_whole { Ok(Cow::Owned(format!("{number:.0}"))) } else { Err(ModelError::Value) }
}

/// A decimal string of at most 16 characters (PS3.5 §6.2): the digits as written where they fit, else as many as do.
fn decimal(digits: &str) -> Result<Cow<'_, str>, ModelError> {
    if digits.len() <= MAX_DS {
        return Ok(Cow::Borrowed(digits));
    }
    let number: f64 = parse(digits)?;
    let shortest = number.to_string();
    if shortest.len() <= MAX_DS {
        return Ok(Cow::Owned(shortest));
    }
    (0..MAX_DS)
        .rev()
        .flat_map(|places| [format!("{number:.places$}"), format!("{number:.places$e}")])
        .find(|text| text.len() <= MAX_DS && text.parse().is_ok_and(|read: f64| is_close(read, number)))
        .map(Cow::Owned)
        .ok_or(ModelError::Value)
}

/// Equal to as many digits as 16 characters can hold beside a sign, a point and an exponent.
fn is_close(read: f64, number: f64) -> bool {
    (read - number).abs() <= number.abs() * 1e-9
}

/// Blocks that a private creator may reserve.
const FIRST_BLOCK: u16 = 0x10;
const LAST_BLOCK: u16 = 0xFF;
const MAX_DS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(vr: &[u8; 2], values: &[&str]) -> Result<Vec<u8>, ModelError> {
        let mut writer = ValueWriter::new(Vr(*vr));
        for value in values {
            writer.text(value)?;
        }
        Ok(writer.finish())
    }

    #[test]
    fn values_are_written_as_the_standard_has_them() {
        assert_eq!(written(b"UI", &["1.2.3"]).unwrap(), b"1.2.3\0");
        assert_eq!(written(b"CS", &["ORIGINAL", "PRIMARY"]).unwrap(), b"ORIGINAL\\PRIMARY");
        assert_eq!(written(b"LO", &["a"]).unwrap(), b"a ");
        assert_eq!(written(b"US", &["1", "65535"]).unwrap(), [1, 0, 255, 255]);
        assert_eq!(written(b"SV", &["-1"]).unwrap(), [255; 8]);
        assert_eq!(written(b"AT", &["00100020"]).unwrap(), [0x10, 0, 0x20, 0]);
        assert_eq!(written(b"FL", &["0.1"]).unwrap(), 0.1f32.to_le_bytes());
        for (vr, value) in [(b"US", "65536"), (b"SS", "x"), (b"OB", "1"), (b"SQ", "1"), (b"AT", "12")] {
            assert!(written(vr, &[value]).is_err(), "{vr:?} {value}");
        }
    }

    #[test]
    fn numbers_of_json_fit_decimal_and_integer_strings() {
        for (digits, expected) in [
            ("1.50", "1.50"),
            ("0.1", "0.1"),
            ("-0.3333333333333333", "-0.3333333333333"),
            ("1234567890123456789", "1.2345678901e18"),
            ("1e3", "1e3"),
        ] {
            let text = decimal(digits).unwrap();
            let (read, number): (f64, f64) = (text.parse().unwrap(), digits.parse().unwrap());
            assert!(text.len() <= 16 && is_close(read, number), "{digits} became {text}");
            if digits.len() <= 16 {
                assert_eq!(text, expected);
            }
        }
        assert_eq!(integer("12.0").unwrap(), "12");
        assert_eq!(integer("1e2").unwrap(), "100");
        assert!(integer("1.5").is_err());
    }

    #[test]
    fn a_private_element_finds_its_creators_block() {
        let element = || Element { vr: Vr(*b"LO"), value: Value::Bytes(b"x ".to_vec()) };
        let mut set = DataSet::default();
        set.put_private(Tag(0x0009, 0x0001), "ACME", element()).unwrap();
        set.put_private(Tag(0x0009, 0x0002), "ACME", element()).unwrap();
        set.put_private(Tag(0x0009, 0x0001), "OTHER", element()).unwrap();
        set.put_private(Tag(0x0009, 0x3001), "THIRD", element()).unwrap();
        let tags: Vec<u16> = set.elements.keys().map(|tag| tag.1).collect();
        assert_eq!(tags, [0x10, 0x11, 0x30, 0x1001, 0x1002, 0x1101, 0x3001]);
        assert_eq!(set.text(Tag(0x0009, 0x0011)), Some("OTHER"));
    }
}
