//! Decoded frames on their way out: whole in memory, and bounded as all that waits for a client is.

use super::{PictureError, Whose, pieces, pool::WorkError};
use crate::App;
use bytes::Bytes;
use leadglass_engine::{Pixels, Room};
use leadglass_imaging::{
    decode::{Coding, Layout},
    work::Job,
};

/// A frame that keeps its room until its last byte has left.
struct Held {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// One frame, decoded by a render worker.
pub(super) async fn decoded(
    app: &App,
    whose: Whose,
    pixels: &Pixels,
    number: u32,
    (coding, layout): (Coding, Layout),
) -> Result<Bytes, PictureError> {
    let job = Job::Decode(coding, layout);
    let frame = pixels.frame(number)?;
    // Room for what comes out, then a worker, then what goes in: whoever waits holds neither pixels nor a worker.
    let share = app.decoded.share(whose.1, SHARE_KIB);
    let kib = usize::try_from(job.decoded_bytes().div_ceil(1024)).unwrap_or(usize::MAX);
    let room = app.decoded.take(&share, kib).await.ok_or(WorkError::Busy)?;
    let place = app.renderer.place(whose).await?;
    let bytes = app.renderer.work(place, &job, pieces(frame).await?).await?;
    Ok(Bytes::from_owner(Held { bytes, _room: room }))
}

/// Decoded frames on their way to one person or program. The largest of them takes all.
const SHARE_KIB: usize = 128 << 10;
