//! The steps of an order, one function each. Each says what survives if we die in it.

use super::{EraseError, ErasureId, Level, Notice, Order, Stage, order, part::objects_of};
use crate::{Engine, Shared, retrieve::thumbnail_name};
use futures::{StreamExt, TryStreamExt, stream};
use leadglass_keys::{
    ServiceError,
    wire::{Base64Bytes, DestroyRequest, DestroyStatement, Few, Job, OpenApproval, ProblemCode, Word, json_from},
};
use leadglass_model::{ActorRef, Administer, EntryId, KeyId, ObjectId, Permit, Purpose, TenantId};
use leadglass_records::{Expected, RecordError, Table};
use leadglass_store::StoreError;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use zeroize::Zeroizing;

impl Engine {
    /// Carries an order on as far as it goes. `approval` is one that was given on the key host for it; without one the key
    /// service is asked for it, and the answer says what has to be typed there.
    ///
    /// Cancel safety: what has begun goes on in a task of its own; asking again goes on, too.
    pub async fn run_erasure(
        &self,
        permit: &Permit<Administer>,
        id: ErasureId,
        approval: Option<String>,
    ) -> Result<Order, EraseError> {
        let (shared, tenant, actor) = (self.shared.clone(), permit.tenant(), permit.actor());
        let work = async move { shared.run_erasure(tenant, actor, id, approval).await };
        self.shared.tasks.spawn(work).await.map_err(|_| EraseError::Stopping)?
    }
}

impl Shared {
    /// Studies of orders that had begun take nothing in again; at start, before anybody can send.
    pub(crate) async fn close_erasures(&self) -> Result<(), RecordError> {
        for tenant in &self.tenants {
            for order in self.orders(*tenant).await?.into_iter().filter(|order| order.stage.is_under_way()) {
                match order.part {
                    Some(_) => self.close_part_again(*tenant, &order).await?,
                    None => self.erased.close(*tenant, &order.studies).await,
                }
            }
        }
        Ok(())
    }

    /// Orders that a stop or a crash left under way go on; at start.
    pub(crate) async fn resume_erasures(self: Arc<Self>) {
        for tenant in self.tenants.clone() {
            let orders = match self.orders(tenant).await {
                Ok(orders) => orders,
                Err(error) => {
                    tracing::error!(%tenant, %error, "erasures that had begun cannot be read, so they do not go on");
                    continue;
                }
            };
            for order in orders.into_iter().filter(|order| order.stage.is_under_way()) {
                let actor =
                    ActorRef(hex::decode(&order.ordered_by).ok().and_then(|id| id.try_into().ok()).unwrap_or_default());
                if let Err(error) = self.run_erasure(tenant, actor, order.id, None).await {
                    tracing::warn!(order = %order.id, %error, "an erasure that had begun waits; run it again");
                }
            }
        }
    }

    async fn run_erasure(
        self: &Arc<Self>,
        tenant: TenantId,
        actor: ActorRef,
        id: ErasureId,
        approval: Option<String>,
    ) -> Result<Order, EraseError> {
        let mut turn = self.erased.turn.lock().await;
        let (mut order, mut version) = self.order(tenant, id).await?;
        loop {
            match order.stage {
                Stage::Ordered => self.list(tenant, actor, &mut order).await?,
                // While the rows of what goes still open.
                Stage::Listed if !order.recipients_known => self.know_recipients(tenant, &mut order).await?,
                // Its name is durable before anything is sealed under it.
                Stage::Listed if self.lacks_key(tenant, &order).await? => self.choose_key(tenant, &mut order).await?,
                // Said before the keys are destroyed: afterwards the rows of what goes do not open.
                Stage::Listed if order.part.is_some() && !order.moved => {
                    self.move_staying(tenant, actor, &mut order).await?;
                }
                Stage::Listed if order.part.is_some() && self.came_back(tenant, &order).await? => order.moved = false,
                Stage::Listed => {
                    if let Err(error) = self.destroy(tenant, &mut order, approval.as_deref()).await {
                        // Which approval was asked for is kept.
                        self.keep_order(tenant, &order, Expected::Version(version)).await?;
                        return Err(error);
                    }
                }
                Stage::Destroyed => self.unlist(tenant, &mut order).await?,
                Stage::Unlisted => self.delete(tenant, &mut order).await?,
                Stage::Deleted if order.waits_for_recipients() => {
                    // A slow peer holds up nobody else's order, and the officer can give it up meanwhile.
                    drop(turn);
                    let answers = self.tell_peers(tenant, &order).await;
                    turn = self.erased.turn.lock().await;
                    (order, version) = self.order(tenant, id).await?;
                    order.take_answers(&answers?, self.clock.now());
                    let peers = order.recipients.iter().filter(|r| r.notice == Notice::Waiting).count();
                    if peers > 0 {
                        // Who was told is kept, and why the others were not.
                        self.keep_order(tenant, &order, Expected::Version(version)).await?;
                        return Err(EraseError::NotTold { peers });
                    }
                }
                Stage::Deleted => self.finish_erasure(tenant, &mut order).await?,
                Stage::Done => return Ok(order),
                Stage::Withdrawn => return Err(EraseError::Begun(order.stage)),
            }
            version = self.keep_order(tenant, &order, Expected::Version(version)).await?;
            tracing::info!(order = %order.id, stage = order.stage.as_str(), "an erasure went on");
        }
    }

    /// Closes the studies, or the keys of a part of one, and writes down what goes. Dying here, the order still waits and is
    /// begun again.
    async fn list(self: &Arc<Self>, tenant: TenantId, actor: ActorRef, order: &mut Order) -> Result<(), EraseError> {
        let now = self.clock.now();
        if now < order.not_before {
            return Err(EraseError::CoolingOff(order.not_before));
        }
        if order.approvals.len() < order.needs {
            return Err(EraseError::NotApproved { missing: order.needs - order.approvals.len() });
        }
        let others = self.orders(tenant).await?.into_iter().filter(|other| other.id != order.id);
        let is_same = |other: &Order| other.studies.iter().any(|study| order.studies.contains(study));
        let is_part = |other: &Order| order.part.is_some() || other.part.is_some();
        if let Some(other) = others.into_iter().find(|o| o.stage.is_under_way() && is_part(o) && is_same(o)) {
            // Each would seal anew, or leave lying, what the other one ends.
            return Err(EraseError::Another(other.id));
        }
        self.is_not_corrected(tenant, order).await?;
        let found: Vec<_> =
            order.studies.iter().filter_map(|study| self.catalog.study_by_ref(tenant, *study)).collect();
        self.may_be_erased(tenant, &found, order.ground).await?;
        let entry = self.erasure_entry(tenant, order, "begun");
        let entry_id = entry.entry_id;
        self.commit_entry(entry, None).await?;
        if order.part.is_some() {
            self.close_part(tenant, order).await?;
        }
        let mut keys: BTreeMap<KeyId, Vec<ObjectId>> = BTreeMap::new();
        if order.part.is_none() {
            self.erased.close(tenant, &order.studies).await;
            self.drained_so_far().await?;
            for study in &order.studies {
                for row in self.catalog.instances(tenant, *study).await? {
                    for (key, object) in objects_of(&row) {
                        keys.entry(key).or_default().push(object);
                    }
                }
            }
            order.instances = keys.values().map(Vec::len).sum::<usize>() as u64;
        } else {
            for (key, object) in self.list_part(tenant, order).await? {
                keys.entry(key).or_default().push(object);
            }
        }
        let mut objects: BTreeSet<ObjectId> = keys.values().flatten().copied().collect();
        objects.extend(self.thumbnails(tenant, actor, entry_id, keys).await?);
        order.objects = objects.len() as u64;
        let all: Vec<ObjectId> = objects.into_iter().collect();
        for (piece, ids) in (0..).zip(all.chunks(order::PIECE)) {
            let bytes = ids.iter().flat_map(|id| *id.as_bytes()).collect();
            self.keep_piece(tenant, &Order::objects_key(order.id, piece), bytes).await?;
        }
        order.stage = Stage::Listed;
        Ok(())
    }

    pub(super) async fn keep_piece(&self, tenant: TenantId, key: &[u8], bytes: Vec<u8>) -> Result<(), EraseError> {
        let records = self.records(tenant).ok_or(EraseError::Missing)?;
        records.put(Table::Cases, key, Zeroizing::new(bytes), Expected::Anything).await?;
        Ok(())
    }

    /// The names of thumbnails follow from the keys, so they are worked out before those are gone. A key that is gone
    /// already (an order that was begun twice) has none that anybody could find.
    async fn thumbnails(
        &self,
        tenant: TenantId,
        actor: ActorRef,
        entry: EntryId,
        keys: BTreeMap<KeyId, Vec<ObjectId>>,
    ) -> Result<Vec<ObjectId>, EraseError> {
        let mut names = Vec::new();
        let ids: Vec<KeyId> = keys.keys().copied().collect();
        for ids in ids.chunks(leadglass_keys::wire::MAX_BATCH) {
            let opened = self.keys.open(tenant, ids, Purpose::StorageCheck, actor, entry).await?;
            for (id, lease) in opened {
                let (Ok(lease), Some(objects)) = (lease, keys.get(&id)) else { continue };
                names.extend(objects.iter().map(|object| thumbnail_name(&lease, *object)));
            }
        }
        Ok(names)
    }

    /// Until everything that was durable in the journal lies in its place: else a replay could bring rows back.
    pub(super) async fn drained_so_far(&self) -> Result<(), EraseError> {
        let upto = self.journal.last().0;
        let drained = async {
            while self.drained.load(Ordering::Acquire) < upto {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        tokio::time::timeout(DRAIN_WAIT, drained).await.map_err(|_| EraseError::Pending)
    }

    /// The key service destroys every key of the studies. Dying after its answer, the same order under the same approval
    /// gets the same receipt again.
    async fn destroy(&self, tenant: TenantId, order: &mut Order, given: Option<&str>) -> Result<(), EraseError> {
        if let Some(given) = given {
            order.key_approval = Some(given.to_owned());
            order.key_approval_until = None;
        }
        let studies = || Few::new(order.studies.clone()).ok_or(EraseError::TooMany { studies: order.studies.len() });
        let asked = match &order.key_approval {
            None => None,
            Some(approval) => {
                let (study_refs, key_ids) = match order.part {
                    // What stays of the study keeps its keys.
                    Some(_) => (Few::default(), order.keys.iter().copied().collect()),
                    None => (studies()?, Vec::new()),
                };
                let request = DestroyRequest {
                    tenant,
                    study_refs,
                    key_ids: Few::new(key_ids).ok_or(EraseError::TooManyKeys)?,
                    order_id: Word::new(&order.id.to_string()).ok_or(EraseError::Receipt)?,
                    approval: Word::new(approval).ok_or(EraseError::Missing)?,
                };
                Some((approval.clone(), self.keys.service().destroy(&request).await))
            }
        };
        let refused = match asked {
            Some((_, Ok(receipt))) => {
                let said: DestroyStatement =
                    json_from(receipt.statement.as_bytes(), MAX_RECEIPT_BYTES).map_err(|_| EraseError::Receipt)?;
                if said.tenant != tenant || said.order_id.as_str() != order.id.to_string() {
                    return Err(EraseError::Receipt);
                }
                order.receipt = Some(receipt);
                order.stage = Stage::Destroyed;
                return Ok(());
            }
            Some((approval, Err(ServiceError::Refused { problem }))) if problem.code == ProblemCode::ApprovalNeeded => {
                Some(approval)
            }
            Some((_, Err(error))) => return Err(error.into()),
            None => None,
        };
        let now = self.clock.now();
        let still_open = order.key_approval_until.is_some_and(|until| now < until);
        if let (Some(approval), true) = (refused, still_open) {
            return Err(EraseError::KeyHost { approval });
        }
        let job = Job {
            tenant,
            action: Word::new("destroy").ok_or(EraseError::Receipt)?,
            purpose: None,
            scope: None,
            study_refs: studies()?,
            count: None,
            log: None,
            until: now.plus_secs(APPROVAL_LASTS_S),
        };
        let json = serde_json::to_vec(&job).map_err(|_| EraseError::Receipt)?;
        let job = Base64Bytes::new(&json).ok_or(EraseError::TooMany { studies: order.studies.len() })?;
        let lodged = self.keys.service().open_approval(&OpenApproval { job }).await?;
        order.key_approval = Some(lodged.id.as_str().to_owned());
        order.key_approval_until = Some(lodged.expires_at);
        Err(EraseError::KeyHost { approval: lodged.id.as_str().to_owned() })
    }

    /// Rows go from memory and index; what was open under the keys with them. Dying here, the rows that are left do not open,
    /// and are removed again.
    async fn unlist(&self, tenant: TenantId, order: &mut Order) -> Result<(), EraseError> {
        self.add_recipients(tenant, order).await?;
        for token in &order.uid_tokens {
            let mut bytes = [0; 16];
            if hex::decode_to_slice(token, &mut bytes).is_ok() {
                self.bury(tenant, bytes).await?;
            }
        }
        if order.part.is_some() {
            self.unlist_part(tenant, order).await?;
        } else {
            for study in &order.studies {
                self.catalog.erase(tenant, *study).await?;
            }
        }
        self.drop_exports(tenant, &order.studies).await?;
        self.cache.sweep();
        order.stage = Stage::Unlisted;
        Ok(())
    }

    /// Objects go from the store, and are looked for again one by one. Dying here, those that are gone are as good as deleted.
    async fn delete(&self, tenant: TenantId, order: &mut Order) -> Result<(), EraseError> {
        let objects = self.listed_objects(tenant, order.id).await?;
        let deletions = objects.clone().into_iter().map(|id| {
            let store = self.objects.clone();
            async move { store.erase(id).await }
        });
        let mut deletions = stream::iter(deletions).buffer_unordered(DELETED_AT_ONCE);
        while deletions.try_next().await?.is_some() {}
        let looks = objects.into_iter().map(|id| {
            let store = self.objects.clone();
            async move {
                match store.len(id).await {
                    Err(StoreError::Missing) => Ok(0_u64),
                    Ok(_) => Ok(1),
                    Err(error) => Err(error),
                }
            }
        });
        let mut looks = stream::iter(looks).buffer_unordered(DELETED_AT_ONCE);
        let mut left = 0;
        while let Some(one) = looks.try_next().await? {
            left += one;
        }
        if left > 0 {
            return Err(EraseError::StillThere { left });
        }
        order.ciphertext_deleted_at = Some(self.clock.now());
        order.stage = Stage::Deleted;
        Ok(())
    }

    /// What an order had to remember while it went on.
    pub(super) async fn forget_lists(&self, tenant: TenantId, id: ErasureId) -> Result<(), EraseError> {
        let records = self.records(tenant).ok_or(EraseError::Missing)?;
        for key in [Order::objects_key, Order::rows_key] {
            for piece in 0.. {
                if !records.delete(Table::Cases, &key(id, piece)).await? {
                    break;
                }
            }
        }
        self.forget_notes(tenant, id).await
    }

    pub(super) async fn listed_objects(&self, tenant: TenantId, id: ErasureId) -> Result<Vec<ObjectId>, EraseError> {
        let records = self.records(tenant).ok_or(EraseError::Missing)?;
        let mut objects = Vec::new();
        for piece in 0.. {
            let Some(record) = records.get(Table::Cases, &Order::objects_key(id, piece)).await? else { break };
            objects.extend(order::read_objects(record.value.expose()));
        }
        Ok(objects)
    }

    /// The patient's audit details are closed, who treated her is forgotten, no old bytes of either are left in the records, and
    /// the log hears of the end. Dying here, both are done again.
    async fn finish_erasure(self: &Arc<Self>, tenant: TenantId, order: &mut Order) -> Result<(), EraseError> {
        if let (Level::Patient, Some(subject)) = (order.level, order.subject_token()) {
            // Entries of this very erasure may carry the patient's wrap on their way to the records.
            self.drained_so_far().await?;
            self.forget_subject(tenant, subject).await?;
        }
        // A study without a Patient ID stands for its patient; one of which a part stays, still does.
        let whole = order.studies.iter().filter(|_| order.part.is_none());
        let mut matters: Vec<[u8; 16]> = whole.map(|study| *study.as_bytes()).collect();
        matters.extend(order.subject_token().filter(|_| order.level == Level::Patient).map(|subject| subject.0));
        let records = self.records(tenant).ok_or(EraseError::Missing)?;
        self.care.forget(records, &matters).await?;
        // Whatever began to leave since.
        self.add_recipients(tenant, order).await?;
        // Of a study of which a part stays, the recipients have that.
        for study in order.studies.iter().filter(|_| order.part.is_none()) {
            self.forget_disclosures(tenant, *study).await?;
        }
        if order.part.is_none() {
            let forgotten = self.forget_rectifications(tenant, &order.studies, &order.uid_tokens).await;
            forgotten.map_err(|error| EraseError::Rectified(error.into()))?;
        }
        // Lists and notes first, so that of them, too, nothing is left.
        self.forget_lists(tenant, order.id).await?;
        if order.level == Level::Patient || order.tell {
            records.forget_old_bytes().await?;
        }
        let entry = self.erasure_entry(tenant, order, "done");
        self.commit_entry(entry, None).await?;
        order.done_at = Some(self.clock.now());
        order.stage = Stage::Done;
        Ok(())
    }
}

/// How long the drain may take, and how often it is looked.
const DRAIN_WAIT: Duration = Duration::from_secs(30);
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// Deletions on their way at one time.
const DELETED_AT_ONCE: usize = 16;
/// An approval that was given on the key host holds so long.
const APPROVAL_LASTS_S: u64 = 24 * 3600;
/// A receipt names up to 4,096 keys.
const MAX_RECEIPT_BYTES: usize = 512 * 1024;
