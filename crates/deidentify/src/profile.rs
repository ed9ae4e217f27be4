//! What becomes of each attribute: the standard's table and the options that were chosen.
//!
//! Source: PS3.15 Table E.1-1, carried over as facts into `data/profile.tsv`; §E.1.1 for the actions, §E.3 for the
//! options.

use leadglass_tap::{Tag, Vr};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, str::FromStr, sync::LazyLock};

/// Of which edition the table is.
pub const EDITION: &str = "PS3.15 2026c, options 2024e";

/// An option of the profile (PS3.15 §E.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Regions of the pixels are blanked.
    CleanPixels,
    /// Descriptions stay as far as they consist of words of the trade.
    CleanDescriptors,
    /// Dates stay as they are.
    FullDates,
    /// Dates stay, moved by some days, the same ones for all of a patient.
    ModifiedDates,
    /// Age, sex, size, weight and the like stay.
    PatientCharacteristics,
    /// What the device is stays.
    DeviceIdentity,
    /// Which institution it was stays.
    InstitutionIdentity,
    /// UIDs stay.
    Uids,
}

/// The options that were chosen, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(Vec<Choice>);

impl Options {
    /// These, in their order.
    pub fn of(choices: &[Choice]) -> Self {
        let mut choices = choices.to_vec();
        choices.sort_unstable();
        choices.dedup();
        Self(choices)
    }

    /// Whether one is among them.
    pub fn has(&self, choice: Choice) -> bool {
        self.0.contains(&choice)
    }

    /// All of them.
    pub fn choices(&self) -> &[Choice] {
        &self.0
    }
}

/// What people ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// For studies over time: days moved, descriptions cleaned.
    Research,
    /// For showing cases: age, sex and the like stay.
    Teaching,
    /// For whoever looks into a fault of a device: no pixels at all.
    VendorSupport,
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(text: &str) -> Result<Self, UnknownPreset> {
        match text {
            "research" => Ok(Self::Research),
            "teaching" => Ok(Self::Teaching),
            "vendor-support" => Ok(Self::VendorSupport),
            _ => Err(UnknownPreset),
        }
    }
}

/// A word that is no preset's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the presets are research, teaching and vendor-support")]
pub struct UnknownPreset;

impl Preset {
    /// Its options.
    pub fn options(self) -> Options {
        match self {
            Self::Research => Options::of(&[Choice::ModifiedDates, Choice::CleanDescriptors]),
            Self::Teaching => Options::of(&[Choice::PatientCharacteristics]),
            Self::VendorSupport => Options::default(),
        }
    }

    /// Whether pixels go with it.
    pub const fn has_pixels(self) -> bool {
        !matches!(self, Self::VendorSupport)
    }

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Research => "research",
            Self::Teaching => "teaching",
            Self::VendorSupport => "vendor-support",
        }
    }
}

/// What becomes of an attribute that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Keep,
    Remove,
    Empty,
    /// A made-up value.
    Dummy,
    /// Another UID. Of a sequence: its items stay, each attribute of them treated by the table.
    Uid,
    /// A date moved, a time as it is, if it is one.
    Move,
    /// Only words of the trade; nothing, where there are none.
    Words,
    /// The same of what may not be empty: made up, where there are none.
    SomeWords,
    /// An age, if it is one; above 89 years, 90.
    Age,
}

/// The table under the options that were chosen.
#[derive(Debug, Clone)]
pub struct Profile {
    options: Options,
}

impl Profile {
    /// The Basic Profile with these options.
    pub const fn new(options: Options) -> Self {
        Self { options }
    }

    /// The options.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// What the table says of an attribute; `None` where it has no word on it.
    pub(crate) fn of_table(&self, tag: Tag, vr: Vr) -> Option<Action> {
        let row = TABLE.get(&tag.number())?;
        let kept = row.options.iter().any(|(choice, said)| *said == Said::Keep && self.options.has(*choice));
        if kept {
            return Some(if &vr.0 == b"AS" { Action::Age } else { Action::Keep });
        }
        let cleaned = row.options.iter().find(|(choice, said)| *said == Said::Clean && self.options.has(*choice));
        Some(match cleaned {
            Some((Choice::ModifiedDates, _)) if matches!(&vr.0, b"DA" | b"TM" | b"DT" | b"SH") => Action::Move,
            Some((Choice::CleanDescriptors, _)) if vr == Vr::SQ => Action::Uid,
            Some((Choice::CleanDescriptors, _)) if is_words(vr) && row.basic == Action::Dummy => Action::SomeWords,
            Some((Choice::CleanDescriptors, _)) if is_words(vr) => Action::Words,
            _ => row.basic,
        })
    }

    /// What becomes of an attribute that the table does not have.
    pub(crate) fn of_others(&self, tag: Tag, vr: Vr) -> Action {
        match &vr.0 {
            b"PN" => Action::Empty,
            // Free text of any length, and nobody has thought about what stands in it.
            b"LT" | b"ST" | b"UT" if self.options.has(Choice::CleanDescriptors) => Action::Words,
            b"LT" | b"ST" | b"UT" => Action::Dummy,
            b"UR" | b"AE" => Action::Remove,
            b"UI" if names_a_kind(tag) || self.options.has(Choice::Uids) => Action::Keep,
            b"UI" => Action::Uid,
            b"DA" | b"DT" | b"TM" if self.options.has(Choice::FullDates) => Action::Keep,
            b"DA" | b"DT" | b"TM" if self.options.has(Choice::ModifiedDates) => Action::Move,
            b"DA" | b"DT" | b"TM" => Action::Dummy,
            _ => Action::Keep,
        }
    }
}

const fn is_words(vr: Vr) -> bool {
    matches!(&vr.0, b"LO" | b"LT" | b"SH" | b"ST" | b"UC" | b"UT")
}

/// UIDs that are the same for everybody: SOP classes, transfer syntaxes, coding schemes, context groups, templates.
const fn names_a_kind(tag: Tag) -> bool {
    matches!(
        (tag.0, tag.1),
        (0x0008, 0x0016 | 0x001A | 0x001B | 0x0062 | 0x010C | 0x010D | 0x0117 | 0x0118 | 0x1150 | 0x115A | 0x3002)
            | (0x0034, 0x0003)
            | (0x0400, 0x0010 | 0x0510)
            | (0x3010, 0x0052 | 0x0053)
    )
}

/// Referenced Study Sequence.
const REFERENCED_STUDIES: Tag = Tag(0x0008, 0x1110);

struct Row {
    basic: Action,
    options: Vec<(Choice, Said)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Keep,
    Clean,
}

static TABLE: LazyLock<HashMap<u32, Row>> = LazyLock::new(|| {
    let lines = include_str!("../data/profile.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(row).collect()
});

/// A line of the table. Lines that do not parse would be attributes that nobody treats: a test counts them.
fn row(line: &str) -> Option<(u32, Row)> {
    let mut columns = line.split('\t');
    let (group, element) = columns.next()?.split_once(',')?;
    let tag = Tag(u16::from_str_radix(group, 16).ok()?, u16::from_str_radix(element, 16).ok()?);
    let _name = columns.next()?;
    // The last letter holds for every type of attribute.
    let basic = match columns.next()?.rsplit('/').next()? {
        // Where this sequence may be empty, it may hold made-up references too; in most objects it may not be empty.
        _ if tag == REFERENCED_STUDIES => Action::Uid,
        "X" => Action::Remove,
        "Z" => Action::Empty,
        "D" => Action::Dummy,
        "U" | "U*" => Action::Uid,
        _ => return None,
    };
    let options = columns.next().unwrap_or_default().split_ascii_whitespace().filter_map(|option| {
        let (choice, said) = option.split_once('=')?;
        let choice = match choice {
            "uids" => Choice::Uids,
            "device" => Choice::DeviceIdentity,
            "institution" => Choice::InstitutionIdentity,
            "patient" => Choice::PatientCharacteristics,
            "full-dates" => Choice::FullDates,
            "modified-dates" => Choice::ModifiedDates,
            "descriptors" => Choice::CleanDescriptors,
            // Structured content and graphics are not offered: the profile's own action holds.
            _ => return None,
        };
        Some((choice, if said == "K" { Said::Keep } else { Said::Clean }))
    });
    Some((tag.number(), Row { basic, options: options.collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(preset: Preset, tag: Tag, vr: &[u8; 2]) -> Option<Action> {
        Profile::new(preset.options()).of_table(tag, Vr(*vr))
    }

    #[test]
    fn every_line_of_the_table_is_understood() {
        let lines = include_str!("../data/profile.tsv").lines().filter(|line| !line.starts_with('#'));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(lines.len(), 652);
        assert!(lines.iter().all(|line| row(line).is_some()));
        assert_eq!(TABLE.len(), lines.len());
    }

    #[test]
    fn the_last_letter_of_a_choice_is_taken() {
        let table = Profile::new(Options::default());
        let of = |group, element, vr: &[u8; 2]| table.of_table(Tag(group, element), Vr(*vr));
        assert_eq!(of(0x0010, 0x0010, b"PN"), Some(Action::Empty));
        assert_eq!(of(0x0008, 0x1040, b"LO"), Some(Action::Remove));
        assert_eq!(of(0x0008, 0x0018, b"UI"), Some(Action::Uid));
        assert_eq!(of(0x0008, 0x0012, b"DA"), Some(Action::Dummy), "X/D");
        assert_eq!(of(0x0008, 0x1140, b"SQ"), Some(Action::Uid), "X/Z/U*");
        assert_eq!(of(0x0028, 0x0010, b"US"), None);
    }

    #[test]
    fn options_say_otherwise() {
        let study_date = Tag(0x0008, 0x0020);
        assert_eq!(action(Preset::Research, study_date, b"DA"), Some(Action::Move));
        assert_eq!(action(Preset::Teaching, study_date, b"DA"), Some(Action::Empty));
        assert_eq!(
            action(Preset::Research, Tag(0x0010, 0x0030), b"DA"),
            Some(Action::Empty),
            "a birth date never stays"
        );
        assert_eq!(action(Preset::Research, Tag(0x0008, 0x1030), b"LO"), Some(Action::Words));
        assert_eq!(action(Preset::Teaching, Tag(0x0010, 0x1010), b"AS"), Some(Action::Age));
        assert_eq!(action(Preset::Teaching, Tag(0x0010, 0x0040), b"CS"), Some(Action::Keep));
        assert_eq!(action(Preset::VendorSupport, Tag(0x0010, 0x0040), b"CS"), Some(Action::Empty));
        let uids = Profile::new(Options::of(&[Choice::Uids]));
        assert_eq!(uids.of_table(Tag(0x0008, 0x0018), Vr(*b"UI")), Some(Action::Keep));
    }

    #[test]
    fn what_the_table_does_not_have_is_treated_by_its_kind() {
        let table = Profile::new(Options::default());
        let of = |group, element, vr: &[u8; 2]| table.of_others(Tag(group, element), Vr(*vr));
        assert_eq!(of(0x0008, 0x0016, b"UI"), Action::Keep);
        assert_eq!(of(0x0008, 0x1167, b"UI"), Action::Uid);
        assert_eq!(of(0x0014, 0x0104, b"PN"), Action::Empty);
        assert_eq!(of(0x0028, 0x7FE0, b"UR"), Action::Remove);
        assert_eq!(of(0x0040, 0xA160, b"UT"), Action::Dummy);
        assert_eq!(of(0x0014, 0x0102, b"DA"), Action::Dummy);
        assert_eq!(of(0x0028, 0x0010, b"US"), Action::Keep);
    }
}
