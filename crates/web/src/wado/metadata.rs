//! Metadata of studies, series and instances (PS3.18 §10.4.1.1.4): what was prepared at ingest.

use super::{
    answer, begun, boundary, entity_tag, insert, instance_uid,
    json::{self, Joined},
    problem, series_uid, study_uid, unchanged, wanted,
};
use crate::{
    App, Problem,
    accept::{Offer, Wrapping},
    app::Caller,
    qido::place::Place,
};
use axum::{
    extract::{Path, State},
    http::{header, request::Parts},
    response::Response,
};
use leadglass_engine::Target;

/// `GET /studies/{study}/metadata`
pub(crate) async fn study_metadata(
    State(app): State<App>,
    caller: Caller,
    Path(study): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    respond(&app, &caller, &parts, Target::Study(study_uid(&study)?)).await
}

/// `GET /studies/{study}/series/{series}/metadata`
pub(crate) async fn series_metadata(
    State(app): State<App>,
    caller: Caller,
    Path((study, series)): Path<(String, String)>,
    parts: Parts,
) -> Result<Response, Problem> {
    respond(&app, &caller, &parts, Target::Series(study_uid(&study)?, series_uid(&series)?)).await
}

/// `GET /studies/{study}/series/{series}/instances/{instance}/metadata`
pub(crate) async fn instance_metadata(
    State(app): State<App>,
    caller: Caller,
    Path((study, series, instance)): Path<(String, String, String)>,
    parts: Parts,
) -> Result<Response, Problem> {
    let target = Target::Instance(study_uid(&study)?, series_uid(&series)?, instance_uid(&instance)?);
    respond(&app, &caller, &parts, target).await
}

async fn respond(app: &App, caller: &Caller, parts: &Parts, target: Target) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let offer = wanted(parts, &OFFERS, FORMS)?;
    let metadata = app.engine.metadata(&permit, caller.session, &target).await.map_err(|e| problem(&e))?;
    let encodings = parts.headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let gzip = json::takes_gzip(encodings);
    let (kind, joined, tag) = match offer.wrapping {
        Wrapping::Single => {
            let form = if gzip { "-gz" } else { "" };
            (offer.kind.to_owned(), Joined::Array, Some(entity_tag(metadata.stamp(), form)))
        }
        Wrapping::Multipart => {
            let boundary = boundary();
            let kind = format!("multipart/related; type=\"{}\"; boundary={boundary}", offer.kind);
            (kind, Joined::Parts(boundary), None)
        }
    };
    if let Some(answer) = tag.as_ref().and_then(|tag| unchanged(&parts.headers, tag)) {
        return Ok(answer);
    }
    let (place, study) = (Place::of(parts), metadata.study().clone());
    let base =
        move |document: &leadglass_engine::Document| place.instance(&study, &document.series, &document.instance);
    let body = begun(json::body(metadata.documents(), base, joined, gzip)).await?;
    let mut answer = answer(&kind, None, tag.as_deref(), body);
    if gzip {
        insert(answer.headers_mut(), header::CONTENT_ENCODING, "gzip");
    }
    Ok(answer)
}

const OFFERS: [Offer; 3] = [
    Offer::plain(Wrapping::Single, "application/dicom+json"),
    Offer::plain(Wrapping::Single, "application/json"),
    Offer::plain(Wrapping::Multipart, "application/dicom+xml"),
];

const FORMS: &str =
    "Metadata are served as application/dicom+json, or as multipart/related; type=\"application/dicom+xml\".";
