//! What becomes of data sets: every attribute of the table full of canaries, at every depth and in every encoding;
//! pixels; what is broken or hostile.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

mod common;

use common::{Form, holds, job, written};
use leadglass_deidentify::{Boxes, DeidentifyError, Plan, Preset, Refusal, Region};
use std::io::Write;

const FORMS: [Form; 3] = [Form::Explicit, Form::Implicit, Form::Big];
const PRESETS: [Preset; 3] = [Preset::Research, Preset::Teaching, Preset::VendorSupport];

/// Tag, value representation and options of each row of the table; attributes that no dictionary here has are unknown.
fn table() -> Vec<((u16, u16), [u8; 2], String)> {
    let lines = include_str!("../data/profile.tsv").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let (group, element) = columns[0].split_once(',').unwrap();
            let tag = (u16::from_str_radix(group, 16).unwrap(), u16::from_str_radix(element, 16).unwrap());
            (tag, vr(tag), columns.get(3).copied().unwrap_or_default().to_owned())
        })
        .collect()
}

fn vr((group, element): (u16, u16)) -> [u8; 2] {
    use dicom_core::dictionary::{DataDictionary as _, DataDictionaryEntry as _};
    let entry = dicom_dictionary_std::StandardDataDictionary.by_tag(dicom_core::Tag(group, element));
    entry.and_then(|entry| entry.vr().exact()).map_or(*b"LO", |vr| vr.to_bytes())
}

/// A value that must not come through.
fn canary(vr: [u8; 2]) -> Vec<u8> {
    match &vr {
        b"UI" => b"1.2.3.777888777".to_vec(),
        b"DA" => b"19661231".to_vec(),
        b"DT" => b"19661231CANARY".to_vec(),
        b"TM" | b"AS" | b"CS" | b"DS" | b"IS" => b"CANARY".to_vec(),
        b"PN" => b"CANARY^NEVER=CANARY=CANARY".to_vec(),
        b"FL" | b"UL" | b"SL" => b"CANA".to_vec(),
        b"US" | b"SS" => b"CA".to_vec(),
        _ => b"CANARYCANARY".to_vec(),
    }
}

const CANARIES: [&[u8]; 6] = [b"CANARY", b"777888777", b"19661231", b"NEVER", b"CANA", b"YRANAC"];

fn attributes(form: Form, skip: &dyn Fn((u16, u16), &str) -> bool, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, vr, options) in table() {
        if tag.0 < 8 || tag.0 == 0xFFFC || tag.0 == 0xFFFA || tag == (0x0042, 0x0011) || skip(tag, &options) {
            continue;
        }
        if &vr == b"SQ" {
            out.extend(form.sequence(tag, inner, tag.1 % 2 == 0));
        } else {
            out.extend(form.element(tag, &vr, &canary(vr)));
        }
    }
    out
}

#[test]
fn not_one_canary_of_the_whole_table_comes_through_at_any_depth_or_in_any_encoding() {
    for preset in PRESETS {
        // What the preset keeps is what was asked for.
        let skip = |_: (u16, u16), options: &str| preset == Preset::Teaching && options.contains("patient=K");
        for form in FORMS {
            let text = [
                form.element((0x0009, 0x0010), b"LO", b"CANARY"),
                form.element((0x0009, 0x1001), b"LO", b"CANARY"),
                form.element((0x0010, 0x0010), b"PN", b"CANARY^NEVER"),
                form.element((0x0010, 0x0020), b"LO", b"CANARY"),
                form.element((0x0011, 0x0001), b"UN", b"CANARY"),
                form.element((0x0040, 0xA160), b"UT", b"CANARY"),
            ]
            .concat();
            let inner = attributes(form, &skip, &text[..0]);
            let nested = form.sequence(
                (0x0008, 0x1140),
                &[inner.clone(), form.sequence((0x0054, 0x0016), &inner, false)].concat(),
                true,
            );
            let mut data = attributes(form, &skip, &form.element((0x0010, 0x0010), b"PN", b"CANARY^NEVER"));
            data.extend(form.sequence((0x0040, 0xA730), &text[..], false));
            data.extend(nested);
            data.extend(form.element((0x5000, 0x3000), b"OW", b"CANARY"));
            data.extend(form.element((0x6000, 0x3000), b"OW", b"CANARY"));
            data.extend(form.element((0x6002, 0x4000), b"LT", b"CANARY"));
            data.extend(form.element((0x0029, 0x0010), b"LO", b"CANARY"));
            data.extend(form.element((0x0029, 0x1010), b"OB", b"CANARY"));
            data.extend(form.element((0x7FE1, 0x1010), b"OB", b"CANARY"));
            data.extend(form.element((0xFFFC, 0xFFFC), b"OB", b"CANARY"));
            let (out, findings) = written(&job(preset), form.syntax(), &data, &Plan::default()).unwrap();
            for word in CANARIES {
                assert!(!holds(&out, word), "{preset:?} {form:?}: {}", String::from_utf8_lossy(word));
            }
            assert!(findings.counts.unknown > 5 && findings.counts.uids > 50, "{:?}", findings.counts);
        }
    }
}

#[test]
fn a_deflated_data_set_is_looked_into() {
    let form = Form::Explicit;
    let data =
        [form.element((0x0010, 0x0010), b"PN", b"CANARY"), form.element((0x0028, 0x0010), b"US", &[4, 0])].concat();
    let mut deflater = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    deflater.write_all(&data).unwrap();
    let deflated = deflater.finish().unwrap();
    let syntax = "1.2.840.10008.1.2.1.99";
    let (out, _) = written(&job(Preset::Research), syntax, &deflated, &Plan::default()).unwrap();
    assert!(!holds(&out, b"CANARY") && holds(&out, b"YES "), "it comes out inflated, and changed");
    let broken = written(&job(Preset::Research), syntax, &deflated[..deflated.len() - 3], &Plan::default());
    assert!(matches!(broken, Err(DeidentifyError::Inflate | DeidentifyError::Walk(_))), "{broken:?}");
}

#[test]
fn what_is_not_what_its_tag_says_is_removed() {
    let form = Form::Explicit;
    let hidden = form.element((0x0010, 0x0010), b"PN", b"CANARY");
    let item = [form.tag(0xFFFE, 0xE000), u32::try_from(hidden.len()).unwrap().to_le_bytes().to_vec(), hidden].concat();
    let data = [
        // Items that go by as bytes.
        form.element((0x0008, 0x1140), b"OB", &item),
        form.element((0x0008, 0x1150), b"UI", b"1.2.840.CANARY"),
        form.element((0x0008, 0x2218), b"UN", &item),
        // Text in the place of a number.
        form.element((0x0028, 0x0010), b"LO", b"CANARY"),
        // Not in any dictionary.
        form.element((0x0028, 0xFFF0), b"LO", b"CANARY"),
    ]
    .concat();
    let (out, _) = written(&job(Preset::Research), form.syntax(), &data, &Plan::default()).unwrap();
    assert!(!holds(&out, b"CANARY"));
}

#[test]
fn what_serves_reading_the_picture_stays() {
    for form in FORMS {
        let number = |n: u16| if form == Form::Big { n.to_be_bytes() } else { n.to_le_bytes() };
        let data = [
            form.element((0x0008, 0x0016), b"UI", b"1.2.840.10008.5.1.4.1.1.2"),
            form.element((0x0008, 0x0020), b"DA", b"20240110"),
            form.element((0x0008, 0x0030), b"TM", b"101112.5"),
            form.element((0x0008, 0x0060), b"CS", b"CT"),
            form.element((0x0008, 0x1030), b"LO", b"CT Thorax MEIER"),
            form.element((0x0028, 0x0010), b"US", &number(2)),
            form.element((0x0028, 0x0011), b"US", &number(2)),
            form.element((0x0028, 0x0100), b"US", &number(16)),
            form.element((0x0028, 0x0103), b"US", &number(1)),
            form.element((0x0028, 0x0120), b"SS", &number(0xFFFE)),
            form.element((0x7FE0, 0x0010), b"OW", &[number(1), number(2), number(3), number(4)].concat()),
        ]
        .concat();
        let (out, findings) = written(&job(Preset::Research), form.syntax(), &data, &Plan::default()).unwrap();
        let little = Form::Explicit;
        let pixels = little.element((0x7FE0, 0x0010), b"OW", &[1, 0, 2, 0, 3, 0, 4, 0]);
        assert!(out.ends_with(&pixels), "{form:?}");
        assert!(holds(&out, &little.element((0x0008, 0x0030), b"TM", b"101112.5")));
        assert!(holds(&out, &little.element((0x0008, 0x1030), b"LO", b"CT Thorax")));
        assert!(holds(&out, &little.element((0x0028, 0x0120), b"SS", &[0xFE, 0xFF])), "{form:?}");
        assert!(!holds(&out, b"20240110"));
        assert_eq!((findings.shape.rows, findings.shape.bits, findings.modality()), (2, 16, "CT"));
        let (out, _) = written(&job(Preset::VendorSupport), form.syntax(), &data, &Plan::default()).unwrap();
        assert!(!holds(&out, &[0xE0, 0x7F, 0x10, 0x00]), "no pixels for a vendor");
    }
}

#[test]
fn regions_are_blanked_and_it_is_said() {
    let form = Form::Explicit;
    let data = [
        form.element((0x0028, 0x0002), b"US", &[1, 0]),
        form.element((0x0028, 0x0010), b"US", &[2, 0]),
        form.element((0x0028, 0x0011), b"US", &[4, 0]),
        form.element((0x0028, 0x0100), b"US", &[8, 0]),
        form.element((0x7FE0, 0x0010), b"OB", b"CANARYxx"),
    ]
    .concat();
    let boxes = Boxes::new(vec![Region { x: 0, y: 0, width: 4, height: 1 }]).unwrap();
    let plan = Plan { boxes: boxes.clone(), reviewed: true };
    let (out, _) = written(&job(Preset::Teaching), form.syntax(), &data, &plan).unwrap();
    assert!(out.ends_with(b"\0\0\0\0RYxx") && holds(&out, b"113101"));
    assert!(holds(&out, &form.element((0x0028, 0x0301), b"CS", b"NO")));
    let compressed = [
        form.header((0x7FE0, 0x0010), b"OB", u32::MAX),
        [form.tag(0xFFFE, 0xE000), vec![0; 4], form.tag(0xFFFE, 0xE0DD), vec![0; 4]].concat(),
    ]
    .concat();
    let refused = written(&job(Preset::Teaching), "1.2.840.10008.1.2.5", &compressed, &plan);
    assert_eq!(refused.unwrap_err(), DeidentifyError::Refused(Refusal::Regions));
}

#[test]
fn comments_in_compressed_pixels_are_blanked_in_every_fragment_and_the_offset_table_stays() {
    let form = Form::Explicit;
    let item = |value: &[u8]| {
        [form.tag(0xFFFE, 0xE000), u32::try_from(value.len()).unwrap().to_le_bytes().to_vec(), value.to_vec()].concat()
    };
    let jpeg = b"\xFF\xD8\xFF\xFE\x00\x0ACANARY!!\xFF\xDA\x00\x02\x01\x02\x03\xFF\xD9\x00";
    let data = [
        form.header((0x7FE0, 0x0010), b"OB", u32::MAX),
        item(&[0, 0, 0, 0, 32, 0, 0, 0]),
        item(jpeg),
        item(jpeg),
        [form.tag(0xFFFE, 0xE0DD), vec![0; 4]].concat(),
    ]
    .concat();
    let (out, findings) = written(&job(Preset::Teaching), "1.2.840.10008.1.2.4.50", &data, &Plan::default()).unwrap();
    assert!(!holds(&out, b"CANARY") && out.len() > data.len());
    assert!(
        holds(&out, &[8, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0]) && findings.counts.segments == 2 && findings.compressed
    );
    let noise = [
        form.header((0x7FE0, 0x0010), b"OB", u32::MAX),
        item(&[]),
        item(b"\xFF\xD8CANARY!!"),
        [form.tag(0xFFFE, 0xE0DD), vec![0; 4]].concat(),
    ]
    .concat();
    let refused = written(&job(Preset::Teaching), "1.2.840.10008.1.2.4.50", &noise, &Plan::default());
    assert_eq!(refused.unwrap_err(), DeidentifyError::Refused(Refusal::Codestream));
}

#[test]
fn a_document_is_refused() {
    let data = Form::Explicit.element((0x0042, 0x0011), b"OB", b"%PDF CANARY");
    let refused = written(&job(Preset::Research), Form::Explicit.syntax(), &data, &Plan::default());
    assert_eq!(refused.unwrap_err(), DeidentifyError::Refused(Refusal::Document));
}

#[test]
fn what_breaks_off_or_nests_without_end_is_an_error_and_not_a_panic() {
    let form = Form::Explicit;
    let mut deep = form.element((0x0010, 0x0010), b"PN", b"CANARY");
    for _ in 0..200 {
        deep = form.sequence((0x0008, 0x1140), &deep, false);
    }
    assert!(matches!(
        written(&job(Preset::Research), form.syntax(), &deep, &Plan::default()),
        Err(DeidentifyError::Walk(_))
    ));
    let data = form.sequence((0x0008, 0x1140), &form.element((0x0008, 0x1155), b"UI", b"1.2.3"), true);
    for len in 1..data.len() {
        let _ = written(&job(Preset::Research), form.syntax(), &data[..len], &Plan::default());
    }
}

#[test]
fn a_long_value_is_made_up_and_not_held() {
    let form = Form::Explicit;
    let long = [b"CANARY ".repeat(20_000)].concat();
    let data = [
        form.element((0x0008, 0x1195), b"UI", &b"1.2.3\\".repeat(10_000)[..60_000]),
        form.element((0x0040, 0xA160), b"UT", &long),
        form.element((0x0010, 0x4000), b"UT", &long),
    ]
    .concat();
    let (out, _) = written(&job(Preset::Research), form.syntax(), &data, &Plan::default()).unwrap();
    assert!(!holds(&out, b"CANARY"));
}

#[test]
fn what_said_before_that_names_were_taken_out_goes_wherever_it_stands() {
    let form = Form::Explicit;
    let data = [
        form.element((0x0028, 0x0010), b"US", &[1, 0]),
        form.element((0x0012, 0x0062), b"CS", b"NO"),
        form.element((0x0012, 0x0063), b"LO", b"by CANARY"),
        form.sequence((0x0012, 0x0064), &form.element((0x0008, 0x0104), b"LO", b"CANARY"), false),
    ]
    .concat();
    let (out, _) = written(&job(Preset::Research), form.syntax(), &data, &Plan::default()).unwrap();
    assert!(!holds(&out, b"CANARY") && !holds(&out, &form.element((0x0012, 0x0062), b"CS", b"NO")));
    assert!(holds(&out, &form.element((0x0012, 0x0062), b"CS", b"YES")) && holds(&out, b"113100"));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_in_nothing_panics(
        at in 0_usize..4000, byte: u8, len in 0_usize..4000, syntax in 0_usize..4
    ) {
        const FILE: &[u8] = include_bytes!("../../../fixtures/ct-1.dcm");
        let syntax = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.90"][syntax];
        let mut data = FILE[346..][..len].to_vec();
        if let Some(slot) = data.get_mut(at) {
            *slot = byte;
        }
        // An error says nothing, and what came out before it is thrown away.
        let _ = written(&job(Preset::Research), syntax, &data, &Plan::default());
    }
}
