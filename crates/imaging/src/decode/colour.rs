//! YCbCr of full range as RGB (PS3.3 §C.7.6.3.1.2), in the 16-bit fixed point arithmetic of the Independent JPEG Group.

use super::{Cells, Colour, DecodeError, Frame};

/// One pixel.
pub(crate) fn rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let half = 1 << 15;
    let red = y + ((91_881 * cr + half) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + half) >> 16);
    let blue = y + ((116_130 * cb + half) >> 16);
    [red, green, blue].map(|sample| sample.clamp(0, 255).to_le_bytes()[0])
}

/// Pixels one after the other.
pub(crate) fn all_rgb(samples: &mut [u8]) {
    samples.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| *pixel = rgb(*pixel));
}

impl Frame {
    /// The same picture without luminance and differences; other frames stay as they are.
    ///
    /// # Errors
    /// [`DecodeError::Unsupported`] for YCbCr of more than eight bits.
    pub fn into_rgb(mut self) -> Result<Self, DecodeError> {
        match (self.colour, &mut self.cells) {
            (Colour::Ybr, Cells::U8(samples)) => all_rgb(samples),
            (Colour::Ybr, _) => return Err(DecodeError::Unsupported { what: "YCbCr of more than eight bits" }),
            _ => return Ok(self),
        }
        self.colour = Colour::Rgb;
        Ok(self)
    }
}
