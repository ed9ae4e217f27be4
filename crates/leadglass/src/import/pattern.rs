//! Rules that read a patient out of a file name: `{patient_id}_{last}^{first}_{birth_date}_*.jpg`.
//!
//! - `{patient_id}` `{last}` `{first}` `{name}` `{birth_date}` `{sex}` `{description}` `{taken_at}` take a value;
//!   `{birth_date:DDMMYYYY}` and `{taken_at:DDMMYYYY}` one that is written day first (else YYYYMMDD; `-` and `.` may stand between).
//! - `*` is any text, also none. Everything else stands for itself; ASCII letters match in either case.
//! - A value, and `*`, end where the text that follows them in the rule begins for the first time; at the end of the rule
//!   that text must also end the name. So a rule reads a name in one way or not at all.
//! - A value is never empty, and two of them never touch: text stands between. `{patient_id}` must be there.
//!
//! What does not match, or matches with a date that no calendar has, names nobody.

use super::{
    gdt::{from_day_first, is_date, person_name},
    patient::{Patient, Sex},
};
use leadglass_model::Phi;
use std::str::FromStr;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Text(String),
    Any,
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    PatientId,
    Last,
    First,
    Name,
    BirthDate(Order),
    Sex,
    Description,
    TakenAt(Order),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    YearFirst,
    DayFirst,
}

/// Why a rule is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Not one of the fields.
    #[error("`{{{0}}}` is no field; there are patient_id, last, first, name, birth_date, sex, description, taken_at")]
    UnknownField(String),
    /// A brace without its partner.
    #[error("a brace has no partner")]
    Brace,
    /// The same field twice.
    #[error("`{{{0}}}` stands twice")]
    Twice(String),
    /// No text between two values.
    #[error("between two values there must be text that tells them apart")]
    Touching,
    /// Nobody would be named.
    #[error("`{{patient_id}}` is missing: nobody would be named")]
    NoPatientId,
    /// A name both whole and in parts.
    #[error("`{{name}}` and `{{last}}` or `{{first}}` exclude each other")]
    NameTwice,
    /// Longer than a file name.
    #[error("longer than {MAX_PATTERN_BYTES} bytes")]
    TooLong,
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong);
        }
        let mut tokens: Vec<Token> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (token, used) = match first {
                '*' => (Token::Any, 1),
                '}' => return Err(PatternError::Brace),
                '{' => {
                    let end = rest.find('}').ok_or(PatternError::Brace)?;
                    let word = rest.get(1..end).ok_or(PatternError::Brace)?;
                    let (name, _) = word.split_once(':').unwrap_or((word, ""));
                    if seen.contains(&name) {
                        return Err(PatternError::Twice(name.to_owned()));
                    }
                    seen.push(name);
                    (Token::Field(field(word)?), end + 1)
                }
                _ => {
                    let end = rest.find(['*', '{', '}']).unwrap_or(rest.len());
                    (Token::Text(rest[..end].to_owned()), end)
                }
            };
            let takes = |token: &Token| !matches!(token, Token::Text(_));
            if tokens.last().is_some_and(takes) && takes(&token) {
                return Err(PatternError::Touching);
            }
            tokens.push(token);
            rest = rest.get(used..).unwrap_or_default();
        }
        if !seen.contains(&"patient_id") {
            return Err(PatternError::NoPatientId);
        }
        if seen.contains(&"name") && (seen.contains(&"last") || seen.contains(&"first")) {
            return Err(PatternError::NameTwice);
        }
        Ok(Self { tokens })
    }
}

fn field(word: &str) -> Result<Field, PatternError> {
    Ok(match word {
        "patient_id" => Field::PatientId,
        "last" => Field::Last,
        "first" => Field::First,
        "name" => Field::Name,
        "birth_date" | "birth_date:YYYYMMDD" => Field::BirthDate(Order::YearFirst),
        "birth_date:DDMMYYYY" => Field::BirthDate(Order::DayFirst),
        "sex" => Field::Sex,
        "description" => Field::Description,
        "taken_at" | "taken_at:YYYYMMDD" => Field::TakenAt(Order::YearFirst),
        "taken_at:DDMMYYYY" => Field::TakenAt(Order::DayFirst),
        other => return Err(PatternError::UnknownField(other.to_owned())),
    })
}

impl Pattern {
    /// Whom the name names.
    pub fn patient(&self, name: &str) -> Option<Patient> {
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        let (mut patient, mut last, mut first) = (Patient::default(), String::new(), String::new());
        let mut rest = name;
        let mut tokens = self.tokens.iter().peekable();
        while let Some(token) = tokens.next() {
            let taken = match token {
                Token::Text(text) => {
                    // What a value or `*` ended at is found here again, at the very start.
                    rest = strip_prefix(rest, text)?;
                    continue;
                }
                Token::Any | Token::Field(_) => {
                    let end = match tokens.peek() {
                        None => rest.len(),
                        Some(Token::Text(text)) => {
                            let mut behind = tokens.clone();
                            behind.next();
                            // The last text of a rule ends the name: `1.2.jpg` is `1.2` and `.jpg`.
                            if behind.peek().is_none() { suffix(rest, text)? } else { find(rest, text)? }
                        }
                        Some(_) => return None,
                    };
                    let (taken, left) = rest.split_at_checked(end)?;
                    rest = left;
                    taken
                }
            };
            let Token::Field(field) = token else { continue };
            let value = clean(taken)?;
            match field {
                Field::PatientId => patient.id = Phi::new(value),
                Field::Last => last = component(value)?,
                Field::First => first = component(value)?,
                Field::Name => patient.name = Some(Phi::new(value)),
                Field::BirthDate(order) => patient.birth_date = Some(Phi::new(date(&value, *order)?)),
                Field::TakenAt(order) => patient.taken_at = Some(Phi::new(date(&value, *order)?)),
                Field::Description => patient.description = Some(Phi::new(value)),
                Field::Sex => {
                    patient.sex = Some(match value.to_ascii_uppercase().as_str() {
                        "M" => Sex::Male,
                        "F" | "W" => Sex::Female,
                        "O" | "D" | "X" => Sex::Other,
                        _ => return None,
                    });
                }
            }
        }
        if !rest.is_empty() {
            return None;
        }
        if let Some(name) = person_name(&last, &first) {
            patient.name = Some(Phi::new(name));
        }
        Some(patient)
    }
}

fn clean(taken: &str) -> Option<String> {
    let value = taken.trim();
    let fine = !value.is_empty()
        && value.chars().count() <= MAX_CHARACTERS
        && !value.chars().any(|c| c.is_control() || c == '\\');
    fine.then(|| value.to_owned())
}

/// A part of a name; these would take it apart further.
fn component(value: String) -> Option<String> {
    (!value.contains(['^', '='])).then_some(value)
}

fn date(value: &str, order: Order) -> Option<String> {
    let digits: String = value.chars().filter(|c| !matches!(c, '-' | '.')).collect();
    match order {
        Order::YearFirst => is_date(&digits),
        Order::DayFirst => from_day_first(&digits),
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn find(text: &str, needle: &str) -> Option<usize> {
    text.char_indices().map(|(at, _)| at).find(|at| strip_prefix(text.get(*at..).unwrap_or_default(), needle).is_some())
}

fn suffix(text: &str, needle: &str) -> Option<usize> {
    let at = text.len().checked_sub(needle.len())?;
    strip_prefix(text.get(at..)?, needle).map(|_| at)
}

const MAX_PATTERN_BYTES: usize = 1024;
/// Linux has 255 bytes a name; an archive may have more.
const MAX_NAME_BYTES: usize = 4096;
/// PS3.5 §6.2: LO and a component group of PN.
const MAX_CHARACTERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pattern: &str, name: &str) -> Option<Patient> {
        pattern.parse::<Pattern>().unwrap().patient(name)
    }

    #[test]
    fn the_sample_rule_reads_a_sample_name() {
        let p =
            read("{patient_id}_{last}^{first}_{birth_date}_*.jpg", "17-b_Müller^Anna_1980-02-01_OPG left.JPG").unwrap();
        assert_eq!(p.id.expose(), "17-b");
        assert_eq!(p.name.unwrap().expose(), "Müller^Anna");
        assert_eq!(p.birth_date.unwrap().expose(), "19800201");
    }

    #[test]
    fn fields_take_what_they_say() {
        let rule = "*-{sex}-{patient_id}-{taken_at:DDMMYYYY}-{description}.pdf";
        let p = read(rule, "X-w-0815-31.12.2024-chin.pdf").unwrap();
        assert_eq!((p.id.expose().as_str(), p.sex), ("0815", Some(Sex::Female)));
        assert_eq!(p.taken_at.unwrap().expose(), "20241231");
        assert_eq!(p.description.unwrap().expose(), "chin");
        assert_eq!(read("{name}#{patient_id}", "Doe^Jane#7").unwrap().name.unwrap().expose(), "Doe^Jane");
        assert_eq!(read("{patient_id}.*", "1.2.jpg").unwrap().id.expose(), "1");
        assert_eq!(read("{patient_id}.jpg", "1.2.jpg").unwrap().id.expose(), "1.2");
    }

    #[test]
    fn what_does_not_match_whole_names_nobody() {
        let rule = "{patient_id}_{last}_{birth_date}_*.jpg";
        for name in [
            "17_Doe_19800201.jpg",
            "17_Doe_19801301_a.jpg",
            "_Doe_19800201_a.jpg",
            "17__19800201_a.jpg",
            "17_Doe_19800201_a.jpeg",
            "17_Doe_19800201_a.jpg.part",
            "17_Do\u{1b}e_19800201_a.jpg",
            "17_D^oe_19800201_a.jpg",
            "",
        ] {
            assert_eq!(read(rule, name), None, "{name:?}");
        }
        let long = format!("{}_Doe_19800201_a.jpg", "1".repeat(65));
        assert_eq!(read(rule, &long), None);
        assert_eq!(read("{patient_id}_{last}.jpg", "1_von_Berg.jpg").unwrap().name.unwrap().expose(), "von_Berg");
    }

    #[test]
    fn a_rule_that_could_guess_is_refused() {
        let cases = [
            ("{patient_id}{last}", PatternError::Touching),
            ("*{patient_id}", PatternError::Touching),
            ("{last}_{first}", PatternError::NoPatientId),
            ("{patient_id}_{patient_id}", PatternError::Twice("patient_id".to_owned())),
            ("{patient_id}_{name}_{last}", PatternError::NameTwice),
            ("{patient_id}_{ssn}", PatternError::UnknownField("ssn".to_owned())),
            ("{patient_id", PatternError::Brace),
            ("patient_id}", PatternError::Brace),
        ];
        for (text, expect) in cases {
            assert_eq!(text.parse::<Pattern>().unwrap_err(), expect, "{text}");
        }
    }

    #[test]
    fn names_of_any_letters_do_no_harm() {
        for name in ["äöü_ß", "\u{10FFFF}_\u{0301}", "🦷_🦷.jpg"] {
            let _ = read("{patient_id}_{last}.jpg", name);
            let _ = read("ä*ö{patient_id}", name);
        }
    }
}
