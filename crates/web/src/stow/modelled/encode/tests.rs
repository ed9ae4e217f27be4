//! What data sets become, and what is refused.

use super::{
    super::{MAX_ELEMENTS, MAX_ENCODED_BYTES, json},
    *,
};
use crate::stow::media::MediaType;
use leadglass_model::Phi;
use leadglass_tap::{BulkForm, Limits, Part10Tap, part10::TappedFile};

fn file(set: &DataSet, bulk: &Bulk) -> Result<Vec<Bytes>, Failure> {
    super::file(set, bulk, &mut Allowance::of(MAX_ENCODED_BYTES))
}

fn tapped(pieces: &[Bytes]) -> TappedFile {
    let mut tap = Part10Tap::new(Limits::default());
    pieces.iter().for_each(|piece| tap.feed(piece).unwrap());
    tap.finish().unwrap()
}

fn part(content_type: &str, bytes: &[u8]) -> BulkPart {
    let pieces = vec![Bytes::copy_from_slice(bytes)];
    BulkPart { media: MediaType::parse(content_type).unwrap(), pieces, len: bytes.len() as u64 }
}

fn set_of(json: &str) -> DataSet {
    json::read(json.as_bytes(), 1, &mut Allowance::of(MAX_ELEMENTS)).unwrap().remove(0).unwrap()
}

const NAMED: &str =
    r#""00080016":{"vr":"UI","Value":["1.2.840.10008.5.1.4.1.1.7"]},"00080018":{"vr":"UI","Value":["1.2.3"]}"#;

/// Metadata that the tap made of a file, and the bytes they point at, become a data set of the same metadata.
#[test]
fn every_fixture_survives_the_way_through_its_own_metadata() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "dcm") {
            continue;
        }
        let original = std::fs::read(&path).unwrap();
        let TappedFile { syntax, dataset_start, instance, .. } = tapped(&[original.clone().into()]);
        let (Some(metadata), false, Framing::Native) = (instance.metadata_json, syntax.deflated, syntax.framing) else {
            continue;
        };
        let mut bulk = Bulk::new();
        for value in instance.bulk {
            let start = usize::try_from(dataset_start + value.offset).unwrap();
            let mut bytes = original[start..start + usize::try_from(value.len).unwrap()].to_vec();
            if let BulkForm::BigEndian(width) = value.form {
                bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
            }
            let location = Phi::new(value.path);
            bulk.entry(location).or_default().push(part("application/octet-stream", &bytes));
        }
        let set = json::read(metadata.expose(), 1, &mut Allowance::of(MAX_ELEMENTS)).unwrap().remove(0).unwrap();
        let made = tapped(&file(&set, &bulk).unwrap());
        let text = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap();
        let mut expected = text(metadata.expose());
        let mut made_json = text(made.instance.metadata_json.unwrap().expose());
        // A text that turned out ASCII needs no character set, one that did not has UTF-8.
        for json in [&mut expected, &mut made_json] {
            json.as_object_mut().unwrap().remove("00080005");
        }
        assert_eq!(made_json, expected, "{}", path.display());
        seen += 1;
    }
    assert!(seen > 10, "{seen} fixtures");
}

#[test]
fn compressed_parts_become_fragments_of_the_syntax_they_name() {
    let set = set_of(&format!(r#"{{{NAMED},"7FE00010":{{"vr":"OB","BulkDataURI":"frames"}}}}"#));
    for (media, first, expected) in [
        ("image/jp2; transfer-syntax=1.2.840.10008.1.2.4.91", &[1u8, 2, 3][..], "1.2.840.10008.1.2.4.91"),
        ("image/jpeg", &[0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xC0, 0], "1.2.840.10008.1.2.4.50"),
        ("image/jpeg", &[0xFF, 0xD8, 0xFF, 0xC3, 0], "1.2.840.10008.1.2.4.70"),
        ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.5", &[1, 2], "1.2.840.10008.1.2.5"),
    ] {
        let parts = vec![part(media, first), part(media, &[9])];
        let bulk = Bulk::from([(Phi::new("frames".to_owned()), parts)]);
        let pieces = file(&set, &bulk).unwrap();
        assert_eq!(tapped(&pieces).meta.transfer_syntax.unwrap().as_str(), expected);
        let mut tail = vec![0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 255, 255, 255, 255, 0xFE, 0xFF, 0, 0xE0, 0, 0, 0, 0];
        tail.extend([0xFE, 0xFF, 0, 0xE0, u8::try_from(first.len().next_multiple_of(2)).unwrap(), 0, 0, 0]);
        tail.extend(first);
        tail.resize(tail.len() + first.len() % 2, 0);
        tail.extend([0xFE, 0xFF, 0, 0xE0, 2, 0, 0, 0, 9, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        assert!(pieces.concat().ends_with(&tail), "{media}");
    }
    let parts = vec![part("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.90", &[1])];
    let bulk = Bulk::from([(Phi::new("frames".to_owned()), parts)]);
    assert_eq!(file(&set, &bulk).unwrap_err(), Failure::BULK_SYNTAX);
    assert_eq!(file(&set, &Bulk::new()).unwrap_err(), Failure::NOT_UNDERSTOOD, "what did not come is not fetched");
}

#[test]
fn text_beyond_ascii_says_once_that_it_is_utf8() {
    let item = r#"{"00080005":{"vr":"CS","Value":["ISO_IR 100"]},"00080104":{"vr":"LO","Value":["Zähne"]}}"#;
    for declared in ["", r#""00080005":{"vr":"CS","Value":["ISO_IR 100"]},"#] {
        let set = set_of(&format!(r#"{{{declared}{NAMED},"00082228":{{"vr":"SQ","Value":[{item}]}}}}"#));
        let made = file(&set, &Bulk::new()).unwrap().concat();
        let count = |word: &[u8]| made.windows(word.len()).filter(|w| *w == word).count();
        assert_eq!((count(b"ISO_IR 192"), count(b"ISO_IR 100")), (1, 0));
        assert!(!tapped(&[made.into()]).instance.marks.undecodable_text);
    }
    let plain = set_of(&format!(r#"{{"00080005":{{"vr":"CS","Value":["ISO_IR 100"]}},{NAMED}}}"#));
    let made = file(&plain, &Bulk::new()).unwrap().concat();
    assert!(made.windows(10).any(|w| w == b"ISO_IR 100"), "what is ASCII keeps its declaration");
}

#[test]
fn a_text_too_long_for_its_vr_is_written_as_unknown() {
    let long = "x".repeat(70_000);
    let set = set_of(&format!(r#"{{{NAMED},"00081030":{{"vr":"LO","Value":["{long}"]}}}}"#));
    let made = file(&set, &Bulk::new()).unwrap().concat();
    let header = [&[0x08, 0x00, 0x30, 0x10], b"UN\0\0".as_slice(), &70_000u32.to_le_bytes()].concat();
    assert!(made.windows(header.len()).any(|w| w == header));
    tapped(&[made.into()]);
}

#[test]
fn one_part_that_is_pointed_at_many_times_is_too_long_in_the_end() {
    let item = r#"{"00091010":{"vr":"OB","BulkDataURI":"a"}},"#;
    let items = item.repeat(1_000);
    let items = items.trim_end_matches(',');
    let set = set_of(&format!(r#"{{{NAMED},"00081140":{{"vr":"SQ","Value":[{items}]}}}}"#));
    let bulk = Bulk::from([(Phi::new("a".to_owned()), vec![part("application/octet-stream", &[7; 4_500])])]);
    let len = file(&set, &bulk).unwrap().iter().map(Bytes::len).sum::<usize>() as u64;
    assert!(len > 4_500_000);

    // Over all data sets of a request: two fit and not a byte of a third.
    let mut room = Allowance::of(2 * len);
    assert!(super::file(&set, &bulk, &mut room).is_ok() && super::file(&set, &bulk, &mut room).is_ok());
    let named = set_of(&format!("{{{NAMED}}}"));
    assert_eq!(super::file(&named, &bulk, &mut room).unwrap_err(), Failure::TOO_LONG);
    assert_eq!(super::file(&set, &bulk, &mut Allowance::of(len - 1)).unwrap_err(), Failure::TOO_LONG);
}

#[test]
fn empty_parts_cost_something_as_well() {
    let empty = || part("application/octet-stream", &[]);
    let bulk = Bulk::from([(Phi::new("a".to_owned()), (0..1_000).map(|_| empty()).collect())]);
    for tag in ["00091010", "7FE00010"] {
        let set = set_of(&format!(r#"{{{NAMED},"{tag}":{{"vr":"OB","BulkDataURI":"a"}}}}"#));
        let enough = 1_000 * MIN_PART_COST;
        assert_eq!(super::file(&set, &bulk, &mut Allowance::of(enough - 1)).unwrap_err(), Failure::TOO_LONG);
        assert!(super::file(&set, &bulk, &mut Allowance::of(enough + 1_000)).is_ok());
    }
}
