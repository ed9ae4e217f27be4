//! One instance, or some of its frames.

use super::{
    Known, PictureError, Subject,
    many::{self, Part},
    profile::Profile,
    wanted,
    wish::{Asked, undrawn},
};
use crate::{
    App, Problem,
    accept::{Offer, Wrapping},
    app::Caller,
    qido::place::Place,
    wado,
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, header, request::Parts},
    response::Response,
};
use futures::stream;
use leadglass_imaging::render::Wish;
use leadglass_model::{Permit, Read};

/// `GET /studies/{study}/series/{series}/instances/{instance}/rendered`: of several frames the representative one.
pub(crate) async fn instance(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<(String, String, String)>,
    parts: Parts,
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let asked = Asked::parse(parts.uri.query())?;
    let known = known(&app, &caller, &permit, &path).await?;
    let (document, number) = {
        let metadata = known.metadata().map_err(|e| e.problem())?;
        (metadata.document(), metadata.representative_frame())
    };
    if let Some(kind) = document {
        return paper(&app, &caller, &permit, &known, &parts, &kind).await;
    }
    let (wrapping, format) = wanted(&parts, &[Wrapping::Single, Wrapping::Multipart])?;
    let wish = asked.wish(format, None);
    match wrapping {
        Wrapping::Single => one(&app, &caller, &permit, &known, &parts, number, &wish).await,
        Wrapping::Multipart => several(app, caller, permit, known, &parts, vec![number], wish).await,
    }
}

/// `GET …/instances/{instance}/frames/{frames}/rendered`
pub(crate) async fn frames(
    State(app): State<App>,
    caller: Caller,
    Path((study, series, instance, frames)): Path<(String, String, String, String)>,
    parts: Parts,
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let numbers = wado::numbers(&frames)?;
    let asked = Asked::parse(parts.uri.query())?;
    let known = known(&app, &caller, &permit, &(study, series, instance)).await?;
    for number in &numbers {
        known.pixels.frame(*number).map_err(|e| wado::problem(&e))?;
    }
    let wrappings: &[Wrapping] =
        if numbers.len() == 1 { &[Wrapping::Single, Wrapping::Multipart] } else { &[Wrapping::Multipart] };
    let (wrapping, format) = wanted(&parts, wrappings)?;
    let wish = asked.wish(format, None);
    match (wrapping, numbers.as_slice()) {
        (Wrapping::Single, [number]) => one(&app, &caller, &permit, &known, &parts, *number, &wish).await,
        _ => several(app, caller, permit, known, &parts, numbers, wish).await,
    }
}

pub(super) async fn known(
    app: &App,
    caller: &Caller,
    permit: &Permit<Read>,
    (study, series, instance): &(String, String, String),
) -> Result<Known, Problem> {
    let subject = Subject {
        study: wado::study_uid(study)?,
        series: wado::series_uid(series)?,
        instance: wado::instance_uid(instance)?,
    };
    Known::of(app, caller, permit, subject).await.map_err(|e| e.problem())
}

/// One picture alone.
pub(super) async fn one(
    app: &App,
    caller: &Caller,
    permit: &Permit<Read>,
    known: &Known,
    parts: &Parts,
    number: u32,
    wish: &Wish,
) -> Result<Response, Problem> {
    let profile = Profile::asked(parts.uri.query())?;
    let tag = known.tag(number, wish, profile);
    if let Some(answer) = wado::unchanged(&parts.headers, &tag) {
        return Ok(answer);
    }
    let picture = known.picture(app, caller, permit, number, wish).await.map_err(|e| e.problem())?;
    let borne = known.profiled(app, caller, permit, profile, picture).await.map_err(|e| e.problem())?;
    let (picture, bears_profile) = borne;
    let len = picture.len();
    let mut answer = Response::new(Body::from(picture));
    let out = answer.headers_mut();
    wado::insert(out, header::CONTENT_TYPE, wish.format.media_type());
    wado::insert(out, header::CONTENT_LENGTH, &len.to_string());
    wado::insert(out, header::ETAG, &tag);
    out.insert(header::VARY, HeaderValue::from_static(wado::VARY));
    if let Some(warning) = undrawn(parts.uri.query(), bears_profile) {
        out.insert(header::WARNING, HeaderValue::from_static(warning));
    }
    Ok(answer)
}

/// Several, one after the other: the first decides whether there is an answer at all.
async fn several(
    app: App,
    caller: Caller,
    permit: Permit<Read>,
    known: Known,
    parts: &Parts,
    numbers: Vec<u32>,
    wish: Wish,
) -> Result<Response, Problem> {
    let Subject { study, series, instance } = &known.subject;
    let place = Place::of(parts).instance(study, series, instance);
    let (format, profile) = (wish.format, Profile::asked(parts.uri.query())?);
    let state = (app, caller, permit, known, numbers.into_iter(), wish);
    let pictures = stream::try_unfold(state, move |(app, caller, permit, known, mut numbers, wish)| {
        let place = place.clone();
        async move {
            let Some(number) = numbers.next() else { return Ok(None) };
            let picture = known.picture(&app, &caller, &permit, number, &wish).await?;
            let (bytes, bears_profile) = known.profiled(&app, &caller, &permit, profile, picture).await?;
            let part = Part { place: format!("{place}/frames/{number}/rendered"), bytes, bears_profile };
            Ok::<_, PictureError>(Some((part, (app, caller, permit, known, numbers, wish))))
        }
    });
    let (kind, query) = (format.media_type(), parts.uri.query());
    many::multipart(pictures, (kind, kind), |bears_profile| undrawn(query, bears_profile)).await
}

/// A document as it is (PS3.18 §8.7.4).
async fn paper(
    app: &App,
    caller: &Caller,
    permit: &Permit<Read>,
    known: &Known,
    parts: &Parts,
    kind: &str,
) -> Result<Response, Problem> {
    let no_form = "A document of this kind is not rendered. Its bytes can be fetched as bulk data.";
    if !kind.eq_ignore_ascii_case(PDF) {
        return Err(wado::not_acceptable(no_form));
    }
    wado::wanted(parts, &[Offer::plain(Wrapping::Single, PDF)], "A document is served as application/pdf.")?;
    let (place, len) = {
        let metadata = known.metadata().map_err(|e| e.problem())?;
        (metadata.document_place(), metadata.document_len())
    };
    let tag = wado::entity_tag(known.pixels.stamp(), "-paper");
    match place.ok_or_else(|| wado::not_acceptable(no_form))? {
        Err(mut bytes) => {
            let len = len.and_then(|len| usize::try_from(len).ok()).unwrap_or(usize::MAX);
            bytes.truncate(len);
            Ok(wado::unchanged(&parts.headers, &tag)
                .unwrap_or_else(|| wado::at_hand(&parts.headers, bytes.into(), PDF, &tag)))
        }
        Ok(path) => {
            let mut value = known.value(app, caller, permit, &path).await.map_err(|e| e.problem())?;
            // The value's length is even; the document's need not be.
            if let Some(len) = len.map(u64::from).filter(|len| value.len().is_some_and(|value| *len + 1 == value)) {
                let _only_what_lies_as_it_is = value.narrow(0..len);
            }
            wado::single(value, parts, PDF, &tag).await
        }
    }
}

const PDF: &str = "application/pdf";
