//! Elements in Explicit VR Little Endian (PS3.5 §7.1.2), from texts and from DICOM JSON (PS3.18 Annex F).

use serde_json::Value;

/// Writes an element of these bytes, padded to even length. What is longer than its VR's length can say is cut.
pub(crate) fn put(out: &mut Vec<u8>, tag: u32, vr: &[u8; 2], value: &[u8]) {
    let long = matches!(vr, b"SQ" | b"OB" | b"UT" | b"UN" | b"UR" | b"UC");
    let value = if long { value } else { &value[..value.len().min(MAX_SHORT)] };
    let padded = value.len() + value.len() % 2;
    out.extend_from_slice(&u16::try_from(tag >> 16).unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&u16::try_from(tag & 0xFFFF).unwrap_or(0).to_le_bytes());
    out.extend_from_slice(vr);
    if long {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&u32::try_from(padded).unwrap_or(0).to_le_bytes());
    } else {
        out.extend_from_slice(&u16::try_from(padded).unwrap_or(0).to_le_bytes());
    }
    out.extend_from_slice(value);
    if padded > value.len() {
        out.push(if matches!(vr, b"UI" | b"OB") { 0 } else { b' ' });
    }
}

/// Writes a text; a number where the VR is one.
pub(crate) fn put_text(out: &mut Vec<u8>, tag: u32, vr: &[u8; 2], text: &str) {
    match vr {
        b"US" => put(out, tag, vr, &text.trim().parse::<u16>().unwrap_or(0).to_le_bytes()),
        b"UL" => put(out, tag, vr, &text.trim().parse::<u32>().unwrap_or(0).to_le_bytes()),
        _ => {
            let mut end = text.len().min(MAX_TEXT);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            // PS3.5 §6.2: control characters have no place in a text of one line, whatever a device wrote there.
            let lines = matches!(vr, b"LT" | b"ST" | b"UT");
            let fits = |c: &char| !c.is_control() || (lines && matches!(c, '\t' | '\n' | '\x0C' | '\r'));
            let text: String = text[..end].chars().filter(fits).collect();
            put(out, tag, vr, text.as_bytes());
        }
    }
}

/// Writes an attribute of a DICOM JSON object. Whether there was one to write.
pub(crate) fn put_json(out: &mut Vec<u8>, tag: u32, vr: &[u8; 2], attribute: &Value) -> bool {
    let Some(values) = attribute["Value"].as_array().filter(|values| !values.is_empty()) else { return false };
    if vr == b"SQ" {
        let mut items = Vec::new();
        put_items(&mut items, values, 0);
        put(out, tag, vr, &items);
        return true;
    }
    let texts: Vec<String> = values.iter().map(text).collect();
    let joined = texts.join("\\");
    if joined.is_empty() {
        return false;
    }
    put_text(out, tag, vr, &joined);
    true
}

fn put_items(out: &mut Vec<u8>, items: &[Value], depth: usize) {
    for item in items.iter().take(MAX_ITEMS) {
        let mut inner = Vec::new();
        let mut attributes: Vec<_> = item.as_object().into_iter().flatten().collect();
        attributes.sort_by_key(|(name, _)| *name);
        for (name, attribute) in attributes {
            let (Ok(tag), Some(vr)) = (u32::from_str_radix(name, 16), attribute["vr"].as_str()) else { continue };
            let Ok(vr) = <&[u8; 2]>::try_from(vr.as_bytes()) else { continue };
            if vr == b"SQ" {
                let mut nested = Vec::new();
                if depth < MAX_DEPTH {
                    put_items(&mut nested, attribute["Value"].as_array().map_or(&[], Vec::as_slice), depth + 1);
                }
                put(&mut inner, tag, vr, &nested);
            } else if TEXTS.contains(&vr) && !put_json(&mut inner, tag, vr, attribute) {
                put(&mut inner, tag, vr, b"");
            }
        }
        out.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0]);
        out.extend_from_slice(&u32::try_from(inner.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&inner);
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Object(name) => {
            let group = |group: &str| name.get(group).and_then(Value::as_str).unwrap_or_default();
            let name = [group("Alphabetic"), group("Ideographic"), group("Phonetic")].join("=");
            name.trim_end_matches('=').to_owned()
        }
        _ => String::new(),
    }
}

/// VRs whose values are texts or numbers that are written here.
const TEXTS: [&[u8; 2]; 20] = [
    b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"PN", b"SH", b"ST", b"TM", b"UI", b"US", b"UL",
    b"UT", b"UC", b"UR", b"AT",
];
const MAX_SHORT: usize = 65_534;
const MAX_TEXT: usize = 10_240;
const MAX_ITEMS: usize = 256;
const MAX_DEPTH: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn elements_are_even_and_sequences_say_how_long_they_are() {
        let mut out = Vec::new();
        put_text(&mut out, 0x0010_0020, b"LO", "ABC");
        assert_eq!(out, b"\x10\x00\x20\x00LO\x04\x00ABC ");
        out.clear();
        put_text(&mut out, 0x0010_0010, b"PN", "A\0\u{1B}[2J^B\n");
        assert!(out.ends_with(b"PN\x06\0A[2J^B"));
        let sequence = json!({ "vr": "SQ", "Value": [{ "00080100": { "vr": "SH", "Value": ["1"] } }] });
        out.clear();
        assert!(put_json(&mut out, 0x0040_A043, b"SQ", &sequence));
        assert_eq!(out, b"\x40\x00\x43\xA0SQ\0\0\x12\0\0\0\xFE\xFF\x00\xE0\x0A\0\0\0\x08\x00\x00\x01SH\x02\x001 ");
        let name = json!({ "vr": "PN", "Value": [{ "Alphabetic": "A^B", "Phonetic": "C" }] });
        out.clear();
        assert!(put_json(&mut out, 0x0010_0010, b"PN", &name) && out.ends_with(b"A^B==C"));
        assert!(!put_json(&mut out, 0x0010_0010, b"PN", &json!({ "vr": "PN" })));
    }
}
