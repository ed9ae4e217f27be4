//! JPEG as DICOM has it: sequential DCT of 8 and 12 bit (SOF0, SOF1) and lossless (SOF3); and progressive DCT (SOF2), which
//! DICOM retired and photos that were put into an instance as they were still come in.
//!
//! Source: ITU-T T.81 Annexes B (segments), F (sequential DCT), G (progressive DCT) and H (lossless); PS3.5 §8.2.1, Annex A.4.1.

mod bits;
mod dct;
mod head;
mod huffman;
mod lossless;
mod progressive;
mod upsample;

use super::{Colour, DecodeError, Frame, Layout, Photometric};
use bits::Bits;
use head::{Head, Process, Step};
use progressive::Progressive;

/// A component as its scan left it.
struct Plane {
    /// Samples in a row of `samples`, blocks at the right edge whole.
    stride: usize,
    /// Columns and rows that belong to the picture.
    columns: usize,
    rows: usize,
    samples: Vec<u16>,
    done: bool,
}

pub(super) fn decode(layout: &Layout, bytes: &[u8]) -> Result<Frame, DecodeError> {
    let mut head = Head::new(bytes);
    let mut planes: Vec<Plane> = Vec::new();
    let mut progressive: Option<Progressive> = None;
    loop {
        match head.step()? {
            Step::Frame => {
                let frame = head.frame()?;
                layout.agrees(frame.columns, frame.rows, frame.components.len(), u32::from(frame.precision))?;
                planes = frame.planes()?;
                if frame.process == Process::Progressive {
                    progressive = Some(Progressive::new(&planes)?);
                }
            }
            Step::Scan(scan) => {
                let frame = head.frame()?;
                let mut bits = Bits::new(head.rest());
                if let Some(progressive) = &mut progressive {
                    progressive.scan(frame, &scan, head.tables(), &mut planes, &mut bits)?;
                    let used = bits.used();
                    head.skip(used);
                    continue;
                }
                match frame.process {
                    Process::Progressive => return Err(DecodeError::Damaged { what: "a scan without a frame header" }),
                    Process::Dct => dct::scan(frame, &scan, head.tables(), &mut planes, &mut bits)?,
                    Process::Lossless => lossless::scan(frame, &scan, head.tables(), &mut planes, &mut bits)?,
                }
                for index in &scan.components {
                    if let Some(plane) = planes.get_mut(index.component) {
                        plane.done = true;
                    }
                }
                let used = bits.used();
                // Everything is there: what follows is of no interest, not even whether it is an end marker.
                if planes.iter().all(|plane| plane.done) {
                    break;
                }
                head.skip(used);
            }
            // What is refined scan by scan is whole at its end.
            Step::End if progressive.is_some() && planes.iter().all(|plane| plane.done) => break,
            Step::End => return Err(DecodeError::Truncated),
        }
    }
    let frame = head.frame()?;
    if let Some(progressive) = progressive {
        progressive.finish(frame.precision, &mut planes)?;
    }
    let colour = colour(layout, &head);
    let values = upsample::pixels(frame, planes)?;
    layout.coded(values, colour)
}

/// Whether three components are YCbCr: Adobe's segment says it, else what the components are called, else what JFIF
/// implies, else the data set.
fn colour(layout: &Layout, head: &Head<'_>) -> Colour {
    if layout.samples == 1 {
        return Colour::Single;
    }
    let names: Vec<u8> = head.frame().map(|f| f.components.iter().map(|c| c.id).collect()).unwrap_or_default();
    match (head.adobe, names.as_slice(), head.jfif) {
        (Some(0), ..) | (None, b"RGB", _) => Colour::Rgb,
        (Some(_), ..) | (None, _, true) => Colour::Ybr,
        _ if matches!(layout.photometric, Photometric::Rgb) => Colour::Rgb,
        _ => Colour::Ybr,
    }
}
