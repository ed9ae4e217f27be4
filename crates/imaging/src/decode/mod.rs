//! One frame of Pixel Data, in whatever transfer syntax it lies, as samples.
//!
//! - [`Coding::of`] says by the transfer syntax how frames are coded, [`Layout`] what the data set says of them.
//! - [`decode`] gives the samples of one frame, colour by pixel, not yet interpreted: what Explicit VR Little Endian
//!   would hold. [`Frame::to_native`] writes exactly that.
//!
//! RLE, JPEG (sequential and progressive DCT of 8 and 12 bit, lossless) and JPEG-LS are read here; JPEG 2000 and HTJ2K by a translation of
//! OpenJPEG. DCT and upsampling follow the integer arithmetic of the Independent JPEG Group, so that a frame has the values
//! that other DICOM toolkits give it.
//!
//! **Invariant:** pixels and bytes are bounded before anything is allocated, and what a codestream says of its size must be
//! what the data set says. A stream that breaks off is refused, never filled up. Meant to run in the render worker: one of
//! the decoders is not ours.
//!
//! Sources: PS3.5 §8 and Annexes A and G; ITU-T T.81, T.87, T.800, T.814.

mod colour;
mod error;
mod jpeg;
mod jpeg2000;
mod jpegls;
mod native;
mod rle;

pub(crate) use colour::all_rgb;
pub use error::{DecodeError, Unread};

use serde::{Deserialize, Serialize};

/// What a data set says about its pixels (PS3.3 §C.7.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Rows (0028,0010).
    pub rows: u32,
    /// Columns (0028,0011).
    pub columns: u32,
    /// Samples per Pixel (0028,0002): 1 or 3.
    pub samples: u16,
    /// Bits Allocated (0028,0100): 1, 8, 16 or 32.
    pub allocated: u16,
    /// Bits Stored (0028,0101).
    pub stored: u16,
    /// High Bit (0028,0102).
    pub high_bit: u16,
    /// Pixel Representation (0028,0103) is 1: two's complement.
    pub signed: bool,
    /// Planar Configuration (0028,0006) is 1: colour by plane.
    pub planar: bool,
    /// Photometric Interpretation (0028,0004).
    pub photometric: Photometric,
}

/// Photometric Interpretation (PS3.3 §C.7.6.3.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Photometric {
    /// The smallest value is white.
    Monochrome1,
    /// The smallest value is black.
    Monochrome2,
    /// An index into a table of colours.
    Palette,
    /// Red, green, blue.
    Rgb,
    /// Luminance and two colour differences, each pixel all three.
    YbrFull,
    /// The same, two pixels beside each other sharing the differences.
    YbrFull422,
    /// The irreversible transform of JPEG 2000, undone by its decoder.
    YbrIct,
    /// The reversible transform of JPEG 2000, undone by its decoder.
    YbrRct,
}

/// How frames are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coding {
    /// Not at all, little endian: big endian numbers are turned where they are read.
    Native,
    /// RLE Lossless (PS3.5 Annex G).
    Rle,
    /// JPEG: baseline, extended or lossless (T.81).
    Jpeg,
    /// JPEG-LS (T.87).
    JpegLs,
    /// JPEG 2000 and High-Throughput JPEG 2000 (T.800, T.814).
    Jpeg2000,
}

impl Coding {
    /// How frames lie in the transfer syntax `uid`.
    ///
    /// # Errors
    /// [`DecodeError::Unread`] where no decoder is at hand: video, JPIP, JPEG XL, what is private; and big endian.
    pub fn of(uid: &str) -> Result<Self, DecodeError> {
        let Some(rest) = uid.strip_prefix("1.2.840.10008.1.2") else {
            return Err(DecodeError::Unread(Unread::Syntax));
        };
        match rest {
            "" | ".1" | ".1.98" | ".1.99" => Ok(Self::Native),
            ".5" => Ok(Self::Rle),
            ".4.50" | ".4.51" | ".4.53" | ".4.55" | ".4.57" | ".4.70" => Ok(Self::Jpeg),
            ".4.52" | ".4.54" | ".4.56" | ".4.58" => Err(DecodeError::Unread(Unread::JpegArithmetic)),
            ".4.59" | ".4.60" | ".4.61" | ".4.62" | ".4.63" | ".4.64" | ".4.65" | ".4.66" => {
                Err(DecodeError::Unread(Unread::JpegHierarchical))
            }
            ".4.80" | ".4.81" => Ok(Self::JpegLs),
            ".4.90" | ".4.91" | ".4.201" | ".4.202" | ".4.203" => Ok(Self::Jpeg2000),
            _ => Err(DecodeError::Unread(Unread::Syntax)),
        }
    }

    /// Whether frames are coded at all.
    pub const fn is_native(self) -> bool {
        matches!(self, Self::Native)
    }
}

/// The samples of one frame, pixel by pixel, row by row; three to a pixel in colour.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Pixels in a row.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
    /// Samples to a pixel: 1 or 3.
    pub samples: u16,
    /// The samples, not yet masked and without a sign.
    pub cells: Cells,
    /// Bits of a cell that count.
    pub stored: u16,
    /// Where the lowest of them lies.
    pub shift: u16,
    /// What the samples mean.
    pub colour: Colour,
}

/// Samples of one width.
#[derive(Clone, PartialEq, Eq)]
pub enum Cells {
    /// Bits Allocated is at most 8.
    U8(Vec<u8>),
    /// Bits Allocated is 16.
    U16(Vec<u16>),
    /// Bits Allocated is 32.
    U32(Vec<u32>),
}

/// What decoded samples mean. A codestream may have a say in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Grey, or an index into a palette.
    Single,
    /// Red, green, blue.
    Rgb,
    /// Luminance, blue difference, red difference.
    Ybr,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} x {} x {}, {} bits)", self.columns, self.rows, self.samples, self.stored)
    }
}

impl std::fmt::Debug for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cells({})", self.len())
    }
}

impl Cells {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(cells) => cells.len(),
            Self::U16(cells) => cells.len(),
            Self::U32(cells) => cells.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Frame {
    /// As Explicit VR Little Endian holds it: colour by pixel.
    pub fn to_native(&self) -> Vec<u8> {
        match &self.cells {
            Cells::U8(cells) => cells.clone(),
            Cells::U16(cells) => cells.iter().flat_map(|cell| cell.to_le_bytes()).collect(),
            Cells::U32(cells) => cells.iter().flat_map(|cell| cell.to_le_bytes()).collect(),
        }
    }
}

impl Layout {
    /// Checks that such a frame is one that is decoded, and counts its pixels.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`], [`DecodeError::Unsupported`], and [`DecodeError::Damaged`] for what contradicts itself.
    pub fn check(&self) -> Result<usize, DecodeError> {
        if self.rows == 0 || self.columns == 0 {
            return Err(DecodeError::Damaged { what: "rows or columns are none" });
        }
        if !matches!(self.samples, 1 | 3) {
            return Err(DecodeError::Unsupported { what: "this number of samples to a pixel" });
        }
        if !matches!(self.allocated, 1 | 8 | 16 | 32) {
            return Err(DecodeError::Unsupported { what: "this number of bits allocated" });
        }
        if self.allocated == 1 && self.samples != 1 {
            return Err(DecodeError::Unsupported { what: "colour of one bit" });
        }
        if self.stored == 0 || self.stored > self.allocated || self.high_bit >= self.allocated {
            return Err(DecodeError::Damaged { what: "bits stored do not lie in the bits allocated" });
        }
        if self.high_bit + 1 < self.stored {
            return Err(DecodeError::Damaged { what: "bits stored do not lie in the bits allocated" });
        }
        let pixels = u64::from(self.rows) * u64::from(self.columns);
        let bytes = pixels * u64::from(self.samples) * u64::from(self.allocated.div_ceil(8));
        if pixels > MAX_FRAME_PIXELS || bytes > MAX_FRAME_BYTES {
            return Err(DecodeError::TooLarge);
        }
        usize::try_from(pixels).map_err(|_| DecodeError::TooLarge)
    }

    /// What three samples mean where a codestream says nothing.
    const fn colour(&self) -> Colour {
        match (self.samples, self.photometric) {
            (1, _) => Colour::Single,
            (_, Photometric::YbrFull | Photometric::YbrFull422) => Colour::Ybr,
            _ => Colour::Rgb,
        }
    }

    fn frame(&self, cells: Cells) -> Frame {
        Frame {
            columns: self.columns,
            rows: self.rows,
            samples: self.samples,
            cells,
            stored: self.stored,
            shift: self.high_bit + 1 - self.stored,
            colour: self.colour(),
        }
    }

    /// A frame of values that a decoder gave, each in the low bits; wider cells are cut to the bits allocated.
    fn coded(&self, values: Vec<u16>, colour: Colour) -> Result<Frame, DecodeError> {
        let cells = match self.allocated {
            // Not more than 8 bits: the decoder's precision was checked.
            8 => Cells::U8(values.into_iter().map(|value| value.to_le_bytes()[0]).collect()),
            16 => Cells::U16(values),
            _ => return Err(DecodeError::Unsupported { what: "this number of bits allocated, compressed" }),
        };
        Ok(Frame { shift: 0, colour, ..self.frame(cells) })
    }

    /// Whether a codestream is of the size that the data set says.
    fn agrees(&self, columns: u32, rows: u32, samples: usize, precision: u32) -> Result<(), DecodeError> {
        if (columns, rows) != (self.columns, self.rows) {
            return Err(DecodeError::Contradiction { what: "rows and columns" });
        }
        if samples != usize::from(self.samples) {
            return Err(DecodeError::Contradiction { what: "samples per pixel" });
        }
        if precision > u32::from(self.allocated) {
            return Err(DecodeError::Contradiction { what: "bits" });
        }
        Ok(())
    }
}

/// Decodes one frame. `bytes` are its codestream (all fragments joined, without item headers) or its native bytes.
///
/// # Errors
/// [`DecodeError`]: nothing of the frame is given out then.
pub fn decode(coding: Coding, layout: &Layout, bytes: &[u8]) -> Result<Frame, DecodeError> {
    let pixels = layout.check()?;
    match coding {
        Coding::Native => native::decode(layout, pixels, bytes),
        _ if layout.allocated == 1 => Err(DecodeError::Unsupported { what: "compressed bits" }),
        Coding::Rle => rle::decode(layout, pixels, bytes),
        Coding::Jpeg => jpeg::decode(layout, bytes),
        Coding::JpegLs => jpegls::decode(layout, bytes),
        Coding::Jpeg2000 => jpeg2000::decode(layout, bytes),
    }
}

/// Pixels of one frame.
pub const MAX_FRAME_PIXELS: u64 = 64 << 20;
/// Bytes of one frame, decoded.
pub const MAX_FRAME_BYTES: u64 = 192 << 20;
