//! The native DICOM model in XML, read (PS3.19 §A.1).
//!
//! A stack of open elements and no recursion. A document type is refused: there are no entities to expand but the five of
//! XML and characters by number, and nothing outside of the text is ever read.

use super::{
    Allowance, MAX_DEPTH, ModelError,
    data_set::{self, DataSet, Element, Value, ValueWriter},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use leadglass_model::Phi;
use leadglass_tap::{Tag, Vr};
use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
};

/// Reads one document: one data set.
pub(super) fn read(text: &[u8], elements: &mut Allowance) -> Result<DataSet, ModelError> {
    let text = std::str::from_utf8(text).map_err(|_| ModelError::Syntax)?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{FEFF}'));
    reader.config_mut().expand_empty_elements = true;
    let mut walk = Walk::default();
    loop {
        match reader.read_event().map_err(|_| ModelError::Syntax)? {
            Event::Start(start) => walk.open(&start, elements)?,
            Event::End(_) => walk.close()?,
            Event::Text(text) => walk.text(&text.xml10_content().map_err(|_| ModelError::Syntax)?),
            Event::CData(text) => walk.text(&text.xml10_content().map_err(|_| ModelError::Syntax)?),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|_| ModelError::Syntax)? {
                Some(character) => walk.text(character.encode_utf8(&mut [0; 4])),
                None => {
                    let name = reference.decode().map_err(|_| ModelError::Syntax)?;
                    walk.text(resolve_predefined_entity(&name).ok_or(ModelError::Syntax)?);
                }
            },
            Event::DocType(_) => return Err(ModelError::Syntax),
            Event::Eof => return walk.done.ok_or(ModelError::Syntax),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

/// What is open.
#[derive(Debug, Default)]
struct Walk {
    open: Vec<Node>,
    sequences: usize,
    done: Option<DataSet>,
}

#[derive(Debug)]
enum Node {
    /// `NativeDicomModel` or `Item`.
    Set(DataSet),
    Attribute(Box<Attribute>),
    /// `Value` and its text.
    Value(String),
    InlineBinary(String),
    /// `PersonName`: its component groups.
    Name([Vec<String>; 3]),
    /// One component group: its number, and its components.
    Group(usize, [String; 5]),
    /// One component: its number and text.
    Component(usize, String),
    /// Known and without content of its own, or unknown.
    Other,
}

#[derive(Debug)]
struct Attribute {
    tag: Tag,
    vr: Vr,
    creator: Option<String>,
    writer: ValueWriter,
    has_values: bool,
    items: Vec<DataSet>,
    inline: Option<Vec<u8>>,
    bulk: Option<String>,
}

impl Walk {
    fn open(&mut self, start: &BytesStart<'_>, elements: &mut Allowance) -> Result<(), ModelError> {
        if self.open.len() > MAX_OPEN {
            return Err(ModelError::TooDeep);
        }
        let name = start.local_name();
        let node = match (self.open.last_mut(), name.as_ref()) {
            (None, b"NativeDicomModel") if self.done.is_none() => Node::Set(DataSet::default()),
            (None, _) => return Err(ModelError::Syntax),
            (Some(Node::Set(_)), b"DicomAttribute") => {
                let attribute = Attribute::of(start)?;
                // A creator may become an element, too.
                let count = if attribute.creator.is_some() { 2 } else { 1 };
                elements.spend(count).ok_or(ModelError::TooManyElements)?;
                Node::Attribute(Box::new(attribute))
            }
            (Some(Node::Attribute(attribute)), b"Item") if attribute.vr == Vr::SQ => {
                elements.spend(1).ok_or(ModelError::TooManyElements)?;
                self.sequences += 1;
                if self.sequences > MAX_DEPTH {
                    return Err(ModelError::TooDeep);
                }
                Node::Set(DataSet::default())
            }
            (Some(Node::Attribute(_)), b"Value") => Node::Value(String::new()),
            (Some(Node::Attribute(_)), b"InlineBinary") => Node::InlineBinary(String::new()),
            (Some(Node::Attribute(attribute)), b"PersonName") if &attribute.vr.0 == b"PN" => {
                Node::Name(Default::default())
            }
            (Some(Node::Attribute(attribute)), b"BulkData") => {
                let uri = word(start, b"uri")?.or(word(start, b"uuid")?).ok_or(ModelError::Value)?;
                if attribute.bulk.replace(uri).is_some() {
                    return Err(ModelError::Twice);
                }
                Node::Other
            }
            (Some(Node::Name(_)), group) => match index(&GROUPS, group) {
                Some(number) => Node::Group(number, Default::default()),
                None => Node::Other,
            },
            (Some(Node::Group(..)), component) => match index(&COMPONENTS, component) {
                Some(number) => Node::Component(number, String::new()),
                None => Node::Other,
            },
            (Some(Node::Other), _) => Node::Other,
            // What the model does not have in this place would be a value that is lost.
            (Some(_), _) => return Err(ModelError::Value),
        };
        self.open.push(node);
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some(Node::Value(out) | Node::InlineBinary(out) | Node::Component(_, out)) = self.open.last_mut() {
            out.push_str(text);
        }
    }

    fn close(&mut self) -> Result<(), ModelError> {
        let Some(node) = self.open.pop() else { return Err(ModelError::Syntax) };
        match (node, self.open.last_mut()) {
            (Node::Set(set), None) => self.done = Some(set),
            (Node::Set(set), Some(Node::Attribute(attribute))) => {
                self.sequences -= 1;
                attribute.items.push(set);
            }
            (Node::Attribute(attribute), Some(Node::Set(set))) => {
                if let Err(flaw) = attribute.settle(set) {
                    set.flawed(flaw);
                }
            }
            (Node::Value(text), Some(Node::Attribute(attribute))) => {
                attribute.has_values = true;
                if text.is_empty() { attribute.writer.empty()? } else { attribute.writer.text(&text)? }
            }
            (Node::InlineBinary(text), Some(Node::Attribute(attribute))) => {
                let text: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
                let bytes = BASE64_STANDARD.decode(text).map_err(|_| ModelError::Value)?;
                if attribute.inline.replace(bytes).is_some() {
                    return Err(ModelError::Twice);
                }
            }
            (Node::Name(groups), Some(Node::Attribute(attribute))) => {
                let groups = groups.map(|group| group.join("^").trim_end_matches('^').to_owned());
                attribute.has_values = true;
                attribute.writer.text(groups.join("=").trim_end_matches('='))?;
            }
            (Node::Group(number, components), Some(Node::Name(groups))) => {
                if let Some(group) = groups.get_mut(number) {
                    if !group.is_empty() {
                        return Err(ModelError::Twice);
                    }
                    *group = components.into();
                }
            }
            (Node::Component(number, text), Some(Node::Group(_, components))) => {
                if let Some(component) = components.get_mut(number) {
                    if !component.is_empty() {
                        return Err(ModelError::Twice);
                    }
                    *component = text;
                }
            }
            (Node::Other, _) => {}
            _ => return Err(ModelError::Syntax),
        }
        Ok(())
    }
}

impl Attribute {
    fn of(start: &BytesStart<'_>) -> Result<Self, ModelError> {
        let tag = data_set::tag(&word(start, b"tag")?.ok_or(ModelError::Tag)?)?;
        let vr = data_set::vr(&word(start, b"vr")?.ok_or(ModelError::Vr)?)?;
        let creator = word(start, b"privateCreator")?.filter(|creator| tag.is_private() && !creator.is_empty());
        let writer = ValueWriter::new(vr);
        Ok(Self { tag, vr, creator, writer, has_values: false, items: Vec::new(), inline: None, bulk: None })
    }

    /// Complete: into its data set.
    fn settle(self, set: &mut DataSet) -> Result<(), ModelError> {
        let Self { tag, vr, creator, writer, has_values, items, inline, bulk } = self;
        let value = match (inline, bulk, has_values) {
            (None, None, _) if vr == Vr::SQ => Value::Items(items),
            (None, None, _) => Value::Bytes(writer.finish()),
            (Some(mut bytes), None, false) if vr.is_binary() => {
                if !bytes.len().is_multiple_of(2) {
                    bytes.push(0);
                }
                Value::Bytes(bytes)
            }
            (None, Some(uri), false) => Value::Bulk(Phi::new(uri)),
            _ => return Err(ModelError::Value),
        };
        let element = Element { vr, value };
        match creator {
            // Only a private element has a creator; a creator's own element has none.
            Some(creator) => set.put_private(tag, &creator, element),
            None => set.put(tag, element),
        }
    }
}

/// An XML attribute.
fn word(start: &BytesStart<'_>, name: &[u8]) -> Result<Option<String>, ModelError> {
    for attribute in start.attributes().with_checks(false).take(MAX_ATTRIBUTES) {
        let attribute = attribute.map_err(|_| ModelError::Syntax)?;
        if attribute.key.as_ref() == name {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| ModelError::Syntax)?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

fn index(names: &[&[u8]], name: &[u8]) -> Option<usize> {
    names.iter().position(|known| *known == name)
}

const GROUPS: [&[u8]; 3] = [b"Alphabetic", b"Ideographic", b"Phonetic"];
const COMPONENTS: [&[u8]; 5] = [b"FamilyName", b"GivenName", b"MiddleName", b"NamePrefix", b"NameSuffix"];
/// Elements open at once: two a level of nesting, and what stands in an attribute.
const MAX_OPEN: usize = 2 * MAX_DEPTH + 8;
/// XML attributes of an element that are looked at.
const MAX_ATTRIBUTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::{super::MAX_ELEMENTS, *};

    fn read(text: &[u8]) -> Result<DataSet, ModelError> {
        let set = super::read(text, &mut Allowance::of(MAX_ELEMENTS))?;
        set.sound().map_err(|misread| misread.error)
    }

    fn model(inside: &str) -> String {
        format!(r#"<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xmlns="n">{inside}</NativeDicomModel>"#)
    }

    fn bytes(inside: &str, tag: Tag) -> Vec<u8> {
        match &read(model(inside).as_bytes()).unwrap().elements[&tag].value {
            Value::Bytes(bytes) => bytes.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_become_what_they_are_in_dicom() {
        let name = r#"<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1">
            <Alphabetic><FamilyName>O&apos;Neil &amp; &#x41;</FamilyName><GivenName>Anna</GivenName><NamePrefix>Dr</NamePrefix></Alphabetic>
            <Ideographic><FamilyName>山田</FamilyName></Ideographic></PersonName></DicomAttribute>"#;
        assert_eq!(bytes(name, Tag(0x10, 0x10)), "O'Neil & A^Anna^^Dr=山田".as_bytes());
        let type_ = r#"<DicomAttribute tag="00080008" vr="CS"><Value number="1">A</Value><Value number="2"/><Value number="3"><![CDATA[B]]></Value></DicomAttribute>"#;
        assert_eq!(bytes(type_, Tag(8, 8)), b"A\\\\B");
        let number = r#"<DicomAttribute tag="00280010" vr="US"><Value number="1">512</Value></DicomAttribute>"#;
        assert_eq!(bytes(number, Tag(0x28, 0x10)), [0, 2]);
        let binary = r#"<DicomAttribute tag="00090001" vr="OB" privateCreator="ACME"><InlineBinary>AQ ID</InlineBinary></DicomAttribute>"#;
        assert_eq!(bytes(binary, Tag(9, 0x1001)), [1, 2, 3, 0]);
        assert_eq!(bytes(binary, Tag(9, 0x10)), b"ACME");
        let sequence = r#"<DicomAttribute tag="00081140" vr="SQ"><Item number="1"><DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2</Value></DicomAttribute></Item></DicomAttribute>"#;
        let set = read(model(sequence).as_bytes()).unwrap();
        let Value::Items(items) = &set.elements[&Tag(8, 0x1140)].value else { panic!() };
        assert_eq!(items[0].text(Tag(8, 0x1155)), Some("1.2"));
        let bulk = r#"<DicomAttribute tag="7FE00010" vr="OW"><BulkData uri="a&amp;b"/></DicomAttribute>"#;
        let set = read(model(bulk).as_bytes()).unwrap();
        assert!(matches!(&set.elements[&Tag(0x7FE0, 0x10)].value, Value::Bulk(uri) if uri.expose() == "a&b"));
    }

    #[test]
    fn elements_items_and_creators_are_counted() {
        let inside = r#"<DicomAttribute tag="00081140" vr="SQ"><Item><DicomAttribute tag="00090001" vr="LO" privateCreator="ACME"/></Item></DicomAttribute>"#;
        let read = |most| super::read(model(inside).as_bytes(), &mut Allowance::of(most)).map(drop);
        assert_eq!(read(4), Ok(()));
        assert_eq!(read(3), Err(ModelError::TooManyElements));
    }

    #[test]
    fn nothing_outside_of_the_text_is_read() {
        let attribute = |value: &str| {
            model(&format!(
                r#"<DicomAttribute tag="00100020" vr="LO"><Value number="1">{value}</Value></DicomAttribute>"#
            ))
        };
        let external = format!(r#"<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>{}"#, attribute("&e;"));
        let laughs = format!(r#"<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>{}"#, attribute("&b;"));
        for text in [external, laughs, attribute("&e;")] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_the_model_is_refused() {
        for text in ["", "x", "<a/>", "<NativeDicomModel>", "<NativeDicomModel><a></NativeDicomModel>", "\u{0}"] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        for inside in [
            r#"<DicomAttribute vr="LO"/>"#,
            r#"<DicomAttribute tag="00100020"/>"#,
            r#"<DicomAttribute tag="00100020" vr="LO"><Item/></DicomAttribute>"#,
            r#"<DicomAttribute tag="00100020" vr="LO"><Value>a</Value><BulkData uri="b"/></DicomAttribute>"#,
            r#"<DicomAttribute tag="00280010" vr="US"><Value>x</Value></DicomAttribute>"#,
            r#"<Value>a</Value>"#,
            r#"<DicomAttribute tag="00100020" vr="LO"/><DicomAttribute tag="00100020" vr="LO"/>"#,
            r#"<DicomAttribute tag="00090001" vr="LO" privateCreator="A"/><DicomAttribute tag="00090001" vr="LO" privateCreator="A"/>"#,
            r#"<DicomAttribute tag="00420011" vr="OB"><InlineBinary>AQID</InlineBinary><BulkData uri="b"/></DicomAttribute>"#,
            r#"<DicomAttribute tag="00420011" vr="OB"><InlineBinary>AQID</InlineBinary><InlineBinary>AQID</InlineBinary></DicomAttribute>"#,
            r#"<DicomAttribute tag="00420011" vr="OB"><BulkData uri="a"/><BulkData uri="b"/></DicomAttribute>"#,
            r#"<DicomAttribute tag="00100010" vr="PN"><PersonName><Alphabetic><FamilyName>A</FamilyName></Alphabetic><Alphabetic/></PersonName></DicomAttribute>"#,
        ] {
            assert!(read(model(inside).as_bytes()).is_err(), "{inside}");
        }
        let (open, shut) = (r#"<DicomAttribute tag="00081140" vr="SQ"><Item>"#, "</Item></DicomAttribute>");
        let nested = |depth: usize| model(&format!("{}{}", open.repeat(depth), shut.repeat(depth)));
        assert!(read(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(read(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(read(nested(100_000).as_bytes()).is_err());
    }
}
