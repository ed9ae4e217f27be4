//! The forward transform and quantization of sixteen blocks at a time.
//!
//! The transform is that of Arai, Agui and Nakajima: its outputs are too large by known factors, which the division by the
//! quantizer's step takes along. In floating point, so that nothing is lost before the one rounding.

#![allow(clippy::indexing_slicing, reason = "every index is below the constant length of its array")]

/// Blocks beside each other that are worked on together.
pub(super) const LANES: usize = 16;

type Lane = [f32; LANES];
/// Quantized coefficients in zigzag order, of each block one lane, and which of a block's are not zero.
pub(super) struct Levels {
    pub(super) levels: [[i16; LANES]; 64],
    /// Of each block, by sixteen coefficients: the lowest bit stands for the first of them.
    pub(super) present: [[u16; LANES]; 4],
}

/// Sixteen blocks in work.
pub(super) struct Blocks {
    samples: [Lane; 64],
    levels: Levels,
}

/// What coefficients are divided by.
pub(super) struct Quantizer {
    /// In zigzag order, as they are written down.
    steps: [u8; 64],
    /// What to multiply with, in zigzag order; the transform's factors are in it.
    factors: [f32; 64],
}

impl Quantizer {
    /// Luminance (T.81 Table K.1), scaled to `quality` 1 to 100.
    pub(super) fn luminance(quality: u8) -> Self {
        let quality = u32::from(quality.clamp(1, 100));
        let scale = if quality < 50 { 5_000 / quality } else { 200 - 2 * quality };
        let mut quantizer = Self { steps: [1; 64], factors: [1.0; 64] };
        for (at, natural) in ZIGZAG.into_iter().enumerate() {
            let step = ((u32::from(LUMINANCE[natural]) * scale + 50) / 100).clamp(1, 255).to_le_bytes()[0];
            quantizer.steps[at] = step;
            quantizer.factors[at] = 1.0 / (f32::from(step) * 8.0 * AAN[natural / 8] * AAN[natural % 8]);
        }
        quantizer
    }

    pub(super) const fn steps(&self) -> &[u8; 64] {
        &self.steps
    }
}

impl Blocks {
    pub(super) const fn new() -> Self {
        let levels = Levels { levels: [[0; LANES]; 64], present: [[0; LANES]; 4] };
        Self { samples: [[0.0; LANES]; 64], levels }
    }

    /// Takes sixteen blocks out of eight rows of `stride` bytes, from column `left` on.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the caller's vector instructions are for what is inlined into it")]
    pub(super) fn load(&mut self, strip: &[u8], stride: usize, left: usize) {
        for (row, samples) in strip.chunks_exact(stride).zip(self.samples.as_chunks_mut::<8>().0) {
            let mut cells = [0; 8 * LANES];
            cells.copy_from_slice(&row[left..left + 8 * LANES]);
            // Block by block becomes column by column: of the seven bits of an index the upper four change places with the
            // lower three, one at a time.
            for _ in 0..4 {
                cells = shuffled(&cells);
            }
            for (samples, cells) in samples.iter_mut().zip(cells.as_chunks::<LANES>().0) {
                for (sample, cell) in samples.iter_mut().zip(cells) {
                    *sample = f32::from(*cell) - 128.0;
                }
            }
        }
    }

    /// Transforms and quantizes.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the caller's vector instructions are for what is inlined into it")]
    pub(super) fn transform(&mut self, quantizer: &Quantizer) -> &Levels {
        self.samples.as_chunks_mut::<8>().0.iter_mut().for_each(turn);
        for column in 0..8 {
            let mut taken: [Lane; 8] = [[0.0; LANES]; 8];
            for (row, lane) in taken.iter_mut().enumerate() {
                *lane = self.samples[row * 8 + column];
            }
            turn(&mut taken);
            for (row, lane) in taken.into_iter().enumerate() {
                self.samples[row * 8 + column] = lane;
            }
        }
        for (at, natural) in ZIGZAG.into_iter().enumerate() {
            let (from, factor) = (&self.samples[natural], quantizer.factors[at]);
            let to = &mut self.levels.levels[at];
            for lane in 0..LANES {
                // The nearest whole number, by leaving no bits for anything else.
                let level = from[lane] * factor + WHOLE;
                let [low, high, ..] = level.to_bits().to_le_bytes();
                to[lane] = i16::from_le_bytes([low, high]).clamp(-MOST, MOST);
            }
        }
        for (levels, present) in self.levels.levels.as_chunks::<16>().0.iter().zip(&mut self.levels.present) {
            let (mut there, mut bit) = ([0; LANES], 1);
            for levels in levels {
                for (there, level) in there.iter_mut().zip(levels) {
                    *there |= if *level == 0 { 0 } else { bit };
                }
                bit <<= 1;
            }
            *present = there;
        }
        &self.levels
    }
}

/// The first half and the second, one of each in turn.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the caller's vector instructions are for what is inlined into it")]
fn shuffled(cells: &[u8; 8 * LANES]) -> [u8; 8 * LANES] {
    let mut out = [0; 8 * LANES];
    for at in 0..4 * LANES {
        out[2 * at] = cells[at];
        out[2 * at + 1] = cells[4 * LANES + at];
    }
    out
}

/// The transform of eight samples of every block.
#[inline(always)]
#[allow(clippy::inline_always, reason = "vector instructions need the loop where the arrays are")]
#[allow(clippy::needless_range_loop, reason = "eight arrays are walked side by side")]
fn turn(lanes: &mut [Lane; 8]) {
    for lane in 0..LANES {
        let (a, b, c, d) = (lanes[0][lane], lanes[1][lane], lanes[2][lane], lanes[3][lane]);
        let (e, f, g, h) = (lanes[4][lane], lanes[5][lane], lanes[6][lane], lanes[7][lane]);
        let (s0, s1, s2, s3) = (a + h, b + g, c + f, d + e);
        let (d0, d1, d2, d3) = (a - h, b - g, c - f, d - e);
        // Even coefficients.
        let (sum, difference) = (s0 + s3, s0 - s3);
        let (inner, across) = (s1 + s2, (s1 - s2 + difference) * HALF_ROOT);
        lanes[0][lane] = sum + inner;
        lanes[4][lane] = sum - inner;
        lanes[2][lane] = difference + across;
        lanes[6][lane] = difference - across;
        // Odd coefficients.
        let (low, middle, high) = (d3 + d2, (d2 + d1) * HALF_ROOT, d1 + d0);
        let turn = (low - high) * 0.382_683_43;
        let (low, high) = (low * 0.541_196_1 + turn, high * 1.306_563 + turn);
        let (near, far) = (d0 + middle, d0 - middle);
        lanes[5][lane] = far + low;
        lanes[3][lane] = far - low;
        lanes[1][lane] = near + high;
        lanes[7][lane] = near - high;
    }
}

const HALF_ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// 1.5 · 2^23: added to a small number, the lowest bits are that number's, rounded.
const WHOLE: f32 = 12_582_912.0;
/// A baseline coefficient has ten bits (T.81 §F.1.2.2).
const MOST: i16 = 1_023;
/// cos(kπ/16) · √2, the first 1.
const AAN: [f32; 8] = [1.0, 1.387_039_9, 1.306_563, 1.175_875_6, 1.0, 0.785_694_96, 0.541_196_1, 0.275_899_38];

/// Where the coefficients in zigzag order stand in a block (T.81 Figure A.6).
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// T.81 Table K.1.
const LUMINANCE: [u8; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];
