//! Metadata as the Native DICOM Model (PS3.19 §A.1), made from DICOM JSON.

use crate::qido::xml::{COMPONENTS, escape};
use dicom_core::{DataDictionary as _, Tag, dictionary::DataDictionaryEntry as _};
use dicom_dictionary_std::StandardDataDictionary;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// One instance as an XML document; `None` for what is no DICOM JSON object.
pub(super) fn document(json: &[u8]) -> Option<String> {
    let Ok(Value::Object(attributes)) = serde_json::from_slice(json) else { return None };
    let mut out =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NativeDicomModel xml:space=\"preserve\">\n");
    data_set(&mut out, &attributes);
    out.push_str("</NativeDicomModel>\n");
    Some(out)
}

fn data_set(out: &mut String, attributes: &Map<String, Value>) {
    for (name, attribute) in attributes {
        let Ok(tag) = u32::from_str_radix(name, 16) else { continue };
        let vr = attribute["vr"].as_str().unwrap_or("UN");
        let _never_fails = write!(out, "<DicomAttribute tag=\"{tag:08X}\" vr=\"{vr}\"");
        if let Some(keyword) = keyword(tag) {
            let _never_fails = write!(out, " keyword=\"{keyword}\"");
        }
        if let Some(creator) = private_creator(attributes, tag) {
            out.push_str(" privateCreator=\"");
            quoted(out, creator);
            out.push('"');
        }
        out.push('>');
        content(out, attribute);
        out.push_str("</DicomAttribute>\n");
    }
}

fn content(out: &mut String, attribute: &Value) {
    if let Some(uri) = attribute["BulkDataURI"].as_str() {
        out.push_str("<BulkData uri=\"");
        quoted(out, uri);
        out.push_str("\"/>");
    }
    if let Some(binary) = attribute["InlineBinary"].as_str() {
        let _never_fails = write!(out, "<InlineBinary>{binary}</InlineBinary>");
    }
    let values = attribute["Value"].as_array().map_or(&[][..], Vec::as_slice);
    for (number, value) in (1..).zip(values) {
        match value {
            Value::Null => {}
            Value::Object(object) if attribute["vr"] == "SQ" => {
                let _never_fails = writeln!(out, "<Item number=\"{number}\">");
                data_set(out, object);
                out.push_str("</Item>");
            }
            Value::Object(name) => person(out, number, name),
            value => {
                let _never_fails = write!(out, "<Value number=\"{number}\">");
                match value.as_str() {
                    Some(text) => escape(out, text),
                    None => {
                        let _never_fails = write!(out, "{value}");
                    }
                }
                out.push_str("</Value>");
            }
        }
    }
}

fn person(out: &mut String, number: usize, name: &Map<String, Value>) {
    let _never_fails = write!(out, "<PersonName number=\"{number}\">");
    for group in ["Alphabetic", "Ideographic", "Phonetic"] {
        let Some(text) = name.get(group).and_then(Value::as_str) else { continue };
        let _never_fails = write!(out, "<{group}>");
        for (component, text) in COMPONENTS.into_iter().zip(text.split('^')).filter(|(_, text)| !text.is_empty()) {
            let _never_fails = write!(out, "<{component}>");
            escape(out, text);
            let _never_fails = write!(out, "</{component}>");
        }
        let _never_fails = write!(out, "</{group}>");
    }
    out.push_str("</PersonName>");
}

fn keyword(tag: u32) -> Option<&'static str> {
    if (tag >> 16) % 2 == 1 {
        return None;
    }
    let [a, b, c, d] = tag.to_be_bytes();
    let tag = Tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    StandardDataDictionary.by_tag(tag).filter(|entry| entry.tag() == tag).map(|entry| entry.alias())
}

/// Who reserved the block of a private element (PS3.5 §7.8.1).
fn private_creator(attributes: &Map<String, Value>, tag: u32) -> Option<&str> {
    let (group, block) = (tag >> 16, (tag >> 8) & 0xFF);
    if group % 2 == 0 || block < 0x10 {
        return None;
    }
    attributes.get(&format!("{group:04X}{block:04X}"))?["Value"][0].as_str()
}

/// Text within an XML attribute.
fn quoted(out: &mut String, text: &str) {
    let mut escaped = String::new();
    escape(&mut escaped, text);
    out.push_str(&escaped.replace('"', "&quot;").replace('\n', "&#10;").replace('\t', "&#9;"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dicom_json_becomes_the_native_model() {
        let json = br#"{
            "00080016":{"vr":"UI","Value":["1.2.840.10008.5.1.4.1.1.2"]},
            "00081140":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]}},{}]},
            "00090010":{"vr":"LO","Value":["ACME \"1\" & Co"]},
            "00091001":{"vr":"UN","InlineBinary":"AAE="},
            "00100010":{"vr":"PN","Value":[{"Alphabetic":"A^B","Ideographic":"C"}]},
            "00280030":{"vr":"DS","Value":[0.5,null,"<"]},
            "00280010":{"vr":"US"},
            "7FE00010":{"vr":"OW","BulkDataURI":"https://v/bulkdata/7FE00010?a=1&b=2"}
        }"#;
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NativeDicomModel xml:space=\"preserve\">\n\
            <DicomAttribute tag=\"00080016\" vr=\"UI\" keyword=\"SOPClassUID\"><Value number=\"1\">1.2.840.10008.5.1.4.1.1.2</Value></DicomAttribute>\n\
            <DicomAttribute tag=\"00081140\" vr=\"SQ\" keyword=\"ReferencedImageSequence\"><Item number=\"1\">\n\
            <DicomAttribute tag=\"00081155\" vr=\"UI\" keyword=\"ReferencedSOPInstanceUID\"><Value number=\"1\">1.2</Value></DicomAttribute>\n\
            </Item><Item number=\"2\">\n</Item></DicomAttribute>\n\
            <DicomAttribute tag=\"00090010\" vr=\"LO\"><Value number=\"1\">ACME \"1\" &amp; Co</Value></DicomAttribute>\n\
            <DicomAttribute tag=\"00091001\" vr=\"UN\" privateCreator=\"ACME &quot;1&quot; &amp; Co\"><InlineBinary>AAE=</InlineBinary></DicomAttribute>\n\
            <DicomAttribute tag=\"00100010\" vr=\"PN\" keyword=\"PatientName\"><PersonName number=\"1\"><Alphabetic><FamilyName>A</FamilyName>\
            <GivenName>B</GivenName></Alphabetic><Ideographic><FamilyName>C</FamilyName></Ideographic></PersonName></DicomAttribute>\n\
            <DicomAttribute tag=\"00280010\" vr=\"US\" keyword=\"Rows\"></DicomAttribute>\n\
            <DicomAttribute tag=\"00280030\" vr=\"DS\" keyword=\"PixelSpacing\"><Value number=\"1\">0.5</Value><Value number=\"3\">&lt;</Value></DicomAttribute>\n\
            <DicomAttribute tag=\"7FE00010\" vr=\"OW\" keyword=\"PixelData\"><BulkData uri=\"https://v/bulkdata/7FE00010?a=1&amp;b=2\"/></DicomAttribute>\n\
            </NativeDicomModel>\n";
        assert_eq!(document(json).unwrap(), expected);
        assert_eq!(document(b"[]"), None);
    }
}
