//! The marker segments of a JPEG and what they say.

use super::{Plane, huffman::Huffman};
use crate::decode::{DecodeError, Unread};

/// A reader of marker segments, and what it has seen.
pub(super) struct Head<'a> {
    bytes: &'a [u8],
    at: usize,
    frame: Option<FrameHead>,
    tables: Tables,
    /// The transform in Adobe's APP14 segment.
    pub(super) adobe: Option<u8>,
    /// Whether there is a JFIF segment.
    pub(super) jfif: bool,
    scans: usize,
}

/// Tables that a scan refers to.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) dc: [Option<Huffman>; 4],
    pub(super) ac: [Option<Huffman>; 4],
    pub(super) quantizers: [Option<[u16; 64]>; 4],
    /// MCUs between restart markers; 0: there are none.
    pub(super) restart: usize,
}

/// A frame header (T.81 §B.2.2).
pub(super) struct FrameHead {
    pub(super) process: Process,
    pub(super) precision: u8,
    pub(super) rows: u32,
    pub(super) columns: u32,
    pub(super) components: Vec<Component>,
    /// The largest sampling factors.
    pub(super) most: (usize, usize),
}

pub(super) struct Component {
    pub(super) id: u8,
    pub(super) h: usize,
    pub(super) v: usize,
    pub(super) quantizer: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    Dct,
    Progressive,
    Lossless,
}

/// A scan header (T.81 §B.2.3).
pub(super) struct Scan {
    pub(super) components: Vec<ScanComponent>,
    /// Ss: in a lossless scan the predictor, in a progressive one the first coefficient.
    pub(super) predictor: u8,
    /// Se: in a progressive scan the last coefficient.
    pub(super) end: u8,
    /// Ah: in a progressive scan the lowest bit that came before; 0: none did.
    pub(super) high: u8,
    /// Al: in a lossless scan the point transform, in a progressive one the lowest bit that comes.
    pub(super) point: u8,
}

pub(super) struct ScanComponent {
    /// Index into the frame's components.
    pub(super) component: usize,
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// What the reader came to.
pub(super) enum Step {
    Frame,
    Scan(Scan),
    End,
}

impl<'a> Head<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, frame: None, tables: Tables::default(), adobe: None, jfif: false, scans: 0 }
    }

    pub(super) fn frame(&self) -> Result<&FrameHead, DecodeError> {
        self.frame.as_ref().ok_or(DecodeError::Damaged { what: "a scan without a frame header" })
    }

    pub(super) const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// What follows the segment that was read last.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Goes on behind `used` bytes of entropy-coded data.
    pub(super) fn skip(&mut self, used: usize) {
        self.at = self.at.saturating_add(used);
    }

    /// Reads segments up to the next frame or scan header.
    pub(super) fn step(&mut self) -> Result<Step, DecodeError> {
        loop {
            let marker = self.marker()?;
            match marker {
                0xd8 | 0x01 | 0xd0..=0xd7 => {}
                0xd9 => return Ok(Step::End),
                _ => {
                    let segment = self.segment()?;
                    match marker {
                        0xc0..=0xc3 => {
                            self.frame_header(marker, segment)?;
                            return Ok(Step::Frame);
                        }
                        0xc4 => self.huffman(segment)?,
                        0xc9..=0xcf => return Err(DecodeError::Unread(Unread::JpegArithmetic)),
                        0xc5..=0xc8 | 0xde | 0xdf => return Err(DecodeError::Unread(Unread::JpegHierarchical)),
                        0xda => return self.scan_header(segment).map(Step::Scan),
                        0xdb => self.quantizer(segment)?,
                        0xdc => return Err(DecodeError::Unread(Unread::JpegHeight)),
                        0xdd => {
                            let value = segment.first_chunk().ok_or(DecodeError::Truncated)?;
                            self.tables.restart = usize::from(u16::from_be_bytes(*value));
                        }
                        0xe0 if segment.starts_with(b"JFIF\0") => self.jfif = true,
                        0xee if segment.starts_with(b"Adobe") => self.adobe = segment.get(11).copied(),
                        _ => {}
                    }
                }
            }
        }
    }

    /// The next marker's code; bytes before it, which no writer should leave, are passed over.
    fn marker(&mut self) -> Result<u8, DecodeError> {
        loop {
            let rest = self.rest();
            let found = rest.windows(2).position(|pair| matches!(pair, [0xff, code] if !matches!(code, 0 | 0xff)));
            let at = found.ok_or(DecodeError::Truncated)?;
            self.at += at + 2;
            if let Some(code) = rest.get(at + 1) {
                return Ok(*code);
            }
        }
    }

    fn segment(&mut self) -> Result<&'a [u8], DecodeError> {
        let rest = self.rest();
        let len = rest.first_chunk().map(|len| usize::from(u16::from_be_bytes(*len))).ok_or(DecodeError::Truncated)?;
        self.at += len;
        rest.get(2..len).ok_or(DecodeError::Truncated)
    }

    fn frame_header(&mut self, marker: u8, segment: &[u8]) -> Result<(), DecodeError> {
        if self.frame.is_some() {
            return Err(DecodeError::Damaged { what: "two frame headers" });
        }
        let ([precision, y0, y1, x0, x1, count], rest) =
            segment.split_first_chunk::<6>().ok_or(DecodeError::Truncated)?;
        let process = match marker {
            0xc2 => Process::Progressive,
            0xc3 => Process::Lossless,
            _ => Process::Dct,
        };
        let precise = match process {
            Process::Dct | Process::Progressive => matches!(precision, 8 | 12),
            Process::Lossless => matches!(precision, 2..=16),
        };
        if !precise {
            return Err(DecodeError::Unread(Unread::JpegPrecision));
        }
        let described = rest.get(..usize::from(*count) * 3).ok_or(DecodeError::Truncated)?;
        let mut components = Vec::with_capacity(3);
        for [id, sampling, quantizer] in described.as_chunks::<3>().0 {
            let (h, v) = (usize::from(sampling >> 4), usize::from(sampling & 15));
            let fits = (1..=4).contains(&h) && (1..=4).contains(&v) && *quantizer < 4;
            if components.len() == 3 {
                return Err(DecodeError::Unread(Unread::JpegComponents));
            }
            if !fits {
                return Err(DecodeError::Damaged { what: "a component of JPEG" });
            }
            components.push(Component { id: *id, h, v, quantizer: usize::from(*quantizer) });
        }
        let most =
            (components.iter().map(|c| c.h).max().unwrap_or(1), components.iter().map(|c| c.v).max().unwrap_or(1));
        let plain = components.iter().all(|c| most.0.is_multiple_of(c.h) && most.1.is_multiple_of(c.v));
        if !plain || (process == Process::Lossless && components.iter().any(|c| (c.h, c.v) != most)) {
            return Err(DecodeError::Unread(Unread::JpegSubsampling));
        }
        self.frame = Some(FrameHead {
            process,
            precision: *precision,
            rows: u32::from(u16::from_be_bytes([*y0, *y1])),
            columns: u32::from(u16::from_be_bytes([*x0, *x1])),
            components,
            most,
        });
        Ok(())
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Result<(), DecodeError> {
        while let Some((class, rest)) = segment.split_first() {
            let (table, rest) = Huffman::read(rest)?;
            segment = rest;
            let list = match class >> 4 {
                0 => &mut self.tables.dc,
                1 => &mut self.tables.ac,
                _ => return Err(DecodeError::Damaged { what: "a Huffman table" }),
            };
            let slot = list.get_mut(usize::from(class & 15));
            *slot.ok_or(DecodeError::Damaged { what: "a Huffman table" })? = Some(table);
        }
        Ok(())
    }

    fn quantizer(&mut self, mut segment: &[u8]) -> Result<(), DecodeError> {
        while let Some((head, rest)) = segment.split_first() {
            let wide = head >> 4 != 0;
            let len = if wide { 128 } else { 64 };
            let (values, rest) = rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
            segment = rest;
            let mut table = [0; 64];
            if wide {
                for (slot, value) in table.iter_mut().zip(values.as_chunks::<2>().0) {
                    *slot = u16::from_be_bytes(*value);
                }
            } else {
                for (slot, value) in table.iter_mut().zip(values) {
                    *slot = u16::from(*value);
                }
            }
            let slot = self.tables.quantizers.get_mut(usize::from(head & 15));
            *slot.ok_or(DecodeError::Damaged { what: "a quantization table" })? = Some(table);
        }
        Ok(())
    }

    fn scan_header(&mut self, segment: &[u8]) -> Result<Scan, DecodeError> {
        let damaged = DecodeError::Damaged { what: "a scan header of JPEG" };
        let frame = self.frame.as_ref().ok_or(DecodeError::Damaged { what: "a scan without a frame header" })?;
        let most = if frame.process == Process::Progressive { MAX_PROGRESSIVE_SCANS } else { MAX_SCANS };
        self.scans += 1;
        if self.scans > most {
            return Err(damaged);
        }
        let (count, rest) = segment.split_first().ok_or(DecodeError::Truncated)?;
        let (described, rest) = rest.split_at_checked(usize::from(*count) * 2).ok_or(DecodeError::Truncated)?;
        let mut components: Vec<ScanComponent> = Vec::with_capacity(3);
        for [id, tables] in described.as_chunks::<2>().0 {
            let component = frame.components.iter().position(|c| c.id == *id).ok_or(damaged)?;
            let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            if dc > 3 || ac > 3 || components.iter().any(|c| c.component == component) {
                return Err(damaged);
            }
            components.push(ScanComponent { component, dc, ac });
        }
        let [predictor, end, approximation] = rest.first_chunk::<3>().ok_or(DecodeError::Truncated)?;
        if components.is_empty() {
            return Err(damaged);
        }
        Ok(Scan { components, predictor: *predictor, end: *end, high: approximation >> 4, point: approximation & 15 })
    }
}

impl FrameHead {
    /// Room for the samples of each component. Bounded by the layout that the frame was compared with: a component has at
    /// most as many samples as the picture, rounded up to whole MCUs of 32 × 32.
    pub(super) fn planes(&self) -> Result<Vec<Plane>, DecodeError> {
        let whole = |n: u32| usize::try_from(n).map_err(|_| DecodeError::TooLarge);
        let (columns, rows) = (whole(self.columns)?, whole(self.rows)?);
        let plane = |component: &Component| {
            let real = |n: usize, factor: usize, most: usize| (n * factor).div_ceil(most);
            let (plane_columns, plane_rows) =
                (real(columns, component.h, self.most.0), real(rows, component.v, self.most.1));
            let padded = |n: usize, factor: usize, most: usize| n.div_ceil(8 * most) * factor * 8;
            let (stride, height) = match self.process {
                Process::Dct | Process::Progressive => {
                    (padded(columns, component.h, self.most.0), padded(rows, component.v, self.most.1))
                }
                Process::Lossless => (columns, rows),
            };
            Plane { stride, columns: plane_columns, rows: plane_rows, samples: vec![0; stride * height], done: false }
        };
        Ok(self.components.iter().map(plane).collect())
    }
}

/// A frame of three components has three scans at most; more would only burn time.
const MAX_SCANS: usize = 16;
/// Coders in use make ten, those that try hard some twenty; each runs over the whole picture.
const MAX_PROGRESSIVE_SCANS: usize = 64;
