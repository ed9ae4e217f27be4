//! Photos and documents become DICOM: what a phone or a browser uploads, as an instance that every viewer knows.
//!
//! - [`Upload::recognise`] looks at the bytes (never at a name or a Content-Type) and says what they are and what turning
//!   them into an instance will cost; it decodes nothing.
//! - [`Upload::into_instance`] makes the instance: a VL Photographic Image (PS3.3 A.32.4) of a JPEG, PNG or WebP, an
//!   Encapsulated PDF (PS3.3 A.45.1) of a PDF. EXIF, GPS, XMP, IPTC, comments, thumbnails and trailing bytes stay behind.
//! - [`Record`] is what the instance says about patient, study and series; its texts are checked when they are made.
//!
//! A baseline JPEG that needs no turn keeps its coded bytes bit for bit. Everything else is decoded: PNG and WebP are
//! stored native, a JPEG is coded again as baseline.
//!
//! [`rejection_note`] says which instances are not to be used any more, for whoever holds copies (PS3.3 A.35.4).
//!
//! The way back: [`decode`] makes samples of one frame in any transfer syntax, [`render`] a picture as a person sees it,
//! [`work`] is how a process of its own is asked for either.
//!
//! **Invariant:** no I/O, no clock, no keys. Sizes are checked before anything is allocated or decoded; no allocation
//! follows a claimed length. An error names a kind and never a value.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "tests may fail loudly"))]

mod dataset;
pub mod decode;
mod document;
mod error;
mod exif;
mod icc;
mod instance;
mod jpeg;
mod moment;
mod photo;
mod pixels;
mod png;
mod record;
mod rejection;
pub mod render;
mod text;
mod uid;
mod upload;
mod webp;
pub mod work;

pub use error::UploadError;
pub use icc::{srgb_profile, with_profile};
pub use instance::{ENCAPSULATED_PDF_STORAGE, Instance, VL_PHOTOGRAPHIC_IMAGE_STORAGE};
pub use moment::{Moment, MomentError, Offset};
pub use record::{Laterality, Patient, Record, Series, Sex, Study};
pub use rejection::{KEY_OBJECT_SELECTION_STORAGE, MAX_REJECTED, Rejected, Rejection, rejection_note};
pub use text::{Text, TextError};
pub use uid::{derived_uid, fresh_uid};
pub use upload::{Format, MAX_DECODED_BYTES, MAX_PIXELS, MAX_SIDE, MAX_WORK_BYTES, Upload};
