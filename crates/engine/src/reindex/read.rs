//! One object: opened whole, and turned into what its rows will say.

use super::{
    ReindexError, Why,
    gather::{Place, why_unread},
    leases::{Job, Leases},
};
use crate::ingest::{gzip, series_row, study_row};
use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_index::{FrameLayout, InstanceRow, InstanceState, RowKey, SealUnder, SeriesRow, StudyRow};
use leadglass_keys::{KeyRefusal, ObjectLease};
use leadglass_model::{KeyGen, KeyId, ObjectId};
use leadglass_seal::{
    Frames, HEADER_LEN, Header, IndexKey, ObjectKind, OpenError, Opener, SealedName, StreamOpener, Tail, TailStep,
};
use leadglass_store::StoreError;
use leadglass_tap::{Tap, Tapped};
use serde::Deserialize;

/// What an object turned out to be, and the length of its body.
pub(super) enum Content {
    /// A version of an instance.
    Instance { found: Box<Found>, bytes: u64 },
    /// Somebody decided something about what lies under this reference.
    Note { decision: Decision, bytes: u64 },
    /// Made from others.
    Derived,
}

/// What a note says (FORMAT §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// The reference is a case of quarantine.
    Quarantined,
    /// As before, and this object went into a study.
    Left(ObjectId),
    /// Nobody sees this object any more: it became one of another study.
    Hidden(ObjectId),
    /// Whose study it is was corrected: its current versions say it.
    Rectified,
}

/// A version of an instance, and what it says of its study and series.
pub(super) struct Found {
    /// `earlier` is empty, `state` is current: what they are shows when all versions are known.
    pub(super) row: InstanceRow,
    pub(super) study: StudyRow,
    pub(super) series: SeriesRow,
    /// The metadata's row, sealed.
    pub(super) meta: Option<(RowKey, Bytes)>,
    pub(super) under: Under,
}

/// The key that a row is to be sealed under.
pub(super) struct Under {
    pub(super) key_id: KeyId,
    key_gen: KeyGen,
    index_key: IndexKey,
}

/// Why an object has no content.
pub(super) enum Failed {
    /// The others go on.
    LeftOut(Why),
    /// Nothing goes on.
    Stop(ReindexError),
}

/// A note's body.
#[derive(Deserialize)]
struct Note {
    decision: String,
    object: ObjectId,
}

impl Under {
    pub(super) fn of(lease: &ObjectLease) -> Self {
        let index_key = IndexKey::from_bytes(*lease.index_key().reveal());
        Self { key_id: lease.key_id(), key_gen: lease.key_gen(), index_key }
    }

    pub(super) fn seal_under(&self) -> SealUnder<'_> {
        SealUnder { key_id: self.key_id, key_gen: self.key_gen, key: &self.index_key }
    }
}

impl From<Why> for Failed {
    fn from(why: Why) -> Self {
        Self::LeftOut(why)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::LeftOut(why_unread(&error))
    }
}

impl From<OpenError> for Failed {
    fn from(_: OpenError) -> Self {
        Self::LeftOut(Why::Damaged)
    }
}

impl From<KeyRefusal> for Failed {
    fn from(refusal: KeyRefusal) -> Self {
        Self::LeftOut(Why::of(refusal))
    }
}

/// Opens an object from its first byte to its last.
pub(super) async fn read(job: &Job, leases: &Leases, place: &Place) -> Result<Content, Failed> {
    let lease = leases.get(job, place.key).await.map_err(Failed::Stop)??;
    let name =
        SealedName { tenant: place.tenant, object_id: place.object, key_id: place.key, key_gen: lease.key_gen() };
    // Most objects are small: one read has header, suffix and body.
    let whole = if place.len <= WHOLE_BYTES { Some(range(job, place, 0, place.len).await?) } else { None };
    let head = match &whole {
        Some(whole) => whole.slice(..HEADER_LEN.min(whole.len())),
        None => range(job, place, 0, HEADER_LEN as u64).await?,
    };
    let header = Header::parse(&head)?;
    let suffix = match &whole {
        Some(whole) => whole.clone(),
        None => range(job, place, place.len - header.chunk_size().suffix_len(place.len), place.len).await?,
    };
    let opener = Opener::proved(lease.study_key(), &name, header.as_bytes(), place.len, &suffix)?;
    let tail = match opener.read_tail(&suffix)? {
        TailStep::Complete(tail) => *tail,
        TailStep::NeedsIndex { footer, index } => {
            let sealed = index.sealed();
            opener.read_index(&footer, &index, &range(job, place, sealed.start, sealed.end).await?)?
        }
    };
    let records = &tail.opened.records;
    if records.lineage.study_ref != place.study {
        return Err(Why::Misfiled.into());
    }
    match records.kind {
        ObjectKind::Derived => Ok(Content::Derived),
        ObjectKind::Document => Err(Why::Unknown.into()),
        ObjectKind::Note => note(job, leases, place, opener, &tail, whole).await,
        ObjectKind::Instance => instance(job, leases, place, &lease, opener, &tail, whole).await,
    }
}

async fn note(
    job: &Job,
    leases: &Leases,
    place: &Place,
    opener: Opener,
    tail: &Tail,
    whole: Option<Bytes>,
) -> Result<Content, Failed> {
    if tail.footer.body_len > NOTE_BYTES {
        return Err(Why::Unknown.into());
    }
    let mut text = Vec::new();
    body(job, leases, place, opener, tail, whole, |piece| {
        text.extend_from_slice(piece);
        Ok(())
    })
    .await?;
    let note: Note = serde_json::from_slice(&text).map_err(|_| Why::Unknown)?;
    // Another word is a later version's.
    let decision = match note.decision.as_str() {
        "quarantine" => Decision::Quarantined,
        "release" | "move" => Decision::Left(note.object),
        "hide" => Decision::Hidden(note.object),
        "rectify" => Decision::Rectified,
        _ => return Err(Why::Unknown.into()),
    };
    Ok(Content::Note { decision, bytes: tail.footer.body_len })
}

async fn instance(
    job: &Job,
    leases: &Leases,
    place: &Place,
    lease: &ObjectLease,
    opener: Opener,
    tail: &Tail,
    whole: Option<Bytes>,
) -> Result<Content, Failed> {
    let records = &tail.opened.records;
    let layout = records.layout.ok_or(Why::Incomplete)?;
    let transfer_syntax = records.transfer_syntax.as_ref().ok_or(Why::Incomplete)?;
    let mut tap = Tap::new(transfer_syntax, leadglass_tap::Limits::default());
    let mut skip = layout.dataset_start;
    let header = *opener.header().as_bytes();
    body(job, leases, place, opener, tail, whole, |piece| {
        let front = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
        skip -= front as u64;
        tap.feed(&piece[front..]).map_err(|_| Why::NotDicom)
    })
    .await?;
    let tapped = tap.finish().map_err(|_| Why::NotDicom)?;
    let found = found(job, place, lease, tail, header, tapped)?;
    Ok(Content::Instance { found: Box::new(found), bytes: tail.footer.body_len })
}

fn found(
    job: &Job,
    place: &Place,
    lease: &ObjectLease,
    tail: &Tail,
    pinned: [u8; HEADER_LEN],
    tapped: Tapped,
) -> Result<Found, Why> {
    let (records, header) = (&tail.opened.records, &tapped.header);
    let study = header.study_uid.clone().ok_or(Why::NotDicom)?;
    let series = header.series_uid.clone().ok_or(Why::NotDicom)?;
    let sop = header.sop_instance_uid.clone().ok_or(Why::NotDicom)?;
    let provenance = records.provenance.ok_or(Why::Incomplete)?;
    let meta = tapped.metadata_json.as_ref().and_then(|json| {
        let at = job.catalog.meta_key(place.tenant, place.study, &sop)?;
        let (id, generation) = (lease.key_id(), lease.key_gen());
        let plain = gzip(json.expose());
        Some((at, job.catalog.seal_meta(place.tenant, &at, id, generation, lease.meta_key(), &plain)))
    });
    let row = InstanceRow {
        sop_uid: sop,
        series_uid: series.clone(),
        sop_class: header.sop_class.clone().ok_or(Why::NotDicom)?,
        transfer_syntax: records.transfer_syntax.clone().ok_or(Why::Incomplete)?,
        object_id: place.object,
        key_id: lease.key_id(),
        key_gen: lease.key_gen(),
        header: pinned,
        sealed_len: place.len,
        body_len: tail.footer.body_len,
        dataset_start: records.layout.ok_or(Why::Incomplete)?.dataset_start,
        content_digest: tail.opened.content_digest.ok_or(Why::Incomplete)?,
        frames: match &records.frames {
            Frames::Native { offset, count, frame_len } => {
                FrameLayout::Native { offset: *offset, count: *count, frame_len: *frame_len }
            }
            Frames::Table(spans) => FrameLayout::Table { count: u32::try_from(spans.len()).unwrap_or(0) },
            Frames::None => FrameLayout::None,
        },
        version: records.lineage.version,
        earlier: Vec::new(),
        state: InstanceState::Current,
        received_at: provenance.received_at,
        receiver: provenance.receiver,
        instance_number: header.instance_number,
        rows: header.rows,
        columns: header.columns,
        number_of_frames: header.number_of_frames,
        bits_allocated: header.bits_allocated,
        has_metadata: Some(meta.is_some()),
    };
    Ok(Found {
        study: study_row(header, study, row.received_at, None),
        series: series_row(header, series),
        row,
        meta,
        under: Under::of(lease),
    })
}

/// Gives BODY to `take` as it opens; its digests fit when this answers. A study whose key is destroyed or refused
/// meanwhile stops here.
async fn body(
    job: &Job,
    leases: &Leases,
    place: &Place,
    opener: Opener,
    tail: &Tail,
    whole: Option<Bytes>,
    mut take: impl FnMut(&[u8]) -> Result<(), Why> + Send,
) -> Result<(), Failed> {
    let mut stream = StreamOpener::verified(opener, tail)?;
    let mut plain = Vec::new();
    if let Some(whole) = whole {
        stream.feed(&whole, &mut plain)?;
        take(&plain)?;
    } else {
        let (mut pieces, total) = job.objects.stream(place.object, 0).await?;
        if total != place.len {
            return Err(Why::Damaged.into());
        }
        while let Some(piece) = pieces.try_next().await? {
            leases.get(job, place.key).await.map_err(Failed::Stop)??;
            stream.feed(&piece, &mut plain)?;
            take(&plain)?;
            plain.clear();
        }
    }
    Ok(stream.finish()?)
}

async fn range(job: &Job, place: &Place, from: u64, to: u64) -> Result<Bytes, Failed> {
    let (bytes, total) = job.objects.range(place.object, from..to).await?;
    // It grew or shrank since it was listed.
    if total == place.len { Ok(bytes) } else { Err(Why::Damaged.into()) }
}

impl Why {
    /// What the key service's refusal means for the objects under the key.
    pub(super) const fn of(refusal: KeyRefusal) -> Self {
        match refusal {
            KeyRefusal::Destroyed => Self::Destroyed,
            KeyRefusal::Restricted | KeyRefusal::Unknown | KeyRefusal::NotForThisPurpose => Self::NoKey,
        }
    }
}

/// Up to this length an object is read at once.
const WHOLE_BYTES: u64 = 1 << 20;
/// No note is nearly as long.
const NOTE_BYTES: u64 = 64 << 10;
