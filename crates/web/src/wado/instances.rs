//! Studies, series and instances (PS3.18 §10.4.1.1.1 to .3): as they went in, or in Explicit VR Little Endian.
//!
//! Of several instances those that cannot be served as asked are left out, which the status says (206) and a warning.

use super::{
    Named, Pieces, answer, asked_range, begun, boundary, entity_tag,
    explicit::{Asker, EXPLICIT_LE, File, Plan},
    not_acceptable, partial, problem, unchanged, unsatisfiable, wanted,
};
use crate::{
    App, Problem,
    accept::{Offer, Wrapping},
    app::Caller,
    range::Wanted,
    rendered::PictureError,
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use leadglass_engine::{Instance, Target};
use leadglass_model::TransferSyntaxUid;

/// `GET /studies/{study}`, and the same of a series or an instance.
pub(crate) async fn instances(
    State(app): State<App>,
    caller: Caller,
    Named(target): Named,
    parts: Parts,
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let one = matches!(target, Target::Instance(..));
    let found = app.engine.locate(&permit, caller.session, &target).await.map_err(|e| problem(&e))?;
    let (Target::Study(study) | Target::Series(study, _) | Target::Instance(study, ..)) = target;
    let asker = Asker { app, caller, permit, study };
    let (mut wrapping, mut left_out) = (Wrapping::Multipart, false);
    let mut chosen: Vec<(Instance, Option<Plan>)> = Vec::with_capacity(found.len());
    for instance in found {
        let Some((offer, plan)) = choose(&asker, &parts, &instance, one).await? else {
            left_out = true;
            continue;
        };
        if !chosen.is_empty() && wrapping != offer.wrapping {
            return Err(not_acceptable(FORMS));
        }
        wrapping = offer.wrapping;
        chosen.push((instance, plan));
    }
    match (wrapping, chosen.pop()) {
        (_, None) => Err(not_acceptable(FORMS)),
        (Wrapping::Single, Some((instance, None))) if chosen.is_empty() => single(instance, &parts.headers).await,
        (Wrapping::Single, Some((instance, Some(plan)))) if chosen.is_empty() => {
            explicit(asker, instance, plan, &parts.headers).await
        }
        (_, Some(last)) => {
            chosen.push(last);
            let mut answer = if chosen.iter().all(|(_, plan)| plan.is_none()) {
                multipart(chosen.into_iter().map(|(instance, _)| instance).collect()).await?
            } else {
                mixed(asker, chosen).await?
            };
            if left_out {
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                answer.headers_mut().insert(header::WARNING, HeaderValue::from_static(LEFT_OUT));
            }
            Ok(answer)
        }
    }
}

/// The form of one instance, and what makes it; `None` where it has none that the caller takes.
async fn choose(
    asker: &Asker,
    parts: &Parts,
    instance: &Instance,
    one: bool,
) -> Result<Option<(Offer, Option<Plan>)>, Problem> {
    let stored = instance.transfer_syntax();
    let Ok(offer) = wanted(parts, &forms(stored, one, true), FORMS) else { return Ok(None) };
    if offer.syntax.as_deref() == Some(stored.as_str()) {
        return Ok(Some((offer, None)));
    }
    if let Some(plan) = asker.plan(instance).await? {
        return Ok(Some((offer, Some(plan))));
    }
    // The next best, which is what is stored.
    Ok(wanted(parts, &forms(stored, one, false), FORMS).ok().map(|offer| (offer, None)))
}

/// What an instance of this syntax is served as: as it is, for who names no syntax, and explicit for who names that.
fn forms(stored: &TransferSyntaxUid, one: bool, explicit: bool) -> Vec<Offer> {
    let wrappings = [Some(Wrapping::Multipart), one.then_some(Wrapping::Single)].into_iter().flatten();
    let form = |wrapping, syntax: &str, usual| Offer::encoded(wrapping, "application/dicom", syntax, usual);
    let mut forms: Vec<Offer> = wrappings.clone().map(|wrapping| form(wrapping, stored.as_str(), true)).collect();
    if explicit && stored.as_str() != EXPLICIT_LE {
        forms.extend(wrappings.map(|wrapping| form(wrapping, EXPLICIT_LE, false)));
    }
    forms
}

/// One `application/dicom` body; `Range: bytes=a-b` is honoured (RFC 9110 §14).
async fn single(instance: Instance, headers: &HeaderMap) -> Result<Response, Problem> {
    let (total, kind, tag) = (instance.len(), content_type(&instance, None), entity_tag(instance.stamp(), ""));
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

/// One body in explicit little endian. Its length is not known beforehand, so it comes whole.
async fn explicit(asker: Asker, instance: Instance, plan: Plan, headers: &HeaderMap) -> Result<Response, Problem> {
    let (kind, tag) = (content_type(&instance, Some(plan)), entity_tag(instance.stamp(), "-le"));
    if let Some(answer) = unchanged(headers, &tag) {
        return Ok(answer);
    }
    let file = file(&asker, instance, Some(plan)).await?;
    Ok(answer(&kind, None, Some(&tag), file.map_err(|_| broken())))
}

/// The file of an instance, of which the first piece is there: what cannot be read or decoded at all is refused with a
/// reason.
async fn file(asker: &Asker, instance: Instance, plan: Option<Plan>) -> Result<File, Problem> {
    let mut file = match plan {
        None => Asker::stored(instance),
        Some(plan) => asker.explicit(instance, plan).await.map_err(|e| e.problem())?,
    };
    match file.next().await {
        Some(Err(error)) => Err(error.problem()),
        first => Ok(Box::pin(stream::iter(first).chain(file))),
    }
}

/// `multipart/related` (RFC 2387), one part an instance. Its length is known before the first byte, so it is told. Its
/// boundary is another each time, so that it has no tag.
async fn multipart(instances: Vec<Instance>) -> Result<Response, Problem> {
    let boundary = boundary();
    let heads: Vec<Bytes> =
        instances.iter().enumerate().map(|(i, instance)| head(&boundary, i == 0, instance, None)).collect();
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
    // While one instance leaves, the first bytes of the next are read and opened.
    let rest = stream::iter(parts).map(|(head, instance)| async move {
        let whole = 0..instance.len();
        let mut pieces = Box::pin(instance.read(whole));
        let first = pieces.next().await;
        stream::once(async move { Ok(head) }).chain(stream::iter(first)).chain(pieces)
    });
    let rest = rest.buffered(INSTANCES_AHEAD).flatten();
    let body = body.chain(rest).chain(stream::once(async move { Ok(tail) }));
    Ok(answer(&related(&boundary), Some(total), None, body))
}

/// The same where some are made explicit: one after the other, of unknown length.
async fn mixed(asker: Asker, chosen: Vec<(Instance, Option<Plan>)>) -> Result<Response, Problem> {
    let boundary = boundary();
    let kind = related(&boundary);
    let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let mut parts = chosen.into_iter().enumerate();
    let mut body: File = Box::pin(stream::empty());
    if let Some((_, (instance, plan))) = parts.next() {
        let head = head(&boundary, true, &instance, plan);
        let first = file(&asker, instance, plan).await?;
        body = Box::pin(stream::once(async move { Ok(head) }).chain(first));
    }
    let rest = stream::iter(parts).then(move |(_, (instance, plan))| {
        let (head, asker) = (head(&boundary, false, &instance, plan), asker.clone());
        async move {
            let file = match plan {
                None => Asker::stored(instance),
                Some(plan) => asker.explicit(instance, plan).await?,
            };
            Ok::<_, PictureError>(stream::once(async move { Ok(head) }).chain(file))
        }
    });
    let body = body.chain(rest.try_flatten()).chain(stream::once(async move { Ok(tail) }));
    Ok(answer(&kind, None, None, body.map_err(|_| broken())))
}

/// What stands in front of a part.
fn head(boundary: &str, first: bool, instance: &Instance, plan: Option<Plan>) -> Bytes {
    let break_before = if first { "" } else { "\r\n" };
    let kind = content_type(instance, plan);
    let len = if plan.is_none() { format!("Content-Length: {}\r\n", instance.len()) } else { String::new() };
    Bytes::from(format!("{break_before}--{boundary}\r\nContent-Type: {kind}\r\n{len}\r\n"))
}

fn related(boundary: &str) -> String {
    format!("multipart/related; type=\"application/dicom\"; boundary={boundary}")
}

fn content_type(instance: &Instance, plan: Option<Plan>) -> String {
    let syntax = if plan.is_some() { EXPLICIT_LE } else { instance.transfer_syntax().as_str() };
    format!("application/dicom; transfer-syntax={syntax}")
}

/// What an answer that breaks off says to the server; the caller sees it end too early.
fn broken() -> std::io::Error {
    std::io::Error::other("an instance could not be read or decoded")
}

/// Instances in work for one reader.
const INSTANCES_AHEAD: usize = 2;

const FORMS: &str = "Instances are served as application/dicom, alone or in multipart/related, in the transfer syntax they \
                     came in, or decoded to 1.2.840.10008.1.2.1 where that can be done. Say transfer-syntax=* to take \
                     whatever is stored.";

/// PS3.18 §10.4.3, Table 10.4.3-1.
const LEFT_OUT: &str = "299 leadglass \"Instances that cannot be served in this transfer syntax are left out: ask with \
                        transfer-syntax=* for all of them.\"";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept;

    #[test]
    fn what_is_stored_goes_before_what_is_made_and_a_named_syntax_before_both() {
        const RLE: &str = "1.2.840.10008.1.2.5";
        let table: &[(&str, bool, Option<&str>)] = &[
            ("", false, Some(RLE)),
            ("*/*", false, Some(RLE)),
            ("multipart/related; type=\"application/dicom\"", false, Some(RLE)),
            ("application/dicom", true, Some(RLE)),
            ("application/dicom", false, None),
            ("application/dicom; transfer-syntax=*", true, Some(RLE)),
            ("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", true, Some(EXPLICIT_LE)),
            (
                "multipart/related; type=\"application/dicom\"; transfer-syntax=1.2.840.10008.1.2.1",
                false,
                Some(EXPLICIT_LE),
            ),
            (
                "multipart/related; type=\"application/dicom; transfer-syntax=1.2.840.10008.1.2.1\"",
                false,
                Some(EXPLICIT_LE),
            ),
            ("application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80", true, None),
            (
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.1; q=0.4, application/dicom; transfer-syntax=*; q=0.5",
                true,
                Some(RLE),
            ),
            (
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.1, application/dicom; transfer-syntax=*; q=0.5",
                true,
                Some(EXPLICIT_LE),
            ),
            (
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.5; q=0, application/dicom; transfer-syntax=*",
                true,
                Some(EXPLICIT_LE),
            ),
        ];
        let stored = TransferSyntaxUid::parse(RLE).unwrap();
        for (header, one, expected) in table {
            let chosen = accept::choose(Some(header), &forms(&stored, *one, true)).and_then(|offer| offer.syntax);
            assert_eq!(chosen.as_deref(), *expected, "{header}");
        }
    }

    #[test]
    fn what_is_explicit_already_is_offered_once_and_what_cannot_be_made_is_not() {
        let explicit = TransferSyntaxUid::parse(EXPLICIT_LE).unwrap();
        let video = TransferSyntaxUid::parse("1.2.840.10008.1.2.4.102").unwrap();
        assert_eq!(forms(&explicit, true, true).len(), 2);
        assert_eq!(forms(&video, true, false).len(), 2);
    }
}
