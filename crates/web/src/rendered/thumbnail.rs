//! One small picture that stands for a study, a series, an instance or a frame (PS3.18 §10.4.1.1.4).
//!
//! An instance's, as it is asked for without parameters, is stored sealed after it was first made; other sizes, windows and
//! formats are made each time.

use super::{PictureError, instance, many, wanted, wish::Asked};
use crate::{App, Problem, accept::Wrapping, app::Caller, wado};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_engine::{Document, Target};
use leadglass_imaging::render::{Format, Metadata, Viewport, Wish};
use leadglass_model::{Permit, Read, StudyUid};

/// `GET /studies/{study}/thumbnail`: of its first instance with pixels.
pub(crate) async fn study_thumbnail(
    State(app): State<App>,
    caller: Caller,
    Path(study): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let target = Target::Study(wado::study_uid(&study)?);
    of_many(&app, &caller, &parts, &target, |_| 0).await
}

/// `GET /studies/{study}/series/{series}/thumbnail`: of the instance in its middle.
pub(crate) async fn series_thumbnail(
    State(app): State<App>,
    caller: Caller,
    Path((study, series)): Path<(String, String)>,
    parts: Parts,
) -> Result<Response, Problem> {
    let target = Target::Series(wado::study_uid(&study)?, wado::series_uid(&series)?);
    of_many(&app, &caller, &parts, &target, |count| count / 2).await
}

/// `GET /studies/{study}/series/{series}/instances/{instance}/thumbnail`
pub(crate) async fn instance_thumbnail(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<(String, String, String)>,
    parts: Parts,
) -> Result<Response, Problem> {
    of_frame(&app, &caller, &parts, &path, None).await
}

/// `GET …/instances/{instance}/frames/{frames}/thumbnail`: of the first frame that is named.
pub(crate) async fn frame_thumbnail(
    State(app): State<App>,
    caller: Caller,
    Path((study, series, instance, frames)): Path<(String, String, String, String)>,
    parts: Parts,
) -> Result<Response, Problem> {
    let number = wado::numbers(&frames)?.first().copied();
    of_frame(&app, &caller, &parts, &(study, series, instance), number).await
}

async fn of_frame(
    app: &App,
    caller: &Caller,
    parts: &Parts,
    path: &(String, String, String),
    number: Option<u32>,
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let asked = Asked::parse(parts.uri.query())?;
    let (_, format) = wanted(parts, &[Wrapping::Single])?;
    let wish = asked.wish(format, Some(SMALL));
    let mut stored = None;
    if number.is_none() && is_usual(&asked, format) {
        let (study, series, instance) = path;
        let (study, series) = (wado::study_uid(study)?, wado::series_uid(series)?);
        let sop = wado::instance_uid(instance)?;
        let found = app.engine.thumbnail(&permit, caller.session, &study, &series, &sop).await;
        let mut found = found.map_err(|e| wado::problem(&e))?;
        let tag = wado::entity_tag(found.stamp(), "-thumbnail");
        if let Some(answer) = wado::unchanged(&parts.headers, &tag) {
            return Ok(answer);
        }
        if let Some(picture) = found.read().await.map_err(|e| wado::problem(&e))? {
            return Ok(answer(picture, format, Some(&tag)));
        }
        stored = Some((found, tag));
    }
    let known = instance::known(app, caller, &permit, path).await?;
    let (pixels, representative) = {
        let metadata = known.metadata().map_err(|e| e.problem())?;
        (metadata.has_pixels(), metadata.representative_frame())
    };
    if !pixels {
        return Err(none());
    }
    let number = number.unwrap_or(representative);
    let Some((place, tag)) = stored else {
        return instance::one(app, caller, &permit, &known, parts, number, &wish).await;
    };
    let picture = known.picture(app, caller, &permit, number, &wish).await.map_err(|e| e.problem())?;
    place.keep(picture.clone());
    Ok(answer(picture, format, Some(&tag)))
}

/// Whether it is the thumbnail that is stored.
fn is_usual(asked: &Asked, format: Format) -> bool {
    *asked == Asked::default() && format == Format::Jpeg
}

/// Of the first instance with pixels, from the one that `start` points at, of so many, and around to it again.
async fn of_many(
    app: &App,
    caller: &Caller,
    parts: &Parts,
    target: &Target,
    start: fn(usize) -> usize,
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let asked = Asked::parse(parts.uri.query())?;
    let metadata = app.engine.metadata(&permit, caller.session, target).await.map_err(|e| wado::problem(&e))?;
    let (study, start) = (metadata.study().clone(), start(metadata.len()));
    let (_, format) = wanted(parts, &[Wrapping::Single])?;
    let (wish, usual) = (asked.wish(format, Some(SMALL)), is_usual(&asked, format));
    let (mut seen, mut before, mut tries) = (0, None, 0);
    let mut documents = std::pin::pin!(metadata.documents());
    while let Some(batch) = documents.try_next().await.map_err(|e| wado::problem(&e))? {
        for document in batch {
            seen += 1;
            if !has_pixels(&document) {
                continue;
            }
            if seen <= start {
                before = Some(document);
                continue;
            }
            tries += 1;
            if let Some(answer) = try_one(app, caller, &permit, study.clone(), document, (&wish, usual)).await? {
                return Ok(answer);
            }
            if tries == MAX_TRIES {
                return Err(none());
            }
        }
    }
    let Some(document) = before else { return Err(none()) };
    try_one(app, caller, &permit, study, document, (&wish, usual)).await?.ok_or_else(none)
}

async fn try_one(
    app: &App,
    caller: &Caller,
    permit: &Permit<Read>,
    study: StudyUid,
    document: Document,
    (wish, usual): (&Wish, bool),
) -> Result<Option<Response>, Problem> {
    let made = if usual {
        stored_or_made(app, caller, permit, study, document, wish).await
    } else {
        many::first(app, caller, permit, study, document, wish).await.map(|made| made.map(|(_, picture)| picture))
    };
    Ok(made.map_err(|e: PictureError| e.problem())?.map(|picture| answer(picture, wish.format, None)))
}

async fn stored_or_made(
    app: &App,
    caller: &Caller,
    permit: &Permit<Read>,
    study: StudyUid,
    document: Document,
    wish: &Wish,
) -> Result<Option<Bytes>, PictureError> {
    let Document { series, instance, .. } = &document;
    let mut place = app.engine.thumbnail(permit, caller.session, &study, series, instance).await?;
    if let Some(picture) = place.read().await? {
        return Ok(Some(picture));
    }
    let made = many::first(app, caller, permit, study, document, wish).await?.map(|(_, picture)| picture);
    if let Some(picture) = &made {
        place.keep(picture.clone());
    }
    Ok(made)
}

fn answer(picture: Bytes, format: Format, tag: Option<&str>) -> Response {
    let len = picture.len();
    let mut answer = Response::new(Body::from(picture));
    let out = answer.headers_mut();
    wado::insert(out, header::CONTENT_TYPE, format.media_type());
    wado::insert(out, header::CONTENT_LENGTH, &len.to_string());
    if let Some(tag) = tag {
        wado::insert(out, header::ETAG, tag);
    }
    out.insert(header::VARY, HeaderValue::from_static(wado::VARY));
    answer
}

fn has_pixels(document: &Document) -> bool {
    let text = std::str::from_utf8(document.json.expose()).ok();
    text.and_then(|text| Metadata::parse(text).ok()).is_some_and(|metadata| metadata.has_pixels())
}

fn none() -> Problem {
    Problem::with_status(StatusCode::NOT_FOUND, "no-thumbnail", "There is no picture that could stand for this.")
}

/// Columns and rows at most.
const SMALL: Viewport = Viewport::within(200, 200);
/// Instances whose pixels cannot be shown before it is given up.
const MAX_TRIES: usize = 4;
