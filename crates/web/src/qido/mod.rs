//! QIDO-RS (PS3.18 §10.6): studies, series and instances, of one study or of all.
//!
//! What is answered: every attribute of the level, and those of the levels above; `includefield` may ask for
//! any attribute of the standard or any tag, what is kept nowhere in the index is left out, with a warning (opening each
//! instance's metadata for a list would need its keys); a name that is none is refused, for a typing error must not look like an absent value.
//! A search without results is answered 200 with an empty list, as PS3.18 has it since 2026a. A study or series in the
//! path that the caller may not see is absent: 404. What cannot be matched is refused: 400. More than a search can look
//! through in five seconds: 413. `fuzzymatching=true` finds names too that are nearly right: words in any order, beginnings,
//! one wrong letter in four, two in eight; other attributes are matched as always.

mod answer;
mod attributes;
mod keys;
mod media;
pub(crate) mod place;
pub(crate) mod xml;

use crate::{App, Problem, app::Caller, coding::Coding};
use answer::Asking;
use attributes::Level;
use axum::{
    extract::{Path, State},
    http::{StatusCode, request::Parts},
    response::Response,
};
use keys::Asked;
use leadglass_engine::{SearchError, Within};
use leadglass_index::DeepQuery;
use leadglass_model::{Fault, SeriesUid, StudyUid};
use place::Place;

/// `GET /studies`
pub(crate) async fn studies(State(app): State<App>, caller: Caller, parts: Parts) -> Result<Response, Problem> {
    let permit = caller.search()?;
    let (query, form, place) = read(Level::Study, &parts)?;
    let found = app.engine.search(&permit, query.study).await.map_err(|e| problem(&e))?;
    Ok(answer::answer(&form, found.hits.iter().map(|hit| answer::study(hit, &place)).collect(), found.more))
}

/// `GET /series`
pub(crate) async fn all_series(State(app): State<App>, caller: Caller, parts: Parts) -> Result<Response, Problem> {
    find_series(&app, &caller, &parts, Within::Tenant).await
}

/// `GET /studies/{study}/series`
pub(crate) async fn series(
    State(app): State<App>,
    caller: Caller,
    Path(study): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let study = StudyUid::parse(&study).map_err(|_| Problem::not_found())?;
    find_series(&app, &caller, &parts, Within::Study(&study)).await
}

/// `GET /instances`
pub(crate) async fn all_instances(State(app): State<App>, caller: Caller, parts: Parts) -> Result<Response, Problem> {
    find_instances(&app, &caller, &parts, Within::Tenant).await
}

/// `GET /studies/{study}/instances`
pub(crate) async fn instances(
    State(app): State<App>,
    caller: Caller,
    Path(study): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let study = StudyUid::parse(&study).map_err(|_| Problem::not_found())?;
    find_instances(&app, &caller, &parts, Within::Study(&study)).await
}

/// `GET /studies/{study}/series/{series}/instances`
pub(crate) async fn instances_of_series(
    State(app): State<App>,
    caller: Caller,
    Path((study, series)): Path<(String, String)>,
    parts: Parts,
) -> Result<Response, Problem> {
    let study = StudyUid::parse(&study).map_err(|_| Problem::not_found())?;
    let series = SeriesUid::parse(&series).map_err(|_| Problem::not_found())?;
    find_instances(&app, &caller, &parts, Within::Series(&study, &series)).await
}

async fn find_series(app: &App, caller: &Caller, parts: &Parts, within: Within<'_>) -> Result<Response, Problem> {
    let permit = caller.search()?;
    let (query, form, place) = read(Level::Series, parts)?;
    let found = app.engine.search_series(&permit, within, query).await.map_err(|e| problem(&e))?;
    Ok(answer::answer(&form, found.hits.iter().map(|hit| answer::series(hit, &place)).collect(), found.more))
}

async fn find_instances(app: &App, caller: &Caller, parts: &Parts, within: Within<'_>) -> Result<Response, Problem> {
    let permit = caller.search()?;
    let (query, form, place) = read(Level::Instance, parts)?;
    let found = app.engine.search_instances(&permit, within, query).await.map_err(|e| problem(&e))?;
    Ok(answer::answer(&form, found.hits.iter().map(|hit| answer::instance(hit, &place)).collect(), found.more))
}

fn read(level: Level, parts: &Parts) -> Result<(DeepQuery, Asking, Place), Problem> {
    let Asked { query, accept, left_out, literal } = keys::read(level, parts.uri.query().unwrap_or(""))?;
    let header = crate::accept::header(&parts.headers).ok_or_else(not_acceptable)?;
    let form = media::form(accept.as_deref().or(header.as_deref())).ok_or_else(not_acceptable)?;
    let warnings = [(left_out, LEFT_OUT), (literal, LITERAL)];
    let warnings = warnings.into_iter().filter_map(|(is, warning)| is.then_some(warning)).collect();
    Ok((query, Asking { form, coding: Coding::of(&parts.headers), warnings }, Place::of(parts)))
}

/// PS3.18 §8.3.4.5, §8.3.4.6.
const LITERAL: &str =
    "299 leadglass \"Only literal matching was done: neither of empty values nor of several ones of one key.\"";
/// PS3.18 §8.3.4.3.
const LEFT_OUT: &str =
    "299 leadglass \"Attributes of includefield that the index does not keep at this level are left out.\"";

fn not_acceptable() -> Problem {
    Problem::with_status(
        StatusCode::NOT_ACCEPTABLE,
        "not-acceptable",
        "Results are served as application/dicom+json, or as multipart/related; type=\"application/dicom+xml\".",
    )
}

fn problem(error: &SearchError) -> Problem {
    match (error, error.fault()) {
        (_, Fault::Missing) => Problem::not_found(),
        (SearchError::TooBroad, _) => Problem::with_status(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-broad",
            "There is too much to look through: name a study, a patient or a range of dates as well.",
        ),
        (_, fault) => Problem::new(fault, "search", "The index cannot be asked now; try again in a moment."),
    }
}
