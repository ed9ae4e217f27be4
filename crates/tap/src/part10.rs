//! PS3.10 files: preamble, file meta, data set.
//!
//! [`HeadReader`] reads a head pushed in pieces, by the same walker as everything else; [`write_head`] makes ours;
//! [`Part10Tap`] watches a whole file. A preamble may be missing, and file meta too (both occur in archives): then the
//! first element says how the data set is written.
//!
//! Source: PS3.10 §7.1 and Table 7.1-1.

use crate::{Element, Encoding, Framing, Limits, Syntax, Tag, Tap, TapError, Tapped, Visitor, WalkError, Walker, Want};
use leadglass_model::{Fault, SopClassUid, SopInstanceUid, TransferSyntaxUid};

/// Names this implementation (PS3.7 §D.3.3.2), in file meta and in association negotiation.
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.291033614915649893281617458663709635528";
/// Names the release (at most 16 characters).
pub const IMPLEMENTATION_VERSION_NAME: &str = "LEADGLASS_0_1";

/// Bytes in front of the file meta: 128 free ones and `DICM`.
pub const PREAMBLE: usize = 132;
/// Bytes of file meta that are read; private information in it can be large, but not larger.
pub const MAX_META: u64 = 1 << 20;
/// Bytes of one file meta value that are kept; a UID has 64.
const MAX_VALUE: u32 = 128;

/// Why bytes are no PS3.10 file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Part10Error {
    /// Neither a preamble nor file meta nor an element that a data set can begin with.
    #[error("this is no DICOM file")]
    NotDicom,
    /// The bytes end before a data set begins.
    #[error("the file breaks off at byte {at}, inside of its head")]
    Truncated {
        /// How many bytes there were.
        at: u64,
    },
    /// More file meta than is read.
    #[error("the file meta information is larger than 1 MiB")]
    MetaTooLarge,
    /// The file meta is broken; positions count from its first byte.
    #[error("the file meta information is broken: {0}")]
    Meta(WalkError),
    /// The data set is broken; positions count from its first byte.
    #[error(transparent)]
    DataSet(#[from] TapError),
}

impl Part10Error {
    /// Always the sender's.
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }
}

/// File meta information (group 0002), as far as it matters. `None` is absent or not understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileMeta {
    /// (0002,0002).
    pub sop_class: Option<SopClassUid>,
    /// (0002,0003).
    pub sop_instance_uid: Option<SopInstanceUid>,
    /// (0002,0010).
    pub transfer_syntax: Option<TransferSyntaxUid>,
    /// (0002,0012).
    pub implementation_class_uid: Option<String>,
    /// (0002,0013).
    pub implementation_version_name: Option<String>,
    /// (0002,0016).
    pub source_ae_title: Option<String>,
}

/// A head that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What it says; empty where the file has none.
    pub meta: FileMeta,
    /// How the data set is to be read.
    pub syntax: Syntax,
    /// Where the data set begins in the file.
    pub dataset_start: u64,
    /// Bytes of the data set that were already taken: to be fed to a [`Tap`] before the rest of the piece.
    pub carried: Vec<u8>,
}

/// Reads the head of a file pushed in pieces.
#[derive(Debug)]
pub struct HeadReader {
    start: Vec<u8>,
    meta: Option<(Walker, MetaValues, u64)>,
    taken: u64,
}

/// What [`HeadReader::feed`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadStep {
    /// All bytes were taken; the head goes on.
    More,
    /// The head is over; of the piece just given, the data set goes on at byte `used`.
    Done {
        /// The head.
        head: Box<Head>,
        /// Bytes of the piece that belong to the head or are in [`Head::carried`].
        used: usize,
    },
}

impl Default for HeadReader {
    fn default() -> Self {
        Self::new()
    }
}

impl HeadReader {
    /// A reader at the first byte of a file.
    pub const fn new() -> Self {
        Self { start: Vec::new(), meta: None, taken: 0 }
    }

    /// Takes the next piece.
    pub fn feed(&mut self, data: &[u8]) -> Result<HeadStep, Part10Error> {
        let mut used = 0;
        if self.meta.is_none() {
            let room = PREAMBLE.saturating_sub(self.start.len()).min(data.len());
            self.start.extend_from_slice(data.get(..room).unwrap_or_default());
            used = room;
            if self.start.len() < PREAMBLE {
                return Ok(HeadStep::More);
            }
            if let Some(head) = self.begin()? {
                return Ok(HeadStep::Done { head: Box::new(head), used });
            }
        }
        let rest = data.get(used..).unwrap_or_default();
        Ok(match self.walk_meta(rest)? {
            None => HeadStep::More,
            Some((head, of_rest)) => HeadStep::Done { head: Box::new(head), used: used.saturating_add(of_rest) },
        })
    }

    /// The file is over and no head was done: a short file without preamble may still be one.
    pub fn finish(mut self) -> Result<Head, Part10Error> {
        if self.meta.is_none() {
            let at = self.start.len() as u64;
            if Start::of(&self.start).is_none() {
                return Err(if at < 8 { Part10Error::Truncated { at } } else { Part10Error::NotDicom });
            }
            if let Some(head) = self.begin()? {
                return Ok(head);
            }
        }
        let Some((mut walker, values, _)) = self.meta else { return Err(Part10Error::NotDicom) };
        // File meta and nothing after it.
        walker.finish().map_err(Part10Error::Meta)?;
        Ok(Head {
            syntax: values.meta.transfer_syntax.as_ref().map_or(Syntax::EXPLICIT_LE, Syntax::of),
            meta: values.meta,
            dataset_start: self.taken,
            carried: Vec::new(),
        })
    }

    /// Decides what the first bytes are. A head at once where there is no file meta.
    fn begin(&mut self) -> Result<Option<Head>, Part10Error> {
        let start = std::mem::take(&mut self.start);
        let skip = match Start::of(&start).ok_or(Part10Error::NotDicom)? {
            Start::Preamble => PREAMBLE,
            Start::Meta => 0,
            Start::DataSet(syntax) => {
                let meta = FileMeta::default();
                return Ok(Some(Head { meta, syntax, dataset_start: 0, carried: start }));
            }
        };
        self.taken = skip as u64;
        self.meta = Some((Walker::of_group(Encoding::ExplicitLe, 0, 0x0002), MetaValues::default(), self.taken));
        let rest = start.get(skip..).unwrap_or_default();
        let Some((mut head, used)) = self.walk_meta(rest)? else { return Ok(None) };
        head.carried.extend_from_slice(rest.get(used..).unwrap_or_default());
        Ok(Some(head))
    }

    fn walk_meta(&mut self, data: &[u8]) -> Result<Option<(Head, usize)>, Part10Error> {
        let Some((walker, values, base)) = &mut self.meta else { return Ok(None) };
        let used = walker.feed_some(data, values).map_err(Part10Error::Meta)?;
        self.taken = base.saturating_add(walker.position());
        if walker.position() > MAX_META {
            return Err(Part10Error::MetaTooLarge);
        }
        let Some(carried) = walker.leftover() else { return Ok(None) };
        let syntax = match &values.meta.transfer_syntax {
            Some(uid) => Syntax::of(uid),
            // The default; the walker sees by itself where it is not so.
            None => guess(carried).unwrap_or(Syntax::IMPLICIT_LE),
        };
        let head = Head { meta: values.meta.clone(), syntax, dataset_start: self.taken, carried: carried.to_vec() };
        Ok(Some((head, used)))
    }
}

/// What a file begins with.
enum Start {
    Preamble,
    Meta,
    DataSet(Syntax),
}

impl Start {
    fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.get(128..PREAMBLE) == Some(b"DICM") {
            return Some(Self::Preamble);
        }
        match bytes {
            [0x02, 0x00, _, 0x00, ..] => Some(Self::Meta),
            _ => guess(bytes).map(Self::DataSet),
        }
    }
}

/// The syntax of a data set that nobody declares, by its first element: it must be of group 0008.
fn guess(bytes: &[u8]) -> Option<Syntax> {
    let native = |encoding| Some(Syntax { encoding, framing: Framing::Native, deflated: false });
    match bytes {
        [0x08, 0x00, _, _, a, b, _, _, ..] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => {
            native(Encoding::ExplicitLe)
        }
        [0x00, 0x08, _, _, a, b, _, _, ..] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => {
            native(Encoding::ExplicitBe)
        }
        // Of a length that a first element has.
        [0x08, 0x00, _, _, _, _, 0, 0, ..] => native(Encoding::ImplicitLe),
        _ => None,
    }
}

/// Collects the values of file meta.
#[derive(Debug, Default)]
struct MetaValues {
    meta: FileMeta,
    tag: Option<Tag>,
    buffer: Vec<u8>,
}

impl Visitor for MetaValues {
    fn value(&mut self, element: &Element) -> Want {
        let wanted = matches!(element.tag.1, 0x0002 | 0x0003 | 0x0010 | 0x0012 | 0x0013 | 0x0016);
        self.tag = Some(element.tag);
        self.buffer.clear();
        if wanted && element.len.is_some_and(|len| len <= MAX_VALUE) { Want::Bytes } else { Want::Nothing }
    }

    fn bytes(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    fn value_end(&mut self) {
        let text = String::from_utf8_lossy(&self.buffer);
        let plain = || Some(text.trim_matches([' ', '\0']).to_owned()).filter(|t| !t.is_empty());
        let meta = &mut self.meta;
        match self.tag.map(|t| t.1) {
            Some(0x0002) => meta.sop_class = SopClassUid::parse(&text).ok(),
            Some(0x0003) => meta.sop_instance_uid = SopInstanceUid::parse(&text).ok(),
            Some(0x0010) => meta.transfer_syntax = TransferSyntaxUid::parse(&text).ok(),
            Some(0x0012) => meta.implementation_class_uid = plain(),
            Some(0x0013) => meta.implementation_version_name = plain(),
            Some(0x0016) => meta.source_ae_title = plain(),
            _ => {}
        }
    }

    // A walker of depth 0 opens none of these.
    fn sequence(&mut self, _: &Element) {}
    fn sequence_end(&mut self) {}
    fn item(&mut self) {}
    fn item_end(&mut self) {}
    fn fragments(&mut self, _: &Element) {}
    fn fragment(&mut self, _: u64, _: u32) -> Want {
        Want::Nothing
    }
    fn fragments_end(&mut self, _: u64) {}
}

/// Our preamble and file meta for a data set as received. `source_ae_title` is cut to 16 characters; one that is not
/// printable ASCII is left out.
pub fn write_head(
    sop_class: &SopClassUid,
    sop_instance_uid: &SopInstanceUid,
    transfer_syntax: &TransferSyntaxUid,
    source_ae_title: Option<&str>,
) -> Vec<u8> {
    let mut meta = Vec::with_capacity(512);
    meta.extend_from_slice(&[0x02, 0x00, 0x01, 0x00, b'O', b'B', 0, 0, 2, 0, 0, 0, 0x00, 0x01]);
    short(&mut meta, 0x0002, *b"UI", sop_class.as_str(), 0);
    short(&mut meta, 0x0003, *b"UI", sop_instance_uid.expose(), 0);
    short(&mut meta, 0x0010, *b"UI", transfer_syntax.as_str(), 0);
    short(&mut meta, 0x0012, *b"UI", IMPLEMENTATION_CLASS_UID, 0);
    short(&mut meta, 0x0013, *b"SH", IMPLEMENTATION_VERSION_NAME, b' ');
    if let Some(title) = source_ae_title.map(str::trim).filter(|t| t.bytes().all(|b| (0x20..0x7F).contains(&b))) {
        let title = title.get(..title.len().min(16)).unwrap_or_default().trim_end();
        if !title.is_empty() {
            short(&mut meta, 0x0016, *b"AE", title, b' ');
        }
    }
    let mut head = vec![0; 128];
    head.extend_from_slice(b"DICM");
    head.extend_from_slice(&[0x02, 0x00, 0x00, 0x00, b'U', b'L', 4, 0]);
    head.extend_from_slice(&u32::try_from(meta.len()).unwrap_or(u32::MAX).to_le_bytes());
    head.extend_from_slice(&meta);
    head
}

/// An element of group 0002 with a 16-bit length. All values here are far shorter than that.
fn short(out: &mut Vec<u8>, element: u16, vr: [u8; 2], text: &str, pad: u8) {
    let odd = text.len() % 2;
    out.extend_from_slice(&[0x02, 0x00]);
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(&vr);
    out.extend_from_slice(&u16::try_from(text.len().saturating_add(odd)).unwrap_or_default().to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    if odd == 1 {
        out.push(pad);
    }
}

/// A whole file that was watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TappedFile {
    /// File meta; empty where the file has none.
    pub meta: FileMeta,
    /// How the data set was read.
    pub syntax: Syntax,
    /// Where the data set begins: add it to each offset of `instance` to get a place in the file.
    pub dataset_start: u64,
    /// What the data set turned out to be.
    pub instance: Tapped,
}

/// Watches a PS3.10 file that is pushed in pieces.
#[derive(Debug)]
pub struct Part10Tap {
    limits: Limits,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Head(HeadReader),
    DataSet { meta: FileMeta, syntax: Syntax, dataset_start: u64, tap: Box<Tap> },
    Failed(Part10Error),
}

impl Part10Tap {
    /// A tap at the first byte of a file.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, stage: Stage::Head(HeadReader::new()) }
    }

    /// Takes the next bytes, cut anywhere. An error is final.
    pub fn feed(&mut self, data: &[u8]) -> Result<(), Part10Error> {
        let fed = self.step(data);
        if let Err(error) = fed {
            self.stage = Stage::Failed(error);
        }
        fed
    }

    /// What the data set said so far, once it began.
    pub const fn so_far(&self) -> Option<&crate::InstanceHeader> {
        match &self.stage {
            Stage::DataSet { tap, .. } => Some(tap.so_far()),
            Stage::Head(_) | Stage::Failed(_) => None,
        }
    }

    /// The file meta, once it is over.
    pub const fn meta(&self) -> Option<&FileMeta> {
        match &self.stage {
            Stage::DataSet { meta, .. } => Some(meta),
            Stage::Head(_) | Stage::Failed(_) => None,
        }
    }

    /// The file is over. An error also where it breaks off in the middle.
    pub fn finish(mut self) -> Result<TappedFile, Part10Error> {
        // Whatever happens below, the stage is replaced before anybody looks at it again.
        match std::mem::replace(&mut self.stage, Stage::Failed(Part10Error::NotDicom)) {
            Stage::Head(reader) => self.enter(reader.finish()?)?,
            other => self.stage = other,
        }
        match self.stage {
            Stage::DataSet { meta, syntax, dataset_start, tap } => {
                Ok(TappedFile { meta, syntax, dataset_start, instance: tap.finish()? })
            }
            Stage::Head(_) => Err(Part10Error::NotDicom),
            Stage::Failed(error) => Err(error),
        }
    }

    fn step(&mut self, data: &[u8]) -> Result<(), Part10Error> {
        match &mut self.stage {
            Stage::Failed(error) => Err(*error),
            Stage::DataSet { tap, .. } => Ok(tap.feed(data)?),
            Stage::Head(reader) => match reader.feed(data)? {
                HeadStep::More => Ok(()),
                HeadStep::Done { head, used } => {
                    self.enter(*head)?;
                    self.step(data.get(used..).unwrap_or_default())
                }
            },
        }
    }

    fn enter(&mut self, head: Head) -> Result<(), Part10Error> {
        let Head { meta, syntax, dataset_start, carried } = head;
        let mut tap = Box::new(Tap::with_syntax(syntax, self.limits));
        tap.feed(&carried)?;
        self.stage = Stage::DataSet { meta, syntax, dataset_start, tap };
        Ok(())
    }
}
