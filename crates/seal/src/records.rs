//! INDEX: typed records between BODY and FOOTER. What a rebuild of the index needs stands here, inside the object.
//!
//! Each record is `type(1) len(4) value(len)`, types ascending, each at most once. Types from 80 on are critical: a
//! reader that does not know one refuses the object. Lower ones it skips.
//! Source: FORMAT.md §7.

use crate::error::{Corruption, SealError};
use leadglass_model::{ObjectId, ReceiverId, StudyRef, TransferSyntaxUid, UnixMillis};
use std::ops::Range;

/// What an object says about itself, but for the content digest, which the sealer computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRecords {
    /// 80: what BODY is.
    pub kind: ObjectKind,
    /// 07: where the object belongs.
    pub lineage: Lineage,
    /// 02: where the data set and the pixels start.
    pub layout: Option<Layout>,
    /// 01 or 09: where each frame lies.
    pub frames: Frames,
    /// 03: how BODY is encoded.
    pub transfer_syntax: Option<TransferSyntaxUid>,
    /// 04: media type of BODY: visible ASCII, at most [`MAX_MEDIA_TYPE_LEN`] bytes.
    pub media_type: Option<String>,
    /// 06: who received it and when.
    pub provenance: Option<Provenance>,
}

/// Record 80.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// 01: a DICOM instance as a PS3.10 file.
    Instance,
    /// 02: a document as it was uploaded.
    Document,
    /// 03: made from other objects (thumbnail, rendered frame); a rebuild does not need it.
    Derived,
    /// 04: a decision that a rebuild must replay, as canonical JSON.
    Note,
}

/// Record 07.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lineage {
    /// The study that the object belongs to.
    pub study_ref: StudyRef,
    /// Version of this instance, or the number of this note.
    pub version: u32,
    /// The object that this one takes the place of.
    pub supersedes: Option<ObjectId>,
}

/// Record 02. Offsets into BODY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// First byte of the data set, after preamble and file meta.
    pub dataset_start: u64,
    /// First byte after the header of the Pixel Data element (encapsulated: the offset table's item tag), if there is one.
    pub pixel_value: Option<u64>,
}

/// Records 01 and 09: where frames lie in BODY.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Frames {
    /// Neither record: no pixels, deflated, unaligned 1-bit frames, or a framing that nobody knows.
    #[default]
    None,
    /// 09: equal frames, one after the other.
    Native {
        /// Start of the first frame.
        offset: u64,
        /// Number of frames, at least one.
        count: u32,
        /// Bytes of a frame, at least one.
        frame_len: u32,
    },
    /// 01: a span a frame. Encapsulated: the items of all fragments of the frame, item headers included.
    Table(Vec<FrameSpan>),
}

/// Bytes of one frame in BODY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameSpan {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// Record 06.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Provenance {
    /// What delivered the object.
    pub receiver: ReceiverId,
    /// When.
    pub received_at: UnixMillis,
}

/// The records of an object that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedRecords {
    /// What the writer said.
    pub records: ObjectRecords,
    /// 08: BLAKE3 of the content, that is of the data set for an instance whose layout is known, else of all of BODY.
    pub content_digest: Option<[u8; 32]>,
}

impl ObjectKind {
    /// The number in record 80.
    pub const fn number(self) -> u8 {
        match self {
            Self::Instance => 1,
            Self::Document => 2,
            Self::Derived => 3,
            Self::Note => 4,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Instance),
            2 => Some(Self::Document),
            3 => Some(Self::Derived),
            4 => Some(Self::Note),
            _ => None,
        }
    }
}

impl Frames {
    /// Number of frames.
    pub fn count(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Native { count, .. } => *count as usize,
            Self::Table(spans) => spans.len(),
        }
    }

    /// Where frame `number`, counted from zero, lies in BODY.
    pub fn span(&self, number: usize) -> Option<Range<u64>> {
        match self {
            Self::None => None,
            Self::Native { offset, count, frame_len } => {
                let number = u32::try_from(number).ok().filter(|n| n < count)?;
                let start = offset.checked_add(u64::from(number) * u64::from(*frame_len))?;
                Some(start..start.checked_add(u64::from(*frame_len))?)
            }
            Self::Table(spans) => {
                let span = spans.get(number)?;
                Some(span.offset..span.offset.checked_add(span.len)?)
            }
        }
    }

    fn fits(&self, body_len: u64) -> bool {
        let within = |offset: u64, len: u64| offset.checked_add(len).is_some_and(|end| end <= body_len);
        match self {
            Self::None => true,
            Self::Native { offset, count, frame_len } => {
                (1..=MAX_FRAMES).contains(count)
                    && *frame_len > 0
                    && within(*offset, u64::from(*count) * u64::from(*frame_len))
            }
            Self::Table(spans) => {
                spans.len() <= MAX_FRAMES as usize && spans.iter().all(|span| within(span.offset, span.len))
            }
        }
    }
}

impl Layout {
    fn fits(&self, body_len: u64) -> bool {
        self.dataset_start <= body_len && self.pixel_value.is_none_or(|at| at <= body_len && at != NO_PIXELS)
    }
}

impl ObjectRecords {
    /// Where the content that record 08 covers starts in BODY.
    pub fn content_start(&self) -> u64 {
        match (self.kind, self.layout) {
            (ObjectKind::Instance, Some(layout)) => layout.dataset_start,
            _ => 0,
        }
    }

    /// INDEX for a BODY of `body_len` bytes, padded where small objects are.
    pub(crate) fn encode(&self, content_digest: &[u8; 32], body_len: u64) -> Result<Vec<u8>, SealError> {
        let misfit = |kind| Err(SealError::Record { kind });
        let mut front = Vec::new();
        if let Frames::Table(spans) = &self.frames
            && !spans.is_empty()
        {
            if !self.frames.fits(body_len) {
                return misfit(FRAME_TABLE);
            }
            let count = u32::try_from(spans.len()).expect("at most 2^20");
            head(&mut front, FRAME_TABLE, 4 + 16 * count);
            front.extend_from_slice(&count.to_be_bytes());
            for span in spans {
                front.extend_from_slice(&span.offset.to_be_bytes());
                front.extend_from_slice(&span.len.to_be_bytes());
            }
        }
        if let Some(layout) = &self.layout {
            if !layout.fits(body_len) {
                return misfit(LAYOUT);
            }
            head(&mut front, LAYOUT, 16);
            front.extend_from_slice(&layout.dataset_start.to_be_bytes());
            front.extend_from_slice(&layout.pixel_value.unwrap_or(NO_PIXELS).to_be_bytes());
        }
        if let Some(uid) = &self.transfer_syntax {
            text(&mut front, TRANSFER_SYNTAX, uid.as_str());
        }
        if let Some(media_type) = &self.media_type {
            if !is_media_type(media_type.as_bytes()) {
                return misfit(MEDIA_TYPE);
            }
            text(&mut front, MEDIA_TYPE, media_type);
        }
        let mut back = Vec::with_capacity(160);
        if let Some(provenance) = &self.provenance {
            head(&mut back, PROVENANCE, 24);
            back.extend_from_slice(provenance.receiver.as_bytes());
            back.extend_from_slice(&provenance.received_at.0.to_be_bytes());
        }
        head(&mut back, LINEAGE, 36);
        back.extend_from_slice(self.lineage.study_ref.as_bytes());
        back.extend_from_slice(&self.lineage.version.to_be_bytes());
        back.extend_from_slice(self.lineage.supersedes.map_or([0; 16], |id| *id.as_bytes()).as_slice());
        head(&mut back, CONTENT_DIGEST, 32);
        back.extend_from_slice(content_digest);
        if let Frames::Native { offset, count, frame_len } = &self.frames {
            if !self.frames.fits(body_len) {
                return misfit(NATIVE_FRAMES);
            }
            head(&mut back, NATIVE_FRAMES, 16);
            back.extend_from_slice(&offset.to_be_bytes());
            back.extend_from_slice(&count.to_be_bytes());
            back.extend_from_slice(&frame_len.to_be_bytes());
        }
        head(&mut back, KIND, 1);
        back.push(self.kind.number());
        if front.len() + back.len() > MAX_RECORDS_LEN {
            return misfit(FRAME_TABLE);
        }
        if let Some(len) = padding_len(body_len, front.len() + back.len()) {
            head(&mut front, PADDING, len);
            front.resize(front.len() + len as usize, 0);
        }
        front.extend_from_slice(&back);
        Ok(front)
    }

    /// Parses INDEX of an object whose BODY has `body_len` bytes.
    pub fn parse(index: &[u8], body_len: u64) -> Result<OpenedRecords, Corruption> {
        let mut found = Found::default();
        let (mut rest, mut last, mut counted) = (index, None, 0);
        while !rest.is_empty() {
            let (&[kind, a, b, c, d], tail) = rest.split_first_chunk().ok_or(Corruption::RecordCut)?;
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            let (value, tail) = tail.split_at_checked(len).ok_or(Corruption::RecordCut)?;
            if last.is_some_and(|last| kind <= last) {
                return Err(Corruption::RecordOrder { kind });
            }
            if kind == PADDING {
                if len > MAX_PADDING_LEN {
                    return Err(Corruption::Record { kind });
                }
            } else {
                counted += len + RECORD_HEAD_LEN;
                if counted > MAX_RECORDS_LEN {
                    return Err(Corruption::TooLong { len: index.len() as u64 });
                }
                if kind >= CRITICAL_FROM && kind != KIND {
                    return Err(Corruption::RecordUnknown { kind });
                }
                found.take(kind, value, body_len).ok_or(Corruption::Record { kind })?;
            }
            last = Some(kind);
            rest = tail;
        }
        found.finish()
    }
}

#[derive(Default)]
struct Found {
    kind: Option<ObjectKind>,
    lineage: Option<Lineage>,
    layout: Option<Layout>,
    frames: Frames,
    transfer_syntax: Option<TransferSyntaxUid>,
    media_type: Option<String>,
    provenance: Option<Provenance>,
    content_digest: Option<[u8; 32]>,
}

impl Found {
    /// `None` where the value cannot be.
    fn take(&mut self, kind: u8, value: &[u8], body_len: u64) -> Option<()> {
        let mut value = Value(value);
        match kind {
            FRAME_TABLE => {
                let count = value.u32().filter(|count| (1..=MAX_FRAMES).contains(count))?;
                // The length is checked before anything is allocated for it.
                if value.0.len() != count as usize * 16 {
                    return None;
                }
                let spans = (0..count).map(|_| Some(FrameSpan { offset: value.u64()?, len: value.u64()? }));
                self.frames = Frames::Table(spans.collect::<Option<_>>()?);
                self.frames.fits(body_len).then_some(())?;
            }
            LAYOUT => {
                let (dataset_start, pixels) = (value.u64()?, value.u64()?);
                let layout = Layout { dataset_start, pixel_value: (pixels != NO_PIXELS).then_some(pixels) };
                self.layout = Some(layout).filter(|layout| layout.fits(body_len));
                self.layout?;
            }
            TRANSFER_SYNTAX => {
                let text = std::str::from_utf8(std::mem::take(&mut value.0)).ok()?;
                self.transfer_syntax = TransferSyntaxUid::parse(text).ok().filter(|uid| uid.as_str() == text);
                self.transfer_syntax.as_ref()?;
            }
            MEDIA_TYPE => {
                let bytes = std::mem::take(&mut value.0);
                is_media_type(bytes).then_some(())?;
                self.media_type = Some(std::str::from_utf8(bytes).ok()?.to_owned());
            }
            PROVENANCE => {
                let receiver = ReceiverId::from_bytes(value.array()?);
                self.provenance = Some(Provenance { receiver, received_at: UnixMillis(value.u64()?) });
            }
            LINEAGE => {
                let (study_ref, version) = (StudyRef::from_bytes(value.array()?), value.u32()?);
                let supersedes = Some(value.array()?).filter(|id| *id != [0; 16]).map(ObjectId::from_bytes);
                self.lineage = Some(Lineage { study_ref, version, supersedes });
            }
            CONTENT_DIGEST => self.content_digest = Some(value.array()?),
            NATIVE_FRAMES => {
                // 01 and 09 never stand together.
                matches!(self.frames, Frames::None).then_some(())?;
                self.frames = Frames::Native { offset: value.u64()?, count: value.u32()?, frame_len: value.u32()? };
                self.frames.fits(body_len).then_some(())?;
            }
            KIND => self.kind = Some(ObjectKind::from_number(u8::from_be_bytes(value.array()?))?),
            _ => value.0 = &[],
        }
        value.0.is_empty().then_some(())
    }

    fn finish(self) -> Result<OpenedRecords, Corruption> {
        let Self { kind, lineage, layout, frames, transfer_syntax, media_type, provenance, content_digest } = self;
        let lineage = lineage.ok_or(Corruption::RecordMissing { kind: LINEAGE })?;
        let kind = kind.ok_or(Corruption::RecordMissing { kind: KIND })?;
        let records = ObjectRecords { kind, lineage, layout, frames, transfer_syntax, media_type, provenance };
        Ok(OpenedRecords { records, content_digest })
    }
}

struct Value<'a>(&'a [u8]);

impl Value<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (&head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(head)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

fn head(out: &mut Vec<u8>, kind: u8, len: u32) {
    out.push(kind);
    out.extend_from_slice(&len.to_be_bytes());
}

fn text(out: &mut Vec<u8>, kind: u8, text: &str) {
    head(out, kind, u32::try_from(text.len()).expect("checked to be short"));
    out.extend_from_slice(text.as_bytes());
}

fn is_media_type(text: &[u8]) -> bool {
    (1..=MAX_MEDIA_TYPE_LEN).contains(&text.len()) && text.iter().all(|b| (0x20..0x7f).contains(b))
}

/// Length of the padding record's value, if a padding record is due: small objects are filled up to a multiple of
/// 16 KiB, since the size of a report or thumbnail tells the most.
fn padding_len(body_len: u64, records_len: usize) -> Option<u32> {
    let total = body_len.checked_add((records_len + crate::footer::FOOTER_LEN) as u64)?;
    if total > PADDED_UP_TO || total.is_multiple_of(PADDING_STEP) {
        return None;
    }
    let head = RECORD_HEAD_LEN as u64;
    let padded = (total + head).next_multiple_of(PADDING_STEP);
    u32::try_from(padded - total - head).ok()
}

/// Most frames of one object.
pub const MAX_FRAMES: u32 = 1 << 20;
/// Longest media type, bytes.
pub const MAX_MEDIA_TYPE_LEN: usize = 255;
/// Most bytes of INDEX without its padding record.
pub(crate) const MAX_RECORDS_LEN: usize = 16 << 20;
/// Most bytes of padding that a reader takes; writers stay below 16 KiB + 5.
pub(crate) const MAX_PADDING_LEN: usize = 1 << 20;
/// Most bytes of INDEX.
pub const MAX_INDEX_LEN: u64 = (MAX_RECORDS_LEN + RECORD_HEAD_LEN + MAX_PADDING_LEN) as u64;

const RECORD_HEAD_LEN: usize = 5;
const PADDED_UP_TO: u64 = 1 << 20;
const PADDING_STEP: u64 = 16 << 10;
const NO_PIXELS: u64 = u64::MAX;

const FRAME_TABLE: u8 = 0x01;
const LAYOUT: u8 = 0x02;
const TRANSFER_SYNTAX: u8 = 0x03;
const MEDIA_TYPE: u8 = 0x04;
const PADDING: u8 = 0x05;
const PROVENANCE: u8 = 0x06;
const LINEAGE: u8 = 0x07;
const CONTENT_DIGEST: u8 = 0x08;
const NATIVE_FRAMES: u8 = 0x09;
const CRITICAL_FROM: u8 = 0x80;
const KIND: u8 = 0x80;
