//! DICOM JSON, word for word.

use crate::build::{BIG, Build, EXPLICIT, IMPLICIT, JPEG, json_text, tap};
use leadglass_tap::{BulkForm, Encoding, Tag, Vr};

fn golden(data: Build, expect: &str) {
    let text = json_text(&tap(EXPLICIT, &data.bytes).unwrap());
    serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON");
    assert_eq!(text, expect);
}

#[test]
fn text_and_names() {
    golden(
        Build::explicit()
            .put(Tag(0x0008, 0x0000), "UL", 4u32.to_le_bytes())
            .put(Tag(0x0008, 0x0005), "CS", "\\ISO 2022 IR 87")
            .put(Tag(0x0008, 0x0008), "CS", "ORIGINAL\\\\AXIAL ")
            .put(Tag(0x0008, 0x0018), "UI", "1.2.3.4\0")
            .put(Tag(0x0008, 0x0050), "SH", "")
            .put(Tag(0x0010, 0x0010), "PN", b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B\\^^ ")
            .put(Tag(0x0010, 0x4000), "LT", "a \"quote\"\\ and\r\na line  ")
            .put(Tag(0xFFFC, 0xFFFC), "OB", [0; 4]),
        concat!(
            r#"{"00080005":{"vr":"CS","Value":["ISO_IR 192"]},"#,
            r#""00080008":{"vr":"CS","Value":["ORIGINAL",null,"AXIAL"]},"#,
            r#""00080018":{"vr":"UI","Value":["1.2.3.4"]},"#,
            r#""00080050":{"vr":"SH"},"#,
            r#""00100010":{"vr":"PN","Value":[{"Alphabetic":"Yamada^Tarou","Ideographic":"山田^太郎"},{"Alphabetic":"^^"}]},"#,
            r#""00104000":{"vr":"LT","Value":["a \"quote\"\\ and\r\na line"]}}"#,
        ),
    );
}

#[test]
fn numbers() {
    golden(
        Build::explicit()
            .put(Tag(0x0018, 0x0050), "DS", " +1.50\\.5\\1e400\\x ")
            .put(Tag(0x0020, 0x0013), "IS", "007 ")
            .put(Tag(0x0028, 0x0009), "AT", [0x18, 0x00, 0x63, 0x10])
            .put(Tag(0x0028, 0x0010), "US", [1, 0, 0xFF, 0xFF])
            .put(Tag(0x0029, 0x1001), "SS", [0xFF, 0xFF])
            .put(Tag(0x0029, 0x1002), "SL", (-5i32).to_le_bytes())
            .put(Tag(0x0029, 0x1003), "UL", u32::MAX.to_le_bytes())
            .put(Tag(0x0029, 0x1004), "FL", 0.5f32.to_le_bytes())
            .put(Tag(0x0029, 0x1005), "FD", [f64::NAN.to_le_bytes(), 1e300f64.to_le_bytes()].concat())
            .put(Tag(0x0029, 0x1006), "UV", [u64::MAX.to_le_bytes(), 7u64.to_le_bytes()].concat())
            .put(Tag(0x0029, 0x1007), "SV", i64::MIN.to_le_bytes())
            .put(Tag(0x0029, 0x1008), "US", [1, 0, 2]),
        concat!(
            r#"{"00180050":{"vr":"DS","Value":[1.50,0.5,"1e400","x"]},"#,
            r#""00200013":{"vr":"IS","Value":[7]},"#,
            r#""00280009":{"vr":"AT","Value":["00181063"]},"#,
            r#""00280010":{"vr":"US","Value":[1,65535]},"#,
            r#""00291001":{"vr":"SS","Value":[-1]},"#,
            r#""00291002":{"vr":"SL","Value":[-5]},"#,
            r#""00291003":{"vr":"UL","Value":[4294967295]},"#,
            r#""00291004":{"vr":"FL","Value":[0.5]},"#,
            r#""00291005":{"vr":"FD","Value":["NaN",1e+300]},"#,
            r#""00291006":{"vr":"UV","Value":["18446744073709551615",7]},"#,
            r#""00291007":{"vr":"SV","Value":["-9223372036854775808"]},"#,
            r#""00291008":{"vr":"US","Value":[1]}}"#,
        ),
    );
}

#[test]
fn sequences() {
    let item = || Build::explicit().put(Tag(0x0008, 0x0100), "SH", "A ");
    golden(
        Build::explicit()
            .sequence(Tag(0x0008, 0x1110), "SQ", &[])
            .measured(
                Tag(0x0008, 0x1140),
                &[item(), Build::explicit(), item().sequence(Tag(0x0040, 0xA043), "SQ", &[item()])],
            )
            .head(Tag(0x0040, 0x0275), "SQ", 0),
        concat!(
            r#"{"00081110":{"vr":"SQ"},"#,
            r#""00081140":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["A"]}},{},"#,
            r#"{"00080100":{"vr":"SH","Value":["A"]},"0040A043":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["A"]}}]}}]},"#,
            r#""00400275":{"vr":"SQ"}}"#,
        ),
    );
}

#[test]
fn binary_values_and_their_places() {
    let deep = Build::explicit().put(Tag(0x0028, 0x1201), "OW", vec![1; 2000]);
    let data = Build::explicit()
        .put(Tag(0x0028, 0x1101), "US", [0; 6])
        .put(Tag(0x0040, 0xA160), "UT", vec![b'x'; 70_000])
        .put(Tag(0x0042, 0x0011), "OB", vec![2; 1025])
        .put(Tag(0x0042, 0x0012), "OB", [1, 2, 3])
        .sequence(Tag(0x5200, 0x9229), "SQ", &[Build::explicit(), deep])
        .put(Tag::PIXEL_DATA, "OW", [0; 4])
        .bytes;
    let tapped = tap(EXPLICIT, &data).unwrap();
    assert_eq!(
        json_text(&tapped),
        concat!(
            r#"{"00281101":{"vr":"US","Value":[0,0,0]},"#,
            r#""0040A160":{"vr":"UT","BulkDataURI":"bulkdata/0040A160"},"#,
            r#""00420011":{"vr":"OB","BulkDataURI":"bulkdata/00420011"},"#,
            r#""00420012":{"vr":"OB","InlineBinary":"AQID"},"#,
            r#""52009229":{"vr":"SQ","Value":[{},{"00281201":{"vr":"OW","BulkDataURI":"bulkdata/52009229/1/00281201"}}]},"#,
            r#""7FE00010":{"vr":"OW","BulkDataURI":"bulkdata/7FE00010"}}"#,
        )
    );
    let places: Vec<(&str, u64, Vr)> = tapped.bulk.iter().map(|b| (b.path.as_str(), b.len, b.vr)).collect();
    assert_eq!(
        places,
        [
            ("bulkdata/0040A160", 70_000, Vr(*b"UT")),
            ("bulkdata/00420011", 1025, Vr::OB),
            ("bulkdata/52009229/1/00281201", 2000, Vr::OW),
            ("bulkdata/7FE00010", 4, Vr::OW),
        ]
    );
    for (bulk, byte) in tapped.bulk.iter().zip([b'x', 2, 1, 0]) {
        assert_eq!(bulk.form, BulkForm::Plain);
        let range = &data[bulk.offset as usize..(bulk.offset + bulk.len) as usize];
        assert!(range.iter().all(|b| *b == byte), "{}", bulk.path);
    }
}

#[test]
fn encapsulated_pixels_are_one_place_from_the_first_item_to_the_delimiter() {
    let data = Build::explicit().fragments(&[b"", b"\xFF\xD8abcd"]).bytes;
    let tapped = tap(JPEG, &data).unwrap();
    assert_eq!(json_text(&tapped), r#"{"7FE00010":{"vr":"OB","BulkDataURI":"bulkdata/7FE00010"}}"#);
    let bulk = &tapped.bulk[0];
    assert_eq!((bulk.form, bulk.offset, bulk.len), (BulkForm::Fragments, 12, data.len() as u64 - 12));
}

#[test]
fn big_endian_numbers_are_little_endian_in_json() {
    let data = Build::new(Encoding::ExplicitBe)
        .put(Tag(0x0028, 0x0009), "AT", [0x00, 0x18, 0x10, 0x63])
        .us(Tag(0x0028, 0x0010), 258)
        .put(Tag(0x0028, 0x1201), "OW", [1, 2, 3, 4])
        .put(Tag::PIXEL_DATA, "OW", [1, 2])
        .bytes;
    let tapped = tap(BIG, &data).unwrap();
    assert_eq!(
        json_text(&tapped),
        concat!(
            r#"{"00280009":{"vr":"AT","Value":["00181063"]},"00280010":{"vr":"US","Value":[258]},"#,
            r#""00281201":{"vr":"OW","InlineBinary":"AgEEAw=="},"7FE00010":{"vr":"OW","BulkDataURI":"bulkdata/7FE00010"}}"#,
        )
    );
    assert_eq!(tapped.bulk[0].form, BulkForm::BigEndian(2));
}

#[test]
fn implicit_values_get_their_vr_from_the_standard_and_from_what_stands_before() {
    let data = |signed: u16| {
        Build::new(Encoding::ImplicitLe)
            .put(Tag(0x0009, 0x0010), "", "VENDOR")
            .put(Tag(0x0009, 0x1001), "", "??")
            .us(Tag(0x0028, 0x0103), signed)
            .put(Tag(0x0028, 0x0106), "", [0xFE, 0xFF])
            .bytes
    };
    let text = |signed| json_text(&tap(IMPLICIT, &data(signed)).unwrap());
    assert!(
        text(1)
            .starts_with(r#"{"00090010":{"vr":"LO","Value":["VENDOR"]},"00091001":{"vr":"UN","InlineBinary":"Pz8="}"#)
    );
    assert!(text(1).ends_with(r#""00280106":{"vr":"SS","Value":[-2]}}"#));
    assert!(text(0).ends_with(r#""00280106":{"vr":"US","Value":[65534]}}"#));
}

#[test]
fn an_unknown_vr_of_a_known_tag_is_read_as_the_standard_says() {
    golden(
        Build::explicit().put(Tag(0x0010, 0x0020), "UN", "ID").put(Tag(0x0029, 0x1001), "UN", "ID"),
        r#"{"00100020":{"vr":"LO","Value":["ID"]},"00291001":{"vr":"UN","InlineBinary":"SUQ="}}"#,
    );
}

#[test]
fn repeated_and_unordered_elements_do_not_break_the_object() {
    let code = |c: &str| Build::explicit().put(Tag(0x0008, 0x0100), "SH", c);
    let data = Build::explicit()
        .put(Tag(0x0010, 0x0020), "LO", "b ")
        .put(Tag(0x0008, 0x0060), "CS", "CT")
        .put(Tag(0x0008, 0x0060), "CS", "MR")
        .sequence(Tag(0x0008, 0x1140), "SQ", &[code("1 ")])
        .sequence(Tag(0x0008, 0x1140), "SQ", &[code("2 ").sequence(Tag(0x0040, 0xA043), "SQ", &[code("3 ")])])
        .put(Tag(0x0010, 0x0020), "LO", "c ");
    let tapped = tap(EXPLICIT, &data.bytes).unwrap();
    assert_eq!(
        json_text(&tapped),
        concat!(
            r#"{"00100020":{"vr":"LO","Value":["b"]},"00080060":{"vr":"CS","Value":["CT"]},"#,
            r#""00081140":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["1"]}}]}}"#,
        )
    );
    assert!(tapped.marks.out_of_order && tapped.marks.repeated_elements);
    assert_eq!(tapped.header.modality.as_deref(), Some("CT"));
}

#[test]
fn control_characters_and_broken_text_stay_json() {
    golden(
        Build::explicit().put(Tag(0x0008, 0x0005), "CS", "ISO_IR 192").put(
            Tag(0x0010, 0x0020),
            "LO",
            b"a\x00\x01\xFFb",
        ),
        "{\"00080005\":{\"vr\":\"CS\",\"Value\":[\"ISO_IR 192\"]},\"00100020\":{\"vr\":\"LO\",\"Value\":[\"a\\u0000\\u0001\u{FFFD}b\"]}}",
    );
}
