//! Sequential DCT (T.81 Annex F), with the accurate integer transform of the Independent JPEG Group.
//!
//! The transform follows C. Loeffler, A. Ligtenberg and G. Moschytz, "Practical Fast 1-D DCT Algorithms with 11
//! Multiplications" (ICASSP 1989), at 13 bits of fraction; so do the decoders that others compare with, and the values are
//! the same to the last bit.
#![allow(
    clippy::indexing_slicing,
    reason = "blocks run over planes made of whole blocks; a slip would panic and be refused"
)]

use super::{
    Plane,
    bits::Bits,
    head::{FrameHead, Scan, Tables},
    huffman::Huffman,
};
use crate::decode::DecodeError;

struct Coder<'a> {
    component: usize,
    dc: &'a Huffman,
    ac: &'a Huffman,
    quantizer: &'a [u16; 64],
    /// Blocks of an MCU, across and down.
    h: usize,
    v: usize,
    last: i32,
}

pub(super) fn scan(
    frame: &FrameHead,
    scan: &Scan,
    tables: &Tables,
    planes: &mut [Plane],
    bits: &mut Bits<'_>,
) -> Result<(), DecodeError> {
    let damaged = DecodeError::Damaged { what: "a scan names a table that is not there" };
    let alone = scan.components.len() == 1;
    let mut coders = Vec::with_capacity(3);
    for part in &scan.components {
        let component = &frame.components[part.component];
        coders.push(Coder {
            component: part.component,
            dc: tables.dc[part.dc].as_ref().ok_or(damaged)?,
            ac: tables.ac[part.ac].as_ref().ok_or(damaged)?,
            quantizer: tables.quantizers[component.quantizer].as_ref().ok_or(damaged)?,
            h: if alone { 1 } else { component.h },
            v: if alone { 1 } else { component.v },
            last: 0,
        });
    }
    // A component alone has no padding MCUs (§A.2.2).
    let (across, down) = match coders.first() {
        Some(coder) if alone => {
            let plane = &planes[coder.component];
            (plane.columns.div_ceil(8), plane.rows.div_ceil(8))
        }
        _ => {
            let mcus = |pixels: u32, most: usize| (pixels as usize).div_ceil(8 * most);
            (mcus(frame.columns, frame.most.0), mcus(frame.rows, frame.most.1))
        }
    };
    let range = Range::of(frame.precision);
    let mut restarts = 0_u8;
    for mcu in 0..across * down {
        if tables.restart != 0 && mcu != 0 && mcu.is_multiple_of(tables.restart) {
            bits.restart(restarts)?;
            restarts = restarts.wrapping_add(1);
            coders.iter_mut().for_each(|coder| coder.last = 0);
        }
        let (mcu_row, mcu_column) = (mcu / across, mcu % across);
        for coder in &mut coders {
            for block in 0..coder.h * coder.v {
                let row = mcu_row * coder.v + block / coder.h;
                let column = mcu_column * coder.h + block % coder.h;
                let mut coefficients = [0_i64; 64];
                let plain = read(coder, bits, &mut coefficients)?;
                let plane = &mut planes[coder.component];
                let at = row * 8 * plane.stride + column * 8;
                place(&coefficients, plain, range, &mut plane.samples[at..], plane.stride);
            }
        }
    }
    Ok(())
}

/// Decodes and dequantizes a block; true where all but the first coefficient are zero.
fn read(coder: &mut Coder<'_>, bits: &mut Bits<'_>, out: &mut [i64; 64]) -> Result<bool, DecodeError> {
    let size = u32::from(coder.dc.next(bits)?);
    if size > 15 {
        return Err(DecodeError::Damaged { what: "a DC difference of JPEG" });
    }
    coder.last = (coder.last + bits.signed(size)?).clamp(-MOST_COEFFICIENT, MOST_COEFFICIENT);
    out[0] = i64::from(coder.last) * i64::from(coder.quantizer[0]);
    let (mut k, mut plain) = (1, true);
    while k < 64 {
        let symbol = coder.ac.next(bits)?;
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if run != 15 {
                break;
            }
            k += 16;
            continue;
        }
        k += run;
        if k > 63 {
            return Err(DecodeError::Damaged { what: "a run of JPEG leaves its block" });
        }
        out[ZIGZAG[k]] = i64::from(bits.signed(size)?) * i64::from(coder.quantizer[k]);
        plain = false;
        k += 1;
    }
    Ok(plain)
}

/// What depends on the precision.
#[derive(Clone, Copy)]
pub(super) struct Range {
    /// Bits kept between the two passes beyond those of a sample.
    pass: u32,
    centre: i64,
    most: i64,
}

impl Range {
    pub(super) const fn of(precision: u8) -> Self {
        if precision == 8 {
            Self { pass: 2, centre: 128, most: 255 }
        } else {
            Self { pass: 1, centre: 2048, most: 4095 }
        }
    }

    fn sample(self, value: i64) -> u16 {
        let [low, high, ..] = (value + self.centre).clamp(0, self.most).to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

/// Transforms a block back and writes it into its plane.
pub(super) fn place(coefficients: &[i64; 64], plain: bool, range: Range, out: &mut [u16], stride: usize) {
    if plain {
        let flat = (coefficients[0] << range.pass).wrapping_add(1 << (range.pass + 2)) >> (range.pass + 3);
        let sample = range.sample(flat);
        for row in 0..8 {
            out[row * stride..][..8].fill(sample);
        }
        return;
    }
    let mut between = [0_i64; 64];
    for column in 0..8 {
        let line = std::array::from_fn(|row| coefficients[row * 8 + column]);
        if line[1..].iter().all(|value| *value == 0) {
            (0..8).for_each(|row| between[row * 8 + column] = line[0] << range.pass);
            continue;
        }
        let back = transform(line, FRACTION - range.pass);
        (0..8).for_each(|row| between[row * 8 + column] = back[row]);
    }
    for row in 0..8 {
        let line = std::array::from_fn(|column| between[row * 8 + column]);
        let back = transform(line, FRACTION + range.pass + 3);
        for (place, value) in out[row * stride..][..8].iter_mut().zip(back) {
            *place = range.sample(value);
        }
    }
}

/// Eight points, rounded off by `down` bits. Inputs stay under 2^40, so nothing overflows.
fn transform(line: [i64; 8], down: u32) -> [i64; 8] {
    let round = 1_i64 << (down - 1);
    // The even part.
    let z1 = (line[2] + line[6]) * F_0_541196100;
    let even2 = z1 - line[6] * F_1_847759065;
    let even3 = z1 + line[2] * F_0_765366865;
    let even0 = (line[0] + line[4]) << FRACTION;
    let even1 = (line[0] - line[4]) << FRACTION;
    let (t10, t13, t11, t12) = (even0 + even3, even0 - even3, even1 + even2, even1 - even2);
    // The odd part.
    let (o0, o1, o2, o3) = (line[7], line[5], line[3], line[1]);
    let (z1, z2, z3, z4) = (o0 + o3, o1 + o2, o0 + o2, o1 + o3);
    let z5 = (z3 + z4) * F_1_175875602;
    let (z1, z2) = (-z1 * F_0_899976223, -z2 * F_2_562915447);
    let (z3, z4) = (z5 - z3 * F_1_961570560, z5 - z4 * F_0_390180644);
    let t0 = o0 * F_0_298631336 + z1 + z3;
    let t1 = o1 * F_2_053119869 + z2 + z4;
    let t2 = o2 * F_3_072711026 + z2 + z3;
    let t3 = o3 * F_1_501321110 + z1 + z4;
    [t10 + t3, t11 + t2, t12 + t1, t13 + t0, t13 - t0, t12 - t1, t11 - t2, t10 - t3]
        .map(|value| (value + round) >> down)
}

const FRACTION: u32 = 13;
const F_0_298631336: i64 = 2446;
const F_0_390180644: i64 = 3196;
const F_0_541196100: i64 = 4433;
const F_0_765366865: i64 = 6270;
const F_0_899976223: i64 = 7373;
const F_1_175875602: i64 = 9633;
const F_1_501321110: i64 = 12299;
const F_1_847759065: i64 = 15137;
const F_1_961570560: i64 = 16069;
const F_2_053119869: i64 = 16819;
const F_2_562915447: i64 = 20995;
const F_3_072711026: i64 = 25172;

/// A sum of differences beyond this is no picture's.
const MOST_COEFFICIENT: i32 = 1 << 16;

/// Where the k-th coefficient of a block stands (T.81 Figure A.6).
pub(super) const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];
