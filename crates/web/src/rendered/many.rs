//! All pictures of a series or a study, in multipart/related, made while they are sent.

use super::{
    Known, PictureError, Subject,
    profile::Profile,
    wanted,
    wish::{Asked, undrawn},
};
use crate::{
    App, Problem,
    accept::Wrapping,
    app::Caller,
    qido::place::Place,
    wado::{self, Named},
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use leadglass_engine::Document;
use leadglass_imaging::render::{RenderError, Wish};
use leadglass_model::{Permit, Read, StudyUid};

/// `GET /studies/{study}/rendered`, and the same of a series.
pub(crate) async fn many(
    State(app): State<App>,
    caller: Caller,
    Named(target): Named,
    parts: Parts,
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let asked = Asked::parse(parts.uri.query())?;
    let metadata = app.engine.metadata(&permit, caller.session, &target).await.map_err(|e| wado::problem(&e))?;
    let study = metadata.study().clone();
    let (_, format) = wanted(&parts, &[Wrapping::Multipart])?;
    let wish = asked.wish(format, None);
    let (place, profile) = (Place::of(&parts), Profile::asked(parts.uri.query())?);
    let documents = metadata
        .documents()
        .map_err(PictureError::from)
        .map_ok(|batch| stream::iter(batch.into_iter().map(Ok::<_, PictureError>)))
        .try_flatten();
    let pictures = documents
        .and_then(move |document| {
            let (app, permit, study, wish) = (app.clone(), permit.clone(), study.clone(), wish.clone());
            let place = place.instance(&study, &document.series, &document.instance);
            async move {
                let Some((known, picture)) = first(&app, &caller, &permit, study, document, &wish).await? else {
                    return Ok(None);
                };
                let (bytes, bears_profile) = known.profiled(&app, &caller, &permit, profile, picture).await?;
                Ok(Some(Part { place: format!("{place}/rendered"), bytes, bears_profile }))
            }
        })
        .try_filter_map(|picture| async move { Ok(picture) });
    let query = parts.uri.query();
    multipart(pictures, (format.media_type(), format.media_type()), |bears_profile| undrawn(query, bears_profile)).await
}

/// A picture, or a frame, as a part of an answer.
pub(super) struct Part {
    /// Where it can be had alone.
    pub(super) place: String,
    pub(super) bytes: Bytes,
    pub(super) bears_profile: bool,
}

/// The picture that stands for an instance; `None` for one without pixels, or whose pixels cannot be shown: the others can.
pub(super) async fn first(
    app: &App,
    caller: &Caller,
    permit: &Permit<Read>,
    study: StudyUid,
    document: Document,
    wish: &Wish,
) -> Result<Option<(Known, Bytes)>, PictureError> {
    let Document { series, instance, json, .. } = document;
    let subject = Subject { study, series, instance };
    let known = Known::with(app, caller, permit, subject, json).await?;
    let number = {
        let metadata = known.metadata()?;
        if !metadata.has_pixels() {
            return Ok(None);
        }
        metadata.representative_frame()
    };
    match known.picture(app, caller, permit, number, wish).await {
        Ok(picture) => Ok(Some((known, picture))),
        Err(PictureError::Work(error)) if error.is_about_the_frame() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Pictures as parts (RFC 2387), each of type `kind`, of which the whole tells the media type `inner`. The first is waited
/// for: what has none is no answer. It also tells `warning` whether a profile is borne, which all of one series do or none.
pub(super) async fn multipart(
    pictures: impl Stream<Item = Result<Part, PictureError>> + Send + 'static,
    (inner, kind): (&str, &str),
    warning: impl FnOnce(bool) -> Option<&'static str>,
) -> Result<Response, Problem> {
    let mut pictures = Box::pin(pictures);
    let first = match pictures.next().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(error.problem()),
        None => return Err(PictureError::from(RenderError::NoPixels).problem()),
    };
    let (boundary, warning) = (wado::boundary(), warning(first.bears_profile));
    let head = {
        let (boundary, kind) = (boundary.clone(), kind.to_owned());
        move |place: &str, len: usize| {
            Bytes::from(format!(
                "--{boundary}\r\nContent-Type: {kind}\r\nContent-Location: {place}\r\nContent-Length: {len}\r\n\r\n"
            ))
        }
    };
    let tail = Bytes::from(format!("--{boundary}--\r\n"));
    let parts = stream::once(async move { Ok(first) }).chain(pictures).map_ok(move |Part { place, bytes, .. }| {
        let head = head(&place, bytes.len());
        stream::iter([head, bytes, Bytes::from_static(b"\r\n")].map(Ok))
    });
    let broken = |_: PictureError| std::io::Error::other("a picture could not be made");
    let body = parts.try_flatten().map_err(broken).chain(stream::once(async move { Ok(tail) }));
    let mut answer = Response::new(Body::from_stream(body));
    let out = answer.headers_mut();
    wado::insert(out, header::CONTENT_TYPE, &format!("multipart/related; type=\"{inner}\"; boundary={boundary}"));
    out.insert(header::VARY, HeaderValue::from_static(wado::VARY));
    if let Some(warning) = warning {
        out.insert(header::WARNING, HeaderValue::from_static(warning));
    }
    Ok(answer)
}
