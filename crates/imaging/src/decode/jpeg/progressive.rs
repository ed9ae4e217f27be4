//! Progressive DCT (T.81 Annex G): coefficients come in several scans, a part of their bits at a time, and are transformed
//! when all are there.
#![allow(
    clippy::indexing_slicing,
    reason = "blocks lie in planes made of whole blocks; a slip would panic and be refused"
)]

use super::{
    Plane,
    bits::Bits,
    dct::{Range, ZIGZAG, place},
    head::{FrameHead, Scan, Tables},
    huffman::Huffman,
};
use crate::decode::DecodeError;

/// The coefficients of all components.
pub(super) struct Progressive(Vec<Component>);

struct Component {
    /// Blocks beside each other, those at the right edge included.
    across: usize,
    /// In zigzag order.
    blocks: Vec<[i16; 64]>,
    quantizer: Option<[u16; 64]>,
}

/// What a scan brings of every block that it names (T.81 §G.1.2).
#[derive(Clone, Copy)]
enum Part {
    DcFirst,
    DcMore,
    AcFirst,
    AcMore,
}

impl Progressive {
    /// Room for the coefficients of `planes`.
    pub(super) fn new(planes: &[Plane]) -> Result<Self, DecodeError> {
        let samples: usize = planes.iter().map(|plane| plane.samples.len()).sum();
        if samples > MAX_SAMPLES {
            return Err(DecodeError::TooLarge);
        }
        let component = |plane: &Plane| Component {
            across: plane.stride / 8,
            blocks: vec![[0; 64]; plane.samples.len() / 64],
            quantizer: None,
        };
        Ok(Self(planes.iter().map(component).collect()))
    }

    /// Reads a scan.
    pub(super) fn scan(
        &mut self,
        frame: &FrameHead,
        scan: &Scan,
        tables: &Tables,
        planes: &mut [Plane],
        bits: &mut Bits<'_>,
    ) -> Result<(), DecodeError> {
        let damaged = DecodeError::Damaged { what: "a progressive scan of JPEG" };
        let (first, end, low) = (usize::from(scan.predictor), usize::from(scan.end), u32::from(scan.point));
        let part = match (first, scan.high) {
            (0, 0) => Part::DcFirst,
            (0, _) => Part::DcMore,
            (_, 0) => Part::AcFirst,
            _ => Part::AcMore,
        };
        let alone = scan.components.len() == 1;
        let fits = if first == 0 { end == 0 } else { alone && (first..64).contains(&end) };
        if !fits || low > 13 {
            return Err(damaged);
        }
        for named in &scan.components {
            let component = &mut self.0[named.component];
            let quantizer = tables.quantizers[frame.components[named.component].quantizer];
            component.quantizer = component.quantizer.or(quantizer);
            planes[named.component].done |= first == 0;
        }
        // A component alone has no padding MCUs (§A.2.2).
        let (across, down) = match scan.components.first() {
            Some(named) if alone => {
                let plane = &planes[named.component];
                (plane.columns.div_ceil(8), plane.rows.div_ceil(8))
            }
            _ => {
                let mcus = |pixels: u32, most: usize| (pixels as usize).div_ceil(8 * most);
                (mcus(frame.columns, frame.most.0), mcus(frame.rows, frame.most.1))
            }
        };
        let (mut last, mut restarts, mut run) = ([0_i32; 3], 0_u8, 0_u32);
        for mcu in 0..across * down {
            if tables.restart != 0 && mcu != 0 && mcu.is_multiple_of(tables.restart) {
                bits.restart(restarts)?;
                restarts = restarts.wrapping_add(1);
                (last, run) = ([0; 3], 0);
            }
            let (mcu_row, mcu_column) = (mcu / across, mcu % across);
            for (named, last) in scan.components.iter().zip(&mut last) {
                let sides = &frame.components[named.component];
                let (h, v) = if alone { (1, 1) } else { (sides.h, sides.v) };
                for block in 0..h * v {
                    let row = mcu_row * v + block / h;
                    let column = mcu_column * h + block % h;
                    let component = &mut self.0[named.component];
                    let block = &mut component.blocks[row * component.across + column];
                    match part {
                        Part::DcFirst => {
                            let table = tables.dc[named.dc].as_ref().ok_or(damaged)?;
                            let size = u32::from(table.next(bits)?);
                            if size > 15 {
                                return Err(DecodeError::Damaged { what: "a DC difference of JPEG" });
                            }
                            *last = (*last + bits.signed(size)?).clamp(-MOST, MOST);
                            block[0] = kept(*last << low);
                        }
                        Part::DcMore => block[0] |= kept(bits.number(1)? << low),
                        Part::AcFirst | Part::AcMore => {
                            let table = tables.ac[named.ac].as_ref().ok_or(damaged)?;
                            let band = Band { first, end, low };
                            if matches!(part, Part::AcFirst) {
                                band.begin(block, &mut run, table, bits)?;
                            } else {
                                band.refine(block, &mut run, table, bits)?;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Transforms all blocks into their planes.
    pub(super) fn finish(self, precision: u8, planes: &mut [Plane]) -> Result<(), DecodeError> {
        let range = Range::of(precision);
        for (component, plane) in self.0.into_iter().zip(planes) {
            let missing = DecodeError::Damaged { what: "a scan names a table that is not there" };
            let quantizer = component.quantizer.ok_or(missing)?;
            for (at, block) in component.blocks.iter().enumerate() {
                let mut coefficients = [0_i64; 64];
                for (k, (level, step)) in block.iter().zip(&quantizer).enumerate() {
                    coefficients[ZIGZAG[k]] = i64::from(*level) * i64::from(*step);
                }
                let plain = block[1..].iter().all(|level| *level == 0);
                let top = at / component.across * 8 * plane.stride + at % component.across * 8;
                place(&coefficients, plain, range, &mut plane.samples[top..], plane.stride);
            }
        }
        Ok(())
    }
}

/// Coefficients `first` to `end` from bit `low` on.
#[derive(Clone, Copy)]
struct Band {
    first: usize,
    end: usize,
    low: u32,
}

impl Band {
    /// The first bits of a block (T.81 §G.1.2.2). `run`: so many blocks have nothing more.
    fn begin(
        self,
        block: &mut [i16; 64],
        run: &mut u32,
        table: &Huffman,
        bits: &mut Bits<'_>,
    ) -> Result<(), DecodeError> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let mut k = self.first;
        while k <= self.end {
            let symbol = table.next(bits)?;
            let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 {
                if zeros < 15 {
                    *run = ends(zeros, bits)? - 1;
                    return Ok(());
                }
                k += 16;
                continue;
            }
            k += zeros;
            if k > self.end {
                return Err(DecodeError::Damaged { what: "a run of JPEG leaves its block" });
            }
            block[k] = kept(bits.signed(size)? << self.low);
            k += 1;
        }
        Ok(())
    }

    /// One more bit of each coefficient (T.81 §G.1.2.3).
    fn refine(
        self,
        block: &mut [i16; 64],
        run: &mut u32,
        table: &Huffman,
        bits: &mut Bits<'_>,
    ) -> Result<(), DecodeError> {
        let one = kept(1 << self.low);
        let mut k = self.first;
        if *run == 0 {
            while k <= self.end {
                let symbol = table.next(bits)?;
                let (mut zeros, size) = (usize::from(symbol >> 4), symbol & 15);
                let new = match size {
                    0 if zeros < 15 => {
                        *run = ends(zeros, bits)?;
                        break;
                    }
                    0 => 0,
                    1 if bits.number(1)? == 1 => one,
                    1 => -one,
                    _ => return Err(DecodeError::Damaged { what: "a refinement of JPEG" }),
                };
                // So many that are zero still are passed over, and those that are not take a bit each.
                while k <= self.end {
                    if block[k] == 0 {
                        if zeros == 0 {
                            break;
                        }
                        zeros -= 1;
                    } else {
                        more(&mut block[k], one, bits)?;
                    }
                    k += 1;
                }
                if new != 0 {
                    let slot = block.get_mut(k).filter(|_| k <= self.end);
                    *slot.ok_or(DecodeError::Damaged { what: "a run of JPEG leaves its block" })? = new;
                }
                k += 1;
            }
        }
        if *run > 0 {
            for level in block.iter_mut().take(self.end + 1).skip(k).filter(|level| **level != 0) {
                more(level, one, bits)?;
            }
            *run -= 1;
        }
        Ok(())
    }
}

/// How many blocks end here, this one among them.
fn ends(zeros: usize, bits: &mut Bits<'_>) -> Result<u32, DecodeError> {
    let size = u32::try_from(zeros).unwrap_or(0);
    let more = bits.number(size)?;
    Ok((1 << size) + more.unsigned_abs())
}

/// The next bit of a coefficient that is not zero.
fn more(level: &mut i16, one: i16, bits: &mut Bits<'_>) -> Result<(), DecodeError> {
    if bits.number(1)? == 1 && *level & one == 0 {
        *level = level.saturating_add(if *level < 0 { -one } else { one });
    }
    Ok(())
}

/// A coefficient beyond this is no picture's.
fn kept(level: i32) -> i16 {
    i16::try_from(level).unwrap_or(if level < 0 { i16::MIN } else { i16::MAX })
}

/// A sum of differences beyond this is no picture's.
const MOST: i32 = 1 << 16;
/// Samples of all components: their coefficients take twice the memory of a frame that comes at once.
const MAX_SAMPLES: usize = 96 << 20;
