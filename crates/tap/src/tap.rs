//! One instance going by.

use crate::{
    BulkValue, Encoding, FrameSource, FrameTable, InstanceHeader, Limits, Syntax, WalkError, Walker, inflate::Inflater,
    scan::Scan,
};
use leadglass_model::{Fault, Phi, TransferSyntaxUid};

/// Why an instance cannot be understood. Positions count from the first byte of the (inflated) data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// The structure is broken.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The transfer syntax says deflated and the bytes are not.
    #[error("the deflate stream is broken")]
    NotDeflate,
    /// The bytes end inside of the deflate stream.
    #[error("the deflate stream breaks off at byte {at}")]
    DeflateTruncated {
        /// Compressed bytes read.
        at: u64,
    },
    /// More comes out of the deflate stream than is allowed.
    #[error("the deflate stream grows past the limit")]
    InflatesTooFar,
}

impl TapError {
    /// Always the sender's.
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }
}

/// What was met and lived with. None of it keeps an instance from being stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Marks {
    /// The data set was in this encoding, not in the declared one.
    pub other_encoding: Option<Encoding>,
    /// Single elements had no VR inside an explicit data set.
    pub implicit_elements: bool,
    /// Bytes after the last element: zeros, or the trailer of a deflate stream.
    pub trailing_bytes: u64,
    /// Text that its character set does not explain (bytes of it show as U+FFFD or Latin 1).
    pub undecodable_text: bool,
    /// Specific Character Set names something unknown.
    pub unknown_charset: bool,
    /// A binary number was cut short.
    pub ragged_numbers: bool,
    /// An element occurs twice; the first one counts.
    pub repeated_elements: bool,
    /// Elements do not ascend.
    pub out_of_order: bool,
    /// An identifying attribute was longer than is kept.
    pub header_cut: bool,
    /// An identifying attribute was no UID where it had to be, or not readable text.
    pub header_not_understood: bool,
    /// More elements or metadata than are kept: there is no JSON.
    pub metadata_cut: bool,
    /// More fragments than are kept: there is no frame table.
    pub frames_cut: bool,
    /// Fewer frames are there than Number of Frames says.
    pub frames_missing: bool,
    /// The data set was deflated: bulk places count in the inflated bytes, and there is no frame table.
    pub deflated: bool,
}

/// What an instance turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tapped {
    /// Identifying and indexed attributes.
    pub header: InstanceHeader,
    /// DICOM JSON (PS3.18 Annex F), one object; `None` past a limit.
    pub metadata_json: Option<Phi<Vec<u8>>>,
    /// Where the frames lie, from the start of the data set.
    pub frames: FrameTable,
    /// How that was found.
    pub frame_source: FrameSource,
    /// Where the values lie that the metadata point at; in the order of the data set.
    pub bulk: Vec<BulkValue>,
    /// Bytes of the data set as received.
    pub dataset_len: u64,
    /// First byte behind the pixel data element's header: its value, or the item tag of its offset table. `None` also where
    /// the data set is deflated.
    pub pixel_value_offset: Option<u64>,
    /// Elements at all levels.
    pub elements: u64,
    /// Sequences and items that were open at once.
    pub deepest: usize,
    /// What was not by the book.
    pub marks: Marks,
}

/// Watches one data set.
#[derive(Debug)]
pub struct Tap {
    walker: Walker,
    scan: Scan,
    syntax: Syntax,
    inflater: Option<Inflater>,
    received: u64,
    failed: Option<TapError>,
}

impl Tap {
    /// A tap for the bytes of a data set (no preamble, no file meta) in a transfer syntax. One that is unknown or private
    /// is read as explicit VR little endian with encapsulated pixels.
    pub fn new(transfer_syntax: &TransferSyntaxUid, limits: Limits) -> Self {
        Self::with_syntax(Syntax::of(transfer_syntax), limits)
    }

    /// The same for a syntax that is already looked up.
    pub fn with_syntax(syntax: Syntax, limits: Limits) -> Self {
        Self {
            walker: Walker::new(syntax.encoding, limits.depth),
            scan: Scan::new(limits),
            syntax,
            inflater: syntax.deflated.then(Inflater::new),
            received: 0,
            failed: None,
        }
    }

    /// Takes the next bytes, cut anywhere. An error is final.
    pub fn feed(&mut self, data: &[u8]) -> Result<(), TapError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.received = self.received.saturating_add(data.len() as u64);
        let Self { walker, scan, inflater, .. } = self;
        let fed = match inflater {
            None => walker.feed(data, scan).map_err(TapError::from),
            Some(inflater) => {
                let limits = scan.limits;
                inflater.feed(data, &limits, |piece| Ok(walker.feed(piece, scan)?))
            }
        };
        self.failed = fed.err();
        fed
    }

    /// What is known so far. Elements ascend, so Study Instance UID is here long before the pixels.
    pub const fn so_far(&self) -> &InstanceHeader {
        &self.scan.header
    }

    /// The values that the metadata point at, as far as they have begun; none once the metadata are past a limit.
    pub fn bulk_so_far(&self) -> &[BulkValue] {
        self.scan.json.bulk()
    }

    /// The data set is over. An error also where it breaks off in the middle.
    pub fn finish(mut self) -> Result<Tapped, TapError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.inflater.as_ref().is_some_and(|i| !i.is_complete()) {
            return Err(TapError::DeflateTruncated { at: self.received });
        }
        self.walker.finish()?;
        let deflated = self.inflater.is_some();
        let Scan { header, json, pixels, pixel_value_offset, mut marks, .. } = self.scan;
        let odd = self.walker.oddities();
        marks.other_encoding = odd.encoding;
        marks.implicit_elements = odd.implicit_elements;
        marks.trailing_bytes = odd.trailing_zeros.saturating_add(self.inflater.map_or(0, |i| i.trailing));
        marks.repeated_elements = json.repeated;
        marks.out_of_order = json.out_of_order;
        marks.metadata_cut = json.is_cut();
        marks.frames_cut = pixels.too_many;
        marks.deflated = deflated;
        let (frames, frame_source) = if deflated && pixels.tag.is_some() {
            (FrameTable::Unknown, FrameSource::Nothing)
        } else {
            let (table, source, missing) = pixels.resolve(&header, self.syntax.framing);
            marks.frames_missing = missing;
            (table, source)
        };
        let (metadata_json, bulk) = match json.finish() {
            Some((json, bulk)) => (Some(Phi::new(json)), bulk),
            None => (None, Vec::new()),
        };
        Ok(Tapped {
            header,
            metadata_json,
            frames,
            frame_source,
            bulk,
            dataset_len: self.received,
            pixel_value_offset: pixel_value_offset.filter(|_| !deflated),
            elements: self.walker.elements(),
            deepest: self.walker.deepest(),
            marks,
        })
    }
}
