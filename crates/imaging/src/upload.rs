//! What was uploaded: recognised by its bytes, weighed, and made into an instance.

use crate::{
    Instance, Record, UploadError,
    document::{self, Document},
    jpeg::Jpeg,
    photo::Photo,
    png::{self, Png},
    webp::WebP,
};
use bytes::Bytes;

/// Pixels of a picture: 64 megapixels.
pub const MAX_PIXELS: u64 = 64 << 20;
/// Pixels of a side: Rows and Columns have 16 bits.
pub const MAX_SIDE: u32 = 65_535;
/// Bytes that a decoder may give.
pub const MAX_DECODED_BYTES: u64 = MAX_WORK_BYTES;
/// Bytes of memory that making one instance may take at its peak, beyond the upload itself: 64 megapixels from a phone,
/// whichever side is up.
pub const MAX_WORK_BYTES: u64 = 384 << 20;

/// An upload that was recognised and fits the limits. Nothing of it is decoded yet.
#[derive(Clone)]
pub struct Upload {
    bytes: Bytes,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Photo(Photo),
    Document(Document),
}

/// What an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A picture.
    Photo,
    /// A PDF.
    Document,
}

// It may show a patient.
impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("format", &self.format()).finish_non_exhaustive()
    }
}

impl Upload {
    /// Looks at the bytes, and at nothing else. Takes time in proportion to their number and no memory to speak of.
    pub fn recognise(bytes: Bytes) -> Result<Self, UploadError> {
        let photo = if bytes.starts_with(b"\xFF\xD8\xFF") {
            Photo::Jpeg(Jpeg::parse(&bytes)?)
        } else if bytes.starts_with(png::SIGNATURE) {
            Photo::Png(Png::parse(&bytes)?)
        } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            Photo::WebP(WebP::parse(&bytes)?)
        } else if bytes.starts_with(document::SIGNATURE) {
            let document = Document::parse(&bytes)?;
            return Ok(Self { bytes, kind: Kind::Document(document) });
        } else {
            return Err(UploadError::UnknownFormat);
        };
        if photo.work_pixels() > MAX_WORK_PIXELS {
            return Err(UploadError::Unsupported { what: "a JPEG of so many scans" });
        }
        let upload = Self { bytes, kind: Kind::Photo(photo) };
        let (work, sent) = (upload.work_bytes(), upload.bytes.len() as u64);
        if work > MAX_WORK_BYTES || work.saturating_sub(FREE_BYTES) > sent.saturating_mul(MAX_GROWTH) {
            return Err(UploadError::TooMuchMemory);
        }
        Ok(upload)
    }

    /// What it is.
    pub const fn format(&self) -> Format {
        match &self.kind {
            Kind::Photo(_) => Format::Photo,
            Kind::Document(_) => Format::Document,
        }
    }

    /// Bytes of memory that [`into_instance`](Self::into_instance) takes at its peak, beyond the upload itself. 0: nothing
    /// is decoded.
    pub fn work_bytes(&self) -> u64 {
        match &self.kind {
            Kind::Photo(photo) => match photo.work_bytes() {
                0 => 0,
                // A decoder is given a cleaned copy, and may make one of its own.
                bytes => bytes + 2 * self.bytes.len() as u64,
            },
            Kind::Document(_) => 0,
        }
    }

    /// Makes the instance: the same bytes and the same record make the same one. Decoding 64 megapixels takes seconds of one
    /// core; do it where that harms nobody.
    pub fn into_instance(self, record: &Record) -> Result<Instance, UploadError> {
        match self.kind {
            Kind::Photo(photo) => photo.into_instance(&self.bytes, record),
            Kind::Document(document) => Ok(document.into_instance(record)),
        }
    }
}

/// Whether a picture of this size may be decoded at all. Asked as soon as the size is read.
pub(crate) fn check_size(width: u32, height: u32) -> Result<(), UploadError> {
    if width == 0 || height == 0 {
        return Err(UploadError::Empty);
    }
    if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(UploadError::TooLarge);
    }
    Ok(())
}

/// Pixels that a decoder may compute, every pass counted: what bounds its time. A picture of 64 megapixels may have 16 scans.
const MAX_WORK_PIXELS: u64 = 16 * MAX_PIXELS;
/// Bytes that a decoder may take for one byte sent, beyond the first [`FREE_BYTES`]. A page of text scanned at one bit a
/// pixel stays below; deflate ends at 1,032 bytes for one, other codings do not end at all.
const MAX_GROWTH: u64 = 500;
/// So much a picture of a few bytes may take.
const FREE_BYTES: u64 = 16 << 20;
