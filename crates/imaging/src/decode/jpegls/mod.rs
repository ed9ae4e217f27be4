//! JPEG-LS, lossless and near-lossless, 2 to 16 bits, components apart, by line or by sample.
//!
//! Source: ITU-T T.87; PS3.5 §8.2.3. Mapping tables and colour transforms, which DICOM has no use for, are refused.

mod bits;
mod scan;

use super::{Colour, DecodeError, Frame, Layout};
use bits::Bits;

/// A frame header (T.87 §C.2.2).
struct Head {
    precision: u8,
    rows: usize,
    columns: usize,
    components: Vec<u8>,
}

/// Preset coding parameters (T.87 §C.2.4.1.1); 0 stands for the default.
#[derive(Clone, Copy, Default)]
struct Preset {
    most: u16,
    thresholds: [u16; 3],
    reset: u16,
}

pub(super) fn decode(layout: &Layout, bytes: &[u8]) -> Result<Frame, DecodeError> {
    let mut rest = bytes;
    let (mut head, mut preset, mut restart) = (None, Preset::default(), 0);
    let mut values: Vec<u16> = Vec::new();
    let mut done: Vec<u8> = Vec::new();
    loop {
        let (code, after) = marker(rest)?;
        rest = after;
        if matches!(code, 0xd8 | 0x01) {
            continue;
        }
        if code == 0xd9 {
            return Err(DecodeError::Truncated);
        }
        let (segment, after) = segment(rest)?;
        rest = after;
        match code {
            0xf7 => {
                if head.is_some() {
                    return Err(DecodeError::Damaged { what: "two frame headers" });
                }
                let frame = frame(segment)?;
                let (columns, rows) = (u32::try_from(frame.columns), u32::try_from(frame.rows));
                let too_large = |_| DecodeError::TooLarge;
                layout.agrees(
                    columns.map_err(too_large)?,
                    rows.map_err(too_large)?,
                    frame.components.len(),
                    u32::from(frame.precision),
                )?;
                values = vec![0; frame.columns * frame.rows * frame.components.len()];
                head = Some(frame);
            }
            0xf8 => preset = parameters(segment)?,
            0xdd => restart = segment.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte)),
            0xda => {
                let head = head.as_ref().ok_or(DecodeError::Damaged { what: "a scan without a frame header" })?;
                if restart != 0 {
                    return Err(DecodeError::Unsupported { what: "JPEG-LS with restart markers" });
                }
                let scan = scan_header(head, segment, &done)?;
                let coding = scan::Coding::of(head.precision, scan.near, preset)?;
                let mut bits = Bits::new(rest);
                scan::decode(&coding, head, &scan, &mut bits, &mut values)?;
                rest = rest.get(bits.used()..).unwrap_or_default();
                done.extend(scan.components.iter().filter_map(|index| head.components.get(*index)));
                if done.len() == head.components.len() {
                    break;
                }
            }
            // APP8 of one vendor names a colour transform outside of the standard.
            0xe8 if matches!(segment, [b'm', b'r', b'f', b'x', transform, ..] if *transform != 0) => {
                return Err(DecodeError::Unsupported { what: "JPEG-LS with a colour transform" });
            }
            0xe0..=0xef | 0xfe => {}
            _ => return Err(DecodeError::Damaged { what: "a marker that JPEG-LS does not have" }),
        }
    }
    let colour = if layout.samples == 1 { Colour::Single } else { layout.colour() };
    layout.coded(values, colour)
}

/// A scan header (T.87 §C.2.3).
struct Scan {
    /// Indices into the frame's components.
    components: Vec<usize>,
    near: u8,
    interleave: Interleave,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Interleave {
    Line,
    Sample,
}

fn marker(bytes: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    let found = bytes.windows(2).position(|pair| matches!(pair, [0xff, 1..=0xfe]));
    let at = found.ok_or(DecodeError::Truncated)?;
    match bytes.get(at + 1..) {
        Some([code, rest @ ..]) => Ok((*code, rest)),
        _ => Err(DecodeError::Truncated),
    }
}

fn segment(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let len = bytes.first_chunk().map(|len| usize::from(u16::from_be_bytes(*len))).ok_or(DecodeError::Truncated)?;
    let (segment, rest) = bytes.split_at_checked(len).ok_or(DecodeError::Truncated)?;
    Ok((segment.get(2..).ok_or(DecodeError::Damaged { what: "the length of a segment" })?, rest))
}

fn frame(segment: &[u8]) -> Result<Head, DecodeError> {
    let ([precision, y0, y1, x0, x1, count], rest) = segment.split_first_chunk::<6>().ok_or(DecodeError::Truncated)?;
    let described = rest.get(..usize::from(*count) * 3).ok_or(DecodeError::Truncated)?;
    if !(2..=16).contains(precision) {
        return Err(DecodeError::Damaged { what: "the precision of a JPEG-LS frame" });
    }
    let mut components = Vec::with_capacity(3);
    for [id, sampling, _] in described.as_chunks::<3>().0 {
        if *sampling != 0x11 || components.len() == 3 || components.contains(id) {
            return Err(DecodeError::Unsupported { what: "JPEG-LS with such components" });
        }
        components.push(*id);
    }
    let rows = usize::from(u16::from_be_bytes([*y0, *y1]));
    Ok(Head { precision: *precision, rows, columns: usize::from(u16::from_be_bytes([*x0, *x1])), components })
}

fn parameters(segment: &[u8]) -> Result<Preset, DecodeError> {
    match segment.split_first() {
        Some((1, rest)) => {
            let mut words = rest.as_chunks::<2>().0.iter().map(|word| u16::from_be_bytes(*word));
            let mut word = || words.next().ok_or(DecodeError::Truncated);
            Ok(Preset { most: word()?, thresholds: [word()?, word()?, word()?], reset: word()? })
        }
        _ => Err(DecodeError::Unsupported { what: "JPEG-LS with mapping tables or large sizes" }),
    }
}

fn scan_header(head: &Head, segment: &[u8], done: &[u8]) -> Result<Scan, DecodeError> {
    let damaged = DecodeError::Damaged { what: "a scan header of JPEG-LS" };
    let (count, rest) = segment.split_first().ok_or(DecodeError::Truncated)?;
    let (described, rest) = rest.split_at_checked(usize::from(*count) * 2).ok_or(DecodeError::Truncated)?;
    let mut components = Vec::with_capacity(3);
    for [id, table] in described.as_chunks::<2>().0 {
        let index = head.components.iter().position(|known| known == id).ok_or(damaged)?;
        if done.contains(id) || components.contains(&index) {
            return Err(damaged);
        }
        if *table != 0 {
            return Err(DecodeError::Unsupported { what: "JPEG-LS with mapping tables or large sizes" });
        }
        components.push(index);
    }
    let [near, interleave, point] = rest.first_chunk::<3>().ok_or(DecodeError::Truncated)?;
    if *point != 0 {
        return Err(DecodeError::Unsupported { what: "JPEG-LS with a point transform" });
    }
    let interleave = match (interleave, components.len()) {
        (_, 0) | (0, 2..) => return Err(damaged),
        // One component alone is a line after the other, whatever it is called.
        (_, 1) | (1, _) => Interleave::Line,
        (2, 3) => Interleave::Sample,
        _ => return Err(damaged),
    };
    Ok(Scan { components, near: *near, interleave })
}
