//! Components of fewer samples become full ones, and planes become pixels.
//!
//! Halved components are interpolated by a triangle, as the Independent JPEG Group's decoder does ("fancy upsampling");
//! other ratios repeat samples.
#![allow(
    clippy::indexing_slicing,
    reason = "rows are cut from planes made for them; a slip would panic and be refused"
)]

use super::{Plane, head::FrameHead};
use crate::decode::DecodeError;

pub(super) fn pixels(frame: &FrameHead, planes: Vec<Plane>) -> Result<Vec<u16>, DecodeError> {
    let whole = |n: u32| usize::try_from(n).map_err(|_| DecodeError::TooLarge);
    let (columns, rows) = (whole(frame.columns)?, whole(frame.rows)?);
    let count = planes.len();
    let mut out = vec![0; columns * rows * count];
    let mut line = vec![0; columns + 8];
    for (index, (plane, component)) in planes.into_iter().zip(&frame.components).enumerate() {
        let (across, down) = (frame.most.0 / component.h, frame.most.1 / component.v);
        for row in 0..rows {
            full_row(&plane, row, across, down, &mut line, columns);
            let places = out[row * columns * count..][..columns * count].iter_mut().skip(index).step_by(count);
            places.zip(&line).for_each(|(place, sample)| *place = *sample);
        }
    }
    Ok(out)
}

/// Row `row` of the picture.
fn full_row(plane: &Plane, row: usize, across: usize, down: usize, line: &mut [u16], columns: usize) {
    let of = |row: usize| &plane.samples[row * plane.stride..][..plane.columns];
    // The triangle needs a neighbour on each side.
    let smooth = plane.columns > 2;
    match (across, down) {
        (1, 1) => line[..columns].copy_from_slice(of(row)),
        (2, 1) if smooth => {
            let here = of(row);
            for (x, out) in line[..columns].iter_mut().enumerate() {
                let (near, far, bias) = neighbours(x, plane.columns);
                let (near, far) = (u32::from(here[near]), far.map(|far| u32::from(here[far])));
                *out = far.map_or(near, |far| (3 * near + far + 1 + bias) >> 2).to_le_pair();
            }
        }
        (2, 2) if smooth => {
            let near_row = row / 2;
            let far_row =
                if row.is_multiple_of(2) { near_row.saturating_sub(1) } else { (near_row + 1).min(plane.rows - 1) };
            let (near_line, far_line) = (of(near_row), of(far_row));
            let sum = |x: usize| 3 * u32::from(near_line[x]) + u32::from(far_line[x]);
            for (x, out) in line[..columns].iter_mut().enumerate() {
                let (near, far, right) = neighbours(x, plane.columns);
                let value = match far {
                    Some(far) => (3 * sum(near) + sum(far) + 8 - right) >> 4,
                    None => (4 * sum(near) + 8 - right) >> 4,
                };
                *out = value.to_le_pair();
            }
        }
        _ => {
            let here = of(row / down);
            for (x, out) in line[..columns].iter_mut().enumerate() {
                *out = here[x / across];
            }
        }
    }
}

/// The sample under pixel `x` of a component of half the width, the next one on its side, and 1 where that is the right.
fn neighbours(x: usize, columns: usize) -> (usize, Option<usize>, u32) {
    let near = x / 2;
    if x.is_multiple_of(2) {
        (near, near.checked_sub(1), 0)
    } else {
        (near, Some(near + 1).filter(|far| *far < columns), 1)
    }
}

trait LowPair {
    fn to_le_pair(self) -> u16;
}

impl LowPair for u32 {
    fn to_le_pair(self) -> u16 {
        let [low, high, ..] = self.to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}
