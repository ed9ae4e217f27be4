//! A region of the picture, flipped perhaps, fitted into a viewport (PS3.18 §8.3.5.1.3).

use super::{RenderError, resample::resample};
use crate::decode::MAX_FRAME_PIXELS;
use image::{DynamicImage, GrayImage, RgbImage};
use serde::{Deserialize, Serialize};

/// What is to be seen, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Viewport {
    /// Columns at most.
    pub width: u32,
    /// Rows at most.
    pub height: u32,
    /// The region, in columns and rows of the frame: left, top, width, height. A negative width mirrors it left to right, a
    /// negative height upside down. A width or height of 0 goes to the edge.
    pub region: [f64; 4],
    /// Whether a small picture is enlarged to fill the viewport.
    pub enlarge: bool,
}

impl Viewport {
    /// All of the picture, never larger than it is.
    pub const fn within(width: u32, height: u32) -> Self {
        Self { width, height, region: [0.0; 4], enlarge: false }
    }

    /// The region of `picture`, whose pixels are `ratio` times as high as wide, with square pixels.
    pub(super) fn fit(&self, picture: DynamicImage, ratio: f64) -> Result<DynamicImage, RenderError> {
        let [left, top, width, height] = self.region;
        let (x, wide) = side(left, width, picture.width())?;
        let (y, high) = side(top, height, picture.height())?;
        let whole = (x, y, wide, high) == (0, 0, picture.width(), picture.height());
        let mut seen = if whole { picture } else { picture.crop_imm(x, y, wide, high) };
        if width < 0.0 {
            seen = seen.fliph();
        }
        if height < 0.0 {
            seen = seen.flipv();
        }
        let (square_wide, square_high) = square(wide, high, ratio);
        let scale = (f64::from(self.width) / square_wide).min(f64::from(self.height) / square_high);
        let scale = if self.enlarge { scale } else { scale.min(1.0) };
        resized(seen, scaled(square_wide, scale), scaled(square_high, scale))
    }
}

/// All of a picture whose pixels are `ratio` times as high as wide, with square pixels: none are lost unless it would become
/// too large.
pub(super) fn squared(picture: DynamicImage, ratio: f64) -> Result<DynamicImage, RenderError> {
    let (wide, high) = square(picture.width(), picture.height(), ratio);
    let large = wide * high > MAX_FRAME_PIXELS as f64 || wide.max(high) > f64::from(u16::MAX);
    let scale = if large { ratio.min(1.0 / ratio) } else { 1.0 };
    resized(picture, scaled(wide, scale), scaled(high, scale))
}

/// The sides in units of the shorter side of a pixel.
fn square(wide: u32, high: u32, ratio: f64) -> (f64, f64) {
    (f64::from(wide) * (1.0 / ratio).max(1.0), f64::from(high) * ratio.max(1.0))
}

fn resized(seen: DynamicImage, wide: u32, high: u32) -> Result<DynamicImage, RenderError> {
    if (wide, high) == (seen.width(), seen.height()) {
        return Ok(seen);
    }
    let whole = |side: u32| usize::try_from(side).map_err(|_| RenderError::Coding);
    let (from, to) = ((whole(seen.width())?, whole(seen.height())?), (whole(wide)?, whole(high)?));
    let channels = usize::from(seen.color().channel_count());
    let samples = resample(seen.as_bytes(), channels, from, to);
    let made = if channels == 1 {
        GrayImage::from_raw(wide, high, samples).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(wide, high, samples).map(DynamicImage::from)
    };
    made.ok_or(RenderError::Coding)
}

/// The first pixel and the number of them, along one side of `most`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
fn side(start: f64, len: f64, most: u32) -> Result<(u32, u32), RenderError> {
    let start = start.round().max(0.0) as u32;
    let len = len.abs().round() as u32;
    let left = most.checked_sub(start).filter(|left| *left > 0).ok_or(RenderError::Outside)?;
    Ok((start, if len == 0 { left } else { len.min(left) }))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
fn scaled(side: f64, scale: f64) -> u32 {
    ((side * scale).round() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma};

    fn ramp(width: u32, height: u32) -> DynamicImage {
        GrayImage::from_fn(width, height, |x, y| Luma([u8::try_from((x + 10 * y) % 256).unwrap()])).into()
    }

    fn viewport(width: u32, height: u32, region: [f64; 4]) -> Viewport {
        Viewport { width, height, region, enlarge: true }
    }

    #[test]
    fn the_shape_of_the_region_is_kept() {
        for (wide, high, width, height, expected) in [
            (100, 50, 40, 40, (40, 20)),
            (100, 50, 400, 400, (400, 200)),
            (7, 1000, 10, 10, (1, 10)),
            (64, 64, 64, 64, (64, 64)),
        ] {
            let seen = viewport(width, height, [0.0; 4]).fit(ramp(wide, high), 1.0).unwrap();
            assert_eq!((seen.width(), seen.height()), expected);
        }
        let small = Viewport::within(500, 500).fit(ramp(30, 20), 1.0).unwrap();
        assert_eq!((small.width(), small.height()), (30, 20));
    }

    #[test]
    fn a_region_is_cut_out_and_flipped() {
        let seen = viewport(4, 3, [2.0, 1.0, -4.0, 3.0]).fit(ramp(20, 20), 1.0).unwrap().to_luma8();
        assert_eq!(seen.dimensions(), (4, 3));
        assert_eq!(seen.get_pixel(0, 0), &Luma([5 + 10]));
        assert_eq!(seen.get_pixel(3, 2), &Luma([2 + 30]));
    }

    #[test]
    fn a_region_outside_of_the_picture_is_refused() {
        assert_eq!(viewport(4, 4, [20.0, 0.0, 4.0, 4.0]).fit(ramp(20, 20), 1.0).unwrap_err(), RenderError::Outside);
    }

    #[test]
    fn pixels_become_square_whichever_side_of_them_is_longer() {
        for (wide, high, ratio, expected) in
            [(30, 20, 2.0, (30, 40)), (30, 20, 0.5, (60, 20)), (30, 20, 1.5, (30, 30)), (60_000, 20, 0.5, (60_000, 10))]
        {
            let seen = squared(ramp(wide, high), ratio).unwrap();
            assert_eq!((seen.width(), seen.height()), expected, "{ratio}");
        }
        let seen = viewport(100, 100, [0.0; 4]).fit(ramp(30, 20), 3.0).unwrap();
        assert_eq!((seen.width(), seen.height()), (50, 100));
        let part = Viewport::within(100, 100);
        let seen = Viewport { region: [10.0, 0.0, 10.0, 20.0], ..part }.fit(ramp(30, 20), 0.5).unwrap();
        assert_eq!((seen.width(), seen.height()), (20, 20));
    }
}
