//! The DICOM JSON model, read (PS3.18 Annex F).
//!
//! No tree of JSON is built: each value goes from the text into its element's value field. What is nested is looked at
//! level by level, so the depth that is allowed bounds the work.

use super::{
    Allowance, MAX_DEPTH, Misread, ModelError,
    data_set::{self, DataSet, Element, Value, ValueWriter},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use leadglass_model::Phi;
use leadglass_tap::Vr;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// Reads metadata: an array of data sets, or one alone. An error means that it is no JSON of that form, or
/// more of it than is read; a data set whose content is not understood fails by itself.
pub(super) fn read(
    text: &[u8],
    most: usize,
    elements: &mut Allowance,
) -> Result<Vec<Result<DataSet, Misread>>, ModelError> {
    let raw: &RawValue = serde_json::from_slice(text).map_err(|_| ModelError::Syntax)?;
    let mut sets = Vec::new();
    let mut one = |raw| {
        if sets.len() >= most {
            return Err(ModelError::TooMany);
        }
        match data_set(raw, 0, elements) {
            Err(ModelError::TooManyElements) => return Err(ModelError::TooManyElements),
            set => sets.push(set.map_err(Misread::from).and_then(DataSet::sound)),
        }
        Ok(())
    };
    if raw.get().starts_with('{') {
        one(raw)?
    } else {
        each(raw, one)?
    }
    Ok(sets)
}

fn data_set(raw: &RawValue, depth: usize, elements: &mut Allowance) -> Result<DataSet, ModelError> {
    if depth > MAX_DEPTH {
        return Err(ModelError::TooDeep);
    }
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    let members = Members(elements).deserialize(&mut reader);
    let members =
        members.map_err(|_| if elements.is_overdrawn() { ModelError::TooManyElements } else { ModelError::Syntax })?;
    let mut set = DataSet::default();
    for (name, member) in members {
        match put(&mut set, &name, member, depth, elements) {
            Err(ModelError::TooManyElements) => return Err(ModelError::TooManyElements),
            Err(flaw) => set.flawed(flaw),
            Ok(()) => {}
        }
    }
    Ok(set)
}

fn put(
    set: &mut DataSet,
    name: &str,
    member: Member<'_>,
    depth: usize,
    elements: &mut Allowance,
) -> Result<(), ModelError> {
    let (tag, vr) = (data_set::tag(name)?, data_set::vr(&member.vr)?);
    set.put(tag, Element { vr, value: value(vr, member, depth, elements)? })
}

fn value(vr: Vr, member: Member<'_>, depth: usize, elements: &mut Allowance) -> Result<Value, ModelError> {
    match member {
        Member { bulk: Some(uri), value: None, inline: None, .. } => Ok(Value::Bulk(Phi::new(uri.into_owned()))),
        Member { inline: Some(text), value: None, bulk: None, .. } if vr.is_binary() => {
            let mut bytes = BASE64_STANDARD.decode(text.as_bytes()).map_err(|_| ModelError::Value)?;
            if !bytes.len().is_multiple_of(2) {
                bytes.push(0);
            }
            Ok(Value::Bytes(bytes))
        }
        Member { value: Some(values), bulk: None, inline: None, .. } if vr == Vr::SQ => {
            let mut items = Vec::new();
            each(values, |raw| {
                elements.spend(1).ok_or(ModelError::TooManyElements)?;
                // An empty item is written as null by some (PS3.18 §F.2.5).
                items.push(if raw.get() == "null" { DataSet::default() } else { data_set(raw, depth + 1, elements)? });
                Ok(())
            })?;
            Ok(Value::Items(items))
        }
        Member { value: Some(values), bulk: None, inline: None, .. } => {
            let mut writer = ValueWriter::new(vr);
            each(values, |raw| one(&mut writer, vr, raw))?;
            Ok(Value::Bytes(writer.finish()))
        }
        Member { value: None, bulk: None, inline: None, .. } if vr == Vr::SQ => Ok(Value::Items(Vec::new())),
        Member { value: None, bulk: None, inline: None, .. } => Ok(Value::Bytes(Vec::new())),
        // Two values, or bytes in an element of words.
        Member { .. } => Err(ModelError::Value),
    }
}

fn one(writer: &mut ValueWriter, vr: Vr, raw: &RawValue) -> Result<(), ModelError> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => {
            let text: Text<'_> = serde_json::from_str(text).map_err(|_| ModelError::Value)?;
            writer.text(&text.0)
        }
        Some(b'{') if &vr.0 == b"PN" => {
            let name: PersonName<'_> = serde_json::from_str(text).map_err(|_| ModelError::Value)?;
            writer.text(&name.joined())
        }
        Some(b'n') => writer.empty(),
        Some(b'-' | b'0'..=b'9') => writer.number(text),
        _ => Err(ModelError::Value),
    }
}

/// Calls `told` with each element of an array, without keeping them.
fn each<'a>(raw: &'a RawValue, told: impl FnMut(&'a RawValue) -> Result<(), ModelError>) -> Result<(), ModelError> {
    struct Each<'e, F> {
        told: F,
        failed: &'e mut Option<ModelError>,
    }
    impl<'de, F: FnMut(&'de RawValue) -> Result<(), ModelError>> DeserializeSeed<'de> for Each<'_, F> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_seq(self)
        }
    }
    impl<'de, F: FnMut(&'de RawValue) -> Result<(), ModelError>> Visitor<'de> for Each<'_, F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
            while let Some(raw) = elements.next_element::<&'de RawValue>()? {
                if self.failed.is_none() {
                    *self.failed = (self.told)(raw).err();
                }
            }
            Ok(())
        }
    }
    let mut failed = None;
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    Each { told, failed: &mut failed }.deserialize(&mut reader).map_err(|_| ModelError::Syntax)?;
    failed.map_or(Ok(()), Err)
}

/// An element as JSON has it. Members that are not known are passed over.
#[derive(Deserialize)]
struct Member<'a> {
    #[serde(borrow)]
    vr: Cow<'a, str>,
    #[serde(borrow, rename = "Value")]
    value: Option<&'a RawValue>,
    #[serde(borrow, rename = "BulkDataURI")]
    bulk: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "InlineBinary")]
    inline: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Component groups of a name (PS3.18 §F.2.2).
#[derive(Deserialize)]
struct PersonName<'a> {
    #[serde(borrow, default, rename = "Alphabetic")]
    alphabetic: Cow<'a, str>,
    #[serde(borrow, default, rename = "Ideographic")]
    ideographic: Cow<'a, str>,
    #[serde(borrow, default, rename = "Phonetic")]
    phonetic: Cow<'a, str>,
}

impl PersonName<'_> {
    fn joined(&self) -> String {
        let whole = format!("{}={}={}", self.alphabetic, self.ideographic, self.phonetic);
        whole.trim_end_matches('=').to_owned()
    }
}

/// Reads the members of an object, each an element; a name may come twice.
struct Members<'e>(&'e mut Allowance);

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Vec<(String, Member<'de>)>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<(String, Member<'de>)>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, member)) = map.next_entry::<String, Member<'de>>()? {
            self.0.spend(1).ok_or_else(|| A::Error::custom("too many elements"))?;
            members.push((name, member));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::MAX_ELEMENTS, *};
    use leadglass_tap::Tag;

    fn read(text: &[u8], most: usize) -> Result<Vec<Result<DataSet, Misread>>, ModelError> {
        super::read(text, most, &mut Allowance::of(MAX_ELEMENTS))
    }

    fn bytes(json: &str, tag: Tag) -> Vec<u8> {
        let mut sets = read(json.as_bytes(), 10).unwrap();
        let set = sets.remove(0).unwrap();
        match &set.elements[&tag].value {
            Value::Bytes(bytes) => bytes.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_become_what_they_are_in_dicom() {
        let name = r#"{"00100010":{"Value":[{"Ideographic":"山田^太郎","Alphabetic":"Yamada^Tarou"}],"vr":"PN"}}"#;
        assert_eq!(bytes(name, Tag(0x10, 0x10)), "Yamada^Tarou=山田^太郎".as_bytes());
        let type_ = r#"[{"00080008":{"vr":"CS","Value":["A",null,"B"]}}]"#;
        assert_eq!(bytes(type_, Tag(8, 8)), b"A\\\\B");
        let spacing = r#"{"00280030":{"vr":"DS","Value":[0.5,1e-1,"0.7"]}}"#;
        assert_eq!(bytes(spacing, Tag(0x28, 0x30)), b"0.5\\1e-1\\0.7");
        let binary = r#"{"00091010":{"vr":"OB","InlineBinary":"AQID"}}"#;
        assert_eq!(bytes(binary, Tag(9, 0x1010)), [1, 2, 3, 0]);
        let escaped = r#"{"00104000":{"vr":"LT","Value":["a\nb\u00e9"]}}"#;
        assert_eq!(bytes(escaped, Tag(0x10, 0x4000)), "a\nbé ".as_bytes());
        assert_eq!(bytes(r#"{"00100020":{"vr":"LO"}}"#, Tag(0x10, 0x20)), b"");
    }

    #[test]
    fn what_is_not_the_model_is_refused() {
        for text in ["", "x", "3", "[1", "\"a\"", "[{}", "{\"a\""] {
            assert!(read(text.as_bytes(), 10).is_err(), "{text}");
        }
        for text in [
            r#"{"0010":{"vr":"LO"}}"#,
            r#"{"00100020":{}}"#,
            r#"{"00100020":{"vr":"lo"}}"#,
            r#"{"00100020":{"vr":"LO","Value":[{}]}}"#,
            r#"{"00100020":{"vr":"LO","Value":"x"}}"#,
            r#"{"00100020":{"vr":"LO","Value":["x"],"BulkDataURI":"y"}}"#,
            r#"{"00280010":{"vr":"US","Value":[null]}}"#,
            r#"{"00280010":{"vr":"US","Value":[true]}}"#,
            r#"{"7FE00010":{"vr":"OW","InlineBinary":"*"}}"#,
            r#"{"FFFEE000":{"vr":"UN"}}"#,
            r#"[3]"#,
        ] {
            assert!(read(text.as_bytes(), 10).unwrap()[0].is_err(), "{text}");
        }
        assert!(matches!(read(b"[{},{},{}]", 2), Err(ModelError::TooMany)));
    }

    #[test]
    fn what_contradicts_itself_fails_and_is_named() {
        let id = r#""00080018":{"vr":"UI","Value":["1.2.3"]},"00080016":{"vr":"UI","Value":["1.2.4"]}"#;
        for twice in [
            r#""00100020":{"vr":"LO","Value":["A"]},"00100020":{"vr":"LO","Value":["B"]}"#,
            r#""0020000D":{"vr":"UI","Value":["1.2"]},"0020000d":{"vr":"UI","Value":["1.3"]}"#,
            r#""00100020":{"vr":"LO","Value":["A"],"Value":["B"]}"#,
            r#""00081140":{"vr":"SQ","Value":[{"00081155":{"vr":"UI"},"00081155":{"vr":"UI"}}]}"#,
            r#""7FE00010":{"vr":"OB","InlineBinary":"AQID","BulkDataURI":"x"}"#,
            r#""7FE00010":{"vr":"OB","InlineBinary":"AQID","Value":["x"]}"#,
        ] {
            let sets = read(format!("[{{{id},{twice}}},{{{id}}}]").as_bytes(), 10).unwrap();
            let Err(Misread { names, .. }) = &sets[0] else { panic!("{twice}") };
            // Members that come twice inside of an element leave no data set to take names from.
            let is_named = names.instance.as_ref().is_some_and(|uid| uid.expose() == "1.2.3");
            assert!(is_named != twice.contains(r#"["A"],"Value""#), "{twice}");
            assert!(sets[1].is_ok(), "{twice}: the next is none the worse");
        }
    }

    #[test]
    fn depth_is_bounded_and_costs_no_stack() {
        let nested = |depth: usize| {
            format!("{}{{}}{}", r#"{"00081140":{"vr":"SQ","Value":["#.repeat(depth), "]}}".repeat(depth))
        };
        assert!(read(nested(MAX_DEPTH).as_bytes(), 1).unwrap()[0].is_ok());
        assert!(read(nested(MAX_DEPTH + 1).as_bytes(), 1).unwrap()[0].is_err());
        let brackets = "[".repeat(4 << 20);
        assert!(read(brackets.as_bytes(), 1).is_err());
        let deep = nested(200_000);
        assert!(read(deep.as_bytes(), 1).map_or(true, |sets| sets[0].is_err()));
    }

    #[test]
    fn elements_and_items_are_counted_over_all_data_sets() {
        // Four each: an element, two items, and an element in one of them.
        let set = r#"{"00081140":{"vr":"SQ","Value":[null,{"00081155":{"vr":"UI"}}]}}"#;
        let read = |sets: &str, most| super::read(sets.as_bytes(), 10, &mut Allowance::of(most)).map(|sets| sets.len());
        for (sets, len) in [(set.to_owned(), 1), (format!("[{set},{set}]"), 2)] {
            assert_eq!(read(&sets, 4 * len), Ok(usize::try_from(len).unwrap()));
            assert_eq!(read(&sets, 4 * len - 1), Err(ModelError::TooManyElements), "of the whole request");
        }
        let mut left = Allowance::of(6);
        assert!(super::read(set.as_bytes(), 10, &mut left).is_ok());
        assert!(super::read(set.as_bytes(), 10, &mut left).is_err(), "and of all its parts");
        let twice = r#"{"00100020":{"vr":"LO"},"00100020":{"vr":"LO"}}"#;
        assert_eq!(read(twice, 1), Err(ModelError::TooManyElements));
    }
}
