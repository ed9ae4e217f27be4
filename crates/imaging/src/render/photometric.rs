//! Samples become shades or colours (PS3.3 §C.7.6.3.1.2).

use super::{
    Description, Modality, RenderError, Window,
    window::{Function, sample},
};
use crate::decode::{Cells, Colour, Frame, Photometric, all_rgb};
use image::{DynamicImage, GrayImage, RgbImage};
use pulp::Arch;

/// Gives every sample its eight bits.
pub(super) fn interpret(
    description: &Description,
    frame: Frame,
    wished: Option<&Window>,
) -> Result<DynamicImage, RenderError> {
    let (columns, rows) = (frame.columns, frame.rows);
    let made = match (frame.colour, description.layout.photometric) {
        (Colour::Single, Photometric::Palette) => {
            let palette = description.palette.as_ref().ok_or(RenderError::Undescribed { what: "a palette" })?;
            let reader = Reader::of(description, &frame);
            let colours = reader.map(&frame.cells, |stored| palette.colour(stored));
            RgbImage::from_raw(columns, rows, colours.into_flattened()).map(DynamicImage::from)
        }
        (Colour::Single, _) => {
            let reader = Reader::of(description, &frame);
            let shades = grey(description, &frame, reader, wished);
            GrayImage::from_raw(columns, rows, shades).map(DynamicImage::from)
        }
        (colour, _) => {
            let mut samples = eight_bits(&frame);
            if colour == Colour::Ybr {
                all_rgb(&mut samples);
            }
            RgbImage::from_raw(columns, rows, samples).map(DynamicImage::from)
        }
    };
    made.ok_or(RenderError::Coding)
}

/// Reads stored values out of cells.
#[derive(Clone, Copy)]
struct Reader {
    shift: u32,
    mask: u32,
    /// What the highest bit stands for: subtracted twice where it is set. 0 without a sign.
    sign: u32,
}

impl Reader {
    fn of(description: &Description, frame: &Frame) -> Self {
        let bits = u32::from(frame.stored).clamp(1, 32);
        let mask = u32::MAX >> (32 - bits);
        let sign = if description.layout.signed { 1 << (bits - 1) } else { 0 };
        Self { shift: u32::from(frame.shift).min(31), mask, sign }
    }

    fn stored(self, cell: u32) -> i64 {
        let value = cell >> self.shift & self.mask;
        i64::from(value) - 2 * i64::from(value & self.sign)
    }

    /// Maps every cell; through a table where that is less work.
    fn map<T: Copy + Default>(self, cells: &Cells, map: impl Fn(i64) -> T) -> Vec<T> {
        match cells {
            Cells::U8(cells) => {
                let mut table = [T::default(); 1 << 8];
                for (cell, slot) in (0..).zip(&mut table) {
                    *slot = map(self.stored(cell));
                }
                // A byte finds its entry always.
                cells.iter().map(|cell| table.get(usize::from(*cell)).copied().unwrap_or_default()).collect()
            }
            Cells::U16(cells) => {
                let (low, high) = self.range(cells);
                if usize::from(high - low) >= cells.len() {
                    return cells.iter().map(|cell| map(self.stored(u32::from(*cell)))).collect();
                }
                let mut table = vec![T::default(); 1 << 16];
                for (ordered, slot) in (low..=high).zip(&mut table) {
                    *slot = map(self.meaning(ordered));
                }
                // Every difference of two cells finds an entry.
                let Ok(table) = <&[T; 1 << 16]>::try_from(table.as_slice()) else { return Vec::new() };
                let mut mapped = Vec::with_capacity(cells.len());
                Arch::new().dispatch(|| {
                    for cells in cells.chunks(RUN) {
                        // Apart from the looking up, which vector instructions have no part in.
                        let mut places = [0; RUN];
                        for (place, cell) in places.iter_mut().zip(cells) {
                            *place = self.ordered(*cell).wrapping_sub(low);
                        }
                        let entries =
                            places.iter().map(|place| table.get(usize::from(*place)).copied().unwrap_or_default());
                        mapped.extend(entries.take(cells.len()));
                    }
                });
                mapped
            }
            Cells::U32(cells) => cells.iter().map(|cell| map(self.stored(*cell))).collect(),
        }
    }

    /// A cell's bits so that they have the order of the stored values: the sign bit turned round.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the caller's vector instructions are for what is inlined into it")]
    fn ordered(self, cell: u16) -> u16 {
        let [mask, sign] = [self.mask, self.sign].map(|bits| (bits & 0xffff) as u16);
        ((cell >> (self.shift & 15)) & mask) ^ sign
    }

    /// The stored value that [`Reader::ordered`] stands for.
    fn meaning(self, ordered: u16) -> i64 {
        i64::from(ordered) - i64::from(self.sign)
    }

    /// The smallest and largest of [`Reader::ordered`]; of no cells, 0 and 0.
    fn range(self, cells: &[u16]) -> (u16, u16) {
        let first = cells.first().map_or(0, |cell| self.ordered(*cell));
        Arch::new().dispatch(|| {
            cells.iter().fold((first, first), |(low, high), cell| {
                let ordered = self.ordered(*cell);
                (low.min(ordered), high.max(ordered))
            })
        })
    }

    /// The smallest and largest stored value that is no padding.
    fn span(self, cells: &Cells, padding: Option<(i64, i64)>) -> Option<(i64, i64)> {
        if let (Cells::U16(cells), None) = (cells, padding) {
            let (low, high) = self.range(cells);
            return (!cells.is_empty()).then_some((self.meaning(low), self.meaning(high)));
        }
        let counts = |stored: &i64| padding.is_none_or(|(low, high)| *stored < low || *stored > high);
        let (mut low, mut high) = (i64::MAX, i64::MIN);
        let mut see = |stored: i64| {
            if counts(&stored) {
                (low, high) = (low.min(stored), high.max(stored));
            }
        };
        match cells {
            Cells::U8(cells) => cells.iter().for_each(|cell| see(self.stored(u32::from(*cell)))),
            Cells::U16(cells) => cells.iter().for_each(|cell| see(self.stored(u32::from(*cell)))),
            Cells::U32(cells) => cells.iter().for_each(|cell| see(self.stored(*cell))),
        }
        (low <= high).then_some((low, high))
    }
}

fn grey(description: &Description, frame: &Frame, reader: Reader, wished: Option<&Window>) -> Vec<u8> {
    let modality = &description.modality;
    let inverted = description.is_inverted();
    let turned = |shade: f64| {
        let sample = sample(shade);
        if inverted { 255 - sample } else { sample }
    };
    if let Some(window) = wished {
        return reader.map(&frame.cells, |stored| turned(window.shade(modality.value(stored))));
    }
    if let Some(lut) = &description.voi_lut {
        return reader.map(&frame.cells, |stored| turned(lut.shade(modality.value(stored))));
    }
    if let Some(window) = &description.window {
        return reader.map(&frame.cells, |stored| turned(window.shade(modality.value(stored))));
    }
    let (low, high) = automatic(description, frame, reader);
    reader.map(&frame.cells, |stored| {
        turned(if high > low { (modality.value(stored) - low) / (high - low) * 255.0 } else { 0.0 })
    })
}

/// What is black and what is white where nothing says so: values of eight bits are shades already, of others the smallest
/// and the largest of this frame count, but for padding (PS3.3 §C.7.5.1.1.2).
fn automatic(description: &Description, frame: &Frame, reader: Reader) -> (f64, f64) {
    let modality = &description.modality;
    let plain = !description.layout.signed && frame.stored <= 8 && *modality == Modality::Identity;
    if plain {
        return (0.0, f64::from((1_u32 << frame.stored) - 1));
    }
    let Some((low, high)) = reader.span(&frame.cells, description.padding) else { return (0.0, 0.0) };
    match modality {
        // A table need not rise.
        Modality::Lut(_) => (low..=high)
            .map(|stored| modality.value(stored))
            .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value))),
        _ => {
            let (a, b) = (modality.value(low), modality.value(high));
            (a.min(b), a.max(b))
        }
    }
}

/// Colour samples of any depth as bytes.
fn eight_bits(frame: &Frame) -> Vec<u8> {
    let bits = u32::from(frame.stored).clamp(1, 32);
    let shift = u32::from(frame.shift).min(31);
    let most = u64::from(u32::MAX >> (32 - bits));
    let byte = |cell: u32| {
        let value = u64::from(cell >> shift) & most;
        ((value * 255 + most / 2) / most).to_le_bytes()[0]
    };
    match &frame.cells {
        Cells::U8(cells) if bits == 8 => cells.clone(),
        Cells::U8(cells) => cells.iter().map(|cell| byte(u32::from(*cell))).collect(),
        Cells::U16(cells) => cells.iter().map(|cell| byte(u32::from(*cell))).collect(),
        Cells::U32(cells) => cells.iter().map(|cell| byte(*cell)).collect(),
    }
}

/// A window that the data set brings: a linear one narrower than 1, which the formula has no use for, is meant exactly.
pub(super) fn tolerant(center: f64, width: f64, function: Function) -> Option<Window> {
    Window::new(center, width, function).or_else(|| Window::new(center, width, Function::LinearExact))
}

/// Cells that are looked up together.
const RUN: usize = 512;
