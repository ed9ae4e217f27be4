//! JPEG as a list of segments: what is kept, what is left behind, and whether it may go in untouched.
//!
//! Kept are tables, frame and scan headers and the entropy-coded data, bit for bit; every application segment and comment
//! (EXIF, GPS, XMP, IPTC, thumbnails, maker notes), fill bytes between segments and whatever follows the end are left
//! behind. Where a colour profile stands is noted. Nothing is decoded here.
//!
//! Source: ITU-T T.81 Annex B; Adobe Technical Note 5116 (APP14); PS3.5 §8.2.1 and A.4.1.

use crate::{
    UploadError, exif,
    icc::{Carrier, Segments},
    upload::check_size,
};
use bytes::Bytes;
use image::metadata::Orientation;
use std::ops::Range;

/// A JPEG whose segments were walked through.
#[derive(Debug, Clone)]
pub(crate) struct Jpeg {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) orientation: Orientation,
    pub(crate) colours: Colours,
    /// Coded by the baseline process with tables as it wants them: fit for transfer syntax 1.2.840.10008.1.2.4.50.
    pub(crate) baseline: bool,
    pub(crate) progressive: bool,
    /// Bytes of all its coefficients, two each.
    pub(crate) coefficient_bytes: u64,
    pub(crate) profile: Carrier,
    scans: usize,
    kept: Vec<Range<usize>>,
}

/// How the components are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    Grey,
    YCbCr,
    Rgb,
    /// Four components as Adobe writes them: inverted.
    Cmyk,
    /// The same with a luminance transform.
    Ycck,
}

#[derive(Debug, Default)]
struct Frame {
    kind: u8,
    precision: u8,
    height: u32,
    width: u32,
    components: Vec<Component>,
}

#[derive(Debug)]
struct Component {
    id: u8,
    h: u32,
    v: u32,
    scanned: bool,
}

/// What was seen on the way.
#[derive(Debug, Default)]
struct Seen {
    frame: Option<Frame>,
    orientation: Option<Orientation>,
    adobe: Option<u8>,
    profile: Segments,
    /// A table that the baseline process does not have.
    wide_tables: bool,
    scans: usize,
    kept: Vec<Range<usize>>,
}

impl Jpeg {
    /// Walks through the segments of `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, UploadError> {
        let mut seen = Seen::default();
        let mut at = 2;
        loop {
            let (marker, start) = next_marker(bytes, at)?;
            if marker == EOI {
                return seen.finish();
            }
            if marker < SOF0 || matches!(marker, RST0..=SOI) {
                return Err(damaged("a marker where none can be"));
            }
            let body_len = bytes.get(start + 2..start + 4).ok_or(UploadError::Truncated)?;
            let body_len = body_len.iter().fold(0, |n, b| n << 8 | usize::from(*b));
            let end = start + 2 + body_len;
            let body = bytes.get(start + 4..end).ok_or(if body_len < 2 {
                damaged("a segment without a length")
            } else {
                UploadError::Truncated
            })?;
            if seen.kept.len() > MAX_PIECES {
                return Err(damaged("more segments than a picture has"));
            }
            at = match marker {
                SOS => seen.scan(bytes, body, start, end)?,
                _ => {
                    seen.segment(marker, body, start..end)?;
                    end
                }
            };
        }
    }

    /// The picture without what was left behind, in pieces of the original.
    pub(crate) fn kept(&self, bytes: &Bytes) -> Vec<Bytes> {
        let mut pieces = vec![Bytes::from_static(&[0xFF, SOI])];
        pieces.extend(self.kept.iter().map(|range| bytes.slice(range.clone())));
        pieces.push(Bytes::from_static(&[0xFF, EOI]));
        pieces
    }

    /// The same for a decoder, which has to be told how four components are meant.
    pub(crate) fn for_decoder(&self, bytes: &Bytes) -> Vec<u8> {
        let transform = match self.colours {
            Colours::Grey => None,
            Colours::Rgb | Colours::Cmyk => Some(0),
            Colours::YCbCr => Some(1),
            Colours::Ycck => Some(2),
        };
        let adobe = transform.map(|transform| {
            let mut segment = vec![0xFF, APP14, 0, 14];
            segment.extend_from_slice(b"Adobe\0\x64\0\0\0\0");
            segment.push(transform);
            segment
        });
        let kept = self.kept(bytes);
        let mut out = Vec::with_capacity(kept.iter().map(Bytes::len).sum::<usize>() + 16);
        for (i, piece) in kept.iter().enumerate() {
            out.extend_from_slice(piece);
            if i == 0 {
                out.extend(adobe.iter().flatten());
            }
        }
        out
    }

    /// How many times the decoder goes over the picture.
    pub(crate) fn scans(&self) -> usize {
        self.scans
    }
}

/// The next marker at or after `at` and where it begins. Fill bytes (B.1.1.2) are passed over.
fn next_marker(bytes: &[u8], at: usize) -> Result<(u8, usize), UploadError> {
    let rest = bytes.get(at..).unwrap_or_default();
    if *rest.first().ok_or(UploadError::Truncated)? != 0xFF {
        return Err(damaged("bytes between two segments"));
    }
    let fill = rest.iter().take_while(|b| **b == 0xFF).count();
    let marker = *rest.get(fill).ok_or(UploadError::Truncated)?;
    Ok((marker, at + fill - 1))
}

impl Seen {
    fn segment(&mut self, marker: u8, body: &[u8], whole: Range<usize>) -> Result<(), UploadError> {
        match marker {
            DHT => {
                self.wide_tables |= body.first().is_some_and(|class| class & 0x0F > 1);
                self.keep(whole);
            }
            DQT => {
                self.wide_tables |= body.first().is_some_and(|precision| precision >> 4 != 0);
                self.keep(whole);
            }
            DRI => self.keep(whole),
            SOF0 | SOF1 | SOF2 => {
                if self.frame.replace(Frame::parse(marker, body)?).is_some() {
                    return Err(damaged("two frames"));
                }
                self.keep(whole);
            }
            SOF0..=SOF15 => {
                return Err(UploadError::Unsupported { what: "a JPEG that is lossless or coded arithmetically" });
            }
            DNL | DHP | EXP => return Err(UploadError::Unsupported { what: "a hierarchical JPEG" }),
            APP1 if self.orientation.is_none() => {
                self.orientation = body.strip_prefix(b"Exif\0\0").map(exif::orientation);
            }
            APP2 => self.profile.take(body, whole.start + 4),
            APP14 => {
                if let [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..] = body {
                    self.adobe = Some(*transform);
                }
            }
            // Application segments, comments and what is reserved.
            _ => {}
        }
        Ok(())
    }

    /// A scan header and the entropy-coded data behind it. Gives where the next segment begins.
    fn scan(&mut self, bytes: &[u8], header: &[u8], start: usize, end: usize) -> Result<usize, UploadError> {
        let frame = self.frame.as_mut().ok_or(damaged("a scan before the frame"))?;
        let count = usize::from(*header.first().ok_or(damaged("an empty scan header"))?);
        let ids = header.get(1..1 + 2 * count).ok_or(damaged("a short scan header"))?;
        let spectral_start = header.get(1 + 2 * count).copied().unwrap_or_default();
        let approximation = header.get(3 + 2 * count).copied().unwrap_or_default();
        let data = bytes.get(end..).unwrap_or_default();
        let len = entropy_coded(data)?;

        self.scans += 1;
        if self.scans > MAX_SCANS {
            return Err(UploadError::Unsupported { what: "a JPEG of so many scans" });
        }
        // The first pass over a component writes every block: with two codes in the sequential modes (B.2.3: a DC
        // difference, and at least the end of the block), with one in the progressive.
        let (bits, first_pass) =
            if frame.kind == SOF2 { (1, spectral_start == 0 && approximation >> 4 == 0) } else { (2, true) };
        if first_pass {
            let mut blocks = 0;
            for pair in ids.chunks(2) {
                let id = pair.first().copied().unwrap_or_default();
                let interleaved = count > 1;
                blocks += frame.first_scan_of(id, interleaved)?;
            }
            // A frame that claims more blocks than its data can hold lies about its size.
            if (len as u64) * 8 < blocks * bits {
                return Err(damaged("less data than the picture's size needs"));
            }
        }
        self.keep(start..end + len);
        Ok(end + len)
    }

    fn keep(&mut self, range: Range<usize>) {
        match self.kept.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.kept.push(range),
        }
    }

    fn finish(self) -> Result<Jpeg, UploadError> {
        let Self { frame, orientation, adobe, profile, wide_tables, scans, kept } = self;
        let frame = frame.ok_or(damaged("no frame"))?;
        if !frame.components.iter().all(|component| component.scanned) {
            return Err(damaged("a component without a scan"));
        }
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        let colours = match (ids.len(), adobe) {
            (1, _) => Colours::Grey,
            (3, Some(0)) => Colours::Rgb,
            (3, None) if ids == *b"RGB" => Colours::Rgb,
            (3, _) => Colours::YCbCr,
            (4, Some(0)) => Colours::Cmyk,
            (4, Some(2)) => Colours::Ycck,
            _ => return Err(UploadError::Unsupported { what: "a JPEG of these colours" }),
        };
        if frame.precision != 8 {
            return Err(UploadError::Unsupported { what: "a JPEG of more than 8 bits" });
        }
        Ok(Jpeg {
            width: frame.width,
            height: frame.height,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
            colours,
            baseline: frame.kind == SOF0 && !wide_tables,
            progressive: frame.kind == SOF2,
            coefficient_bytes: frame.coefficient_bytes(),
            profile: profile.finish(),
            scans,
            kept,
        })
    }
}

impl Frame {
    fn parse(kind: u8, body: &[u8]) -> Result<Self, UploadError> {
        let [precision, h1, h2, w1, w2, count, rest @ ..] = body else { return Err(damaged("a short frame header")) };
        if *count == 0 || *count > 4 || rest.len() != 3 * usize::from(*count) {
            return Err(damaged("a frame header of another length than it says"));
        }
        let components: Vec<Component> = rest
            .chunks_exact(3)
            .filter_map(|c| match c {
                [id, sampling, _] => Some(Component {
                    id: *id,
                    h: u32::from(sampling >> 4),
                    v: u32::from(sampling & 15),
                    scanned: false,
                }),
                _ => None,
            })
            .collect();
        if components.iter().any(|c| !(1..=4).contains(&c.h) || !(1..=4).contains(&c.v)) {
            return Err(damaged("a sampling factor out of range"));
        }
        let distinct: std::collections::BTreeSet<u8> = components.iter().map(|c| c.id).collect();
        if distinct.len() != components.len() {
            return Err(damaged("two components of the same name"));
        }
        let number = |high: u8, low: u8| u32::from(u16::from_be_bytes([high, low]));
        let (height, width) = (number(*h1, *h2), number(*w1, *w2));
        check_size(width, height)?;
        Ok(Self { kind, precision: *precision, height, width, components })
    }

    /// Of all components, padded to whole interleaved units (A.2.4).
    fn coefficient_bytes(&self) -> u64 {
        let h_max = self.components.iter().map(|c| c.h).max().unwrap_or(1);
        let v_max = self.components.iter().map(|c| c.v).max().unwrap_or(1);
        let units = u64::from(self.width.div_ceil(8 * h_max)) * u64::from(self.height.div_ceil(8 * v_max));
        units * self.components.iter().map(|c| u64::from(c.h * c.v)).sum::<u64>() * 64 * 2
    }

    /// Blocks that the first scan of a component holds (A.2.2, A.2.3).
    fn first_scan_of(&mut self, id: u8, interleaved: bool) -> Result<u64, UploadError> {
        let h_max = self.components.iter().map(|c| c.h).max().unwrap_or(1);
        let v_max = self.components.iter().map(|c| c.v).max().unwrap_or(1);
        let (width, height) = (self.width, self.height);
        let component =
            self.components.iter_mut().find(|c| c.id == id).ok_or(damaged("a scan of an unknown component"))?;
        if std::mem::replace(&mut component.scanned, true) {
            return Err(damaged("a component that is coded twice"));
        }
        let blocks = if interleaved {
            let units = u64::from(width.div_ceil(8 * h_max)) * u64::from(height.div_ceil(8 * v_max));
            units * u64::from(component.h * component.v)
        } else {
            let across = (width * component.h).div_ceil(h_max).div_ceil(8);
            let down = (height * component.v).div_ceil(v_max).div_ceil(8);
            u64::from(across) * u64::from(down)
        };
        Ok(blocks)
    }
}

/// Bytes up to the next marker that is neither a stuffed zero nor a restart (B.1.1.5).
fn entropy_coded(data: &[u8]) -> Result<usize, UploadError> {
    let mut at = 0;
    loop {
        let rest = data.get(at..).unwrap_or_default();
        at += rest.iter().position(|b| *b == 0xFF).ok_or(UploadError::Truncated)?;
        match data.get(at + 1) {
            None => return Err(UploadError::Truncated),
            Some(0 | RST0..=RST7) => at += 2,
            Some(0xFF) => at += 1,
            Some(_) => return Ok(at),
        }
    }
}

const fn damaged(what: &'static str) -> UploadError {
    UploadError::Damaged { what }
}

const SOF0: u8 = 0xC0;
const SOF1: u8 = 0xC1;
const SOF2: u8 = 0xC2;
const DHT: u8 = 0xC4;
const SOF15: u8 = 0xCF;
const RST0: u8 = 0xD0;
const RST7: u8 = 0xD7;
const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DQT: u8 = 0xDB;
const DNL: u8 = 0xDC;
const DRI: u8 = 0xDD;
const DHP: u8 = 0xDE;
const EXP: u8 = 0xDF;
const APP1: u8 = 0xE1;
const APP2: u8 = 0xE2;
const APP14: u8 = 0xEE;
/// Pieces between which something is left behind; a camera's picture has one or two.
const MAX_PIECES: usize = 1_000;
/// Encoders write about ten.
const MAX_SCANS: usize = 100;
