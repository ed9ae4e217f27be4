//! An attribute that is corrected, and what it is to say.

use super::CoerceError;
use crate::{Tag, Vr};
use leadglass_model::Phi;
use std::fmt;

/// What an attribute is to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Coerced {
    pub(super) tag: Tag,
    pub(super) form: Form,
    pub(super) value: Phi<String>,
}

/// The form of an attribute's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) vr: Vr,
    /// Characters; of each component group of a name.
    max: usize,
}

impl Coerced {
    /// An attribute and its new value; an empty one empties it.
    ///
    /// # Errors
    /// [`CoerceError::NotCorrectable`], [`CoerceError::Form`].
    pub fn new(tag: Tag, value: Phi<String>) -> Result<Self, CoerceError> {
        let form = form(tag).ok_or(CoerceError::NotCorrectable { tag })?;
        let text = value.expose();
        let no_control = !text.chars().any(|c| c.is_control() || c == '\\') && text.trim_matches(' ') == text;
        let short = |text: &str| text.chars().count() <= form.max;
        let fits = match &form.vr.0 {
            b"PN" => text.split('=').count() <= 3 && text.split('=').all(|g| short(g) && g.split('^').count() <= 5),
            b"DA" => text.is_empty() || is_date(text),
            b"UI" => short(text) && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.'),
            b"CS" => short(text) && text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'_')),
            _ => short(text),
        };
        if no_control && fits { Ok(Self { tag, form, value }) } else { Err(CoerceError::Form { tag, vr: form.vr }) }
    }

    /// Which.
    pub const fn tag(&self) -> Tag {
        self.tag
    }
}

/// A day that there can be (PS3.5 §6.2, DA).
fn is_date(text: &str) -> bool {
    let of = |at: std::ops::Range<usize>| text.get(at).and_then(|digits| digits.parse::<u16>().ok());
    let digits = text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit());
    let (Some(year), Some(month), Some(day)) = (of(0..4), of(4..6), of(6..8)) else { return false };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    };
    digits && (1..=last).contains(&day)
}

impl fmt::Debug for Coerced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coerced").field("tag", &self.tag).finish_non_exhaustive()
    }
}

/// The attributes that a person corrects, and their forms.
pub(super) fn form(tag: Tag) -> Option<Form> {
    let (vr, max) = match tag {
        Tag(0x0008, 0x0020) | Tag(0x0010, 0x0030) => (b"DA", 8),
        Tag(0x0008, 0x0050) => (b"SH", 16),
        Tag(0x0008, 0x0090) | Tag(0x0010, 0x0010) => (b"PN", 64),
        Tag(0x0008, 0x1030) | Tag(0x0010, 0x0020 | 0x0021) => (b"LO", 64),
        Tag(0x0010, 0x0040) => (b"CS", 16),
        Tag(0x0008, 0x0018) | Tag(0x0020, 0x000D | 0x000E) => (b"UI", 64),
        _ => return None,
    };
    Some(Form { vr: Vr(*vr), max })
}
