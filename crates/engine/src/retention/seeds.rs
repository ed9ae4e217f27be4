//! Rules to begin with, by country: what was found in public sources, for a lawyer to confirm. None is in force as it stands.

use super::rule::{RecordClass, Rule, Since};

/// The seeds of a country; empty where a house has to find its own.
pub(super) fn of(country: &str) -> Vec<Rule> {
    all().into_iter().filter(|rule| rule.country == country).collect()
}

/// All of them.
pub(super) fn all() -> Vec<Rule> {
    SEEDS.iter().map(Seed::rule).collect()
}

struct Seed {
    id: &'static str,
    modalities: &'static [&'static str],
    years: u16,
    since: Since,
    minors_until: Option<u8>,
    source: &'static str,
}

impl Seed {
    fn rule(&self) -> Rule {
        Rule {
            id: self.id.to_owned(),
            country: self.id[..2].to_ascii_uppercase(),
            class: RecordClass {
                modalities: self.modalities.iter().map(|&modality| modality.to_owned()).collect(),
                ..RecordClass::default()
            },
            years: self.years,
            since: self.since,
            minors_until: self.minors_until,
            source: self.source.to_owned(),
            confirmed: None,
        }
    }
}

/// Modalities that make pictures with X-rays (PS3.3 §C.7.3.1.1.1).
const X_RAY: &[&str] = &["CR", "CT", "DX", "IO", "MG", "PX", "RF", "RG", "XA"];
/// Of radiotherapy.
const TREATMENT: &[&str] = &["RTDOSE", "RTIMAGE", "RTPLAN", "RTRECORD", "RTSTRUCT"];

const SEEDS: [Seed; 9] = [
    Seed {
        id: "de-x-ray",
        modalities: X_RAY,
        years: 10,
        since: Since::LastExamination,
        minors_until: Some(28),
        source: "§ 85 (2) StrlSchG",
    },
    Seed {
        id: "de-radiotherapy",
        modalities: TREATMENT,
        years: 30,
        since: Since::LastExamination,
        minors_until: None,
        source: "§ 85 (2) StrlSchG",
    },
    Seed {
        id: "de-treatment",
        modalities: &[],
        years: 10,
        since: Since::LastExamination,
        minors_until: None,
        source: "§ 630f (3) BGB",
    },
    Seed {
        id: "gb-record",
        modalities: &[],
        years: 8,
        since: Since::LastExamination,
        minors_until: Some(26),
        source: "NHS Records Management Code",
    },
    Seed {
        id: "it-radiology",
        modalities: &[],
        years: 10,
        since: Since::Examination,
        minors_until: None,
        source: "D.M. 14 febbraio 1997",
    },
    Seed {
        id: "es-record",
        modalities: &[],
        years: 5,
        since: Since::LastExamination,
        minors_until: None,
        source: "Ley 41/2002, art. 17.1; regions may ask for more",
    },
    Seed {
        id: "nl-file",
        modalities: &[],
        years: 20,
        since: Since::LastExamination,
        minors_until: None,
        source: "art. 7:454 (3) BW",
    },
    Seed {
        id: "be-file",
        modalities: &[],
        years: 30,
        since: Since::LastExamination,
        minors_until: None,
        source: "rules on hospital files",
    },
    Seed {
        id: "fr-file",
        modalities: &[],
        years: 20,
        since: Since::LastExamination,
        minors_until: Some(28),
        source: "CSP, art. R1112-7",
    },
];
