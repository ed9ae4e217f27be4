//! A profile put into a picture that was made here.

use super::{MAX_BYTES, Profile};
use flate2::{Compression, Crc, write::ZlibEncoder};
use std::io::Write as _;

/// The profile of sRGB.
pub fn srgb_profile() -> Vec<u8> {
    Profile::srgb().bytes()
}

/// A JPEG or PNG in colour with a profile of RGB (ICC.1 Annex B.4, W3C PNG §11.3.2.3); `None` for what is grey or neither, and
/// for what is no such profile.
pub fn with_profile(picture: &[u8], profile: &[u8]) -> Option<Vec<u8>> {
    let fits = profile.len() <= MAX_BYTES && profile.get(16..20)? == b"RGB " && profile.get(36..40)? == b"acsp";
    if !fits {
        return None;
    }
    if let Some(rest) = picture.strip_prefix(b"\xFF\xD8") {
        return jpeg(picture, rest, profile);
    }
    // Signature and header; the byte behind width, height and depth says which colours.
    let (head, rest) = picture.split_at_checked(HEADER_END)?;
    if !head.starts_with(crate::png::SIGNATURE) || !matches!(head.get(25), Some(2 | 6)) {
        return None;
    }
    let mut body = b"iCCPColours\0\0".to_vec();
    let mut deflated = ZlibEncoder::new(&mut body, Compression::fast());
    deflated.write_all(profile).ok()?;
    deflated.finish().ok()?;
    let mut sum = Crc::new();
    sum.update(&body);
    let len = u32::try_from(body.len() - 4).ok()?;
    Some([head, &len.to_be_bytes(), &body, &sum.sum().to_be_bytes(), rest].concat())
}

fn jpeg(picture: &[u8], rest: &[u8], profile: &[u8]) -> Option<Vec<u8>> {
    if components(rest)? != 3 {
        return None;
    }
    // What says that it is JFIF comes first.
    let jfif = if rest.starts_with(b"\xFF\xE0") { 2 + segment_len(rest)? } else { 0 };
    let (head, rest) = picture.split_at_checked(2 + jfif)?;
    let pieces = profile.chunks(PIECE_BYTES);
    let count = u8::try_from(pieces.len()).ok()?;
    let mut out = Vec::with_capacity(picture.len() + profile.len() + 18 * pieces.len());
    out.extend_from_slice(head);
    for (number, piece) in (1..=count).zip(pieces) {
        out.extend_from_slice(b"\xFF\xE2");
        out.extend_from_slice(&u16::try_from(piece.len() + 16).ok()?.to_be_bytes());
        out.extend_from_slice(b"ICC_PROFILE\0");
        out.extend_from_slice(&[number, count]);
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Of the frame behind these segments.
fn components(mut rest: &[u8]) -> Option<u8> {
    loop {
        let [0xFF, marker, ..] = rest else { return None };
        let len = segment_len(rest)?;
        match marker {
            0xC0..=0xC2 => return rest.get(9).copied(),
            0xC4 | 0xDB | 0xDD | 0xE0..=0xEF | 0xFE => rest = rest.get(2 + len..)?,
            _ => return None,
        }
    }
}

fn segment_len(segment: &[u8]) -> Option<usize> {
    segment.get(2..4)?.first_chunk().map(|two| usize::from(u16::from_be_bytes(*two))).filter(|len| *len >= 2)
}

const HEADER_END: usize = 33;
/// What a segment holds beside its length, the name and the numbers.
const PIECE_BYTES: usize = 65_533 - 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{icc::Fate, jpeg::Jpeg, png::Png};
    use image::{DynamicImage, ImageFormat};

    fn coded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut out = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn a_picture_in_colour_bears_the_profile_and_shows_the_same() {
        let colour = DynamicImage::ImageRgb8(image::RgbImage::from_fn(20, 10, |x, y| {
            image::Rgb([x.to_le_bytes()[0], y.to_le_bytes()[0], 7])
        }));
        // Longer than one segment holds; what is behind the tags belongs to nobody.
        let mut profile = srgb_profile();
        profile.resize(150_000, 0);
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let plain = coded(&colour, format);
            let borne = with_profile(&plain, &profile).unwrap();
            assert_eq!(image::load_from_memory(&borne).unwrap(), image::load_from_memory(&plain).unwrap());
            let carrier = match format {
                ImageFormat::Jpeg => Jpeg::parse(&borne).unwrap().profile,
                _ => Png::parse(&borne).unwrap().profile,
            };
            assert_eq!(carrier.read(&borne), Fate::Kept(Box::new(Profile::srgb())));
            let grey = coded(&colour.grayscale(), format);
            assert_eq!(with_profile(&grey, &profile), None, "grey");
            assert_eq!(with_profile(&plain, b"no profile"), None);
            for len in 0..plain.len().min(700) {
                let _ = with_profile(&plain[..len], &profile);
            }
        }
        assert_eq!(with_profile(b"GIF89a", &profile), None);
    }
}
