//! Bulk data (PS3.18 §10.4.1.1.5): the values that the metadata point at.

use super::{answer, begun, boundary, entity_tag, frames, instance_uid, problem, series_uid, study_uid, wanted};
use crate::{
    App, Problem,
    accept::{Offer, Wrapping},
    app::Caller,
    qido::place::Place,
    rendered,
};
use axum::{
    extract::{Path, State},
    http::request::Parts,
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use leadglass_engine::{Bulk, BulkPath, Frame};
use leadglass_imaging::render::Metadata;
use leadglass_model::{SeriesUid, SopInstanceUid, StudyUid};

/// `GET /studies/{study}/series/{series}/instances/{instance}/bulkdata/{path}`
pub(crate) async fn bulkdata(
    State(app): State<App>,
    caller: Caller,
    Path((study, series, instance, path)): Path<(String, String, String, String)>,
    parts: Parts,
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let (study, series, instance) = (study_uid(&study)?, series_uid(&series)?, instance_uid(&instance)?);
    // What is no path names nothing, which is also what it names of an instance that the caller may not see.
    let path = BulkPath::parse(&path).ok_or_else(Problem::not_found)?;
    let found = app.engine.bulk(&permit, caller.session, (&study, &series, &instance), &path).await;
    let place = Place::of(&parts).instance(&study, &series, &instance);
    match found.map_err(|e| problem(&e))? {
        Bulk::Frames(pixels) => {
            let numbers: Vec<u32> = (1..=pixels.count().unwrap_or(0)).collect();
            // Decoded, they are one value: native Pixel Data.
            match frames::decoded(&pixels, &parts, true) {
                Some(offer) => {
                    let uids = (study, series, instance);
                    rendered::decoded(app, caller, uids, *pixels, numbers, &offer, (&parts, place)).await
                }
                None => frames::respond(*pixels, numbers, &parts, &place).await,
            }
        }
        Bulk::Value { value, media_type } => {
            let document = media_type.as_deref().and_then(document_type);
            let padded = match document {
                Some(_) => is_padded(&app, &caller, (&study, &series, &instance), &value).await?,
                None => false,
            };
            let forms = [
                Some(Form::Encoded(frames::OCTETS, EXPLICIT_LE, true)),
                document.map(|kind| Form::Plain(kind, padded)),
            ];
            one(value, &forms, &parts).await
        }
        Bulk::Stream { value, encoding } => {
            let syntax = encoding.as_str();
            let own = frames::media_type(syntax).map(|kind| Form::Encoded(kind, syntax, true));
            let octets = Form::Encoded(frames::OCTETS, syntax, own.is_none());
            one(value, &[own, Some(octets)], &parts).await
        }
    }
}

/// What a value is served as.
#[derive(Debug, Clone, Copy)]
enum Form<'a> {
    /// As what it is; whether the last byte only makes its length even.
    Plain(&'static str, bool),
    /// In a transfer syntax, which is the usual one of this media type or not.
    Encoded(&'static str, &'a str, bool),
}

impl Form<'_> {
    fn offer(&self, wrapping: Wrapping) -> Offer {
        match self {
            Self::Plain(kind, _) => Offer::plain(wrapping, kind),
            Self::Encoded(kind, syntax, usual) => Offer::encoded(wrapping, kind, syntax, *usual),
        }
    }
}

/// Whether the instance says that its document is a byte shorter than its value (PS3.3 §C.24.2: Encapsulated Document
/// Length).
async fn is_padded(
    app: &App,
    caller: &Caller,
    (study, series, instance): (&StudyUid, &SeriesUid, &SopInstanceUid),
    value: &Frame,
) -> Result<bool, Problem> {
    let permit = caller.read()?;
    let json = app.engine.instance_metadata(&permit, caller.session, study, series, instance).await;
    let json = json.map_err(|e| problem(&e))?;
    let text = std::str::from_utf8(json.expose()).ok();
    let len = text.and_then(|text| Metadata::parse(text).ok()).and_then(|metadata| metadata.document_len());
    Ok(len.zip(value.len()).is_some_and(|(document, value)| u64::from(document) + 1 == value))
}

async fn one(mut value: Frame, forms: &[Option<Form<'_>>], parts: &Parts) -> Result<Response, Problem> {
    let both = [Wrapping::Multipart, Wrapping::Single];
    let offers = both.into_iter().flat_map(|w| forms.iter().flatten().map(move |form| form.offer(w)));
    let offer = wanted(parts, &offers.collect::<Vec<_>>(), FORMS)?;
    let kind = frames::content_type_of_part(&offer);
    let padded = forms.iter().flatten().any(|form| matches!(form, Form::Plain(kind, true) if *kind == offer.kind));
    if let Some(len) = value.len().filter(|_| padded) {
        let _only_what_lies_as_it_is = value.narrow(0..len.saturating_sub(1));
    }
    if offer.wrapping == Wrapping::Single {
        let tag = entity_tag(value.stamp(), if padded { "-d" } else { "-b" });
        return frames::single(value, parts, &kind, &tag).await;
    }
    let boundary = boundary();
    let (len, body) = value.begin().await.map_err(|e| problem(&e))?;
    let told = len.map_or_else(String::new, |len| format!("Content-Length: {len}\r\n"));
    let head = Bytes::from(format!("--{boundary}\r\nContent-Type: {kind}\r\n{told}\r\n"));
    let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let total = len.map(|len| len + head.len() as u64 + tail.len() as u64);
    let kind = format!("multipart/related; type=\"{}\"; boundary={boundary}", offer.kind);
    let body = stream::once(async move { Ok(head) }).chain(begun(body).await?);
    Ok(answer(&kind, total, None, Box::pin(body.chain(stream::once(async move { Ok(tail) })))))
}

/// The encapsulated documents that are served under their own name: what a browser shows without running anything.
fn document_type(told: &str) -> Option<&'static str> {
    DOCUMENTS.into_iter().find(|kind| *kind == told)
}

const DOCUMENTS: [&str; 4] = ["application/pdf", "model/stl", "model/obj", "model/mtl"];
/// Every value that is not compressed leaves as if its data set were in this.
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";

const FORMS: &str = "Bulk data are served as application/octet-stream, in multipart/related or alone, and a document also \
                     as what it is.";
