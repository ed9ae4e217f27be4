//! Why a frame cannot be decoded.

use leadglass_model::Fault;

/// Why a frame cannot be decoded. Nothing of the frame or its data set stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Right perhaps, and not read here.
    #[error("{what} is not decoded")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// More than [`MAX_FRAME_PIXELS`](super::MAX_FRAME_PIXELS) or [`MAX_FRAME_BYTES`](super::MAX_FRAME_BYTES).
    #[error("the frame is larger than is decoded")]
    TooLarge,
    /// The bytes end before the frame does.
    #[error("the frame breaks off")]
    Truncated,
    /// The bytes are not what their coding says.
    #[error("the frame is damaged: {what}")]
    Damaged {
        /// What is wrong, in the coding's words.
        what: &'static str,
    },
    /// Data set and codestream say different things.
    #[error("data set and codestream differ in {what}")]
    Contradiction {
        /// In what.
        what: &'static str,
    },
}

impl DecodeError {
    /// Always [`Fault::BadInput`]: it was stored so, and another try gives the same.
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }

    /// A stable word for machines and manuals.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "not-decodable",
            Self::TooLarge => "frame-too-large",
            Self::Truncated => "frame-truncated",
            Self::Damaged { .. } => "frame-damaged",
            Self::Contradiction { .. } => "frame-contradictory",
        }
    }
}
