//! `multipart/related`, read while it arrives (RFC 2046 §5.1, RFC 2387; PS3.18 §8.6.1.2).
//!
//! Push style and without I/O: [`Multipart::push`] takes a piece, [`Multipart::next`] gives what it means until it gives
//! `None`, [`Multipart::finish`] says whether the end was the end. Data goes through as slices of the pieces; what is held
//! is a delimiter's length, or one part's headers.
//!
//! Law: where the pieces are cut never changes the parts (`tests::any_cut_gives_the_same_parts`).
//!
//! Real senders end lines with CRLF, some with LF alone, and some begin with an empty line. The line end after the first
//! delimiter decides how the later ones begin, so that a lone LF in front of a lookalike is data for whoever writes CRLF.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may fail loudly"))]

mod head;

use bytes::Bytes;
pub(crate) use head::PartHead;
use leadglass_model::Fault;
use memchr::{memchr, memmem::Finder};

/// Why a body is not multipart, or more of it than is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MultipartError {
    /// The parameter is absent, too long or holds what a boundary must not.
    #[error("the boundary must have 1 to {MAX_BOUNDARY} visible characters")]
    Boundary,
    /// The first delimiter does not come.
    #[error("the body does not begin with its boundary")]
    NoBeginning,
    /// Something stands between a delimiter and the end of its line.
    #[error("a boundary is followed by something else than the end of its line")]
    Delimiter,
    /// More headers than are read.
    #[error("the headers of a part are longer than {MAX_HEAD_BYTES} bytes")]
    HeadTooLong,
    /// A line of a part's head is no header.
    #[error("a line in the head of a part is no header")]
    Header,
    /// A part that is multipart itself.
    #[error("a part must not be multipart itself")]
    Nested,
    /// More parts than are taken.
    #[error("the body has more than {MAX_PARTS} parts")]
    TooManyParts,
    /// Too much after the last delimiter.
    #[error("the body goes on after its last boundary")]
    Epilogue,
    /// The body ends before its last delimiter.
    #[error("the body ends before its last boundary")]
    Truncated,
}

impl MultipartError {
    /// Always the sender's.
    pub(crate) const fn fault(self) -> Fault {
        Fault::BadInput
    }
}

/// What the bytes mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A part begins.
    Part(PartHead),
    /// The next bytes of the part.
    Data(Bytes),
    /// The part is complete.
    End,
}

/// The reader.
#[derive(Debug)]
pub(crate) struct Multipart {
    /// `--` and the boundary.
    dashed: Vec<u8>,
    /// Finds a line end and `dashed`; known after the first delimiter.
    delimiter: Finder<'static>,
    state: State,
    /// What of the next event was met but cannot be told yet.
    held: Vec<u8>,
    input: Bytes,
    parts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In front of the first delimiter, so many bytes in.
    Preamble {
        seen: usize,
    },
    /// Behind the delimiter of a part that has not been told to be over yet.
    Closing,
    /// Behind a delimiter, in its line.
    Line,
    Head,
    Body,
    /// Behind the last delimiter, so many bytes.
    Epilogue {
        seen: usize,
    },
    Failed(MultipartError),
}

impl Multipart {
    /// A reader at the first byte of a body with this `boundary` parameter.
    pub(crate) fn new(boundary: &str) -> Result<Self, MultipartError> {
        let visible = |b: u8| b.is_ascii_graphic() || b == b' ';
        let fits = (1..=MAX_BOUNDARY).contains(&boundary.len());
        if !fits || !boundary.bytes().all(visible) || boundary.ends_with(' ') {
            return Err(MultipartError::Boundary);
        }
        let dashed = format!("--{boundary}").into_bytes();
        let delimiter = finder(b"\r\n", &dashed);
        let state = State::Preamble { seen: 0 };
        Ok(Self { dashed, delimiter, state, held: Vec::new(), input: Bytes::new(), parts: 0 })
    }

    /// Takes the next piece. [`Multipart::next`] must have given `None` before.
    pub(crate) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.input.is_empty(), "the piece before was not read to its end");
        self.input = piece;
    }

    /// What comes next; `None` when more bytes are needed. An error is final.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, MultipartError> {
        loop {
            let step = match self.state {
                State::Failed(error) => Err(error),
                State::Preamble { seen } => self.preamble(seen),
                State::Closing => {
                    self.state = State::Line;
                    return Ok(Some(Event::End));
                }
                State::Line => self.line(),
                State::Head => self.head(),
                State::Body => self.body(),
                State::Epilogue { seen } => self.epilogue(seen),
            };
            match step {
                Ok(Step::Again) => {}
                Ok(Step::More) => return Ok(None),
                Ok(Step::Give(event)) => return Ok(Some(event)),
                Err(error) => {
                    self.state = State::Failed(error);
                    return Err(error);
                }
            }
        }
    }

    /// The body is over. An error where the last delimiter did not come.
    pub(crate) fn finish(&self) -> Result<(), MultipartError> {
        match self.state {
            State::Epilogue { .. } => Ok(()),
            State::Failed(error) => Err(error),
            // No part at all, and no line end behind that.
            State::Preamble { .. } if self.held.strip_prefix(self.dashed.as_slice()) == Some(b"--") => Ok(()),
            State::Preamble { .. } => Err(MultipartError::NoBeginning),
            State::Closing | State::Line | State::Head | State::Body => Err(MultipartError::Truncated),
        }
    }

    /// Lines until one is the first delimiter.
    fn preamble(&mut self, seen: usize) -> Result<Step, MultipartError> {
        let Some(complete) = self.take_line(MAX_PREAMBLE_BYTES.saturating_sub(seen)) else {
            return if self.held.len() >= MAX_PREAMBLE_BYTES.saturating_sub(seen) {
                Err(MultipartError::NoBeginning)
            } else {
                Ok(Step::More)
            };
        };
        let (text, end) = split_end(&complete);
        let Some(rest) = text.strip_prefix(self.dashed.as_slice()) else {
            self.state = State::Preamble { seen: seen.saturating_add(complete.len()) };
            return Ok(Step::Again);
        };
        if rest.starts_with(b"--") {
            self.state = State::Epilogue { seen: 0 };
        } else if is_blank(rest) {
            self.delimiter = finder(end, &self.dashed);
            self.state = State::Head;
            self.count()?;
        } else {
            return Err(MultipartError::Delimiter);
        }
        Ok(Step::Again)
    }

    /// What stands in a delimiter's line behind the boundary: nothing, blanks, or the dashes of the last one.
    fn line(&mut self) -> Result<Step, MultipartError> {
        let complete = self.take_line(MAX_LINE_BYTES);
        let so_far = complete.as_deref().unwrap_or(&self.held);
        if so_far.starts_with(b"--") {
            let seen = so_far.len();
            self.held.clear();
            self.state = State::Epilogue { seen };
            return Ok(Step::Again);
        }
        match complete {
            Some(line) if is_blank(split_end(&line).0) => {
                self.count()?;
                self.state = State::Head;
                Ok(Step::Again)
            }
            Some(_) => Err(MultipartError::Delimiter),
            None if self.held.len() >= MAX_LINE_BYTES => Err(MultipartError::Delimiter),
            None => Ok(Step::More),
        }
    }

    /// Header lines up to an empty one.
    fn head(&mut self) -> Result<Step, MultipartError> {
        loop {
            let before = self.held.len();
            let end = memchr(b'\n', &self.input);
            let take = end.map_or(self.input.len(), |at| at.saturating_add(1));
            if before.saturating_add(take) > MAX_HEAD_BYTES {
                return Err(MultipartError::HeadTooLong);
            }
            self.held.extend_from_slice(&self.input.split_to(take));
            if end.is_none() {
                return Ok(Step::More);
            }
            if self.held.ends_with(b"\n\r\n") || self.held.ends_with(b"\n\n") || is_line_end(&self.held) {
                let head = head::read(&self.held)?;
                self.held.clear();
                self.state = State::Body;
                return Ok(Step::Give(Event::Part(head)));
            }
        }
    }

    /// Data up to the next delimiter.
    fn body(&mut self) -> Result<Step, MultipartError> {
        if self.input.is_empty() {
            return Ok(Step::More);
        }
        let needle = self.delimiter.needle().len();
        if !self.held.is_empty() {
            return Ok(self.join(needle));
        }
        if let Some(at) = self.delimiter.find(&self.input) {
            let data = self.input.split_to(at);
            let _ = self.input.split_to(needle);
            return Ok(self.close(data));
        }
        let keep = partial(&self.input, self.delimiter.needle());
        let data = self.input.split_to(self.input.len().saturating_sub(keep));
        self.held.extend_from_slice(&std::mem::take(&mut self.input));
        Ok(if data.is_empty() { Step::More } else { Step::Give(Event::Data(data)) })
    }

    /// The end of the piece before might be the beginning of a delimiter: decides it with the beginning of this one.
    fn join(&mut self, needle: usize) -> Step {
        let held = self.held.len();
        let take = needle.saturating_sub(1).min(self.input.len());
        let mut joint = std::mem::take(&mut self.held);
        joint.extend_from_slice(self.input.get(..take).unwrap_or_default());
        if let Some(at) = self.delimiter.find(&joint) {
            // It begins in what was held: what was taken of the piece is too short for a whole one.
            let _ = self.input.split_to(at.saturating_add(needle).saturating_sub(held));
            joint.truncate(at);
            return self.close(joint.into());
        }
        let keep = partial(&joint, self.delimiter.needle());
        if keep > take {
            // Still open, and the piece is used up: had more of it been left, the delimiter would be decided.
            self.input.clear();
            self.held = joint.split_off(joint.len().saturating_sub(keep));
        } else {
            joint.truncate(held);
        }
        if joint.is_empty() { Step::Again } else { Step::Give(Event::Data(joint.into())) }
    }

    fn close(&mut self, data: Bytes) -> Step {
        self.state = State::Closing;
        if data.is_empty() { Step::Again } else { Step::Give(Event::Data(data)) }
    }

    fn epilogue(&mut self, seen: usize) -> Result<Step, MultipartError> {
        let seen = seen.saturating_add(self.input.len());
        self.input.clear();
        if seen > MAX_EPILOGUE_BYTES {
            return Err(MultipartError::Epilogue);
        }
        self.state = State::Epilogue { seen };
        Ok(Step::More)
    }

    /// One more part.
    fn count(&mut self) -> Result<(), MultipartError> {
        self.parts = self.parts.saturating_add(1);
        if self.parts > MAX_PARTS { Err(MultipartError::TooManyParts) } else { Ok(()) }
    }

    /// A whole line with its end, or `None`: then its beginning is held, `limit` bytes at most.
    fn take_line(&mut self, limit: usize) -> Option<Vec<u8>> {
        let room = limit.saturating_sub(self.held.len());
        let end = memchr(b'\n', self.input.get(..room.min(self.input.len())).unwrap_or_default());
        let take = end.map_or(room.min(self.input.len()), |at| at.saturating_add(1));
        self.held.extend_from_slice(&self.input.split_to(take));
        end.map(|_| std::mem::take(&mut self.held))
    }
}

enum Step {
    /// Look again: the state is another.
    Again,
    /// More bytes are needed.
    More,
    Give(Event),
}

fn finder(line_end: &[u8], dashed: &[u8]) -> Finder<'static> {
    Finder::new(&[line_end, dashed].concat()).into_owned()
}

/// Length of the longest end of `data` that is a beginning of `needle`, and shorter than it.
fn partial(data: &[u8], needle: &[u8]) -> usize {
    let longest = needle.len().saturating_sub(1).min(data.len());
    let tail = data.get(data.len().saturating_sub(longest)..).unwrap_or_default();
    (0..tail.len())
        .map(|from| tail.get(from..).unwrap_or_default())
        .find(|end| needle.starts_with(end))
        .map_or(0, <[u8]>::len)
}

/// A line and the form of its end.
fn split_end(line: &[u8]) -> (&[u8], &'static [u8]) {
    if let Some(text) = line.strip_suffix(b"\r\n") {
        (text, b"\r\n")
    } else {
        (line.strip_suffix(b"\n").unwrap_or(line), b"\n")
    }
}

fn is_line_end(bytes: &[u8]) -> bool {
    matches!(bytes, b"\r\n" | b"\n")
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| matches!(b, b' ' | b'\t'))
}

/// Characters of a boundary. RFC 2046 §5.1.1 allows 70; Orthanc's have 73.
pub(crate) const MAX_BOUNDARY: usize = 128;
/// Parts of a body.
pub(crate) const MAX_PARTS: usize = 10_000;
/// Bytes of a part's headers.
pub(crate) const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Bytes in front of the first delimiter.
const MAX_PREAMBLE_BYTES: usize = 8 * 1024;
/// Blanks behind a boundary.
const MAX_LINE_BYTES: usize = 256;
/// Bytes behind the last delimiter.
const MAX_EPILOGUE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
