//! Studies, series and instances come back as they went in (PS3.18 §10.4.1.1.1 to .3).

use super::{
    Pieces, answer, asked_range, begun, boundary, entity_tag, instance_uid, not_acceptable, partial, problem,
    series_uid, study_uid, unchanged, unsatisfiable, wanted,
};
use crate::{
    App, Problem,
    accept::{Offer, Wrapping},
    app::Caller,
    range::Wanted,
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, request::Parts},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use leadglass_engine::{Instance, Target};

/// `GET /studies/{study}`
pub(crate) async fn study(
    State(app): State<App>,
    caller: Caller,
    Path(study): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    respond(&app, &caller, &parts, Target::Study(study_uid(&study)?)).await
}

/// `GET /studies/{study}/series/{series}`
pub(crate) async fn series(
    State(app): State<App>,
    caller: Caller,
    Path((study, series)): Path<(String, String)>,
    parts: Parts,
) -> Result<Response, Problem> {
    respond(&app, &caller, &parts, Target::Series(study_uid(&study)?, series_uid(&series)?)).await
}

/// `GET /studies/{study}/series/{series}/instances/{instance}`
pub(crate) async fn instance(
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
    let one = matches!(target, Target::Instance(..));
    let mut instances = app.engine.locate(&permit, caller.session, &target).await.map_err(|e| problem(&e))?;
    let mut wrapping = None;
    for instance in &instances {
        // Part of a study must not look like all of it.
        let offer = wanted(parts, &forms(instance.transfer_syntax().as_str(), one), FORMS)?;
        if *wrapping.get_or_insert(offer.wrapping) != offer.wrapping {
            return Err(not_acceptable(FORMS));
        }
    }
    match wrapping {
        Some(Wrapping::Single) if instances.len() == 1 => single(instances.swap_remove(0), &parts.headers).await,
        _ => multipart(instances).await,
    }
}

/// What an instance of this syntax is served as.
fn forms(syntax: &str, one: bool) -> Vec<Offer> {
    let form = |wrapping| Offer::encoded(wrapping, "application/dicom", syntax, true);
    let single = one.then(|| form(Wrapping::Single));
    std::iter::once(form(Wrapping::Multipart)).chain(single).collect()
}

/// One `application/dicom` body; `Range: bytes=a-b` is honoured (RFC 9110 §14).
async fn single(instance: Instance, headers: &HeaderMap) -> Result<Response, Problem> {
    let (total, kind, tag) = (instance.len(), content_type(&instance), entity_tag(instance.stamp(), ""));
    if let Some(answer) = unchanged(headers, &tag) {
        return Ok(answer);
    }
    let range = match asked_range(headers, total, &tag) {
        Wanted::Whole => 0..total,
        Wanted::Part(range) => range,
        Wanted::Unsatisfiable => return Ok(unsatisfiable(total)),
    };
    let body = begun(instance.read(range.clone())).await?;
    let mut answer = answer(&kind, None, Some(&tag), body);
    partial(&mut answer, &range, total);
    Ok(answer)
}

/// `multipart/related` (RFC 2387), one part an instance. Its length is known before the first byte, so it is told. Its
/// boundary is another each time, so that it has no tag.
async fn multipart(instances: Vec<Instance>) -> Result<Response, Problem> {
    let boundary = boundary();
    let heads: Vec<Bytes> = instances
        .iter()
        .enumerate()
        .map(|(i, instance)| {
            let break_before = if i == 0 { "" } else { "\r\n" };
            let (kind, len) = (content_type(instance), instance.len());
            Bytes::from(format!("{break_before}--{boundary}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\r\n"))
        })
        .collect();
    let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let total = instances.iter().map(Instance::len).sum::<u64>()
        + heads.iter().map(|h| h.len() as u64).sum::<u64>()
        + tail.len() as u64;

    let mut parts = heads.into_iter().zip(instances);
    let mut body: Pieces = Box::pin(stream::empty());
    if let Some((head, instance)) = parts.next() {
        let whole = 0..instance.len();
        let first = begun(instance.read(whole)).await?;
        body = Box::pin(stream::once(async move { Ok(head) }).chain(first));
    }
    let rest = stream::iter(parts).flat_map(|(head, instance)| {
        let whole = 0..instance.len();
        stream::once(async move { Ok(head) }).chain(instance.read(whole))
    });
    let body = body.chain(rest).chain(stream::once(async move { Ok(tail) }));
    let kind = format!("multipart/related; type=\"application/dicom\"; boundary={boundary}");
    Ok(answer(&kind, Some(total), None, Box::pin(body)))
}

fn content_type(instance: &Instance) -> String {
    format!("application/dicom; transfer-syntax={}", instance.transfer_syntax())
}

const FORMS: &str =
    "Instances are served as application/dicom, alone or in multipart/related, in the transfer syntax they came in.";
