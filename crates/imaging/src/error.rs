//! Why an upload cannot become an instance.

use leadglass_model::Fault;

/// Why an upload cannot become an instance. Nothing of what was uploaded stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UploadError {
    /// The first bytes are those of no format that is taken.
    #[error("neither JPEG, PNG, WebP nor PDF")]
    UnknownFormat,
    /// The format is known, this use of it is not taken.
    #[error("{what} is not taken")]
    Unsupported {
        /// What it is, as in "an animated picture".
        what: &'static str,
    },
    /// The bytes end before the picture or document does.
    #[error("the file breaks off")]
    Truncated,
    /// The bytes are not what their format says.
    #[error("the file is damaged: {what}")]
    Damaged {
        /// What is wrong, in the format's words.
        what: &'static str,
    },
    /// The picture has no rows or no columns.
    #[error("the picture is empty")]
    Empty,
    /// Larger than [`MAX_PIXELS`](crate::MAX_PIXELS) or longer than [`MAX_SIDE`](crate::MAX_SIDE).
    #[error("the picture is larger than is decoded")]
    TooLarge,
    /// Decoding it takes more than [`MAX_WORK_BYTES`](crate::MAX_WORK_BYTES), or far more than so small a file is worth.
    #[error("decoding the picture takes too much memory")]
    TooMuchMemory,
    /// There is no memory to decode it.
    #[error("no memory to decode the picture")]
    NoMemory,
}

impl UploadError {
    /// [`Fault::Busy`] without memory, else [`Fault::BadInput`].
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NoMemory => Fault::Busy,
            _ => Fault::BadInput,
        }
    }

    /// A stable word for machines and manuals.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownFormat => "unknown-format",
            Self::Unsupported { .. } => "unsupported",
            Self::Truncated => "truncated",
            Self::Damaged { .. } => "damaged",
            Self::Empty => "empty",
            Self::TooLarge => "too-large",
            Self::TooMuchMemory => "image-too-large",
            Self::NoMemory => "busy",
        }
    }

    /// A sentence that helps whoever chose the file. Constant, so that nothing of the file can be in it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::UnknownFormat => "This is no JPEG, PNG or WebP picture and no PDF. Save it as one of them.",
            Self::Unsupported { .. } => {
                "This kind of picture is not taken. Save it as an ordinary JPEG or PNG and send it again."
            }
            Self::Truncated => "The file breaks off before its end. Copy it again and send the copy.",
            Self::Damaged { .. } => "The file is damaged. Open it, save it anew and send that.",
            Self::Empty => "The picture is empty.",
            Self::TooLarge => "The picture has more than 64 megapixels. Make it smaller and send it again.",
            Self::TooMuchMemory => {
                "This picture takes too much memory to decode. Make it smaller, or save it as an ordinary JPEG, and send it again."
            }
            Self::NoMemory => "There are too many large pictures in work. Send it again in a moment.",
        }
    }
}
