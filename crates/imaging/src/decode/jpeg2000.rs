//! JPEG 2000 and HTJ2K (T.800, T.814), decoded by a translation of OpenJPEG.
//!
//! The size, the components and the tiles are read from the SIZ marker segment and checked here before the decoder sees a
//! byte: it allocates by what the codestream claims.

use super::{Colour, DecodeError, Frame, Layout, Photometric};
use jpeg2k::{DecodeParameters, Image};

pub(super) fn decode(layout: &Layout, bytes: &[u8]) -> Result<Frame, DecodeError> {
    let size = Size::read(bytes)?;
    layout.agrees(
        size.columns,
        size.rows,
        size.components.len(),
        size.components.iter().map(|c| c.precision).max().unwrap_or(0),
    )?;
    if layout.allocated > 16 {
        return Err(DecodeError::Unsupported { what: "JPEG 2000 of more than 16 bits" });
    }
    let pixels = u64::from(size.columns) * u64::from(size.rows);
    // Coefficients and samples of each component, four bytes each, stand in memory at one time.
    if pixels * size.components.len() as u64 * 8 > MAX_WORK_BYTES || size.tiles > MAX_TILES {
        return Err(DecodeError::TooLarge);
    }
    let parameters = DecodeParameters::new().strict(true).ignore_pclr_cmap_cdef();
    let image = Image::from_bytes_with(bytes, parameters)
        .map_err(|_| DecodeError::Damaged { what: "the JPEG 2000 codestream" })?;
    let components = image.components();
    let whole = components.len() == size.components.len()
        && components.iter().all(|c| (c.width(), c.height()) == (size.columns, size.rows));
    if !whole {
        return Err(DecodeError::Unsupported { what: "JPEG 2000 with subsampled components" });
    }
    let mut values = vec![0_u16; usize::try_from(pixels).map_err(|_| DecodeError::TooLarge)? * components.len()];
    for (index, component) in components.iter().enumerate() {
        let bits = component.precision().clamp(1, 16);
        let places = values.iter_mut().skip(index).step_by(components.len());
        for (place, value) in places.zip(component.data()) {
            *place = cell(*value, bits, layout.signed);
        }
    }
    let colour = match (layout.samples, layout.photometric) {
        (1, _) => Colour::Single,
        // No transform inside of the codestream, so the samples are still what the data set says.
        (_, Photometric::YbrFull | Photometric::YbrFull422) => Colour::Ybr,
        _ => Colour::Rgb,
    };
    let mut frame = layout.coded(values, colour)?;
    if layout.signed && layout.stored < layout.allocated {
        // Sign-extended above: the codestream's own precision counts.
        frame.stored = layout.allocated;
    }
    Ok(frame)
}

/// The low 16 bits of a sample. Whether a codestream calls its samples signed is often wrong; the data set counts, and
/// then the sign is the highest bit of the codestream's precision.
fn cell(value: i32, bits: u32, signed: bool) -> u16 {
    let spare = 32 - bits;
    let [low, high, ..] = if signed { value << spare >> spare } else { value }.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// What SIZ says (T.800 §A.5.1).
struct Size {
    columns: u32,
    rows: u32,
    tiles: u64,
    components: Vec<Component>,
}

struct Component {
    precision: u32,
}

impl Size {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        // DICOM wants the bare codestream; some writers leave the JP2 boxes around it.
        let start = if bytes.starts_with(&START) {
            0
        } else {
            let head = bytes.get(..bytes.len().min(MAX_BOXES)).unwrap_or(bytes);
            head.windows(START.len())
                .position(|window| window == START)
                .ok_or(DecodeError::Damaged { what: "no JPEG 2000 codestream begins" })?
        };
        let segment = bytes.get(start + START.len() + 4..).ok_or(DecodeError::Truncated)?;
        let word = |index: usize| -> Result<u32, DecodeError> {
            let word = segment.get(index * 4..).and_then(|rest| rest.first_chunk());
            word.map(|word| u32::from_be_bytes(*word)).ok_or(DecodeError::Truncated)
        };
        let (x1, y1, x0, y0) = (word(0)?, word(1)?, word(2)?, word(3)?);
        let (tile_columns, tile_rows, tile_x0, tile_y0) = (word(4)?, word(5)?, word(6)?, word(7)?);
        let damaged = DecodeError::Damaged { what: "the sizes of a JPEG 2000 codestream" };
        let (columns, rows) = (x1.checked_sub(x0).ok_or(damaged)?, y1.checked_sub(y0).ok_or(damaged)?);
        if tile_columns == 0 || tile_rows == 0 || tile_x0 > x0 || tile_y0 > y0 {
            return Err(damaged);
        }
        let tiles = u64::from((x1 - tile_x0).div_ceil(tile_columns)) * u64::from((y1 - tile_y0).div_ceil(tile_rows));
        let count = segment.get(32..).and_then(|rest| rest.first_chunk()).ok_or(DecodeError::Truncated)?;
        let count = usize::from(u16::from_be_bytes(*count));
        if !matches!(count, 1 | 3) {
            return Err(DecodeError::Contradiction { what: "samples per pixel" });
        }
        let described = segment.get(34..34 + 3 * count).ok_or(DecodeError::Truncated)?;
        let mut components = Vec::with_capacity(count);
        for [depth, dx, dy] in described.as_chunks::<3>().0 {
            if (*dx, *dy) != (1, 1) {
                return Err(DecodeError::Unsupported { what: "JPEG 2000 with subsampled components" });
            }
            components.push(Component { precision: u32::from(depth & 0x7f) + 1 });
        }
        Ok(Self { columns, rows, tiles, components })
    }
}

/// SOC and SIZ.
const START: [u8; 4] = [0xff, 0x4f, 0xff, 0x51];
/// Bytes in which the codestream must begin, if boxes stand before it.
const MAX_BOXES: usize = 64 << 10;
/// Bytes that decoding one frame may need.
const MAX_WORK_BYTES: u64 = 1 << 30;
/// The decoder keeps some KiB for each tile.
const MAX_TILES: u64 = 16 << 10;
