//! Rendered resources and thumbnails (PS3.18 §10.4.1.1.3, §10.4.1.1.4): pictures for eyes, not for measuring.
//!
//! Policy, access entry and lease are those of frames. What is decoded is foreign, so decoding is not done here but in a
//! render worker ([`Renderer`]); grey samples that need none are shown from here. Nothing that was rendered is kept but the usual thumbnail of an instance, sealed.

mod decoding;
mod instance;
mod many;
mod native;
mod outgoing;
mod plain;
mod pool;
mod preview;
mod profile;
mod thumbnail;
mod turns;
mod wish;

pub use pool::Renderer;

pub(crate) use decoding::Decoding;
pub(crate) use instance::{frames, instance};
pub(crate) use many::many;
pub(crate) use native::{decoded, is_decoded};
pub(crate) use preview::preview;
pub(crate) use thumbnail::{frame_thumbnail, instance_thumbnail, series_thumbnail, study_thumbnail};
pub(crate) use turns::Whose;

use crate::{
    App, Problem,
    accept::{Offer, Wrapping},
    app::Caller,
    wado::{self, problem},
};
use axum::http::{StatusCode, request::Parts};
use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_engine::{Bulk, BulkPath, Frame, Pixels, RetrieveError};
use leadglass_imaging::{
    decode::{Coding, DecodeError},
    render::{Description, Format, Metadata, RenderError, Wish},
    work::{Job, MAX_JOB_FRAME_BYTES},
};
use leadglass_model::{Permit, Phi, Read, SeriesUid, SopInstanceUid, StudyUid};
use pool::{Pieces, WorkError};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// One instance that is to be seen.
struct Subject {
    study: StudyUid,
    series: SeriesUid,
    instance: SopInstanceUid,
}

/// It, with what is known of it.
struct Known {
    subject: Subject,
    pixels: Pixels,
    json: Phi<Vec<u8>>,
}

/// Why there is no picture.
#[derive(Debug)]
pub(crate) enum PictureError {
    /// It could not be read.
    Read(RetrieveError),
    /// It could not be made.
    Work(WorkError),
}

impl From<RetrieveError> for PictureError {
    fn from(error: RetrieveError) -> Self {
        Self::Read(error)
    }
}

impl From<WorkError> for PictureError {
    fn from(error: WorkError) -> Self {
        Self::Work(error)
    }
}

impl From<RenderError> for PictureError {
    fn from(error: RenderError) -> Self {
        Self::Work(error.into())
    }
}

impl From<DecodeError> for PictureError {
    fn from(error: DecodeError) -> Self {
        RenderError::from(error).into()
    }
}

impl PictureError {
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::Read(error) => problem(error),
            Self::Work(WorkError::Refused("viewport")) => Problem::with_status(
                StatusCode::BAD_REQUEST,
                "parameter",
                "The viewport's region lies outside of the picture.",
            ),
            Self::Work(WorkError::Refused(code)) => {
                Problem::with_status(StatusCode::UNPROCESSABLE_ENTITY, code, sentence(code))
            }
            Self::Work(WorkError::Busy) => Problem::new(
                WorkError::Busy.fault(),
                "render-busy",
                "Many pictures are being made; try again in a moment.",
            ),
            Self::Work(WorkError::NotConfined) => Problem::new(
                WorkError::NotConfined.fault(),
                "render-not-confined",
                "No picture is made here, because what decodes it cannot be confined. The instance itself can be fetched.",
            ),
            Self::Work(error) => Problem::new(
                error.fault(),
                "render-failed",
                "The picture could not be made: its pixels may be damaged.",
            ),
        }
    }
}

/// What a worker's refusal means.
fn sentence(code: &str) -> &'static str {
    match code {
        "not-decodable" => {
            "The pixels are coded in a way that is not decoded here. The instance itself can be fetched."
        }
        "syntax-not-decodable" => {
            "The pixels are in a transfer syntax that is not decoded here: a video, or a private one. The instance itself \
             can be fetched."
        }
        "photometric-not-decodable" => {
            "The photometric interpretation of the pixels is not rendered here. The instance itself can be fetched."
        }
        "jpeg-arithmetic" => {
            "The pixels are JPEG with arithmetic coding, which is not decoded here. The instance itself can be fetched."
        }
        "jpeg-hierarchical" => {
            "The pixels are hierarchical JPEG, which is not decoded here. The instance itself can be fetched."
        }
        "jpeg-late-height" | "jpeg-precision" | "jpeg-subsampling" | "jpeg-components" => {
            "The pixels are JPEG of a rare form that is not decoded here. The instance itself can be fetched."
        }
        "frame-too-large" => "The frame is larger than is rendered. The instance itself can be fetched.",
        "frame-truncated" => "The pixels break off before the frame is complete.",
        "no-pixels" => "The instance has no picture.",
        "pixels-float" => {
            "The pixels are floating-point measurements, which are not rendered. The instance itself can be fetched."
        }
        "pixels-undescribed" => "The instance does not say what is needed to show its pixels.",
        _ => "The pixels are damaged, or are not what the instance says of them.",
    }
}

impl Known {
    async fn of(app: &App, caller: &Caller, permit: &Permit<Read>, subject: Subject) -> Result<Self, PictureError> {
        let Subject { study, series, instance } = &subject;
        let json = app.engine.instance_metadata(permit, caller.session, study, series, instance).await?;
        Self::with(app, caller, permit, subject, json).await
    }

    /// The same, with metadata that are at hand.
    async fn with(
        app: &App,
        caller: &Caller,
        permit: &Permit<Read>,
        subject: Subject,
        json: Phi<Vec<u8>>,
    ) -> Result<Self, PictureError> {
        let Subject { study, series, instance } = &subject;
        let pixels = app.engine.pixels(permit, caller.session, study, series, instance).await?;
        Ok(Self { subject, pixels, json })
    }

    fn metadata(&self) -> Result<Metadata<'_>, PictureError> {
        let text = std::str::from_utf8(self.json.expose()).ok();
        Ok(Metadata::parse(text.ok_or(RenderError::Undescribed { what: "anything" })?)?)
    }

    /// What is known of frame `number`, counted from 1.
    async fn description(
        &self,
        app: &App,
        caller: &Caller,
        permit: &Permit<Read>,
        number: u32,
    ) -> Result<Description, PictureError> {
        let metadata = self.metadata()?;
        if !metadata.has_pixels() {
            return Err(metadata.lacks_pixels().into());
        }
        let coding = Coding::of(self.pixels.encoding().as_str())?;
        let mut tables = HashMap::new();
        for path in metadata.tables(number) {
            let bytes = self.table(app, caller, permit, &path).await?;
            tables.insert(path, bytes.to_vec());
        }
        Ok(metadata.describe(number, coding, &tables)?)
    }

    /// Makes the picture of frame `number`, counted from 1.
    async fn picture(
        &self,
        app: &App,
        caller: &Caller,
        permit: &Permit<Read>,
        number: u32,
        wish: &Wish,
    ) -> Result<Bytes, PictureError> {
        let description = self.description(app, caller, permit, number).await?;
        let frame = self.pixels.frame(number)?;
        // Whoever waits for a worker holds no pixels.
        let place = app.renderer.place(whose(permit)).await?;
        let frame = pieces(frame).await?;
        let job = Job::Render(Box::new(description), wish.clone());
        if plain::is_plain(&job, &frame) {
            return Ok(plain::render(place, job, frame).await?);
        }
        Ok(app.renderer.work(place, &job, frame).await?)
    }

    /// A table that is too long for the metadata.
    async fn table(
        &self,
        app: &App,
        caller: &Caller,
        permit: &Permit<Read>,
        path: &str,
    ) -> Result<Bytes, PictureError> {
        let value = self.value(app, caller, permit, path).await?;
        Ok(value
            .bytes(Metadata::MAX_TABLE_BYTES)
            .await?
            .ok_or(RenderError::Undescribed { what: "a table of usual length" })?)
    }

    /// A value that the metadata point at.
    async fn value(
        &self,
        app: &App,
        caller: &Caller,
        permit: &Permit<Read>,
        path: &str,
    ) -> Result<Frame, PictureError> {
        let Subject { study, series, instance } = &self.subject;
        let path = path.strip_prefix("bulkdata/").and_then(BulkPath::parse).ok_or(RetrieveError::NoSuchBulk)?;
        match app.engine.bulk(permit, caller.session, (study, series, instance), &path).await? {
            Bulk::Value { value, .. } => Ok(value),
            Bulk::Frames(_) | Bulk::Stream { .. } => Err(RetrieveError::NoSuchBulk.into()),
        }
    }

    /// Changes with the bytes and with the wish.
    fn tag(&self, number: u32, wish: &Wish, profile: profile::Profile) -> String {
        let form = Sha256::digest(format!("{number} {wish:?} {profile:?}"));
        wado::entity_tag(self.pixels.stamp(), &format!("-{}", hex::encode(form.first_chunk::<8>().unwrap_or(&[0; 8]))))
    }
}

/// Whose share of the workers it takes.
pub(crate) const fn whose(permit: &Permit<Read>) -> Whose {
    (permit.tenant(), permit.actor())
}

/// All of a frame, where it was opened.
async fn pieces(frame: Frame) -> Result<Pieces, PictureError> {
    let (_, mut coming) = frame.begin().await?;
    let (mut all, mut left) = (Vec::new(), MAX_JOB_FRAME_BYTES);
    while let Some(piece) = coming.try_next().await? {
        left = left.checked_sub(piece.len()).ok_or(DecodeError::TooLarge)?;
        all.push(piece);
    }
    Ok(all.into())
}

/// What pictures are served as, the default first (PS3.18 Table 8.7.4-1).
fn offers(wrapping: Wrapping) -> [Offer; 2] {
    [Offer::plain(wrapping, "image/jpeg"), Offer::plain(wrapping, "image/png")]
}

/// How the caller wants its pictures.
fn wanted(parts: &Parts, wrappings: &[Wrapping]) -> Result<(Wrapping, Format), Problem> {
    let offers: Vec<Offer> = wrappings.iter().flat_map(|wrapping| offers(*wrapping)).collect();
    let offer = wado::wanted(parts, &offers, FORMS)?;
    Ok((offer.wrapping, if offer.kind == "image/png" { Format::Png } else { Format::Jpeg }))
}

const FORMS: &str = "Pictures are served as image/jpeg or image/png, several of them in multipart/related; \
                     a document as application/pdf.";
