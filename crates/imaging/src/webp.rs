//! WebP as a list of chunks: how large, which side is up, lossy or not, and the picture without everything else.
//!
//! Source: WebP Container Specification (RFC 9649 §2), VP8 frame header (RFC 6386 §9.1), VP8L header (RFC 9649 §3.4).

use crate::{UploadError, exif, icc::Carrier, upload::check_size};
use image::metadata::Orientation;
use std::ops::Range;

/// A WebP whose chunks were walked through.
#[derive(Debug, Clone)]
pub(crate) struct WebP {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) orientation: Orientation,
    pub(crate) lossy: bool,
    pub(crate) profile: Carrier,
    /// The chunk with the picture, its head included.
    image: Range<usize>,
    /// The chunk with the transparency of a lossy picture.
    alpha: Option<Range<usize>>,
}

impl WebP {
    /// Walks through the chunks of `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, UploadError> {
        let size = bytes.get(4..8).map(length).ok_or(UploadError::Truncated)?;
        let bytes = bytes.get(..size.saturating_add(8)).ok_or(UploadError::Truncated)?;
        let mut found: Option<(u32, u32, bool, Range<usize>)> = None;
        let (mut alpha, mut orientation, mut profile) = (None, None, Carrier::None);
        let mut at = 12;
        while at < bytes.len() {
            let head = bytes.get(at..at + 8).ok_or(UploadError::Truncated)?;
            let (name, len) = head.split_at(4);
            let len = length(len);
            let body = bytes.get(at + 8..at + 8 + len).ok_or(UploadError::Truncated)?;
            // An odd chunk has a byte behind it that belongs to nobody.
            let end = at + 8 + len + len % 2;
            match name {
                b"VP8 " | b"VP8L" if found.is_none() => {
                    let lossy = name == b"VP8 ";
                    let (width, height) = if lossy { lossy_size(body)? } else { lossless_size(body)? };
                    found = Some((width, height, lossy, at..at + 8 + len));
                }
                b"ALPH" if alpha.is_none() => alpha = Some(at..at + 8 + len),
                b"ANIM" | b"ANMF" => return Err(UploadError::Unsupported { what: "an animated picture" }),
                b"ICCP" if profile == Carrier::None => {
                    profile = Carrier::Plain(std::iter::once(at + 8..at + 8 + len).collect());
                }
                b"EXIF" if orientation.is_none() => {
                    // Some writers put JPEG's prefix in front.
                    orientation = Some(exif::orientation(body.strip_prefix(b"Exif\0\0").unwrap_or(body)));
                }
                _ => {}
            }
            at = end;
        }
        let (width, height, lossy, image) = found.ok_or(UploadError::Damaged { what: "no picture in it" })?;
        check_size(width, height)?;
        let orientation = orientation.unwrap_or(Orientation::NoTransforms);
        Ok(Self { width, height, orientation, lossy, profile, image, alpha: alpha.filter(|_| lossy) })
    }

    /// The picture without what was left behind.
    pub(crate) fn for_decoder(&self, bytes: &[u8]) -> Vec<u8> {
        let mut chunks = Vec::new();
        if let Some(alpha) = &self.alpha {
            let flags: u32 = 0x10;
            chunks.extend_from_slice(b"VP8X\x0A\0\0\0");
            chunks.extend_from_slice(&flags.to_le_bytes());
            for side in [self.width, self.height] {
                let [a, b, c, _] = side.saturating_sub(1).to_le_bytes();
                chunks.extend_from_slice(&[a, b, c]);
            }
            chunk(&mut chunks, bytes.get(alpha.clone()).unwrap_or_default());
        }
        chunk(&mut chunks, bytes.get(self.image.clone()).unwrap_or_default());
        let size = u32::try_from(chunks.len() + 4).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(chunks.len() + 12);
        out.extend_from_slice(b"RIFF");
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(b"WEBP");
        out.extend_from_slice(&chunks);
        out
    }

    /// Bytes of the coded picture, for the ratio of a lossy one.
    pub(crate) fn coded_bytes(&self) -> usize {
        self.image.len() + self.alpha.as_ref().map_or(0, Range::len)
    }

    /// Bytes a pixel once it is decoded.
    pub(crate) fn decoded_bytes_per_pixel(&self) -> u64 {
        if self.lossy && self.alpha.is_none() { 3 } else { 4 }
    }
}

fn chunk(out: &mut Vec<u8>, chunk: &[u8]) {
    out.extend_from_slice(chunk);
    if chunk.len() % 2 == 1 {
        out.push(0);
    }
}

fn lossy_size(body: &[u8]) -> Result<(u32, u32), UploadError> {
    match body {
        [_, _, _, 0x9D, 0x01, 0x2A, w1, w2, h1, h2, ..] => {
            let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
            Ok((side(*w1, *w2), side(*h1, *h2)))
        }
        _ => Err(UploadError::Damaged { what: "no key frame" }),
    }
}

fn lossless_size(body: &[u8]) -> Result<(u32, u32), UploadError> {
    match body {
        [0x2F, a, b, c, d, ..] => {
            let bits = u32::from_le_bytes([*a, *b, *c, *d]);
            Ok(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
        }
        _ => Err(UploadError::Damaged { what: "no lossless picture" }),
    }
}

fn length(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b))
}
