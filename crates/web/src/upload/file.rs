//! One file after the other: recognised, made into an instance within the memory that decoders have, and taken in.

use super::{
    form::Held,
    names::Names,
    outcome::{Outcome, Refusal},
    patient::Subject,
};
use bytes::Bytes;
use leadglass_engine::{Announced, Engine, IngestError, Source};
use leadglass_imaging::{Format, Instance, Record, Series, Upload, UploadError};
use leadglass_model::{Permit, SeriesUid, SopInstanceUid, Store, StudyUid};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// The files of one form on their way in.
pub(super) struct Filing {
    engine: Engine,
    source: Arc<Source>,
    work: Arc<Semaphore>,
    permit: Permit<Store>,
    subject: Subject,
    names: Names,
    photos: Option<Line>,
    documents: Option<Line>,
    series_begun: u32,
}

/// A series that is being filled.
#[derive(Clone)]
pub(super) struct Line {
    /// What it is.
    pub(super) series: Series,
    /// Instances that it has, those of this form included that are on their way.
    pub(super) instances: u32,
}

/// Where a stored file is found.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) study: StudyUid,
    pub(super) series: SeriesUid,
    pub(super) instance: SopInstanceUid,
}

impl Filing {
    pub(super) fn new(
        engine: Engine,
        permit: Permit<Store>,
        source: Source,
        work: Arc<Semaphore>,
        mut subject: Subject,
        names: Names,
    ) -> Self {
        let (source, photos) = (Arc::new(source), subject.continued.take());
        Self { engine, source, work, permit, subject, names, photos, documents: None, series_begun: 0 }
    }

    /// Takes one file in, behind so many others of the form, taken or not.
    ///
    /// Cancel safety: dropping the future may leave the instance stored that was on its way.
    pub(super) async fn file(&mut self, behind: usize, held: Held) -> Outcome {
        match self.store(behind, held).await {
            Ok(stored) => Outcome::Stored(stored),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    async fn store(&mut self, behind: usize, held: Held) -> Result<Stored, Refusal> {
        let (bytes, room) = held.into_parts();
        let upload = aside(move || Upload::recognise(bytes)).await??;
        let place = u32::try_from(behind).unwrap_or(u32::MAX).saturating_add(1);
        let record = self.record(upload.format(), place).await?;
        let (study, series) = (record.study.uid.clone(), record.series.uid.clone());
        let mib = upload.work_bytes().div_ceil(1 << 20);
        let mib = u32::try_from(mib).unwrap_or(u32::MAX).min(super::WORK_MIB.try_into().unwrap_or(u32::MAX));
        let work = tokio::time::timeout(WORK_TIME, self.work.clone().acquire_many_owned(mib)).await;
        let Ok(Ok(mut work)) = work else { return Err(Refusal::NO_ROOM) };
        let made = aside(move || {
            let made = upload.into_instance(&record)?;
            // The decoder's memory is given back; what it made is held until it is stored.
            let held = made.pieces.iter().map(Bytes::len).sum::<usize>().div_ceil(1 << 20).min(work.num_permits());
            Ok::<_, UploadError>((made, work.split(held)))
        });
        let (made, made_room) = made.await??;
        let instance = made.sop_instance.clone();
        self.ingest(made).await.map_err(|error| told(&error))?;
        // The bytes of an untouched picture were in use until now.
        drop((room, made_room));
        Ok(Stored { study, series, instance })
    }

    async fn ingest(&self, made: Instance) -> Result<(), IngestError> {
        let Instance { sop_class, sop_instance, transfer_syntax, pieces } = made;
        let announced = Announced { sop_class, sop_instance, transfer_syntax };
        let mut transfer = self.engine.begin(self.source.clone(), announced)?;
        for piece in pieces {
            transfer.write(piece).await?;
        }
        // The receipt says it: stored.
        transfer.finish().await.map(|_acknowledged| ())
    }

    /// What the next instance says of itself. Photos go into one series, documents into another.
    async fn record(&mut self, format: Format, place: u32) -> Result<Record, Refusal> {
        let instance = self.names.instance(place);
        let earlier = if self.names.is_keyed() { self.earlier_number(&instance).await? } else { None };
        let (subject, names) = (&self.subject, &self.names);
        let line = match format {
            Format::Photo => &mut self.photos,
            Format::Document => &mut self.documents,
        };
        let begun = &mut self.series_begun;
        let line = line.get_or_insert_with(|| {
            let uid = names.series(format);
            let number = subject.number_of(&uid).unwrap_or_else(|| {
                *begun += 1;
                subject.next_series.saturating_add(*begun - 1)
            });
            Line { series: Series { uid, number, ..subject.series.clone() }, instances: 0 }
        });
        line.instances = line.instances.saturating_add(1);
        Ok(Record {
            patient: subject.patient.clone(),
            study: subject.study.clone(),
            series: line.series.clone(),
            instance,
            number: earlier.unwrap_or(line.instances),
            received: (!names.is_keyed()).then_some(subject.received),
            place: subject.place,
            taken: subject.taken,
        })
    }

    /// The number that an earlier try gave this instance.
    async fn earlier_number(&self, instance: &SopInstanceUid) -> Result<Option<u32>, Refusal> {
        let there = |study| self.engine.brought_by(&self.permit, study, instance);
        let study = &self.subject.study.uid;
        if let Some(number) = there(study).await.map_err(|error| told(&error))? {
            return Ok(number.and_then(|number| u32::try_from(number).ok()));
        }
        // It went into a study of its own before, and now it is said to belong to another.
        let own = self.names.study();
        let elsewhere = own != *study && there(&own).await.map_err(|error| told(&error))?.is_some();
        if elsewhere { Err(Refusal::KEY_REUSED) } else { Ok(None) }
    }
}

/// Does it where it holds up nobody. A decoder that panics has met bytes that it cannot read.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        tracing::error!("a decoder panicked; the upload was refused");
        Refusal::DECODER
    })
}

/// Notes in log and counters why an instance was not taken.
fn told(error: &IngestError) -> Refusal {
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        chain = format!("{chain}: {inner}");
        source = inner.source();
    }
    tracing::warn!(code = error.code(), error = %chain, "an upload was not taken: {}", error.code());
    metrics::counter!("leadglass_instances_total", "outcome" => error.code()).increment(1);
    Refusal::from(error)
}

/// So long a picture waits for memory to be decoded in.
const WORK_TIME: Duration = Duration::from_secs(30);
