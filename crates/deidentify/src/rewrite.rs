//! One data set, written anew without what names a patient, while its bytes go by.
//!
//! What comes out is Explicit VR Little Endian with delimiters instead of lengths; compressed pixels stay as they are
//! coded. Held at a time: one value that is to be changed, up to 64 KiB; one that is longer is made up or emptied.
//! Nothing is written of what was not decided on, and a value that cannot be what its tag says it is removed.

mod writer;

use crate::{Findings, Job, Plan};
use flate2::{Decompress, FlushDecompress, Status};
use leadglass_model::TransferSyntaxUid;
use leadglass_tap::{Framing, Limits, Syntax, WalkError, Walker};
use std::sync::Arc;
use writer::Writer;

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
        if let Some(refusal) = self.writer.refused() {
            return Err(DeidentifyError::Refused(refusal));
        }
        walked?;
        self.writer.give(out);
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
        self.writer.finish(out).map_err(DeidentifyError::Refused)
    }
}

/// PS3.5 §A.2.
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
const INFLATED_AT_A_TIME: usize = 32 << 10;
