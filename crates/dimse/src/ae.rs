//! Application entity titles.
//!
//! Source: PS3.5 §6.2 (AE: at most 16 characters of the default repertoire, no backslash, no control characters, leading
//! and trailing spaces without meaning). A title is what a peer claims; `Debug` is mute so that claims stay out of logs.

use std::{fmt, str::FromStr};

/// A checked title, without padding, never empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AeTitle(String);

/// Why a text is not an application entity title. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an AE title is 1 to 16 printable ASCII characters without a backslash")]
pub struct AeTitleError;

impl AeTitle {
    /// Reads a title as received or configured: padding removed, then checked.
    pub fn parse(text: &str) -> Result<Self, AeTitleError> {
        let text = text.trim_matches([' ', '\0']);
        let printable = text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'\\');
        if text.is_empty() || text.len() > MAX_LEN || !printable {
            return Err(AeTitleError);
        }
        Ok(Self(text.to_owned()))
    }

    /// The title.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AeTitle {
    type Err = AeTitleError;
    fn from_str(text: &str) -> Result<Self, AeTitleError> {
        Self::parse(text)
    }
}

impl fmt::Debug for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeTitle(‹as claimed›)")
    }
}

const MAX_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_goes_and_the_rest_is_checked() {
        assert_eq!(AeTitle::parse(" CT 1  ").unwrap().as_str(), "CT 1");
        assert_eq!(AeTitle::parse("CT1\0\0").unwrap().as_str(), "CT1");
        for bad in ["", "    ", "A\\B", "A\nB", "ABCDEFGHIJKLMNOPQ", "Ä"] {
            assert_eq!(AeTitle::parse(bad), Err(AeTitleError), "{bad:?}");
        }
    }

    #[test]
    fn debug_does_not_repeat_a_claim() {
        assert!(!format!("{:?}", AeTitle::parse("CANARY").unwrap()).contains("CANARY"));
    }
}
