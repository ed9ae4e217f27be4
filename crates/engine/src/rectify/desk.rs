//! Rectifications: previewed, ordered, listed.

use super::{
    Rectification, RectificationId, RectificationPreview, RectifyError, Truth, WhatToRectify, attribute::with,
    meant::Meant, order::PREFIX, split::Split,
};
use crate::{Engine, Shared, Stage, erase::scan, ingest::PatientKey, subject::Detail};
use leadglass_audit::{CodeWord, Counts, Event, NewEntry, Outcome, SubjectToken};
use leadglass_index::StudyEntry;
use leadglass_model::{ActorRef, Administer, EntryId, Permit, Purpose, Role, StudyRef, StudyUid, TenantId};
use leadglass_records::{Expected, RecordError, Table, TenantRecords};
use std::{collections::BTreeSet, sync::Arc};
use zeroize::Zeroizing;

impl Engine {
    /// What would change. That it was looked at is recorded first.
    ///
    /// Cancel safety: yes; nothing is changed.
    pub async fn preview_rectification(
        &self,
        permit: &Permit<Administer>,
        what: &WhatToRectify,
        truth: &Truth,
    ) -> Result<RectificationPreview, RectifyError> {
        let (shared, tenant) = (&self.shared, permit.tenant());
        let meant = shared.meant(tenant, what, truth).await?;
        // Each patient of whom something is shown finds it in her report.
        let mut patients: BTreeSet<Option<[u8; 16]>> = BTreeSet::new();
        let token = |patient: &PatientKey| shared.subject_token(tenant, patient).map(|token| token.0);
        patients.extend(meant.studies.iter().map(|study| token(&crate::patient_key(study))));
        if let Truth::Patient { id, issuer } = truth {
            patients.insert(token(&PatientKey { id: id.clone(), issuer: issuer.clone() }));
        }
        let entry = |patient: Option<[u8; 16]>| {
            let mut entry = shared.rectify_entry(tenant, permit.actor(), Event::Query, "rectification");
            entry.subject = patient.map(SubjectToken);
            entry.counts = Counts { studies: meant.studies.len() as u64, ..Counts::default() };
            entry
        };
        shared.commit_entries(patients.into_iter().map(entry).collect()).await?;
        shared.preview_of(tenant, &meant).await
    }

    /// Orders what a preview showed, and begins it. Nothing is ordered where an erasure is about it, where a hold would be
    /// lost, or where an instance cannot say it.
    ///
    /// Cancel safety: a dropped call may have ordered it; it goes on either way.
    pub async fn rectify(
        &self,
        permit: &Permit<Administer>,
        what: &WhatToRectify,
        truth: &Truth,
        reason: &str,
        digest: &str,
    ) -> Result<Rectification, RectifyError> {
        let (shared, tenant) = (&self.shared, permit.tenant());
        let meant = shared.meant(tenant, what, truth).await?;
        if shared.preview_of(tenant, &meant).await?.digest != digest {
            return Err(RectifyError::Changed);
        }
        self.may_be_corrected(permit, &meant).await?;
        let mut id = [0; 16];
        shared.entropy.fill(&mut id);
        let id = RectificationId(id);
        let mut patients = BTreeSet::new();
        for study in &meant.studies {
            let right = StudyEntry { row: with(study.row.clone(), &meant.values), ..study.clone() };
            let tokens = [study, &right].map(|study| shared.subject_token(tenant, &crate::patient_key(study)));
            patients.extend(tokens.into_iter().flatten().map(|token| hex::encode(token.0)));
        }
        let order = Rectification {
            id,
            patients,
            by: permit.actor(),
            at: shared.clock.now(),
            studies: meant.studies.iter().map(|study| study.study_ref).collect(),
            left: meant.studies.iter().map(|study| study.study_ref).collect(),
            values: meant.values.clone(),
            split: meant.part.clone().map(|(series, instances)| Split::new(id, series, instances)),
            instances: 0,
            why: None,
            done_at: None,
        };
        shared.check_fit(tenant, &order).await?;
        // From here on it is finished, whoever hangs up: an order that is written down is carried on.
        let (engine, permit, reason) = (self.clone(), permit.clone(), reason.to_owned());
        let work = async move { engine.place_rectification(&permit, &meant, order, &reason).await };
        shared.tasks.spawn(work).await.map_err(|_| RectifyError::Stopping)?
    }

    /// Records and writes down an order, and begins it.
    async fn place_rectification(
        &self,
        permit: &Permit<Administer>,
        meant: &Meant,
        order: Rectification,
        reason: &str,
    ) -> Result<Rectification, RectifyError> {
        let (shared, tenant) = (&self.shared, permit.tenant());
        for study in &meant.studies {
            let mut entry = shared.about_rectified(tenant, permit.actor(), study, "rectification-ordered");
            let said = Detail { reason, ..Detail::of(study) };
            let detail = shared.detail(tenant, entry.subject, entry.entry_id, &said).await?;
            entry.detail = detail.bytes;
            shared.commit_entry(entry, detail.wrap).await?;
        }
        shared.keep_rectification(tenant, &order).await?;
        // An erasure that was ordered meanwhile did not see this one, which is written down now: one of the two does.
        if let Err(refused) = self.may_be_corrected(permit, meant).await {
            let entry = shared.rectify_entry(tenant, permit.actor(), Event::PatientRecord, "rectification-refused");
            shared.commit_entry(entry, None).await?;
            shared.own_records(tenant)?.delete(Table::Cases, &Rectification::record_key(order.id)).await?;
            return Err(refused);
        }
        let (running, id) = (shared.clone(), order.id);
        shared.tasks.spawn(async move { running.run_rectification(tenant, id).await });
        Ok(order)
    }

    /// Gives up what is left of one that cannot come to its end: what says it already stays so, and nothing waits for the rest.
    ///
    /// Cancel safety: a dropped call may have given it up.
    pub async fn give_up_rectification(
        &self,
        permit: &Permit<Administer>,
        id: RectificationId,
    ) -> Result<Rectification, RectifyError> {
        let (shared, tenant) = (&self.shared, permit.tenant());
        let _turn = shared.rectifying.lock().await;
        let order = shared.rectification(tenant, id).await?;
        if order.done_at.is_some() {
            return Ok(order);
        }
        for study in &order.left {
            let mut entry =
                shared.rectify_entry(tenant, permit.actor(), Event::PatientRecord, "rectification-given-up");
            entry.study = Some(*study);
            shared.commit_entry(entry, None).await?;
        }
        let why = order.why.as_deref().unwrap_or("it had not stopped");
        let why = Some(format!("given up with {} studies left: {why}", order.left.len()));
        let order = Rectification { why, left: Vec::new(), ..order }.done(shared.clock.now());
        shared.keep_rectification(tenant, &order).await?;
        Ok(order)
    }

    /// Carries on one that stopped. It answers when it is at its end or stopped again.
    ///
    /// Cancel safety: what has begun goes on.
    pub async fn run_rectification(
        &self,
        permit: &Permit<Administer>,
        id: RectificationId,
    ) -> Result<Rectification, RectifyError> {
        let (shared, tenant) = (self.shared.clone(), permit.tenant());
        shared.rectification(tenant, id).await?;
        let running = shared.clone();
        let work = async move { running.run_rectification(tenant, id).await };
        shared.tasks.spawn(work).await.map_err(|_| RectifyError::Stopping)?;
        shared.rectification(tenant, id).await
    }

    /// One.
    pub async fn rectification(
        &self,
        permit: &Permit<Administer>,
        id: RectificationId,
    ) -> Result<Rectification, RectifyError> {
        self.shared.rectification(permit.tenant(), id).await
    }

    /// All of the tenant, newest last.
    pub async fn rectifications(&self, permit: &Permit<Administer>) -> Result<Vec<Rectification>, RectifyError> {
        self.shared.rectifications(permit.tenant()).await
    }

    async fn may_be_corrected(&self, permit: &Permit<Administer>, meant: &Meant) -> Result<(), RectifyError> {
        let (shared, tenant) = (&self.shared, permit.tenant());
        let erasures = self.erasures(permit).await?;
        for study in &meant.studies {
            // One that waits would end what is somebody else's by then.
            let is_about = |order: &&crate::Order| {
                (order.stage == Stage::Ordered || order.stage.is_under_way())
                    && order.studies.contains(&study.study_ref)
            };
            if let Some(order) = erasures.iter().find(is_about) {
                return Err(RectifyError::Erased(order.id));
            }
            let corrected = StudyEntry { row: with(study.row.clone(), &meant.values), ..study.clone() };
            if shared.would_lose_hold(tenant, study, &corrected, meant.part.is_some()).await? {
                return Err(RectifyError::Held);
            }
        }
        Ok(())
    }
}

impl Shared {
    pub(super) async fn rectification(
        &self,
        tenant: TenantId,
        id: RectificationId,
    ) -> Result<Rectification, RectifyError> {
        let key = Rectification::record_key(id);
        let record = self.own_records(tenant)?.get(Table::Cases, &key).await?.ok_or(RectifyError::Missing)?;
        Ok(Rectification::read(&key, record.value.expose()).ok_or(RecordError::NotAuthentic)?)
    }

    pub(super) async fn rectifications(&self, tenant: TenantId) -> Result<Vec<Rectification>, RectifyError> {
        let found = scan(self.own_records(tenant)?, PREFIX).await?;
        let read = |(key, value): &(Vec<u8>, Zeroizing<Vec<u8>>)| {
            Rectification::read(key, value).ok_or(RecordError::NotAuthentic)
        };
        let mut orders: Vec<Rectification> = found.iter().map(read).collect::<Result<_, _>>()?;
        orders.sort_by_key(|order| order.at);
        Ok(orders)
    }

    pub(super) async fn keep_rectification(&self, tenant: TenantId, order: &Rectification) -> Result<(), RectifyError> {
        let key = Rectification::record_key(order.id);
        let value = Zeroizing::new(order.write());
        self.own_records(tenant)?.put(Table::Cases, &key, value, Expected::Anything).await?;
        Ok(())
    }

    /// What was corrected about studies that are erased is not written there any more. `tokens`: of their UIDs.
    pub(crate) async fn forget_rectifications(
        &self,
        tenant: TenantId,
        studies: &[StudyRef],
        tokens: &[String],
    ) -> Result<(), RectifyError> {
        for mut order in self.rectifications(tenant).await? {
            let before = order.studies.len();
            order.studies.retain(|study| !studies.contains(study));
            order.left.retain(|study| !studies.contains(study));
            let token = order.new_study().and_then(|uid| StudyUid::parse(uid.expose()).ok());
            let token = token.and_then(|uid| self.uid_token(tenant, &uid)).map(hex::encode);
            if order.studies.is_empty() || token.is_some_and(|token| tokens.contains(&token)) {
                self.own_records(tenant)?.delete(Table::Cases, &Rectification::record_key(order.id)).await?;
            } else if order.studies.len() != before {
                self.keep_rectification(tenant, &order).await?;
            }
        }
        Ok(())
    }

    /// Whether one of these studies is being corrected.
    pub(crate) async fn is_being_rectified(
        &self,
        tenant: TenantId,
        studies: &[StudyRef],
    ) -> Result<bool, RectifyError> {
        let orders = self.rectifications(tenant).await?;
        Ok(orders.iter().any(|order| order.left.iter().any(|left| studies.contains(left))))
    }

    /// Whether whose study it is was corrected, or is being.
    pub(crate) async fn was_rectified(&self, tenant: TenantId, study: StudyRef) -> Result<bool, RectifyError> {
        let orders = self.rectifications(tenant).await?;
        Ok(orders.iter().any(|order| order.split.is_none() && order.studies.contains(&study)))
    }

    fn own_records(&self, tenant: TenantId) -> Result<&TenantRecords, RectifyError> {
        self.subjects.get(&tenant).map(crate::subject::Subjects::records).ok_or(RectifyError::Missing)
    }

    /// An entry of whoever corrects.
    pub(super) fn rectify_entry(
        self: &Arc<Self>,
        tenant: TenantId,
        actor: ActorRef,
        event: Event,
        code: &str,
    ) -> NewEntry {
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), event, Outcome::Success);
        entry.tenant = Some(tenant);
        entry.actor = Some(actor);
        entry.role = Some(Role::Dpo);
        entry.purpose = Some(Purpose::SubjectRequest);
        entry.code = CodeWord::parse(code);
        entry
    }
}
