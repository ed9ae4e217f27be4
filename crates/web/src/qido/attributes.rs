//! The attributes that QIDO-RS knows here: by keyword, by tag, and from which level down they are matched.

/// The levels of the information model (PS3.4 §C.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Study, with its patient.
    Study,
    Series,
    Instance,
}

/// One attribute (PS3.6 §6).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) tag: u32,
    pub(crate) keyword: &'static str,
    /// Where it belongs; searches above it do not know it as a key. `None`: it is not matched.
    pub(crate) key: Option<Level>,
    /// From which level down it is answered, or nowhere.
    told: Option<Level>,
}

impl Known {
    /// Whether answers of this level have it, where it is there.
    pub(crate) fn is_told(&self, level: Level) -> bool {
        match self.tag {
            // Counts belong to what they count in.
            0x0008_0061 | 0x0020_1206 | 0x0020_1208 => level == Level::Study,
            0x0020_1209 => level == Level::Series,
            _ => self.told.is_some_and(|told| told <= level),
        }
    }
}

/// The attribute with this keyword or tag (eight hexadecimal digits).
pub(crate) fn find(name: &str) -> Option<&'static Known> {
    match tag(name) {
        Some(tag) => KNOWN.iter().find(|known| known.tag == tag),
        None => KNOWN.iter().find(|known| known.keyword == name),
    }
}

/// The attribute that this path through a sequence names, where it is matched (PS3.18 §8.3.4.1): an item of Request
/// Attributes Sequence, which belongs to series.
pub(crate) fn find_inside(path: &str) -> Option<u32> {
    let (sequence, inner) = path.split_once('.')?;
    let (sequence, inner) = (find(sequence)?, find(inner)?);
    (sequence.tag == 0x0040_0275 && matches!(inner.tag, 0x0040_0009 | 0x0040_1001)).then_some(inner.tag)
}

/// The keyword of a tag.
pub(crate) fn keyword(tag: u32) -> Option<&'static str> {
    KNOWN.iter().find(|known| known.tag == tag).map(|known| known.keyword)
}

/// Eight hexadecimal digits.
pub(crate) fn tag(name: &str) -> Option<u32> {
    let is_tag = name.len() == 8 && name.bytes().all(|b| b.is_ascii_hexdigit());
    is_tag.then(|| u32::from_str_radix(name, 16).ok()).flatten()
}

const fn key(level: Level, tag: u32, keyword: &'static str) -> Known {
    Known { tag, keyword, key: Some(level), told: Some(level) }
}

const fn told(level: Level, tag: u32, keyword: &'static str) -> Known {
    Known { tag, keyword, key: None, told: Some(level) }
}

const fn nowhere(tag: u32, keyword: &'static str) -> Known {
    Known { tag, keyword, key: None, told: None }
}

const KNOWN: [Known; 43] = [
    told(Level::Study, 0x0008_0005, "SpecificCharacterSet"),
    key(Level::Instance, 0x0008_0016, "SOPClassUID"),
    key(Level::Instance, 0x0008_0018, "SOPInstanceUID"),
    key(Level::Study, 0x0008_0020, "StudyDate"),
    key(Level::Series, 0x0008_0021, "SeriesDate"),
    key(Level::Study, 0x0008_0030, "StudyTime"),
    key(Level::Series, 0x0008_0031, "SeriesTime"),
    key(Level::Study, 0x0008_0050, "AccessionNumber"),
    told(Level::Study, 0x0008_0056, "InstanceAvailability"),
    key(Level::Series, 0x0008_0060, "Modality"),
    key(Level::Study, 0x0008_0061, "ModalitiesInStudy"),
    key(Level::Study, 0x0008_0090, "ReferringPhysicianName"),
    told(Level::Study, 0x0008_0201, "TimezoneOffsetFromUTC"),
    key(Level::Study, 0x0008_1030, "StudyDescription"),
    key(Level::Series, 0x0008_103E, "SeriesDescription"),
    told(Level::Study, 0x0008_1190, "RetrieveURL"),
    told(Level::Instance, 0x0008_3002, "AvailableTransferSyntaxUID"),
    key(Level::Study, 0x0010_0010, "PatientName"),
    key(Level::Study, 0x0010_0020, "PatientID"),
    key(Level::Study, 0x0010_0021, "IssuerOfPatientID"),
    key(Level::Study, 0x0010_0030, "PatientBirthDate"),
    key(Level::Study, 0x0010_0040, "PatientSex"),
    key(Level::Series, 0x0018_0015, "BodyPartExamined"),
    key(Level::Study, 0x0020_000D, "StudyInstanceUID"),
    key(Level::Series, 0x0020_000E, "SeriesInstanceUID"),
    key(Level::Study, 0x0020_0010, "StudyID"),
    key(Level::Series, 0x0020_0011, "SeriesNumber"),
    key(Level::Instance, 0x0020_0013, "InstanceNumber"),
    key(Level::Series, 0x0020_0060, "Laterality"),
    told(Level::Study, 0x0020_1206, "NumberOfStudyRelatedSeries"),
    told(Level::Study, 0x0020_1208, "NumberOfStudyRelatedInstances"),
    told(Level::Study, 0x0020_1209, "NumberOfSeriesRelatedInstances"),
    key(Level::Instance, 0x0028_0008, "NumberOfFrames"),
    key(Level::Instance, 0x0028_0010, "Rows"),
    key(Level::Instance, 0x0028_0011, "Columns"),
    key(Level::Instance, 0x0028_0100, "BitsAllocated"),
    key(Level::Series, 0x0040_0244, "PerformedProcedureStepStartDate"),
    key(Level::Series, 0x0040_0245, "PerformedProcedureStepStartTime"),
    told(Level::Series, 0x0040_0275, "RequestAttributesSequence"),
    // Of its items, and nowhere else.
    nowhere(0x0040_0009, "ScheduledProcedureStepID"),
    nowhere(0x0040_1001, "RequestedProcedureID"),
    // Asked for by worklists and viewers, kept nowhere here: an empty value is fine, another one is refused.
    nowhere(0x0008_0062, "SOPClassesInStudy"),
    nowhere(0x0010_4000, "PatientComments"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_is_there_once() {
        for known in &KNOWN {
            assert_eq!(
                KNOWN.iter().filter(|k| k.tag == known.tag || k.keyword == known.keyword).count(),
                1,
                "{known:?}"
            );
            assert_eq!(find(known.keyword).map(|k| k.tag), Some(known.tag));
            assert_eq!(find(&format!("{:08X}", known.tag)).map(|k| k.keyword), Some(known.keyword));
            assert_eq!(find(&format!("{:08x}", known.tag)).map(|k| k.keyword), Some(known.keyword));
        }
    }
}
