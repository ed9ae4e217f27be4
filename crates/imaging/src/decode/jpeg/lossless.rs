//! Lossless JPEG (T.81 Annex H): each sample is predicted from its neighbours, the differences are Huffman-coded.
#![allow(
    clippy::indexing_slicing,
    reason = "columns and rows run over a plane made of just these; a slip would panic and be refused"
)]

use super::{
    Plane,
    bits::Bits,
    head::{FrameHead, Scan, Tables},
};
use crate::decode::DecodeError;

pub(super) fn scan(
    frame: &FrameHead,
    scan: &Scan,
    tables: &Tables,
    planes: &mut [Plane],
    bits: &mut Bits<'_>,
) -> Result<(), DecodeError> {
    let damaged = DecodeError::Damaged { what: "a lossless scan" };
    if !(1..=7).contains(&scan.predictor) || scan.point >= frame.precision {
        return Err(damaged);
    }
    let mut coders = Vec::with_capacity(3);
    for component in &scan.components {
        coders.push((component.component, tables.dc[component.dc].as_ref().ok_or(damaged)?));
    }
    let Some(first) = planes.first() else { return Err(damaged) };
    let (columns, rows) = (first.columns, first.rows);
    let start = 1_i32 << (frame.precision - scan.point - 1);
    // A restart interval is a number of whole rows (§H.1.1), else the prediction has no row to begin with.
    if tables.restart != 0 && !tables.restart.is_multiple_of(columns) {
        return Err(DecodeError::Unsupported { what: "lossless JPEG that restarts within a row" });
    }
    let restart_rows = tables.restart / columns;
    let mut restarts = 0_u8;
    for row in 0..rows {
        let fresh = row == 0 || (restart_rows != 0 && row.is_multiple_of(restart_rows));
        if fresh && row != 0 {
            bits.restart(restarts)?;
            restarts = restarts.wrapping_add(1);
        }
        for column in 0..columns {
            for (component, table) in &coders {
                let plane = &mut planes[*component];
                let at = row * plane.stride + column;
                let sample = |index: usize| i32::from(plane.samples[index]);
                let predicted = match (fresh, column) {
                    (true, 0) => start,
                    (true, _) => sample(at - 1),
                    (false, 0) => sample(at - plane.stride),
                    (false, _) => {
                        let (a, b, c) = (sample(at - 1), sample(at - plane.stride), sample(at - plane.stride - 1));
                        match scan.predictor {
                            1 => a,
                            2 => b,
                            3 => c,
                            4 => a + b - c,
                            5 => a + ((b - c) >> 1),
                            6 => b + ((a - c) >> 1),
                            _ => (a + b) >> 1,
                        }
                    }
                };
                let difference = match u32::from(table.next(bits)?) {
                    16 => 32768,
                    size @ 0..=15 => bits.signed(size)?,
                    _ => return Err(DecodeError::Damaged { what: "a lossless difference" }),
                };
                // Modulo 2^16 (§H.1.2.1).
                let [low, high, ..] = (predicted + difference).to_le_bytes();
                plane.samples[at] = u16::from_le_bytes([low, high]);
            }
        }
    }
    if scan.point > 0 {
        for (component, _) in &coders {
            planes[*component].samples.iter_mut().for_each(|sample| *sample <<= scan.point);
        }
    }
    if frame.precision < 16 {
        // What a damaged stream predicts beyond its precision is not a value of the picture.
        let most = (1_u16 << frame.precision) - 1;
        if coders.iter().any(|(component, _)| planes[*component].samples.iter().any(|sample| *sample > most)) {
            return Err(DecodeError::Damaged { what: "a lossless sample" });
        }
    }
    Ok(())
}
