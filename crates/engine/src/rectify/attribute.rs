//! The attributes that a person corrects, and what they are to say.

use leadglass_index::StudyRow;
use leadglass_model::Phi;
use leadglass_tap::{CoerceError, Coerced, Tag};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// An attribute that can be corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is the attribute of its name")]
pub enum Attribute {
    PatientName,
    PatientId,
    IssuerOfPatientId,
    PatientBirthDate,
    PatientSex,
    AccessionNumber,
    StudyDescription,
    StudyDate,
    ReferringPhysicianName,
}

/// What attributes are to say; an empty text empties one.
pub type Values = BTreeMap<Attribute, Phi<String>>;

impl Attribute {
    /// Every attribute.
    pub const ALL: [Self; 9] = [
        Self::PatientName,
        Self::PatientId,
        Self::IssuerOfPatientId,
        Self::PatientBirthDate,
        Self::PatientSex,
        Self::AccessionNumber,
        Self::StudyDescription,
        Self::StudyDate,
        Self::ReferringPhysicianName,
    ];
    /// Those that say who the patient is.
    pub(super) const OF_PATIENT: [Self; 5] =
        [Self::PatientName, Self::PatientId, Self::IssuerOfPatientId, Self::PatientBirthDate, Self::PatientSex];

    /// The word in questions and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PatientName => "patient-name",
            Self::PatientId => "patient-id",
            Self::IssuerOfPatientId => "issuer-of-patient-id",
            Self::PatientBirthDate => "patient-birth-date",
            Self::PatientSex => "patient-sex",
            Self::AccessionNumber => "accession-number",
            Self::StudyDescription => "study-description",
            Self::StudyDate => "study-date",
            Self::ReferringPhysicianName => "referring-physician-name",
        }
    }

    const fn tag(self) -> Tag {
        match self {
            Self::PatientName => Tag(0x0010, 0x0010),
            Self::PatientId => Tag(0x0010, 0x0020),
            Self::IssuerOfPatientId => Tag(0x0010, 0x0021),
            Self::PatientBirthDate => Tag(0x0010, 0x0030),
            Self::PatientSex => Tag(0x0010, 0x0040),
            Self::AccessionNumber => Tag(0x0008, 0x0050),
            Self::StudyDescription => Tag(0x0008, 0x1030),
            Self::StudyDate => Tag(0x0008, 0x0020),
            Self::ReferringPhysicianName => Tag(0x0008, 0x0090),
        }
    }

    /// Where it stands in a study's row.
    fn of(self, row: &mut StudyRow) -> &mut Option<Phi<String>> {
        match self {
            Self::PatientName => &mut row.patient_name,
            Self::PatientId => &mut row.patient_id,
            Self::IssuerOfPatientId => &mut row.issuer,
            Self::PatientBirthDate => &mut row.birth_date,
            Self::PatientSex => &mut row.sex,
            Self::AccessionNumber => &mut row.accession_number,
            Self::StudyDescription => &mut row.description,
            Self::StudyDate => &mut row.date,
            Self::ReferringPhysicianName => &mut row.referring_physician,
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No attribute that can be corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no attribute that can be corrected")]
pub struct NoAttribute;

impl FromStr for Attribute {
    type Err = NoAttribute;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|attribute| attribute.as_str() == text).ok_or(NoAttribute)
    }
}

/// The values as a coercer takes them.
pub(super) fn coerced(values: &Values) -> Result<Vec<Coerced>, CoerceError> {
    values.iter().map(|(attribute, value)| Coerced::new(attribute.tag(), value.clone())).collect()
}

/// The row with these values.
pub(super) fn with(mut row: StudyRow, values: &Values) -> StudyRow {
    for (attribute, value) in values {
        *attribute.of(&mut row) = Some(value.clone()).filter(|value| !value.expose().is_empty());
    }
    row
}

/// What a row says of an attribute; nothing is an empty text.
pub(super) fn said(row: &StudyRow, attribute: Attribute) -> Phi<String> {
    attribute.of(&mut row.clone()).clone().unwrap_or_else(|| Phi::new(String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_has_a_word_and_can_be_coerced() {
        for attribute in Attribute::ALL {
            assert_eq!(attribute.as_str().parse(), Ok(attribute));
            let values = Values::from([(attribute, Phi::new(String::new()))]);
            assert_eq!(coerced(&values).unwrap()[0].tag(), attribute.tag());
        }
        assert_eq!("pixel-data".parse::<Attribute>(), Err(NoAttribute));
    }
}
