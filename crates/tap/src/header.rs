//! The identifying attributes of an instance, and those an index shows.
//!
//! Only elements of the data set's top level count (a referenced image's patient is not this one's), and only the first
//! of each: a second Patient ID further down changes nothing.

use crate::{Charset, Element, Tag, text};
use leadglass_model::{Phi, SeriesUid, SopClassUid, SopInstanceUid, StudyUid};

/// What an instance says of itself. Text is UTF-8, without padding; `None` means absent, empty or not understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceHeader {
    /// (0008,0005) as written: all values, separated by backslashes.
    pub specific_character_set: Option<String>,
    /// (0008,0016).
    pub sop_class: Option<SopClassUid>,
    /// (0008,0018).
    pub sop_instance_uid: Option<SopInstanceUid>,
    /// (0008,0201).
    pub timezone_offset: Option<String>,
    /// (0008,0050).
    pub accession_number: Option<Phi<String>>,
    /// (0008,0060).
    pub modality: Option<String>,
    /// (0008,0064): how a photograph or scan was made digital.
    pub conversion_type: Option<String>,
    /// (0008,0070).
    pub manufacturer: Option<String>,
    /// (0008,0080).
    pub institution_name: Option<Phi<String>>,
    /// (0008,0090), component groups separated by `=`.
    pub referring_physician: Option<Phi<String>>,
    /// (0008,1010).
    pub station_name: Option<Phi<String>>,

    /// (0010,0010), component groups separated by `=`.
    pub patient_name: Option<Phi<String>>,
    /// (0010,0020).
    pub patient_id: Option<Phi<String>>,
    /// (0010,0021).
    pub issuer_of_patient_id: Option<Phi<String>>,
    /// (0010,0030), `YYYYMMDD` as written.
    pub birth_date: Option<Phi<String>>,
    /// (0010,0040).
    pub sex: Option<Phi<String>>,
    /// (0010,1000) and the Patient IDs in (0010,1002), at most [`InstanceHeader::OTHER_IDS`].
    pub other_patient_ids: Vec<Phi<String>>,

    /// (0020,000D).
    pub study_uid: Option<StudyUid>,
    /// (0020,0010).
    pub study_id: Option<Phi<String>>,
    /// (0008,0020), as written.
    pub study_date: Option<Phi<String>>,
    /// (0008,0030), as written.
    pub study_time: Option<Phi<String>>,
    /// (0008,1030).
    pub study_description: Option<Phi<String>>,

    /// (0020,000E).
    pub series_uid: Option<SeriesUid>,
    /// (0020,0011).
    pub series_number: Option<i64>,
    /// (0008,0021), as written.
    pub series_date: Option<Phi<String>>,
    /// (0008,0031), as written.
    pub series_time: Option<Phi<String>>,
    /// (0008,103E).
    pub series_description: Option<Phi<String>>,
    /// (0018,0015).
    pub body_part: Option<String>,
    /// (0020,0060), else (0020,0062).
    pub laterality: Option<String>,
    /// (0018,1030).
    pub protocol_name: Option<Phi<String>>,
    /// (0040,0244), as written.
    pub performed_date: Option<Phi<String>>,
    /// (0040,0245), as written.
    pub performed_time: Option<Phi<String>>,
    /// Items of (0040,0275), at most [`InstanceHeader::REQUESTS`].
    pub requests: Vec<RequestIds>,

    /// (0020,0013).
    pub instance_number: Option<i64>,
    /// (0008,0023), as written.
    pub content_date: Option<Phi<String>>,
    /// (0008,0033), as written.
    pub content_time: Option<Phi<String>>,
    /// (0008,0022), as written.
    pub acquisition_date: Option<Phi<String>>,
    /// (0008,0032), as written.
    pub acquisition_time: Option<Phi<String>>,
    /// (0008,0008), all values.
    pub image_type: Option<String>,
    /// (0028,0010).
    pub rows: Option<u16>,
    /// (0028,0011).
    pub columns: Option<u16>,
    /// (0028,0002).
    pub samples_per_pixel: Option<u16>,
    /// (0028,0004).
    pub photometric_interpretation: Option<String>,
    /// (0028,0008).
    pub number_of_frames: Option<u32>,
    /// (0028,0100).
    pub bits_allocated: Option<u16>,
    /// (0028,0101).
    pub bits_stored: Option<u16>,
    /// (0028,0301).
    pub burned_in_annotation: Option<String>,
}

/// What an item of Request Attributes Sequence (0040,0275) names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestIds {
    /// (0040,0009).
    pub scheduled_step: Option<Phi<String>>,
    /// (0040,1001).
    pub procedure: Option<Phi<String>>,
}

impl InstanceHeader {
    /// Other Patient IDs that are kept.
    pub const OTHER_IDS: usize = 16;
    /// Requests that are kept.
    pub const REQUESTS: usize = 8;

    /// Whether the tap keeps this top-level element.
    pub(crate) fn wants(tag: Tag) -> bool {
        matches!(
            tag,
            Tag(
                0x0008,
                0x0005
                    | 0x0008
                    | 0x0016
                    | 0x0018
                    | 0x0020..=0x0023
                    | 0x0030..=0x0033
                    | 0x0050
                    | 0x0060
                    | 0x0064
                    | 0x0070
                    | 0x0080
                    | 0x0090
                    | 0x0201
                    | 0x1010
                    | 0x1030
                    | 0x103E
            ) | Tag(0x0010, 0x0010 | 0x0020 | 0x0021 | 0x0030 | 0x0040 | 0x1000)
                | Tag(0x0018, 0x0015 | 0x1030)
                | Tag(0x0020, 0x000D | 0x000E | 0x0010 | 0x0011 | 0x0013 | 0x0060 | 0x0062)
                | Tag(0x0040, 0x0244 | 0x0245)
                | Tag(0x0028, 0x0002 | 0x0004 | 0x0008 | 0x0010 | 0x0011 | 0x0100 | 0x0101 | 0x0301)
        )
    }

    /// Takes a top-level value. Says whether it could be understood.
    pub(crate) fn set(&mut self, element: &Element, value: &[u8], charset: &Charset) -> bool {
        let decoded = charset.decode(value);
        let text = || Some(trim(&decoded.text)).filter(|t| !t.is_empty()).map(str::to_owned);
        let first = || text().and_then(|t| t.split('\\').next().map(|t| t.trim().to_owned())).filter(|t| !t.is_empty());
        // Empty component groups at the end say nothing.
        let name = || first().map(|n| n.trim_end_matches('=').to_owned()).filter(|n| !n.is_empty());
        let short = || text::u16_first(value, element.big_endian);
        let integer = || first().and_then(|t| text::integer(&t));
        let mut understood = decoded.clean;
        match element.tag {
            Tag(0x0008, 0x0005) => put(&mut self.specific_character_set, text()),
            Tag(0x0008, 0x0008) => put(&mut self.image_type, text()),
            Tag(0x0008, 0x0016) => understood = uid(&mut self.sop_class, text(), |t| SopClassUid::parse(t).ok()),
            Tag(0x0008, 0x0018) => {
                understood = uid(&mut self.sop_instance_uid, text(), |t| SopInstanceUid::parse(t).ok());
            }
            Tag(0x0008, 0x0020) => phi(&mut self.study_date, first()),
            Tag(0x0008, 0x0021) => phi(&mut self.series_date, first()),
            Tag(0x0008, 0x0022) => phi(&mut self.acquisition_date, first()),
            Tag(0x0008, 0x0023) => phi(&mut self.content_date, first()),
            Tag(0x0008, 0x0030) => phi(&mut self.study_time, first()),
            Tag(0x0008, 0x0031) => phi(&mut self.series_time, first()),
            Tag(0x0008, 0x0032) => phi(&mut self.acquisition_time, first()),
            Tag(0x0008, 0x0033) => phi(&mut self.content_time, first()),
            Tag(0x0008, 0x0050) => phi(&mut self.accession_number, first()),
            Tag(0x0008, 0x0060) => put(&mut self.modality, first()),
            Tag(0x0008, 0x0064) => put(&mut self.conversion_type, first()),
            Tag(0x0008, 0x0070) => put(&mut self.manufacturer, first()),
            Tag(0x0008, 0x0080) => phi(&mut self.institution_name, first()),
            Tag(0x0008, 0x0090) => phi(&mut self.referring_physician, name()),
            Tag(0x0008, 0x0201) => put(&mut self.timezone_offset, first()),
            Tag(0x0008, 0x1010) => phi(&mut self.station_name, first()),
            Tag(0x0008, 0x1030) => phi(&mut self.study_description, first()),
            Tag(0x0008, 0x103E) => phi(&mut self.series_description, first()),
            Tag(0x0010, 0x0010) => phi(&mut self.patient_name, name()),
            // Some sites put a backslash into Patient ID, which has one value: it stays whole.
            Tag(0x0010, 0x0020) => phi(&mut self.patient_id, text()),
            Tag(0x0010, 0x0021) => phi(&mut self.issuer_of_patient_id, first()),
            Tag(0x0010, 0x0030) => phi(&mut self.birth_date, first()),
            Tag(0x0010, 0x0040) => phi(&mut self.sex, first()),
            Tag(0x0010, 0x1000) => {
                for id in text().iter().flat_map(|t| t.split('\\')) {
                    self.add_other_id(id);
                }
            }
            Tag(0x0018, 0x0015) => put(&mut self.body_part, first()),
            Tag(0x0018, 0x1030) => phi(&mut self.protocol_name, first()),
            Tag(0x0020, 0x000D) => understood = uid(&mut self.study_uid, text(), |t| StudyUid::parse(t).ok()),
            Tag(0x0020, 0x000E) => understood = uid(&mut self.series_uid, text(), |t| SeriesUid::parse(t).ok()),
            Tag(0x0020, 0x0010) => phi(&mut self.study_id, first()),
            Tag(0x0020, 0x0011) => put(&mut self.series_number, integer()),
            Tag(0x0020, 0x0013) => put(&mut self.instance_number, integer()),
            Tag(0x0020, 0x0060 | 0x0062) => put(&mut self.laterality, first()),
            Tag(0x0040, 0x0244) => phi(&mut self.performed_date, first()),
            Tag(0x0040, 0x0245) => phi(&mut self.performed_time, first()),
            Tag(0x0028, 0x0002) => put(&mut self.samples_per_pixel, short()),
            Tag(0x0028, 0x0004) => put(&mut self.photometric_interpretation, first()),
            Tag(0x0028, 0x0008) => put(&mut self.number_of_frames, integer().and_then(|n| u32::try_from(n).ok())),
            Tag(0x0028, 0x0010) => put(&mut self.rows, short()),
            Tag(0x0028, 0x0011) => put(&mut self.columns, short()),
            Tag(0x0028, 0x0100) => put(&mut self.bits_allocated, short()),
            Tag(0x0028, 0x0101) => put(&mut self.bits_stored, short()),
            Tag(0x0028, 0x0301) => put(&mut self.burned_in_annotation, first()),
            _ => {}
        }
        understood
    }

    /// A Patient ID out of (0010,1000) or an item of (0010,1002).
    pub(crate) fn add_other_id(&mut self, id: &str) {
        let id = trim(id);
        if !id.is_empty() && self.other_patient_ids.len() < Self::OTHER_IDS {
            self.other_patient_ids.push(Phi::new(id.to_owned()));
        }
    }
}

impl RequestIds {
    /// Takes a value of the item.
    pub(crate) fn set(&mut self, tag: Tag, text: &str) {
        let value = Some(trim(text).to_owned()).filter(|text| !text.is_empty());
        match tag {
            Tag(0x0040, 0x0009) => phi(&mut self.scheduled_step, value),
            Tag(0x0040, 0x1001) => phi(&mut self.procedure, value),
            _ => {}
        }
    }

    /// Whether it names nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.scheduled_step.is_none() && self.procedure.is_none()
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\0'])
}

fn put<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn phi(slot: &mut Option<Phi<String>>, value: Option<String>) {
    put(slot, value.map(Phi::new));
}

fn uid<T>(slot: &mut Option<T>, value: Option<String>, parse: impl Fn(&str) -> Option<T>) -> bool {
    let Some(value) = value else { return true };
    let parsed = parse(&value);
    let understood = parsed.is_some();
    put(slot, parsed);
    understood
}
