//! PNG as a list of chunks: how large, which side is up, and the picture without everything else.
//!
//! A decoder is given header, palette, transparency and data and nothing more: texts, profiles, animations and whatever
//! follows the end never reach it.
//!
//! Source: W3C PNG (third edition) §5, §11.

use crate::{UploadError, exif, icc::Carrier, upload::check_size};
use image::metadata::Orientation;
use std::ops::Range;

/// A PNG whose chunks were walked through.
#[derive(Debug, Clone)]
pub(crate) struct Png {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) orientation: Orientation,
    /// Bytes a pixel once it is decoded, before it is made three bytes or one.
    pub(crate) decoded_bytes_per_pixel: u64,
    pub(crate) profile: Carrier,
    kept: Vec<Range<usize>>,
}

impl Png {
    /// Walks through the chunks of `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, UploadError> {
        let mut header = None;
        let (mut orientation, mut profile) = (None, Carrier::None);
        let (mut data_bytes, mut transparent) = (0_u64, false);
        let mut kept: Vec<Range<usize>> = Vec::new();
        let mut at = SIGNATURE.len();
        loop {
            let head = bytes.get(at..at + 8).ok_or(UploadError::Truncated)?;
            let (len, name) = head.split_at(4);
            let len = len.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b));
            // Body and checksum.
            let end = at + 8 + len + 4;
            let body = bytes.get(at + 8..end - 4).ok_or(UploadError::Truncated)?;
            if bytes.len() < end {
                return Err(UploadError::Truncated);
            }
            match name {
                b"IHDR" if header.is_none() => header = Some(body),
                b"PLTE" => {}
                b"tRNS" => transparent = true,
                b"IDAT" => data_bytes += len as u64,
                b"IEND" => {}
                b"eXIf" => {
                    orientation.get_or_insert_with(|| exif::orientation(body));
                }
                b"iCCP" if profile == Carrier::None => profile = Carrier::of_png(body, at + 8),
                // A chunk that a decoder must understand (§5.4), and that is none of the above.
                [first, ..] if first.is_ascii_uppercase() => {
                    return Err(UploadError::Damaged { what: "a chunk nobody knows" });
                }
                _ => {}
            }
            if header.is_none() {
                return Err(UploadError::Damaged { what: "another chunk before the header" });
            }
            if matches!(name, b"IHDR" | b"PLTE" | b"tRNS" | b"IDAT" | b"IEND") {
                if kept.len() > MAX_PIECES {
                    return Err(UploadError::Damaged { what: "more chunks than a picture has" });
                }
                match kept.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => kept.push(at..end),
                }
            }
            at = end;
            if name == b"IEND" {
                break;
            }
        }
        let Some([w1, w2, w3, w4, h1, h2, h3, h4, depth, colour, ..]) = header else {
            return Err(UploadError::Damaged { what: "a short header" });
        };
        let (width, height) = (u32::from_be_bytes([*w1, *w2, *w3, *w4]), u32::from_be_bytes([*h1, *h2, *h3, *h4]));
        check_size(width, height)?;
        let samples: u64 = match colour {
            0 | 3 => 1,
            2 => 3,
            4 => 2,
            6 => 4,
            _ => return Err(UploadError::Damaged { what: "an unknown kind of colour" }),
        };
        // Deflate gives at most 1,032 bytes for one: a header that claims more than its data can hold lies.
        let row_bits = u64::from(width) * samples * u64::from(*depth);
        if data_bytes.saturating_mul(MAX_INFLATION) < u64::from(height).saturating_mul(row_bits / 8) {
            return Err(UploadError::Damaged { what: "less data than the picture's size needs" });
        }
        let decoded = match colour {
            3 => 3 + u64::from(transparent),
            _ => (samples + u64::from(transparent)) * if *depth == 16 { 2 } else { 1 },
        };
        let orientation = orientation.unwrap_or(Orientation::NoTransforms);
        Ok(Self { width, height, orientation, decoded_bytes_per_pixel: decoded, profile, kept })
    }

    /// Bytes a pixel of a copy that is made once it is reduced; 0 where too little is given back to be worth one.
    pub(crate) fn kept_bytes(&self) -> u64 {
        match self.decoded_bytes_per_pixel {
            6.. => 3,
            2 | 4 => 1,
            _ => 0,
        }
    }

    /// The picture without what was left behind.
    pub(crate) fn for_decoder(&self, bytes: &[u8]) -> Vec<u8> {
        let kept = self.kept.iter().map(|range| bytes.get(range.clone()).unwrap_or_default());
        let mut out = Vec::with_capacity(SIGNATURE.len() + self.kept.iter().map(Range::len).sum::<usize>());
        out.extend_from_slice(SIGNATURE);
        kept.for_each(|chunk| out.extend_from_slice(chunk));
        out
    }
}

/// The first bytes of every PNG.
pub(crate) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1A\n";
/// Pieces between which something is left behind.
const MAX_PIECES: usize = 1_000;
/// With room for the framing of rows.
const MAX_INFLATION: u64 = 1_040;
