//! Metadata in DICOM JSON or XML with bulk data beside it (PS3.18 §8.7.3, §10.5.1): made into data sets in explicit VR
//! little endian and filed like any other instance.
//!
//! Metadata may point at any part, and several parts may be frames of one value, so all of it is held until the body is
//! over: [`MAX_METADATA_BYTES`] and [`MAX_BULK_BYTES`] a request, [`PLACES`] requests at one time. Whoever has more sends
//! files. What they become is bounded as well: [`MAX_ELEMENTS`], and [`MAX_ENCODED_BYTES`] however often they point at one
//! part. What metadata point at outside of the body is never fetched.

mod allowance;
mod data_set;
mod encode;
mod json;
mod xml;

use super::{
    bad,
    filing::Filing,
    incoming::{Gather, Incoming},
    media::MediaType,
    multipart::{Event, MAX_PARTS, Multipart, PartHead},
    outcome::Names,
};
use crate::Problem;
use allowance::Allowance;
use axum::http::StatusCode;
use bytes::Bytes;
use data_set::DataSet;
use leadglass_model::{Fault, Phi};
use std::{collections::HashMap, time::Duration};

/// How the metadata are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    Json,
    Xml,
}

/// Why metadata are not understood. No value and no name of anybody is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum ModelError {
    #[error("the metadata are not written in the form they claim")]
    Syntax,
    #[error("a tag is none, or has no place here")]
    Tag,
    #[error("a value representation is none")]
    Vr,
    #[error("a value does not fit its value representation")]
    Value,
    #[error("an element, or a value of one, is there twice")]
    Twice,
    #[error("sequences are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("there are more than {MAX_PARTS} instances")]
    TooMany,
    #[error("there are more than {MAX_ELEMENTS} elements and items")]
    TooManyElements,
}

/// A data set that was not understood, and what it is called as far as that was.
#[derive(Debug)]
struct Misread {
    error: ModelError,
    names: Names,
}

impl From<ModelError> for Misread {
    fn from(error: ModelError) -> Self {
        Self { error, names: Names::default() }
    }
}

/// A part that metadata point at.
#[derive(Debug)]
struct BulkPart {
    media: MediaType,
    pieces: Vec<Bytes>,
    len: u64,
}

/// Parts by the name they have.
type Bulk = HashMap<Phi<String>, Vec<BulkPart>>;

/// What a body of this kind holds.
#[derive(Debug, Default)]
struct Held {
    /// Each metadata part.
    metadata: Vec<Vec<u8>>,
    metadata_bytes: usize,
    bulk: Bulk,
    bulk_bytes: usize,
}

/// Where the part that is open goes.
enum Open {
    Metadata(Vec<u8>),
    Bulk { location: Phi<String>, part: BulkPart, gather: Gather },
}

/// Reads the body and files its instances.
pub(super) async fn take(
    incoming: &mut Incoming,
    filing: &mut Filing,
    reader: Multipart,
    notation: Notation,
) -> Result<(), Problem> {
    let held = tokio::time::timeout(HOLD_TIME, hold(incoming, filing, reader, notation)).await;
    let Held { metadata, bulk, .. } = held.map_err(|_| {
        Problem::with_status(
            StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            "Metadata and bulk data took longer than five minutes to arrive.",
        )
    })??;
    // A document of some megabytes takes a moment to read.
    let read = tokio::task::spawn_blocking(move || read(&metadata, notation)).await;
    let sets = read.map_err(|_| Problem::new(Fault::Broken, "internal", "The metadata could not be read."))??;
    let mut room = Allowance::of(MAX_ENCODED_BYTES);
    for set in sets {
        let set = match set {
            Ok(set) => set,
            Err(Misread { error, names }) => {
                filing.misread(names, &error);
                continue;
            }
        };
        match encode::file(&set, &bulk, &mut room) {
            Ok(pieces) => {
                drop(set);
                let mut arriving = filing.begin();
                for piece in pieces {
                    arriving.write(piece).await;
                }
                filing.file(arriving).await;
            }
            Err(failure) => filing.fail(encode::names(&set), failure),
        }
    }
    Ok(())
}

/// The body, up to the bounds.
async fn hold(
    incoming: &mut Incoming,
    filing: &mut Filing,
    mut reader: Multipart,
    notation: Notation,
) -> Result<Held, Problem> {
    let mut held = Held::default();
    let mut open = None;
    while let Some(piece) = filing.piece(incoming).await? {
        reader.push(piece);
        while let Some(event) = reader.next()? {
            match (event, &mut open) {
                (Event::Part(head), _) => open = Some(Open::of(head, notation)?),
                (Event::Data(data), Some(Open::Metadata(text))) => {
                    held.metadata_bytes += data.len();
                    if held.metadata_bytes > MAX_METADATA_BYTES {
                        return Err(too_large("The metadata are longer than 8 MiB; send files."));
                    }
                    text.extend_from_slice(&data);
                }
                (Event::Data(data), Some(Open::Bulk { part, gather, .. })) => {
                    held.bulk_bytes += data.len();
                    if held.bulk_bytes > MAX_BULK_BYTES {
                        return Err(too_large("The bulk data beside metadata are longer than 64 MiB; send files."));
                    }
                    part.len += data.len() as u64;
                    part.pieces.extend(gather.push(data).into_iter().flatten());
                }
                (Event::End, _) => match open.take() {
                    Some(Open::Metadata(text)) => held.metadata.push(text),
                    Some(Open::Bulk { location, mut part, mut gather }) => {
                        part.pieces.extend(gather.rest());
                        held.bulk.entry(location).or_default().push(part);
                    }
                    None => {}
                },
                (Event::Data(_), None) => {}
            }
        }
    }
    reader.finish()?;
    Ok(held)
}

impl Open {
    fn of(head: PartHead, notation: Notation) -> Result<Self, Problem> {
        if head.is_encoded {
            return Err(bad("encoding", "A part must not be compressed or written in base 64."));
        }
        let media = MediaType::parse(&head.content_type).unwrap_or_default();
        let is_metadata = match (notation, media.essence.as_str()) {
            (Notation::Json, "application/dicom+json" | "application/json") => true,
            (Notation::Xml, "application/dicom+xml" | "application/xml" | "text/xml") => true,
            (_, "") => head.location.is_none(),
            _ => false,
        };
        if is_metadata {
            return Ok(Self::Metadata(Vec::new()));
        }
        let no_name = || bad("location", "A part of bulk data has no Content-Location that metadata could point at.");
        let location = head.location.ok_or_else(no_name)?;
        let part = BulkPart { media, pieces: Vec::new(), len: 0 };
        Ok(Self::Bulk { location, part, gather: Gather::default() })
    }
}

/// All data sets of all metadata parts, in order. A data set that is not understood fails by itself.
fn read(metadata: &[Vec<u8>], notation: Notation) -> Result<Vec<Result<DataSet, Misread>>, Problem> {
    let mut sets = Vec::new();
    let mut elements = Allowance::of(MAX_ELEMENTS);
    for text in metadata {
        match notation {
            Notation::Json => sets.extend(json::read(text, MAX_PARTS, &mut elements).map_err(unreadable)?),
            Notation::Xml => match xml::read(text, &mut elements) {
                Err(error @ (ModelError::Syntax | ModelError::TooManyElements)) => return Err(unreadable(error)),
                set => sets.push(set.map_err(Misread::from).and_then(DataSet::sound)),
            },
        }
    }
    if sets.len() > MAX_PARTS { Err(unreadable(ModelError::TooMany)) } else { Ok(sets) }
}

fn unreadable(error: ModelError) -> Problem {
    if error == ModelError::TooManyElements {
        return too_large("The metadata have more than 100,000 elements and items; send files.");
    }
    Problem::new(Fault::BadInput, "metadata", format!("The metadata cannot be read: {error}."))
}

fn too_large(sentence: &'static str) -> Problem {
    Problem::with_status(StatusCode::PAYLOAD_TOO_LARGE, "too-large", sentence)
}

/// Bytes of metadata of one request.
const MAX_METADATA_BYTES: usize = 8 << 20;
/// Bytes of bulk data of one request.
const MAX_BULK_BYTES: usize = 64 << 20;
/// Bytes of all data sets that one request's metadata become: what it may send.
const MAX_ENCODED_BYTES: u64 = (MAX_METADATA_BYTES + MAX_BULK_BYTES) as u64;
/// Elements and items of all metadata of one request: each is kept, be its value empty.
const MAX_ELEMENTS: u64 = 100_000;
/// So long they may take to arrive: whoever sends a little now and then would keep the others out.
const HOLD_TIME: Duration = Duration::from_secs(300);
/// Requests of this kind at one time.
pub(super) const PLACES: usize = 2;
/// Sequences inside of one another. The engine's tap counts their items too, and allows 64 of both.
const MAX_DEPTH: usize = 31;
