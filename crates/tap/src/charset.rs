//! Specific Character Set (0008,0005): bytes of text → UTF-8.
//!
//! Source: PS3.3 §C.12.1.1.2 (defined terms), PS3.5 §6.1 and Annexes H to K (code extensions by ISO 2022 escapes). The
//! tables are encoding_rs's; the switching between them is ours.

use encoding_rs::{
    EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6, ISO_8859_7,
    ISO_8859_8, ISO_8859_15, SHIFT_JIS, WINDOWS_874, WINDOWS_1254,
};

/// Text as UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The text; U+FFFD, or Latin 1 where no character set was declared, for what could not be read.
    pub text: String,
    /// Every byte could be read by the declared character set.
    pub clean: bool,
}

/// The character sets in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charset {
    base: Base,
    known: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    /// The whole value in one multi-byte set without escapes.
    Whole(Whole),
    /// Two code areas, switched by escapes.
    Areas { low: Low, high: High },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Utf8,
    Gb18030,
    Gbk,
}

/// The set in 0x21–0x7E (G0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Low {
    Ascii,
    JisRoman,
    JisX0208,
    JisX0212,
}

/// The set in 0xA1–0xFE (G1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum High {
    /// None declared.
    None,
    Latin1,
    Latin5,
    Single(&'static Encoding),
    /// JIS X 0201 half-width katakana.
    Katakana,
    KsX1001,
    Gb2312,
}

impl Default for Charset {
    fn default() -> Self {
        Self { base: Base::Areas { low: Low::Ascii, high: High::None }, known: true }
    }
}

impl Charset {
    /// Reads the value of Specific Character Set. Misspellings that occur in the field are understood.
    pub fn parse(value: &[u8]) -> Self {
        // The first term says what a value starts in; the others only what escapes may follow, and those name themselves.
        let first = value.split(|b| *b == b'\\').next().unwrap_or_default();
        let term: String =
            first.iter().filter(|b| b.is_ascii_alphanumeric()).map(|b| char::from(b.to_ascii_uppercase())).collect();
        let areas = |low, high| Base::Areas { low, high };
        let plain = |high| areas(Low::Ascii, high);
        let number = term.strip_prefix("ISOIR").or_else(|| term.strip_prefix("ISO2022IR"));
        let base = match (number, term.as_str()) {
            (None, "") | (Some("6"), _) => plain(High::None),
            (Some("100"), _) => plain(High::Latin1),
            (Some("148"), _) => plain(High::Latin5),
            (Some("13"), _) => areas(Low::JisRoman, High::Katakana),
            (Some("149"), _) => plain(High::KsX1001),
            (Some("58"), _) => plain(High::Gb2312),
            // Only reached by escapes: the value itself starts in ASCII.
            (Some("87" | "159"), _) => plain(High::None),
            (Some("192"), _) | (None, "UTF8") => Base::Whole(Whole::Utf8),
            (None, "GB18030") => Base::Whole(Whole::Gb18030),
            (None, "GBK") => Base::Whole(Whole::Gbk),
            (Some(n), _) => match single(n) {
                Some(encoding) => plain(High::Single(encoding)),
                None => return Self { known: false, ..Self::default() },
            },
            (None, _) => return Self { known: false, ..Self::default() },
        };
        Self { base, known: true }
    }

    /// Whether the declared term is one that the standard defines.
    pub const fn is_known(&self) -> bool {
        self.known
    }

    /// A text in this character set; `None` where it has no place for one of its characters. Sets that need escapes
    /// take ASCII alone.
    pub fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let bytes = if text.is_ascii() {
            text.as_bytes().to_vec()
        } else {
            match self.base {
                Base::Whole(Whole::Utf8) => text.as_bytes().to_vec(),
                Base::Whole(Whole::Gb18030) => wholly(GB18030, text)?,
                Base::Whole(Whole::Gbk) => wholly(GBK, text)?,
                Base::Areas { high: High::Latin1, .. } => {
                    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<_>>()?
                }
                Base::Areas { high: High::Latin5, .. } => wholly(WINDOWS_1254, text)?,
                Base::Areas { high: High::Single(encoding), .. } => wholly(encoding, text)?,
                Base::Areas { high: High::None | High::Katakana | High::KsX1001 | High::Gb2312, .. } => return None,
            }
        };
        // What is read again is what counts.
        let read = self.decode(&bytes);
        (read.clean && read.text == text).then_some(bytes)
    }

    /// Decodes a whole value, backslashes included: they separate values afterwards, and only those that are no second
    /// byte of a character come out as backslashes.
    pub fn decode(&self, value: &[u8]) -> Decoded {
        if value.is_ascii() && !value.contains(&ESC) {
            return Decoded { text: String::from_utf8_lossy(value).into_owned(), clean: true };
        }
        match self.base {
            Base::Whole(whole) => {
                let encoding = match whole {
                    Whole::Utf8 => encoding_rs::UTF_8,
                    Whole::Gb18030 => GB18030,
                    Whole::Gbk => GBK,
                };
                let (text, broken) = encoding.decode_without_bom_handling(value);
                Decoded { text: text.into_owned(), clean: !broken }
            }
            Base::Areas { low, high } => {
                let mut switch = Switch { start: (low, high), low, high, text: String::new(), clean: self.known };
                switch.text.reserve(value.len());
                let mut rest = value;
                while !rest.is_empty() {
                    rest = rest.get(switch.step(rest)..).unwrap_or_default();
                }
                Decoded { text: switch.text, clean: switch.clean }
            }
        }
    }
}

fn wholly(encoding: &'static Encoding, text: &str) -> Option<Vec<u8>> {
    let (bytes, _, broken) = encoding.encode(text);
    (!broken).then(|| bytes.into_owned())
}

/// One-byte sets by ISO registration number, the same for `ISO_IR n` and `ISO 2022 IR n`.
fn single(number: &str) -> Option<&'static Encoding> {
    Some(match number {
        "101" => ISO_8859_2,
        "109" => ISO_8859_3,
        "110" => ISO_8859_4,
        "144" => ISO_8859_5,
        "127" => ISO_8859_6,
        "126" => ISO_8859_7,
        "138" => ISO_8859_8,
        "203" => ISO_8859_15,
        "166" => WINDOWS_874,
        _ => return None,
    })
}

const ESC: u8 = 0x1B;

struct Switch {
    start: (Low, High),
    low: Low,
    high: High,
    text: String,
    clean: bool,
}

impl Switch {
    /// Reads one character or escape from the front; says how many bytes it took (never zero).
    fn step(&mut self, rest: &[u8]) -> usize {
        let first = rest.first().copied().unwrap_or_default();
        let second = rest.get(1).copied().unwrap_or_default();
        match first {
            ESC => self.escape(rest),
            0..=0x20 | 0x7F => {
                // Line ends go back to the start; a space inside of double-byte text occurs and does not.
                if matches!(first, b'\t' | b'\n' | 0x0C | b'\r') {
                    self.reset();
                }
                self.text.push(char::from(first));
                1
            }
            0x21..=0x7E => match self.low {
                Low::Ascii | Low::JisRoman => {
                    if matches!(first, b'\\' | b'^' | b'=') {
                        self.reset();
                    }
                    // JIS X 0201 shows a yen sign at 0x5C and an overline at 0x7E; the one separates values all the same,
                    // and names are searched as ASCII.
                    self.text.push(char::from(first));
                    1
                }
                Low::JisX0208 => self.pair(EUC_JP, &[first | 0x80, second | 0x80], second & 0x80 == 0),
                Low::JisX0212 => self.pair(EUC_JP, &[0x8F, first | 0x80, second | 0x80], second & 0x80 == 0),
            },
            0x80.. => match self.high {
                High::KsX1001 => self.pair(EUC_KR, &[first, second], second >= 0x80),
                High::Gb2312 => self.pair(GBK, &[first, second], second >= 0x80),
                High::Latin1 => self.put(char::from(first), true),
                High::None => self.put(char::from(first), false),
                High::Latin5 => self.single(if first < 0xA0 { encoding_rs::WINDOWS_1252 } else { WINDOWS_1254 }, first),
                High::Katakana => self.single(SHIFT_JIS, first),
                High::Single(encoding) => self.single(encoding, first),
            },
        }
    }

    fn put(&mut self, c: char, clean: bool) -> usize {
        self.text.push(c);
        self.clean &= clean;
        1
    }

    fn single(&mut self, encoding: &'static Encoding, byte: u8) -> usize {
        // C1 controls are the same in every part of ISO 8859.
        if (0x80..0xA0).contains(&byte) {
            return self.put(char::from(byte), true);
        }
        match encoding.decode_without_bom_handling_and_without_replacement(&[byte]) {
            Some(text) => self.text.push_str(&text),
            None => return self.put('\u{FFFD}', false),
        }
        1
    }

    fn pair(&mut self, encoding: &'static Encoding, bytes: &[u8], whole: bool) -> usize {
        let text = if whole { encoding.decode_without_bom_handling_and_without_replacement(bytes) } else { None };
        match text {
            Some(text) => {
                self.text.push_str(&text);
                2
            }
            None => self.put('\u{FFFD}', false),
        }
    }

    fn escape(&mut self, rest: &[u8]) -> usize {
        let tail = rest.get(1..).unwrap_or_default();
        let (low, high, len) = match tail {
            [b'(', b'B', ..] => (Some(Low::Ascii), None, 3),
            [b'(', b'J', ..] => (Some(Low::JisRoman), None, 3),
            [b')', b'I', ..] => (None, Some(High::Katakana), 3),
            [b'$', b'@' | b'B', ..] => (Some(Low::JisX0208), None, 3),
            [b'$', b'(', b'D', ..] => (Some(Low::JisX0212), None, 4),
            [b'$', b')', b'C', ..] => (None, Some(High::KsX1001), 4),
            [b'$', b')', b'A', ..] => (None, Some(High::Gb2312), 4),
            [b'-', b'A', ..] => (None, Some(High::Latin1), 3),
            [b'-', b'M', ..] => (None, Some(High::Latin5), 3),
            [b'-', b'B', ..] => (None, Some(High::Single(ISO_8859_2)), 3),
            [b'-', b'C', ..] => (None, Some(High::Single(ISO_8859_3)), 3),
            [b'-', b'D', ..] => (None, Some(High::Single(ISO_8859_4)), 3),
            [b'-', b'L', ..] => (None, Some(High::Single(ISO_8859_5)), 3),
            [b'-', b'G', ..] => (None, Some(High::Single(ISO_8859_6)), 3),
            [b'-', b'F', ..] => (None, Some(High::Single(ISO_8859_7)), 3),
            [b'-', b'H', ..] => (None, Some(High::Single(ISO_8859_8)), 3),
            [b'-', b'b', ..] => (None, Some(High::Single(ISO_8859_15)), 3),
            [b'-', b'T', ..] => (None, Some(High::Single(WINDOWS_874)), 3),
            // An escape that nobody defined: it stays visible as a replacement character.
            _ => return self.put('\u{FFFD}', false),
        };
        self.low = low.unwrap_or(self.low);
        self.high = high.unwrap_or(self.high);
        len
    }

    /// Before a separator the initial sets hold again (PS3.5 §6.1.2.5.3).
    fn reset(&mut self) {
        (self.low, self.high) = self.start;
    }
}
