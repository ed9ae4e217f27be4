//! DICOM JSON objects of our own making (PS3.18 Annex F): the answers of QIDO-RS.

use leadglass_model::Phi;
use serde_json::{Map, Value, json};

/// One object; attributes go in by tag and are written in ascending order.
#[derive(Default)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// A text of one value; absent or empty ones are left out.
    pub(crate) fn text(&mut self, tag: u32, vr: &str, value: Option<&Phi<String>>) {
        if let Some(value) = value.filter(|v| !v.expose().is_empty()) {
            self.word(tag, vr, value.expose());
        }
    }

    /// A text of one value.
    pub(crate) fn word(&mut self, tag: u32, vr: &str, value: &str) {
        self.put(tag, json!({ "vr": vr, "Value": [value] }));
    }

    /// A text of several values.
    pub(crate) fn words(&mut self, tag: u32, vr: &str, values: &[String]) {
        if !values.is_empty() {
            self.put(tag, json!({ "vr": vr, "Value": values }));
        }
    }

    /// A number.
    pub(crate) fn number(&mut self, tag: u32, vr: &str, value: impl Into<serde_json::Number>) {
        self.put(tag, json!({ "vr": vr, "Value": [value.into()] }));
    }

    /// A person's name: component groups, separated by `=` (PS3.5 §6.2.1).
    pub(crate) fn name(&mut self, tag: u32, value: Option<&Phi<String>>) {
        let Some(value) = value.filter(|v| !v.expose().is_empty()) else { return };
        let groups = ["Alphabetic", "Ideographic", "Phonetic"].into_iter().zip(value.expose().split('='));
        let name: Map<String, Value> =
            groups.filter(|(_, text)| !text.is_empty()).map(|(group, text)| (group.to_owned(), json!(text))).collect();
        self.put(tag, json!({ "vr": "PN", "Value": [name] }));
    }

    /// The object.
    pub(crate) fn into_json(self) -> Value {
        Value::Object(self.0)
    }

    fn put(&mut self, tag: u32, value: Value) {
        self.0.insert(format!("{tag:08X}"), value);
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
        assert_eq!(object.into_json(), expected);
    }

    #[test]
    fn empty_attributes_are_left_out() {
        let mut object = Object::default();
        object.text(0x0010_0020, "LO", Some(&Phi::new(String::new())));
        object.text(0x0010_0021, "LO", None);
        object.name(0x0010_0010, None);
        assert_eq!(object.into_json(), json!({}));
    }
}
