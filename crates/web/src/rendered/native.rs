//! Compressed frames decoded for whoever asks for Explicit VR Little Endian (PS3.18 §8.7.3.3).
//!
//! Colour leaves as RGB, pixel by pixel, whatever the compressed form was: the same that others make of it.

use super::{
    Known, PictureError, Subject,
    many::{self, Part},
    outgoing, whose,
};
use crate::{
    App, Problem,
    accept::{Offer, Wrapping},
    app::Caller,
    wado,
};
use axum::{
    body::Body,
    http::{HeaderValue, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use leadglass_engine::Pixels;
use leadglass_imaging::{decode::Coding, render::RenderError};
use leadglass_model::{Permit, Read, SeriesUid, SopInstanceUid, StudyUid};

/// Whether frames of this instance are compressed in a way that can be undone here.
pub(crate) fn is_decoded(pixels: &Pixels) -> bool {
    Coding::of(pixels.encoding().as_str()).is_ok_and(|coding| !coding.is_native())
}

/// These frames, decoded.
pub(crate) async fn decoded(
    app: App,
    caller: Caller,
    (study, series, instance): (StudyUid, SeriesUid, SopInstanceUid),
    pixels: Pixels,
    numbers: Vec<u32>,
    offer: &Offer,
    (parts, place): (&Parts, String),
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let json = app.engine.instance_metadata(&permit, caller.session, &study, &series, &instance).await;
    let json = json.map_err(|e| wado::problem(&e))?;
    let known = Known { subject: Subject { study, series, instance }, pixels, json };
    let kind = format!("{}; transfer-syntax={}", offer.kind, offer.syntax.as_deref().unwrap_or_default());
    if let (Wrapping::Single, [number]) = (offer.wrapping, numbers.as_slice()) {
        let tag = wado::entity_tag(known.pixels.stamp(), &format!("-{number}-d"));
        if let Some(answer) = wado::unchanged(&parts.headers, &tag) {
            return Ok(answer);
        }
        let bytes = known.native(&app, &caller, &permit, *number).await.map_err(|e| e.problem())?;
        return Ok(wado::at_hand(&parts.headers, bytes, &kind, &tag));
    }
    let frames = stream::iter(numbers).then({
        let known = std::sync::Arc::new((app, caller, permit, known));
        move |number| {
            let (known, place) = (known.clone(), format!("{place}/frames/{number}"));
            async move {
                let (app, caller, permit, known) = &*known;
                Ok::<_, PictureError>((place, known.native(app, caller, permit, number).await?))
            }
        }
    });
    if offer.wrapping == Wrapping::Single {
        return one_body(frames.map_ok(|(_, bytes)| bytes), &kind).await;
    }
    many::multipart(
        frames.map_ok(|(place, bytes)| Part { place, bytes, bears_profile: false }),
        (offer.kind, &kind),
        |_| None,
    )
    .await
}

/// One frame behind the other. The first is waited for: what has none is no answer.
async fn one_body(
    frames: impl Stream<Item = Result<Bytes, PictureError>> + Send + 'static,
    kind: &str,
) -> Result<Response, Problem> {
    let mut frames = Box::pin(frames);
    let first = match frames.next().await {
        Some(first) => first.map_err(|e| e.problem())?,
        None => return Err(PictureError::from(RenderError::NoPixels).problem()),
    };
    let broken = |_: PictureError| std::io::Error::other("a frame could not be decoded");
    let body = stream::once(async move { Ok(first) }).chain(frames).map_err(broken);
    let mut answer = Response::new(Body::from_stream(body));
    wado::insert(answer.headers_mut(), header::CONTENT_TYPE, kind);
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static(wado::VARY));
    Ok(answer)
}

impl Known {
    async fn native(
        &self,
        app: &App,
        caller: &Caller,
        permit: &Permit<Read>,
        number: u32,
    ) -> Result<Bytes, PictureError> {
        let description = self.description(app, caller, permit, number).await?;
        let how = (description.coding, description.layout);
        outgoing::decoded(app, whose(permit), &self.pixels, number, how).await
    }
}
