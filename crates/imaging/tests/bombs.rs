//! Uploads that are small and want to become large, that lie, or that are no picture at all: refused before anything is
//! allocated, and never a panic of ours.
#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod common;

use common::{find, record};
use image::{
    ColorType, ExtendedColorType, ImageEncoder,
    codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder},
};
use leadglass_imaging::{MAX_PIXELS, MAX_WORK_BYTES, Upload, UploadError};
use proptest::prelude::*;

const WIDTH: u32 = 40;
const HEIGHT: u32 = 30;

fn samples() -> Vec<u8> {
    (0..WIDTH * HEIGHT * 3).map(|n| u8::try_from(n * 7 % 256).unwrap()).collect()
}

fn jpeg() -> Vec<u8> {
    let mut out = Vec::new();
    JpegEncoder::new(&mut out).encode(&samples(), WIDTH, HEIGHT, ExtendedColorType::Rgb8).unwrap();
    out
}

fn png() -> Vec<u8> {
    let mut out = Vec::new();
    PngEncoder::new(&mut out).write_image(&samples(), WIDTH, HEIGHT, ColorType::Rgb8.into()).unwrap();
    out
}

fn webp() -> Vec<u8> {
    let mut out = Vec::new();
    WebPEncoder::new_lossless(&mut out).encode(&samples(), WIDTH, HEIGHT, ExtendedColorType::Rgb8).unwrap();
    out
}

/// A JPEG that says it is of this size.
fn lying_jpeg(height: u16, width: u16) -> Vec<u8> {
    let mut out = jpeg();
    let frame = find(&out, b"\xFF\xC0").unwrap();
    out[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    out[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    out
}

/// A PNG that says it is of this size; checksums are the decoder's matter and come later.
fn lying_png(height: u32, width: u32) -> Vec<u8> {
    let mut out = png();
    out[16..20].copy_from_slice(&width.to_be_bytes());
    out[20..24].copy_from_slice(&height.to_be_bytes());
    out
}

fn refused(bytes: Vec<u8>) -> UploadError {
    Upload::recognise(bytes.into()).unwrap_err()
}

#[test]
fn a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded() {
    for (height, width) in [(60_000, 60_000), (u32::MAX, 1), (1, u32::MAX), (0x7FFF_FFFF, 0x7FFF_FFFF), (9_000, 9_000)]
    {
        let error = refused(lying_png(height, width));
        assert!(matches!(error, UploadError::TooLarge | UploadError::Damaged { .. }), "{height}x{width}: {error}");
    }
    for (height, width) in [(65_535, 65_535), (8_000, 8_000), (65_535, 8), (400, 400)] {
        let error = refused(lying_jpeg(height, width));
        assert!(matches!(error, UploadError::TooLarge | UploadError::Damaged { .. }), "{height}x{width}: {error}");
    }
    assert_eq!(refused(lying_jpeg(0, 40)), UploadError::Empty);
    assert_eq!(refused(lying_jpeg(40, 0)), UploadError::Empty);
    assert_eq!(refused(lying_png(0, 40)), UploadError::Empty);
    // A lossless WebP of one colour needs no data at all: only its size can tell.
    let sides = |side: u32| (side - 1) | (side - 1) << 14;
    let mut huge = webp();
    let at = find(&huge, b"VP8L").unwrap() + 9;
    huge[at..at + 4].copy_from_slice(&sides(16_384).to_le_bytes());
    assert_eq!(refused(huge), UploadError::TooLarge);
}

#[test]
fn the_limit_is_where_it_is_said_to_be() {
    let grey = |side: u32| {
        let mut bytes = png();
        bytes[16..20].copy_from_slice(&side.to_be_bytes());
        bytes[20..24].copy_from_slice(&side.to_be_bytes());
        bytes[24..26].copy_from_slice(&[1, 0]);
        // Enough data for one bit a pixel, all of it junk.
        let at = find(&bytes, b"IDAT").unwrap();
        let len = u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap());
        let more = 120_000_u32;
        bytes[at - 4..at].copy_from_slice(&(len + more).to_be_bytes());
        bytes.splice(at + 4..at + 4, std::iter::repeat_n(0, more as usize));
        bytes
    };
    let side = u32::try_from(MAX_PIXELS.isqrt()).unwrap();
    assert!(Upload::recognise(grey(side).into()).is_ok());
    assert_eq!(refused(grey(side + 1)), UploadError::TooLarge);
}

/// A PNG that says it is of this size, form and depth, with `data` bytes of junk.
fn junk_png(height: u32, width: u32, form: [u8; 2], data: usize) -> Result<Upload, UploadError> {
    let mut bytes = lying_png(height, width);
    bytes[24..26].copy_from_slice(&form);
    let at = find(&bytes, b"IDAT").unwrap();
    let len = u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap());
    bytes[at - 4..at].copy_from_slice(&(len + u32::try_from(data).unwrap()).to_be_bytes());
    bytes.splice(at + 4..at + 4, std::iter::repeat_n(0, data));
    Upload::recognise(bytes.into())
}

/// A JPEG that says it is of this size and lies on its side, with `data` bytes of junk.
fn junk_jpeg(height: u16, width: u16, data: usize) -> Result<Upload, UploadError> {
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let body = [&b"Exif\0\0"[..], tiff].concat();
    let segment = [&b"\xFF\xE1"[..], &u16::try_from(body.len() + 2).unwrap().to_be_bytes(), &body].concat();
    let whole = lying_jpeg(height, width);
    let end = whole.len() - 2;
    Upload::recognise([&whole[..2], &segment, &whole[2..end], &vec![0; data], b"\xFF\xD9"].concat().into())
}

#[test]
fn what_phones_and_scanners_send_fits_and_what_takes_more_memory_than_there_is_does_not() {
    let mib = 1 << 20;
    for (what, fits) in [
        ("48 megapixels, turned", junk_jpeg(6_000, 8_000, 14 * mib)),
        ("64 megapixels, turned", junk_jpeg(8_000, 8_000, 30 * mib)),
        ("24 megapixels of colour", junk_png(4_000, 6_000, [8, 2], 30 * mib)),
        ("48 megapixels with transparency", junk_png(6_000, 8_000, [8, 6], 30 * mib)),
        ("24 megapixels of 16 bits", junk_png(4_000, 6_000, [16, 2], 50 * mib)),
        ("a page of 600 dots an inch", junk_png(7_016, 4_960, [1, 0], 60_000)),
    ] {
        let work = fits.map(|upload| upload.work_bytes());
        assert!(work.is_ok_and(|work| (1..=MAX_WORK_BYTES).contains(&work)), "{what}: {work:?}");
    }
    for (what, large) in [
        ("64 megapixels of four samples of 16 bits", junk_png(8_190, 8_190, [16, 6], 10 * mib)),
        ("eight hundred bytes for one", junk_png(4_096, 4_096, [8, 2], 60_000)),
        ("a bit a pixel, thousands of bytes for one", junk_png(8_190, 8_190, [1, 0], 20_000)),
    ] {
        let error = large.unwrap_err();
        assert_eq!((error, error.code()), (UploadError::TooMuchMemory, "image-too-large"), "{what}");
    }
    let mut blank = webp();
    let at = find(&blank, b"VP8L").unwrap() + 9;
    blank[at..at + 4].copy_from_slice(&(4_095_u32 | 4_095 << 14).to_le_bytes());
    assert_eq!(refused(blank), UploadError::TooMuchMemory, "a coding that needs no data");
}

#[test]
fn a_jpeg_of_endless_scans_or_segments_is_refused() {
    let whole = jpeg();
    let scan = find(&whole, b"\xFF\xDA").unwrap();
    let end = whole.len() - 2;
    let scans = [&whole[..end], &whole[scan..end].repeat(200), b"\xFF\xD9"].concat();
    assert_eq!(refused(scans).code(), "damaged", "a component that is coded twice");
    // A progressive one may come back to a component, but not for ever.
    let mut progressive = whole.clone();
    let frame = find(&progressive, b"\xFF\xC0").unwrap();
    progressive[frame + 1] = 0xC2;
    let mut again = progressive[scan..end].to_vec();
    let spectral = usize::from(again[3]) - 1;
    again[spectral] = 1;
    let scans = [&progressive[..end], &again.repeat(200), b"\xFF\xD9"].concat();
    assert_eq!(refused(scans).code(), "unsupported");
    let segments = [&whole[..2], &b"\xFF\xDD\0\x04\0\0\xFF\xFE\0\x02".repeat(100_000)[..], &whole[2..]].concat();
    assert_eq!(refused(segments).code(), "damaged");
}

#[test]
fn a_chunk_that_inflates_without_end_never_reaches_a_decoder() {
    let whole = png();
    // What follows the header: a profile and a text whose bodies are junk; a decoder that looked at them would fail.
    let chunk = |name: &[u8; 4]| [&9_u32.to_be_bytes()[..], name, b"a\0\0junk\0\0", b"\0\0\0\0"].concat();
    let with = [&whole[..33], &chunk(b"iCCP"), &chunk(b"zTXt"), &chunk(b"acTL"), &whole[33..]].concat();
    let make = |bytes: Vec<u8>| {
        let made = Upload::recognise(bytes.into()).unwrap().into_instance(&record()).unwrap();
        made.pieces.last().unwrap().clone()
    };
    assert_eq!(make(with), make(whole));
}

#[test]
fn exif_that_leads_in_circles_leads_nowhere() {
    let mut tiff = b"II*\0\x08\0\0\0\xFF\xFF".to_vec();
    for _ in 0..4_000 {
        // A sub-directory that is this directory.
        tiff.extend(b"\x69\x87\x04\0\x01\0\0\0\x08\0\0\0");
    }
    tiff.extend(b"\x08\0\0\0");
    let body = [&b"Exif\0\0"[..], &tiff].concat();
    let segment = [&b"\xFF\xE1"[..], &u16::try_from(body.len() + 2).unwrap().to_be_bytes(), &body].concat();
    let whole = jpeg();
    let bytes = [&whole[..2], &segment.repeat(20), &whole[2..]].concat();
    let upload = Upload::recognise(bytes.into()).unwrap();
    assert_eq!(upload.work_bytes(), 0, "it is upright and goes in untouched");
}

#[test]
fn a_decoder_of_the_work_that_was_said_is_enough() {
    let upload = Upload::recognise(png().into()).unwrap();
    let least = u64::from(WIDTH * HEIGHT * 3);
    assert!((least..least + 3 * png().len() as u64).contains(&upload.work_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_changed_byte_does_harm(
        which in 0usize..3,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = [jpeg, png, webp][which]();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(upload) = Upload::recognise(bytes.into()) {
            // What fits the limits is decoded or refused; a picture of another size than it was is not worth the time.
            if upload.work_bytes() < 4 << 20 {
                let _ = upload.into_instance(&record());
            }
        }
    }
}
