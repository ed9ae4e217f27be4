//! The coercer: what is changed, what stays, and where the pieces are cut.

use super::{writing::Writing, *};
use leadglass_model::Phi;
use proptest::prelude::*;

const NAME: Tag = Tag(0x0010, 0x0010);
const ID: Tag = Tag(0x0010, 0x0020);
const STUDY: Tag = Tag(0x0020, 0x000D);
const SEX: Tag = Tag(0x0010, 0x0040);

fn by() -> CoercedBy {
    CoercedBy { at: "20260102030405+0000".into(), system: "Leadglass".into() }
}

fn coerced(values: &[(Tag, &str)]) -> Vec<Coerced> {
    values.iter().map(|(tag, value)| Coerced::new(*tag, Phi::new((*value).to_owned())).unwrap()).collect()
}

fn pieces(encoding: Encoding, data: &[u8], values: &[(Tag, &str)], cut: usize) -> Result<Vec<u8>, CoerceError> {
    let syntax = Syntax { encoding, ..Syntax::EXPLICIT_LE };
    let mut coercer = Coercer::new(syntax, coerced(values), by())?;
    let mut out = Vec::new();
    for piece in data.chunks(cut) {
        coercer.feed(piece, &mut out)?;
    }
    coercer.finish(&mut out)?;
    Ok(out)
}

/// However the bytes are cut, the same comes out.
fn done(encoding: Encoding, data: &[u8], values: &[(Tag, &str)]) -> Result<Vec<u8>, CoerceError> {
    let whole = pieces(encoding, data, values, data.len().max(1));
    for cut in [1, 2, 3, 7, 13] {
        assert_eq!(pieces(encoding, data, values, cut), whole, "cut by {cut}");
    }
    whole
}

fn writing(encoding: Encoding) -> Writing {
    Writing { encoding, begun: true }
}

fn item_of(writing: Writing, old: &[u8]) -> Vec<u8> {
    let text = |number, vr: &[u8; 2], text: &str| writing.element(Tag(0x0400, number), Vr(*vr), text.as_bytes());
    let content = [
        writing.element(Tag(0x0400, 0x0550), Vr::SQ, &writing.item(old)),
        text(0x0562, b"DT", "20260102030405+0000"),
        text(0x0563, b"LO", "Leadglass"),
        text(0x0564, b"LO", ""),
        text(0x0565, b"CS", "CORRECT"),
    ];
    writing.item(&content.concat())
}

#[test]
fn what_is_wrong_is_replaced_and_kept_in_every_encoding() {
    for encoding in [Encoding::ExplicitLe, Encoding::ImplicitLe, Encoding::ExplicitBe] {
        let w = writing(encoding);
        let text = |tag, vr: &[u8; 2], text: &str| w.element(tag, Vr(*vr), text.as_bytes());
        let (front, middle) = (text(Tag(0x0008, 0x0060), b"CS", "CT"), text(Tag(0x0010, 0x0030), b"DA", "19700101"));
        let pixels = w.element(Tag::PIXEL_DATA, Vr::OW, &[7; 400]);
        let old_name = text(NAME, b"PN", "Wrong^Name");
        let data = [&front[..], &old_name, &text(ID, b"LO", "SAME"), &middle, &pixels].concat();
        let made = done(encoding, &data, &[(NAME, "Right^Name^A"), (ID, "SAME"), (SEX, "F")]).unwrap();
        let old = [&old_name[..], &text(SEX, b"CS", "")].concat();
        let expected = [
            &front[..],
            &text(NAME, b"PN", "Right^Name^A"),
            &text(ID, b"LO", "SAME"),
            &middle,
            &text(SEX, b"CS", "F"),
            &w.element(ORIGINAL_ATTRIBUTES, Vr::SQ, &item_of(w, &old)),
            &pixels,
        ];
        assert_eq!(made, expected.concat(), "{encoding:?}");
        let again = done(encoding, &made, &[(NAME, "Right^Name^A"), (ID, "SAME"), (SEX, "F")]).unwrap();
        assert_eq!(again, made, "what says it already stays");
        let twice = done(encoding, &made, &[(ID, "OTHER")]).unwrap();
        let items = [item_of(w, &text(ID, b"LO", "SAME")), item_of(w, &old)].concat();
        let sequence = w.element(ORIGINAL_ATTRIBUTES, Vr::SQ, &items);
        assert!(twice.windows(sequence.len()).any(|part| part == sequence), "the newest first");
    }
}

#[test]
fn what_goes_behind_the_last_element_stands_there() {
    let w = writing(Encoding::ExplicitLe);
    let data = w.element(Tag(0x0008, 0x0060), Vr(*b"CS"), b"CT");
    let made = done(Encoding::ExplicitLe, &data, &[(ID, "NEW")]).unwrap();
    assert!(made.starts_with(&data) && made.len() > data.len());
    let emptied = done(Encoding::ExplicitLe, &data, &[(ID, "")]).unwrap();
    assert_eq!(emptied, data, "nothing to empty");
}

#[test]
fn group_lengths_of_what_changes_are_left_out_and_nested_names_stay() {
    let w = writing(Encoding::ExplicitLe);
    let nested = w.element(Tag(0x0008, 0x1140), Vr::SQ, &w.item(&w.element(NAME, Vr(*b"PN"), b"Wrong^Name")));
    let length = w.element(Tag(0x0010, 0), Vr(*b"UL"), &[18, 0, 0, 0]);
    let kept = w.element(Tag(0x0020, 0), Vr(*b"UL"), &[0, 0, 0, 0]);
    let name = w.element(NAME, Vr(*b"PN"), b"Wrong^Name");
    let made = done(Encoding::ExplicitLe, &[&nested[..], &length, &name, &kept].concat(), &[(NAME, "Right")]).unwrap();
    assert!(made.starts_with(&[&nested[..], &w.element(NAME, Vr(*b"PN"), b"Right"), &kept].concat()));
}

#[test]
fn a_uid_is_padded_with_a_zero_and_takes_its_group_length_along() {
    let w = writing(Encoding::ExplicitLe);
    let length = w.element(Tag(0x0020, 0), Vr(*b"UL"), &[12, 0, 0, 0]);
    let old = w.element(STUDY, Vr(*b"UI"), b"1.2");
    assert_eq!(old.last(), Some(&0));
    let made = done(Encoding::ExplicitLe, &[length, old.clone()].concat(), &[(STUDY, "1.2.840")]).unwrap();
    let sequence = w.element(ORIGINAL_ATTRIBUTES, Vr::SQ, &item_of(w, &old));
    assert_eq!(made, [w.element(STUDY, Vr(*b"UI"), b"1.2.840"), sequence].concat());
}

#[test]
fn a_name_is_written_in_the_character_set_or_refused() {
    let w = writing(Encoding::ExplicitLe);
    let with = |charset: &str| {
        [
            w.element(Tag::SPECIFIC_CHARACTER_SET, Vr(*b"CS"), charset.as_bytes()),
            w.element(NAME, Vr(*b"PN"), b"A"),
            w.element(Tag(0x0020, 0x0010), Vr(*b"SH"), b"1"),
        ]
        .concat()
    };
    let name = "Müller^Jörg";
    let latin = done(Encoding::ExplicitLe, &with("ISO_IR 100"), &[(NAME, name)]).unwrap();
    assert!(latin.windows(11).any(|part| part == b"M\xFCller^J\xF6rg"));
    let utf8 = done(Encoding::ExplicitLe, &with("ISO_IR 192"), &[(NAME, name)]).unwrap();
    assert!(utf8.windows(13).any(|part| part == name.as_bytes()));
    for (charset, name) in [("", name), ("ISO_IR 100", "Łukasz"), ("ISO_IR 144", name), ("ISO 2022 IR 149", name)] {
        let refused = done(Encoding::ExplicitLe, &with(charset), &[(NAME, name)]);
        assert_eq!(refused, Err(CoerceError::Charset { tag: NAME }), "{charset}");
    }
}

#[test]
fn values_have_their_form() {
    let new = |tag, text: &str| Coerced::new(tag, Phi::new(text.to_owned())).is_ok();
    assert!(new(Tag(0x0010, 0x0030), "19700101") && new(Tag(0x0010, 0x0030), "") && new(SEX, "O"));
    assert!(new(Tag(0x0010, 0x0030), "20240229") && new(STUDY, "1.2.840"));
    for day in ["20230229", "20269999", "20260001", "+9700101", "2026010"] {
        assert!(!new(Tag(0x0010, 0x0030), day), "{day}");
    }
    assert!(!new(STUDY, "") && !new(STUDY, "1.a"));
    for (tag, text) in
        [(Tag(0x0010, 0x0030), "1.1.1970"), (SEX, "f"), (ID, "a\\b"), (ID, "a\n"), (NAME, "a=b=c=d"), (ID, " a")]
    {
        assert!(!new(tag, text), "{tag} {text}");
    }
    assert!(!new(ID, &"x".repeat(65)) && !new(Tag(0x0010, 0x4000), "x"));
}

#[test]
fn what_is_out_of_order_or_deflated_is_refused() {
    let w = writing(Encoding::ExplicitLe);
    let (name, id) = (w.element(NAME, Vr(*b"PN"), b"A "), w.element(ID, Vr(*b"LO"), b"1 "));
    let order = Err(CoerceError::Order { tag: NAME });
    assert_eq!(done(Encoding::ExplicitLe, &[&id[..], &name].concat(), &[(NAME, "B")]), order);
    assert_eq!(done(Encoding::ExplicitLe, &[&name[..], &name].concat(), &[(NAME, "B")]), order);
    let deflated = Syntax { deflated: true, ..Syntax::EXPLICIT_LE };
    assert_eq!(Coercer::new(deflated, Vec::new(), by()).unwrap_err(), CoerceError::Deflated);
}

proptest! {
    #[test]
    fn whatever_comes_in_nothing_panics_and_no_cut_matters(
        mut noise in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..400, cut in 1_usize..20
    ) {
        let w = writing(Encoding::ExplicitLe);
        let old = w.element(ORIGINAL_ATTRIBUTES, Vr::SQ, &w.item(&w.element(NAME, Vr(*b"PN"), b"Old")));
        let mut data = [w.element(NAME, Vr(*b"PN"), b"Wrong"), w.element(ID, Vr(*b"LO"), b"1"), old].concat();
        let at = at.min(data.len());
        data.splice(at..at, noise.drain(..));
        for encoding in [Encoding::ExplicitLe, Encoding::ImplicitLe, Encoding::ExplicitBe] {
            let values = [(NAME, "Right"), (SEX, "F")];
            let whole = pieces(encoding, &data, &values, data.len());
            prop_assert_eq!(pieces(encoding, &data, &values, cut), whole);
        }
    }
}
