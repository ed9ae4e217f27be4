//! What an instance says about whom and what it belongs to.

use crate::{Moment, Offset, Text};
use leadglass_model::{SeriesUid, SopInstanceUid, StudyUid};

/// Patient, study, series, and what is known about the taking.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whom it shows.
    pub patient: Patient,
    /// The study that it goes into.
    pub study: Study,
    /// The series that it goes into.
    pub series: Series,
    /// (0008,0018).
    pub instance: SopInstanceUid,
    /// Its number in the series, from 1.
    pub number: u32,
    /// When it came in; `None` where the same bytes sent again must become the same data set. Then nothing that changes
    /// with time or with our version is said.
    pub received: Option<Moment>,
    /// The sender's distance from UTC, which holds for all times of the record; `None` where nobody knows it.
    pub place: Option<Offset>,
    /// When the picture was taken.
    pub taken: Option<Moment>,
}

/// PS3.3 C.7.1.1.
#[derive(Debug, Clone, Default)]
pub struct Patient {
    /// (0010,0020).
    pub id: Text,
    /// (0010,0021).
    pub issuer: Text,
    /// (0010,0010).
    pub name: Text,
    /// (0010,0030).
    pub birth_date: Text,
    /// (0010,0040).
    pub sex: Sex,
}

/// (0010,0040).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sex {
    /// Not said.
    #[default]
    Unknown,
    /// `F`.
    Female,
    /// `M`.
    Male,
    /// `O`.
    Other,
}

/// PS3.3 C.7.2.1.
#[derive(Debug, Clone)]
pub struct Study {
    /// (0020,000D).
    pub uid: StudyUid,
    /// (0008,0020).
    pub date: Text,
    /// (0008,0030).
    pub time: Text,
    /// (0020,0010).
    pub id: Text,
    /// (0008,0050).
    pub accession_number: Text,
    /// (0008,0090).
    pub referring_physician: Text,
    /// (0008,1030).
    pub description: Text,
}

/// PS3.3 C.7.3.1. The modality follows from what was uploaded.
#[derive(Debug, Clone)]
pub struct Series {
    /// (0020,000E).
    pub uid: SeriesUid,
    /// (0020,0011).
    pub number: u32,
    /// (0008,103E), and the title of a document.
    pub description: Text,
    /// (0018,0015).
    pub body_part: Text,
    /// (0020,0060).
    pub laterality: Option<Laterality>,
}

/// Which of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Laterality {
    /// The patient's left.
    Left,
    /// The patient's right.
    Right,
}

impl Sex {
    /// Reads `F`, `M`, `O` or nothing, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "" => Some(Self::Unknown),
            "F" | "f" => Some(Self::Female),
            "M" | "m" => Some(Self::Male),
            "O" | "o" => Some(Self::Other),
            _ => None,
        }
    }

    pub(crate) const fn dicom(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Female => "F",
            Self::Male => "M",
            Self::Other => "O",
        }
    }
}

impl Laterality {
    /// Reads `L` or `R`; `Some(None)` for nothing.
    pub fn parse(text: &str) -> Option<Option<Self>> {
        match text.trim() {
            "" => Some(None),
            "L" | "l" => Some(Some(Self::Left)),
            "R" | "r" => Some(Some(Self::Right)),
            _ => None,
        }
    }

    pub(crate) const fn dicom(self) -> &'static str {
        match self {
            Self::Left => "L",
            Self::Right => "R",
        }
    }
}
