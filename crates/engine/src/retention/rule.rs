//! A rule: what has to be kept, how long, since when, and by which law.

use super::Day;
use leadglass_model::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A rule of a tenant. One that nobody confirmed keeps what it is about without an end: nothing is erased on a guess.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name, 1 to 48 of `a-z 0-9 -`.
    pub id: String,
    /// ISO 3166-1, two capital letters.
    pub country: String,
    /// What it is about.
    #[serde(default)]
    pub class: RecordClass,
    /// How many years it is kept.
    pub years: u16,
    /// Since when they count.
    pub since: Since,
    /// A patient who was under 18 then: kept at least until this birthday.
    #[serde(default)]
    pub minors_until: Option<u8>,
    /// The law, for a letter.
    pub source: String,
    /// Who answers for it; `None` until somebody does.
    #[serde(default)]
    pub confirmed: Option<Confirmed>,
}

/// Studies that have one of each list's values; an empty list means any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordClass {
    /// Modality (0008,0060) of a series.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub modalities: BTreeSet<String>,
    /// Body Part Examined (0018,0015) of a series.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub body_parts: BTreeSet<String>,
    /// SOP Class UID (0008,0016) of an instance.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub sop_classes: BTreeSet<String>,
}

/// Where the years begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// The patient's last examination in this house, whichever study that is.
    LastExamination,
    /// The examination itself.
    Examination,
}

/// Somebody answers for a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// By pseudonym.
    pub by: String,
    /// When.
    pub at: UnixMillis,
}

/// What is known of a study, as rules look at it.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) modalities: BTreeSet<String>,
    pub(super) body_parts: BTreeSet<String>,
    /// Empty where no rule asks for them.
    pub(super) sop_classes: BTreeSet<String>,
    pub(super) examined: Day,
    pub(super) last_examined: Day,
    pub(super) born: Option<Day>,
}

impl RecordClass {
    pub(super) fn holds(&self, about: &About) -> bool {
        let one_of = |wanted: &BTreeSet<String>, has: &BTreeSet<String>| wanted.is_empty() || !wanted.is_disjoint(has);
        one_of(&self.modalities, &about.modalities)
            && one_of(&self.body_parts, &about.body_parts)
            && one_of(&self.sop_classes, &about.sop_classes)
    }
}

impl Rule {
    /// Whether it can be kept: names and texts within their bounds.
    pub fn is_formed(&self) -> bool {
        let name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let lists = [&self.class.modalities, &self.class.body_parts, &self.class.sop_classes];
        (1..=MAX_NAME).contains(&self.id.len())
            && self.id.bytes().all(name)
            && self.country.len() == 2
            && self.country.bytes().all(|b| b.is_ascii_uppercase())
            && (1..=MAX_YEARS).contains(&self.years)
            && self.minors_until.is_none_or(|age| (18..=99).contains(&age))
            && (1..=MAX_SOURCE).contains(&self.source.len())
            && lists.iter().all(|list| list.len() <= MAX_VALUES && list.iter().all(|v| (1..=64).contains(&v.len())))
    }

    /// The last day on which it keeps a study that it is about.
    pub(super) fn keeps_until(&self, about: &About) -> Day {
        let start = match self.since {
            Since::LastExamination => about.last_examined,
            Since::Examination => about.examined,
        };
        let usual = start.plus_years(self.years);
        let Some(age) = self.minors_until else { return usual };
        let birthday = match about.born {
            Some(born) if start < born.plus_years(OF_AGE) => born.plus_years(age.into()),
            Some(_) => return usual,
            // Nobody knows how old: as long as for somebody who was born that day.
            None => start.plus_years(age.into()),
        };
        usual.max(birthday)
    }
}

const OF_AGE: u16 = 18;
const MAX_NAME: usize = 48;
const MAX_YEARS: u16 = 200;
const MAX_SOURCE: usize = 400;
const MAX_VALUES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn rule() -> Rule {
        Rule {
            id: "de-x-ray".into(),
            country: "DE".into(),
            class: RecordClass::default(),
            years: 10,
            since: Since::LastExamination,
            minors_until: Some(28),
            source: "a law".into(),
            confirmed: None,
        }
    }

    fn about(born: Option<&str>) -> About {
        About {
            modalities: ["CT".to_owned()].into(),
            body_parts: BTreeSet::new(),
            sop_classes: BTreeSet::new(),
            examined: day("2016-05-01"),
            last_examined: day("2020-05-01"),
            born: born.map(day),
        }
    }

    #[test]
    fn years_count_from_where_the_rule_says_and_minors_have_a_birthday() {
        let since_itself = Rule { since: Since::Examination, ..rule() };
        let no_minors = Rule { minors_until: None, ..rule() };
        for (rule, born, until) in [
            (&rule(), Some("1970-01-01"), "2030-05-01"),
            (&since_itself, Some("1970-01-01"), "2026-05-01"),
            (&rule(), Some("2002-05-02"), "2030-05-02"),
            (&rule(), Some("2002-05-01"), "2030-05-01"),
            (&rule(), Some("2015-02-01"), "2043-02-01"),
            (&since_itself, Some("2015-02-01"), "2043-02-01"),
            (&rule(), None, "2048-05-01"),
            (&no_minors, None, "2030-05-01"),
        ] {
            assert_eq!(rule.keeps_until(&about(born)), day(until), "{born:?}");
        }
    }

    #[test]
    fn a_class_is_one_of_each_list() {
        let set = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<BTreeSet<_>>();
        let class = |modalities: &[&str], parts: &[&str]| RecordClass {
            modalities: set(modalities),
            body_parts: set(parts),
            sop_classes: BTreeSet::new(),
        };
        let about = About { body_parts: set(&["CHEST", "NECK"]), ..about(None) };
        for (class, holds) in [
            (class(&[], &[]), true),
            (class(&["CT", "DX"], &[]), true),
            (class(&["DX"], &[]), false),
            (class(&["CT"], &["NECK"]), true),
            (class(&["CT"], &["KNEE"]), false),
        ] {
            assert_eq!(class.holds(&about), holds, "{class:?}");
        }
        let photos = RecordClass { sop_classes: set(&["1.2.840.10008.5.1.4.1.1.77.1.4"]), ..RecordClass::default() };
        assert!(!photos.holds(&about));
    }

    #[test]
    fn what_is_out_of_bounds_is_no_rule() {
        assert!(rule().is_formed());
        for bad in [
            Rule { id: "De".into(), ..rule() },
            Rule { id: String::new(), ..rule() },
            Rule { country: "DEU".into(), ..rule() },
            Rule { years: 0, ..rule() },
            Rule { minors_until: Some(3), ..rule() },
            Rule { source: "x".repeat(401), ..rule() },
            Rule { class: RecordClass { modalities: ["".into()].into(), ..RecordClass::default() }, ..rule() },
        ] {
            assert!(!bad.is_formed(), "{bad:?}");
        }
        assert!(super::super::seeds::all().iter().all(Rule::is_formed));
    }
}
