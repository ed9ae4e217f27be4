//! A whole instance finds its place and becomes durable.

use super::{
    Destination, IngestError, Received, gzip,
    place::{self, Home, Known, Seat, SeatKind},
    rows::Succession,
    transfer::{Body, Flow},
};
use crate::{Ack, Record, SealedRow, Shared, SubjectWrap, quarantine::Note, subject::Detail};
use bytes::Bytes;
use leadglass_audit::{CodeWord, Counts, Event, NewEntry, Outcome};
use leadglass_disk::Tray;
use leadglass_index::{IndexError, InstanceRow, InstanceState, QuarantineReason, RowKey, SealUnder, StudyEntry, Table};
use leadglass_keys::SealingKey;
use leadglass_model::{Acknowledged, Durable, EnrolmentLevel, EntryId, ObjectId, StudyRef, UnixMillis};
use leadglass_seal::{ContentStart, ObjectSealer, Out, SealOptions, Sealed, SealedName};
use leadglass_store::StoreError;
use std::sync::Arc;

/// Decides, seals what is not sealed yet, and commits. One transfer at a time decides about one SOP instance.
pub(super) async fn settle(shared: Arc<Shared>, received: Received, body: Body) -> Result<Acknowledged, IngestError> {
    let _turn = shared.claims.turn(received.source.tenant, &received.announced.sop_instance).await;
    match body {
        Body::Whole(pieces) => whole(&shared, &received, &pieces).await,
        Body::Flowing(flow) => flowing(&shared, &received, *flow).await,
    }
}

/// All of it is in memory: nothing was sealed, so the place is decided first.
async fn whole(shared: &Arc<Shared>, received: &Received, pieces: &[Bytes]) -> Result<Acknowledged, IngestError> {
    let digest = || {
        let mut hasher = blake3::Hasher::new();
        for piece in pieces {
            hasher.update(piece);
        }
        *hasher.finalize().as_bytes()
    };
    let tenant = received.source.tenant;
    let home = place::home(shared, tenant, &received.names(), received.destination);
    let mut prior = match &home {
        Home::Known(study_ref) => stored(shared, received, *study_ref).await?,
        Home::Claimed(_) | Home::Unknown | Home::OtherPatient | Home::Erased => None,
    };
    is_as_read(received, prior.as_ref())?;
    let fate = prior.as_ref().map(|row| place::compare(row, &digest(), received)).transpose()?;
    let seat = match fate {
        Some(Known::Copy) => return copy(shared, received, prior).await,
        Some(Known::Stranger) => {
            prior = None;
            let reason = QuarantineReason::OtherDevice;
            place::quarantine(shared, tenant, &received.study, &received.patient, reason).await?
        }
        Some(Known::Version) | None => place::seat(shared, tenant, &received.study, &received.patient, home).await?,
    };
    if let SeatKind::Quarantine(case, _) = seat.kind {
        prior = stored(shared, received, case).await?;
        let fate = prior.as_ref().map(|row| place::compare(row, &digest(), received)).transpose()?;
        if fate == Some(Known::Copy) {
            return copy(shared, received, prior).await;
        }
    }
    let succession = Succession { study_ref: seat.study_ref(), prior, quarantine: Succession::reason(&seat.kind) };

    let received_at = shared.clock.now();
    let object = ObjectId::random(&*shared.entropy);
    let key = &seat.key;
    let name = SealedName { tenant, object_id: object, key_id: key.key_id(), key_gen: key.key_gen() };
    let plain: usize = pieces.iter().map(Bytes::len).sum();
    let mut filling = Filling(shared.trays.take(plain + received.preface.len() + ROOM_BYTES));
    let out = &mut filling;
    let content = ContentStart::At(received.dataset_start());
    let mut sealer =
        ObjectSealer::begin(key.study_key(), &name, SealOptions::default(), content, &*shared.entropy, out);
    sealer.body(&received.preface, out).map_err(IngestError::Seal)?;
    for piece in pieces {
        sealer.body(piece, out).map_err(IngestError::Seal)?;
    }
    let records = received.records(&succession, received_at);
    let sealed = sealer.finish(&records, out).map_err(IngestError::Seal)?;
    let inline = match shared.limits.ack {
        Ack::Journal => Some(filling.0.into_bytes()),
        Ack::Store => {
            let durable = shared.objects.put(object, vec![filling.0.into_bytes()]).await.map_err(IngestError::Store)?;
            check(&durable, object, &sealed)?;
            None
        }
    };
    commit(shared, received, seat, succession, object, sealed, inline, received_at).await
}

/// What became durable is what was sealed, or the row would pin a length that nobody finds.
fn check(durable: &Durable, object: ObjectId, sealed: &Sealed) -> Result<(), IngestError> {
    let same = (durable.object(), durable.sealed_len()) == (object, sealed.sealed_len);
    if same { Ok(()) } else { Err(IngestError::Store(StoreError::Conflict)) }
}

/// It was sealed while it came, under a key chosen early; what is known of it now decides whether that was right.
async fn flowing(shared: &Arc<Shared>, received: &Received, flow: Flow) -> Result<Acknowledged, IngestError> {
    let object = flow.object;
    let (mut seat, sealer, upload, mut out) = flow.into_parts();
    let digest = sealer.content_digest().ok_or(IngestError::NotAnnounced)?;

    if matches!(seat.kind, SeatKind::Open) {
        seat = assign(shared, received, seat, &digest).await?;
    }
    let prior = stored(shared, received, seat.study_ref()).await?;
    is_as_read(received, prior.as_ref())?;
    match prior.as_ref().map(|row| place::compare(row, &digest, received)).transpose()? {
        Some(Known::Copy) => {
            // The copy's upload is dropped, which aborts it.
            return copy(shared, received, prior).await;
        }
        Some(Known::Stranger) if !matches!(seat.kind, SeatKind::Quarantine(..)) => {
            // It became known while this one was flowing. Sent again, it is met as known from its first part on.
            return Err(IngestError::Overtaken);
        }
        Some(Known::Version | Known::Stranger) | None => {}
    }
    let succession = Succession { study_ref: seat.study_ref(), prior, quarantine: Succession::reason(&seat.kind) };
    let received_at = shared.clock.now();
    let records = received.records(&succession, received_at);
    let sealed = sealer.finish(&records, &mut out).map_err(IngestError::Seal)?;
    let mut upload = upload;
    upload.write(out.into()).await.map_err(IngestError::Store)?;
    let durable = upload.finish().await.map_err(IngestError::Store)?;
    check(&durable, object, &sealed)?;
    commit(shared, received, seat, succession, object, sealed, None, received_at).await
}

/// An open seat's key is fresh: it is bound to the study, or to the case of quarantine, where the instance belongs.
async fn assign(shared: &Arc<Shared>, received: &Received, seat: Seat, digest: &[u8; 32]) -> Result<Seat, IngestError> {
    let tenant = received.source.tenant;
    let key = seat.key;
    match place::home(shared, tenant, &received.names(), received.destination) {
        Home::Known(study_ref) => join(shared, received, key, study_ref, digest).await,
        Home::Claimed(held) => {
            let key = shared.keys.bind(&key, held.study_ref).await.map_err(IngestError::Keys)?;
            Ok(Seat { key, kind: SeatKind::New(held) })
        }
        Home::Unknown => {
            let held = shared.claims.study(tenant, &received.study, &received.patient, key.study_ref());
            // Between the look and the claim, another transfer may have committed and let its claim go.
            if let Some(study) = shared.catalog.study(tenant, &received.study) {
                return if crate::patient_key(&study).is_same(&received.patient) {
                    join(shared, received, key, study.study_ref, digest).await
                } else {
                    set_aside(shared, received, key, QuarantineReason::OtherPatient).await
                };
            }
            if !held.patient.is_same(&received.patient) {
                return set_aside(shared, received, key, QuarantineReason::OtherPatient).await;
            }
            let key = shared.keys.bind(&key, held.study_ref).await.map_err(IngestError::Keys)?;
            Ok(Seat { key, kind: SeatKind::New(held) })
        }
        Home::OtherPatient => set_aside(shared, received, key, QuarantineReason::OtherPatient).await,
        Home::Erased => set_aside(shared, received, key, QuarantineReason::Erased).await,
    }
}

/// Into a known study, unless the instance is known there with other bytes from another device.
async fn join(
    shared: &Arc<Shared>,
    received: &Received,
    key: Arc<SealingKey>,
    study_ref: StudyRef,
    digest: &[u8; 32],
) -> Result<Seat, IngestError> {
    let prior = stored(shared, received, study_ref).await?;
    match prior.map(|row| place::compare(&row, digest, received)).transpose()? {
        Some(Known::Stranger) => set_aside(shared, received, key, QuarantineReason::OtherDevice).await,
        // A copy needs no key; the caller finds it again and answers.
        Some(Known::Copy) => Ok(Seat { key, kind: SeatKind::Known(study_ref) }),
        Some(Known::Version) | None => {
            let key = shared.keys.bind(&key, study_ref).await.map_err(IngestError::Keys)?;
            Ok(Seat { key, kind: SeatKind::Known(study_ref) })
        }
    }
}

/// Into quarantine: with its like if a case is open, else under the key's own StudyRef.
async fn set_aside(
    shared: &Arc<Shared>,
    received: &Received,
    key: Arc<SealingKey>,
    reason: QuarantineReason,
) -> Result<Seat, IngestError> {
    let tenant = received.source.tenant;
    match place::case(shared, tenant, &received.study, &received.patient, reason) {
        Some(case) => {
            let key = shared.keys.bind(&key, case).await.map_err(IngestError::Keys)?;
            Ok(Seat { key, kind: SeatKind::Quarantine(case, reason) })
        }
        None => {
            let own = key.study_ref();
            Ok(Seat { key, kind: SeatKind::Quarantine(own, reason) })
        }
    }
}

/// What was made of an instance takes the place of that one, and of nothing that came while it was made.
fn is_as_read(received: &Received, prior: Option<&InstanceRow>) -> Result<(), IngestError> {
    match received.destination {
        Destination::Replaces(_, object) if prior.is_none_or(|row| row.object_id != object) => {
            Err(IngestError::Overtaken)
        }
        _ => Ok(()),
    }
}

async fn stored(
    shared: &Arc<Shared>,
    received: &Received,
    study_ref: StudyRef,
) -> Result<Option<InstanceRow>, IngestError> {
    let sop = &received.announced.sop_instance;
    let row = shared.catalog.instance(received.source.tenant, study_ref, sop).await;
    row.inspect_err(|error| shared.index_alarm(error)).map_err(IngestError::Index)
}

/// The instance is there already, byte for byte: the sender is told success again, and the log that it was told.
async fn copy(
    shared: &Arc<Shared>,
    received: &Received,
    prior: Option<InstanceRow>,
) -> Result<Acknowledged, IngestError> {
    let waits = prior.as_ref().is_some_and(|row| matches!(row.state, InstanceState::Quarantined(_)));
    // What is there goes: nobody is told that it is kept.
    if !waits && shared.erased.is_ending(received.source.tenant, tokens(shared, received)).await {
        return Err(IngestError::Overtaken);
    }
    let (mut entry, wrap) = entry(shared, received, shared.clock.now()).await?;
    entry.code = CodeWord::parse("copy");
    entry.key = prior.map(|row| row.key_id);
    let subjects = wrap.into_iter().collect();
    let record = Record { entries: vec![entry.encode().into()], subjects, ..Record::default() };
    metrics::counter!("leadglass_instances_total", "outcome" => "copy").increment(1);
    let receipt = shared.commit(record).await.map_err(IngestError::Journal)?;
    Ok(if waits { receipt.set_aside() } else { receipt })
}

/// What it is called in orders of erasure.
fn tokens(shared: &Shared, received: &Received) -> [Option<[u8; 16]>; 2] {
    let tenant = received.source.tenant;
    let instance = shared.instance_token(tenant, &received.announced.sop_instance);
    [instance, shared.series_token(tenant, &received.series)]
}

#[allow(clippy::too_many_arguments, reason = "what the decision and the sealing found out, handed over once")]
async fn commit(
    shared: &Arc<Shared>,
    received: &Received,
    seat: Seat,
    succession: Succession,
    object: ObjectId,
    sealed: Sealed,
    inline: Option<Bytes>,
    received_at: UnixMillis,
) -> Result<Acknowledged, IngestError> {
    let (tenant, key, study_ref) = (received.source.tenant, &*seat.key, succession.study_ref);
    let quarantine = succession.quarantine;
    // Nothing comes into a study, or under a key, that is being erased; sent again, it finds another place.
    let still = shared.erased.still_there(tenant, study_ref, key.key_id()).await.ok_or(IngestError::Overtaken)?;
    if quarantine.is_none() && still.goes(tenant, tokens(shared, received)) {
        // Its erasure began while its place was decided, or a person released it in the middle of one.
        return Err(IngestError::Overtaken);
    }
    let (id, catalog) = (key.key_id(), &shared.catalog);
    let home = catalog.study_by_ref(tenant, study_ref);
    let is_other = |study: &StudyEntry| !crate::patient_key(study).is_same(&received.patient);
    if received.destination == Destination::AsNamed && home.as_ref().is_some_and(is_other) {
        // Whose study it is was corrected since its place was decided. Sent again, it finds another place.
        return Err(IngestError::Overtaken);
    }
    let under = SealUnder { key_id: id, key_gen: key.key_gen(), key: key.index_key() };
    let no = |table| IngestError::Index(IndexError::NoKey { table });
    let sop = &received.announced.sop_instance;

    let mut rows = Vec::with_capacity(4);
    let mut put = |key: RowKey, bytes| rows.push(SealedRow { tenant, key, bytes });
    let begins = home.is_none();
    if begins {
        let at = catalog.study_key(tenant, study_ref, &received.study).ok_or(no(Table::Study))?;
        put(at, catalog.seal(tenant, &at, &under, &received.study_row(received_at, quarantine)));
    }
    if !catalog.has_series(tenant, study_ref, &received.series) {
        let at = catalog.series_key(tenant, study_ref, &received.series).ok_or(no(Table::Series))?;
        put(at, catalog.seal(tenant, &at, &under, &received.series_row()));
    }
    if let Some(json) = &received.tapped.metadata_json {
        let at = catalog.meta_key(tenant, study_ref, sop).ok_or(no(Table::Meta))?;
        put(at, catalog.seal_meta(tenant, &at, id, under.key_gen, key.meta_key(), &gzip(json.expose())));
    }

    let (mut entry, wrap) = entry(shared, received, received_at).await?;
    entry.study = Some(study_ref);
    entry.key = Some(id);
    entry.counts = Counts { studies: 1, instances: 1, bytes: sealed.body_len, ..Counts::default() };
    if let Some(reason) = quarantine {
        entry.event = Event::Quarantined;
        entry.code = CodeWord::parse(reason.as_str());
    }
    let row = received.instance_row(succession, object, key, &sealed, received_at);
    let at = catalog.instance_key(tenant, study_ref, sop).ok_or(no(Table::Instance))?;
    put(at, catalog.seal(tenant, &at, &under, &row));

    if let (Some(_), true) = (quarantine, begins) {
        // Before the rows: a rebuilt index must never take the case for the study.
        let note = Note {
            decision: "quarantine",
            object,
            target: study_ref,
            case: study_ref,
            version: 1,
            receiver: received.source.receiver,
        };
        let object_id = ObjectId::random(&*shared.entropy);
        let name = SealedName { tenant, object_id, key_id: id, key_gen: under.key_gen };
        shared.write_note(key.study_key(), &name, &note).await?;
    }
    let subjects = wrap.into_iter().collect();
    let object = inline.map(|bytes| (object, bytes));
    let record = Record { rows, entries: vec![entry.encode().into()], subjects, object };
    let receipt = shared.commit(record).await.map_err(IngestError::Journal)?;
    let outcome = if quarantine.is_some() { "quarantined" } else { "stored" };
    metrics::counter!("leadglass_instances_total", "outcome" => outcome).increment(1);
    metrics::counter!("leadglass_instance_bytes_total").increment(sealed.body_len);
    Ok(if quarantine.is_some() { receipt.set_aside() } else { receipt })
}

/// The entry of an arriving instance; who and where from stand in its sealed part.
async fn entry(
    shared: &Shared,
    received: &Received,
    now: UnixMillis,
) -> Result<(NewEntry, Option<SubjectWrap>), IngestError> {
    let source = &received.source;
    let id = EntryId::random(&*shared.entropy);
    let subject = shared.subject_token(source.tenant, &received.patient);
    let mut entry = NewEntry::new(id, now, Event::InstancesTransferred, Outcome::Success);
    entry.tenant = Some(source.tenant);
    entry.actor = Some(source.actor);
    entry.role = Some(source.role);
    entry.purpose = Some(leadglass_model::Purpose::Ingest);
    entry.subject = subject;
    let name = received.tapped.header.patient_name.as_ref();
    let detail = Detail {
        calling: source.calling.expose(),
        address: source.address.expose(),
        patient_id: received.patient.id.expose(),
        patient_name: name.map_or("", |name| name.expose()),
        study: received.study.expose(),
        series: received.series.expose(),
        instance: received.announced.sop_instance.expose(),
        level: source.level.map_or("", EnrolmentLevel::as_str),
        reason: "",
    };
    let detail = shared.detail(source.tenant, subject, id, &detail).await.map_err(IngestError::Records)?;
    entry.detail = detail.bytes;
    Ok((entry, detail.wrap))
}

impl Seat {
    pub(super) fn study_ref(&self) -> StudyRef {
        match &self.kind {
            SeatKind::Known(study_ref) | SeatKind::Quarantine(study_ref, _) => *study_ref,
            SeatKind::New(held) => held.study_ref,
            SeatKind::Open => self.key.study_ref(),
        }
    }
}

/// A tray that a sealer fills.
struct Filling(Tray);

impl Out for Filling {
    fn room(&mut self, len: usize) -> &mut [u8] {
        self.0.room(len)
    }
}

/// Header, INDEX, FOOTER, tags and padding of an object that is sealed in memory.
const ROOM_BYTES: usize = 20 << 10;
