//! WADO-RS (PS3.18 §10.4): studies, series and instances as they went in, their metadata, and frames.
//!
//! One file an endpoint. What they share is here: who is meant by an address, which form is wanted, what a failed retrieval
//! tells the caller, and how a stream of pieces becomes an answer.

mod bulkdata;
mod capabilities;
mod explicit;
mod frames;
mod instances;
mod json;
mod metadata;
mod named;
mod xml;

pub(crate) use bulkdata::bulkdata;
pub(crate) use capabilities::capabilities;
pub(crate) use frames::{frames, numbers, single};
pub(crate) use instances::instances;
pub(crate) use metadata::metadata;
pub(crate) use named::Named;

use crate::{
    Problem,
    accept::{self, Offer},
    range::{self, Wanted},
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use leadglass_engine::RetrieveError;
use leadglass_model::{Fault, SeriesUid, SopInstanceUid, StudyUid};
use std::pin::Pin;

/// Pieces of an answer's body.
type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, RetrieveError>> + Send>>;

/// A study in an address. What is no UID names nothing.
pub(crate) fn study_uid(text: &str) -> Result<StudyUid, Problem> {
    StudyUid::parse(text).map_err(|_| Problem::not_found())
}

/// A series in an address.
pub(crate) fn series_uid(text: &str) -> Result<SeriesUid, Problem> {
    SeriesUid::parse(text).map_err(|_| Problem::not_found())
}

/// An instance in an address.
pub(crate) fn instance_uid(text: &str) -> Result<SopInstanceUid, Problem> {
    SopInstanceUid::parse(text).map_err(|_| Problem::not_found())
}

/// The offer that the caller wants: the `accept` parameter of the query goes before the header (PS3.18 §8.3.3.1).
pub(crate) fn wanted(parts: &Parts, offers: &[Offer], sentence: &'static str) -> Result<Offer, Problem> {
    let refused = || not_acceptable(sentence);
    let header = accept::header(&parts.headers).ok_or_else(refused)?;
    // A plus is a plus here: `application/dicom+json` is seldom escaped.
    let query = parts.uri.query().unwrap_or("").replace('+', "%2B");
    let asked = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "accept");
    accept::choose(asked.as_ref().map(|(_, value)| &**value).or(header.as_deref()), offers).ok_or_else(refused)
}

pub(crate) fn not_acceptable(sentence: &'static str) -> Problem {
    Problem::with_status(StatusCode::NOT_ACCEPTABLE, "not-acceptable", sentence)
}

/// A strong entity tag (RFC 9110 §8.8.3): what was given out, and in which form.
pub(crate) fn entity_tag(stamp: [u8; 16], form: &str) -> String {
    format!("\"{}{form}\"", hex::encode(stamp))
}

/// Whether the caller has this already (RFC 9110 §13.1.2): then it is told so.
pub(crate) fn unchanged(headers: &HeaderMap, tag: &str) -> Option<Response> {
    let mut known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    let same = |other: &str| matches!(other.trim(), "*") || other.trim().trim_start_matches("W/") == tag;
    known.any(|line| line.split(',').any(same)).then(|| {
        let mut answer = StatusCode::NOT_MODIFIED.into_response();
        insert(answer.headers_mut(), header::ETAG, tag);
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static(VARY));
        answer
    })
}

/// Bytes that are at hand, or the part of them that is asked for.
pub(crate) fn at_hand(headers: &HeaderMap, bytes: Bytes, kind: &str, tag: &str) -> Response {
    let total = bytes.len() as u64;
    let range = match asked_range(headers, total, tag) {
        Wanted::Whole => 0..total,
        Wanted::Part(range) => range,
        Wanted::Unsatisfiable => return unsatisfiable(total),
    };
    let within = |at: u64| usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
    let part = bytes.slice(within(range.start)..within(range.end));
    let mut answer = answer(kind, None, Some(tag), stream::once(async move { Ok::<_, RetrieveError>(part) }));
    partial(&mut answer, &range, total);
    answer
}

/// The bytes that a `Range` header asks for, of `total`: with `If-Range` only of what the caller has a part of already.
fn asked_range(headers: &HeaderMap, total: u64, tag: &str) -> Wanted {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if text(header::IF_RANGE).is_some_and(|known| known != tag) {
        return Wanted::Whole;
    }
    text(header::RANGE).map_or(Wanted::Whole, |value| range::parse(value, total))
}

/// 416, with the length.
fn unsatisfiable(total: u64) -> Response {
    let sentence = format!("There are {total} bytes.");
    let mut answer = Problem::with_status(StatusCode::RANGE_NOT_SATISFIABLE, "range", sentence).into_response();
    insert(answer.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{total}"));
    answer
}

/// An answer with a body of this type; its length is told where it is known.
fn answer<E: Into<axum::BoxError> + 'static>(
    content_type: &str,
    len: Option<u64>,
    tag: Option<&str>,
    body: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> Response {
    let mut answer = Response::new(Body::from_stream(body));
    let out = answer.headers_mut();
    insert(out, header::CONTENT_TYPE, content_type);
    if let Some(tag) = tag {
        insert(out, header::ETAG, tag);
    }
    out.insert(header::VARY, HeaderValue::from_static(VARY));
    if let Some(len) = len {
        insert(out, header::CONTENT_LENGTH, &len.to_string());
    }
    answer
}

/// The same for a part of the whole.
fn partial(answer: &mut Response, range: &std::ops::Range<u64>, total: u64) {
    let whole = *range == (0..total);
    let out = answer.headers_mut();
    insert(out, header::ACCEPT_RANGES, "bytes");
    insert(out, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    if !whole {
        insert(out, header::CONTENT_RANGE, &format!("bytes {}-{}/{total}", range.start, range.end - 1));
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
}

/// Waits for the first piece: what cannot be read at all is refused with a reason. What fails later can only break the
/// answer off.
async fn begun(pieces: impl Stream<Item = Result<Bytes, RetrieveError>> + Send + 'static) -> Result<Pieces, Problem> {
    let mut pieces: Pieces = Box::pin(pieces);
    match pieces.next().await {
        Some(Err(error)) => Err(problem(&error)),
        first => Ok(Box::pin(stream::iter(first).chain(pieces))),
    }
}

/// Random, so that no instance can hold it on purpose.
pub(crate) fn boundary() -> String {
    let mut bytes = [0; 16];
    leadglass_model::Entropy::fill(&leadglass_model::SystemEntropy, &mut bytes);
    format!("leadglass-{}", hex::encode(bytes))
}

pub(crate) fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    headers.insert(name, HeaderValue::from_str(value).expect("made of digits, UIDs and words"));
}

/// What a failed retrieval tells the caller.
pub(crate) fn problem(error: &RetrieveError) -> Problem {
    let told = |status| Problem::with_status(status, error.code(), error.advice());
    match (error, error.fault()) {
        (RetrieveError::NoSuchFrame { .. } | RetrieveError::NoSuchBulk, _) => told(StatusCode::NOT_FOUND),
        (RetrieveError::Inseparable | RetrieveError::Inexpressible, _) => told(StatusCode::NOT_ACCEPTABLE),
        (RetrieveError::NoMetadata, _) => told(StatusCode::PAYLOAD_TOO_LARGE),
        (_, Fault::Missing) => Problem::not_found(),
        _ if error.code() == "over-budget" => told(StatusCode::TOO_MANY_REQUESTS),
        (_, fault) => Problem::new(fault, error.code(), error.advice()),
    }
}

/// What an answer depends on beside its address.
pub(crate) const VARY: &str = "accept, accept-encoding, authorization, cookie";
