//! Orders: given, approved, taken back, listed.

use super::{
    Approved, Cause, EraseError, ErasureId, ErasureRules, Ground, Level, MAX_STUDIES, Order, Stage, WhatToErase,
    order::PREFIX, tombstone::scan,
};
use crate::{Engine, Shared, ingest::PatientKey};
use leadglass_audit::{CodeWord, Counts, Event, NewEntry, Outcome};
use leadglass_index::StudyEntry;
use leadglass_model::{ActorRef, Administer, EntryId, Permit, TenantId};
use leadglass_records::{Expected, RecordError, Table};
use std::{collections::BTreeSet, sync::Arc};
use zeroize::Zeroizing;

impl Engine {
    /// What a house demands before something is erased.
    pub fn set_erasure(&self, rules: ErasureRules) {
        *self.shared.erased.rules.lock() = rules;
    }

    /// Orders an erasure. Nothing happens to anything yet.
    ///
    /// Cancel safety: a dropped call may have written the order.
    pub async fn order_erasure(
        &self,
        permit: &Permit<Administer>,
        what: &WhatToErase,
        why: Cause,
    ) -> Result<Order, EraseError> {
        self.shared.order_erasure(permit, what, why).await
    }

    /// Every order of the tenant, newest last.
    pub async fn erasures(&self, permit: &Permit<Administer>) -> Result<Vec<Order>, EraseError> {
        Ok(self.shared.orders(permit.tenant()).await?)
    }

    /// One order.
    pub async fn erasure(&self, permit: &Permit<Administer>, id: ErasureId) -> Result<Order, EraseError> {
        Ok(self.shared.order(permit.tenant(), id).await?.0)
    }

    /// Approves an order of somebody else.
    pub async fn approve_erasure(&self, permit: &Permit<Administer>, id: ErasureId) -> Result<Order, EraseError> {
        let (mut order, version) = self.shared.order(permit.tenant(), id).await?;
        if order.stage != Stage::Ordered {
            return Err(EraseError::Begun(order.stage));
        }
        if order.is_by(permit.actor()) {
            return Err(EraseError::OwnOrder);
        }
        let by = permit.actor().to_string();
        if order.approvals.iter().all(|given| given.by != by) {
            let entry = self.shared.erasure_entry(permit.tenant(), &order, "approved");
            self.shared.commit_entry(by_permit(entry, permit), None).await?;
            order.approvals.push(Approved { by, at: self.shared.clock.now() });
            self.shared.keep_order(permit.tenant(), &order, Expected::Version(version)).await?;
        }
        Ok(order)
    }

    /// Takes an order back that has not begun; one for a part of a study until its keys are destroyed.
    pub async fn withdraw_erasure(&self, permit: &Permit<Administer>, id: ErasureId) -> Result<Order, EraseError> {
        let _turn = self.shared.erased.turn.lock().await;
        let (mut order, version) = self.shared.order(permit.tenant(), id).await?;
        // Of a part nothing is lost before its keys are destroyed.
        let may = order.stage == Stage::Ordered || (order.stage == Stage::Listed && order.part.is_some());
        if !may {
            return Err(EraseError::Begun(order.stage));
        }
        if order.part.is_some() {
            self.shared.reopen_part(permit.tenant(), permit.actor(), &order).await?;
        }
        let entry = self.shared.erasure_entry(permit.tenant(), &order, "withdrawn");
        self.shared.commit_entry(by_permit(entry, permit), None).await?;
        order.stage = Stage::Withdrawn;
        self.shared.keep_order(permit.tenant(), &order, Expected::Version(version)).await?;
        Ok(order)
    }
}

impl Shared {
    async fn order_erasure(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        what: &WhatToErase,
        Cause { ground, reason, no_rule }: Cause,
    ) -> Result<Order, EraseError> {
        let tenant = permit.tenant();
        let found = self.clone().studies_of(tenant, what.clone()).await?;
        let part = self.part_of(tenant, what, &found).await?;
        let Some(first) = found.first() else { return Err(EraseError::Missing) };
        if found.len() > MAX_STUDIES {
            return Err(EraseError::TooMany { studies: found.len() });
        }
        self.may_be_erased(tenant, &found, ground).await?;
        let no_rule = self.lacks_rule(tenant, &found).await? && {
            if !no_rule {
                return Err(EraseError::NoRule);
            }
            true
        };
        let now = self.clock.now();
        let rules = *self.erased.rules.lock();
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        let of_study = |study: &StudyEntry| self.uid_token(tenant, &study.row.uid);
        let tokens: Vec<[u8; 16]> = match part {
            Some(part) => vec![part],
            None => found.iter().filter(|study| study.row.quarantine.is_none()).filter_map(of_study).collect(),
        };
        let order = Order {
            id: ErasureId(id),
            level: match what {
                WhatToErase::Study(_) => Level::Study,
                WhatToErase::Series(..) => Level::Series,
                WhatToErase::Instance(..) => Level::Instance,
                WhatToErase::Patient { .. } => Level::Patient,
            },
            ground,
            reason,
            no_rule,
            ordered_by: permit.actor().to_string(),
            ordered_at: now,
            not_before: now.plus_secs(rules.cooling_off_s),
            needs: rules.approvals,
            approvals: Vec::new(),
            studies: found.iter().map(|study| study.study_ref).collect(),
            uid_tokens: tokens.into_iter().map(hex::encode).collect(),
            part: part.map(hex::encode),
            keys: BTreeSet::new(),
            new_key: None,
            moved: false,
            subject: self.subject_token(tenant, &crate::patient_key(first)).map(|token| hex::encode(token.0)),
            tell: false,
            recipients: Vec::new(),
            recipients_known: false,
            stage: Stage::Ordered,
            key_approval: None,
            key_approval_until: None,
            objects: 0,
            instances: 0,
            receipt: None,
            ciphertext_deleted_at: None,
            done_at: None,
        };
        let entry = self.erasure_entry(tenant, &order, if no_rule { "ordered-no-rule" } else { "ordered" });
        self.commit_entry(by_permit(entry, permit), None).await?;
        self.keep_order(tenant, &order, Expected::Absent).await?;
        // Behind the order: a correction that begins now sees it.
        if let Err(refused) = self.is_not_corrected(tenant, &order).await {
            let records = self.records(tenant).ok_or(EraseError::Missing)?;
            records.delete(Table::Cases, &Order::record_key(order.id)).await?;
            return Err(refused);
        }
        Ok(order)
    }

    /// The studies and cases of quarantine that are meant. One look at every study in memory.
    async fn studies_of(self: Arc<Self>, tenant: TenantId, what: WhatToErase) -> Result<Vec<StudyEntry>, EraseError> {
        let look = move || match what {
            WhatToErase::Study(uid) => {
                let Some(study) = self.catalog.study(tenant, &uid) else { return Vec::new() };
                let patient = crate::patient_key(&study);
                let cases = self.catalog.quarantined(tenant, Some(&uid)).into_iter();
                let cases: Vec<_> = cases.filter(|case| crate::patient_key(case).is_same(&patient)).collect();
                std::iter::once(study).chain(cases).collect()
            }
            WhatToErase::Series(uid, _) | WhatToErase::Instance(uid, _) => {
                self.catalog.study(tenant, &uid).into_iter().collect()
            }
            WhatToErase::Patient { id, issuer } => {
                let patient = PatientKey { id, issuer };
                let all = self.catalog.study_refs(tenant).into_iter();
                let entries = all.filter_map(|study| self.catalog.study_by_ref(tenant, study));
                entries.filter(|entry| crate::patient_key(entry).is_same(&patient)).collect()
            }
        };
        tokio::task::spawn_blocking(look).await.map_err(|_| EraseError::Stopping)
    }

    /// The token of the series or instance that is meant; there has to be such a one.
    async fn part_of(
        &self,
        tenant: TenantId,
        what: &WhatToErase,
        found: &[StudyEntry],
    ) -> Result<Option<[u8; 16]>, EraseError> {
        let Some(study) = found.first().map(|study| study.study_ref) else { return Ok(None) };
        let (is_there, token) = match what {
            WhatToErase::Study(_) | WhatToErase::Patient { .. } => return Ok(None),
            WhatToErase::Series(_, series) => {
                (self.catalog.has_series(tenant, study, series), self.series_token(tenant, series))
            }
            WhatToErase::Instance(_, instance) => {
                let row = self.catalog.instance(tenant, study, instance).await?;
                (row.is_some(), self.instance_token(tenant, instance))
            }
        };
        token.filter(|_| is_there).map(Some).ok_or(EraseError::Missing)
    }

    /// Nothing is erased while it is being said whose it is.
    pub(super) async fn is_not_corrected(&self, tenant: TenantId, order: &Order) -> Result<(), EraseError> {
        let corrected = self.is_being_rectified(tenant, &order.studies).await;
        match corrected.map_err(|error| EraseError::Rectified(error.into()))? {
            true => Err(EraseError::BeingCorrected),
            false => Ok(()),
        }
    }

    /// Whether it may be erased now on this ground, and if not, why.
    pub(super) async fn may_be_erased(
        self: &Arc<Self>,
        tenant: TenantId,
        studies: &[StudyEntry],
        ground: Ground,
    ) -> Result<(), EraseError> {
        match self.kept(tenant, studies, ground == Ground::RetentionEnd).await? {
            Some(kept) => Err(EraseError::Kept(kept)),
            None => Ok(()),
        }
    }

    pub(super) async fn orders(&self, tenant: TenantId) -> Result<Vec<Order>, RecordError> {
        let Some(records) = self.records(tenant) else { return Ok(Vec::new()) };
        let found = scan(records, PREFIX).await?;
        // One that cannot be read is no order that may be passed over.
        let read =
            |(_, value): &(_, Zeroizing<Vec<u8>>)| serde_json::from_slice(value).map_err(|_| RecordError::NotAuthentic);
        let mut orders: Vec<Order> = found.iter().map(read).collect::<Result<_, _>>()?;
        orders.sort_by_key(|order| order.ordered_at);
        Ok(orders)
    }

    pub(super) async fn order(&self, tenant: TenantId, id: ErasureId) -> Result<(Order, u64), EraseError> {
        let records = self.records(tenant).ok_or(EraseError::Missing)?;
        let record = records.get(Table::Cases, &Order::record_key(id)).await?.ok_or(EraseError::Missing)?;
        let order = serde_json::from_slice(record.value.expose()).map_err(|_| RecordError::NotAuthentic)?;
        Ok((order, record.version))
    }

    pub(super) async fn keep_order(
        &self,
        tenant: TenantId,
        order: &Order,
        expected: Expected,
    ) -> Result<u64, EraseError> {
        let records = self.records(tenant).ok_or(EraseError::Missing)?;
        let value = Zeroizing::new(serde_json::to_vec(order).expect("an order has string keys and plain fields"));
        Ok(records.put(Table::Cases, &Order::record_key(order.id), value, expected).await?)
    }

    /// An entry about an order. It names the patient by her token alone.
    pub(super) fn erasure_entry(&self, tenant: TenantId, order: &Order, code: &str) -> NewEntry {
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::Erasure, Outcome::Success);
        entry.tenant = Some(tenant);
        entry.subject = order.subject_token();
        entry.study = if let [only] = order.studies.as_slice() { Some(*only) } else { None };
        entry.code = CodeWord::parse(code);
        entry.counts = Counts { studies: order.studies.len() as u64, instances: order.instances, ..Counts::default() };
        entry
    }
}

pub(super) fn by_permit(mut entry: NewEntry, permit: &Permit<Administer>) -> NewEntry {
    let actor: ActorRef = permit.actor();
    entry.actor = Some(actor);
    entry.role = Some(permit.role());
    entry.purpose = Some(leadglass_model::Purpose::SubjectRequest);
    entry
}
