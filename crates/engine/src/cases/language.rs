//! In which language a letter is written, and how the law is cited in it.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// In which language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// English.
    En,
    /// German.
    De,
    /// Italian.
    It,
    /// Spanish.
    Es,
    /// French.
    Fr,
}

/// Not a language that letters are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a language is en, de, it, es or fr")]
pub struct NoLanguage;

impl Language {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::En, Self::De, Self::It, Self::Es, Self::Fr];

    /// Its word (ISO 639).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
            Self::It => "it",
            Self::Es => "es",
            Self::Fr => "fr",
        }
    }

    /// A place of the GDPR, such as `17(3)(b)`, as it is cited in this language.
    pub(super) fn cite(self, place: &str) -> String {
        let mut parts = place.split(['(', ')']).filter(|part| !part.is_empty());
        let article = parts.next().unwrap_or(place);
        let mut cited = match self {
            Self::En => return format!("Art. {place} GDPR"),
            Self::De => format!("Art. {article}"),
            _ => format!("art. {article}"),
        };
        for part in parts {
            let is_letter = part.bytes().all(|b| b.is_ascii_lowercase());
            cited += &match (self, is_letter) {
                (Self::De, false) => format!(" Abs. {part}"),
                (Self::De, true) => format!(" Buchst. {part}"),
                (Self::It, false) => format!(", par. {part}"),
                (Self::It, true) => format!(", lett. {part})"),
                (Self::Es, false) => format!(".{part}"),
                (Self::Es, true) => format!(".{part})"),
                (_, false) => format!(", paragraphe {part}"),
                (_, true) => format!(", point {part})"),
            };
        }
        cited
            + match self {
                Self::De => " DSGVO",
                Self::It if place.contains('(') => ", GDPR",
                Self::Es => " RGPD",
                Self::Fr if place.contains('(') => ", du RGPD",
                Self::Fr => " du RGPD",
                _ => " GDPR",
            }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Language {
    type Err = NoLanguage;

    fn from_str(text: &str) -> Result<Self, NoLanguage> {
        Self::ALL.into_iter().find(|language| language.as_str() == text).ok_or(NoLanguage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_cited_as_each_language_does() {
        for (language, point, article) in [
            (Language::En, "Art. 17(3)(b) GDPR", "Art. 16 GDPR"),
            (Language::De, "Art. 17 Abs. 3 Buchst. b DSGVO", "Art. 16 DSGVO"),
            (Language::It, "art. 17, par. 3, lett. b), GDPR", "art. 16 GDPR"),
            (Language::Es, "art. 17.3.b) RGPD", "art. 16 RGPD"),
            (Language::Fr, "art. 17, paragraphe 3, point b), du RGPD", "art. 16 du RGPD"),
        ] {
            assert_eq!((language.cite("17(3)(b)").as_str(), language.cite("16").as_str()), (point, article));
            assert_eq!(language.as_str().parse(), Ok(language));
        }
        assert_eq!("nl".parse::<Language>(), Err(NoLanguage));
    }
}
