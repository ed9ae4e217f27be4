//! Grey pictures as baseline JPEG, fast: sixteen blocks at a time, one to a lane.
//!
//! What a viewer asks for most is a grey slice, and coding it is most of the work of showing it. The transform runs over
//! sixteen neighbouring blocks at once in plain arrays, which compilers turn into vector instructions, those of 2013 (AVX2) on
//! machines that have them; the coder then looks
//! only at coefficients that are not zero. Tables are those of T.81 Annex K, scaled as the Independent JPEG Group scales
//! them, so that a quality means what it means elsewhere.
//!
//! Source: ITU-T T.81 Annexes A, B, F and K.

mod coder;
mod dct;

use super::RenderError;
use coder::{AC_LUMINANCE, Coder, DC_LUMINANCE};
use dct::{Blocks, LANES, Quantizer};
use pulp::Arch;

/// A picture of `width` × `height` bytes, row by row, as JPEG of `quality` 1 to 100. `extra` are whole marker segments that
/// stand behind JFIF's own.
pub(super) fn grey(pixels: &[u8], width: u32, height: u32, quality: u8, extra: &[u8]) -> Result<Vec<u8>, RenderError> {
    let side = |side: u32| u16::try_from(side).ok().filter(|side| *side > 0).ok_or(RenderError::Coding);
    let (columns, rows) = (side(width)?, side(height)?);
    let (width, height) = (usize::from(columns), usize::from(rows));
    if pixels.len() != width * height {
        return Err(RenderError::Coding);
    }
    let quantizer = Quantizer::luminance(quality);
    let mut out = Vec::with_capacity(pixels.len() / 4 + 1024);
    head(&mut out, columns, rows, quantizer.steps(), extra);
    let mut out = Arch::new().dispatch(|| scan(pixels, (width, height), &quantizer, Coder::new(out)))?;
    out.extend([0xff, 0xd9]);
    Ok(out)
}

/// The entropy-coded data, behind what the coder holds already.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the caller's vector instructions are for what is inlined into it")]
fn scan(
    pixels: &[u8],
    (width, height): (usize, usize),
    quantizer: &Quantizer,
    mut coder: Coder,
) -> Result<Vec<u8>, RenderError> {
    let mut blocks = Blocks::new();
    // Eight rows, each ending in its last pixel again and again up to whole groups of blocks.
    let padded = width.next_multiple_of(8 * LANES);
    let mut strip = vec![0; 8 * padded];
    let wide = width.div_ceil(8);
    for top in (0..height).step_by(8) {
        for (row, slot) in strip.chunks_exact_mut(padded).enumerate() {
            let start = (top + row).min(height - 1) * width;
            let from = pixels.get(start..start + width).ok_or(RenderError::Coding)?;
            let (real, rest) = slot.split_at_mut(width);
            real.copy_from_slice(from);
            rest.fill(from.last().copied().unwrap_or_default());
        }
        for first in (0..wide).step_by(LANES) {
            blocks.load(&strip, padded, first * 8);
            let levels = blocks.transform(quantizer);
            for lane in 0..LANES.min(wide - first) {
                coder.block(levels, lane);
            }
        }
    }
    Ok(coder.finish())
}

/// Everything before the entropy-coded data.
fn head(out: &mut Vec<u8>, columns: u16, rows: u16, steps: &[u8; 64], extra: &[u8]) {
    out.extend([0xff, 0xd8]);
    // JFIF 1.2, pixels as high as wide.
    segment(out, 0xe0, &[b"JFIF\0", &[1, 2, 0, 0, 1, 0, 1, 0, 0]]);
    out.extend(extra);
    segment(out, 0xdb, &[&[0], steps]);
    let ([y0, y1], [x0, x1]) = (rows.to_be_bytes(), columns.to_be_bytes());
    segment(out, 0xc0, &[&[8, y0, y1, x0, x1, 1, 1, 0x11, 0]]);
    segment(out, 0xc4, &[&[0x00], &DC_LUMINANCE.0, DC_LUMINANCE.1]);
    segment(out, 0xc4, &[&[0x10], &AC_LUMINANCE.0, AC_LUMINANCE.1]);
    segment(out, 0xda, &[&[1, 1, 0, 0, 63, 0]]);
}

/// A marker segment; its parts are shorter than 64 KiB together.
pub(super) fn segment(out: &mut Vec<u8>, marker: u8, parts: &[&[u8]]) {
    let len = parts.iter().map(|part| part.len()).sum::<usize>() + 2;
    out.extend([0xff, marker]);
    out.extend(u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    parts.iter().for_each(|part| out.extend(*part));
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, ImageFormat, Luma};
    use proptest::{prelude::*, test_runner::RngSeed};

    fn noise(width: u32, height: u32, seed: u32) -> GrayImage {
        GrayImage::from_fn(width, height, |x, y| {
            let mixed = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503) ^ seed).wrapping_mul(2_246_822_519);
            Luma([u8::try_from((x * 3 + y * 2) % 224 + (mixed >> 27)).unwrap()])
        })
    }

    fn decoded(coded: &[u8]) -> GrayImage {
        image::load_from_memory_with_format(coded, ImageFormat::Jpeg).unwrap().into_luma8()
    }

    const MANY_PIXELS: u32 = 4096;

    /// The root of the mean squared difference.
    fn far(a: &GrayImage, b: &GrayImage) -> f64 {
        assert_eq!(a.dimensions(), b.dimensions());
        let squares = a.iter().zip(b.iter()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
        (squares.sum::<f64>() / a.len() as f64).sqrt()
    }

    fn elsewhere(picture: &GrayImage, quality: u8) -> GrayImage {
        let mut out = Vec::new();
        let side = |n: u32| u16::try_from(n).unwrap();
        jpeg_encoder::Encoder::new(&mut out, quality)
            .encode(picture, side(picture.width()), side(picture.height()), jpeg_encoder::ColorType::Luma)
            .unwrap();
        decoded(&out)
    }

    #[test]
    fn a_picture_is_as_near_to_the_original_as_another_coder_has_it() {
        for (width, height) in [(1, 1), (8, 8), (9, 7), (128, 16), (129, 17), (131, 64), (300, 200), (512, 40)] {
            for quality in [1, 30, 75, 90, 100] {
                let picture = noise(width, height, width);
                let ours = decoded(&grey(&picture, width, height, quality, &[]).unwrap());
                let (ours, theirs) = (far(&picture, &ours), far(&picture, &elsewhere(&picture, quality)));
                assert!(ours <= theirs * 1.02 + 0.1, "{width} x {height}, {quality}: {ours} and {theirs}");
            }
        }
    }

    #[test]
    fn the_hardest_edges_keep_within_the_code() {
        for (name, picture) in [
            ("checkers", GrayImage::from_fn(64, 64, |x, y| Luma([if (x + y) % 2 == 0 { 0 } else { 255 }]))),
            ("stripes", GrayImage::from_fn(64, 64, |x, _| Luma([if x % 2 == 0 { 255 } else { 0 }]))),
            ("blocks", GrayImage::from_fn(256, 64, |x, _| Luma([if x / 8 % 2 == 0 { 255 } else { 0 }]))),
        ] {
            let coded = grey(&picture, picture.width(), picture.height(), 100, &[]).unwrap();
            assert!(far(&picture, &decoded(&coded)) < 1.0, "{name}");
        }
    }

    #[test]
    fn what_has_no_size_that_jpeg_knows_is_refused() {
        assert_eq!(grey(&[], 0, 4, 90, &[]), Err(RenderError::Coding));
        assert_eq!(grey(&vec![0; 65_536], 65_536, 1, 90, &[]), Err(RenderError::Coding));
        assert_eq!(grey(&[0; 3], 2, 2, 90, &[]), Err(RenderError::Coding));
    }

    proptest! {
        // The same pictures each time: nearness is a matter of statistics.
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::with_cases(1000) })]
        #[test]
        fn any_picture_can_be_decoded_and_is_near(width in 1_u32..200, height in 1_u32..40, seed: u32, quality in 1_u8..=100) {
            // Of a few pixels chance decides whose rounding is the better one: many pictures do, then.
            let pictures = MANY_PIXELS.div_ceil(width * height);
            let (mut ours, mut theirs) = (0.0, 0.0);
            for n in 0..pictures {
                let picture = GrayImage::from_fn(width, height, |x, y| {
                    let mixed = (x.wrapping_mul(73) ^ y.wrapping_mul(911) ^ seed.wrapping_add(n * 7919)).wrapping_mul(2_654_435_761);
                    Luma([mixed.to_le_bytes()[3]])
                });
                ours += far(&picture, &decoded(&grey(&picture, width, height, quality, &[]).unwrap())).powi(2);
                theirs += far(&picture, &elsewhere(&picture, quality)).powi(2);
            }
            let [ours, theirs] = [ours, theirs].map(|squares| (squares / f64::from(pictures)).sqrt());
            prop_assert!(ours <= theirs * 1.02 + 0.1, "{ours} and {theirs}");
        }
    }
}
