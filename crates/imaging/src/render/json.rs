//! DICOM JSON (PS3.18 Annex F), read no further than is asked: metadata may be megabytes of functional groups.

use base64::Engine as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashMap};

/// A data set or an item.
#[derive(Debug, Default)]
pub(super) struct Object<'a>(HashMap<Cow<'a, str>, &'a RawValue>);

#[derive(Deserialize)]
struct Attribute<'a> {
    #[serde(borrow, default, rename = "Value")]
    values: Vec<&'a RawValue>,
    #[serde(borrow, default, rename = "BulkDataURI")]
    uri: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "InlineBinary")]
    inline: Option<Cow<'a, str>>,
}

/// Where the bytes of a value are.
pub(super) enum Words<'a> {
    /// Here.
    Numbers(Vec<f64>),
    /// Here, little endian.
    Bytes(Vec<u8>),
    /// In the instance, under this path.
    Bulk(Cow<'a, str>),
}

impl<'a> Object<'a> {
    pub(super) fn parse(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    fn attribute(&self, tag: &str) -> Option<Attribute<'a>> {
        serde_json::from_str(self.0.get(tag)?.get()).ok()
    }

    pub(super) fn has(&self, tag: &str) -> bool {
        self.0.contains_key(tag)
    }

    /// All numbers of a value; numbers that were written as text count.
    pub(super) fn numbers(&self, tag: &str) -> Vec<f64> {
        let values = self.attribute(tag).map(|attribute| attribute.values).unwrap_or_default();
        values.into_iter().map_while(number).collect()
    }

    pub(super) fn number(&self, tag: &str) -> Option<f64> {
        self.attribute(tag)?.values.first().and_then(|value| number(value))
    }

    /// A number that must be whole and not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a u32 just before")]
    pub(super) fn count(&self, tag: &str) -> Option<u32> {
        let number = self.number(tag)?;
        (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number)).then_some(number as u32)
    }

    pub(super) fn text(&self, tag: &str) -> Option<String> {
        let attribute = self.attribute(tag)?;
        let text: String = serde_json::from_str(attribute.values.first()?.get()).ok()?;
        Some(text.trim().to_owned())
    }

    /// Item `index` of a sequence.
    pub(super) fn item(&self, tag: &str, index: usize) -> Option<Self> {
        Self::parse(self.attribute(tag)?.values.get(index)?.get())
    }

    /// The numbers of a table.
    pub(super) fn words(&self, tag: &str) -> Option<Words<'a>> {
        let attribute = self.attribute(tag)?;
        if let Some(uri) = attribute.uri {
            return Some(Words::Bulk(uri));
        }
        if let Some(text) = attribute.inline {
            return base64::engine::general_purpose::STANDARD.decode(text.as_bytes()).ok().map(Words::Bytes);
        }
        Some(Words::Numbers(attribute.values.into_iter().map_while(number).collect()))
    }
}

fn number(value: &RawValue) -> Option<f64> {
    let text = value.get();
    let number: f64 = match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => inner.trim().parse().ok()?,
        None => text.parse().ok()?,
    };
    number.is_finite().then_some(number)
}
