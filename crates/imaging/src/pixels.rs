//! Decoded pictures: eight bits, one sample a pixel or three, the right side up.
//!
//! Decoders come from the `image` crate and see cleaned bytes only; their limits are set to what was checked before.

use crate::{MAX_DECODED_BYTES, UploadError};
use bytes::Bytes;
use image::{
    ColorType, DynamicImage, GenericImageView, GrayImage, ImageDecoder, Limits, RgbImage,
    codecs::{
        jpeg::{JpegDecoder, JpegEncoder},
        png::PngDecoder,
        webp::WebPDecoder,
    },
    metadata::Orientation,
};
use std::io::Cursor;

/// A picture in memory.
pub(crate) struct Pixels {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// 1 or 3.
    pub(crate) samples: u16,
    /// Rows from the top, without padding.
    pub(crate) data: Vec<u8>,
    /// Whether decoding alone took something away: bits below the eighth, or transparency.
    pub(crate) reduced: bool,
}

/// Decodes a cleaned JPEG.
pub(crate) fn jpeg(bytes: &[u8]) -> Result<Pixels, UploadError> {
    read(JpegDecoder::new(Cursor::new(bytes)).map_err(refused)?)
}

/// Decodes a cleaned PNG.
pub(crate) fn png(bytes: &[u8]) -> Result<Pixels, UploadError> {
    read(PngDecoder::with_limits(Cursor::new(bytes), limits()).map_err(refused)?)
}

/// Decodes a cleaned WebP.
pub(crate) fn webp(bytes: &[u8]) -> Result<Pixels, UploadError> {
    read(WebPDecoder::new(Cursor::new(bytes)).map_err(refused)?)
}

/// The decoders' errors may quote what they read; only their kind is kept.
fn refused(error: image::ImageError) -> UploadError {
    match error {
        image::ImageError::Limits(_) => UploadError::TooLarge,
        image::ImageError::Unsupported(_) => UploadError::Unsupported { what: "this way of coding it" },
        _ => UploadError::Damaged { what: "the decoder gave up" },
    }
}

fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    limits
}

fn read(mut decoder: impl ImageDecoder) -> Result<Pixels, UploadError> {
    decoder.set_limits(limits()).map_err(refused)?;
    let ((width, height), colour, total) = (decoder.dimensions(), decoder.color_type(), decoder.total_bytes());
    if total > MAX_DECODED_BYTES {
        return Err(UploadError::TooLarge);
    }
    let len = usize::try_from(total).map_err(|_| UploadError::TooLarge)?;
    let mut data = Vec::new();
    data.try_reserve_exact(len).map_err(|_| UploadError::NoMemory)?;
    data.resize(len, 0);
    decoder.read_image(&mut data).map_err(refused)?;
    let (samples, reduced) = narrow(&mut data, colour)?;
    Ok(Pixels { width, height, samples, data, reduced })
}

/// Makes it eight bits a sample and lays it on white, in place. Gives the samples that are left, and whether that took
/// something away.
fn narrow(data: &mut Vec<u8>, colour: ColorType) -> Result<(u16, bool), UploadError> {
    let (samples, deep, alpha) = match colour {
        ColorType::L8 => return Ok((1, false)),
        ColorType::Rgb8 => return Ok((3, false)),
        ColorType::La8 => (1, false, true),
        ColorType::Rgba8 => (3, false, true),
        ColorType::L16 => (1, true, false),
        ColorType::La16 => (1, true, true),
        ColorType::Rgb16 => (3, true, false),
        ColorType::Rgba16 => (3, true, true),
        _ => return Err(UploadError::Unsupported { what: "samples of this kind" }),
    };
    let wide = if deep { 2 } else { 1 };
    let pixel_bytes = (samples + usize::from(alpha)) * wide;
    let pixels = data.len() / pixel_bytes;
    let mut seen_through = false;
    let mut out = 0;
    for pixel in 0..pixels {
        let from = pixel * pixel_bytes;
        // `out` never overtakes `from`: a pixel is read before what it becomes is written.
        let mut read = [0_u8; 4];
        for (i, value) in read.iter_mut().enumerate().take(samples + usize::from(alpha)) {
            let at = from + i * wide;
            *value = match data.get(at..at + wide) {
                Some([eight]) => *eight,
                Some([a, b]) => eight(u16::from_ne_bytes([*a, *b])),
                _ => 0,
            };
        }
        let opacity = if alpha { read.get(samples).copied().unwrap_or(255) } else { 255 };
        seen_through |= opacity != 255;
        for value in read.iter().take(samples) {
            if let Some(place) = data.get_mut(out) {
                *place = on_white(*value, opacity);
            }
            out += 1;
        }
    }
    data.truncate(out);
    // What waits to be stored holds no more than what is stored; for less than half a copy is not worth it.
    if out <= data.capacity() / 2 {
        data.shrink_to_fit();
    }
    Ok((if samples == 3 { 3 } else { 1 }, deep || seen_through))
}

/// 16 bits to 8, rounded (W3C PNG §13.12).
fn eight(sample: u16) -> u8 {
    u8::try_from((u32::from(sample) * 255 + 32_767) / 65_535).unwrap_or(u8::MAX)
}

fn on_white(value: u8, opacity: u8) -> u8 {
    let (value, opacity) = (u32::from(value), u32::from(opacity));
    u8::try_from((value * opacity + 255 * (255 - opacity) + 127) / 255).unwrap_or(u8::MAX)
}

impl Pixels {
    /// Turns it the right side up.
    pub(crate) fn turned(self, orientation: Orientation) -> Result<Self, UploadError> {
        if orientation == Orientation::NoTransforms {
            return Ok(self);
        }
        let Self { width, height, samples, data, reduced } = self;
        let broken = UploadError::Damaged { what: "fewer pixels than it says" };
        let mut picture = if samples == 1 {
            DynamicImage::ImageLuma8(GrayImage::from_raw(width, height, data).ok_or(broken)?)
        } else {
            DynamicImage::ImageRgb8(RgbImage::from_raw(width, height, data).ok_or(broken)?)
        };
        picture.apply_orientation(orientation);
        Ok(Self { width: picture.width(), height: picture.height(), samples, data: picture.into_bytes(), reduced })
    }

    /// Width and height once it is turned.
    pub(crate) fn turned_size(&self, orientation: Orientation) -> (u32, u32) {
        if swaps_sides(orientation) { (self.height, self.width) } else { (self.width, self.height) }
    }

    /// Codes it as a baseline JPEG, the right side up, without a turned copy.
    pub(crate) fn into_jpeg(self, orientation: Orientation) -> Result<Bytes, UploadError> {
        let Self { width, height, samples, data, .. } = self;
        let broken = UploadError::Damaged { what: "fewer pixels than it says" };
        let mut out = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut out, QUALITY);
        if samples == 1 {
            let picture = GrayImage::from_raw(width, height, data).ok_or(broken)?;
            encoder.encode_image(&Turned { picture, orientation }).map_err(refused)?;
        } else {
            let picture = RgbImage::from_raw(width, height, data).ok_or(broken)?;
            encoder.encode_image(&Turned { picture, orientation }).map_err(refused)?;
        }
        Ok(out.into())
    }
}

/// A picture as it looks once it is turned.
struct Turned<T> {
    picture: T,
    orientation: Orientation,
}

impl<T: GenericImageView> GenericImageView for Turned<T> {
    type Pixel = T::Pixel;

    fn dimensions(&self) -> (u32, u32) {
        let (width, height) = self.picture.dimensions();
        if swaps_sides(self.orientation) { (height, width) } else { (width, height) }
    }

    fn get_pixel(&self, x: u32, y: u32) -> T::Pixel {
        let (width, height) = self.picture.dimensions();
        let (right, bottom) = (|x: u32| width - 1 - x, |y: u32| height - 1 - y);
        let (x, y) = match self.orientation {
            Orientation::NoTransforms => (x, y),
            Orientation::FlipHorizontal => (right(x), y),
            Orientation::FlipVertical => (x, bottom(y)),
            Orientation::Rotate180 => (right(x), bottom(y)),
            Orientation::Rotate90 => (y, bottom(x)),
            Orientation::Rotate270 => (right(y), x),
            Orientation::Rotate90FlipH => (y, x),
            Orientation::Rotate270FlipH => (right(y), bottom(x)),
        };
        self.picture.get_pixel(x, y)
    }
}

const fn swaps_sides(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    )
}

/// Of 100: what a second coding takes away is below what a first one at a camera's usual quality did.
const QUALITY: u8 = 95;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_transparent_lies_on_white() {
        let mut data = vec![10, 20, 30, 255, 10, 20, 30, 0, 0, 0, 0, 128];
        assert_eq!(narrow(&mut data, ColorType::Rgba8).unwrap(), (3, true));
        assert_eq!(data, [10, 20, 30, 255, 255, 255, 127, 127, 127]);
        let mut opaque = vec![1, 255, 2, 255];
        assert_eq!(narrow(&mut opaque, ColorType::La8).unwrap(), (1, false));
        assert_eq!(opaque, [1, 2]);
    }

    #[test]
    fn a_turned_view_is_the_turned_picture() {
        let picture =
            RgbImage::from_fn(5, 3, |x, y| image::Rgb([u8::try_from(x).unwrap(), u8::try_from(y).unwrap(), 7]));
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let mut turned = DynamicImage::ImageRgb8(picture.clone());
            turned.apply_orientation(orientation);
            let turned = turned.into_rgb8();
            let view = Turned { picture: picture.clone(), orientation };
            assert_eq!(view.dimensions(), turned.dimensions(), "{exif}");
            assert!(turned.enumerate_pixels().all(|(x, y, pixel)| view.get_pixel(x, y) == *pixel), "{exif}");
        }
    }

    #[test]
    fn what_was_decoded_wide_holds_no_more_than_what_is_left() {
        let mut data = vec![0; 8 << 10];
        narrow(&mut data, ColorType::Rgba16).unwrap();
        assert_eq!((data.len(), data.capacity()), (3 << 10, 3 << 10));
    }

    #[test]
    fn sixteen_bits_are_rounded_to_eight() {
        let mut data: Vec<u8> = [0_u16, 128, 129, 65_535, 32_768].iter().flat_map(|n| n.to_ne_bytes()).collect();
        assert_eq!(narrow(&mut data, ColorType::L16).unwrap(), (1, true));
        assert_eq!(data, [0, 0, 1, 255, 128]);
    }
}
