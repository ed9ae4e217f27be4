//! Metadata of studies, series and instances (PS3.18 §10.4.1.1.4): what was prepared at ingest.

use super::{
    Named, answer, begun, boundary, entity_tag, insert,
    json::{self, Joined},
    problem, unchanged, wanted,
};
use crate::{
    App, Problem,
    accept::{Offer, Wrapping},
    app::Caller,
    coding::Coding,
    qido::place::Place,
};
use axum::{
    extract::State,
    http::{header, request::Parts},
    response::Response,
};

/// `GET /studies/{study}/metadata`, and the same of a series or an instance.
pub(crate) async fn metadata(
    State(app): State<App>,
    caller: Caller,
    Named(target): Named,
    parts: Parts,
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let offer = wanted(&parts, &OFFERS, FORMS)?;
    let metadata = app.engine.metadata(&permit, caller.session, &target).await.map_err(|e| problem(&e))?;
    let coding = Coding::of(&parts.headers);
    let (kind, joined, tag) = match offer.wrapping {
        Wrapping::Single => {
            let form = coding.map_or("", Coding::tag);
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
    let (place, study) = (Place::of(&parts), metadata.study().clone());
    let base =
        move |document: &leadglass_engine::Document| place.instance(&study, &document.series, &document.instance);
    let body = begun(json::body(metadata.documents(), base, joined, coding)).await?;
    let mut answer = answer(&kind, None, tag.as_deref(), body);
    if let Some(coding) = coding {
        insert(answer.headers_mut(), header::CONTENT_ENCODING, coding.name());
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
