//! DICOM unique identifiers, parsed once at the edge.
//!
//! Source: PS3.5 §9.1 (digits and dots, at most 64) and §6.2 (UI: trailing NUL; trailing spaces occur in the field).
//! Components with a leading zero break the standard but are met in the field, so they pass.

use crate::Phi;

/// Why a text is not a UID. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UidError {
    /// No character is left once padding is gone.
    #[error("the UID is empty")]
    Empty,
    /// Longer than 64 characters.
    #[error("the UID is longer than 64 characters")]
    TooLong,
    /// A character other than a digit or a dot, or a misplaced dot.
    #[error("the UID holds something other than digits and single dots")]
    NotDigits,
}

/// Study Instance UID (0020,000D). It names a patient's visit, so it is PHI.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StudyUid(Phi<String>);

/// Series Instance UID (0020,000E), PHI.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesUid(Phi<String>);

/// SOP Instance UID (0008,0018), PHI.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SopInstanceUid(Phi<String>);

/// SOP Class UID (0008,0016): a kind of object, the same for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SopClassUid(String);

/// Transfer Syntax UID (0002,0010): an encoding, the same for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferSyntaxUid(String);

impl StudyUid {
    /// Reads a UID as received: padding removed, then checked.
    pub fn parse(text: &str) -> Result<Self, UidError> {
        parse(text).map(|t| Self(Phi::new(t)))
    }
    /// The text. Each caller answers for where it goes.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl SeriesUid {
    /// Reads a UID as received: padding removed, then checked.
    pub fn parse(text: &str) -> Result<Self, UidError> {
        parse(text).map(|t| Self(Phi::new(t)))
    }
    /// The text. Each caller answers for where it goes.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl SopInstanceUid {
    /// Reads a UID as received: padding removed, then checked.
    pub fn parse(text: &str) -> Result<Self, UidError> {
        parse(text).map(|t| Self(Phi::new(t)))
    }
    /// The text. Each caller answers for where it goes.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl SopClassUid {
    /// Reads a UID as received: padding removed, then checked.
    pub fn parse(text: &str) -> Result<Self, UidError> {
        parse(text).map(Self)
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TransferSyntaxUid {
    /// Reads a UID as received: padding removed, then checked.
    pub fn parse(text: &str) -> Result<Self, UidError> {
        parse(text).map(Self)
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for SopClassUid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for TransferSyntaxUid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn parse(text: &str) -> Result<String, UidError> {
    let text = text.trim_end_matches(['\0', ' ']).trim_start_matches(' ');
    if text.is_empty() {
        return Err(UidError::Empty);
    }
    if text.len() > MAX_LEN {
        return Err(UidError::TooLong);
    }
    if text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())) {
        Ok(text.to_owned())
    } else {
        Err(UidError::NotDigits)
    }
}

/// PS3.5 §9.1.
const MAX_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_goes_and_the_rest_is_checked() {
        assert_eq!(StudyUid::parse("1.2.840\0").unwrap().expose(), "1.2.840");
        assert_eq!(StudyUid::parse("1.2.840 ").unwrap().expose(), "1.2.840");
        assert_eq!(StudyUid::parse("\0"), Err(UidError::Empty));
        assert_eq!(StudyUid::parse(&"1".repeat(65)), Err(UidError::TooLong));
        for bad in ["1..2", ".1", "1.", "1.2/..", "1.2a", "../../x"] {
            assert_eq!(StudyUid::parse(bad), Err(UidError::NotDigits), "{bad}");
        }
    }

    #[test]
    fn a_study_uid_is_mute() {
        assert_eq!(format!("{:?}", StudyUid::parse("1.2").unwrap()), "StudyUid(‹phi›)");
    }
}
