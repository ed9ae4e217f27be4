//! Where each frame lies, so that one frame is one range read.
//!
//! Source: PS3.5 §8.1.1 (native), §A.4 (fragments and the basic offset table), PS3.3 §C.7.6.3.1.8 (extended offset
//! table). Offsets count from the first byte of the data set. A table is believed only where each entry is the start of
//! a real fragment.

use crate::{Framing, InstanceHeader, Limits, Tag};

/// A range of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSpan {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// The frames of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameTable {
    /// No pixels.
    None,
    /// Uncompressed frames, one after the other.
    Native {
        /// First byte of the first frame.
        offset: u64,
        /// How many.
        count: u32,
        /// Bytes of each.
        frame_len: u32,
    },
    /// Encapsulated frames: each span covers the items (tag, length, value) of all fragments of one frame.
    Table(Vec<FrameSpan>),
    /// There are pixels, and where a frame begins is not known: deflated, video, unaligned bits, contradictory tables.
    Unknown,
}

/// How the frames were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameSource {
    /// They were not.
    Nothing,
    /// By arithmetic.
    Native,
    /// (7FE0,0001).
    ExtendedOffsetTable,
    /// The first item of the fragments.
    BasicOffsetTable,
    /// As many fragments as frames.
    OneFragmentEach,
    /// All fragments are one frame.
    SingleFrame,
    /// By the first bytes of the codestreams.
    StartOfCodestream,
}

/// What the walk saw of pixels.
#[derive(Debug, Default)]
pub(crate) struct PixelScan {
    pub(crate) tag: Option<Tag>,
    native: Option<(u64, u32)>,
    encapsulated: bool,
    has_basic: bool,
    pub(crate) basic: Vec<u8>,
    pub(crate) extended: Vec<u8>,
    pub(crate) extended_big_endian: bool,
    fragments: Vec<Fragment>,
    pub(crate) too_many: bool,
}

#[derive(Debug, Clone, Copy)]
struct Fragment {
    at: u64,
    len: u32,
    head: [u8; 2],
}

const ITEM_HEADER: u64 = 8;

impl PixelScan {
    pub(crate) fn native(&mut self, tag: Tag, at: u64, len: u32) {
        self.tag = Some(tag);
        self.native = Some((at, len));
    }

    pub(crate) fn encapsulated(&mut self, tag: Tag) {
        self.tag = Some(tag);
        self.encapsulated = true;
    }

    /// A fragment begins. True when it is the basic offset table.
    pub(crate) fn fragment(&mut self, at: u64, len: u32, limits: &Limits) -> bool {
        if !self.has_basic {
            self.has_basic = true;
            return true;
        }
        if self.fragments.len() >= limits.fragments {
            self.too_many = true;
            self.fragments = Vec::new();
        }
        if !self.too_many {
            self.fragments.push(Fragment { at, len, head: [0; 2] });
        }
        false
    }

    /// The first bytes of the newest fragment.
    pub(crate) fn fragment_head(&mut self, head: [u8; 2]) {
        if let Some(fragment) = self.fragments.last_mut() {
            fragment.head = head;
        }
    }

    /// The frames, and whether fewer are there than declared.
    pub(crate) fn resolve(&self, header: &InstanceHeader, framing: Framing) -> (FrameTable, FrameSource, bool) {
        let Some(tag) = self.tag else { return (FrameTable::None, FrameSource::Nothing, false) };
        let declared = header.number_of_frames.unwrap_or(1).max(1);
        let unknown = (FrameTable::Unknown, FrameSource::Nothing, false);
        if let Some((at, len)) = self.native {
            // Defined length under a compressed syntax: whatever it is, arithmetic does not apply.
            if framing != Framing::Native {
                return unknown;
            }
            return match native_frame(header, tag, declared, len) {
                Some((frame_len, count)) => {
                    let table = FrameTable::Native { offset: at, count, frame_len };
                    (table, FrameSource::Native, count < declared)
                }
                None => unknown,
            };
        }
        if !self.encapsulated || self.too_many || framing == Framing::Video {
            return unknown;
        }
        match usize::try_from(declared) {
            Ok(declared) if declared <= Limits::FRAMES => match self.table(declared) {
                Some((spans, source)) => (FrameTable::Table(spans), source, false),
                None => unknown,
            },
            _ => unknown,
        }
    }

    /// In the order of trust.
    fn table(&self, declared: usize) -> Option<(Vec<FrameSpan>, FrameSource)> {
        let first = self.fragments.first()?.at.saturating_sub(ITEM_HEADER);
        let filled = || self.fragments.iter().filter(|f| f.len > 0);
        if self.extended_matches(declared, first) {
            return Some((self.fragments.iter().map(Fragment::span).collect(), FrameSource::ExtendedOffsetTable));
        }
        if let Some(spans) = self.basic_starts(declared, first).and_then(|starts| self.spans_from(&starts)) {
            return Some((spans, FrameSource::BasicOffsetTable));
        }
        if self.fragments.len() == declared {
            return Some((self.fragments.iter().map(Fragment::span).collect(), FrameSource::OneFragmentEach));
        }
        if declared == 1 {
            return Some((self.spans_from(&[first])?, FrameSource::SingleFrame));
        }
        if filled().count() == declared {
            return Some((filled().map(Fragment::span).collect(), FrameSource::OneFragmentEach));
        }
        let starts: Vec<u64> =
            self.fragments.iter().filter(|f| f.starts_codestream()).map(|f| f.at.saturating_sub(ITEM_HEADER)).collect();
        if starts.len() == declared && starts.first() == Some(&first) {
            return Some((self.spans_from(&starts)?, FrameSource::StartOfCodestream));
        }
        None
    }

    /// An extended table allows one fragment a frame only, so all it can say is that this holds.
    fn extended_matches(&self, declared: usize, first: u64) -> bool {
        let offsets = self.extended.as_chunks::<8>().0;
        offsets.len() == declared
            && self.fragments.len() == declared
            && offsets.iter().zip(&self.fragments).all(|(offset, fragment)| {
                let offset =
                    if self.extended_big_endian { u64::from_be_bytes(*offset) } else { u64::from_le_bytes(*offset) };
                first.checked_add(offset).and_then(|o| o.checked_add(ITEM_HEADER)) == Some(fragment.at)
            })
    }

    /// Offsets of the frames' first items, if the basic table is in order.
    fn basic_starts(&self, declared: usize, first: u64) -> Option<Vec<u64>> {
        let (offsets, rest) = self.basic.as_chunks::<4>();
        if offsets.len() != declared || !rest.is_empty() {
            return None;
        }
        let starts: Vec<u64> =
            offsets.iter().map(|o| first.saturating_add(u64::from(u32::from_le_bytes(*o)))).collect();
        let real =
            |start: &u64| self.fragments.binary_search_by_key(start, |f| f.at.saturating_sub(ITEM_HEADER)).is_ok();
        let rising = starts.is_sorted_by(|a, b| a < b);
        (starts.first() == Some(&first) && rising && starts.iter().all(real)).then_some(starts)
    }

    /// From each start to the next; the last one to the end of the last fragment.
    fn spans_from(&self, starts: &[u64]) -> Option<Vec<FrameSpan>> {
        let end = self.fragments.last()?.end();
        let ends = starts.iter().skip(1).copied().chain([end]);
        starts.iter().zip(ends).map(|(s, e)| Some(FrameSpan { offset: *s, len: e.checked_sub(*s)? })).collect()
    }
}

impl Fragment {
    fn span(&self) -> FrameSpan {
        FrameSpan { offset: self.at.saturating_sub(ITEM_HEADER), len: u64::from(self.len).saturating_add(ITEM_HEADER) }
    }

    fn end(&self) -> u64 {
        self.at.saturating_add(u64::from(self.len))
    }

    /// JPEG and JPEG-LS start with FFD8, JPEG 2000 with FF4F, JPEG XL with FF0A.
    const fn starts_codestream(&self) -> bool {
        matches!(self.head, [0xFF, 0xD8 | 0x4F | 0x0A])
    }
}

/// Bytes of a frame, and how many of them are both declared and there.
fn native_frame(header: &InstanceHeader, tag: Tag, declared: u32, len: u32) -> Option<(u32, u32)> {
    let bits = match tag.1 {
        0x0008 => 32,
        0x0009 => 64,
        _ => u64::from(header.bits_allocated?),
    };
    let pixels = u64::from(header.rows?).checked_mul(u64::from(header.columns?))?;
    let samples = u64::from(header.samples_per_pixel.unwrap_or(1).max(1));
    let full = pixels.checked_mul(samples)?.checked_mul(bits)?;
    // Chrominance of every second column only: two samples a pixel (PS3.3 §C.7.6.3.1.2). Some say so and write all three.
    let halved = pixels.checked_mul(2)?.checked_mul(bits)?;
    let subsampled = matches!(header.photometric_interpretation.as_deref(), Some("YBR_FULL_422" | "YBR_PARTIAL_422"))
        && samples == 3
        && full.div_ceil(8).checked_mul(u64::from(declared))? > u64::from(len);
    let frame_bits = if subsampled { halved } else { full };
    let frame_len = if frame_bits.is_multiple_of(8) || declared == 1 { frame_bits.div_ceil(8) } else { return None };
    let count = u64::from(len).checked_div(frame_len)?.min(u64::from(declared));
    if count == 0 {
        return None;
    }
    Some((u32::try_from(frame_len).ok()?, u32::try_from(count).ok()?))
}
