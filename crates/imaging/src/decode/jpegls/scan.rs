//! The scan of a JPEG-LS codestream: contexts, regular mode, run mode (T.87 Annex A).
#![allow(
    clippy::indexing_slicing,
    reason = "columns run over lines made for them, contexts over their tables; a slip would panic and be refused"
)]

use super::{Bits, Head, Interleave, Preset, Scan};
use crate::decode::DecodeError;

/// Parameters of a scan (T.87 §A.2, §C.2.4.1.1.1).
pub(super) struct Coding {
    most: i32,
    near: i32,
    /// 2 · NEAR + 1.
    step: i32,
    range: i32,
    quantized_bits: u32,
    limit: u32,
    thresholds: [i32; 3],
    reset: i32,
}

impl Coding {
    pub(super) fn of(precision: u8, near: u8, preset: Preset) -> Result<Self, DecodeError> {
        let damaged = DecodeError::Damaged { what: "the parameters of JPEG-LS" };
        let full = (1_i32 << precision) - 1;
        let most = if preset.most == 0 { full } else { i32::from(preset.most) };
        let near = i32::from(near);
        if most > full || most < 1 || near > most / 2 {
            return Err(damaged);
        }
        let step = 2 * near + 1;
        let range = (most + 2 * near) / step + 1;
        let bits = |n: i32| n.cast_unsigned().next_power_of_two().trailing_zeros();
        let (quantized_bits, sample_bits) = (bits(range), bits(most + 1).max(2));
        let defaults = default_thresholds(most, near);
        let mut thresholds = defaults;
        for (slot, given) in thresholds.iter_mut().zip(preset.thresholds) {
            if given != 0 {
                *slot = i32::from(given);
            }
        }
        let reset = if preset.reset == 0 { 64 } else { i32::from(preset.reset) };
        let [t1, t2, t3] = thresholds;
        if !(near < t1 && t1 <= t2 && t2 <= t3 && t3 <= most) || reset < 3 {
            return Err(damaged);
        }
        let limit = 2 * (sample_bits + sample_bits.max(8));
        Ok(Self { most, near, step, range, quantized_bits, limit, thresholds, reset })
    }

    fn quantize(&self, difference: i32) -> i32 {
        let [t1, t2, t3] = self.thresholds;
        let size = difference.abs();
        let region = match size {
            _ if size <= self.near => 0,
            _ if size < t1 => 1,
            _ if size < t2 => 2,
            _ if size < t3 => 3,
            _ => 4,
        };
        region * difference.signum()
    }

    /// Prediction and error become a sample (§A.4.5).
    fn sample(&self, predicted: i32, error: i32) -> i32 {
        let mut value = predicted + error * self.step;
        if value < -self.near {
            value += self.range * self.step;
        } else if value > self.most + self.near {
            value -= self.range * self.step;
        }
        value.clamp(0, self.most)
    }

    /// A limited Golomb code (§A.5.3).
    fn golomb(&self, bits: &mut Bits<'_>, k: u32, limit: u32) -> Result<i32, DecodeError> {
        let escape = limit - self.quantized_bits - 1;
        let zeros = bits.zeros(escape)?;
        if zeros < escape {
            Ok((zeros.cast_signed() << k) + bits.number(k)?)
        } else {
            Ok(bits.number(self.quantized_bits)? + 1)
        }
    }
}

fn default_thresholds(most: i32, near: i32) -> [i32; 3] {
    let clamp = |value: i32, low: i32| if value > most || value < low { low } else { value };
    let (t1, t2, t3) = if most >= 128 {
        let factor = (most.min(4095) + 128) / 256;
        (factor + 2 + 3 * near, factor * 4 + 3 + 5 * near, factor * 17 + 4 + 7 * near)
    } else {
        let factor = 256 / (most + 1);
        ((3 / factor + 3 * near).max(2), (7 / factor + 5 * near).max(3), (21 / factor + 7 * near).max(4))
    };
    let t1 = clamp(t1, near + 1);
    let t2 = clamp(t2, t1);
    [t1, t2, clamp(t3, t2)]
}

#[derive(Clone, Copy)]
struct Context {
    a: i32,
    b: i32,
    c: i32,
    n: i32,
}

#[derive(Clone, Copy)]
struct RunContext {
    a: i32,
    n: i32,
    negative: i32,
}

struct State<'a> {
    coding: &'a Coding,
    contexts: Vec<Context>,
    runs: [RunContext; 2],
}

/// A component's last two lines, each with one more sample on either side.
struct Lines {
    above: Vec<i32>,
    here: Vec<i32>,
    run_index: usize,
}

pub(super) fn decode(
    coding: &Coding,
    head: &Head,
    scan: &Scan,
    bits: &mut Bits<'_>,
    values: &mut [u16],
) -> Result<(), DecodeError> {
    let first = ((coding.range + 32) / 64).max(2);
    let mut state = State {
        coding,
        contexts: vec![Context { a: first, b: 0, c: 0, n: 1 }; 365],
        runs: [RunContext { a: first, n: 1, negative: 0 }; 2],
    };
    let columns = head.columns;
    let line = || Lines { above: vec![0; columns + 2], here: vec![0; columns + 2], run_index: 0 };
    let mut lines: Vec<Lines> = scan.components.iter().map(|_| line()).collect();
    let samples = head.components.len();
    for row in 0..head.rows {
        for lines in &mut lines {
            lines.above[columns + 1] = lines.above[columns];
            lines.here[0] = lines.above[1];
        }
        match (scan.interleave, lines.as_mut_slice()) {
            (Interleave::Sample, [a, b, c]) => state.samples(bits, columns, [a, b, c])?,
            (_, lines) => lines.iter_mut().try_for_each(|lines| state.line(bits, columns, lines))?,
        }
        let out = &mut values[row * columns * samples..][..columns * samples];
        for (lines, component) in lines.iter_mut().zip(&scan.components) {
            let places = out.iter_mut().skip(*component).step_by(samples);
            for (place, value) in places.zip(&lines.here[1..]) {
                let [low, high, ..] = value.to_le_bytes();
                *place = u16::from_le_bytes([low, high]);
            }
            std::mem::swap(&mut lines.above, &mut lines.here);
        }
    }
    Ok(())
}

impl Lines {
    /// The context of column `x` (counted from 1), and its sign; 0 where the surroundings are flat.
    fn context(&self, coding: &Coding, x: usize) -> i32 {
        let (a, b, c, d) = (self.here[x - 1], self.above[x], self.above[x - 1], self.above[x + 1]);
        81 * coding.quantize(d - b) + 9 * coding.quantize(b - c) + coding.quantize(c - a)
    }
}

impl State<'_> {
    fn line(&mut self, bits: &mut Bits<'_>, columns: usize, lines: &mut Lines) -> Result<(), DecodeError> {
        let mut x = 1;
        while x <= columns {
            let context = lines.context(self.coding, x);
            if context != 0 {
                lines.here[x] = self.regular(bits, context, lines, x)?;
                x += 1;
                continue;
            }
            let value = lines.here[x - 1];
            let length = run(bits, &mut lines.run_index, columns + 1 - x)?;
            lines.here[x..x + length].fill(value);
            x += length;
            if x <= columns {
                let above = lines.above[x];
                let same = (value - above).abs() <= self.coding.near;
                lines.here[x] = self.interruption(bits, value, above, same, lines.run_index)?;
                lines.run_index = lines.run_index.saturating_sub(1);
                x += 1;
            }
        }
        Ok(())
    }

    /// Three components at a time: a run is one of all three (§B.3), and its end knows no equal neighbours.
    fn samples(&mut self, bits: &mut Bits<'_>, columns: usize, mut lines: [&mut Lines; 3]) -> Result<(), DecodeError> {
        let mut x = 1;
        let mut run_index = lines[0].run_index;
        while x <= columns {
            let contexts = [0, 1, 2].map(|i| lines[i].context(self.coding, x));
            if contexts != [0; 3] {
                for (line, context) in lines.iter_mut().zip(contexts) {
                    line.here[x] = self.regular(bits, context, line, x)?;
                }
                x += 1;
                continue;
            }
            let length = run(bits, &mut run_index, columns + 1 - x)?;
            for line in &mut lines {
                let value = line.here[x - 1];
                line.here[x..x + length].fill(value);
            }
            x += length;
            if x <= columns {
                for line in &mut lines {
                    let (value, above) = (line.here[x - 1], line.above[x]);
                    line.here[x] = self.interruption(bits, value, above, false, run_index)?;
                }
                run_index = run_index.saturating_sub(1);
                x += 1;
            }
        }
        lines[0].run_index = run_index;
        Ok(())
    }

    fn regular(&mut self, bits: &mut Bits<'_>, context: i32, lines: &Lines, x: usize) -> Result<i32, DecodeError> {
        let coding = self.coding;
        let sign = if context < 0 { -1 } else { 1 };
        let held = &mut self.contexts[context.unsigned_abs() as usize];
        let (a, b, c) = (lines.here[x - 1], lines.above[x], lines.above[x - 1]);
        let edge = if c >= a.max(b) {
            a.min(b)
        } else if c <= a.min(b) {
            a.max(b)
        } else {
            a + b - c
        };
        let predicted = (edge + sign * held.c).clamp(0, coding.most);
        let k = shift(held.n, held.a)?;
        let code = coding.golomb(bits, k, coding.limit)?;
        let folded = if code & 1 == 0 { code >> 1 } else { -((code + 1) >> 1) };
        let error = if coding.near == 0 && k == 0 && 2 * held.b <= -held.n { -folded - 1 } else { folded };
        if error.abs() > coding.range {
            return Err(DecodeError::Damaged { what: "an error of JPEG-LS" });
        }
        held.b += error * coding.step;
        held.a = held.a.saturating_add(error.abs());
        if held.n == coding.reset {
            held.a >>= 1;
            held.b >>= 1;
            held.n >>= 1;
        }
        held.n += 1;
        if held.b <= -held.n {
            held.b = (held.b + held.n).max(1 - held.n);
            held.c = (held.c - 1).max(-128);
        } else if held.b > 0 {
            held.b = (held.b - held.n).min(0);
            held.c = (held.c + 1).min(127);
        }
        Ok(coding.sample(predicted, sign * error))
    }

    fn interruption(
        &mut self,
        bits: &mut Bits<'_>,
        left: i32,
        above: i32,
        same: bool,
        run_index: usize,
    ) -> Result<i32, DecodeError> {
        let coding = self.coding;
        let kind = i32::from(same);
        let (predicted, sign) = if same { (left, 1) } else { (above, if left > above { -1 } else { 1 }) };
        let held = &mut self.runs[usize::from(same)];
        let k = shift(held.n, if same { held.a + (held.n >> 1) } else { held.a })?;
        let limit = coding.limit - RUN_BITS[run_index] - 1;
        let code = coding.golomb(bits, k, limit)?;
        let folded = code + kind;
        let odd = folded & 1 != 0;
        let size = (folded + 1) >> 1;
        let error = if (k != 0 || 2 * held.negative >= held.n) == odd { -size } else { size };
        if size > coding.range {
            return Err(DecodeError::Damaged { what: "an error of JPEG-LS" });
        }
        if error < 0 {
            held.negative += 1;
        }
        held.a = held.a.saturating_add((code + 1 - kind) >> 1);
        if held.n == coding.reset {
            held.a >>= 1;
            held.n >>= 1;
            held.negative >>= 1;
        }
        held.n += 1;
        Ok(coding.sample(predicted, sign * error))
    }
}

/// The Golomb parameter (§A.5.1).
fn shift(n: i32, a: i32) -> Result<u32, DecodeError> {
    (0..24).find(|k| i64::from(n) << k >= i64::from(a)).ok_or(DecodeError::Damaged { what: "a context of JPEG-LS" })
}

/// The length of a run of at most `left` samples (§A.7.1.2).
fn run(bits: &mut Bits<'_>, index: &mut usize, left: usize) -> Result<usize, DecodeError> {
    let mut length = 0;
    while bits.bit()? {
        let whole = 1_usize << RUN_BITS[*index];
        if length + whole > left {
            return Ok(left);
        }
        length += whole;
        *index = (*index + 1).min(RUN_BITS.len() - 1);
        if length == left {
            return Ok(left);
        }
    }
    let rest = usize::try_from(bits.number(RUN_BITS[*index])?).unwrap_or(usize::MAX);
    let length = length.saturating_add(rest);
    if length >= left { Err(DecodeError::Damaged { what: "a run of JPEG-LS leaves its line" }) } else { Ok(length) }
}

/// J (T.87 §A.2.1).
const RUN_BITS: [u32; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];
