//! Whom the files are about: a study that the vault has, a patient that it knows, or one that was typed.
//!
//! What was typed may fill a gap and must not contradict what is known: a photo that is filed to the wrong patient is
//! worse than one that is not filed. Looking someone up is a query like any other, with its audit entry; who may not
//! search (a device) is not told whether a number is known.

use super::{about::About, file::Line, names::Names, outcome::Refusal};
use crate::{App, Problem, app::Caller};
use axum::http::StatusCode;
use leadglass_engine::{Begun, SearchError, Within};
use leadglass_imaging::{Format, Moment, Offset, Patient, Series, Sex, Study, Text};
use leadglass_index::{DeepQuery, NamePattern, Pattern, Query, SeriesRow, StudyRow};
use leadglass_model::{Fault, Permit, Phi, SeriesUid, Store, UnixMillis};
use std::sync::Arc;

/// What all instances of a form have in common.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) patient: Patient,
    pub(super) study: Study,
    /// A new series; its UID and number are given when it begins.
    pub(super) series: Series,
    /// The number of the first new series.
    pub(super) next_series: u32,
    /// Series that the study has, and their numbers.
    numbers: Vec<(SeriesUid, u32)>,
    /// A series that goes on.
    pub(super) continued: Option<Line>,
    pub(super) received: Moment,
    pub(super) place: Option<Offset>,
    pub(super) taken: Option<Moment>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("instances", &self.instances).finish_non_exhaustive()
    }
}

impl Subject {
    /// The number of a series that the study has.
    pub(super) fn number_of(&self, series: &SeriesUid) -> Option<u32> {
        self.numbers.iter().find(|(uid, _)| uid == series).map(|(_, number)| *number)
    }
}

/// Finds it. `came`: when the form came first.
pub(super) async fn find(
    app: &App,
    caller: &Caller,
    permit: &Permit<Store>,
    about: About,
    names: &Names,
    came: UnixMillis,
) -> Result<Subject, Problem> {
    let may_search = caller.search().ok();
    // A study that an earlier try of this form began: what it says of itself holds.
    let begun = match (&about.study, names.is_keyed()) {
        (None, true) => {
            let begun = app.engine.begun_by(permit, &names.study()).await;
            begun.map_err(|error| Problem::from(Refusal::from(&error)))?
        }
        _ => None,
    };
    let (patient, known, all_series) = match (begun, &about.study, &may_search) {
        (Some(Begun { study, series }), _, may_search) => {
            let patient = match may_search {
                Some(_) => known_patient(&about, std::iter::once(&study)),
                None => typed_patient(&about),
            };
            (patient.map_err(|_| Problem::from(Refusal::KEY_REUSED))?, Some(Arc::new(study)), series)
        }
        (None, Some(uid), Some(permit)) => {
            let all = DeepQuery::default();
            let found = app.engine.search_series(permit, Within::Study(uid), all).await;
            let hits = found.map_err(|error| unfound(&error))?.hits;
            let study = hits.first().map(|hit| hit.study.clone()).ok_or_else(Problem::not_found)?;
            let patient = known_patient(&about, std::iter::once(&*study))?;
            (patient, Some(study), hits.into_iter().map(|hit| hit.row).collect())
        }
        (None, None, Some(permit)) => {
            if about.patient_id.is_empty() {
                return Err(incomplete("Type the patient's number."));
            }
            let query = Query {
                patient_id: Pattern::parse(about.patient_id.expose())
                    .map_err(|_| incomplete("The patient's number cannot be looked for."))?,
                limit: Some(MAX_STUDIES),
                ..Query::default()
            };
            let hits = app.engine.search(permit, query).await.map_err(|error| unfound(&error))?.hits;
            let rows = hits.iter().map(|hit| &hit.row).filter(|row| {
                row.patient_id.as_ref().is_some_and(|id| id.expose().trim() == about.patient_id.expose())
            });
            (known_patient(&about, rows)?, None, Vec::new())
        }
        (None, _, None) => (typed_patient(&about)?, None, Vec::new()),
    };

    let place = match &known {
        // What the study says of its own times holds for them; without a word of it none is added.
        Some(row) => {
            about.place().or_else(|| row.timezone_offset.as_deref().and_then(|o| Offset::parse(o.trim()).ok()))
        }
        None => Some(about.place().unwrap_or(Offset::UTC)),
    };
    let received = Moment::at(came, place.unwrap_or(Offset::UTC));
    let taken = about.taken();
    let begun = taken.unwrap_or(received);
    let text = |value: Option<&Phi<String>>| Text::known(value);
    let own = |value: String| Text::known(Some(&Phi::new(value)));
    let study = match &known {
        Some(row) => Study {
            uid: row.uid.clone(),
            date: text(row.date.as_ref()),
            time: text(row.time.as_ref()),
            id: text(row.id.as_ref()),
            accession_number: text(row.accession_number.as_ref()),
            referring_physician: text(row.referring_physician.as_ref()),
            description: text(row.description.as_ref()),
        },
        None => Study {
            uid: about.study.clone().unwrap_or_else(|| names.study()),
            date: own(begun.date()),
            time: own(begun.time()),
            id: Text::default(),
            accession_number: Text::default(),
            referring_physician: Text::default(),
            description: about.description.clone(),
        },
    };
    let highest = all_series.iter().filter_map(|row| row.number).max().unwrap_or(0);
    let next_series = u32::try_from(highest).unwrap_or(0).saturating_add(1);
    let continued = match &about.series {
        Some(uid) => Some(continued(uid, &all_series)?),
        None => None,
    };
    let series = Series {
        uid: names.series(Format::Photo),
        number: next_series,
        description: about.description,
        body_part: about.body_part,
        laterality: about.laterality,
    };
    let numbers =
        all_series.iter().filter_map(|row| Some((row.uid.clone(), u32::try_from(row.number?).ok()?))).collect();
    Ok(Subject { patient, study, series, next_series, numbers, continued, received, place, taken })
}

/// A series of photos in the same study goes on; its own words about itself hold.
fn continued(uid: &SeriesUid, all: &[SeriesRow]) -> Result<Line, Problem> {
    let row = all.iter().find(|row| row.uid == *uid && row.modality.as_deref() == Some("XC"));
    let row = row.ok_or_else(|| {
        Problem::new(Fault::Missing, "series-unknown", "There is no such series of photos in this study.")
    })?;
    let code = |value: Option<&String>| value.and_then(|text| Text::code(text).ok()).unwrap_or_default();
    let laterality = row.laterality.as_deref().and_then(leadglass_imaging::Laterality::parse).flatten();
    let series = Series {
        uid: row.uid.clone(),
        number: row.number.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        description: Text::known(row.description.as_ref()),
        body_part: code(row.body_part.as_ref()),
        laterality,
    };
    Ok(Line { series, instances: row.instances })
}

/// The patient as the newest study has it that fits all that was typed; as typed, where there is no study.
///
/// One number may be several people's: two practices gave it, or one gave it twice. So a study fits as a whole or not at
/// all, and where those that fit could be of two people it must be said of which.
fn known_patient<'a>(about: &About, rows: impl Iterator<Item = &'a StudyRow>) -> Result<Patient, Problem> {
    let of_issuer = |row: &&StudyRow| about.issuer.is_empty() || text(row.issuer.as_ref()) == about.issuer.expose();
    let group: Vec<&StudyRow> = rows.filter(of_issuer).collect();
    if group.is_empty() {
        return if about.study.is_some() { Err(differs()) } else { typed_patient(about) };
    }
    // Who is not named is an issuer, too.
    if differ(group.iter().map(|row| Some(text(row.issuer.as_ref())))) {
        return Err(ambiguous());
    }
    let fitting: Vec<&StudyRow> = group.iter().copied().filter(|row| fits(about, row, &group)).collect();
    let Some(newest) = fitting.first() else { return Err(differs()) };
    let several_names =
        fitting.iter().any(|row| !one_name(text(newest.patient_name.as_ref()), text(row.patient_name.as_ref())));
    // A name changes over the years, a day of birth does not: without it two names are two people.
    let without_day = fitting.iter().any(|row| day(row).is_none());
    if differ(fitting.iter().map(|row| day(row)))
        || differ(fitting.iter().map(|row| sex(row)))
        || (several_names && without_day)
    {
        return Err(ambiguous());
    }
    let known = |value: Option<&Phi<String>>, typed: &Text| {
        let known = Text::known(value);
        if known.is_empty() { typed.clone() } else { known }
    };
    Ok(Patient {
        id: Text::known(newest.patient_id.as_ref()),
        issuer: known(newest.issuer.as_ref(), &about.issuer),
        name: known(newest.patient_name.as_ref(), &about.patient_name),
        birth_date: known(newest.birth_date.as_ref(), &about.birth_date),
        sex: sex(newest).unwrap_or(about.sex),
    })
}

/// Whether one study's patient is the one that was typed. A gap in it is no contradiction as long as none of `group`, the
/// studies under the same number, has another word there.
fn fits(about: &About, row: &StudyRow, group: &[&StudyRow]) -> bool {
    let same_id = about.patient_id.is_empty() || about.patient_id.expose() == text(row.patient_id.as_ref());
    let name = about.patient_name.expose();
    let same_name = name.is_empty() || same_name(name, text(row.patient_name.as_ref()));
    let typed_day = about.birth_date.expose();
    let same_day = typed_day.is_empty()
        || match day(row) {
            Some(known) => known == typed_day,
            None => group.iter().filter_map(|row| day(row)).all(|known| known == typed_day),
        };
    let same_sex = about.sex == Sex::Unknown
        || match sex(row) {
            Some(known) => known == about.sex,
            None => group.iter().filter_map(|row| sex(row)).all(|known| known == about.sex),
        };
    same_id && same_name && same_day && same_sex
}

/// Whether two of the known values are not the same.
fn differ<T: PartialEq>(values: impl Iterator<Item = Option<T>>) -> bool {
    let mut known = values.flatten();
    let first = known.next();
    known.any(|value| first.as_ref() != Some(&value))
}

fn day(row: &StudyRow) -> Option<String> {
    Some(digits(text(row.birth_date.as_ref()))).filter(|day| !day.is_empty())
}

fn sex(row: &StudyRow) -> Option<Sex> {
    Sex::parse(text(row.sex.as_ref())).filter(|sex| *sex != Sex::Unknown)
}

/// A patient whom nobody knows yet.
fn typed_patient(about: &About) -> Result<Patient, Problem> {
    if about.patient_id.is_empty() {
        return Err(incomplete("Type the patient's number."));
    }
    if about.patient_name.is_empty() {
        return Err(incomplete(
            "No patient with this number is known yet. Check the number, or type the name as well.",
        ));
    }
    Ok(Patient {
        id: about.patient_id.clone(),
        issuer: about.issuer.clone(),
        name: about.patient_name.clone(),
        birth_date: about.birth_date.clone(),
        sex: about.sex,
    })
}

fn text(value: Option<&Phi<String>>) -> &str {
    value.map_or("", |text| text.expose().trim_matches([' ', '\0']))
}

/// Compared as names are searched for: without case and accents.
fn same_name(typed: &str, known: &str) -> bool {
    typed == known || NamePattern::parse(typed).ok().flatten().is_some_and(|name| name.matches(known))
}

/// Whether two known names are one. Neither is a pattern, whatever stands in it.
fn one_name(a: &str, b: &str) -> bool {
    a == b || (!a.is_empty() && !a.contains(['*', '?', '=']) && same_name(a, b))
}

/// `YYYY.MM.DD` was written before 1993.
fn digits(day: &str) -> String {
    day.chars().filter(|c| *c != '.').collect()
}

fn differs() -> Problem {
    Problem::new(
        Fault::Conflict,
        "patient-differs",
        "The vault knows this patient's number with another name, date of birth or sex. Check the number; if it is right, leave the name empty and what is known is taken.",
    )
}

fn ambiguous() -> Problem {
    Problem::new(
        Fault::Conflict,
        "patient-ambiguous",
        "Several patients have this number. Type name and date of birth as well, say who issued the number (issuer_of_patient_id), or name a study.",
    )
}

fn incomplete(sentence: &'static str) -> Problem {
    Problem::with_status(StatusCode::UNPROCESSABLE_ENTITY, "patient-incomplete", sentence)
}

fn unfound(error: &SearchError) -> Problem {
    match error.fault() {
        Fault::Missing => Problem::not_found(),
        fault => Problem::new(fault, "search", "The index cannot be asked now; try again in a moment."),
    }
}

/// Studies of one patient that are looked at; the newest come first.
const MAX_STUDIES: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, issuer: Option<&str>) -> StudyRow {
        let phi = |text: &str| Some(Phi::new(text.to_owned()));
        StudyRow {
            uid: Names::Fresh.study(),
            patient_name: phi(name),
            patient_id: phi("P-1"),
            issuer: issuer.and_then(phi),
            birth_date: phi("1984.02.29"),
            sex: None,
            date: None,
            time: None,
            id: None,
            description: None,
            accession_number: None,
            referring_physician: None,
            timezone_offset: None,
            created_at: UnixMillis(0),
            quarantine: None,
        }
    }

    fn about(fields: &[(&str, &str)]) -> About {
        let mut about = About::default();
        for (name, value) in fields {
            about.set(name, value).unwrap();
        }
        about
    }

    #[test]
    fn what_is_typed_must_not_contradict_what_is_known() {
        let rows = [row("Müller^Zoë", None), row("Schmidt^Zoë", None)];
        let find = |fields: &[(&str, &str)]| known_patient(&about(fields), rows.iter());
        // One person under two names; who types the earlier one gets the study that has it, never the other name.
        for (fine, name) in [
            (&[("patient_id", "P-1")][..], "Müller^Zoë"),
            (&[("patient_id", "P-1"), ("patient_name", "muller^zoe")], "Müller^Zoë"),
            (&[("patient_id", "P-1"), ("patient_name", "Schmidt^Zoë"), ("birth_date", "1984-02-29")], "Schmidt^Zoë"),
            (&[("patient_id", "P-1"), ("sex", "F")], "Müller^Zoë"),
        ] {
            let patient = find(fine).unwrap();
            assert_eq!((patient.name.expose(), patient.id.expose()), (name, "P-1"), "{fine:?}");
        }
        for wrong in [
            &[("patient_id", "P-1"), ("patient_name", "Meier^Zoë")][..],
            &[("patient_id", "P-1"), ("birth_date", "1984-03-01")],
            &[("patient_id", "P-2")],
        ] {
            assert!(find(wrong).is_err(), "{wrong:?}");
        }
        let sex = find(&[("patient_id", "P-1"), ("sex", "F")]).unwrap().sex;
        assert_eq!(sex, Sex::Female, "what is typed fills a gap");
    }

    /// Name, number, issuer, day of birth and sex; what is empty is not known.
    type Known = (&'static str, &'static str, &'static str, &'static str, &'static str);

    const ALPHA: Known = ("Alpha^Anna", "P-77", "", "", "");
    const BETA: Known = ("Beta^Bert", "P-77", "HOSPITAL", "", "");
    const DELTA: Known = ("Delta^Dora", "P-88", "", "19800101", "F");
    const EPS: Known = ("Eps^Emil", "P-88", "", "1990.02.02", "M");
    const DELTA_BARE: Known = ("Delta^Dora", "P-88", "", "", "");
    const EPS_BARE: Known = ("Eps^Emil", "P-88", "", "", "");

    #[test]
    fn one_number_of_two_people_names_neither_until_all_that_is_typed_fits_one_of_them() {
        const AMBIGUOUS: Result<&str, &str> = Err("patient-ambiguous");
        const DIFFERS: Result<&str, &str> = Err("patient-differs");
        let (anna, bert, dora, emil) = ("Alpha^Anna", "Beta^Bert", "Delta^Dora", "Eps^Emil");
        type Case<'a> = (&'a [Known], [&'a str; 4], Result<&'a str, &'a str>);
        let cases: [Case<'_>; 18] = [
            (&[ALPHA, BETA], ["", "", "", ""], AMBIGUOUS),
            (&[BETA, ALPHA], ["", "", "", ""], AMBIGUOUS),
            (&[BETA, ALPHA], [anna, "", "", ""], AMBIGUOUS),
            (&[ALPHA, BETA], ["", "HOSPITAL", "", ""], Ok(bert)),
            (&[ALPHA, BETA], [anna, "HOSPITAL", "", ""], DIFFERS),
            (&[DELTA, EPS], ["", "", "", ""], AMBIGUOUS),
            (&[DELTA, EPS], [dora, "", "1990-02-02", ""], DIFFERS),
            (&[EPS, DELTA], [dora, "", "1990-02-02", ""], DIFFERS),
            (&[DELTA, EPS], [dora, "", "1980-01-01", ""], Ok(dora)),
            (&[EPS, DELTA], [dora, "", "1980-01-01", ""], Ok(dora)),
            (&[EPS, DELTA], [dora, "", "", "M"], DIFFERS),
            (&[EPS, DELTA], ["", "", "1980-01-01", "M"], DIFFERS),
            (&[DELTA, EPS], ["", "", "1990-02-02", ""], Ok(emil)),
            // A gap is filled by nobody's word against another's.
            (&[DELTA_BARE, DELTA], [dora, "", "1990-02-02", ""], DIFFERS),
            (&[DELTA_BARE, DELTA], [dora, "", "1980-01-01", ""], Ok(dora)),
            (&[DELTA_BARE, EPS], ["", "", "", ""], AMBIGUOUS),
            (&[DELTA_BARE, EPS_BARE], ["", "", "", ""], AMBIGUOUS),
            (&[DELTA_BARE, EPS_BARE], [emil, "", "", ""], Ok(emil)),
        ];
        let phi = |text: &str| Some(Phi::new(text.to_owned())).filter(|phi| !phi.expose().is_empty());
        for (known, [name, issuer, day, sex], expected) in cases {
            let rows: Vec<StudyRow> = known
                .iter()
                .map(|(name, id, issuer, day, sex)| StudyRow {
                    patient_id: phi(id),
                    birth_date: phi(day),
                    sex: phi(sex),
                    ..row(name, Some(*issuer).filter(|issuer| !issuer.is_empty()))
                })
                .collect();
            let typed = [
                ("patient_id", known[0].1),
                ("patient_name", name),
                ("issuer_of_patient_id", issuer),
                ("birth_date", day),
                ("sex", sex),
            ];
            let typed: Vec<(&str, &str)> = typed.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            match (known_patient(&about(&typed), rows.iter()), expected) {
                (Ok(patient), Ok(name)) => assert_eq!(patient.name.expose(), name, "{known:?} {typed:?}"),
                (Err(problem), Err(code)) => {
                    let told = format!("{problem:?}");
                    assert!(told.contains(code) && told.contains("409"), "{known:?} {typed:?}: {told}, not {code}");
                }
                (found, _) => panic!("{known:?} {typed:?}: {:?}, not {expected:?}", found.is_ok()),
            }
        }
    }

    #[test]
    fn a_number_of_two_issuers_wants_its_issuer() {
        let rows = [row("A^B", Some("HOSPITAL")), row("C^D", Some("PRACTICE"))];
        let find = |fields: &[(&str, &str)]| known_patient(&about(fields), rows.iter());
        assert!(find(&[("patient_id", "P-1")]).is_err());
        let patient = find(&[("patient_id", "P-1"), ("issuer_of_patient_id", "PRACTICE")]).unwrap();
        assert_eq!((patient.name.expose(), patient.issuer.expose()), ("C^D", "PRACTICE"));
        assert!(find(&[("patient_id", "P-1"), ("issuer_of_patient_id", "NOBODY")]).is_err(), "without a name");
    }

    #[test]
    fn who_is_not_known_is_typed_with_a_name() {
        let nobody = || std::iter::empty::<&StudyRow>();
        assert!(known_patient(&about(&[("patient_id", "P-9")]), nobody()).is_err());
        let fields = [("patient_id", "P-9"), ("patient_name", "New^Patient")];
        assert_eq!(known_patient(&about(&fields), nobody()).unwrap().name.expose(), "New^Patient");
        assert!(known_patient(&about(&[("patient_name", "New^Patient")]), nobody()).is_err());
    }
}
