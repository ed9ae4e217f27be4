//! Objects as the Native DICOM Model (PS3.19 §A.1): for those who ask for XML.

use super::attributes::keyword;
use crate::dicom_json::{Content, Object, groups};
use std::fmt::Write as _;

/// One object as an XML document.
pub(crate) fn document(object: &Object) -> String {
    let mut out =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NativeDicomModel xml:space=\"preserve\">\n");
    attributes(&mut out, object);
    out.push_str("</NativeDicomModel>\n");
    out
}

fn attributes(out: &mut String, object: &Object) {
    for (tag, attribute) in object.attributes() {
        let keyword = keyword(tag).map_or_else(String::new, |word| format!(" keyword=\"{word}\""));
        let _never_fails = write!(out, "<DicomAttribute tag=\"{tag:08X}\" vr=\"{}\"{keyword}>", attribute.vr);
        for (number, value) in (1..).zip(&attribute.values) {
            content(out, number, value);
        }
        out.push_str("</DicomAttribute>\n");
    }
}

fn content(out: &mut String, number: usize, value: &Content) {
    match value {
        Content::Text(text) => {
            let _never_fails = write!(out, "<Value number=\"{number}\">");
            escape(out, text);
            out.push_str("</Value>");
        }
        Content::Item(item) => {
            let _never_fails = writeln!(out, "<Item number=\"{number}\">");
            attributes(out, item);
            out.push_str("</Item>");
        }
        Content::Number(value) => {
            let _never_fails = write!(out, "<Value number=\"{number}\">{value}</Value>");
        }
        Content::Name(name) => {
            let _never_fails = write!(out, "<PersonName number=\"{number}\">");
            for (group, text) in groups(name) {
                let _never_fails = write!(out, "<{group}>");
                for (component, text) in
                    COMPONENTS.into_iter().zip(text.split('^')).filter(|(_, text)| !text.is_empty())
                {
                    let _never_fails = write!(out, "<{component}>");
                    escape(out, text);
                    let _never_fails = write!(out, "</{component}>");
                }
                let _never_fails = write!(out, "</{group}>");
            }
            out.push_str("</PersonName>");
        }
    }
}

/// What XML 1.0 does not know at all becomes U+FFFD.
pub(crate) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(c),
            '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            c if u32::from(c) < 0x20 => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
}

/// Components of a person's name, in order (PS3.5 §6.2.1).
pub(crate) const COMPONENTS: [&str; 5] = ["FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix"];

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::Phi;

    #[test]
    fn an_object_is_written_as_the_native_model() {
        let mut object = Object::default();
        object.word(0x0020_000D, "UI", "1.2");
        object.name(0x0010_0010, Some(&Phi::new("Yamada^Tarou^^Dr=山田^太郎".to_owned())));
        object.words(0x0008_0061, "CS", &["CT".to_owned(), "<&>\u{1}".to_owned()]);
        object.number(0x0020_1206, "IS", Some(2));
        object.text(0x0008_0050, "SH", None);
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NativeDicomModel xml:space=\"preserve\">\n\
            <DicomAttribute tag=\"00080050\" vr=\"SH\" keyword=\"AccessionNumber\"></DicomAttribute>\n\
            <DicomAttribute tag=\"00080061\" vr=\"CS\" keyword=\"ModalitiesInStudy\"><Value number=\"1\">CT</Value>\
            <Value number=\"2\">&lt;&amp;&gt;\u{FFFD}</Value></DicomAttribute>\n\
            <DicomAttribute tag=\"00100010\" vr=\"PN\" keyword=\"PatientName\"><PersonName number=\"1\"><Alphabetic>\
            <FamilyName>Yamada</FamilyName><GivenName>Tarou</GivenName><NamePrefix>Dr</NamePrefix></Alphabetic>\
            <Ideographic><FamilyName>山田</FamilyName><GivenName>太郎</GivenName></Ideographic></PersonName></DicomAttribute>\n\
            <DicomAttribute tag=\"0020000D\" vr=\"UI\" keyword=\"StudyInstanceUID\"><Value number=\"1\">1.2</Value></DicomAttribute>\n\
            <DicomAttribute tag=\"00201206\" vr=\"IS\" keyword=\"NumberOfStudyRelatedSeries\"><Value number=\"1\">2</Value></DicomAttribute>\n\
            </NativeDicomModel>\n";
        assert_eq!(document(&object), expected);
    }
}
