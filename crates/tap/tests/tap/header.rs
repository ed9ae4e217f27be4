//! Names of the world: PS3.5 Annexes H to K and others, spelled as bytes.

use crate::build::{Build, EXPLICIT, IMPLICIT, tap};
use leadglass_tap::{Charset, Encoding, Tag};

const CHARSET: Tag = Tag(0x0008, 0x0005);
const NAME: Tag = Tag(0x0010, 0x0010);

fn name(charset: &str, value: &[u8]) -> String {
    let tapped = tap(EXPLICIT, &Build::explicit().put(CHARSET, "CS", charset).put(NAME, "PN", value).bytes).unwrap();
    assert!(!tapped.marks.undecodable_text, "{charset}: not all was understood");
    tapped.header.patient_name.unwrap().into_exposed()
}

#[test]
fn one_byte_sets() {
    for (charset, value, expect) in [
        ("", &b"Yamada^Tarou"[..], "Yamada^Tarou"),
        ("ISO_IR 100", b"Buc^J\xE9r\xF4me", "Buc^Jérôme"),
        ("ISO 2022 IR 100", b"\xC4neas^R\xFCdiger", "Äneas^Rüdiger"),
        ("ISO_IR 101", b"\xA3uk\xB1", "Łuką"),
        ("ISO_IR 109", b"\xF8u\xFDa", "ĝuŭa"),
        ("ISO_IR 110", b"\xEDauks", "íauks"),
        ("ISO_IR 144", b"\xBB\xEE\xDAce\xDC\xD1yp\xD3", "Люкceмбypг"),
        ("ISO_IR 127", b"\xE2\xC8\xC7\xE6\xEA^\xE4\xE6\xD2\xC7\xD1", "قباني^لنزار"),
        ("ISO_IR 126", b"\xC4\xE9\xEF\xED\xF5\xF3\xE9\xEF\xF2", "Διονυσιος"),
        ("ISO_IR 138", b"\xF9\xF8\xE5\xEF^\xE3\xE1\xE5\xF8\xE4", "שרון^דבורה"),
        ("ISO_IR 148", b"\xDD\xF0\xFE\xD0", "İğşĞ"),
        ("ISO_IR 203", b"\xA4\xBD", "€œ"),
        ("ISO_IR 166", b"\xB9\xD2\xC2", "นาย"),
        ("iso-ir 100", b"J\xF4", "Jô"),
    ] {
        assert_eq!(name(charset, value), expect, "{charset}");
    }
}

#[test]
fn whole_sets_whose_second_bytes_look_like_separators() {
    assert_eq!(name("ISO_IR 192", b"Wang^XiaoDong=\xE7\x8E\x8B^\xE5\xB0\x8F\xE6\x9D\xB1="), "Wang^XiaoDong=王^小東");
    assert_eq!(name("GB18030", b"Wang^XiaoDong=\xCD\xF5^\xD0\xA1\xB6\xAB="), "Wang^XiaoDong=王^小东");
    // 0x5C as a second byte is not a separator: 誠 is D55C in GBK.
    assert_eq!(name("GB18030", b"\xD5\x5C^\xD0\xA1"), "誠^小");
    assert_eq!(name("GBK", b"\xD5\x5C^\xD0\xA1"), "誠^小");
}

// PS3.5 H.3.1: \ISO 2022 IR 87.
#[test]
fn japanese_with_kanji_by_escapes() {
    let value = b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B=\x1B$B$d$^$@\x1B(B^\x1B$B$?$m$&\x1B(B";
    assert_eq!(name("\\ISO 2022 IR 87", value), "Yamada^Tarou=山田^太郎=やまだ^たろう");
}

// PS3.5 H.3.2: ISO 2022 IR 13\ISO 2022 IR 87.
#[test]
fn japanese_with_half_width_katakana_and_kanji() {
    let value =
        b"\xD4\xCF\xC0\xDE^\xC0\xDB\xB3=\x1B$B;3ED\x1B(J^\x1B$BB@O:\x1B(J=\x1B$B$d$^$@\x1B(J^\x1B$B$?$m$&\x1B(J";
    assert_eq!(name("ISO 2022 IR 13\\ISO 2022 IR 87", value), "ﾔﾏﾀ\u{FF9E}^ﾀﾛｳ=山田^太郎=やまだ^たろう");
}

#[test]
fn japanese_supplementary_kanji() {
    // JIS X 0212 row 16, cell 1: 丂.
    assert_eq!(name("\\ISO 2022 IR 87\\ISO 2022 IR 159", b"A\x1B$(D\x30\x21\x1B(B^B"), "A丂^B");
}

// PS3.5 I.2: \ISO 2022 IR 149.
#[test]
fn korean_with_hangul_and_hanja() {
    let value = b"Hong^Gildong=\x1B$)C\xFB\xF3^\x1B$)C\xD1\xCE\xD4\xD7=\x1B$)C\xC8\xAB^\x1B$)C\xB1\xE6\xB5\xBF";
    assert_eq!(name("\\ISO 2022 IR 149", value), "Hong^Gildong=洪^吉洞=홍^길동");
}

// PS3.5 K.2: \ISO 2022 IR 58.
#[test]
fn chinese_by_escapes() {
    let value = b"Zhang^XiaoDong=\x1B$)A\xD5\xC5^\x1B$)A\xD0\xA1\xB6\xAB=";
    assert_eq!(name("\\ISO 2022 IR 58", value), "Zhang^XiaoDong=张^小东");
}

#[test]
fn several_sets_in_one_name() {
    let value = b"Dionysios is \x1B-F\xC4\xE9\xEF\xED\xF5\xF3\xE9\xEF\xF2^\x1B-A\xE9";
    assert_eq!(name("ISO 2022 IR 100\\ISO 2022 IR 126", value), "Dionysios is Διονυσιος^é");
}

// PS3.5 §6.1.2.5.3: before a separator the initial sets hold again.
#[test]
fn separators_go_back_to_the_first_set() {
    let charset = Charset::parse(b"ISO 2022 IR 100\\ISO 2022 IR 126");
    let decoded = charset.decode(b"\x1B-F\xC4^\xE9=\x1B-F\xC4\\\xE9\r\n\x1B-F\xC4\n\xE9");
    assert!(decoded.clean);
    assert_eq!(decoded.text, "Δ^é=Δ\\é\r\nΔ\né");
}

#[test]
fn what_no_set_explains_is_kept_visible_and_marked() {
    for (charset, value, expect) in [
        ("", &b"J\xE9"[..], "Jé"),
        ("ISO_IR 192", b"J\xE9", "J\u{FFFD}"),
        ("\\ISO 2022 IR 87", b"\x1B$B\xFF", "ÿ"),
        ("\\ISO 2022 IR 87", b"\x1B$B\x7D\x7D", "\u{FFFD}\u{FFFD}"),
        ("\\ISO 2022 IR 87", b"\x1B%Gx", "\u{FFFD}%Gx"),
        ("NONSENSE", b"J\xE9", "Jé"),
    ] {
        let data = Build::explicit().put(CHARSET, "CS", charset).put(NAME, "PN", value).bytes;
        let tapped = tap(EXPLICIT, &data).unwrap();
        assert_eq!(tapped.header.patient_name.unwrap().expose(), expect, "{charset}");
        assert!(tapped.marks.undecodable_text, "{charset}");
        assert_eq!(tapped.marks.unknown_charset, charset == "NONSENSE");
    }
}

#[test]
fn an_item_has_its_own_character_set_and_gives_it_back() {
    let item = Build::explicit().put(CHARSET, "CS", "ISO_IR 144").put(Tag(0x0008, 0x0104), "LO", b"\xBB");
    let inheriting = Build::explicit().put(Tag(0x0008, 0x0104), "LO", b"\xE9");
    let data = Build::explicit()
        .put(CHARSET, "CS", "ISO_IR 100")
        .sequence(Tag(0x0008, 0x2218), "SQ", &[item, inheriting])
        .put(NAME, "PN", b"\xE9")
        .bytes;
    let tapped = tap(EXPLICIT, &data).unwrap();
    assert_eq!(tapped.header.patient_name.as_ref().unwrap().expose(), "é");
    let json: serde_json::Value = serde_json::from_slice(tapped.metadata_json.unwrap().expose()).unwrap();
    assert_eq!(json["00082218"]["Value"][0]["00080104"]["Value"][0], "Л");
    assert_eq!(json["00082218"]["Value"][1]["00080104"]["Value"][0], "é");
}

#[test]
fn only_the_top_level_says_who_it_is_and_only_once() {
    let other = Build::explicit().identity().put(Tag(0x0010, 0x0021), "LO", "Elsewhere");
    let data = Build::explicit()
        .put(Tag(0x0008, 0x0018), "UI", "1.2.3.4\0")
        .sequence(Tag(0x0008, 0x1140), "SQ", std::slice::from_ref(&other))
        .put(Tag(0x0010, 0x0010), "PN", "FIRST^ONE")
        .put(Tag(0x0010, 0x0020), "LO", "")
        .put(Tag(0x0010, 0x0020), "LO", "second")
        .sequence(Tag(0x0010, 0x1002), "SQ", &[other])
        .bytes;
    let tapped = tap(EXPLICIT, &data).unwrap();
    let header = tapped.header;
    assert_eq!(header.patient_name.unwrap().expose(), "FIRST^ONE");
    assert_eq!(header.patient_id, None, "the first one is empty, and stays so");
    assert_eq!(header.study_uid, None);
    assert_eq!(header.issuer_of_patient_id, None);
    assert_eq!(header.other_patient_ids.iter().map(|p| p.expose().as_str()).collect::<Vec<_>>(), ["ID 1"]);
    assert!(tapped.marks.repeated_elements);
}

#[test]
fn requests_are_kept_item_by_item_and_no_more_than_so_many() {
    const STEP: Tag = Tag(0x0040, 0x0009);
    const PROCEDURE: Tag = Tag(0x0040, 0x1001);
    let both = Build::explicit().put(STEP, "SH", "S1").put(PROCEDURE, "SH", "P1 ");
    let one =
        Build::explicit().put(PROCEDURE, "SH", "P2").sequence(Tag(0x0040, 0x0008), "SQ", std::slice::from_ref(&both));
    let nothing = Build::explicit().put(Tag(0x0040, 0x0007), "LO", "text");
    let data = Build::explicit()
        .put(Tag(0x0040, 0x0009), "SH", "at the top")
        .put(Tag(0x0040, 0x0244), "DA", "20240102")
        .put(Tag(0x0040, 0x0245), "TM", "1030")
        .sequence(Tag(0x0040, 0x0275), "SQ", &[both.clone(), nothing.clone(), one, nothing])
        .bytes;
    let header = tap(EXPLICIT, &data).unwrap().header;
    let text = |value: &Option<leadglass_model::Phi<String>>| value.as_ref().map(|v| v.expose().clone());
    let requests: Vec<_> = header.requests.iter().map(|r| (text(&r.scheduled_step), text(&r.procedure))).collect();
    let expected = [(Some("S1"), Some("P1")), (None, Some("P2"))];
    assert_eq!(requests, expected.map(|(step, procedure)| (step.map(str::to_owned), procedure.map(str::to_owned))));
    assert_eq!(
        (text(&header.performed_date), text(&header.performed_time)),
        (Some("20240102".into()), Some("1030".into()))
    );

    let many = vec![both; 20];
    let data = Build::explicit().sequence(Tag(0x0040, 0x0275), "SQ", &many).bytes;
    assert_eq!(tap(EXPLICIT, &data).unwrap().header.requests.len(), leadglass_tap::InstanceHeader::REQUESTS);
}

#[test]
fn the_study_is_known_before_the_pixels_are() {
    let data = Build::new(Encoding::ImplicitLe).identity().head(Tag::PIXEL_DATA, "OW", 1000).bytes;
    let mut tap = leadglass_tap::Tap::new(&crate::build::uid(IMPLICIT), leadglass_tap::Limits::default());
    tap.feed(&data).unwrap();
    assert_eq!(tap.so_far().study_uid.as_ref().unwrap().expose(), "1.2.3");
    assert!(tap.finish().is_err(), "the pixels never came");
}

#[test]
fn a_name_for_a_uid_is_marked_and_not_taken() {
    let data = Build::explicit().put(Tag(0x0020, 0x000D), "UI", "../../etc/passwd").bytes;
    let tapped = tap(EXPLICIT, &data).unwrap();
    assert_eq!(tapped.header.study_uid, None);
    assert!(tapped.marks.header_not_understood);
}
