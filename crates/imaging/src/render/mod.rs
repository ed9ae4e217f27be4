//! A frame as a person sees it: eight bits a sample, grey or RGB.
//!
//! Stored values pass the modality transform, the VOI transform (a window or a table) and the photometric interpretation
//! (PS3.3 §C.11.1, §C.11.2, §C.7.6.3; the pipeline is PS3.4 Annex N.2); then a region is cut out, flipped and fitted into
//! a viewport (PS3.18 §8.3.5.1.3) and the picture is coded as JPEG or PNG. Pixels that are not square become so.
//!
//! - [`Description`] is what the metadata say of one frame; [`Metadata`] makes it of DICOM JSON.
//! - [`Wish`] is what the caller wants otherwise.
//! - [`render`] does it all. Without viewport a PNG holds exactly the values that the formulas give.
//!
//! Overlays, presentation states, ICC profiles, supplemental palettes and shutters are not applied; whoever shows the picture may
//! apply the profile.

mod description;
mod encode;
mod error;
mod jpeg;
mod json;
mod palette;
mod photometric;
mod resample;
mod viewport;
mod window;

pub use description::{Colours, Description, Metadata};
pub use encode::{Format, Picture};
pub use error::RenderError;
pub use palette::Palette;
pub use viewport::Viewport;
pub use window::{Function, Lut, Modality, Window};

use crate::decode;
use serde::{Deserialize, Serialize};

/// What a caller wants to see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// A window instead of the one that the instance brings. Of no effect on colour.
    pub window: Option<Window>,
    /// A region and a size; `None`: all of it as it is.
    pub viewport: Option<Viewport>,
    /// Of a JPEG, 1 to 100.
    pub quality: u8,
    /// JPEG or PNG.
    pub format: Format,
}

/// Decodes `bytes`, one frame, and renders it.
///
/// # Errors
/// [`RenderError`].
pub fn render(description: &Description, bytes: &[u8], wish: &Wish) -> Result<Picture, RenderError> {
    let frame = decode::decode(description.coding, &description.layout, bytes)?;
    let seen = photometric::interpret(description, frame, wish.window.as_ref())?;
    let ratio = description.pixel_shape.map_or(1.0, |(high, wide)| high / wide);
    let seen = match &wish.viewport {
        Some(viewport) => viewport.fit(seen, ratio)?,
        None => viewport::squared(seen, ratio)?,
    };
    encode::encode(&seen, wish)
}
