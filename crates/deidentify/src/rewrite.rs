//! One data set, written anew without what names a patient, while its bytes go by.
//!
//! What comes out is Explicit VR Little Endian with delimiters instead of lengths; compressed pixels stay as they are
//! coded. Held at a time: one value that is to be changed, up to 64 KiB; one that is longer is made up or emptied.
//! Nothing is written of what was not decided on, and a value that cannot be what its tag says it is removed.

use crate::{
    Choice, Findings, Job, Plan,
    codestream::Codestream,
    dates, dictionary,
    dummy::dummy,
    method::{Put, marks},
    pixels::Blanker,
    profile::Action,
    words,
};
use flate2::{Decompress, FlushDecompress, Status};
use leadglass_model::TransferSyntaxUid;
use leadglass_tap::{Element, Framing, Limits, Syntax, Tag, Visitor, Vr, WalkError, Walker, Want};
use std::sync::Arc;
use time::Duration;

/// Why a data set cannot be written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeidentifyError {
    /// It is broken.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// It is not deflated as it says, or inflates without end.
    #[error("the data set does not inflate")]
    Inflate,
    /// It is whole, and cannot be made nameless.
    #[error("{0}")]
    Refused(Refusal),
}

/// What cannot be made nameless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// A document, such as a PDF: what stands in it is nothing but text.
    #[error("an encapsulated document cannot be made nameless")]
    Document,
    /// Regions are to be blanked, and have no bytes of their own.
    #[error("regions of compressed pixels cannot be blanked")]
    Regions,
    /// Compressed pixels that are not what their transfer syntax says: they may hold anything.
    #[error("the compressed pixels are not what they are said to be")]
    Codestream,
}

/// Writes one data set anew.
#[derive(Debug)]
pub struct Deidentifier {
    walker: Walker,
    writer: Writer,
    inflater: Option<Inflater>,
}

#[derive(Debug)]
struct Inflater {
    stream: Decompress,
    ended: bool,
}

impl Deidentifier {
    /// At the start of a data set of this transfer syntax. `patient` is whose it is: the same text gives the same
    /// pseudonym and the same days.
    pub fn new(job: Arc<Job>, syntax: &TransferSyntaxUid, patient: &str, plan: Plan) -> Self {
        let read = Syntax::of(syntax);
        let inflater = read.deflated.then(|| Inflater { stream: Decompress::new(false), ended: false });
        let walker = Walker::new(read.encoding, Limits::default().depth);
        Self { walker, writer: Writer::new(job, syntax, patient, plan), inflater }
    }

    /// The transfer syntax of what comes out.
    pub fn syntax_of(syntax: &TransferSyntaxUid) -> TransferSyntaxUid {
        let read = Syntax::of(syntax);
        if read.framing == Framing::Native || read.deflated {
            TransferSyntaxUid::parse(EXPLICIT_LE).expect("it is a UID")
        } else {
            syntax.clone()
        }
    }

    /// Takes the next bytes of the data set; what they became is appended to `out`.
    ///
    /// # Errors
    /// [`DeidentifyError`]; it is final, and what is in `out` is to be thrown away.
    pub fn feed(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), DeidentifyError> {
        if self.inflater.is_some() {
            return self.inflate(data, out);
        }
        self.walk(data, out)
    }

    fn walk(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), DeidentifyError> {
        let walked = self.walker.feed(data, &mut self.writer);
        if let Some(refusal) = self.writer.refused {
            return Err(DeidentifyError::Refused(refusal));
        }
        walked?;
        out.append(&mut self.writer.out);
        Ok(())
    }

    fn inflate(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> Result<(), DeidentifyError> {
        let mut buffer = vec![0; INFLATED_AT_A_TIME];
        loop {
            let Some(Inflater { stream, ended }) = &mut self.inflater else { return Ok(()) };
            if *ended {
                return Ok(());
            }
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status =
                stream.decompress(data, &mut buffer, FlushDecompress::None).map_err(|_| DeidentifyError::Inflate)?;
            let taken = usize::try_from(stream.total_in().saturating_sub(before_in)).unwrap_or(usize::MAX);
            let made = usize::try_from(stream.total_out().saturating_sub(before_out)).unwrap_or(usize::MAX);
            *ended = status == Status::StreamEnd;
            if stream.total_out() > Limits::default().inflated_bytes {
                return Err(DeidentifyError::Inflate);
            }
            data = data.get(taken..).unwrap_or_default();
            self.walk(buffer.get(..made).unwrap_or_default(), out)?;
            if data.is_empty() && made < buffer.len() {
                return Ok(());
            }
            if taken == 0 && made == 0 {
                return Err(DeidentifyError::Inflate);
            }
        }
    }

    /// To be called once after the last byte: only then what came out is whole.
    ///
    /// # Errors
    /// A data set that breaks off, or that was refused.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<Findings, DeidentifyError> {
        if self.inflater.is_some_and(|inflater| !inflater.ended) {
            return Err(DeidentifyError::Inflate);
        }
        self.walker.finish()?;
        self.writer.put_before(None);
        out.append(&mut self.writer.out);
        self.writer.findings.counts.segments = self.writer.codestream.blanked;
        match self.writer.refused {
            Some(refusal) => Err(DeidentifyError::Refused(refusal)),
            None if !self.writer.codestream.is_clean() => Err(DeidentifyError::Refused(Refusal::Codestream)),
            None => Ok(self.writer.findings),
        }
    }
}

/// How the attributes of a sequence are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// By the table.
    Table,
    /// By the table; what it does not have is made up, unless it is a number or one of a few words.
    MadeUp,
}

#[derive(Debug)]
struct Writer {
    job: Arc<Job>,
    pseudonym: String,
    shift: Duration,
    plan: Plan,
    out: Vec<u8>,
    /// Still to be put in, the next one last.
    puts: Vec<Put>,
    /// Open sequences that are written.
    modes: Vec<Mode>,
    /// Open sequences that are not, one in another.
    dropped: usize,
    /// Pixel Representation, one for the data set and one for each open item.
    signed: Vec<bool>,
    value: Option<Value>,
    fragments: Fragments,
    /// First bytes of a fragment, until there are two.
    first: Vec<u8>,
    /// The offset table, which is the first fragment, is over.
    table_passed: bool,
    /// The transfer syntax says that pixels lie as they are.
    native: bool,
    codestream: Codestream,
    findings: Findings,
    refused: Option<Refusal>,
}

/// The value that goes by.
#[derive(Debug)]
struct Value {
    tag: Tag,
    big_endian: bool,
    sink: Sink,
    /// Its first bytes, where they are noted.
    noted: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Sink {
    Nowhere,
    /// Written as it comes: width of its numbers, the beginning of one, and what pads it.
    Copy {
        width: usize,
        carry: Vec<u8>,
        pad: Option<u8>,
    },
    /// Held to be changed.
    Held {
        vr: Vr,
        action: Action,
        bytes: Vec<u8>,
    },
    /// Pixels, of which regions are blanked.
    Pixels {
        width: usize,
        carry: Vec<u8>,
        pad: bool,
        blanker: Option<Blanker>,
        at: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fragments {
    None,
    Copied,
    Dropped,
}

/// What is done with an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Drop,
    Pixels,
    By { action: Action, vr: Vr },
}

impl Writer {
    fn new(job: Arc<Job>, syntax: &TransferSyntaxUid, patient: &str, plan: Plan) -> Self {
        let blanks = !plan.boxes.is_empty();
        let burned_in = plan.reviewed.then_some("NO");
        let mut puts = marks(job.options(), blanks, burned_in);
        puts.reverse();
        Self {
            pseudonym: job.key.pseudonym(patient),
            shift: job.key.shift(patient),
            job,
            plan,
            out: Vec::new(),
            puts,
            modes: Vec::new(),
            dropped: 0,
            signed: vec![false],
            value: None,
            fragments: Fragments::None,
            first: Vec::new(),
            table_passed: false,
            native: Syntax::of(syntax).framing == Framing::Native,
            codestream: Codestream::of(syntax.as_str()),
            findings: Findings::default(),
            refused: None,
        }
    }

    fn at_top(&self) -> bool {
        self.modes.is_empty() && self.dropped == 0
    }

    fn put_tag(&mut self, tag: Tag) {
        self.out.extend_from_slice(&tag.0.to_le_bytes());
        self.out.extend_from_slice(&tag.1.to_le_bytes());
    }

    fn header(&mut self, tag: Tag, vr: Vr, len: u32) {
        self.put_tag(tag);
        match u16::try_from(len) {
            Ok(short) if !vr.is_wide() => {
                self.out.extend_from_slice(&vr.0);
                self.out.extend_from_slice(&short.to_le_bytes());
            }
            _ => {
                let vr = if vr.is_wide() { vr } else { Vr::UN };
                self.out.extend_from_slice(&vr.0);
                self.out.extend_from_slice(&[0, 0]);
                self.out.extend_from_slice(&len.to_le_bytes());
            }
        }
    }

    /// Puts in what stands before `tag`, or all. Whether `tag` itself was replaced.
    fn put_before(&mut self, tag: Option<Tag>) -> bool {
        while let Some(next) = self.puts.pop_if(|next| tag.is_none_or(|tag| next.tag <= tag)) {
            self.out.extend_from_slice(&next.bytes);
            if Some(next.tag) == tag {
                return true;
            }
        }
        false
    }

    fn write(&mut self, tag: Tag, vr: Vr, value: &[u8]) {
        let odd = value.len() % 2 == 1;
        let len = u32::try_from(value.len()).unwrap_or(u32::MAX).saturating_add(u32::from(odd));
        self.header(tag, vr, len);
        self.out.extend_from_slice(value);
        if odd {
            self.out.push(if &vr.0 == b"UI" || vr.is_binary() { 0 } else { b' ' });
        }
    }

    fn fate(&mut self, element: &Element) -> Fate {
        let tag = element.tag;
        let repeating = tag.0 & 0xFF00 == 0x5000 || tag.0 & 0xFF00 == 0x6000;
        if tag.is_private() || repeating || tag.0 < 0x0008 {
            self.findings.counts.unknown = self.findings.counts.unknown.saturating_add(1);
            return Fate::Drop;
        }
        if tag.0 == 0x7FE0 {
            return if self.at_top() && self.job.pixels { Fate::Pixels } else { Fate::Drop };
        }
        let Some(known) = dictionary::lookup(tag).filter(|known| dictionary::is_plausible(element.vr, known.vr)) else {
            self.findings.counts.unknown = self.findings.counts.unknown.saturating_add(1);
            return Fate::Drop;
        };
        let vr = match element.vr {
            Vr::UN => known.vr,
            Vr::US if element.implicit && known.signed_or_not && self.signed.last() == Some(&true) => Vr::SS,
            vr => vr,
        };
        let profile = &self.job.profile;
        let action = match (profile.of_table(tag, vr), self.modes.last()) {
            (Some(action), _) => action,
            (None, Some(Mode::MadeUp)) => match &vr.0 {
                b"UI" => profile.of_others(tag, vr),
                b"SQ" | b"CS" | b"AT" | b"FD" | b"FL" | b"SL" | b"SS" | b"SV" | b"UL" | b"US" | b"UV" => Action::Keep,
                _ => Action::Dummy,
            },
            (None, _) => profile.of_others(tag, vr),
        };
        Fate::By { action, vr }
    }

    /// Writes a value of which nothing is needed, or says what is to be done with its bytes.
    fn sink(&mut self, element: &Element, action: Action, vr: Vr) -> Sink {
        let (tag, len) = (element.tag, element.len.unwrap_or_default());
        let counts = &mut self.findings.counts;
        let is_patient = matches!((tag.0, tag.1), (0x0010, 0x0010 | 0x0020));
        match action {
            Action::Remove => counts.removed = counts.removed.saturating_add(1),
            Action::Empty | Action::Dummy if is_patient => {
                counts.replaced = counts.replaced.saturating_add(1);
                let pseudonym = self.pseudonym.clone();
                self.write(tag, vr, pseudonym.as_bytes());
            }
            _ if len == 0 => self.header(tag, vr, 0),
            Action::Empty => {
                counts.emptied = counts.emptied.saturating_add(1);
                self.header(tag, vr, 0);
            }
            Action::Dummy => {
                counts.replaced = counts.replaced.saturating_add(1);
                self.write(tag, vr, dummy(vr));
            }
            Action::Keep if !is_checked(vr) => {
                let pad = (len % 2 == 1).then_some(if vr.is_binary() || vr.width() > 1 { 0 } else { b' ' });
                self.header(tag, vr, len.saturating_add(u32::from(pad.is_some())));
                let width = if element.big_endian { element.vr.width() } else { 1 };
                return Sink::Copy { width, carry: Vec::new(), pad };
            }
            action if len > MAX_HELD => return self.too_long(tag, vr, action),
            action => return Sink::Held { vr, action, bytes: Vec::new() },
        }
        Sink::Nowhere
    }

    /// A value that would have to be held and is longer than any that means something.
    fn too_long(&mut self, tag: Tag, vr: Vr, action: Action) -> Sink {
        if action == Action::Words {
            self.header(tag, vr, 0);
        } else {
            self.write(tag, vr, dummy(vr));
        }
        self.findings.counts.replaced = self.findings.counts.replaced.saturating_add(1);
        Sink::Nowhere
    }

    /// Writes a value that was held.
    fn change(&mut self, tag: Tag, vr: Vr, action: Action, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_matches([' ', '\0']);
        let counts = &mut self.findings.counts;
        let value = match (action, &vr.0) {
            (Action::Words | Action::SomeWords, _) => {
                counts.cleaned = counts.cleaned.saturating_add(1);
                Some(words::cleaned(bytes)).filter(|words| action == Action::Words || !words.is_empty())
            }
            (Action::Uid, b"UI") => {
                counts.uids = counts.uids.saturating_add(1);
                Some(other_uids(&self.job, text))
            }
            (Action::Keep, b"UI") => text.split('\\').all(is_uid).then(|| text.to_owned()),
            (Action::Move, b"DA") => dates::moved_date(text, self.shift),
            (Action::Move, b"DT") => dates::moved_date_time(text, self.shift),
            (Action::Keep, b"DA") => dates::moved_date(text, Duration::ZERO),
            (Action::Keep, b"DT") => dates::moved_date_time(text, Duration::ZERO),
            (Action::Move | Action::Keep, b"TM" | b"SH") => dates::time(text),
            (Action::Age, _) => age(text),
            _ => None,
        };
        if action == Action::Move && value.is_some() {
            counts.moved = counts.moved.saturating_add(1);
        }
        match value {
            Some(value) => self.write(tag, vr, value.as_bytes()),
            // Not what it should be: it could be anything.
            None => {
                counts.replaced = counts.replaced.saturating_add(1);
                match &vr.0 {
                    b"UI" => self.header(tag, vr, 0),
                    // Timezone Offset From UTC: nothing is better than a made-up one.
                    b"SH" if action == Action::Move => {}
                    _ => self.write(tag, vr, dummy(vr)),
                }
            }
        }
    }

    fn pixels(&mut self, element: &Element) -> Sink {
        let (tag, len) = (element.tag, element.len.unwrap_or_default());
        if tag.is_pixels() {
            self.findings.pixels = true;
            if !self.native {
                self.refused = Some(Refusal::Codestream);
            }
        }
        let blanker = if tag.is_pixels() && !self.plan.boxes.is_empty() {
            let mut shape = self.findings.shape;
            if tag.1 != 0x0010 {
                shape.bits = if tag.1 == 0x0008 { 32 } else { 64 };
            }
            let blanker = Blanker::new(self.plan.boxes.clone(), shape);
            if blanker.is_none() {
                self.refused = Some(Refusal::Regions);
            }
            blanker
        } else {
            None
        };
        let pad = len % 2 == 1;
        self.header(tag, element.vr, len.saturating_add(u32::from(pad)));
        let width = if element.big_endian { element.vr.width() } else { 1 };
        Sink::Pixels { width, carry: Vec::new(), pad, blanker, at: 0 }
    }

    /// Bytes of a fragment of the pixels. Behind the offset table each may begin an image.
    fn fragment_bytes(&mut self, piece: &[u8]) {
        let start = self.out.len();
        if !self.table_passed {
            self.out.extend_from_slice(piece);
            return;
        }
        let room = 2_usize.saturating_sub(self.first.len()).min(piece.len());
        let (first, rest) = piece.split_at(room);
        if room > 0 {
            self.first.extend_from_slice(first);
            if self.first.len() < 2 {
                return;
            }
            self.codestream.fragment(self.first.first_chunk().copied().unwrap_or_default());
            self.out.append(&mut self.first.clone());
        }
        self.out.extend_from_slice(rest);
        self.codestream.clean(self.out.get_mut(start..).unwrap_or_default());
    }

    /// A fragment is over: one byte alone waited for another.
    fn fragment_end(&mut self) {
        if self.table_passed && self.first.len() < 2 {
            let start = self.out.len();
            self.out.append(&mut self.first.clone());
            self.codestream.clean(self.out.get_mut(start..).unwrap_or_default());
        }
        self.table_passed = true;
    }

    /// Appends numbers of big endian in little endian.
    fn copy(&mut self, width: usize, carry: &mut Vec<u8>, piece: &[u8]) {
        if width == 1 {
            self.out.extend_from_slice(piece);
            return;
        }
        carry.extend_from_slice(piece);
        let mut numbers = std::mem::take(carry);
        let whole = numbers.len().saturating_sub(numbers.chunks_exact(width).remainder().len());
        *carry = numbers.split_off(whole);
        for number in numbers.chunks_exact_mut(width) {
            number.reverse();
        }
        self.out.extend_from_slice(&numbers);
    }
}

impl Visitor for Writer {
    fn value(&mut self, element: &Element) -> Want {
        let tag = element.tag;
        if self.dropped > 0 || tag.is_group_length() || tag == Tag::TRAILING_PADDING {
            return Want::Nothing;
        }
        let top = self.at_top();
        let noted = (top && Findings::notes(tag)).then(Vec::new);
        let representation = tag == Tag::PIXEL_REPRESENTATION;
        // Ours stand instead of what said this before, also where that stands out of order.
        let sink = if top && (self.put_before(Some(tag)) | is_mark(tag)) {
            Sink::Nowhere
        } else if top && tag == ENCAPSULATED_DOCUMENT {
            self.refused = Some(Refusal::Document);
            Sink::Nowhere
        } else {
            match self.fate(element) {
                Fate::Drop => Sink::Nowhere,
                Fate::Pixels => self.pixels(element),
                Fate::By { action, vr } => self.sink(element, action, vr),
            }
        };
        let noted = if representation { Some(Vec::new()) } else { noted };
        if matches!(sink, Sink::Nowhere) && noted.is_none() {
            return Want::Nothing;
        }
        self.value = Some(Value { tag, big_endian: element.big_endian, sink, noted });
        Want::Bytes
    }

    fn bytes(&mut self, piece: &[u8]) {
        match self.fragments {
            Fragments::Copied => return self.fragment_bytes(piece),
            Fragments::Dropped => return,
            Fragments::None => {}
        }
        let Some(mut value) = self.value.take() else { return };
        if let Some(noted) = &mut value.noted {
            let room = NOTED_BYTES.saturating_sub(noted.len()).min(piece.len());
            noted.extend_from_slice(piece.get(..room).unwrap_or_default());
        }
        match &mut value.sink {
            Sink::Nowhere => {}
            Sink::Copy { width, carry, .. } => self.copy(*width, carry, piece),
            Sink::Held { bytes, .. } => bytes.extend_from_slice(piece),
            Sink::Pixels { width, carry, blanker, at, .. } => {
                let start = self.out.len();
                self.copy(*width, carry, piece);
                let written = self.out.get_mut(start..).unwrap_or_default();
                if let Some(blanker) = blanker {
                    blanker.blank(written, *at);
                }
                *at = at.saturating_add(written.len() as u64);
            }
        }
        self.value = Some(value);
    }

    fn value_end(&mut self) {
        if self.fragments != Fragments::None {
            if self.fragments == Fragments::Copied {
                self.fragment_end();
            }
            return;
        }
        let Some(value) = self.value.take() else { return };
        if let Some(noted) = value.noted {
            if value.tag == Tag::PIXEL_REPRESENTATION {
                if let (Some(signed), Some(bytes)) = (self.signed.last_mut(), noted.first_chunk()) {
                    let number = if value.big_endian { u16::from_be_bytes(*bytes) } else { u16::from_le_bytes(*bytes) };
                    *signed = number == 1;
                }
            } else {
                self.findings.note(value.tag, &noted, value.big_endian);
            }
        }
        match value.sink {
            Sink::Nowhere => {}
            Sink::Copy { carry, pad, .. } => {
                // A number that was cut short stays as it is.
                self.out.extend_from_slice(&carry);
                self.out.extend(pad);
            }
            Sink::Held { vr, action, bytes } => self.change(value.tag, vr, action, &bytes),
            Sink::Pixels { carry, pad, .. } => {
                self.out.extend_from_slice(&carry);
                self.out.extend(pad.then_some(0));
            }
        }
    }

    fn sequence(&mut self, element: &Element) {
        if self.dropped > 0 {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let tag = element.tag;
        let replaced = self.at_top() && (self.put_before(Some(tag)) | is_mark(tag));
        let fate = if replaced { Fate::Drop } else { self.fate(element) };
        let mode = match fate {
            Fate::By { action: Action::Keep | Action::Uid | Action::Words, vr: Vr::SQ } => {
                let meaning = matches!((tag.0, tag.1), (0x0040, 0xA043 | 0x08EA | 0xA504));
                if meaning { Some(Mode::Table) } else { Some(self.modes.last().copied().unwrap_or(Mode::Table)) }
            }
            Fate::By { action: Action::Dummy, vr: Vr::SQ } => Some(Mode::MadeUp),
            Fate::By { action: Action::Empty, vr: Vr::SQ } => {
                self.findings.counts.emptied = self.findings.counts.emptied.saturating_add(1);
                self.header(tag, Vr::SQ, 0);
                None
            }
            _ => {
                self.findings.counts.removed = self.findings.counts.removed.saturating_add(1);
                None
            }
        };
        match mode {
            Some(mode) => {
                self.header(tag, Vr::SQ, u32::MAX);
                self.modes.push(mode);
            }
            None => self.dropped = 1,
        }
    }

    fn sequence_end(&mut self) {
        if self.dropped > 0 {
            self.dropped = self.dropped.saturating_sub(1);
            return;
        }
        self.put_tag(Tag::SEQUENCE_END);
        self.out.extend_from_slice(&[0; 4]);
        self.modes.pop();
    }

    fn item(&mut self) {
        if self.dropped == 0 {
            self.put_tag(Tag::ITEM);
            self.out.extend_from_slice(&u32::MAX.to_le_bytes());
            self.signed.push(self.signed.last().copied().unwrap_or_default());
        }
    }

    fn item_end(&mut self) {
        if self.dropped == 0 {
            self.put_tag(Tag::ITEM_END);
            self.out.extend_from_slice(&[0; 4]);
            self.signed.pop();
        }
    }

    fn fragments(&mut self, element: &Element) {
        self.fragments = Fragments::Dropped;
        if self.dropped > 0 {
            return;
        }
        if self.at_top() {
            self.put_before(Some(element.tag));
        }
        if !(self.at_top() && element.tag.is_pixels()) {
            self.findings.counts.unknown = self.findings.counts.unknown.saturating_add(1);
            return;
        }
        self.findings.pixels = true;
        self.findings.compressed = true;
        if !self.job.pixels {
            return;
        }
        if self.native {
            self.refused = Some(Refusal::Codestream);
        }
        if !self.plan.boxes.is_empty() || self.job.options().has(Choice::CleanPixels) {
            self.refused = Some(Refusal::Regions);
        }
        self.fragments = Fragments::Copied;
        self.header(element.tag, element.vr, u32::MAX);
    }

    fn fragment(&mut self, _: u64, len: u32) -> Want {
        if self.fragments != Fragments::Copied {
            return Want::Nothing;
        }
        self.put_tag(Tag::ITEM);
        self.out.extend_from_slice(&len.to_le_bytes());
        self.first.clear();
        Want::Bytes
    }

    fn fragments_end(&mut self, _: u64) {
        if self.fragments == Fragments::Copied {
            self.put_tag(Tag::SEQUENCE_END);
            self.out.extend_from_slice(&[0; 4]);
        }
        self.fragments = Fragments::None;
    }
}

/// Each of several UIDs by another one. What the standard itself names stays (PS3.6 Annex A).
fn other_uids(job: &Job, text: &str) -> String {
    let other = |uid: &str| match uid.trim_matches([' ', '\0']) {
        "" => String::new(),
        uid if uid.starts_with(DICOM_ROOT) && is_uid(uid) => uid.to_owned(),
        uid => job.key.uid(uid),
    };
    text.split('\\').map(other).collect::<Vec<_>>().join("\\")
}

/// Says that, and how, names were taken out.
const fn is_mark(tag: Tag) -> bool {
    matches!((tag.0, tag.1), (0x0012, 0x0062..=0x0064) | (0x0028, 0x0303))
}

fn is_uid(text: &str) -> bool {
    text.len() <= LONGEST_UID && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// An age as it is; of the few who are older than 89, no more than that (as 45 CFR 164.514(b)(2)(i)(C) has it).
fn age(text: &str) -> Option<String> {
    let (number, unit) = text.split_at_checked(3)?;
    let years = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse::<u16>().ok())??;
    match unit {
        "Y" if years > 89 => Some("090Y".to_owned()),
        "D" | "W" | "M" | "Y" => Some(text.to_owned()),
        _ => None,
    }
}

/// Values that stay only if they are what they should be.
const fn is_checked(vr: Vr) -> bool {
    matches!(&vr.0, b"UI" | b"DA" | b"DT" | b"TM")
}

/// Encapsulated Document.
const ENCAPSULATED_DOCUMENT: Tag = Tag(0x0042, 0x0011);
/// PS3.5 §A.2.
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// Of the UIDs that the standard names.
const DICOM_ROOT: &str = "1.2.840.10008.";
const LONGEST_UID: usize = 64;
/// Bytes of a value that is changed.
const MAX_HELD: u32 = 64 << 10;
/// Bytes of a value that is noted.
const NOTED_BYTES: usize = 64;
const INFLATED_AT_A_TIME: usize = 32 << 10;
