//! DICOM JSON objects of our own making (PS3.18 Annex F): the answers of QIDO-RS.

use leadglass_model::Phi;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One object; attributes go in in any order and come out ascending.
#[derive(Debug, Default)]
pub(crate) struct Object(BTreeMap<u32, Attribute>);

/// An attribute on its way out.
pub(crate) struct Attribute {
    pub(crate) vr: &'static str,
    pub(crate) values: Vec<Content>,
}

/// One value.
pub(crate) enum Content {
    Text(String),
    Number(i64),
    /// Component groups, separated by `=` (PS3.5 §6.2.1).
    Name(String),
    /// Of a sequence.
    Item(Object),
}

impl Object {
    /// A text of one value; without a value if it is absent or empty.
    pub(crate) fn text(&mut self, tag: u32, vr: &'static str, value: Option<&Phi<String>>) {
        let value = value.map(|v| v.expose().as_str()).filter(|v| !v.is_empty());
        self.put(tag, vr, value.map(|v| Content::Text(v.to_owned())));
    }

    /// A text of one value.
    pub(crate) fn word(&mut self, tag: u32, vr: &'static str, value: &str) {
        self.put(tag, vr, Some(Content::Text(value.to_owned())));
    }

    /// A text of several values.
    pub(crate) fn words(&mut self, tag: u32, vr: &'static str, values: &[String]) {
        self.put(tag, vr, values.iter().cloned().map(Content::Text));
    }

    /// A number; without a value if it is absent.
    pub(crate) fn number(&mut self, tag: u32, vr: &'static str, value: Option<impl Into<i64>>) {
        self.put(tag, vr, value.map(|v| Content::Number(v.into())));
    }

    /// A person's name; without a value if it is absent or empty.
    pub(crate) fn name(&mut self, tag: u32, value: Option<&Phi<String>>) {
        let value = value.map(|v| v.expose().as_str()).filter(|v| !v.is_empty());
        self.put(tag, "PN", value.map(|v| Content::Name(v.to_owned())));
    }

    /// A sequence.
    pub(crate) fn items(&mut self, tag: u32, items: impl IntoIterator<Item = Self>) {
        self.put(tag, "SQ", items.into_iter().map(Content::Item));
    }

    /// Its attributes, ascending.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (u32, &Attribute)> {
        self.0.iter().map(|(tag, attribute)| (*tag, attribute))
    }

    /// The object as JSON.
    pub(crate) fn to_json(&self) -> Value {
        let attribute = |(tag, attribute): (&u32, &Attribute)| {
            let values: Vec<Value> = attribute.values.iter().map(Content::to_json).collect();
            let mut json = json!({ "vr": attribute.vr });
            if !values.is_empty() {
                json["Value"] = Value::Array(values);
            }
            (format!("{tag:08X}"), json)
        };
        Value::Object(self.0.iter().map(attribute).collect::<Map<_, _>>())
    }

    fn put(&mut self, tag: u32, vr: &'static str, values: impl IntoIterator<Item = Content>) {
        self.0.insert(tag, Attribute { vr, values: values.into_iter().collect() });
    }
}

impl Content {
    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Item(object) => object.to_json(),
            Self::Name(name) => {
                let groups = groups(name).map(|(group, text)| (group.to_owned(), json!(text)));
                Value::Object(groups.collect())
            }
        }
    }
}

/// The groups of a name that are there, each with its word in JSON and XML.
pub(crate) fn groups(name: &str) -> impl Iterator<Item = (&'static str, &str)> {
    let groups = ["Alphabetic", "Ideographic", "Phonetic"].into_iter().zip(name.splitn(3, '='));
    groups.filter(|(_, text)| !text.is_empty())
}

// Values name patients.
impl std::fmt::Debug for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ‹phi›", self.vr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_into_groups() {
        let mut object = Object::default();
        object.name(0x0010_0010, Some(&Phi::new("Yamada^Tarou=山田^太郎=".to_owned())));
        let expected = json!({ "00100010": { "vr": "PN", "Value": [
            { "Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎" }
        ] } });
        assert_eq!(object.to_json(), expected);
    }

    #[test]
    fn attributes_without_a_value_have_a_vr_only() {
        let mut object = Object::default();
        object.text(0x0010_0020, "LO", Some(&Phi::new(String::new())));
        object.name(0x0010_0010, None);
        object.number(0x0020_0011, "IS", None::<i64>);
        let expected = json!({ "00100010": { "vr": "PN" }, "00100020": { "vr": "LO" }, "00200011": { "vr": "IS" } });
        assert_eq!(object.to_json(), expected);
    }
}
