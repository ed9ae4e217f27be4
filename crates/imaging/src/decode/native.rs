//! Pixels that are not compressed (PS3.5 §8.1.1, §8.2; PS3.3 §C.7.6.3.1).

use super::{Cells, DecodeError, Frame, Layout, Photometric};

pub(super) fn decode(layout: &Layout, pixels: usize, bytes: &[u8]) -> Result<Frame, DecodeError> {
    if layout.allocated == 1 {
        let needed = bytes.get(..pixels.div_ceil(8)).ok_or(DecodeError::Truncated)?;
        // The first pixel lies in the lowest bit (PS3.5 §8.1.1).
        let bits = needed.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)).take(pixels);
        return Ok(layout.frame(Cells::U8(bits.collect())));
    }
    if layout.samples == 3 && layout.photometric == Photometric::YbrFull422 {
        return shared_chroma(layout, pixels, bytes);
    }
    let count = pixels * usize::from(layout.samples);
    let width = usize::from(layout.allocated / 8);
    let needed = bytes.get(..count * width).ok_or(DecodeError::Truncated)?;
    let cells = match layout.allocated {
        8 => Cells::U8(by_pixel(layout, pixels, needed.to_vec())),
        16 => {
            let cells = needed.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word)).collect();
            Cells::U16(by_pixel(layout, pixels, cells))
        }
        _ => {
            let cells = needed.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
            Cells::U32(by_pixel(layout, pixels, cells))
        }
    };
    Ok(layout.frame(cells))
}

/// Planes become pixels.
fn by_pixel<T: Copy>(layout: &Layout, pixels: usize, cells: Vec<T>) -> Vec<T> {
    if layout.samples == 1 || !layout.planar {
        return cells;
    }
    let (red, rest) = cells.split_at(pixels);
    let (green, blue) = rest.split_at(pixels);
    red.iter().zip(green).zip(blue).flat_map(|((r, g), b)| [*r, *g, *b]).collect()
}

/// Y Y B R: two pixels beside each other have one pair of colour differences (PS3.3 §C.7.6.3.1.2).
fn shared_chroma(layout: &Layout, pixels: usize, bytes: &[u8]) -> Result<Frame, DecodeError> {
    if layout.allocated != 8 || !layout.columns.is_multiple_of(2) {
        return Err(DecodeError::Unsupported { what: "this form of YBR_FULL_422" });
    }
    let needed = bytes.get(..pixels * 2).ok_or(DecodeError::Truncated)?;
    let (pairs, _) = needed.as_chunks::<4>();
    let cells = pairs.iter().flat_map(|[y0, y1, cb, cr]| [*y0, *cb, *cr, *y1, *cb, *cr]).collect();
    Ok(layout.frame(Cells::U8(cells)))
}
