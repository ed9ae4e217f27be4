//! What the form says, field by field, checked as it is read.

use super::names::Key;
use crate::Problem;
use leadglass_imaging::{Laterality, Moment, Offset, Sex, Text};
use leadglass_model::{Fault, SeriesUid, StudyUid};

/// The fields of a form. What was not typed is empty.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) patient_id: Text,
    pub(super) issuer: Text,
    pub(super) patient_name: Text,
    pub(super) birth_date: Text,
    pub(super) sex: Sex,
    pub(super) study: Option<StudyUid>,
    pub(super) series: Option<SeriesUid>,
    pub(super) description: Text,
    pub(super) body_part: Text,
    pub(super) laterality: Option<Laterality>,
    /// As typed: the place it was typed at may stand in a later field.
    taken_at: String,
    pub(super) offset: Option<Offset>,
    /// The same for every try of the same form.
    pub(super) key: Option<Key>,
}

impl About {
    /// Takes a field. An unknown one is refused: a field that was ignored would be one that its sender relies on.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let empty = value.trim().is_empty();
        match name {
            "patient_id" => self.patient_id = text(name, exact(value, Text::long))?,
            "issuer_of_patient_id" => self.issuer = text(name, Text::long(value))?,
            "patient_name" => self.patient_name = text(name, exact(value, Text::name))?,
            "birth_date" => self.birth_date = text(name, Text::day(value))?,
            "sex" => self.sex = Sex::parse(value).ok_or_else(|| bad(name, "write F, M or O"))?,
            "study_uid" if empty => self.study = None,
            "study_uid" => self.study = Some(StudyUid::parse(value).map_err(|e| bad(name, &e.to_string()))?),
            "series_uid" if empty => self.series = None,
            "series_uid" => self.series = Some(SeriesUid::parse(value).map_err(|e| bad(name, &e.to_string()))?),
            "description" => self.description = text(name, Text::long(value))?,
            "body_part" => self.body_part = text(name, Text::code(value))?,
            "laterality" => self.laterality = Laterality::parse(value).ok_or_else(|| bad(name, "write L or R"))?,
            "taken_at" => {
                Moment::parse(value, Offset::UTC).map(|_| ()).or(if empty { Ok(()) } else { Err(()) }).map_err(
                    |()| bad(name, "write YYYY-MM-DDTHH:MM, with an offset such as +01:00 behind it if need be"),
                )?;
                value.trim().clone_into(&mut self.taken_at);
            }
            "utc_offset" if empty => self.offset = None,
            "utc_offset" => {
                let offset =
                    Offset::parse(value.trim()).map_err(|_| bad(name, "write Z or an offset such as +01:00"))?;
                self.offset = Some(offset);
            }
            "key" => {
                let key = Key::parse(value).ok_or_else(|| bad(name, "write 1 to 128 visible ASCII characters"))?;
                self.key = Some(key);
            }
            _ => return Err(Problem::new(Fault::BadInput, "field", "The form has a field that is not known here.")),
        }
        Ok(())
    }

    /// When the picture was taken.
    pub(super) fn taken(&self) -> Option<Moment> {
        Moment::parse(&self.taken_at, self.offset.unwrap_or(Offset::UTC)).ok()
    }

    /// Where its sender is, if the form tells.
    pub(super) fn place(&self) -> Option<Offset> {
        self.offset.or_else(|| Moment::told_offset(&self.taken_at))
    }
}

/// A text that is looked for as it is: nothing in it may match more than itself.
fn exact(
    value: &str,
    parse: impl Fn(&str) -> Result<Text, leadglass_imaging::TextError>,
) -> Result<Text, leadglass_imaging::TextError> {
    if value.contains(['*', '?']) { Err(leadglass_imaging::TextError::Character) } else { parse(value) }
}

fn text(name: &str, parsed: Result<Text, leadglass_imaging::TextError>) -> Result<Text, Problem> {
    parsed.map_err(|error| bad(name, &error.to_string()))
}

/// `name` is one of ours when this is called.
fn bad(name: &str, why: &str) -> Problem {
    Problem::new(Fault::BadInput, "field", format!("The field {name} cannot be used: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_checked_as_they_are_read() {
        let mut about = About::default();
        for (name, value) in [
            ("patient_id", "P-1"),
            ("patient_name", "Müller^Zoë"),
            ("birth_date", "1984-02-29"),
            ("sex", "f"),
            ("study_uid", ""),
            ("laterality", "L"),
            ("body_part", "HAND"),
            ("taken_at", "2026-11-22T14:05"),
            ("utc_offset", "+01:00"),
            ("key", "3f1c-8a"),
        ] {
            assert!(about.set(name, value).is_ok(), "{name}");
        }
        assert_eq!((about.sex, about.laterality), (Sex::Female, Some(Laterality::Left)));
        let taken = about.taken().unwrap();
        assert_eq!((taken.time(), taken.offset()), ("140500".to_owned(), Offset::parse("+0100").unwrap()));
        for (name, value) in [
            ("patient_id", "A*"),
            ("patient_id", "a\\b"),
            ("birth_date", "29.02.1984"),
            ("sex", "woman"),
            ("study_uid", "../.."),
            ("laterality", "both"),
            ("body_part", "hand"),
            ("taken_at", "yesterday"),
            ("utc_offset", "CET"),
            ("key", ""),
            ("key", "two words"),
            ("filename", "x"),
        ] {
            assert!(about.set(name, value).is_err(), "{name}");
        }
    }
}
