//! Why a frame cannot be shown.

use crate::decode::DecodeError;
use leadglass_model::Fault;

/// Why a frame cannot be shown. Nothing of it stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The frame cannot be decoded.
    #[error("the frame cannot be decoded")]
    Decode(#[from] DecodeError),
    /// The instance has no pixels, or its data set does not say how they lie.
    #[error("there are no pixels that could be shown")]
    NoPixels,
    /// The pixels are floating point (PS3.3 §C.7.6.24, §C.7.6.25): measurements, which have no shades of their own.
    #[error("the pixels are floating point")]
    Float,
    /// The data set does not say what is needed to show them.
    #[error("the data set does not tell {what}")]
    Undescribed {
        /// What is missing or contradicts itself.
        what: &'static str,
    },
    /// The region lies outside of the picture.
    #[error("the region lies outside of the picture")]
    Outside,
    /// The picture could not be coded.
    #[error("the picture could not be coded")]
    Coding,
}

impl RenderError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Coding => Fault::Broken,
            _ => Fault::BadInput,
        }
    }

    /// A stable word for machines and manuals.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Decode(error) => error.code(),
            Self::NoPixels => "no-pixels",
            Self::Float => "pixels-float",
            Self::Undescribed { .. } => "pixels-undescribed",
            Self::Outside => "viewport",
            Self::Coding => "not-coded",
        }
    }
}
