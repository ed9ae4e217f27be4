//! DICOMDIR: the Basic Directory of a file-set (PS3.3 Annex F, PS3.10 §8).
//!
//! Records are given in the order in which they hang together: a patient, its studies, their series, their instances. Each
//! offset counts from the first byte of the file, preamble and file meta included (PS3.3 F.3.2.2).

use crate::{
    element::{put, put_json, put_text},
    kind::{Kind, NO_DATE, NO_TIME},
};
use serde_json::Value;

/// What a PATIENT record says (PS3.3 F.5.1).
#[derive(Debug, Clone, Default)]
pub struct PatientKeys<'a> {
    /// Patient's Name.
    pub name: &'a str,
    /// Patient ID.
    pub id: &'a str,
    /// Patient's Birth Date, as written.
    pub birth_date: &'a str,
    /// Patient's Sex.
    pub sex: &'a str,
}

/// What a STUDY record says (PS3.3 F.5.2).
#[derive(Debug, Clone, Default)]
pub struct StudyKeys<'a> {
    /// Study Instance UID.
    pub uid: &'a str,
    /// Study Date.
    pub date: &'a str,
    /// Study Time.
    pub time: &'a str,
    /// Study ID.
    pub id: &'a str,
    /// Accession Number.
    pub accession_number: &'a str,
    /// Study Description.
    pub description: &'a str,
}

/// What a SERIES record says (PS3.3 F.5.3).
#[derive(Debug, Clone, Default)]
pub struct SeriesKeys<'a> {
    /// Series Instance UID.
    pub uid: &'a str,
    /// Modality.
    pub modality: &'a str,
    /// Series Number.
    pub number: Option<i64>,
    /// Series Description.
    pub description: &'a str,
}

/// An instance that is listed, and the file that it lies in.
#[derive(Debug, Clone)]
pub struct Listed<'a> {
    /// File ID: folders and file, 8 characters each of `A`–`Z`, `0`–`9` and `_` (PS3.10 §8.2).
    pub file: &'a [String],
    /// SOP Class UID.
    pub sop_class: &'a str,
    /// SOP Instance UID.
    pub instance: &'a str,
    /// Transfer Syntax UID.
    pub transfer_syntax: &'a str,
    /// Instance Number.
    pub number: Option<i64>,
    /// What else its record says: [`Directory::keys_of`] its metadata.
    pub keys: &'a [u8],
}

/// A DICOMDIR that is being written.
#[derive(Debug)]
pub struct Directory {
    out: Vec<u8>,
    /// Where the entities' offsets stand: the first and last root record's.
    roots: [usize; 2],
    /// Where the length of the sequence stands.
    sequence: usize,
    /// Record that is the last of its level so far, by its place.
    last: [Option<usize>; 4],
    /// How many records each level has had since the one above began.
    counts: [u32; 4],
}

impl Directory {
    /// An empty one. `uid` names the file-set; `version` is the implementation's name, at most 16 characters.
    pub fn new(uid: &str, implementation_class: &str, version: &str) -> Self {
        let mut meta = Vec::new();
        put(&mut meta, 0x0002_0001, b"OB", &[0, 1]);
        put(&mut meta, 0x0002_0002, b"UI", MEDIA_STORAGE_DIRECTORY.as_bytes());
        put(&mut meta, 0x0002_0003, b"UI", uid.as_bytes());
        put(&mut meta, 0x0002_0010, b"UI", EXPLICIT_LE.as_bytes());
        put(&mut meta, 0x0002_0012, b"UI", implementation_class.as_bytes());
        put(&mut meta, 0x0002_0013, b"SH", version.as_bytes());
        let mut out = vec![0; 128];
        out.extend_from_slice(b"DICM");
        put(&mut out, 0x0002_0000, b"UL", &u32::try_from(meta.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&meta);
        put(&mut out, 0x0004_1130, b"CS", b"LEADGLASS");
        let first = number(&mut out, 0x0004_1200);
        let last = number(&mut out, 0x0004_1202);
        put(&mut out, 0x0004_1212, b"US", &[0, 0]);
        put(&mut out, 0x0004_1220, b"SQ", b"");
        let sequence = out.len() - 4;
        Self { out, roots: [first, last], sequence, last: [None; 4], counts: [0; 4] }
    }

    /// A patient. A missing Patient ID is made up, because a record must have one.
    pub fn patient(&mut self, keys: &PatientKeys<'_>) {
        let made_up = format!("PT{:06}", self.counts[0] + 1);
        let start = self.begin(0, "PATIENT", None, &[keys.name, keys.id]);
        put_text(&mut self.out, 0x0010_0010, b"PN", keys.name);
        put_text(&mut self.out, 0x0010_0020, b"LO", or(keys.id, &made_up));
        put_text(&mut self.out, 0x0010_0030, b"DA", keys.birth_date);
        put_text(&mut self.out, 0x0010_0040, b"CS", keys.sex);
        self.end(start);
    }

    /// A study of the patient before.
    pub fn study(&mut self, keys: &StudyKeys<'_>) {
        let made_up = (self.counts[1] + 1).to_string();
        let start = self.begin(1, "STUDY", None, &[keys.description, keys.id, keys.accession_number]);
        put_text(&mut self.out, 0x0008_0020, b"DA", or(keys.date, NO_DATE));
        put_text(&mut self.out, 0x0008_0030, b"TM", or(keys.time, NO_TIME));
        put_text(&mut self.out, 0x0008_0050, b"SH", keys.accession_number);
        put_text(&mut self.out, 0x0008_1030, b"LO", keys.description);
        put_text(&mut self.out, 0x0020_000D, b"UI", keys.uid);
        put_text(&mut self.out, 0x0020_0010, b"SH", or(keys.id, &made_up));
        self.end(start);
    }

    /// A series of the study before.
    pub fn series(&mut self, keys: &SeriesKeys<'_>) {
        let number = keys.number.unwrap_or_else(|| i64::from(self.counts[2] + 1)).to_string();
        let start = self.begin(2, "SERIES", None, &[keys.description]);
        put_text(&mut self.out, 0x0008_0060, b"CS", or(keys.modality, "OT"));
        put_text(&mut self.out, 0x0008_103E, b"LO", keys.description);
        put_text(&mut self.out, 0x0020_000E, b"UI", keys.uid);
        put_text(&mut self.out, 0x0020_0011, b"IS", &number);
        self.end(start);
    }

    /// An instance of the series before.
    pub fn instance(&mut self, listed: &Listed<'_>) {
        let number = listed.number.unwrap_or_else(|| i64::from(self.counts[3] + 1)).to_string();
        let kind = Kind::of(listed.sop_class);
        let start = self.begin(3, kind.word(), Some(listed), &[]);
        // Instance Number has its place among the others by its tag.
        let split = split_at(listed.keys, INSTANCE_NUMBER);
        self.out.extend_from_slice(&listed.keys[..split]);
        put_text(&mut self.out, INSTANCE_NUMBER, b"IS", &number);
        self.out.extend_from_slice(&listed.keys[split..]);
        self.end(start);
    }

    /// What a record of this kind says, from the instance's DICOM JSON.
    pub fn keys_of(kind: Kind, metadata: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        for key in kind.keys() {
            let written = put_json(&mut out, key.tag, key.vr, &metadata[format!("{:08X}", key.tag)]);
            if let (false, Some(otherwise)) = (written, key.otherwise) {
                put_text(&mut out, key.tag, key.vr, otherwise);
            }
            if out.len() > MAX_KEYS {
                // A sequence that nobody would expect in a directory: the instance itself holds it.
                return Self::keys_of(kind, &Value::Null);
            }
        }
        if !out.is_ascii() {
            let mut with_charset = Vec::new();
            put_text(&mut with_charset, CHARSET, b"CS", UTF_8);
            with_charset.extend_from_slice(&out);
            return with_charset;
        }
        out
    }

    /// The file.
    pub fn finish(mut self) -> Vec<u8> {
        let len = self.out.len() - self.sequence - 4;
        self.patch(self.sequence, len);
        self.out
    }

    /// The head of a record: what links it, then its character set where its texts need one.
    fn begin(&mut self, level: usize, kind: &str, file: Option<&Listed<'_>>, texts: &[&str]) -> usize {
        let start = self.out.len();
        match self.last[level] {
            Some(before) => self.patch(before + NEXT_AT, start),
            None if level == 0 => self.patch(self.roots[0], start),
            None => {
                if let Some(parent) = self.last[level - 1] {
                    self.patch(parent + LOWER_AT, start);
                }
            }
        }
        if level == 0 {
            self.patch(self.roots[1], start);
        }
        self.last[level] = Some(start);
        self.counts[level] += 1;
        for deeper in level + 1..4 {
            self.last[deeper] = None;
            self.counts[deeper] = 0;
        }
        self.out.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0]);
        number(&mut self.out, 0x0004_1400);
        put(&mut self.out, 0x0004_1410, b"US", &[0xFF, 0xFF]);
        number(&mut self.out, 0x0004_1420);
        put(&mut self.out, 0x0004_1430, b"CS", kind.as_bytes());
        if let Some(listed) = file {
            put(&mut self.out, 0x0004_1500, b"CS", listed.file.join("\\").as_bytes());
            put(&mut self.out, 0x0004_1510, b"UI", listed.sop_class.as_bytes());
            put(&mut self.out, 0x0004_1511, b"UI", listed.instance.as_bytes());
            put(&mut self.out, 0x0004_1512, b"UI", listed.transfer_syntax.as_bytes());
        }
        if !texts.iter().all(|text| text.is_ascii()) {
            put_text(&mut self.out, CHARSET, b"CS", UTF_8);
        }
        start
    }

    fn end(&mut self, start: usize) {
        let len = self.out.len() - start - 8;
        self.patch(start + 4, len);
    }

    fn patch(&mut self, at: usize, number: usize) {
        self.out[at..at + 4].copy_from_slice(&u32::try_from(number).unwrap_or(0).to_le_bytes());
    }
}

/// Writes an offset of 0, and says where its value stands.
fn number(out: &mut Vec<u8>, tag: u32) -> usize {
    put(out, tag, b"UL", &[0; 4]);
    out.len() - 4
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.trim().is_empty() { otherwise } else { text }
}

/// Where the first element of `keys` begins that does not stand before `tag`.
fn split_at(keys: &[u8], tag: u32) -> usize {
    let mut at = 0;
    while let Some(head) = keys.get(at..at + 8) {
        let number = |at: usize| u32::from(u16::from_le_bytes([head[at], head[at + 1]]));
        if number(0) << 16 | number(2) >= tag {
            break;
        }
        at += match &head[4..6] {
            b"SQ" | b"OB" | b"UT" => {
                let Some(len) = keys.get(at + 8..at + 12) else { break };
                12 + u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize
            }
            _ => 8 + number(6) as usize,
        };
    }
    at.min(keys.len())
}

const MEDIA_STORAGE_DIRECTORY: &str = "1.2.840.10008.1.3.10";
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
const INSTANCE_NUMBER: u32 = 0x0020_0013;
const CHARSET: u32 = 0x0008_0005;
const UTF_8: &str = "ISO_IR 192";
/// Where the value of an element stands from its record's first byte: item, then (0004,1400).
const NEXT_AT: usize = 8 + 8;
/// Item, (0004,1400), (0004,1410), then (0004,1420).
const LOWER_AT: usize = 8 + 12 + 10 + 8;
/// Bytes that one instance may add to the directory beside its names.
const MAX_KEYS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn listed<'a>(file: &'a [String], sop_class: &'a str, keys: &'a [u8]) -> Listed<'a> {
        Listed { file, sop_class, instance: "1.2.3", transfer_syntax: "1.2.840.10008.1.2.1", number: Some(7), keys }
    }

    fn u32_at(bytes: &[u8], at: usize) -> usize {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }

    #[test]
    fn every_offset_points_at_its_record() {
        let file = vec!["DICOM".to_owned(), "IM000001".to_owned()];
        let mut directory = Directory::new("2.25.1", "2.25.2", "TEST");
        directory.patient(&PatientKeys { name: "Müller^A", id: "1", ..PatientKeys::default() });
        for _ in 0..2 {
            directory.study(&StudyKeys { uid: "1.2", ..StudyKeys::default() });
            directory.series(&SeriesKeys { uid: "1.2.1", ..SeriesKeys::default() });
            for _ in 0..3 {
                directory.instance(&listed(&file, "1.2.840.10008.5.1.4.1.1.2", &[]));
            }
        }
        let roots = directory.roots;
        let bytes = directory.finish();
        let kind = |at: usize| {
            assert_eq!(bytes[at..at + 4], [0xFE, 0xFF, 0x00, 0xE0], "an item begins at {at}");
            let text = &bytes[at + 8 + 12 + 10 + 12 + 8..];
            String::from_utf8_lossy(&text[..6]).trim().to_owned()
        };
        let walk = |mut at: usize| {
            let mut found = Vec::new();
            while at != 0 {
                found.push(at);
                at = u32_at(&bytes, at + NEXT_AT);
            }
            found
        };
        let patients = walk(u32_at(&bytes, roots[0]));
        assert_eq!(patients.last(), Some(&u32_at(&bytes, roots[1])));
        assert!(patients.iter().all(|at| kind(*at) == "PATIEN") && patients.len() == 1);
        let studies = walk(u32_at(&bytes, patients[0] + LOWER_AT));
        assert!(studies.iter().all(|at| kind(*at) == "STUDY") && studies.len() == 2);
        for study in studies {
            let series = walk(u32_at(&bytes, study + LOWER_AT));
            assert_eq!(series.len(), 1);
            let images = walk(u32_at(&bytes, series[0] + LOWER_AT));
            assert!(images.iter().all(|at| kind(*at) == "IMAGE" && u32_at(&bytes, at + LOWER_AT) == 0));
            assert_eq!(images.len(), 3);
        }
        assert!(bytes.windows(10).any(|w| w == UTF_8.as_bytes()), "letters beyond ASCII say their character set");
    }

    #[test]
    fn a_document_says_its_keys_in_order() {
        let metadata = json!({ "00420012": { "vr": "LO", "Value": ["application/pdf"] } });
        let keys = Directory::keys_of(Kind::Document, &metadata);
        let at = split_at(&keys, INSTANCE_NUMBER);
        assert_eq!(&keys[..4], b"\x08\x00\x23\x00");
        assert_eq!(&keys[at..at + 4], b"\x42\x00\x10\x00", "Instance Number goes between");
    }
}
