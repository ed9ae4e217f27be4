//! What the metadata say about one frame.

use super::{
    Function, Lut, Modality, Palette, RenderError, Window,
    json::{Object, Words},
    palette::unroll,
    photometric::tolerant,
};
use crate::decode::{Coding, DecodeError, Layout, Photometric, Unread};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// All that showing one frame needs to know of its instance. It names nobody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// How the frame is coded.
    pub coding: Coding,
    /// How its pixels lie.
    pub layout: Layout,
    /// From stored values to values.
    pub modality: Modality,
    /// The first VOI LUT, if there is one; it goes before the window.
    pub voi_lut: Option<Lut>,
    /// The first window, if there is one.
    pub window: Option<Window>,
    /// The colours of PALETTE COLOR.
    pub palette: Option<Palette>,
    /// Stored values, from and to, that stand for no measurement (0028,0120), (0028,0121).
    pub padding: Option<(i64, i64)>,
    /// Presentation LUT Shape (2050,0020) is INVERSE: what the VOI transform gives is turned round.
    #[serde(default)]
    pub inverse: bool,
    /// How high and how wide a pixel is, where that is not the same.
    #[serde(default)]
    pub pixel_shape: Option<(f64, f64)>,
}

impl Description {
    /// Whether the smallest value is shown white. An instance that says both MONOCHROME1 and INVERSE says it twice, not
    /// back again: the attribute is how such an image asks for it (PS3.3 §C.8.11.3.1.2).
    pub(super) fn is_inverted(&self) -> bool {
        self.inverse || self.layout.photometric == Photometric::Monochrome1
    }
}

/// What an instance says of its colours (PS3.3 C.11.15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Colours {
    /// ICC Profile (0028,2000): a path below the instance. Small ones stand in the metadata.
    pub profile: Option<Result<String, Vec<u8>>>,
    /// Color Space (0028,2002).
    pub space: Option<String>,
}

/// The metadata of one instance, as DICOM JSON.
#[derive(Debug)]
pub struct Metadata<'a>(Object<'a>);

impl<'a> Metadata<'a> {
    /// Reads one DICOM JSON object.
    ///
    /// # Errors
    /// [`RenderError::Undescribed`] for what is none.
    pub fn parse(json: &'a str) -> Result<Self, RenderError> {
        Object::parse(json).map(Self).ok_or(RenderError::Undescribed { what: "anything" })
    }

    /// Whether there is Pixel Data.
    pub fn has_pixels(&self) -> bool {
        self.0.has(PIXEL_DATA)
    }

    /// Why there is no Pixel Data.
    pub fn lacks_pixels(&self) -> RenderError {
        if self.0.has(FLOAT_PIXEL_DATA) || self.0.has(DOUBLE_PIXEL_DATA) {
            RenderError::Float
        } else {
            RenderError::NoPixels
        }
    }

    /// Whether this is a document in a wrapper, and of which media type (0042,0012).
    pub fn document(&self) -> Option<String> {
        self.0.has(ENCAPSULATED_DOCUMENT).then(|| self.0.text("00420012").unwrap_or_default())
    }

    /// Where the document's bytes lie: a path below the instance. Small ones stand in the metadata.
    pub fn document_place(&self) -> Option<Result<String, Vec<u8>>> {
        match self.0.words(ENCAPSULATED_DOCUMENT)? {
            Words::Bulk(path) => Some(Ok(path.into_owned())),
            Words::Bytes(bytes) => Some(Err(bytes)),
            Words::Numbers(_) => None,
        }
    }

    /// What is known of its colours: `None` where a part of it has colours of its own (Optical Path Sequence).
    pub fn colours(&self) -> Option<Colours> {
        if self.0.has("00480105") {
            return None;
        }
        let place = match self.0.words("00282000") {
            Some(Words::Bulk(path)) => Some(Ok(path.into_owned())),
            Some(Words::Bytes(bytes)) => Some(Err(bytes)),
            Some(Words::Numbers(_)) => return None,
            None => None,
        };
        Some(Colours { profile: place, space: self.0.text("00282002") })
    }

    /// The length of the document without the padding byte (0042,0015).
    pub fn document_len(&self) -> Option<u32> {
        self.0.count("00420015")
    }

    /// The frame that stands for the instance: Representative Frame Number (0028,6010), else the first.
    pub fn representative_frame(&self) -> u32 {
        let frames = self.0.count("00280008").unwrap_or(1).max(1);
        self.0.count("00286010").filter(|frame| (1..=frames).contains(frame)).unwrap_or(1)
    }

    /// Paths of values that [`Metadata::describe`] needs and that are too long to stand in the metadata: each at most
    /// [`MAX_TABLE_BYTES`](Self::MAX_TABLE_BYTES).
    pub fn tables(&self, frame: u32) -> Vec<String> {
        let bulk = |words: Option<Words<'_>>| match words {
            Some(Words::Bulk(path)) => Some(path.into_owned()),
            _ => None,
        };
        let mut paths: Vec<String> = Vec::new();
        let tables = ["00281201", "00281202", "00281203", "00281221", "00281222", "00281223"];
        paths.extend(tables.into_iter().filter_map(|tag| bulk(self.0.words(tag))));
        for sequence in [MODALITY_LUTS, VOI_LUTS] {
            let item = self.group(frame, sequence, sequence);
            paths.extend(item.and_then(|item| bulk(item.words(LUT_DATA))));
        }
        paths
    }

    /// 65,536 entries of two bytes.
    pub const MAX_TABLE_BYTES: usize = 128 << 10;

    /// Describes frame `frame`, counted from 1, that comes coded in `coding`. `tables` has what [`Metadata::tables`] named.
    ///
    /// # Errors
    /// [`RenderError::NoPixels`], [`RenderError::Undescribed`].
    pub fn describe(
        &self,
        frame: u32,
        coding: Coding,
        tables: &HashMap<String, Vec<u8>>,
    ) -> Result<Description, RenderError> {
        let layout = self.layout(coding)?;
        let palette = match layout.photometric {
            Photometric::Palette => Some(self.palette(tables)?),
            _ => None,
        };
        Ok(Description {
            coding,
            layout,
            modality: self.modality(frame, layout.signed, tables)?,
            voi_lut: self.voi_lut(frame, layout.signed, tables)?,
            window: self.window(frame),
            palette,
            padding: self.padding(&layout),
            inverse: self.0.text("20500020").is_some_and(|shape| shape == "INVERSE"),
            pixel_shape: self.pixel_shape(frame),
        })
    }

    /// How the pixels of a frame lie that comes coded in `coding`.
    ///
    /// # Errors
    /// [`RenderError::NoPixels`], [`RenderError::Undescribed`], [`RenderError::Decode`] for colours that are not known.
    pub fn layout(&self, coding: Coding) -> Result<Layout, RenderError> {
        if !self.has_pixels() {
            return Err(self.lacks_pixels());
        }
        let need = |tag: &str, what| self.0.count(tag).ok_or(RenderError::Undescribed { what });
        let small = |tag: &str, what| {
            need(tag, what).and_then(|n| u16::try_from(n).map_err(|_| RenderError::Undescribed { what }))
        };
        let photometric = match self.0.text("00280004").as_deref() {
            Some("MONOCHROME1") => Photometric::Monochrome1,
            Some("MONOCHROME2") => Photometric::Monochrome2,
            Some("PALETTE COLOR") => Photometric::Palette,
            Some("RGB") => Photometric::Rgb,
            Some("YBR_FULL") => Photometric::YbrFull,
            Some("YBR_FULL_422") => Photometric::YbrFull422,
            Some("YBR_ICT") => Photometric::YbrIct,
            Some("YBR_RCT") => Photometric::YbrRct,
            _ => {
                return Err(RenderError::Decode(DecodeError::Unread(Unread::Photometric)));
            }
        };
        let allocated = small("00280100", "bits allocated")?;
        let stored = self.0.count("00280101").and_then(|n| u16::try_from(n).ok()).unwrap_or(allocated);
        Ok(Layout {
            rows: need("00280010", "rows")?,
            columns: need("00280011", "columns")?,
            samples: self.0.count("00280002").and_then(|n| u16::try_from(n).ok()).unwrap_or(1),
            allocated,
            stored,
            high_bit: match self.0.count("00280102").and_then(|n| u16::try_from(n).ok()) {
                Some(high_bit) => high_bit,
                None => stored.saturating_sub(1),
            },
            signed: self.0.count("00280103") == Some(1),
            // Of a codestream the decoder decides (PS3.5 §8.2).
            planar: coding.is_native() && self.0.count("00280006") == Some(1),
            photometric,
        })
    }

    /// The item of a functional group macro that counts for a frame, else the data set itself where that has `tag`.
    fn group(&self, frame: u32, sequence: &str, own: &str) -> Option<Object<'a>> {
        let index = usize::try_from(frame).ok()?.saturating_sub(1);
        let per_frame = self.0.item(PER_FRAME, index).and_then(|groups| groups.item(sequence, 0));
        let shared = || self.0.item(SHARED, 0).and_then(|groups| groups.item(sequence, 0));
        per_frame.or_else(shared).or_else(|| self.0.item(own, 0))
    }

    fn modality(&self, frame: u32, signed: bool, tables: &HashMap<String, Vec<u8>>) -> Result<Modality, RenderError> {
        if let Some(item) = self.group(frame, MODALITY_LUTS, MODALITY_LUTS) {
            return lut(&item, signed, tables).map(Modality::Lut);
        }
        let group = self.group(frame, PIXEL_VALUE_TRANSFORMATION, "");
        let number = |tag: &str| group.as_ref().map_or_else(|| self.0.number(tag), |group| group.number(tag));
        Ok(match (number("00281053"), number("00281052")) {
            (None, None) => Modality::Identity,
            (slope, intercept) => {
                let (slope, intercept) = (slope.filter(|s| *s != 0.0).unwrap_or(1.0), intercept.unwrap_or(0.0));
                if slope == 1.0 && intercept == 0.0 {
                    Modality::Identity
                } else {
                    Modality::Rescale { slope, intercept }
                }
            }
        })
    }

    fn voi_lut(&self, frame: u32, signed: bool, tables: &HashMap<String, Vec<u8>>) -> Result<Option<Lut>, RenderError> {
        self.group(frame, VOI_LUTS, VOI_LUTS).map(|item| lut(&item, signed, tables)).transpose()
    }

    fn window(&self, frame: u32) -> Option<Window> {
        let group = self.group(frame, FRAME_VOI_LUT, "");
        let source = group.as_ref().filter(|group| group.has("00281050")).unwrap_or(&self.0);
        let function = match source.text("00281056").as_deref() {
            Some("LINEAR_EXACT") => Function::LinearExact,
            Some("SIGMOID") => Function::Sigmoid,
            _ => Function::Linear,
        };
        let (centers, widths) = (source.numbers("00281050"), source.numbers("00281051"));
        centers.into_iter().zip(widths).find_map(|(center, width)| tolerant(center, width, function))
    }

    /// By Pixel Spacing, Imager Pixel Spacing or Pixel Aspect Ratio (PS3.3 §10.7.1.3, §C.8.11.3, §C.7.6.3.1.7); `None` for pixels
    /// that are square, or nearly.
    fn pixel_shape(&self, frame: u32) -> Option<(f64, f64)> {
        let measured = self.group(frame, PIXEL_MEASURES, "");
        let spacing = measured.as_ref().unwrap_or(&self.0).numbers(PIXEL_SPACING);
        let told = [spacing, self.0.numbers("00181164"), self.0.numbers("00280034")];
        let (high, wide) = told.iter().find_map(|pair| match pair.as_slice() {
            [high, wide] if high.is_finite() && wide.is_finite() && *high > 0.0 && *wide > 0.0 => Some((*high, *wide)),
            _ => None,
        })?;
        let ratio = high / wide;
        let believed = (1.0 / SHAPE_MOST..=SHAPE_MOST).contains(&ratio);
        (believed && (ratio - 1.0).abs() > SHAPE_LEAST).then_some((high, wide))
    }

    fn padding(&self, layout: &Layout) -> Option<(i64, i64)> {
        let value = |tag: &str| self.0.number(tag).map(|n| own_sign(n, layout.signed));
        let first = value("00280120")?;
        let last = value("00280121").unwrap_or(first);
        Some((first.min(last), first.max(last)))
    }

    fn palette(&self, tables: &HashMap<String, Vec<u8>>) -> Result<Palette, RenderError> {
        let table = |descriptor: &str, data: &str, segments: &str| -> Result<Lut, RenderError> {
            let shape = Shape::read(&self.0, descriptor, false)?;
            if self.0.has(data) {
                return shape.fill(self.0.words(data), tables);
            }
            let words = match self.0.words(segments) {
                Some(words) => Shape { entries: usize::MAX, bits: 16, ..shape }.fill_any(words, tables)?,
                None => return Err(RenderError::Undescribed { what: "a palette" }),
            };
            Ok(Lut { first: shape.first, bits: shape.bits, entries: unroll(&words, shape.entries)? })
        };
        let red = table("00281101", "00281201", "00281221")?;
        let green = table("00281102", "00281202", "00281222")?;
        let blue = table("00281103", "00281203", "00281223")?;
        Palette::new(&red, &green, &blue)
    }
}

fn lut(item: &Object<'_>, signed: bool, tables: &HashMap<String, Vec<u8>>) -> Result<Lut, RenderError> {
    Shape::read(item, "00283002", signed)?.fill(item.words(LUT_DATA), tables)
}

/// A LUT descriptor (PS3.3 §C.11.1.1.1).
#[derive(Clone, Copy)]
struct Shape {
    entries: usize,
    first: i32,
    bits: u16,
}

impl Shape {
    fn read(object: &Object<'_>, descriptor: &str, signed: bool) -> Result<Self, RenderError> {
        let missing = RenderError::Undescribed { what: "the shape of a table" };
        let numbers = object.numbers(descriptor);
        let [entries, first, bits] = numbers.as_slice() else { return Err(missing) };
        let unsigned = |n: f64| own_sign(n, false);
        let entries = match usize::try_from(unsigned(*entries)) {
            Ok(0) => 1 << 16,
            Ok(entries) => entries,
            Err(_) => return Err(missing),
        };
        let bits = u16::try_from(unsigned(*bits)).map_err(|_| missing)?;
        let first = i32::try_from(own_sign(*first, signed || *first < 0.0)).map_err(|_| missing)?;
        if !(1..=16).contains(&bits) {
            return Err(missing);
        }
        Ok(Self { entries, first, bits })
    }

    fn fill(self, words: Option<Words<'_>>, tables: &HashMap<String, Vec<u8>>) -> Result<Lut, RenderError> {
        let missing = RenderError::Undescribed { what: "the entries of a table" };
        let mut entries = self.fill_any(words.ok_or(missing)?, tables)?;
        if entries.len() < self.entries {
            return Err(missing);
        }
        entries.truncate(self.entries);
        Ok(Lut { first: self.first, bits: self.bits, entries })
    }

    fn fill_any(self, words: Words<'_>, tables: &HashMap<String, Vec<u8>>) -> Result<Vec<u16>, RenderError> {
        let missing = RenderError::Undescribed { what: "the entries of a table" };
        let of_bytes = |bytes: &[u8]| -> Vec<u16> {
            // Eight-bit entries lie two to a word, low byte first, which is one after the other.
            let packed = self.bits <= 8 && bytes.len() < self.entries.saturating_mul(2);
            if packed {
                bytes.iter().map(|byte| u16::from(*byte)).collect()
            } else {
                bytes.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word)).collect()
            }
        };
        Ok(match words {
            Words::Bytes(bytes) => of_bytes(&bytes),
            Words::Bulk(path) => of_bytes(tables.get(path.as_ref()).ok_or(missing)?),
            Words::Numbers(numbers) => numbers
                .into_iter()
                .map(|n| u16::try_from(own_sign(n, false)))
                .collect::<Result<_, _>>()
                .map_err(|_| missing)?,
        })
    }
}

/// A 16-bit number read as US or SS, whichever the data set wrote, as the one that it stands for.
#[allow(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
fn own_sign(number: f64, signed: bool) -> i64 {
    let number = number as i64;
    match (signed, number) {
        (false, -32_768..=-1) => number + 65_536,
        (true, 32_768..=65_535) => number - 65_536,
        _ => number,
    }
}

const PIXEL_DATA: &str = "7FE00010";
const FLOAT_PIXEL_DATA: &str = "7FE00008";
const DOUBLE_PIXEL_DATA: &str = "7FE00009";
const PIXEL_MEASURES: &str = "00289110";
const PIXEL_SPACING: &str = "00280030";
/// Pixels that differ by less are square: spacings are measured.
const SHAPE_LEAST: f64 = 0.01;
/// Higher or wider ones are a mistake.
const SHAPE_MOST: f64 = 16.0;
const ENCAPSULATED_DOCUMENT: &str = "00420011";
const SHARED: &str = "52009229";
const PER_FRAME: &str = "52009230";
const PIXEL_VALUE_TRANSFORMATION: &str = "00289145";
const FRAME_VOI_LUT: &str = "00289132";
const MODALITY_LUTS: &str = "00283000";
const VOI_LUTS: &str = "00283010";
const LUT_DATA: &str = "00283006";
