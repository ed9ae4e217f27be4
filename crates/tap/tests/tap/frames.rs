//! Where frames lie, by each way of telling.

use crate::build::{BIG, Build, EXPLICIT, IMPLICIT, J2K, JPEG, MPEG, tap};
use leadglass_tap::{Encoding, FrameSource, FrameSpan, FrameTable, Tag, Tapped};

fn image(encoding: Encoding, frames: &str, rows: u16, columns: u16, bits: u16) -> Build {
    Build::new(encoding)
        .us(Tag(0x0028, 0x0002), 1)
        .put(Tag(0x0028, 0x0008), "IS", frames)
        .us(Tag(0x0028, 0x0010), rows)
        .us(Tag(0x0028, 0x0011), columns)
        .us(Tag(0x0028, 0x0100), bits)
}

fn native(tapped: &Tapped) -> (u32, u32) {
    match tapped.frames {
        FrameTable::Native { count, frame_len, .. } => (count, frame_len),
        ref other => panic!("{other:?}"),
    }
}

/// The fragments that a span covers, item headers removed: what a reader of the table does.
fn frame(data: &[u8], span: FrameSpan) -> Vec<u8> {
    let mut rest = &data[span.offset as usize..(span.offset + span.len) as usize];
    let mut out = Vec::new();
    while !rest.is_empty() {
        assert_eq!(&rest[..4], [0xFE, 0xFF, 0x00, 0xE0], "a span begins with an item");
        let len = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        out.extend(&rest[8..8 + len]);
        rest = &rest[8 + len..];
    }
    out
}

fn encapsulated(data: &[u8], syntax: &str) -> (Vec<Vec<u8>>, FrameSource) {
    let tapped = tap(syntax, data).unwrap();
    match &tapped.frames {
        FrameTable::Table(spans) => (spans.iter().map(|s| frame(data, *s)).collect(), tapped.frame_source),
        FrameTable::Unknown => (Vec::new(), tapped.frame_source),
        other => panic!("{other:?}"),
    }
}

#[test]
fn native_frames_are_arithmetic_in_every_encoding() {
    for (syntax, encoding) in
        [(EXPLICIT, Encoding::ExplicitLe), (IMPLICIT, Encoding::ImplicitLe), (BIG, Encoding::ExplicitBe)]
    {
        let data = image(encoding, "3 ", 4, 5, 16).put(Tag::PIXEL_DATA, "OW", [0; 120]).bytes;
        let tapped = tap(syntax, &data).unwrap();
        let offset = data.len() as u64 - 120;
        assert_eq!(tapped.frames, FrameTable::Native { offset, count: 3, frame_len: 40 });
        assert_eq!(tapped.frame_source, FrameSource::Native);
        assert_eq!(tapped.pixel_value_offset, Some(offset));
    }
}

#[test]
fn float_pixels_have_the_width_of_their_tag() {
    for (element, vr, width) in [(0x0008, "OF", 4), (0x0009, "OD", 8)] {
        let data = image(Encoding::ExplicitLe, "2", 2, 2, 16).put(Tag(0x7FE0, element), vr, vec![0; 8 * width]).bytes;
        assert_eq!(native(&tap(EXPLICIT, &data).unwrap()), (2, 4 * width as u32));
    }
}

#[test]
fn one_bit_frames_count_where_they_begin_on_a_byte() {
    let data = |frames: &str, columns: u16, len: usize| {
        image(Encoding::ExplicitLe, frames, 4, columns, 1).put(Tag::PIXEL_DATA, "OB", vec![0; len]).bytes
    };
    assert_eq!(native(&tap(EXPLICIT, &data("3 ", 6, 10)).unwrap()), (3, 3), "24 bits a frame and a pad byte");
    assert_eq!(tap(EXPLICIT, &data("3 ", 5, 8)).unwrap().frames, FrameTable::Unknown, "20 bits a frame");
    assert_eq!(native(&tap(EXPLICIT, &data("1 ", 5, 4)).unwrap()), (1, 3), "one frame is never unaligned");
}

#[test]
fn subsampled_chrominance_takes_two_bytes_a_pixel_if_it_really_does() {
    let data = |len: usize| {
        Build::explicit()
            .us(Tag(0x0028, 0x0002), 3)
            .put(Tag(0x0028, 0x0004), "CS", "YBR_FULL_422")
            .us(Tag(0x0028, 0x0010), 10)
            .us(Tag(0x0028, 0x0011), 10)
            .us(Tag(0x0028, 0x0100), 8)
            .put(Tag::PIXEL_DATA, "OB", vec![0; len])
            .bytes
    };
    assert_eq!(native(&tap(EXPLICIT, &data(200)).unwrap()), (1, 200));
    assert_eq!(native(&tap(EXPLICIT, &data(300)).unwrap()), (1, 300));
}

#[test]
fn of_number_of_frames_and_data_the_smaller_counts() {
    let data = image(Encoding::ExplicitLe, "9 ", 4, 5, 16).put(Tag::PIXEL_DATA, "OW", [0; 85]).bytes;
    let tapped = tap(EXPLICIT, &data).unwrap();
    assert_eq!(native(&tapped), (2, 40));
    assert!(tapped.marks.frames_missing);
    for frames in ["0 ", "", "-1", "x "] {
        let data = image(Encoding::ExplicitLe, frames, 4, 5, 16).put(Tag::PIXEL_DATA, "OW", [0; 40]).bytes;
        assert_eq!(native(&tap(EXPLICIT, &data).unwrap()), (1, 40), "{frames:?}");
    }
    let short = image(Encoding::ExplicitLe, "1 ", 4, 5, 16).put(Tag::PIXEL_DATA, "OW", [0; 39]).bytes;
    assert_eq!(tap(EXPLICIT, &short).unwrap().frames, FrameTable::Unknown);
    let huge = image(Encoding::ExplicitLe, "2147483647", 65535, 65535, 65535).put(Tag::PIXEL_DATA, "OW", [0; 8]).bytes;
    assert_eq!(tap(EXPLICIT, &huge).unwrap().frames, FrameTable::Unknown);
}

#[test]
fn no_pixels_no_frames() {
    let icon = image(Encoding::ExplicitLe, "1 ", 2, 2, 8).put(Tag::PIXEL_DATA, "OB", [0; 4]);
    let data = Build::explicit().identity().sequence(Tag(0x0088, 0x0200), "SQ", &[icon]).bytes;
    let tapped = tap(EXPLICIT, &data).unwrap();
    assert_eq!((tapped.frames, tapped.pixel_value_offset), (FrameTable::None, None), "an icon is not the image");
}

#[test]
fn an_encapsulated_icon_does_not_disturb_the_image() {
    let icon = image(Encoding::ExplicitLe, "1 ", 2, 2, 8).fragments(&[b"", b"\xFF\xD8ic"]);
    let data = Build::explicit().sequence(Tag(0x0088, 0x0200), "SQ", &[icon]).fragments(&[b"", b"\xFF\xD8image"]).bytes;
    let (frames, source) = encapsulated(&data, JPEG);
    assert_eq!((frames, source), (vec![b"\xFF\xD8image".to_vec()], FrameSource::OneFragmentEach));
}

#[test]
fn the_basic_offset_table_counts_where_it_is_true() {
    let offsets = |o: &[u32]| o.iter().flat_map(|o| o.to_le_bytes()).collect::<Vec<u8>>();
    let data =
        |o: &[u32]| image(Encoding::ExplicitLe, "2 ", 2, 2, 8).fragments(&[&offsets(o), b"aa", b"bbbb", b"cc"]).bytes;
    let (frames, source) = encapsulated(&data(&[0, 22]), JPEG);
    assert_eq!((frames, source), (vec![b"aabbbb".to_vec(), b"cc".to_vec()], FrameSource::BasicOffsetTable));
    // Not a fragment's start, falling, not from the first, one too few: none of it is believed.
    for wrong in [&[0, 21][..], &[22, 0], &[10, 22], &[0], &[0, 0], &[0, u32::MAX]] {
        assert_eq!(encapsulated(&data(wrong), JPEG), (vec![], FrameSource::Nothing), "{wrong:?}");
    }
}

#[test]
fn the_extended_offset_table_counts_where_it_is_true() {
    let table = |o: &[u64]| o.iter().flat_map(|o| o.to_le_bytes()).collect::<Vec<u8>>();
    let data = |o: &[u64]| {
        image(Encoding::ExplicitLe, "2 ", 2, 2, 8)
            .put(Tag(0x7FE0, 0x0001), "OV", table(o))
            .put(Tag(0x7FE0, 0x0002), "OV", table(&[4, 1]))
            .fragments(&[b"", b"aaaa", b"bb"])
            .bytes
    };
    let both = vec![b"aaaa".to_vec(), b"bb".to_vec()];
    assert_eq!(encapsulated(&data(&[0, 12]), J2K), (both.clone(), FrameSource::ExtendedOffsetTable));
    assert_eq!(encapsulated(&data(&[0, 13]), J2K), (both, FrameSource::OneFragmentEach));
}

#[test]
fn without_a_table_the_fragments_tell() {
    let one = image(Encoding::ExplicitLe, "1 ", 2, 2, 8).fragments(&[b"", b"aa", b"bb"]).bytes;
    assert_eq!(encapsulated(&one, JPEG), (vec![b"aabb".to_vec()], FrameSource::SingleFrame));
    let absent = Build::explicit().fragments(&[b"", b"aa", b"bb"]).bytes;
    assert_eq!(encapsulated(&absent, JPEG), (vec![b"aabb".to_vec()], FrameSource::SingleFrame));
    let each = image(Encoding::ExplicitLe, "2 ", 2, 2, 8).fragments(&[b"", b"aa", b"bb"]).bytes;
    assert_eq!(encapsulated(&each, JPEG), (vec![b"aa".to_vec(), b"bb".to_vec()], FrameSource::OneFragmentEach));
    let empty = image(Encoding::ExplicitLe, "2 ", 2, 2, 8).fragments(&[b"", b"aa", b"", b"bb"]).bytes;
    assert_eq!(encapsulated(&empty, JPEG), (vec![b"aa".to_vec(), b"bb".to_vec()], FrameSource::OneFragmentEach));
    let starts =
        image(Encoding::ExplicitLe, "2 ", 2, 2, 8).fragments(&[b"", b"\xFF\x4Faa", b"bb", b"\xFF\x4Fcc", b"dd"]).bytes;
    let expect = vec![b"\xFF\x4Faabb".to_vec(), b"\xFF\x4Fccdd".to_vec()];
    assert_eq!(encapsulated(&starts, J2K), (expect, FrameSource::StartOfCodestream));
    let lost = image(Encoding::ExplicitLe, "2 ", 2, 2, 8).fragments(&[b"", b"aa", b"bb", b"cc"]).bytes;
    assert_eq!(encapsulated(&lost, JPEG), (vec![], FrameSource::Nothing));
    let none = image(Encoding::ExplicitLe, "1 ", 2, 2, 8).fragments(&[b""]).bytes;
    assert_eq!(encapsulated(&none, JPEG), (vec![], FrameSource::Nothing));
}

#[test]
fn a_video_is_one_range() {
    let data = image(Encoding::ExplicitLe, "2 ", 2, 2, 8).fragments(&[b"", b"aa", b"bb"]).bytes;
    let tapped = tap(MPEG, &data).unwrap();
    assert_eq!(tapped.frames, FrameTable::Unknown);
    assert_eq!(tapped.bulk[0].path, "bulkdata/7FE00010");
}

#[test]
fn native_pixels_under_a_compressed_syntax_are_not_trusted() {
    let data = image(Encoding::ExplicitLe, "1 ", 2, 2, 8).put(Tag::PIXEL_DATA, "OB", [0; 4]).bytes;
    assert_eq!(tap(JPEG, &data).unwrap().frames, FrameTable::Unknown);
}

#[test]
fn encapsulated_uncompressed_is_encapsulated() {
    let data = image(Encoding::ExplicitLe, "2 ", 2, 2, 8).fragments(&[b"", b"aaaa", b"bbbb"]).bytes;
    let (frames, _) = encapsulated(&data, "1.2.840.10008.1.2.1.98");
    assert_eq!(frames, [b"aaaa", b"bbbb"]);
}
