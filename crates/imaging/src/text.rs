//! Texts for a data set, checked when they are made (PS3.5 §6.2).

use leadglass_model::{Fault, Phi};

/// A text that fits its value representation. It may name a patient.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text(Phi<String>);

/// Why a text cannot be taken. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// More characters than the value representation has.
    #[error("it is longer than {max} characters")]
    TooLong {
        /// How many there may be.
        max: usize,
    },
    /// A control character, or the backslash that separates values.
    #[error("it holds a backslash or a control character")]
    Character,
    /// More than three component groups or five components.
    #[error("it is not a person's name as DICOM writes it: Family^Given")]
    NotAName,
    /// Not a day of the calendar.
    #[error("it is not a date; write YYYY-MM-DD or YYYYMMDD")]
    NotADate,
    /// Something other than capital letters, digits, spaces and underscores.
    #[error("it is not a code of capital letters, digits, spaces and underscores")]
    NotACode,
}

impl TextError {
    /// Always [`Fault::BadInput`].
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }
}

impl Text {
    /// LO: up to 64 characters in one line.
    pub fn long(text: &str) -> Result<Self, TextError> {
        limited(text, 64)
    }

    /// PN: up to three groups of up to five components, 64 characters a group.
    pub fn name(text: &str) -> Result<Self, TextError> {
        let text = text.trim();
        let groups: Vec<&str> = text.split('=').collect();
        if groups.len() > 3 || groups.iter().any(|group| group.split('^').count() > 5) {
            return Err(TextError::NotAName);
        }
        for group in &groups {
            limited(group, 64)?;
        }
        // Components that end in nothing say nothing.
        let groups: Vec<&str> = groups.iter().map(|group| group.trim_end_matches(['^', ' '])).collect();
        Ok(Self(Phi::new(groups.join("=").trim_end_matches('=').to_owned())))
    }

    /// DA: a day, as `YYYY-MM-DD` or `YYYYMMDD`.
    pub fn day(text: &str) -> Result<Self, TextError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let digits: String = match text.as_bytes() {
            [_, _, _, _, b'-', _, _, b'-', _, _] => text.split('-').collect(),
            _ => text.to_owned(),
        };
        let number = |range: std::ops::Range<usize>| {
            let part = digits.get(range).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
            part.and_then(|part| part.parse::<u16>().ok()).ok_or(TextError::NotADate)
        };
        let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
        let month = u8::try_from(month).ok().and_then(|m| time::Month::try_from(m).ok()).ok_or(TextError::NotADate)?;
        let day = u8::try_from(day).map_err(|_| TextError::NotADate)?;
        let real = year >= 1850 && time::Date::from_calendar_date(i32::from(year), month, day).is_ok();
        if digits.len() != 8 || !real {
            return Err(TextError::NotADate);
        }
        Ok(Self(Phi::new(digits)))
    }

    /// CS: up to 16 capital letters, digits, spaces and underscores.
    pub fn code(text: &str) -> Result<Self, TextError> {
        let Self(text) = limited(text, 16)?;
        let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b' ' | b'_');
        if text.expose().bytes().all(fits) { Ok(Self(text)) } else { Err(TextError::NotACode) }
    }

    /// A text that the vault knows already: it stands in a stored instance, fitting or not, and is said again as it is.
    /// Only what no value can hold is taken away.
    pub fn known(text: Option<&Phi<String>>) -> Self {
        let kept = |text: &str| text.chars().filter(|c| !c.is_control()).take(MAX_KNOWN_CHARS).collect();
        Self(Phi::new(text.map_or_else(String::new, |text| kept(text.expose().trim()))))
    }

    /// The text. Each caller answers for where it goes.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.expose().is_empty()
    }
}

fn limited(text: &str, max: usize) -> Result<Text, TextError> {
    let text = text.trim();
    if text.chars().any(|c| c.is_control() || c == '\\') {
        return Err(TextError::Character);
    }
    if text.chars().count() > max {
        return Err(TextError::TooLong { max });
    }
    Ok(Text(Phi::new(text.to_owned())))
}

/// A short form value has a length of 16 bits; no text of ours comes near.
const MAX_KNOWN_CHARS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_checked_as_their_representation_says() {
        assert_eq!(Text::long("  Rash, left hand ").unwrap().expose(), "Rash, left hand");
        assert_eq!(Text::long("a\\b"), Err(TextError::Character));
        assert_eq!(Text::long("a\nb"), Err(TextError::Character));
        assert_eq!(Text::long(&"ä".repeat(64)).unwrap().expose().chars().count(), 64);
        assert_eq!(Text::long(&"ä".repeat(65)), Err(TextError::TooLong { max: 64 }));
        assert_eq!(Text::code("UPPER_ARM 1").unwrap().expose(), "UPPER_ARM 1");
        assert_eq!(Text::code("hand"), Err(TextError::NotACode));
    }

    #[test]
    fn names_keep_their_groups_and_lose_empty_ends() {
        assert_eq!(Text::name("Müller^Anna^^").unwrap().expose(), "Müller^Anna");
        assert_eq!(Text::name("Yamada^Tarou=山田^太郎=").unwrap().expose(), "Yamada^Tarou=山田^太郎");
        assert_eq!(Text::name("a^b^c^d^e^f"), Err(TextError::NotAName));
        assert_eq!(Text::name("a=b=c=d"), Err(TextError::NotAName));
        assert_eq!(Text::name(&"x".repeat(65)), Err(TextError::TooLong { max: 64 }));
        assert!(Text::name("^").unwrap().is_empty());
    }

    #[test]
    fn days_are_days_of_the_calendar() {
        assert_eq!(Text::day("1984-02-29").unwrap().expose(), "19840229");
        assert_eq!(Text::day("19840229").unwrap().expose(), "19840229");
        assert!(Text::day(" ").unwrap().is_empty());
        for bad in ["1983-02-29", "1984-2-9", "19841301", "0001-01-01", "1984/02/29", "٢٠٢٤٠١٠١", "198402290"] {
            assert_eq!(Text::day(bad), Err(TextError::NotADate), "{bad}");
        }
    }

    #[test]
    fn a_known_text_is_said_again() {
        let known = |text: &str| Text::known(Some(&Phi::new(text.to_owned()))).expose().to_owned();
        assert_eq!(known("A\\B "), "A\\B");
        assert_eq!(known("A\u{0}\u{1b}B"), "AB");
        assert!(Text::known(None).is_empty());
    }
}
