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
    /// Right perhaps, and of a kind that has a name and is not read here.
    #[error("{} is not decoded", .0.what())]
    Unread(Unread),
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
            Self::Unread(unread) => unread.code(),
            Self::TooLarge => "frame-too-large",
            Self::Truncated => "frame-truncated",
            Self::Damaged { .. } => "frame-damaged",
            Self::Contradiction { .. } => "frame-contradictory",
        }
    }
}

/// What is not read here. Each has a code of its own, so that whoever runs the device that sends it knows what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unread {
    /// A transfer syntax without a decoder: video, JPEG XL, JPIP, a private one.
    Syntax,
    /// A photometric interpretation: HSV, CMYK, ARGB, YBR_PARTIAL.
    Photometric,
    /// JPEG with arithmetic coding.
    JpegArithmetic,
    /// Hierarchical JPEG.
    JpegHierarchical,
    /// JPEG whose number of lines stands behind the first scan.
    JpegHeight,
    /// JPEG of other than 8 or 12 bits, with DCT.
    JpegPrecision,
    /// JPEG with sampling factors that do not divide each other.
    JpegSubsampling,
    /// JPEG of four components: CMYK.
    JpegComponents,
}

impl Unread {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Syntax,
        Self::Photometric,
        Self::JpegArithmetic,
        Self::JpegHierarchical,
        Self::JpegHeight,
        Self::JpegPrecision,
        Self::JpegSubsampling,
        Self::JpegComponents,
    ];

    /// A stable word for machines and manuals.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Syntax => "syntax-not-decodable",
            Self::Photometric => "photometric-not-decodable",
            Self::JpegArithmetic => "jpeg-arithmetic",
            Self::JpegHierarchical => "jpeg-hierarchical",
            Self::JpegHeight => "jpeg-late-height",
            Self::JpegPrecision => "jpeg-precision",
            Self::JpegSubsampling => "jpeg-subsampling",
            Self::JpegComponents => "jpeg-components",
        }
    }

    /// In words, for a sentence.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Syntax => "this transfer syntax",
            Self::Photometric => "this photometric interpretation",
            Self::JpegArithmetic => "JPEG with arithmetic coding",
            Self::JpegHierarchical => "hierarchical JPEG",
            Self::JpegHeight => "JPEG that tells its height late",
            Self::JpegPrecision => "JPEG of this number of bits",
            Self::JpegSubsampling => "JPEG with this subsampling",
            Self::JpegComponents => "JPEG of four components",
        }
    }
}
