//! What a render worker is asked and what it answers: two lengths, a head in JSON and a frame; a word, a length and bytes.
//!
//! The worker reads what the vault wrote and may be trusted with; the vault reads what a process wrote that had foreign
//! bytes in its hands: [`AnswerHead::read`] takes nothing on trust, not even the name of an error.

use crate::{
    decode::{self, Coding, DecodeError, Layout},
    render::{self, Description, RenderError, Wish},
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
    /// What to write before the frame of `frame_len` bytes.
    ///
    /// # Errors
    /// A frame longer than [`MAX_JOB_FRAME_BYTES`], or a head longer than [`MAX_JOB_HEAD_BYTES`].
    pub fn head(&self, frame_len: usize) -> Result<Vec<u8>, RenderError> {
        let too_large = RenderError::Decode(DecodeError::TooLarge);
        let json = serde_json::to_vec(self).map_err(|_| RenderError::Coding)?;
        if json.len() > MAX_JOB_HEAD_BYTES || frame_len > MAX_JOB_FRAME_BYTES {
            return Err(too_large);
        }
        let len = |n: usize| u32::try_from(n).map(u32::to_le_bytes).map_err(|_| too_large);
        Ok([&len(json.len())?[..], &len(frame_len)?, &json].concat())
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
    loop {
        let mut lengths = [0; 8];
        match input.read(&mut lengths)? {
            0 => return Ok(()),
            some => input.read_exact(lengths.get_mut(some..).unwrap_or_default())?,
        }
        let [h0, h1, h2, h3, f0, f1, f2, f3] = lengths;
        let head = bytes(&mut input, &mut head, u32::from_le_bytes([h0, h1, h2, h3]), MAX_JOB_HEAD_BYTES)?;
        let job: Job = serde_json::from_slice(head).map_err(|_| io::ErrorKind::InvalidData)?;
        let frame = bytes(&mut input, &mut frame, u32::from_le_bytes([f0, f1, f2, f3]), MAX_JOB_FRAME_BYTES)?;
        let (word, answer) = match job.run(frame) {
            Ok(done) => (DONE, done),
            Err(error) => (REFUSED, error.code().as_bytes().to_vec()),
        };
        let len = u32::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let [a, b, c, d] = len.to_le_bytes();
        // In one piece if the output takes it, so that the reader wakes up once.
        let head = [word, a, b, c, d];
        let mut both = [IoSlice::new(&head), IoSlice::new(&answer)];
        let mut left = both.as_mut_slice();
        while !left.is_empty() {
            match output.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        output.flush()?;
    }
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
    pub const LEN: usize = 5;

    /// Reads it; `None` for what no worker says.
    pub fn read(bytes: [u8; Self::LEN]) -> Option<Self> {
        let [word, a, b, c, d] = bytes;
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
    CODES.into_iter().find(|code| code.as_bytes() == bytes)
}

/// The codes of [`DecodeError`] and [`RenderError`].
const CODES: [&str; 9] = [
    "not-decodable",
    "frame-too-large",
    "frame-truncated",
    "frame-damaged",
    "frame-contradictory",
    "no-pixels",
    "pixels-undescribed",
    "viewport",
    "not-coded",
];

const DONE: u8 = 1;
const REFUSED: u8 = 2;
const MAX_CODE_BYTES: usize = 32;
/// A description with every table it may have.
const MAX_JOB_HEAD_BYTES: usize = 4 << 20;
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
        for frame in frames {
            input.extend(job().head(frame.len()).unwrap());
            input.extend(*frame);
        }
        let mut output = Vec::new();
        serve(input.as_slice(), &mut output).unwrap();
        output
    }

    #[test]
    fn a_worker_answers_one_job_after_the_other() {
        let output = said(&[&[1, 2, 3, 4], &[1], &[5, 6, 7, 8]]);
        let mut expected = vec![DONE, 4, 0, 0, 0, 1, 2, 3, 4, REFUSED, 15, 0, 0, 0];
        expected.extend(b"frame-truncated");
        expected.extend([DONE, 4, 0, 0, 0, 5, 6, 7, 8]);
        assert_eq!(output, expected);
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
        for error in errors {
            assert_eq!(known_code(error.code().as_bytes()), Some(error.code()));
        }
        assert_eq!(known_code(b"CANARY^NEVER"), None);
    }

    #[test]
    fn an_answer_of_a_mad_worker_is_no_answer() {
        assert_eq!(AnswerHead::read([DONE, 255, 255, 255, 255]), None);
        assert_eq!(AnswerHead::read([REFUSED, 0, 1, 0, 0]), None);
        assert_eq!(AnswerHead::read([7, 1, 0, 0, 0]), None);
        assert_eq!(AnswerHead::read([DONE, 1, 0, 0, 0]), Some(AnswerHead::Done(1)));
    }
}
