//! Frames: one ranged read each, streamed, whatever the instance's size.
//!
//! Native frames are found by arithmetic from the index row. The table of encapsulated frames lies at the object's end: it
//! is read once and remembered ([`Tables`](super::Tables)). 1-bit frames that begin inside of a byte, and frames of a
//! deflated data set, are cut out of what surrounds them. Frames come in the syntax they are stored in, but for big endian
//! ones (PS3.18 §8.7.3 forbids it) and deflated ones, which come as explicit VR little endian.

use super::{
    Instance, RetrieveError, Target,
    cut::{Bits, Cut, Items, Misfit, Swap, item_len},
    frame_map::{FrameMap, turned},
    inflate::{Short, inflated},
    reader::Reader,
};
use crate::{
    Engine, Shared,
    access::{Access, Given},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use leadglass_index::InstanceRow;
use leadglass_model::{Permit, Read, SeriesUid, SopInstanceUid, StudyUid, TransferSyntaxUid};
use leadglass_seal::{Corruption, OpenError};
use leadglass_tap::{Framing, Syntax};
use std::{collections::VecDeque, ops::Range, pin::Pin, sync::Arc};

/// The frames of one instance, which the caller may read.
#[derive(Debug)]
pub struct Pixels {
    access: Arc<Access>,
    row: InstanceRow,
    reader: Reader,
    map: Arc<FrameMap>,
    /// Bytes of the numbers that are turned; one where none are.
    turned: usize,
    encoding: TransferSyntaxUid,
}

/// One frame, or one other value; nothing of it is read yet.
#[derive(Debug)]
pub struct Frame {
    pub(super) access: Arc<Access>,
    pub(super) reader: Reader,
    pub(super) place: Place,
    pub(super) cut: Cut,
    pub(super) len: Option<u64>,
    pub(super) counts: Given,
}

/// Where a frame's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In the body.
    Body(Range<u64>),
    /// In the data set that lies deflated in `body`.
    Inflated { body: Range<u64>, wanted: Range<u64> },
}

/// A frame's bytes as they are read. An error ends them: less came than was asked for.
pub type FrameStream = Pin<Box<dyn Stream<Item = Result<Bytes, RetrieveError>> + Send>>;

impl Engine {
    /// The frames of an instance: recorded, unlocked, located. Give out any number of them.
    ///
    /// Cancel safety: dropping the future may leave an access recorded that nobody used.
    pub async fn pixels(
        &self,
        permit: &Permit<Read>,
        session: [u8; 16],
        study: &StudyUid,
        series: &SeriesUid,
        instance: &SopInstanceUid,
    ) -> Result<Pixels, RetrieveError> {
        let target = Target::Instance(study.clone(), series.clone(), instance.clone());
        let found = self.shared.locate_one(permit, session, &target).await?;
        self.shared.pixels(found).await
    }
}

impl Shared {
    /// The frames of an instance that was located.
    pub(super) async fn pixels(self: &Arc<Self>, instance: Instance) -> Result<Pixels, RetrieveError> {
        let Instance { access, row, reader } = instance;
        let syntax = Syntax::of(&row.transfer_syntax);
        let map = self.frame_map(&row, &reader, syntax).await?;
        let turned = match *map {
            FrameMap::Native { offset, .. } => turned(&row, &reader, syntax, offset).await?,
            _ => 1,
        };
        let plain = syntax.framing == Framing::Native || row.transfer_syntax.as_str() == ENCAPSULATED_PLAIN;
        let encoding =
            if plain { TransferSyntaxUid::parse(EXPLICIT_LE).expect("it is one") } else { row.transfer_syntax.clone() };
        Ok(Pixels { access, row, reader, map, turned, encoding })
    }
}

impl Pixels {
    /// How many frames there are; `None` where they cannot be told apart.
    pub fn count(&self) -> Option<u32> {
        self.map.count()
    }

    /// How the frames that are given out are encoded: explicit VR little endian for all that is not compressed.
    pub const fn encoding(&self) -> &TransferSyntaxUid {
        &self.encoding
    }

    /// How the instance is stored.
    pub const fn transfer_syntax(&self) -> &TransferSyntaxUid {
        &self.row.transfer_syntax
    }

    /// Rows (0028,0010) and Columns (0028,0011), as far as the data set says.
    pub const fn size(&self) -> (Option<u16>, Option<u16>) {
        (self.row.rows, self.row.columns)
    }

    /// Bits Allocated (0028,0100).
    pub const fn bits_allocated(&self) -> Option<u16> {
        self.row.bits_allocated
    }

    /// Changes whenever the bytes do, and says nothing about them: for `ETag`.
    pub fn stamp(&self) -> [u8; 16] {
        super::stamp([self.row.object_id].iter())
    }

    /// Frame `number`, counted from 1.
    pub fn frame(&self, number: u32) -> Result<Frame, RetrieveError> {
        let frames = self.count().ok_or(RetrieveError::Inseparable)?;
        let index =
            number.checked_sub(1).filter(|index| *index < frames).ok_or(RetrieveError::NoSuchFrame { frames })?;
        let (place, cut, len) = self.place(u64::from(index)).ok_or(RetrieveError::NoSuchFrame { frames })?;
        let counts = Given { frames: 1, ..Given::default() };
        Ok(Frame { access: self.access.clone(), reader: self.reader.clone(), place, cut, len, counts })
    }

    fn place(&self, index: u64) -> Option<(Place, Cut, Option<u64>)> {
        let nth = |offset: u64, len: u64| {
            let start = offset.checked_add(index.checked_mul(len)?)?;
            Some(start..start.checked_add(len)?)
        };
        Some(match &*self.map {
            FrameMap::Nowhere | FrameMap::Inseparable => return None,
            FrameMap::Native { offset, frame_len, .. } => {
                let len = u64::from(*frame_len);
                if self.turned < 2 {
                    return Some((Place::Body(nth(*offset, len)?), Cut::Plain, Some(len)));
                }
                // A frame of an odd number of bytes begins or ends inside of a number.
                let (frame, width) = (nth(0, len)?, self.turned as u64);
                let skip = frame.start % width;
                let end = frame.end.checked_next_multiple_of(width)?;
                let range = offset.checked_add(frame.start - skip)?..offset.checked_add(end)?.min(self.row.body_len);
                (Place::Body(range), Cut::Swap(Swap::part(self.turned, usize::try_from(skip).ok()?, len)), Some(len))
            }
            FrameMap::Items(spans) => {
                let span = spans.get(usize::try_from(index).ok()?)?;
                let range = span.offset..span.offset.checked_add(span.len)?;
                (Place::Body(range), Cut::Items(Items::default()), None)
            }
            FrameMap::Bits { offset, frame_bits, .. } => {
                let bits = nth(0, *frame_bits)?;
                let at = |bit: u64| offset.checked_add(bit);
                let range = at(bits.start / 8)?..at(bits.end.div_ceil(8))?;
                let shift = u32::try_from(bits.start % 8).ok()?;
                (Place::Body(range), Cut::Bits(Bits::new(shift, *frame_bits)), Some(frame_bits.div_ceil(8)))
            }
            FrameMap::Inflated { offset, frame_len, .. } => {
                let len = u64::from(*frame_len);
                let body = self.row.dataset_start..self.row.body_len;
                (Place::Inflated { body, wanted: nth(*offset, len)? }, Cut::Plain, Some(len))
            }
        })
    }
}

impl Frame {
    /// Bytes of the frame, where that is known before it is read: always but for encapsulated frames.
    pub const fn len(&self) -> Option<u64> {
        self.len
    }

    /// Changes whenever the instance's bytes do, and says nothing about them: for `ETag`.
    pub fn stamp(&self) -> [u8; 16] {
        super::stamp([self.reader.object()].iter())
    }

    /// Whether it is known to have no bytes.
    pub const fn is_empty(&self) -> bool {
        matches!(self.len, Some(0))
    }

    /// Narrows it to its bytes `range`, so that no more is read. `false`, and nothing is changed, where only all of it can
    /// be read.
    pub fn narrow(&mut self, range: Range<u64>) -> bool {
        let (Place::Body(whole) | Place::Inflated { wanted: whole, .. }) = &mut self.place;
        let within = whole.start.checked_add(range.start).zip(whole.start.checked_add(range.end));
        match within {
            Some((start, end)) if matches!(self.cut, Cut::Plain) && start <= end && end <= whole.end => {
                *whole = start..end;
                self.len = Some(end - start);
                true
            }
            _ => false,
        }
    }

    /// Reads the frame's first bytes: that they are right is known when this answers, and for an encapsulated frame of
    /// one fragment its length too.
    ///
    /// Cancel safety: reads only. Dropping the stream stops the work within one run of chunks.
    pub async fn begin(self) -> Result<(Option<u64>, FrameStream), RetrieveError> {
        let Self { access, reader, place, cut, mut len, counts } = self;
        let clock = reader.shared.clock.clone();
        access.count(clock.now(), counts);
        let (covering, mut pieces): (u64, FrameStream) = match place {
            Place::Body(range) => (range.end - range.start, Box::pin(reader.viewed(range))),
            Place::Inflated { body, wanted } => {
                (wanted.end - wanted.start, Box::pin(inflated(reader.clone(), body, wanted, Short::Broken)))
            }
        };
        // An item's header may be cut by the border of a chunk.
        let (mut first, mut head) = (Vec::with_capacity(1), Vec::with_capacity(8));
        while let Some(piece) = pieces.try_next().await? {
            head.extend(piece.iter().take(8 - head.len()));
            first.push(Ok(piece));
            if head.len() == 8 {
                break;
            }
        }
        if let (Cut::Items(items), Some(head)) = (&cut, head.first_chunk::<8>())
            && items.is_one_frame()
        {
            let only = item_len(*head).map(u64::from).filter(|item| item.checked_add(8) == Some(covering));
            len = len.or(only);
        }
        let pieces = stream::iter(first).chain(pieces);
        let state = Cutting { pieces: Box::pin(pieces), cut, out: VecDeque::new(), over: false };
        let body = stream::try_unfold((state, reader), |(mut state, reader)| async move {
            let next = state.next().await;
            let next = next.map_err(|error| match error {
                CutError::Read(error) => error,
                CutError::Misfit => {
                    reader.damaged(OpenError::Corrupt { what: Corruption::Record { kind: FRAME_TABLE } })
                }
            })?;
            Ok(next.map(|piece| (piece, (state, reader))))
        });
        let body = body.inspect_ok(move |piece: &Bytes| {
            access.count(clock.now(), Given { bytes: piece.len() as u64, ..Given::default() });
        });
        Ok((len, Box::pin(body)))
    }

    /// The whole frame in one buffer; `None` where it has more than `max_bytes`.
    ///
    /// Cancel safety: reads only.
    pub async fn bytes(self, max_bytes: usize) -> Result<Option<Bytes>, RetrieveError> {
        let (len, mut pieces) = self.begin().await?;
        let expected = len.map_or(Ok(0), usize::try_from).unwrap_or(usize::MAX);
        if expected > max_bytes {
            return Ok(None);
        }
        let mut all = Vec::with_capacity(expected);
        while let Some(piece) = pieces.try_next().await? {
            if piece.len() > max_bytes - all.len() {
                return Ok(None);
            }
            all.extend_from_slice(&piece);
        }
        Ok(Some(all.into()))
    }
}

/// Cuts what comes.
struct Cutting {
    pieces: FrameStream,
    cut: Cut,
    out: VecDeque<Bytes>,
    over: bool,
}

enum CutError {
    Read(RetrieveError),
    Misfit,
}

impl From<Misfit> for CutError {
    fn from(Misfit: Misfit) -> Self {
        Self::Misfit
    }
}

impl Cutting {
    async fn next(&mut self) -> Result<Option<Bytes>, CutError> {
        loop {
            match self.out.pop_front() {
                Some(piece) if piece.is_empty() => {}
                Some(piece) => return Ok(Some(piece)),
                None if self.over || self.cut.is_over() => return Ok(None),
                None => {
                    let mut out = Vec::new();
                    match self.pieces.try_next().await.map_err(CutError::Read)? {
                        Some(piece) => self.cut.feed(piece, &mut out)?,
                        None => {
                            self.over = true;
                            self.cut.finish(&mut out)?;
                        }
                    }
                    self.out.extend(out);
                }
            }
        }
    }
}

/// PS3.5 §A.2.
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// Encapsulated uncompressed explicit VR little endian (PS3.5 §A.4.11): what the items hold is native.
const ENCAPSULATED_PLAIN: &str = "1.2.840.10008.1.2.1.98";
/// Record 01 (FORMAT §7).
const FRAME_TABLE: u8 = 0x01;
