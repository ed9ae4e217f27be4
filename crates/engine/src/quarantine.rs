//! What did not fit its study, and what a person decides about it.
//!
//! A quarantined instance is sealed under a StudyRef of its own. Taking it into a study seals it anew under that study's
//! key, by the same path as an arriving instance; the quarantined row is then withdrawn, and its object kept. A note
//! sealed beside it says what was decided, so that a rebuilt index knows.

use crate::{
    Shared,
    ingest::{Announced, Corrects, Destination, IngestError, Source},
    retrieve::{ReadBy, RetrieveError},
};
use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_audit::{CodeWord, Counts, Event, NewEntry, Outcome};
use leadglass_index::{Batch, IndexError, InstanceRow, InstanceState, QuarantineReason, SealUnder, StudyEntry};
use leadglass_journal::CommitError;
use leadglass_keys::ObjectLease;
use leadglass_model::{
    Administer, EntryId, Fault, ObjectId, Permit, Phi, Purpose, ReceiverId, StudyRef, StudyUid, UnixMillis,
};
use leadglass_seal::{
    ContentStart, Lineage, ObjectKind, ObjectRecords, ObjectSealer, Opener, Provenance, SealOptions, SealedName,
    StudyKey,
};
use std::{sync::Arc, time::Duration};

/// A case of quarantine: instances that were sent together and did not fit for the same reason.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub case: StudyRef,
    /// Why.
    pub reason: QuarantineReason,
    /// When the first of them came.
    pub since: UnixMillis,
    /// How many wait.
    pub instances: usize,
    /// The study that they name.
    pub study: StudyUid,
    /// The patient that they name.
    pub patient_id: Option<Phi<String>>,
    /// Her name.
    pub patient_name: Option<Phi<String>>,
}

/// What a rebuilt index must know of a case and the objects cannot say.
#[derive(Debug)]
pub(crate) struct Note<'a> {
    /// `quarantine` when the case begins, `release` or `move` when an object leaves it; `hide` when one leaves a
    /// study, `rectify` when the current versions of one say whose it is.
    pub(crate) decision: &'a str,
    /// Which object.
    pub(crate) object: ObjectId,
    /// The study that it went to; the case itself while it waits, and the study that hides or names it.
    pub(crate) target: StudyRef,
    /// The case, or the study.
    pub(crate) case: StudyRef,
    /// The object's version there.
    pub(crate) version: u32,
    /// Who decided, or delivered.
    pub(crate) receiver: ReceiverId,
}

/// What a person decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Into the study that the instances name, as its current versions.
    Release,
    /// Into another study of the tenant.
    Move(StudyUid),
}

/// Why a decision could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuarantineError {
    /// No such case, or no such study to move to.
    #[error("there is no such case or study")]
    Missing,
    /// The quarantined instance could not be read.
    #[error("a quarantined instance cannot be read")]
    Read(#[from] RetrieveError),
    /// It could not be taken in.
    #[error("a quarantined instance cannot be taken into the study")]
    Ingest(#[from] IngestError),
    /// The index failed.
    #[error("the index cannot be asked")]
    Index(#[from] IndexError),
    /// That an erased study may come back cannot be written down.
    #[error("that an erased study may come back cannot be written down")]
    Records(#[from] leadglass_records::RecordError),
    /// The decision could not be recorded.
    #[error("the decision cannot be recorded")]
    Audit(#[from] CommitError),
}

impl QuarantineError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::Read(error) => error.fault(),
            Self::Ingest(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Records(error) => error.fault(),
            Self::Audit(error) => error.fault(),
        }
    }
}

impl Shared {
    pub(crate) async fn quarantined(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
    ) -> Result<Vec<Case>, QuarantineError> {
        let mut cases = Vec::new();
        for entry in self.catalog.quarantined(permit.tenant(), None) {
            let Some(reason) = entry.row.quarantine else { continue };
            let waiting = self.waiting(permit, entry.study_ref).await?;
            if !waiting.is_empty() {
                cases.push(Case {
                    case: entry.study_ref,
                    reason,
                    since: entry.row.created_at,
                    instances: waiting.len(),
                    study: entry.row.uid,
                    patient_id: entry.row.patient_id,
                    patient_name: entry.row.patient_name,
                });
            }
        }
        cases.sort_by_key(|case| case.since);
        // The list names patients: that it was read is recorded before it is given out.
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::Query, Outcome::Success);
        entry.tenant = Some(permit.tenant());
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.purpose = Some(permit.purpose());
        entry.code = CodeWord::parse("quarantine");
        entry.counts = Counts { studies: cases.len() as u64, ..Counts::default() };
        self.commit_entry(entry, None).await?;
        Ok(cases)
    }

    async fn waiting(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        case: StudyRef,
    ) -> Result<Vec<InstanceRow>, IndexError> {
        let rows = self.catalog.instances(permit.tenant(), case).await;
        let mut rows = rows.inspect_err(|error| self.index_alarm(error))?;
        rows.retain(|row| matches!(row.state, InstanceState::Quarantined(_)));
        Ok(rows)
    }

    pub(crate) async fn decide(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        case: StudyRef,
        verdict: &Verdict,
    ) -> Result<usize, QuarantineError> {
        let tenant = permit.tenant();
        let cases = self.catalog.quarantined(tenant, None);
        let entry = cases.into_iter().find(|entry| entry.study_ref == case).ok_or(QuarantineError::Missing)?;
        let uid = match verdict {
            Verdict::Release => &entry.row.uid,
            Verdict::Move(uid) => uid,
        };
        let target = match (self.catalog.study(tenant, uid), verdict) {
            (Some(study), _) => Destination::Decided(study.study_ref),
            // The study never came to be, or is gone: the first released instance makes it.
            (None, Verdict::Release) => {
                // It was erased, and a person lets it come back.
                self.let_come_back(tenant, uid).await?;
                Destination::AsNamed
            }
            (None, Verdict::Move(_)) => return Err(QuarantineError::Missing),
        };
        let rows = self.waiting(permit, case).await?;
        let count = rows.len();
        for row in rows {
            self.take_over(permit, &entry, target, row, verdict).await?;
        }
        Ok(count)
    }

    async fn take_over(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        case: &StudyEntry,
        target: Destination,
        row: InstanceRow,
        verdict: &Verdict,
    ) -> Result<(), QuarantineError> {
        let tenant = permit.tenant();
        let word = match verdict {
            Verdict::Release => "release",
            Verdict::Move(_) => "move",
        };
        let (instance, series) = (&row.sop_uid, &row.series_uid);
        let tokens = [self.instance_token(tenant, instance), self.series_token(tenant, series)];
        if self.erased.is_ending(tenant, tokens).await {
            // It is being erased: whoever wants it back decides when that is over.
            return Err(QuarantineError::Ingest(IngestError::Overtaken));
        }
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::QuarantineDecision, Outcome::Success);
        entry.tenant = Some(tenant);
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.purpose = Some(permit.purpose());
        entry.subject = self.subject_token(tenant, &crate::patient_key(case));
        entry.study = Some(target.study_ref().unwrap_or(case.study_ref));
        entry.code = CodeWord::parse(word);
        entry.counts = Counts { studies: 1, instances: 1, ..Counts::default() };
        self.commit_entry(entry, None).await?;
        if *verdict == Verdict::Release && case.row.quarantine == Some(QuarantineReason::Erased) {
            // It, or its series, was erased, and a person lets it come back.
            self.let_part_come_back(tenant, &row.series_uid, &row.sop_uid).await?;
        }

        let lease = self.lease_for_check(permit, &row, id).await?;
        // No session: this reads once.
        let by = ReadBy { session: [0; 16], actor: permit.actor(), purpose: Purpose::StorageCheck, entry: id };
        let reader = self.reader(lease.clone(), &row, by, Arc::default())?;
        let source = Arc::new(Source {
            tenant,
            // The device stays the one that delivered it: its next correction is a version, not a stranger.
            receiver: row.receiver,
            actor: permit.actor(),
            role: permit.role(),
            calling: Phi::new(String::new()),
            address: Phi::new(String::new()),
            level: None,
            corrects: Corrects::Versions,
        });
        let announced = Announced {
            sop_class: row.sop_class.clone(),
            sop_instance: row.sop_uid.clone(),
            transfer_syntax: row.transfer_syntax.clone(),
        };
        // The head as it was received, ours or a file's own: what is released is the same file, byte for byte.
        let head: Vec<Bytes> = reader.plain(0..row.dataset_start).try_collect().await?;
        let mut transfer = self.begin_after(head.concat().into(), source, announced, target)?;
        let mut pieces = Box::pin(reader.plain(row.dataset_start..row.body_len));
        while let Some(piece) = pieces.try_next().await? {
            transfer.write(piece).await?;
        }
        transfer.finish().await?;

        let study = self.catalog.study(tenant, &case.row.uid).map(|study| study.study_ref);
        let target = target.study_ref().or(study).unwrap_or(case.study_ref);
        let note = Note {
            decision: word,
            object: row.object_id,
            target,
            case: case.study_ref,
            version: row.version,
            receiver: ReceiverId::from_bytes(permit.actor().0),
        };
        let name = SealedName {
            tenant,
            object_id: ObjectId::random(&*self.entropy),
            key_id: lease.key_id(),
            key_gen: lease.key_gen(),
        };
        self.write_note(lease.study_key(), &name, &note).await?;
        self.withdraw(permit, &lease, case.study_ref, row).await
    }

    /// What was decided, sealed under the case's own key, for whoever rebuilds the index.
    pub(crate) async fn write_note(
        &self,
        key: &StudyKey,
        name: &SealedName,
        note: &Note<'_>,
    ) -> Result<(), IngestError> {
        let body = serde_json::json!({ "decision": note.decision, "object": note.object, "target": note.target });
        let mut out = Vec::new();
        let options = SealOptions::default();
        let mut sealer = ObjectSealer::begin(key, name, options, ContentStart::Body, &*self.entropy, &mut out);
        let received_at = self.clock.now();
        let records = ObjectRecords {
            kind: ObjectKind::Note,
            lineage: Lineage { study_ref: note.case, version: note.version, supersedes: Some(note.object) },
            layout: None,
            frames: leadglass_seal::Frames::None,
            transfer_syntax: None,
            media_type: Some("application/json".to_owned()),
            provenance: Some(Provenance { receiver: note.receiver, received_at }),
        };
        sealer.body(body.to_string().as_bytes(), &mut out).map_err(IngestError::Seal)?;
        let _pinned_by_nobody = sealer.finish(&records, &mut out).map_err(IngestError::Seal)?;
        self.objects.put(name.object_id, vec![out.into()]).await.map_err(IngestError::Store)?;
        Ok(())
    }

    /// The quarantined row stays, for the trail; nobody decides on it again.
    async fn withdraw(
        &self,
        permit: &Permit<Administer>,
        lease: &ObjectLease,
        case: StudyRef,
        row: InstanceRow,
    ) -> Result<(), QuarantineError> {
        let tenant = permit.tenant();
        let no_key = IndexError::NoKey { table: leadglass_index::Table::Instance };
        let at = self.catalog.instance_key(tenant, case, &row.sop_uid).ok_or(no_key)?;
        let under = SealUnder { key_id: lease.key_id(), key_gen: lease.key_gen(), key: lease.index_key() };
        // A newer version may have come into the case since it was looked at: that one still waits.
        let _turn = self.claims.turn(tenant, &row.sop_uid).await;
        let now = self.catalog.instance(tenant, case, &row.sop_uid).await?;
        if now.is_none_or(|now| now.object_id != row.object_id) {
            return Ok(());
        }
        let row = InstanceRow { state: InstanceState::Withdrawn, ..row };
        loop {
            let puts = vec![(tenant, at, self.catalog.seal(tenant, &at, &under, &row))];
            match self.catalog.write(Batch { puts, ..Batch::default() }).await {
                // Its first version is still on its way to the engine.
                Err(IndexError::Pending { .. }) => tokio::time::sleep(PENDING_REST).await,
                done => return done.map(|_| ()).map_err(QuarantineError::Index),
            }
        }
    }

    pub(crate) async fn lease_for_check(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        row: &InstanceRow,
        entry: EntryId,
    ) -> Result<Arc<ObjectLease>, RetrieveError> {
        let ids = [row.key_id];
        let opened = self.keys.open(permit.tenant(), &ids, Purpose::StorageCheck, permit.actor(), entry).await;
        let mut opened = opened.map_err(RetrieveError::Keys)?;
        opened.remove(&row.key_id).ok_or(RetrieveError::Missing)?.map_err(RetrieveError::Refused)
    }

    pub(crate) fn opener(
        self: &Arc<Self>,
        lease: &ObjectLease,
        permit: &Permit<Administer>,
        row: &InstanceRow,
    ) -> Result<Opener, RetrieveError> {
        let name =
            SealedName { tenant: permit.tenant(), object_id: row.object_id, key_id: row.key_id, key_gen: row.key_gen };
        Opener::pinned(lease.study_key(), &name, &row.header, row.sealed_len)
            .map_err(|error| self.damaged(row.object_id, error))
    }
}

/// The drain takes a moment to bring a row to the engine.
const PENDING_REST: Duration = Duration::from_millis(50);
