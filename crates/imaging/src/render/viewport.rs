//! A region of the picture, flipped perhaps, fitted into a viewport (PS3.18 §8.3.5.1.3).

use super::{RenderError, resample::resample};
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

    pub(super) fn fit(&self, picture: DynamicImage) -> Result<DynamicImage, RenderError> {
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
        let scale = (f64::from(self.width) / f64::from(wide)).min(f64::from(self.height) / f64::from(high));
        let scale = if self.enlarge { scale } else { scale.min(1.0) };
        let (out_wide, out_high) = (scaled(wide, scale), scaled(high, scale));
        if (out_wide, out_high) == (wide, high) {
            return Ok(seen);
        }
        let whole = |side: u32| usize::try_from(side).map_err(|_| RenderError::Coding);
        let (from, to) = ((whole(wide)?, whole(high)?), (whole(out_wide)?, whole(out_high)?));
        let channels = usize::from(seen.color().channel_count());
        let samples = resample(seen.as_bytes(), channels, from, to);
        let made = if channels == 1 {
            GrayImage::from_raw(out_wide, out_high, samples).map(DynamicImage::from)
        } else {
            RgbImage::from_raw(out_wide, out_high, samples).map(DynamicImage::from)
        };
        made.ok_or(RenderError::Coding)
    }
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
fn scaled(side: u32, scale: f64) -> u32 {
    ((f64::from(side) * scale).round() as u32).max(1)
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
            let seen = viewport(width, height, [0.0; 4]).fit(ramp(wide, high)).unwrap();
            assert_eq!((seen.width(), seen.height()), expected);
        }
        let small = Viewport::within(500, 500).fit(ramp(30, 20)).unwrap();
        assert_eq!((small.width(), small.height()), (30, 20));
    }

    #[test]
    fn a_region_is_cut_out_and_flipped() {
        let seen = viewport(4, 3, [2.0, 1.0, -4.0, 3.0]).fit(ramp(20, 20)).unwrap().to_luma8();
        assert_eq!(seen.dimensions(), (4, 3));
        assert_eq!(seen.get_pixel(0, 0), &Luma([5 + 10]));
        assert_eq!(seen.get_pixel(3, 2), &Luma([2 + 30]));
    }

    #[test]
    fn a_region_outside_of_the_picture_is_refused() {
        assert_eq!(viewport(4, 4, [20.0, 0.0, 4.0, 4.0]).fit(ramp(20, 20)).unwrap_err(), RenderError::Outside);
    }
}
