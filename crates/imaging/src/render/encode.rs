//! The picture as a file.

use super::{RenderError, Wish, jpeg};
use image::{
    DynamicImage, ImageEncoder,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};
use jpeg_encoder::{ColorType, Encoder};
use serde::{Deserialize, Serialize};

/// What a picture is coded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// Baseline JPEG of the wished quality.
    Jpeg,
    /// PNG, without loss.
    Png,
}

impl Format {
    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }
}

/// A coded picture.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture(pub Vec<u8>);

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} bytes)", self.0.len())
    }
}

pub(super) fn encode(seen: &DynamicImage, wish: &Wish) -> Result<Picture, RenderError> {
    let mut out = Vec::new();
    let (bytes, width, height) = (seen.as_bytes(), seen.width(), seen.height());
    match wish.format {
        Format::Jpeg if !seen.color().has_color() => {
            return jpeg::grey(bytes, width, height, wish.quality, &[]).map(Picture);
        }
        Format::Jpeg => {
            let side = |pixels| u16::try_from(pixels).map_err(|_| RenderError::Coding);
            let encoder = Encoder::new(&mut out, wish.quality.clamp(1, 100));
            encoder.encode(bytes, side(width)?, side(height)?, ColorType::Rgb).map_err(|_| RenderError::Coding)?;
        }
        Format::Png => PngEncoder::new_with_quality(&mut out, CompressionType::Fast, FilterType::Adaptive)
            .write_image(bytes, width, height, seen.color().into())
            .map_err(|_| RenderError::Coding)?,
    }
    Ok(Picture(out))
}
