//! Pictures that need no decoder: grey samples as they lie, through a window, by code of the house ([`Job::is_plain`]).
//!
//! Nothing in such a frame is parsed, so there is nothing that a crafted one could take over; half of what a picture of a CT
//! slice cost was the way to another process and back. A place is taken all the same, because the work is somebody's share.

use super::{
    pool::{Pieces, WorkError},
    turns::Place,
};
use bytes::Bytes;
use leadglass_imaging::work::{Job, MAX_PLAIN_BYTES};
use tokio::task::spawn_blocking;

/// Whether this job over this frame is done here.
pub(super) fn is_plain(job: &Job, frame: &Pieces) -> bool {
    job.is_plain() && frame.len() <= MAX_PLAIN_BYTES
}

/// Does it, beside the threads that serve.
///
/// Cancel safety: the work, a few milliseconds of it, is finished and keeps its place until then.
pub(super) async fn render(place: Place, job: Job, frame: Pieces) -> Result<Bytes, WorkError> {
    metrics::counter!("leadglass_renders_total").increment(1);
    let rendered = spawn_blocking(move || {
        let rendered = job.run(&frame.whole());
        drop(place);
        rendered
    });
    Ok(rendered.await.map_err(|_| WorkError::Broke)??.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendered::turns::Turns;
    use leadglass_imaging::{
        decode::{Coding, Layout, Photometric},
        render::{Description, Format, Metadata, Wish},
    };
    use leadglass_model::{ActorRef, TenantId};
    use std::collections::HashMap;

    fn description() -> Description {
        let grey = r#"{"00280002":{"vr":"US","Value":[1]},"00280004":{"vr":"CS","Value":["MONOCHROME2"]},
            "00280010":{"vr":"US","Value":[8]},"00280011":{"vr":"US","Value":[8]},"00280100":{"vr":"US","Value":[8]},
            "00280101":{"vr":"US","Value":[8]},"00280102":{"vr":"US","Value":[7]},"00280103":{"vr":"US","Value":[0]},
            "7FE00010":{"vr":"OW","BulkDataURI":"x"}}"#;
        Metadata::parse(grey).unwrap().describe(1, Coding::Native, &HashMap::new()).unwrap()
    }

    fn wish(format: Format) -> Wish {
        Wish { window: None, viewport: None, quality: 90, format }
    }

    #[test]
    fn only_what_needs_no_decoder_is_done_here() {
        let job = |description, format| Job::Render(Box::new(description), wish(format));
        let frame = Pieces::from(vec![Bytes::from_static(&[0; 64])]);
        assert!(is_plain(&job(description(), Format::Jpeg), &frame));
        assert!(!is_plain(&job(description(), Format::Jpeg), &vec![Bytes::from(vec![0; MAX_PLAIN_BYTES + 1])].into()));
        assert!(!is_plain(&job(description(), Format::Png), &frame));
        let with = |change: fn(&mut Layout)| {
            let mut description = description();
            change(&mut description.layout);
            description
        };
        for other in [
            Description { coding: Coding::Jpeg2000, ..description() },
            with(|layout| layout.photometric = Photometric::Palette),
            with(|layout| layout.samples = 3),
            with(|layout| (layout.rows, layout.columns) = (60_000, 60_000)),
        ] {
            assert!(!is_plain(&job(other, Format::Jpeg), &frame));
        }
        assert!(!is_plain(&Job::Decode(Coding::Native, description().layout), &frame));
    }

    #[tokio::test]
    async fn the_picture_is_the_one_that_a_worker_makes_and_the_place_comes_back() {
        let whose = (TenantId::from_bytes([1; 16]), ActorRef([2; 16]));
        let turns = Turns::new(1);
        let job = Job::Render(Box::new(description()), wish(Format::Jpeg));
        let samples: Vec<u8> = (0..64).map(|n| n * 4).collect();
        for _ in 0..3 {
            let place = turns.place(whose).await.unwrap();
            let pieces = vec![Bytes::copy_from_slice(&samples[..10]), Bytes::copy_from_slice(&samples[10..])];
            let picture = render(place, job.clone(), pieces.into()).await.unwrap();
            assert_eq!(picture, job.run(&samples).unwrap());
        }
        let place = turns.place(whose).await.unwrap();
        let short = vec![Bytes::from_static(&[1, 2])];
        assert_eq!(render(place, job, short.into()).await, Err(WorkError::Refused("frame-truncated")));
    }
}
