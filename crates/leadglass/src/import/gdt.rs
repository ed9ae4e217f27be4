//! GDT files: what a practice's software and a sensor hand each other beside an image.
//!
//! A file is lines `LLLKKKKcontent` CR LF: `LLL` the length of the line in bytes with line end, `KKKK` the field. Read here:
//! 3000 patient number, 3101 name, 3102 first name, 3103 birth date (DDMMYYYY), 3110 sex, 6305 files that belong to it,
//! 9206 character set (1: 7 bit, 2: IBM code page 437, 3: ISO 8859-1/Windows 1252, 4: ISO 8859-15).
//!
//! Whatever does not read without doubt is an error: a wrong patient is worse than an image that waits. An error names
//! line and field, never a content.
//!
//! Source: GDT interface description, versions 2.1 and 3.0 (QMS Qualitätsring Medizinische Software).

use super::patient::{Patient, Sex};
use leadglass_model::Phi;

/// Bytes of a GDT file that are read; one with a patient and a finding has a few KiB.
pub const MAX_BYTES: usize = 256 * 1024;
/// Lines that are read.
const MAX_LINES: usize = 4096;
/// Files that one GDT file may name.
const MAX_FILES: usize = 64;
/// Characters of a name or number (PS3.5 §6.2: LO and each component group of PN have 64).
const MAX_CHARACTERS: usize = 64;

/// Why a GDT file names no patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GdtError {
    /// More than a GDT file has.
    #[error("larger than {MAX_BYTES} bytes or {MAX_LINES} lines")]
    TooLarge,
    /// A line is not as long as it says, or is no GDT line.
    #[error("line {line} is no GDT line")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// A field that can occur once says two things.
    #[error("field {field} contradicts itself")]
    Twice {
        /// The field.
        field: u16,
    },
    /// The content cannot be what the field holds.
    #[error("field {field} is not understood")]
    Field {
        /// The field.
        field: u16,
    },
    /// Letters beyond ASCII in a character set that is not known.
    #[error("the character set of field 9206 is not known")]
    Charset,
    /// There is no patient number (3000).
    #[error("there is no patient number")]
    NoPatient,
}

/// What a GDT file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gdt {
    /// Whose images they are.
    pub patient: Patient,
    /// Names of files that belong to it, without folders (6305).
    pub files: Vec<Phi<String>>,
}

impl Gdt {
    /// Reads a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Self, GdtError> {
        if bytes.len() > MAX_BYTES {
            return Err(GdtError::TooLarge);
        }
        let fields = Fields::read(bytes)?;
        let charset = Charset::of(fields.once(9206)?)?;
        let text = |field: u16| -> Result<Option<String>, GdtError> {
            fields.once(field)?.map(|raw| charset.decode(raw).and_then(|text| short(text, field))).transpose()
        };
        let id = text(3000)?.filter(|id| !id.is_empty()).ok_or(GdtError::NoPatient)?;
        if id.contains('\\') {
            return Err(GdtError::Field { field: 3000 });
        }
        let part = |field: u16| -> Result<String, GdtError> {
            let part = text(field)?.unwrap_or_default();
            // These take a person name apart (PS3.5 §6.2.1).
            if part.contains(['^', '=', '\\']) { Err(GdtError::Field { field }) } else { Ok(part) }
        };
        let name = person_name(&part(3101)?, &part(3102)?);
        let birth_date = text(3103)?
            .filter(|d| !d.is_empty())
            .map(|date| from_day_first(&date).map(Phi::new).ok_or(GdtError::Field { field: 3103 }));
        let sex = match text(3110)?.as_deref() {
            None | Some("") => None,
            Some("1" | "M") => Some(Sex::Male),
            Some("2" | "W" | "F") => Some(Sex::Female),
            Some("D" | "X" | "U") => Some(Sex::Other),
            Some(_) => return Err(GdtError::Field { field: 3110 }),
        };
        let files = fields.all(6305).map(|raw| charset.decode(raw)).collect::<Result<Vec<_>, _>>()?;
        if files.len() > MAX_FILES {
            return Err(GdtError::TooLarge);
        }
        let base = |path: String| path.rsplit(['\\', '/']).next().unwrap_or_default().trim().to_owned();
        Ok(Self {
            patient: Patient {
                id: Phi::new(id),
                name: name.map(Phi::new),
                birth_date: birth_date.transpose()?,
                sex,
                ..Patient::default()
            },
            files: files.into_iter().map(base).filter(|f| !f.is_empty()).map(Phi::new).collect(),
        })
    }
}

/// Whether a file that does not parse may be one that names `image` (6305): for certain not, when its lines can be read and
/// the files among them are others.
pub fn may_name(bytes: &[u8], image: Option<&str>) -> bool {
    let (true, Some(image), Ok(fields)) = (bytes.len() <= MAX_BYTES, image, Fields::read(bytes)) else { return true };
    let Ok(charset) = fields.once(9206).and_then(Charset::of) else { return true };
    fields.all(6305).any(|raw| {
        charset
            .decode(raw)
            .map_or(true, |path| path.rsplit(['\\', '/']).next().unwrap_or_default().trim().eq_ignore_ascii_case(image))
    })
}

/// `last^first`, nothing when both are empty.
pub fn person_name(last: &str, first: &str) -> Option<String> {
    match (last.trim(), first.trim()) {
        ("", "") => None,
        (last, "") => Some(last.to_owned()),
        (last, first) => Some(format!("{last}^{first}")),
    }
}

/// DDMMYYYY to YYYYMMDD, of a day that a calendar has.
pub fn from_day_first(date: &str) -> Option<String> {
    if date.len() != 8 || !date.is_ascii() {
        return None;
    }
    is_date(&format!("{}{}{}", &date[4..], &date[2..4], &date[..2]))
}

/// The date back, when it is eight digits YYYYMMDD of a day that a calendar has.
pub fn is_date(date: &str) -> Option<String> {
    if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| date.get(range).and_then(|d| d.parse::<u32>().ok());
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    ((1800..=2999).contains(&year) && (1..=days).contains(&day)).then(|| date.to_owned())
}

fn short(text: String, field: u16) -> Result<String, GdtError> {
    let text = text.trim().to_owned();
    if text.chars().count() > MAX_CHARACTERS || text.chars().any(char::is_control) {
        return Err(GdtError::Field { field });
    }
    Ok(text)
}

/// Field and content of each line.
struct Fields<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, GdtError> {
        let mut fields = Vec::new();
        // A DOS end-of-file mark may stand at the end.
        let bytes = bytes.strip_suffix(&[0x1A]).unwrap_or(bytes);
        let lines = bytes.split_inclusive(|b| *b == b'\n').enumerate();
        for (at, raw) in lines {
            let line = at + 1;
            if line > MAX_LINES {
                return Err(GdtError::TooLarge);
            }
            let body = raw.strip_suffix(b"\n").unwrap_or(raw);
            let body = body.strip_suffix(b"\r").unwrap_or(body);
            if body.is_empty() {
                continue;
            }
            let wrong = GdtError::Line { line };
            let digits = |range: std::ops::Range<usize>| -> Result<u16, GdtError> {
                let text = body.get(range).filter(|d| d.iter().all(u8::is_ascii_digit)).ok_or(wrong)?;
                std::str::from_utf8(text).ok().and_then(|d| d.parse().ok()).ok_or(wrong)
            };
            // Some write the length as if the line ended by CR LF where it ends by LF, and the last line may lack its end.
            if usize::from(digits(0..3)?) != body.len() + 2 {
                return Err(wrong);
            }
            fields.push((digits(3..7)?, body.get(7..).ok_or(wrong)?));
        }
        Ok(Self(fields))
    }

    fn all(&self, field: u16) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(f, _)| *f == field).map(|(_, content)| *content)
    }

    /// The one content of a field; the same twice is once.
    fn once(&self, field: u16) -> Result<Option<&'a [u8]>, GdtError> {
        let mut all = self.all(field);
        let first = all.next();
        if all.any(|other| Some(other) != first) { Err(GdtError::Twice { field }) } else { Ok(first) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Ascii,
    Cp437,
    Windows1252,
    Latin9,
    /// ASCII can be read.
    Unknown,
}

impl Charset {
    /// 2 is the standard's default.
    fn of(field: Option<&[u8]>) -> Result<Self, GdtError> {
        Ok(match field.map(<[u8]>::trim_ascii) {
            None | Some(b"2") => Self::Cp437,
            Some(b"1") => Self::Ascii,
            Some(b"3") => Self::Windows1252,
            Some(b"4") => Self::Latin9,
            Some(_) => Self::Unknown,
        })
    }

    fn decode(self, raw: &[u8]) -> Result<String, GdtError> {
        if raw.is_ascii() {
            return Ok(String::from_utf8_lossy(raw).into_owned());
        }
        match self {
            Self::Ascii | Self::Unknown => Err(GdtError::Charset),
            Self::Cp437 => {
                let table: Vec<char> = CP437.chars().collect();
                let letter = |b: &u8| match b.checked_sub(128) {
                    None => Some(char::from(*b)),
                    Some(high) => table.get(usize::from(high)).copied(),
                };
                raw.iter().map(letter).collect::<Option<String>>().ok_or(GdtError::Charset)
            }
            Self::Windows1252 => Ok(encoding_rs::WINDOWS_1252.decode_without_bom_handling(raw).0.into_owned()),
            Self::Latin9 => Ok(encoding_rs::ISO_8859_15.decode_without_bom_handling(raw).0.into_owned()),
        }
    }
}

/// The upper half of IBM code page 437.
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(field: u16, content: &[u8]) -> Vec<u8> {
        let mut line = format!("{:03}{field:04}", content.len() + 9).into_bytes();
        line.extend_from_slice(content);
        line.extend_from_slice(b"\r\n");
        line
    }

    fn file(fields: &[(u16, &[u8])]) -> Vec<u8> {
        let mut all = [line(8000, b"6310"), line(8100, b"00150"), line(9218, b"02.10")].concat();
        all.extend(fields.iter().flat_map(|(field, content)| line(*field, content)));
        all
    }

    fn whose(fields: &[(u16, &[u8])]) -> Result<Patient, GdtError> {
        Gdt::parse(&file(fields)).map(|gdt| gdt.patient)
    }

    #[test]
    fn a_patient_is_read_in_each_character_set() {
        let cases: [(&[u8], &[u8]); 3] = [
            (b"2", b"M\x81ller-L\x81denscheid"),
            (b"3", b"M\xFCller-L\xFCdenscheid"),
            (b"4", b"M\xFCller-L\xFCdenscheid"),
        ];
        for (set, last) in cases {
            let patient = whose(&[
                (9206, set),
                (3000, b"4711"),
                (3101, last),
                (3102, b"J\x94rg".map(|b| if b == 0x94 && set != b"2" { 0xF6 } else { b }).as_slice()),
                (3103, b"01021980"),
                (3110, b"2"),
            ])
            .unwrap();
            assert_eq!(patient.id.expose(), "4711");
            assert_eq!(patient.name.unwrap().expose(), "Müller-Lüdenscheid^Jörg");
            assert_eq!(patient.birth_date.unwrap().expose(), "19800201");
            assert_eq!(patient.sex, Some(Sex::Female));
        }
    }

    #[test]
    fn without_9206_the_code_page_is_the_standards_default() {
        assert_eq!(whose(&[(3000, b"1"), (3101, b"Wei\xE1")]).unwrap().name.unwrap().expose(), "Weiß");
        assert_eq!(CP437.chars().count(), 128);
    }

    #[test]
    fn what_is_in_doubt_is_an_error_that_repeats_no_content() {
        type Given<'a> = &'a [(u16, &'a [u8])];
        let cases: [(Given<'_>, GdtError); 9] = [
            (&[(3101, b"CANARY")], GdtError::NoPatient),
            (&[(3000, b"")], GdtError::NoPatient),
            (&[(3000, b"1"), (3000, b"2")], GdtError::Twice { field: 3000 }),
            (&[(3000, b"1"), (3103, b"31021980")], GdtError::Field { field: 3103 }),
            (&[(3000, b"1"), (3103, b"19800201")], GdtError::Field { field: 3103 }),
            (&[(3000, b"1"), (3110, b"Q")], GdtError::Field { field: 3110 }),
            (&[(3000, b"1"), (3101, b"CANARY^NEVER")], GdtError::Field { field: 3101 }),
            (&[(9206, b"9"), (3000, b"1"), (3101, b"M\xFCller")], GdtError::Charset),
            (&[(9206, b"1"), (3000, b"1"), (3101, b"M\xFCller")], GdtError::Charset),
        ];
        for (fields, expect) in cases {
            let error = whose(fields).unwrap_err();
            assert_eq!(error, expect);
            assert!(!error.to_string().contains("CANARY"));
        }
        let long = [b'x'; 65];
        assert_eq!(whose(&[(3000, &long)]).unwrap_err(), GdtError::Field { field: 3000 });
    }

    #[test]
    fn lines_that_lie_about_their_length_are_refused() {
        assert_eq!(Gdt::parse(b"0163000CANARY-1\r\n").unwrap_err(), GdtError::Line { line: 1 });
        assert_eq!(Gdt::parse(b"hello\r\n").unwrap_err(), GdtError::Line { line: 1 });
        assert_eq!(Gdt::parse(&vec![b'\n'; MAX_LINES + 1]).unwrap_err(), GdtError::TooLarge);
        assert_eq!(Gdt::parse(&vec![0; MAX_BYTES + 1]).unwrap_err(), GdtError::TooLarge);
        assert!(Gdt::parse(b"0133000 12\r\n\x1A").is_err(), "and one that says too much");
        assert_eq!(Gdt::parse(b"0123000 12\n\x1A").unwrap().patient.id.expose(), "12");
    }

    #[test]
    fn files_are_named_without_their_folders() {
        let gdt = Gdt::parse(&file(&[(3000, b"1"), (6305, br"C:\export\a b.jpg"), (6305, b"c.png")])).unwrap();
        let names: Vec<&str> = gdt.files.iter().map(|f| f.expose().as_str()).collect();
        assert_eq!(names, ["a b.jpg", "c.png"]);
    }

    #[test]
    fn a_day_is_one_of_the_calendar() {
        assert_eq!(from_day_first("29022024").as_deref(), Some("20240229"));
        for wrong in ["29022023", "00011980", "01131980", "0101198", "01011700", "0101198a", "ü01198"] {
            assert_eq!(from_day_first(wrong), None, "{wrong}");
        }
    }
}
