//! Instances as Explicit VR Little Endian, for whoever asks for that and not for what is stored (PS3.18 §8.7.3.2).
//!
//! The data set is rewritten while it is read; compressed frames are decoded by the render workers, one after the other.
//! What cannot be decoded at all is known before the first byte. A frame that turns out to be broken ends the answer: it
//! breaks off, so that nobody takes it for whole.

use super::problem;
use crate::{
    App, Problem,
    app::Caller,
    rendered::{Decoding, PictureError, whose},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, future::ready, stream};
use leadglass_engine::{Explicit, Instance, RetrieveError};
use leadglass_imaging::{decode::DecodeError, render::RenderError};
use leadglass_model::{Permit, Read, StudyUid};
use std::{pin::Pin, sync::Arc};

/// Who asks, for what study.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) app: App,
    pub(super) caller: Caller,
    pub(super) permit: Permit<Read>,
    pub(super) study: StudyUid,
}

/// What makes an instance explicit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Other element headers.
    Rewrite,
    /// The same, and decoded frames.
    Decode(Decoding),
}

/// A file, piece by piece.
pub(super) type File = Pin<Box<dyn Stream<Item = Result<Bytes, PictureError>> + Send>>;

/// Explicit VR Little Endian.
pub(super) const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// What is uncompressed and written otherwise: implicit, big endian, deflated.
const UNCOMPRESSED: [&str; 3] = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"];

impl Asker {
    /// How an instance becomes explicit; `None` where it cannot.
    pub(super) async fn plan(&self, instance: &Instance) -> Result<Option<Plan>, Problem> {
        let syntax = instance.transfer_syntax();
        if UNCOMPRESSED.contains(&syntax.as_str()) {
            return Ok(Some(Plan::Rewrite));
        }
        let (series, sop) = instance.uids();
        let Self { app, caller, permit, study } = self;
        let json = match app.engine.instance_metadata(permit, caller.session, study, series, sop).await {
            Ok(json) => json,
            Err(RetrieveError::NoMetadata) => return Ok(None),
            Err(error) => return Err(problem(&error)),
        };
        Ok(match Decoding::of(&json, syntax) {
            Ok(None) => Some(Plan::Rewrite),
            Ok(Some(decoding)) => decoding.len(instance.frames()).map(|_| Plan::Decode(decoding)),
            Err(_) => None,
        })
    }

    /// An instance as it is stored.
    pub(super) fn stored(instance: Instance) -> File {
        let whole = 0..instance.len();
        Box::pin(instance.read(whole).map_err(PictureError::from))
    }

    /// An instance as explicit; its first frame is decoded when this answers.
    pub(super) async fn explicit(&self, instance: Instance, plan: Plan) -> Result<File, PictureError> {
        let decoding = match plan {
            Plan::Rewrite => return Ok(rewritten(instance)),
            Plan::Decode(decoding) => decoding,
        };
        let Self { app, caller, permit, study } = self;
        let (series, sop) = instance.uids();
        let pixels = app.engine.pixels(permit, caller.session, study, series, sop).await?;
        let count = pixels.count().ok_or(RetrieveError::Inseparable)?;
        let len = decoding.len(count).ok_or(DecodeError::TooLarge)?;
        let mut first = match count {
            0 => None,
            _ => Some(decoding.frame(app, whose(permit), &pixels, 1).await?),
        };
        let (app, whose, pixels) = (app.clone(), whose(permit), Arc::new(pixels));
        let element = move || {
            let (app, pixels) = (app.clone(), pixels.clone());
            let others = stream::iter(2..=count).then(move |number| {
                let (app, pixels) = (app.clone(), pixels.clone());
                async move { decoding.frame(&app, whose, &pixels, number).await }
            });
            let pad = (len % 2 == 1).then(|| Bytes::from_static(&[0]));
            let front = [Some(decoding.pixel_header(len)), first.take()].into_iter().flatten();
            stream::iter(front.map(Ok)).chain(others).chain(stream::iter(pad.map(Ok)))
        };
        Ok(joined(instance, decoding.replaced(), element))
    }
}

fn rewritten(instance: Instance) -> File {
    let unforeseen =
        || stream::once(ready(Err(RenderError::from(DecodeError::Contradiction { what: "pixels" }).into())));
    joined(instance, Vec::new(), unforeseen)
}

/// The file with `element` where its pixel data stand.
fn joined<S>(
    instance: Instance,
    replaced: Vec<leadglass_tap::Replaced>,
    mut element: impl FnMut() -> S + Send + 'static,
) -> File
where
    S: Stream<Item = Result<Bytes, PictureError>> + Send + 'static,
{
    let parts = instance.explicit(replaced).map_err(PictureError::from).map_ok(move |part| match part {
        Explicit::Bytes(bytes) => stream::once(ready(Ok(bytes))).left_stream(),
        Explicit::Pixels => element().right_stream(),
    });
    Box::pin(parts.try_flatten())
}
