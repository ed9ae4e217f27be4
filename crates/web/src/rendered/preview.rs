//! The picture of an instance that goes into an export: for looking at, made the same way each time.

use super::{Known, PictureError, Subject, pool::WorkError};
use crate::{App, app::Caller};
use bytes::Bytes;
use leadglass_engine::RetrieveError;
use leadglass_imaging::render::{Format, Viewport, Wish};
use leadglass_model::{Permit, Read, SeriesUid, SopInstanceUid, StudyUid};

/// As JPEG; `None` for what has no pixels, or none that can be shown.
pub(crate) async fn preview(
    app: &App,
    caller: &Caller,
    permit: &Permit<Read>,
    (study, series, instance): (StudyUid, SeriesUid, SopInstanceUid),
) -> Result<Option<Bytes>, RetrieveError> {
    let json = match app.engine.instance_metadata(permit, caller.session, &study, &series, &instance).await {
        Err(RetrieveError::NoMetadata) => return Ok(None),
        json => json?,
    };
    let made = async {
        let known = Known::with(app, caller, permit, Subject { study, series, instance }, json).await?;
        let number = {
            let metadata = known.metadata()?;
            if !metadata.has_pixels() {
                return Ok(None);
            }
            metadata.representative_frame()
        };
        known.picture(app, caller, permit, number, &WISH).await.map(Some)
    };
    match made.await {
        Err(PictureError::Read(RetrieveError::Inseparable)) => Ok(None),
        Err(PictureError::Read(error)) => Err(error),
        Err(PictureError::Work(WorkError::Busy)) => Err(RetrieveError::NoRoom),
        Err(PictureError::Work(_)) => Ok(None),
        Ok(picture) => Ok(picture),
    }
}

const WISH: Wish =
    Wish { window: None, viewport: Some(Viewport::within(1024, 1024)), quality: 85, format: Format::Jpeg };
