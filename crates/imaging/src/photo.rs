//! A picture as a VL Photographic Image (PS3.3 A.32.4).

use crate::{
    Laterality, Record, UploadError,
    dataset::{DataSet, PIXEL_DATA},
    icc::{Carrier, Fate},
    instance::{Instance, VL_PHOTOGRAPHIC_IMAGE_STORAGE, common},
    jpeg::{Colours, Jpeg},
    pixels::{self, Pixels},
    png::Png,
    webp::WebP,
};
use bytes::Bytes;
use image::metadata::Orientation;
use leadglass_model::{SopClassUid, TransferSyntaxUid};

/// Explicit VR little endian.
pub(crate) const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
/// JPEG baseline (process 1).
pub(crate) const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";

/// A picture that was looked at and not decoded.
#[derive(Debug, Clone)]
pub(crate) enum Photo {
    Jpeg(Jpeg),
    Png(Png),
    WebP(WebP),
}

/// What goes into the data set.
struct Made {
    width: u32,
    height: u32,
    samples: u16,
    pixel_data: PixelData,
    /// One entry a lossy coding, in their order: how much smaller it made the picture, and its name.
    lossy: Vec<(f64, &'static str)>,
    /// What was done to it that changes pixels.
    derivation: Option<&'static str>,
    profile: Fate,
}

enum PixelData {
    Native(Vec<u8>),
    Jpeg(Vec<Bytes>),
}

impl Photo {
    const fn profile(&self) -> &Carrier {
        match self {
            Self::Jpeg(it) => &it.profile,
            Self::Png(it) => &it.profile,
            Self::WebP(it) => &it.profile,
        }
    }

    /// Columns and rows as they are coded.
    pub(crate) const fn size(&self) -> (u32, u32) {
        match self {
            Self::Jpeg(it) => (it.width, it.height),
            Self::Png(it) => (it.width, it.height),
            Self::WebP(it) => (it.width, it.height),
        }
    }

    /// Bytes of memory that making the instance takes at its peak, beyond the upload itself.
    pub(crate) fn work_bytes(&self) -> u64 {
        let (width, height) = self.size();
        let pixels = u64::from(width) * u64::from(height);
        let turn = |orientation| if orientation == Orientation::NoTransforms { 0 } else { 3 * pixels };
        match self {
            Self::Jpeg(it) if it.goes_untouched() => 0,
            // A progressive one is held as coefficients until its last scan. It is turned while it is coded again.
            Self::Jpeg(it) => pixels * 3 + if it.progressive { it.coefficient_bytes } else { 0 },
            // Once it is reduced, the rest is given back before it is turned.
            Self::Png(it) => pixels * it.decoded_bytes_per_pixel + turn(it.orientation).max(pixels * it.kept_bytes()),
            Self::WebP(it) => pixels * (it.decoded_bytes_per_pixel() + 4) + turn(it.orientation),
        }
    }

    /// Pixels that a decoder computes, every pass counted.
    pub(crate) fn work_pixels(&self) -> u64 {
        let (width, height) = self.size();
        let pixels = u64::from(width) * u64::from(height);
        match self {
            Self::Jpeg(it) => pixels.saturating_mul(it.scans() as u64),
            _ => pixels,
        }
    }

    pub(crate) fn into_instance(self, bytes: &Bytes, record: &Record) -> Result<Instance, UploadError> {
        let profile = self.profile().read(bytes);
        let made = self.make(bytes)?;
        // The standard has profiles for colour only.
        let profile = if made.samples == 3 || profile == Fate::None { profile } else { Fate::Left };
        Ok(Made { profile, ..made }.into_instance(record))
    }

    fn make(self, bytes: &Bytes) -> Result<Made, UploadError> {
        match self {
            Self::Jpeg(it) if it.goes_untouched() => Ok(untouched(&it, bytes)),
            Self::Jpeg(it) => {
                let arrived = ratio(it.width, it.height, it.samples(), it.kept(bytes).iter().map(Bytes::len).sum());
                let pixels = pixels::jpeg(&it.for_decoder(bytes))?;
                let samples = pixels.samples;
                let (width, height) = pixels.turned_size(it.orientation);
                let coded = pixels.into_jpeg(it.orientation)?;
                let again = ratio(width, height, samples, coded.len());
                // The encoder writes a JFIF segment; the picture goes in without.
                let clean = Jpeg::parse(&coded)?.kept(&coded);
                Ok(Made {
                    width,
                    height,
                    samples,
                    pixel_data: PixelData::Jpeg(clean),
                    lossy: vec![(arrived, JPEG), (again, JPEG)],
                    derivation: Some("Decoded, turned upright if need be, coded again as JPEG baseline"),
                    profile: Fate::None,
                })
            }
            Self::Png(it) => {
                let pixels = pixels::png(&it.for_decoder(bytes))?;
                Ok(Made::native(pixels.turned(it.orientation)?, Vec::new()))
            }
            Self::WebP(it) => {
                let pixels = pixels::webp(&it.for_decoder(bytes))?;
                let lossy = it.lossy.then(|| (ratio(it.width, it.height, 3, it.coded_bytes()), WEBP));
                Ok(Made::native(pixels.turned(it.orientation)?, lossy.into_iter().collect()))
            }
        }
    }
}

impl Jpeg {
    /// Whether its coded data go in as they are: baseline, upright, in colours that the IOD has.
    fn goes_untouched(&self) -> bool {
        let colours = matches!(self.colours, Colours::Grey | Colours::YCbCr);
        self.baseline && colours && self.orientation == Orientation::NoTransforms
    }

    const fn samples(&self) -> u16 {
        match self.colours {
            Colours::Grey => 1,
            Colours::YCbCr | Colours::Rgb => 3,
            Colours::Cmyk | Colours::Ycck => 4,
        }
    }
}

fn untouched(it: &Jpeg, bytes: &Bytes) -> Made {
    let kept = it.kept(bytes);
    let coded = kept.iter().map(Bytes::len).sum();
    let (width, height, samples) = (it.width, it.height, it.samples());
    let lossy = vec![(ratio(width, height, samples, coded), JPEG)];
    Made { width, height, samples, pixel_data: PixelData::Jpeg(kept), lossy, derivation: None, profile: Fate::None }
}

impl Made {
    fn native(pixels: Pixels, lossy: Vec<(f64, &'static str)>) -> Self {
        let Pixels { width, height, samples, data, reduced } = pixels;
        let derivation = reduced.then_some("Reduced to 8 bits, transparent parts laid on white");
        Self { width, height, samples, pixel_data: PixelData::Native(data), lossy, derivation, profile: Fate::None }
    }

    fn into_instance(self, record: &Record) -> Instance {
        let mut set = common(record, VL_PHOTOGRAPHIC_IMAGE_STORAGE, "XC");
        set.text_if_any(0x0018_0015, *b"CS", record.series.body_part.expose());
        set.text(0x0020_0060, *b"CS", record.series.laterality.map_or("", Laterality::dicom));
        if let Some(taken) = record.taken {
            set.text(0x0008_0023, *b"DA", &taken.date());
            set.text(0x0008_0033, *b"TM", &taken.time());
            set.text(0x0008_002A, *b"DT", &taken.date_time());
        }
        // Acquisition Context: nothing is known about it.
        set.no_items(0x0040_0555);
        // General Image: which way the patient lies is not known.
        set.text(0x0020_0020, *b"CS", "");
        let transfer_syntax = self.image(&mut set);
        Instance {
            sop_class: SopClassUid::parse(VL_PHOTOGRAPHIC_IMAGE_STORAGE).expect("a UID of the standard"),
            sop_instance: record.instance.clone(),
            transfer_syntax: TransferSyntaxUid::parse(transfer_syntax).expect("a UID of the standard"),
            pieces: set.into_pieces(),
        }
    }

    /// VL Image and Image Pixel (PS3.3 C.8.12.1, C.7.6.3). Gives the transfer syntax.
    fn image(self, set: &mut DataSet) -> &'static str {
        let jpeg = matches!(self.pixel_data, PixelData::Jpeg(_));
        let photometric = match (self.samples, jpeg) {
            (1, _) => "MONOCHROME2",
            // What the IOD has for coded colour, however the coded picture samples it (C.7.6.3.1.2).
            (_, true) => "YBR_FULL_422",
            (_, false) => "RGB",
        };
        let kind = if self.derivation.is_some() { "DERIVED\\PRIMARY" } else { "ORIGINAL\\PRIMARY" };
        set.text(0x0008_0008, *b"CS", kind);
        set.text_if_any(0x0008_2111, *b"ST", self.derivation.unwrap_or_default());
        set.number(0x0028_0002, self.samples);
        set.text(0x0028_0004, *b"CS", photometric);
        if self.samples == 3 {
            set.number(0x0028_0006, 0);
        }
        set.number(0x0028_0010, side(self.height));
        set.number(0x0028_0011, side(self.width));
        set.number(0x0028_0100, 8);
        set.number(0x0028_0101, 8);
        set.number(0x0028_0102, 7);
        set.number(0x0028_0103, 0);
        set.text(0x0028_2110, *b"CS", if self.lossy.is_empty() { "00" } else { "01" });
        if !self.lossy.is_empty() {
            let ratios: Vec<String> = self.lossy.iter().map(|(ratio, _)| format!("{ratio:.2}")).collect();
            let methods: Vec<&str> = self.lossy.iter().map(|(_, method)| *method).collect();
            set.text(0x0028_2112, *b"DS", &ratios.join("\\"));
            set.text(0x0028_2114, *b"CS", &methods.join("\\"));
        }
        // ICC Profile (C.11.15).
        match &self.profile {
            Fate::None => {}
            Fate::Left => set.text(0x0020_4000, *b"LT", "The picture came with a colour profile that was left out."),
            Fate::Kept(profile) => {
                set.bytes(0x0028_2000, profile.bytes().into());
                set.text_if_any(0x0028_2002, *b"CS", profile.space().unwrap_or_default());
            }
        }
        match self.pixel_data {
            PixelData::Native(data) => {
                set.bytes(PIXEL_DATA, data.into());
                EXPLICIT_LITTLE_ENDIAN
            }
            PixelData::Jpeg(pieces) => {
                set.frame(pieces);
                JPEG_BASELINE
            }
        }
    }
}

/// Rows and Columns have 16 bits; no side is longer, since it was checked before.
fn side(len: u32) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// Uncompressed to compressed (PS3.3 C.7.6.1.1.5.2).
#[allow(clippy::cast_precision_loss, reason = "two digits of a ratio are written")]
fn ratio(width: u32, height: u32, samples: u16, coded: usize) -> f64 {
    let plain = u64::from(width) * u64::from(height) * u64::from(samples);
    plain as f64 / coded.max(1) as f64
}

/// PS3.3 C.7.6.1.1.5.1.
const JPEG: &str = "ISO_10918_1";
/// The standard's terms have none for it.
const WEBP: &str = "VP8";
