//! The steps of a rectification. Each may be done twice.

use super::{Rectification, RectificationId, RectifyError, attribute::with, instance::Was};
use crate::{IngestError, Record, SealedRow, Shared, ingest::MAX_EARLIER, retrieve::ReadBy, subject::Detail};
use leadglass_audit::{Counts, Event, NewEntry};
use leadglass_index::{IndexError, InstanceRow, InstanceState, SealUnder, StudyEntry, Table};
use leadglass_model::{ActorRef, ObjectId, Purpose, StudyRef, TenantId};
use leadglass_tap::CoerceError;
use std::{collections::BTreeSet, sync::Arc};

impl Shared {
    /// Rectifications that a stop or a crash left under way go on; at start.
    pub(crate) async fn resume_rectifications(self: Arc<Self>) {
        for tenant in self.tenants.clone() {
            match self.rectifications(tenant).await {
                Ok(orders) => {
                    for order in orders.into_iter().filter(|order| order.done_at.is_none()) {
                        self.run_rectification(tenant, order.id).await;
                    }
                }
                Err(error) => {
                    tracing::error!(%tenant, %error, "rectifications that had begun cannot be read, so they do not go on");
                }
            }
        }
    }

    /// Carries one on. Why it stopped stands in its order.
    pub(super) async fn run_rectification(self: &Arc<Self>, tenant: TenantId, id: RectificationId) {
        let _turn = self.rectifying.lock().await;
        let stopped = match self.carry_on(tenant, id).await {
            Ok(()) | Err(RectifyError::Stopping) => return,
            Err(error) => error,
        };
        tracing::warn!(%id, error = %stopped, "a rectification stopped; run it again");
        let kept = async {
            let order = self.rectification(tenant, id).await?;
            self.keep_rectification(tenant, &Rectification { why: Some(stopped.to_string()), ..order }).await
        };
        if let Err(error) = kept.await {
            tracing::warn!(%id, %error, "why a rectification stopped could not be written down");
        }
    }

    async fn carry_on(self: &Arc<Self>, tenant: TenantId, id: RectificationId) -> Result<(), RectifyError> {
        let mut order = self.rectification(tenant, id).await?;
        while let Some(study) = order.left.last().copied() {
            // One that is gone meanwhile is not corrected any more.
            if let Some(entry) = self.catalog.study_by_ref(tenant, study) {
                let corrected = self.rectify_study(tenant, &order, &entry).await?;
                // An erasure may have removed other studies from it meanwhile, or all of it.
                order = match self.rectification(tenant, id).await {
                    Err(RectifyError::Missing) => return Ok(()),
                    order => order?,
                };
                order.instances += corrected;
            }
            order.left.retain(|left| *left != study);
            order.why = None;
            self.keep_rectification(tenant, &order).await?;
        }
        if order.done_at.is_none() {
            order = order.done(self.clock.now());
            self.keep_rectification(tenant, &order).await?;
            tracing::info!(%id, instances = order.instances, "a rectification is done");
        }
        Ok(())
    }

    async fn rectify_study(
        self: &Arc<Self>,
        tenant: TenantId,
        order: &Rectification,
        study: &StudyEntry,
    ) -> Result<u64, RectifyError> {
        let right = StudyEntry { row: with(study.row.clone(), &order.values), ..study.clone() };
        let by = match order.split {
            None => self.show_as(tenant, order, &right).await?,
            Some(_) => {
                let entry = self.about_rectified(tenant, order.by, &right, "rectification-begun");
                let by = by(order.by, &entry);
                self.commit_entry(entry, None).await?;
                by
            }
        };
        // By object: a newer version of one that was looked at is another.
        let mut seen: BTreeSet<ObjectId> = BTreeSet::new();
        let mut corrected = 0;
        loop {
            // What came in while the others were read.
            let mut news = self.concerned_rows(tenant, order, study.study_ref).await?;
            news.retain(|row| !seen.contains(&row.object_id));
            if news.is_empty() {
                break;
            }
            for row in news {
                if self.stop.is_cancelled() {
                    return Err(RectifyError::Stopping);
                }
                corrected += u64::from(self.correct(tenant, order, study.study_ref, &row, by).await? == Was::Wrong);
                seen.insert(row.object_id);
            }
        }
        if order.split.is_none() {
            self.note_rectified(tenant, study.study_ref, &BTreeSet::new(), by).await?;
        }
        // Both patients' reports say it: of whom it was, and whose it is.
        let mut patients = vec![study];
        if crate::patient_key(study) != crate::patient_key(&right) {
            patients.push(&right);
        }
        for patient in patients {
            let mut entry = self.about_rectified(tenant, order.by, patient, "rectified");
            entry.counts = Counts { studies: 1, instances: corrected, ..Counts::default() };
            let detail = self.detail(tenant, entry.subject, entry.entry_id, &Detail::of(patient)).await?;
            entry.detail = detail.bytes;
            self.commit_entry(entry, detail.wrap).await?;
        }
        Ok(corrected)
    }

    /// From here on the study is found as it should be, and nothing comes in that names the patient from before: what was on
    /// its way when this began has arrived, what comes later finds another patient here. Row and entry are durable together.
    async fn show_as(
        self: &Arc<Self>,
        tenant: TenantId,
        order: &Rectification,
        right: &StudyEntry,
    ) -> Result<ReadBy, RectifyError> {
        let study = right.study_ref;
        let key = self.keys.sealing_key(tenant, Some(study)).await?;
        let at = self.catalog.study_key(tenant, study, &right.row.uid);
        let at = at.ok_or(IndexError::NoKey { table: Table::Study })?;
        let mut entry = self.about_rectified(tenant, order.by, right, "rectification-begun");
        let detail = self.detail(tenant, entry.subject, entry.entry_id, &Detail::of(right)).await?;
        entry.detail = detail.bytes;
        let by = by(order.by, &entry);
        let subjects = detail.wrap.into_iter().collect();
        let entries = vec![entry.encode().into()];
        let (shared, row) = (self.clone(), right.row.clone());
        let work = async move {
            let still = shared.erased.hold_still().await;
            if still.ends(tenant, study, key.key_id()) {
                return Err(RectifyError::Going);
            }
            let under = SealUnder { key_id: key.key_id(), key_gen: key.key_gen(), key: key.index_key() };
            let row = SealedRow { tenant, key: at, bytes: shared.catalog.seal(tenant, &at, &under, &row) };
            shared.commit(Record { rows: vec![row], entries, subjects, ..Record::default() }).await?;
            Ok(())
        };
        self.tasks.spawn(work).await.map_err(|_| RectifyError::Stopping)??;
        Ok(by)
    }

    /// Looks whether every instance can say it. Nothing is changed.
    pub(super) async fn check_fit(
        self: &Arc<Self>,
        tenant: TenantId,
        order: &Rectification,
    ) -> Result<(), RectifyError> {
        let (mut instances, mut first): (u64, Option<CoerceError>) = (0, None);
        for study in &order.left {
            let Some(study) = self.catalog.study_by_ref(tenant, *study) else { continue };
            let entry = self.about_rectified(tenant, order.by, &study, "rectification-checked");
            let by = by(order.by, &entry);
            self.commit_entry(entry, None).await?;
            for row in self.concerned_rows(tenant, order, study.study_ref).await? {
                if order.split.is_none() && row.earlier.len() >= MAX_EARLIER {
                    return Err(IngestError::TooManyVersions.into());
                }
                if let Err(error) = self.would_fit(tenant, order, &row, by).await? {
                    (instances, first) = (instances + 1, first.or(Some(error)));
                }
            }
        }
        first.map_or(Ok(()), |why| Err(RectifyError::Unfit { instances, why }))
    }

    /// The instances that viewers see, of the part that is meant.
    async fn concerned_rows(
        &self,
        tenant: TenantId,
        order: &Rectification,
        study: StudyRef,
    ) -> Result<Vec<InstanceRow>, RectifyError> {
        let mut rows = self.catalog.instances(tenant, study).await?;
        let is_meant = |row: &InstanceRow| order.split.as_ref().is_none_or(|split| split.holds(row));
        rows.retain(|row| row.state == InstanceState::Current && is_meant(row));
        Ok(rows)
    }

    /// An entry about a study, under its patient's token.
    pub(super) fn about_rectified(
        self: &Arc<Self>,
        tenant: TenantId,
        actor: ActorRef,
        study: &StudyEntry,
        code: &str,
    ) -> NewEntry {
        let mut entry = self.rectify_entry(tenant, actor, Event::PatientRecord, code);
        entry.subject = self.subject_token(tenant, &crate::patient_key(study));
        entry.study = Some(study.study_ref);
        entry.counts = Counts { studies: 1, ..Counts::default() };
        entry
    }
}

/// Who reads, by which entry. No session: this reads once.
fn by(actor: ActorRef, entry: &NewEntry) -> ReadBy {
    ReadBy { session: [0; 16], actor, purpose: Purpose::StorageCheck, entry: entry.entry_id }
}
