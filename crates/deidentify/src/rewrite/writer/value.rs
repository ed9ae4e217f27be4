//! The value that goes by, and where its bytes go.

use super::{Refusal, Writer};
use crate::{dummy::dummy, pixels::Blanker, profile::Action};
use leadglass_tap::{Element, Tag, Vr};

/// The value that goes by.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) tag: Tag,
    pub(super) big_endian: bool,
    pub(super) sink: Sink,
    /// Its first bytes, where they are noted.
    pub(super) noted: Option<Vec<u8>>,
}

/// Where its bytes go.
#[derive(Debug)]
pub(super) enum Sink {
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

impl Writer {
    /// Writes a value of which nothing is needed, or says what is to be done with its bytes.
    pub(super) fn sink(&mut self, element: &Element, action: Action, vr: Vr) -> Sink {
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

    pub(super) fn pixels(&mut self, element: &Element) -> Sink {
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

    /// Appends numbers of big endian in little endian.
    pub(super) fn copy(&mut self, width: usize, carry: &mut Vec<u8>, piece: &[u8]) {
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

/// Values that stay only if they are what they should be.
const fn is_checked(vr: Vr) -> bool {
    matches!(&vr.0, b"UI" | b"DA" | b"DT" | b"TM")
}

/// Bytes of a value that is changed.
const MAX_HELD: u32 = 64 << 10;
