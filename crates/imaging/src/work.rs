//! What a render worker is asked and what it answers: a ticket, two lengths, a head in JSON and a frame; a word, a length, the
//! ticket and bytes.
//!
//! The worker reads what the vault wrote and may be trusted with; the vault reads what a process wrote that had foreign
//! bytes in its hands: [`AnswerHead::read`] takes nothing on trust, not even the name of an error.

use crate::{
    decode::{self, Coding, DecodeError, Layout, Photometric, Unread},
    render::{self, Description, Format, RenderError, Wish},
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, Read, Write};

/// One job. The frame's bytes go beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Job {
    /// Make a picture.
    Render(Box<Description>, Wish),
    /// Make the native bytes that Explicit VR Little Endian holds: colour by pixel, and always as RGB.
    Decode(Coding, Layout),
}

impl Job {
    /// What to write before the frame of `frame_len` bytes. The answer bears the same `ticket`: a random one, or what was
    /// written ahead for somebody else's job would pass for this one's answer.
    ///
    /// # Errors
    /// A frame longer than [`MAX_JOB_FRAME_BYTES`], or a head longer than [`MAX_JOB_HEAD_BYTES`].
    pub fn head(&self, ticket: Ticket, frame_len: usize) -> Result<Vec<u8>, RenderError> {
        let too_large = RenderError::Decode(DecodeError::TooLarge);
        let json = serde_json::to_vec(self).map_err(|_| RenderError::Coding)?;
        if json.len() > MAX_JOB_HEAD_BYTES || frame_len > MAX_JOB_FRAME_BYTES {
            return Err(too_large);
        }
        let len = |n: usize| u32::try_from(n).map(u32::to_le_bytes).map_err(|_| too_large);
        Ok([&ticket[..], &len(json.len())?, &len(frame_len)?, &json].concat())
    }

    /// How its frame is coded.
    pub fn coding(&self) -> Coding {
        match self {
            Self::Render(description, _) => description.coding,
            Self::Decode(coding, _) => *coding,
        }
    }

    /// Bytes of the frame once it is decoded, by what its data set says.
    pub fn decoded_bytes(&self) -> u64 {
        let layout = match self {
            Self::Render(description, _) => &description.layout,
            Self::Decode(_, layout) => layout,
        };
        let pixels = u64::from(layout.rows).saturating_mul(u64::from(layout.columns));
        pixels.saturating_mul(u64::from(layout.samples)).saturating_mul(u64::from(layout.allocated.div_ceil(8)))
    }

    /// Whether nothing is decoded: grey samples as they lie, shown through a window, and coded by this crate. That is
    /// arithmetic without a parser, so a frame of at most [`MAX_PLAIN_BYTES`] needs no process of its own.
    pub fn is_plain(&self) -> bool {
        let Self::Render(description, wish) = self else { return false };
        let layout = &description.layout;
        description.coding == Coding::Native
            && layout.samples == 1
            && matches!(layout.photometric, Photometric::Monochrome1 | Photometric::Monochrome2)
            && wish.viewport.is_none()
            && description.pixel_shape.is_none()
            && wish.format == Format::Jpeg
            && self.decoded_bytes() <= MAX_PLAIN_BYTES as u64
    }

    /// Does it.
    ///
    /// # Errors
    /// As [`render::render`] and [`decode::decode`].
    pub fn run(&self, frame: &[u8]) -> Result<Vec<u8>, RenderError> {
        match self {
            Self::Render(description, wish) => render::render(description, frame, wish).map(|picture| picture.0),
            Self::Decode(coding, layout) => Ok(decode::decode(*coding, layout, frame)?.into_rgb()?.to_native()),
        }
    }
}

/// The worker's life: reads a job, answers it, until the input ends.
///
/// # Errors
/// Input or output that breaks, and a job that cannot be read.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    // Kept from job to job: new memory costs more than what is done with it.
    let (mut head, mut frame) = (Vec::new(), Vec::new());
    while let Some((ticket, lengths)) = next(&mut input)? {
        let [h0, h1, h2, h3, f0, f1, f2, f3] = lengths;
        let head = bytes(&mut input, &mut head, u32::from_le_bytes([h0, h1, h2, h3]), MAX_JOB_HEAD_BYTES)?;
        let job: Job = serde_json::from_slice(head).map_err(|_| io::ErrorKind::InvalidData)?;
        let frame = bytes(&mut input, &mut frame, u32::from_le_bytes([f0, f1, f2, f3]), MAX_JOB_FRAME_BYTES)?;
        let (word, answer) = match job.run(frame) {
            Ok(done) => (DONE, done),
            Err(error) => (REFUSED, error.code().as_bytes().to_vec()),
        };
        say(&mut output, word, ticket, &answer)?;
    }
    Ok(())
}

/// The life of a worker that may not work: reads nothing of the first job but its ticket, and says why.
///
/// # Errors
/// Input or output that breaks.
pub fn refuse(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    match next(&mut input)? {
        Some((ticket, _)) => say(&mut output, REFUSED, ticket, NOT_CONFINED.as_bytes()),
        None => Ok(()),
    }
}

/// A job's ticket and lengths; nothing at the end of the input.
fn next(input: &mut impl Read) -> io::Result<Option<(Ticket, [u8; 8])>> {
    let mut ticket = Ticket::default();
    match input.read(&mut ticket)? {
        0 => return Ok(None),
        some => input.read_exact(ticket.get_mut(some..).unwrap_or_default())?,
    }
    let mut lengths = [0; 8];
    input.read_exact(&mut lengths)?;
    Ok(Some((ticket, lengths)))
}

fn say(output: &mut impl Write, word: u8, ticket: Ticket, answer: &[u8]) -> io::Result<()> {
    let len = u32::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let head = [&[word][..], &len.to_le_bytes(), &ticket].concat();
    // In one piece if the output takes it, so that the reader wakes up once.
    let mut both = [IoSlice::new(&head), IoSlice::new(answer)];
    let mut left = both.as_mut_slice();
    while !left.is_empty() {
        match output.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    output.flush()
}

/// Reads `len` bytes into memory that was used before.
fn bytes<'a>(input: &mut impl Read, into: &'a mut Vec<u8>, len: u32, most: usize) -> io::Result<&'a [u8]> {
    let len = usize::try_from(len).ok().filter(|len| *len <= most).ok_or(io::ErrorKind::InvalidData)?;
    if into.len() < len {
        into.resize(len, 0);
    }
    let bytes = into.get_mut(..len).ok_or(io::ErrorKind::InvalidData)?;
    input.read_exact(bytes)?;
    Ok(bytes)
}

/// Says which job an answer is for.
pub type Ticket = [u8; 16];

/// What an answer begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerHead {
    /// So many bytes of what was asked for follow.
    Done(usize),
    /// So many bytes of an error's code follow.
    Refused(usize),
}

impl AnswerHead {
    /// Bytes of it.
    pub const LEN: usize = 5 + size_of::<Ticket>();

    /// Reads it; `None` for what no worker says, and for an answer to another job than that of `ticket`.
    pub fn read(bytes: [u8; Self::LEN], ticket: Ticket) -> Option<Self> {
        let [word, a, b, c, d, said @ ..] = bytes;
        if said != ticket {
            return None;
        }
        let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
        match word {
            DONE => (len <= MAX_ANSWER_BYTES).then_some(Self::Done(len)),
            REFUSED => (len <= MAX_CODE_BYTES).then_some(Self::Refused(len)),
            _ => None,
        }
    }
}

/// The code of a refusal, if it is one that there is.
pub fn known_code(bytes: &[u8]) -> Option<&'static str> {
    let unread = Unread::ALL.into_iter().map(Unread::code);
    CODES.into_iter().chain(unread).find(|code| code.as_bytes() == bytes)
}

/// A worker that could not give up what it has no need of.
pub const NOT_CONFINED: &str = "not-confined";

/// The codes of [`DecodeError`] and [`RenderError`], and [`NOT_CONFINED`].
const CODES: [&str; 11] = [
    NOT_CONFINED,
    "not-decodable",
    "frame-too-large",
    "frame-truncated",
    "frame-damaged",
    "frame-contradictory",
    "no-pixels",
    "pixels-float",
    "pixels-undescribed",
    "viewport",
    "not-coded",
];

const DONE: u8 = 1;
const REFUSED: u8 = 2;
const MAX_CODE_BYTES: usize = 32;
/// A description with every table it may have.
const MAX_JOB_HEAD_BYTES: usize = 4 << 20;
/// Bytes of a frame that may be rendered without a worker: a few milliseconds' work.
pub const MAX_PLAIN_BYTES: usize = 4 << 20;
/// Bytes of a coded frame.
pub const MAX_JOB_FRAME_BYTES: usize = 192 << 20;
/// Bytes of an answer: a native frame, or a picture of one that is hard to compress.
pub const MAX_ANSWER_BYTES: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Photometric;

    fn job() -> Job {
        let layout = Layout {
            rows: 2,
            columns: 2,
            samples: 1,
            allocated: 8,
            stored: 8,
            high_bit: 7,
            signed: false,
            planar: false,
            photometric: Photometric::Monochrome2,
        };
        Job::Decode(Coding::Native, layout)
    }

    fn said(frames: &[&[u8]]) -> Vec<u8> {
        let mut input = Vec::new();
        for (number, frame) in (1..).zip(frames) {
            input.extend(job().head([number; 16], frame.len()).unwrap());
            input.extend(*frame);
        }
        let mut output = Vec::new();
        serve(input.as_slice(), &mut output).unwrap();
        output
    }

    #[test]
    fn a_worker_answers_one_job_after_the_other() {
        let output = said(&[&[1, 2, 3, 4], &[1], &[5, 6, 7, 8]]);
        let expected = [
            [&[DONE, 4, 0, 0, 0][..], &[1; 16], &[1, 2, 3, 4]].concat(),
            [&[REFUSED, 15, 0, 0, 0][..], &[2; 16], b"frame-truncated"].concat(),
            [&[DONE, 4, 0, 0, 0][..], &[3; 16], &[5, 6, 7, 8]].concat(),
        ];
        assert_eq!(output, expected.concat());
    }

    #[test]
    fn a_worker_that_may_not_work_says_so() {
        let (mut output, input) = (Vec::new(), job().head([7; 16], 4).unwrap());
        refuse(input.as_slice(), &mut output).unwrap();
        let (head, code) = output.split_first_chunk().unwrap();
        assert_eq!(AnswerHead::read(*head, [7; 16]), Some(AnswerHead::Refused(code.len())));
        assert_eq!(known_code(code), Some(NOT_CONFINED));
        refuse([].as_slice(), Vec::new()).unwrap();
    }

    #[test]
    fn every_error_has_a_known_code() {
        let what = "";
        let errors = [
            RenderError::Decode(DecodeError::Unsupported { what }),
            RenderError::Decode(DecodeError::TooLarge),
            RenderError::Decode(DecodeError::Truncated),
            RenderError::Decode(DecodeError::Damaged { what }),
            RenderError::Decode(DecodeError::Contradiction { what }),
            RenderError::NoPixels,
            RenderError::Undescribed { what },
            RenderError::Outside,
            RenderError::Coding,
        ];
        let unread = Unread::ALL.map(|unread| RenderError::Decode(DecodeError::Unread(unread)));
        for error in errors.into_iter().chain(unread) {
            assert_eq!(known_code(error.code().as_bytes()), Some(error.code()));
        }
        assert_eq!(known_code(b"CANARY^NEVER"), None);
    }

    #[test]
    fn an_answer_of_a_mad_worker_is_no_answer() {
        let read = |head: [u8; 5], ticket: u8| {
            let bytes = [&head[..], &[ticket; 16]].concat();
            AnswerHead::read(bytes.try_into().unwrap(), [9; 16])
        };
        assert_eq!(read([DONE, 255, 255, 255, 255], 9), None);
        assert_eq!(read([REFUSED, 0, 1, 0, 0], 9), None);
        assert_eq!(read([7, 1, 0, 0, 0], 9), None);
        assert_eq!(read([DONE, 1, 0, 0, 0], 8), None, "it is for another job");
        assert_eq!(read([DONE, 1, 0, 0, 0], 9), Some(AnswerHead::Done(1)));
    }
}
