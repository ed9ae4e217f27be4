//! What is written of a data set, element by element.

mod change;
mod fragments;
mod value;

use super::Refusal;
use crate::{
    Choice, Findings, Job, Plan,
    codestream::Codestream,
    dictionary,
    method::{Put, marks},
    profile::Action,
};
use fragments::Fragments;
use leadglass_model::TransferSyntaxUid;
use leadglass_tap::{Element, Framing, Syntax, Tag, Visitor, Vr, Want};
use std::sync::Arc;
use time::Duration;
use value::{Sink, Value};

/// How the attributes of a sequence are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// By the table.
    Table,
    /// By the table; what it does not have is made up, unless it is a number or one of a few words.
    MadeUp,
}

/// What comes out.
#[derive(Debug)]
pub(super) struct Writer {
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

/// What is done with an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Drop,
    Pixels,
    By { action: Action, vr: Vr },
}

impl Writer {
    pub(super) fn new(job: Arc<Job>, syntax: &TransferSyntaxUid, patient: &str, plan: Plan) -> Self {
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

    /// What keeps the data set from being made nameless, so far.
    pub(super) const fn refused(&self) -> Option<Refusal> {
        self.refused
    }

    /// Appends what was written since.
    pub(super) fn give(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.out);
    }

    /// The data set is over.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> Result<Findings, Refusal> {
        self.put_before(None);
        self.give(out);
        self.findings.counts.segments = self.codestream.blanked;
        match self.refused {
            Some(refusal) => Err(refusal),
            None if !self.codestream.is_clean() => Err(Refusal::Codestream),
            None => Ok(self.findings),
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

/// Says that, and how, names were taken out.
const fn is_mark(tag: Tag) -> bool {
    matches!((tag.0, tag.1), (0x0012, 0x0062..=0x0064) | (0x0028, 0x0303))
}

/// Encapsulated Document.
const ENCAPSULATED_DOCUMENT: Tag = Tag(0x0042, 0x0011);
/// Bytes of a value that is noted.
const NOTED_BYTES: usize = 64;
