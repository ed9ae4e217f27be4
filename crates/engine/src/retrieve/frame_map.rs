//! Where the frames of an instance are: by arithmetic from its row, in the table at the object's end, or found by a walk.

use super::{
    RetrieveError,
    inflate::{Short, inflated},
    reader::Reader,
    tables::Weigh,
};
use crate::Shared;
use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_index::{FrameLayout, InstanceRow};
use leadglass_seal::{Corruption, FrameSpan, Frames, OpenError};
use leadglass_tap::{Encoding, Framing, Limits, Syntax, Tap};
use std::sync::Arc;

/// Where all frames of an instance are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FrameMap {
    /// There are none.
    Nowhere,
    /// There are pixels, and frames cannot be told apart.
    Inseparable,
    /// Equal and adjacent in the body.
    Native { offset: u64, count: u32, frame_len: u32 },
    /// The items of each frame.
    Items(Vec<FrameSpan>),
    /// Adjacent frames of so many bits, from the first bit of this byte on.
    Bits { offset: u64, count: u32, frame_bits: u64 },
    /// As native, in the inflated data set.
    Inflated { offset: u64, count: u32, frame_len: u32 },
}

impl Shared {
    pub(super) async fn frame_map(
        &self,
        row: &InstanceRow,
        reader: &Reader,
        syntax: Syntax,
    ) -> Result<Arc<FrameMap>, RetrieveError> {
        if let FrameLayout::Native { offset, count, frame_len } = row.frames {
            return Ok(Arc::new(FrameMap::Native { offset, count, frame_len }));
        }
        if let Some(map) = self.tables.frames.get(reader.object()) {
            return Ok(map);
        }
        let map = match row.frames {
            FrameLayout::None if syntax.deflated => inflated_map(row, reader).await?,
            _ => match reader.tail().await?.opened.records {
                records if matches!(records.frames, Frames::Table(_)) => match records.frames {
                    Frames::Table(spans) => FrameMap::Items(spans),
                    Frames::None | Frames::Native { .. } => FrameMap::Inseparable,
                },
                records => match records.layout.and_then(|layout| layout.pixel_value) {
                    Some(at) => bits_map(row, reader, syntax, at).await?.unwrap_or(FrameMap::Inseparable),
                    None => FrameMap::Nowhere,
                },
            },
        };
        Ok(self.tables.frames.put(reader.object(), map))
    }
}

/// 1-bit frames that do not fill their last byte: the next begins in it.
async fn bits_map(
    row: &InstanceRow,
    reader: &Reader,
    syntax: Syntax,
    at: u64,
) -> Result<Option<FrameMap>, RetrieveError> {
    let (Some(1), Some(rows), Some(columns)) = (row.bits_allocated, row.rows, row.columns) else { return Ok(None) };
    if syntax.framing != Framing::Native {
        return Ok(None);
    }
    let Some((offset, len)) = pixel_value(reader, syntax, at).await? else { return Ok(None) };
    let frame_bits = u64::from(rows) * u64::from(columns);
    let count = row.number_of_frames.unwrap_or(1).max(1);
    let fits = frame_bits > 0
        && frame_bits.checked_mul(u64::from(count)).is_some_and(|bits| bits.div_ceil(8) <= len)
        && offset.checked_add(len).is_some_and(|end| end <= row.body_len);
    Ok(fits.then_some(FrameMap::Bits { offset, count, frame_bits }))
}

/// First byte and length of native Pixel Data. `at` is where its value starts (FORMAT §7, record 02), or in older objects
/// its header: the header says which.
pub(super) async fn pixel_value(reader: &Reader, syntax: Syntax, at: u64) -> Result<Option<(u64, u64)>, RetrieveError> {
    let big = syntax.encoding == Encoding::ExplicitBe;
    let tag = if big { [0x7F, 0xE0, 0x00, 0x10] } else { [0xE0, 0x7F, 0x10, 0x00] };
    // PS3.5 §7.1.2 and §7.1.3: the length stands at its end.
    let head_len = if syntax.encoding == Encoding::ImplicitLe { 8 } else { 12 };
    for head_at in [at.saturating_sub(head_len), at] {
        let head: Vec<Bytes> = reader.plain(head_at..head_at.saturating_add(head_len)).try_collect().await?;
        let head = head.concat();
        let (Some(name), Some(len)) = (head.first_chunk::<4>(), head.last_chunk::<4>()) else { continue };
        if *name == tag {
            let len = if big { u32::from_be_bytes(*len) } else { u32::from_le_bytes(*len) };
            return Ok(Some((head_at + head_len, u64::from(len))));
        }
    }
    Ok(None)
}

/// Bytes of the numbers that native Pixel Data are written in, where those have to be turned: of its cells, or of the words
/// that hold cells of eight bits (PS3.5 §A.3). `at` is where its value starts.
pub(super) async fn turned(
    row: &InstanceRow,
    reader: &Reader,
    syntax: Syntax,
    at: u64,
) -> Result<usize, RetrieveError> {
    let cell = usize::from(row.bits_allocated.unwrap_or(8)) / 8;
    if syntax.encoding != Encoding::ExplicitBe || cell != 1 {
        return Ok(if syntax.encoding == Encoding::ExplicitBe { cell.max(1) } else { 1 });
    }
    // Tag, VR, two bytes of nothing, length.
    let head: Vec<Bytes> = reader.plain(at.saturating_sub(12)..at).try_collect().await?;
    Ok(if head.concat().get(4..6) == Some(b"OW") { 2 } else { 1 })
}

/// Walks a deflated data set up to its pixels.
async fn inflated_map(row: &InstanceRow, reader: &Reader) -> Result<FrameMap, RetrieveError> {
    let body = row.dataset_start..row.body_len;
    let all = 0..Limits::default().inflated_bytes;
    let mut pieces = std::pin::pin!(inflated(reader.clone(), body, all, Short::Ends));
    let mut tap = Tap::with_syntax(Syntax::EXPLICIT_LE, Limits::default());
    let broken = || reader.damaged(OpenError::Corrupt { what: Corruption::ContentDigest });
    loop {
        let Some(piece) = pieces.try_next().await? else { return Ok(FrameMap::Nowhere) };
        tap.feed(&piece).map_err(|_| broken())?;
        let pixels = tap.bulk_so_far().iter().find(|value| PIXELS.contains(&value.path.as_str()));
        let Some((offset, len)) = pixels.map(|value| (value.offset, value.len)) else { continue };
        let header = tap.so_far();
        let sides = header.rows.zip(header.columns).map(|(rows, columns)| u64::from(rows) * u64::from(columns));
        let bits =
            u64::from(header.samples_per_pixel.unwrap_or(1).max(1)) * u64::from(header.bits_allocated.unwrap_or(0));
        let frame_bits = sides.unwrap_or(0).saturating_mul(bits);
        let count = u64::from(header.number_of_frames.unwrap_or(1).max(1));
        let whole = frame_bits.is_multiple_of(8) || count == 1;
        let frame_len = frame_bits.div_ceil(8);
        let fits = whole && frame_len > 0 && frame_len.checked_mul(count).is_some_and(|all| all <= len);
        return Ok(match (u32::try_from(frame_len), u32::try_from(count)) {
            (Ok(frame_len), Ok(count)) if fits => FrameMap::Inflated { offset, count, frame_len },
            _ => FrameMap::Inseparable,
        });
    }
}

impl FrameMap {
    pub(super) fn count(&self) -> Option<u32> {
        match self {
            Self::Nowhere => Some(0),
            Self::Inseparable => None,
            Self::Native { count, .. } | Self::Bits { count, .. } | Self::Inflated { count, .. } => Some(*count),
            Self::Items(spans) => u32::try_from(spans.len()).ok(),
        }
    }
}

impl Weigh for FrameMap {
    fn bytes(&self) -> usize {
        match self {
            Self::Items(spans) => spans.capacity() * size_of::<FrameSpan>(),
            _ => 0,
        }
    }
}

/// Pixel Data, Float and Double Float Pixel Data, as the tap names them.
pub(super) const PIXELS: [&str; 3] = ["bulkdata/7FE00010", "bulkdata/7FE00008", "bulkdata/7FE00009"];
