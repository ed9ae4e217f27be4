//! RLE Lossless (PS3.5 Annex G): each byte of each sample is a segment of its own, packed by runs.

use super::{Cells, DecodeError, Frame, Layout};

pub(super) fn decode(layout: &Layout, pixels: usize, bytes: &[u8]) -> Result<Frame, DecodeError> {
    let width = usize::from(layout.allocated / 8);
    let samples = usize::from(layout.samples);
    let wanted = width * samples;
    let (head, _) = bytes.get(..HEADER).ok_or(DecodeError::Truncated)?.as_chunks::<4>();
    let mut words = head.iter().map(|word| u32::from_le_bytes(*word));
    if words.next().and_then(|count| usize::try_from(count).ok()) != Some(wanted) {
        return Err(DecodeError::Contradiction { what: "the number of RLE segments" });
    }
    let starts: Vec<usize> =
        words.take(wanted).map(usize::try_from).collect::<Result<_, _>>().map_err(|_| DecodeError::Truncated)?;
    let mut plain = vec![0; pixels * wanted];
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(bytes.len()).min(bytes.len());
        if *start < HEADER || *start > end {
            return Err(DecodeError::Damaged { what: "RLE segments are out of order" });
        }
        let segment = bytes.get(*start..end).ok_or(DecodeError::Truncated)?;
        // The most significant byte comes first, cells are little endian.
        let (sample, byte) = (index / width, width - 1 - index % width);
        unpack(segment, plain.iter_mut().skip(sample * width + byte).step_by(wanted))?;
    }
    let cells = match layout.allocated {
        8 => Cells::U8(plain),
        16 => Cells::U16(plain.as_chunks::<2>().0.iter().map(|cell| u16::from_le_bytes(*cell)).collect()),
        _ => Cells::U32(plain.as_chunks::<4>().0.iter().map(|cell| u32::from_le_bytes(*cell)).collect()),
    };
    Ok(layout.frame(cells))
}

/// Fills all of `out`; what a segment holds beyond that is padding.
fn unpack<'a>(segment: &[u8], mut out: impl ExactSizeIterator<Item = &'a mut u8>) -> Result<(), DecodeError> {
    let mut input = segment.iter();
    while out.len() > 0 {
        let control = *input.next().ok_or(DecodeError::Truncated)?;
        match control {
            0..=127 => {
                for _ in 0..=control {
                    let Some(cell) = out.next() else { break };
                    *cell = *input.next().ok_or(DecodeError::Truncated)?;
                }
            }
            128 => {}
            129..=255 => {
                let value = *input.next().ok_or(DecodeError::Truncated)?;
                out.by_ref().take(257 - usize::from(control)).for_each(|cell| *cell = value);
            }
        }
    }
    Ok(())
}

const HEADER: usize = 64;
