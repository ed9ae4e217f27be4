//! Frames (PS3.18 §10.4.1.1.6): in the syntax they are stored in, one part each, or one alone.

use super::{
    Pieces, answer, asked_range, begun, boundary, entity_tag, instance_uid, partial, problem, series_uid, study_uid,
    unchanged, unsatisfiable, wanted,
};
use crate::{
    App, Problem,
    accept::{Offer, Wrapping},
    app::Caller,
    qido::place::Place,
    range::Wanted,
    rendered,
};
use axum::{
    extract::{Path, State},
    http::request::Parts,
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use leadglass_engine::{Frame, Pixels, RetrieveError};
use leadglass_model::Fault;

/// `GET /studies/{study}/series/{series}/instances/{instance}/frames/{frames}`
pub(crate) async fn frames(
    State(app): State<App>,
    caller: Caller,
    Path((study, series, instance, frames)): Path<(String, String, String, String)>,
    parts: Parts,
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let numbers = numbers(&frames)?;
    let (study, series, instance) = (study_uid(&study)?, series_uid(&series)?, instance_uid(&instance)?);
    let pixels = app.engine.pixels(&permit, caller.session, &study, &series, &instance).await;
    let pixels = pixels.map_err(|e| problem(&e))?;
    // All of them exist, or the answer is that one does not.
    for number in &numbers {
        let _there = pixels.frame(*number).map_err(|e| problem(&e))?;
    }
    let place = Place::of(&parts).instance(&study, &series, &instance);
    match decoded(&pixels, &parts, numbers.len() == 1) {
        Some(offer) => {
            rendered::decoded(app, caller, (study, series, instance), pixels, numbers, &offer, (&parts, place)).await
        }
        None => respond(pixels, numbers, &parts, &place).await,
    }
}

/// Whether the caller wants frames decoded that are stored otherwise; `single` where they can leave in one body.
pub(super) fn decoded(pixels: &Pixels, parts: &Parts, single: bool) -> Option<Offer> {
    let mut offers = offers(pixels, if single { 1 } else { 2 });
    if rendered::is_decoded(pixels) {
        let wrappings = [Wrapping::Multipart, Wrapping::Single].into_iter().take(if single { 2 } else { 1 });
        offers.extend(wrappings.map(|wrapping| Offer::encoded(wrapping, OCTETS, EXPLICIT_LE, true)));
    }
    let offer = wanted(parts, &offers, FORMS).ok()?;
    (offer.syntax.as_deref() == Some(EXPLICIT_LE) && pixels.encoding().as_str() != EXPLICIT_LE).then_some(offer)
}

/// These frames, which exist, in the form that is wanted.
pub(super) async fn respond(
    pixels: Pixels,
    numbers: Vec<u32>,
    parts: &Parts,
    place: &str,
) -> Result<Response, Problem> {
    let offer = wanted(parts, &offers(&pixels, numbers.len()), FORMS)?;
    match (offer.wrapping, numbers.as_slice()) {
        (Wrapping::Single, [number]) => {
            let tag = entity_tag(pixels.stamp(), &format!("-{number}"));
            let frame = pixels.frame(*number).map_err(|e| problem(&e))?;
            single(frame, parts, &content_type_of_part(&offer), &tag).await
        }
        _ => multipart(pixels, numbers, &offer, place).await,
    }
}

/// A comma-separated list of frame numbers, counted from 1, none of them twice.
pub(crate) fn numbers(list: &str) -> Result<Vec<u32>, Problem> {
    let sentence = "Name frames by number, counted from 1, with commas in between: frames/1,2,5.";
    let refused = || Problem::new(Fault::BadInput, "frame-list", sentence);
    let mut numbers = Vec::new();
    for number in list.split(',') {
        let number = Some(number.trim()).filter(|n| n.bytes().all(|b| b.is_ascii_digit())).ok_or_else(refused)?;
        numbers.push(number.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(refused)?);
        if numbers.len() > MAX_FRAMES {
            return Err(refused());
        }
    }
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() == numbers.len() { Ok(numbers) } else { Err(refused()) }
}

/// What frames of this instance are served as (PS3.18 Table 8.7.3-5), and always as `application/octet-stream` too.
fn offers(pixels: &Pixels, count: usize) -> Vec<Offer> {
    let syntax = pixels.encoding().as_str();
    let own = media_type(syntax);
    let mut offers = Vec::with_capacity(4);
    for wrapping in [Wrapping::Multipart, Wrapping::Single] {
        if wrapping == Wrapping::Single && count != 1 {
            break;
        }
        offers.extend(own.map(|kind| Offer::encoded(wrapping, kind, syntax, true)));
        // Without a transfer syntax this media type means uncompressed.
        offers.push(Offer::encoded(wrapping, OCTETS, syntax, own.is_none()));
    }
    offers
}

/// The media type of compressed frames; `None` for uncompressed ones and for syntaxes without one.
pub(super) fn media_type(syntax: &str) -> Option<&'static str> {
    let last = syntax.strip_prefix("1.2.840.10008.1.2.")?;
    Some(match last {
        "4.50" | "4.51" | "4.57" | "4.70" => "image/jpeg",
        "4.80" | "4.81" => "image/jls",
        "4.90" | "4.91" => "image/jp2",
        "4.92" | "4.93" => "image/jpx",
        "4.110" | "4.111" | "4.112" => "image/jxl",
        "4.201" | "4.202" | "4.203" => "image/jphc",
        "5" => "image/dicom-rle",
        "4.100" | "4.101" | "4.100.1" | "4.101.1" => "video/mpeg",
        "4.102" | "4.103" | "4.104" | "4.105" | "4.106" | "4.102.1" | "4.103.1" | "4.104.1" | "4.105.1" | "4.106.1" => {
            "video/mp4"
        }
        "4.107" | "4.108" => "video/H265",
        _ => return None,
    })
}

pub(super) fn content_type_of_part(offer: &Offer) -> String {
    match &offer.syntax {
        Some(syntax) => format!("{}; transfer-syntax={syntax}", offer.kind),
        None => offer.kind.to_owned(),
    }
}

/// One frame or other value alone. `Range` is honoured where the length is known, which is nearly always.
pub(crate) async fn single(frame: Frame, parts: &Parts, kind: &str, tag: &str) -> Result<Response, Problem> {
    if let Some(answer) = unchanged(&parts.headers, tag) {
        return Ok(answer);
    }
    let ranged = |total| match asked_range(&parts.headers, total, tag) {
        Wanted::Whole => Some(0..total),
        Wanted::Part(range) => Some(range),
        Wanted::Unsatisfiable => None,
    };
    // Of what lies as it is given out, only the part is read.
    let (mut frame, mut told) = (frame, None);
    if let Some(total) = frame.len() {
        let Some(range) = ranged(total) else { return Ok(unsatisfiable(total)) };
        if frame.narrow(range.clone()) {
            told = Some((range, total));
        }
    }
    let (len, body) = frame.begin().await.map_err(|e| problem(&e))?;
    let (range, total, body) = match (told, len) {
        (Some((range, total)), _) => (range, total, body),
        (None, Some(total)) => match ranged(total) {
            Some(range) if range == (0..total) => (range, total, body),
            Some(range) => (range.clone(), total, cut(body, range)),
            None => return Ok(unsatisfiable(total)),
        },
        (None, None) => return Ok(answer(kind, None, Some(tag), body)),
    };
    let mut answer = answer(kind, None, Some(tag), body);
    partial(&mut answer, &range, total);
    Ok(answer)
}

/// Bytes `range` of a body.
fn cut(body: Pieces, range: std::ops::Range<u64>) -> Pieces {
    let state = (body, 0_u64, range);
    Box::pin(stream::try_unfold(state, |(mut body, mut at, range)| async move {
        while at < range.end {
            let Some(piece) = body.try_next().await? else { break };
            let (start, end) = (at, at.saturating_add(piece.len() as u64));
            at = end;
            let within = |at: u64| usize::try_from(at.clamp(start, end) - start).unwrap_or(piece.len());
            let piece = piece.slice(within(range.start)..within(range.end));
            if !piece.is_empty() {
                return Ok(Some((piece, (body, at, range))));
            }
        }
        Ok(None)
    }))
}

/// `multipart/related` (RFC 2387), one part a frame, read one after the other. The length of all is told where each is
/// known beforehand.
async fn multipart(pixels: Pixels, numbers: Vec<u32>, offer: &Offer, place: &str) -> Result<Response, Problem> {
    let boundary = boundary();
    let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let content_type = format!("multipart/related; type=\"{}\"; boundary={boundary}", offer.kind);
    let (kind, place) = (content_type_of_part(offer), format!("{place}/frames"));
    let head = move |first: bool, number: u32, len: Option<u64>| {
        let break_before = if first { "" } else { "\r\n" };
        let len = len.map_or_else(String::new, |len| format!("Content-Length: {len}\r\n"));
        format!("{break_before}--{boundary}\r\nContent-Type: {kind}\r\nContent-Location: {place}/{number}\r\n{len}\r\n")
    };
    let mut total = Some(tail.len() as u64);
    for (nth, number) in numbers.iter().enumerate() {
        let len = pixels.frame(*number).map_err(|e| problem(&e))?.len();
        total = total.zip(len).map(|(total, len)| total + len + head(nth == 0, *number, Some(len)).len() as u64);
        if total.is_none() {
            break;
        }
    }
    let parts: Pieces = Box::pin(
        stream::iter(numbers.into_iter().enumerate())
            .then(move |(nth, number)| {
                let frame = pixels.frame(number);
                let head = head.clone();
                async move {
                    let (len, body) = frame?.begin().await?;
                    let head = Bytes::from(head(nth == 0, number, len));
                    Ok::<_, RetrieveError>(stream::once(async move { Ok(head) }).chain(body))
                }
            })
            .try_flatten(),
    );
    let body = begun(parts).await?.chain(stream::once(async move { Ok(tail) }));
    Ok(answer(&content_type, total, None, Box::pin(body)))
}

/// Frames of one request: what fits into an address.
const MAX_FRAMES: usize = 4_096;
pub(super) const OCTETS: &str = "application/octet-stream";
/// What compressed frames are decoded to.
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";

const FORMS: &str = "Frames are served in the transfer syntax they are stored in, in multipart/related or one alone: \
                     as application/octet-stream, or compressed as image/jpeg, image/jls, image/jp2, image/dicom-rle. \
                     Say transfer-syntax=* to take whatever is stored; plain application/octet-stream decodes it.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_list_is_numbers_from_one_and_none_twice() {
        for (list, expected) in [
            ("1", Some(vec![1])),
            ("2,1,30", Some(vec![2, 1, 30])),
            ("1, 2", Some(vec![1, 2])),
            ("", None),
            ("0", None),
            ("1,", None),
            ("1,1", None),
            ("-1", None),
            ("+1", None),
            ("1-3", None),
            ("4294967296", None),
        ] {
            assert_eq!(numbers(list).ok(), expected, "{list}");
        }
        let long = (1..=5_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert!(numbers(&long).is_err());
    }
}
