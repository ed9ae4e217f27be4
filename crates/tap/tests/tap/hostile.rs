//! Objects made to hurt: each once took a reader down, aborted a process, ate gigabytes or was silently misread.

use crate::build::{BIG, Build, DEFLATED, EXPLICIT, IMPLICIT, JPEG, deflate, json_text, tap, tap_in};
use leadglass_tap::{Encoding, FrameTable, Limits, Tag, TapError, WalkError};

const SEQUENCE: Tag = Tag(0x0008, 0x1140);

fn nested(levels: usize, encoding: Encoding) -> Vec<u8> {
    let mut build = Build::new(encoding);
    for _ in 0..levels {
        build = build.head(SEQUENCE, "SQ", u32::MAX).head(Tag::ITEM, "", u32::MAX);
    }
    build.bytes
}

#[test]
fn two_thousand_nested_sequences_are_too_deep() {
    for (syntax, encoding) in
        [(EXPLICIT, Encoding::ExplicitLe), (IMPLICIT, Encoding::ImplicitLe), (BIG, Encoding::ExplicitBe)]
    {
        let refused = tap(syntax, &nested(2000, encoding));
        assert!(matches!(refused, Err(TapError::Walk(WalkError::TooDeep { tag: SEQUENCE, .. }))), "{refused:?}");
    }
}

#[test]
fn sixty_four_levels_pass_and_one_more_does_not() {
    let close = Build::explicit().head(Tag::ITEM_END, "", 0).head(Tag::SEQUENCE_END, "", 0).bytes;
    let whole = |pairs: usize| [nested(pairs, Encoding::ExplicitLe), close.repeat(pairs)].concat();
    assert_eq!(tap(EXPLICIT, &whole(32)).unwrap().deepest, 64);
    assert!(matches!(tap(EXPLICIT, &whole(33)), Err(TapError::Walk(WalkError::TooDeep { .. }))));
}

#[test]
fn a_length_of_four_gigabytes_is_truncated_and_not_allocated() {
    for vr in ["UT", "UN", "OW"] {
        let data = Build::explicit().identity().head(Tag(0x0042, 0x0011), vr, 0xFFFF_FFF0).raw(&[1; 400]).bytes;
        let at = data.len() as u64;
        assert_eq!(tap(EXPLICIT, &data), Err(TapError::Walk(WalkError::Truncated { at })), "{vr}");
    }
}

#[test]
fn a_stray_item_delimiter_is_refused() {
    let data = Build::explicit().identity().head(Tag::ITEM_END, "", 0).head(Tag::ITEM, "", 0).bytes;
    assert!(matches!(tap(EXPLICIT, &data), Err(TapError::Walk(WalkError::UnexpectedTag { tag: Tag::ITEM_END, .. }))));
}

#[test]
fn an_element_between_the_items_of_a_sequence_is_refused() {
    let data = Build::explicit().head(SEQUENCE, "SQ", u32::MAX).put(Tag(0x0010, 0x0010), "PN", "A^B ").bytes;
    assert!(matches!(tap(EXPLICIT, &data), Err(TapError::Walk(WalkError::UnexpectedTag { .. }))));
}

// CP-246: what an UN of undefined length holds is implicit VR little endian. Read otherwise, UIDs behind it are lost.
#[test]
fn an_unknown_sequence_of_undefined_length_is_read_through() {
    let inner = Build::new(Encoding::ImplicitLe).put(Tag(0x0008, 0x0100), "SH", "CODE").put(
        Tag(0x0010, 0x0020),
        "LO",
        "not the patient",
    );
    let data = Build::explicit()
        .put(Tag(0x0008, 0x0018), "UI", "1.2.3.4\0")
        .sequence(Tag(0x0009, 0x1001), "UN", &[inner])
        .put(Tag(0x0010, 0x0020), "LO", "ID 1")
        .put(Tag(0x0020, 0x000D), "UI", "1.2.3\0")
        .put(Tag(0x0020, 0x000E), "UI", "1.2.3.9\0")
        .bytes;
    let tapped = tap(EXPLICIT, &data).unwrap();
    assert_eq!(tapped.header.study_uid.unwrap().expose(), "1.2.3");
    assert_eq!(tapped.header.series_uid.unwrap().expose(), "1.2.3.9");
    assert_eq!(tapped.header.patient_id.unwrap().expose(), "ID 1");
    assert_eq!(tapped.elements, 7);
}

#[test]
fn a_deflated_object_is_inflated_on_the_fly() {
    let plain = Build::explicit().identity().put(Tag::PIXEL_DATA, "OW", [7; 5000]).bytes;
    let mut data = deflate(&plain);
    if data.len() % 2 == 1 {
        data.push(0);
    }
    for piece in [1, 7, 4096] {
        let tapped = tap_in(DEFLATED, &data, piece, Limits::default()).unwrap();
        assert_eq!(tapped.header.study_uid.as_ref().unwrap().expose(), "1.2.3");
        assert_eq!(tapped.dataset_len, data.len() as u64);
        assert_eq!(tapped.frames, FrameTable::Unknown);
        assert_eq!(tapped.pixel_value_offset, None);
        assert!(tapped.marks.deflated);
    }
}

#[test]
fn a_deflate_bomb_stops_at_the_ratio() {
    let plain = Build::explicit().identity().put(Tag(0x0042, 0x0011), "OB", vec![0; 64 << 20]).bytes;
    let data = deflate(&plain);
    assert!(data.len() * 900 < plain.len(), "it is a bomb");
    let limits = Limits { inflated_bytes: 8 << 20, ..Limits::default() };
    assert!(matches!(tap_in(DEFLATED, &data, 4096, limits), Err(TapError::InflatesTooFar)));
}

#[test]
fn a_deflate_stream_that_breaks_off_or_is_none_is_refused() {
    let data = deflate(&Build::explicit().identity().bytes);
    let cut = tap(DEFLATED, &data[..data.len() - 1]);
    assert!(matches!(cut, Err(TapError::DeflateTruncated { .. })), "{cut:?}");
    let not = tap(DEFLATED, &[0xFF; 64]);
    assert!(matches!(not, Err(TapError::NotDeflate)), "{not:?}");
}

#[test]
fn an_object_cut_anywhere_is_truncated_or_shorter_by_whole_elements() {
    let data = Build::explicit().identity().fragments(&[b"", b"\xFF\xD8 one fragment"]).bytes;
    let mut ends = Vec::new();
    for len in 1..data.len() {
        match tap(JPEG, &data[..len]) {
            Err(TapError::Walk(WalkError::Truncated { at })) => assert_eq!(at, len as u64),
            Ok(tapped) => {
                assert_eq!(tapped.frames, FrameTable::None, "cut at {len}");
                ends.push(len);
            }
            other => panic!("cut at {len}: {other:?}"),
        }
    }
    assert_eq!(ends.len(), 6, "one for each element in front of the pixels");
}

#[test]
fn a_large_multi_frame_header_is_walked_whole() {
    let frames = 20_000;
    let item = |n: usize| {
        Build::explicit()
            .measured(Tag(0x0020, 0x9113), &[Build::explicit().put(Tag(0x0020, 0x0032), "DS", format!("0\\0\\{n:06}"))])
    };
    let items: Vec<Build> = (0..frames).map(item).collect();
    let data = Build::explicit().identity().sequence(Tag(0x5200, 0x9230), "SQ", &items).bytes;
    let tapped = tap(EXPLICIT, &data).unwrap();
    assert_eq!(tapped.elements, 7 + 2 * frames as u64);
    assert_eq!(tapped.deepest, 4);
    assert!(json_text(&tapped).contains("[0,0,19999]"));
}

#[test]
fn a_length_past_its_item_is_an_overrun() {
    let inner = Build::explicit().head(Tag(0x0008, 0x0100), "SH", 40).raw(b"CODE");
    let data = Build::explicit().measured(SEQUENCE, &[inner]).put(Tag(0x0010, 0x0010), "PN", [b'A'; 60]).bytes;
    assert!(matches!(tap(EXPLICIT, &data), Err(TapError::Walk(WalkError::Overrun { tag: Tag(0x0008, 0x0100), .. }))));
}

#[test]
fn a_header_that_straddles_the_end_of_its_item_is_an_overrun() {
    let inner = Build::explicit().put(Tag(0x0008, 0x0100), "SH", "CODE").raw(&[8, 0, 2]);
    let data = Build::explicit().measured(SEQUENCE, &[inner]).put(Tag(0x0010, 0x0010), "PN", [b'A'; 60]).bytes;
    assert!(matches!(tap(EXPLICIT, &data), Err(TapError::Walk(WalkError::Overrun { .. }))));
}

#[test]
fn an_undefined_length_is_for_sequences_and_fragments_only() {
    let data = Build::explicit().head(Tag(0x0008, 0x1190), "UR", u32::MAX).bytes;
    assert!(matches!(tap(EXPLICIT, &data), Err(TapError::Walk(WalkError::UndefinedLength { .. }))));
    let fragment = Build::explicit().head(Tag::PIXEL_DATA, "OB", u32::MAX).head(Tag::ITEM, "", u32::MAX).bytes;
    assert!(matches!(tap(JPEG, &fragment), Err(TapError::Walk(WalkError::UndefinedLength { .. }))));
}

#[test]
fn zero_padding_at_the_end_is_lived_with_and_counted() {
    let data = Build::explicit().identity().bytes;
    for zeros in [1, 7, 8, 9, 5000] {
        let tapped = tap(EXPLICIT, &[data.clone(), vec![0; zeros]].concat()).unwrap();
        assert_eq!(tapped.marks.trailing_bytes, zeros as u64);
        assert_eq!(tapped.elements, 6);
    }
    let file = [data.clone(), vec![0; 30], vec![1; 3]].concat();
    let other = tap(EXPLICIT, &file);
    // Once the position depended on the pieces.
    assert_eq!(other, tap_in(EXPLICIT, &file, 1, Limits::default()));
    assert!(matches!(other, Err(TapError::Walk(WalkError::UnexpectedTag { .. }))), "{other:?}");
    assert!(tap(EXPLICIT, &[0; 64]).is_err(), "zeros alone are no data set");
}

#[test]
fn an_explicit_syntax_with_implicit_content_is_seen_at_the_first_element() {
    let data = Build::new(Encoding::ImplicitLe).identity().bytes;
    let tapped = tap(EXPLICIT, &data).unwrap();
    assert_eq!(tapped.marks.other_encoding, Some(Encoding::ImplicitLe));
    assert_eq!(tapped.header.study_uid.unwrap().expose(), "1.2.3");
    let data = Build::explicit().identity().bytes;
    let tapped = tap(IMPLICIT, &data).unwrap();
    assert_eq!(tapped.marks.other_encoding, Some(Encoding::ExplicitLe));
    assert_eq!(tapped.header.study_uid.unwrap().expose(), "1.2.3");
}

#[test]
fn odd_lengths_pass() {
    let data = Build::explicit().put(Tag(0x0010, 0x0010), "PN", "A^B").put(Tag(0x0010, 0x0020), "LO", "x").bytes;
    let tapped = tap(EXPLICIT, &data).unwrap();
    assert_eq!(tapped.header.patient_name.unwrap().expose(), "A^B");
    assert_eq!(tapped.header.patient_id.unwrap().expose(), "x");
}

#[test]
fn past_a_keep_cap_the_object_is_still_walked() {
    let many = |n: usize| {
        let mut build = Build::explicit().identity();
        for i in 0..n {
            build = build.put(Tag(0x0029, 0x1000 + i as u16), "LO", [b'x'; 100]);
        }
        build.put(Tag(0x0042, 0x0011), "OB", [1; 4000]).put(Tag::PIXEL_DATA, "OW", [0; 8]).bytes
    };
    let limits = Limits { kept_bytes: 10_000, ..Limits::default() };
    let small = tap_in(EXPLICIT, &many(10), 7, limits).unwrap();
    assert!(small.metadata_json.is_some() && !small.marks.metadata_cut && small.bulk.len() == 2);
    let large = tap_in(EXPLICIT, &many(100), 7, limits).unwrap();
    assert!(large.metadata_json.is_none() && large.marks.metadata_cut && large.bulk.is_empty());
    assert_eq!(large.header.study_uid.unwrap().expose(), "1.2.3");
    assert_eq!(large.elements, 6 + 100 + 2);
    assert!(large.pixel_value_offset.is_some());

    let few = Limits { elements: 50, ..Limits::default() };
    let cut = tap_in(EXPLICIT, &many(100), 7, few).unwrap();
    assert!(cut.metadata_json.is_none() && cut.marks.metadata_cut);
    assert_eq!(cut.elements, 108);
}

#[test]
fn escapes_cannot_grow_the_metadata_past_their_cap() {
    // Each control character becomes six bytes of JSON.
    let data = Build::explicit().identity().put(Tag(0x0040, 0xA160), "UT", vec![1; 60_000]).bytes;
    let limits = Limits { kept_bytes: 100_000, ..Limits::default() };
    let tapped = tap_in(EXPLICIT, &data, 4096, limits).unwrap();
    assert!(tapped.metadata_json.is_none() && tapped.marks.metadata_cut);
}

#[test]
fn more_fragments_than_are_kept_leave_no_frame_table() {
    let fragments: Vec<&[u8]> = std::iter::repeat_n(&b"\xFF\xD8"[..], 40).collect();
    let data = Build::explicit().put(Tag(0x0028, 0x0008), "IS", "39").fragments(&fragments).bytes;
    let limits = Limits { fragments: 38, ..Limits::default() };
    let tapped = tap_in(JPEG, &data, 7, limits).unwrap();
    assert_eq!(tapped.frames, FrameTable::Unknown);
    assert!(tapped.marks.frames_cut);
    assert!(matches!(tap(JPEG, &data).unwrap().frames, FrameTable::Table(t) if t.len() == 39));
}

#[test]
fn an_error_is_final_and_names_no_value() {
    let data = Build::explicit().identity().head(Tag::ITEM_END, "", 0).bytes;
    let mut watch = leadglass_tap::Tap::new(&crate::build::uid(EXPLICIT), Limits::default());
    let first = watch.feed(&data).unwrap_err();
    assert_eq!(watch.feed(&[0]), Err(first));
    let shown = format!("{watch:?} {first} {first:?}");
    assert!(!shown.contains("CANARY") && !shown.contains("1.2.3"), "{shown}");
    assert_eq!(watch.finish(), Err(first));
}
