//! Lists and texts that cannot be longer than they say.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use std::{fmt, marker::PhantomData};

/// A list of at most `MAX` values. Reading stops at the first value too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Few<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Few<T, MAX> {
    /// The list, if it is short enough.
    pub fn new(values: Vec<T>) -> Option<Self> {
        (values.len() <= MAX).then_some(Self(values))
    }

    /// The values.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for Few<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> std::ops::Deref for Few<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Few<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Seq<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Seq<T, MAX> {
            type Value = Few<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} values")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    if values.len() == MAX {
                        return Err(A::Error::custom("too many values"));
                    }
                    values.push(value);
                }
                Ok(Few(values))
            }
        }
        d.deserialize_seq(Seq(PhantomData))
    }
}

/// A short code: 1 to 64 of `a-z 0-9 - . : / _`, never prose, so that nobody can put a patient's name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Word(String);

impl Word {
    /// The word, if `text` is one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b':' | b'/' | b'_'));
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::new(&text).ok_or_else(|| D::Error::custom("not a word of 1 to 64 lower-case characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_with_one_value_too_many_is_refused() {
        assert!(serde_json::from_str::<Few<u8, 2>>("[1,2]").is_ok());
        assert!(serde_json::from_str::<Few<u8, 2>>("[1,2,3]").is_err());
    }

    #[test]
    fn a_word_is_no_prose() {
        assert!(Word::new("ward-3/round").is_some());
        for text in ["", "Mrs Example", "ä", &"x".repeat(65)] {
            assert!(Word::new(text).is_none(), "{text}");
        }
    }
}
