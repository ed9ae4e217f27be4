//! Templates of letters: text with placeholders such as `{until}`.
//!
//! A line that has placeholders is left out when none of them has a value, and of the blank lines that then follow one
//! another one stays. What a placeholder stands for is put in as it is, and nothing in it is looked at again.

use super::CaseError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What a template is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TemplateName {
    /// What stands around every letter.
    Frame,
    /// It came.
    Received,
    /// Who asks has to be seen first.
    Identity,
    /// It takes longer.
    Extended,
    /// It is done.
    Granted,
    /// A part of it is done.
    Partly,
    /// It is not done.
    Refused,
    /// A breach is known.
    BreachKnown,
    /// Those concerned are told of it.
    BreachTold,
    /// They are not.
    BreachNotTold,
}

/// Not a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such template")]
pub struct NoTemplate;

impl TemplateName {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Frame,
        Self::Received,
        Self::Identity,
        Self::Extended,
        Self::Granted,
        Self::Partly,
        Self::Refused,
        Self::BreachKnown,
        Self::BreachTold,
        Self::BreachNotTold,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Received => "received",
            Self::Identity => "identity",
            Self::Extended => "extended",
            Self::Granted => "granted",
            Self::Partly => "partly",
            Self::Refused => "refused",
            Self::BreachKnown => "breach-known",
            Self::BreachTold => "breach-told",
            Self::BreachNotTold => "breach-not-told",
        }
    }

    /// The placeholders that have a value in it.
    pub fn may_hold(self) -> impl Iterator<Item = &'static str> {
        let own: &[&str] = match self {
            Self::Frame => &["letter"],
            Self::Received => &["received", "until"],
            Self::Identity => &["received"],
            Self::Extended => &["received", "first", "until", "reason", "complaint"],
            Self::Granted => &["received", "done", "ground", "words"],
            Self::Partly => &["received", "done", "ground", "words", "keeps", "complaint"],
            Self::Refused => &["received", "ground", "words", "keeps", "complaint"],
            Self::BreachKnown => &["known", "until"],
            Self::BreachTold | Self::BreachNotTold => &["known", "ground", "words"],
        };
        own.iter().chain(ALWAYS).copied()
    }

    /// Those without which it would not say what the law wants said: the reason and the day of an extension (GDPR
    /// Art. 12(3)); of a refusal the reason and whom to complain to (Art. 12(4)); what somebody decided, in his words.
    pub const fn must_hold(self) -> &'static [&'static str] {
        match self {
            Self::Frame => &["letter"],
            Self::Received | Self::BreachKnown => &["until"],
            Self::Identity => &[],
            Self::Extended => &["until", "reason"],
            Self::Granted | Self::BreachTold => &["words"],
            Self::Partly => &["done", "ground", "words", "complaint"],
            Self::Refused => &["ground", "words", "complaint"],
            Self::BreachNotTold => &["ground", "words"],
        }
    }
}

impl fmt::Display for TemplateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TemplateName {
    type Err = NoTemplate;

    fn from_str(text: &str) -> Result<Self, NoTemplate> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or(NoTemplate)
    }
}

/// Whether a text can be such a template: of bounded length, with all that it must hold and nothing unknown.
pub(super) fn check(name: TemplateName, text: &str) -> Result<(), CaseError> {
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.trim().is_empty() || text.len() > MAX_TEMPLATE_BYTES || text.contains(is_control) {
        return Err(CaseError::Form("a template is 1 to 16384 bytes of text without control characters"));
    }
    let mut held = Vec::new();
    for mut rest in text.lines() {
        while let Some((before, word, behind)) = cut(rest) {
            let Some(known) = name.may_hold().find(|known| *known == word) else {
                return Err(unknown(name, word));
            };
            if before.contains('}') {
                return Err(CaseError::Form(STRAY));
            }
            held.push(known);
            rest = behind;
        }
        if rest.contains(['{', '}']) {
            return Err(CaseError::Form(STRAY));
        }
    }
    match name.must_hold().iter().find(|must| !held.contains(*must)) {
        Some(missing) => Err(CaseError::PlaceholderMissing(missing)),
        None => Ok(()),
    }
}

/// What is told of it is a word; text that merely stands in braces is not said again.
fn unknown(name: TemplateName, word: &str) -> CaseError {
    let is_word = (1..=MAX_WORD_BYTES).contains(&word.len())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    if !is_word {
        return CaseError::Form(STRAY);
    }
    let known: Vec<String> = name.may_hold().map(|known| format!("{{{known}}}")).collect();
    CaseError::Placeholder { word: word.to_owned(), known: known.join(" ") }
}

/// The text with values in the place of placeholders; one that is not named has none.
pub fn fill(text: &str, values: &[(&str, String)]) -> String {
    let value = |word: &str| values.iter().find(|(of, _)| *of == word).map_or("", |(_, value)| value.as_str());
    let (mut filled, mut was_blank) = (String::new(), true);
    for line in text.lines() {
        let (mut out, mut rest, mut holds, mut says) = (String::new(), line, false, false);
        while let Some((before, word, behind)) = cut(rest) {
            let value = value(word);
            (holds, says) = (true, says || !value.is_empty());
            out += before;
            out += value;
            rest = behind;
        }
        out += rest;
        let is_blank = line.trim().is_empty();
        if (holds && !says) || (is_blank && was_blank) {
            continue;
        }
        was_blank = is_blank;
        filled += &out;
        filled.push('\n');
    }
    filled.truncate(filled.trim_end().len());
    filled
}

/// What stands in front of a line's first placeholder, its word, and what stands behind it.
fn cut(line: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = line.split_once('{')?;
    let (word, behind) = rest.split_once('}')?;
    Some((before, word, behind))
}

/// These have a value in every template.
const ALWAYS: &[&str] = &["controller", "officer", "authority", "date", "case", "patient", "subject"];
const STRAY: &str = "a brace begins or ends a placeholder, such as {date}, and nothing else";
const MAX_TEMPLATE_BYTES: usize = 16 * 1024;
const MAX_WORD_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Vec<(&'static str, String)> {
        vec![
            ("words", "Say {case}\n\n\nand {complaint}.".to_owned()),
            ("case", "07".to_owned()),
            ("keeps", String::new()),
        ]
    }

    #[test]
    fn nothing_of_a_value_is_interpreted_and_a_line_without_a_value_goes() {
        let filled = fill("A {case} b\n\n{keeps}\n\n{officer}{keeps}\n\n{words} {authority}!\n\n", &values());
        assert_eq!(filled, "A 07 b\n\nSay {case}\n\n\nand {complaint}. !");
        assert_eq!(fill("\n\n{keeps}\nx", &values()), "x", "a letter begins with a letter");
    }

    #[test]
    fn a_template_is_refused_with_the_name_of_what_is_unknown_or_missing() {
        let refused = "{ground} {words} {complaint}";
        assert!(check(TemplateName::Refused, refused).is_ok());
        let told = |text: &str| check(TemplateName::Refused, text).unwrap_err().to_string();
        let unknown = told(&format!("{refused}\nDear {{name}},"));
        assert!(unknown.contains("{name}") && unknown.contains("{complaint}"), "{unknown}");
        assert!(told("{ground} {words}").contains("{complaint}"));
        assert!(told(&format!("{refused} {{done}}")).contains("{done}"), "it has no value here");
        for bad in ["{", "}", "a } b {date}", "{date", "{{date}}", "{}", "{Frau Müller}"] {
            let told = told(&format!("{refused} {bad}"));
            assert!(told.contains("brace"), "{bad}: {told}");
        }
        assert!(told("").contains("16384") && told("\u{1b}[2J").contains("16384"));
        assert!(told(&"x".repeat(MAX_TEMPLATE_BYTES + 1)).contains("16384"));
        for name in TemplateName::ALL {
            assert!(name.must_hold().iter().all(|must| name.may_hold().any(|may| may == *must)), "{name}");
            assert_eq!(name.as_str().parse(), Ok(name));
        }
    }
}
