//! A series or an instance goes, and the rest of its study stays.
//!
//! A study key opens all that lies under it, so whatever else lies under the keys of what goes is sealed anew under a new key
//! first: objects, instance rows, metadata, the rows of study and series. The study stays open for viewers and senders: only
//! those keys are closed. What goes can be seen until its keys are destroyed, as with a whole study; what stays never vanishes.

use super::{EraseError, ErasureId, Order, Stage, order, reseal::Old, tombstone::REMEMBERED_S};
use crate::{
    Shared,
    retrieve::{ReadBy, RetrieveError},
};
use leadglass_index::{Batch, Going, IndexError, InstanceRow, InstanceState, SealUnder, Table};
use leadglass_keys::{ObjectLease, wire::MAX_BATCH};
use leadglass_model::{ActorRef, KeyId, ObjectId, Purpose, StudyRef, TenantId};
use leadglass_records::RecordError;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use zeroize::Zeroizing;

/// The objects of an instance's versions, each with its key.
pub(super) fn objects_of(row: &InstanceRow) -> impl Iterator<Item = (KeyId, ObjectId)> {
    let earlier = row.earlier.iter().map(|earlier| (earlier.key_id, earlier.object_id));
    std::iter::once((row.key_id, row.object_id)).chain(earlier)
}

/// What an order for a part of a study is about, at one look.
struct Touched {
    /// The keys under which any version of what goes lies.
    keys: BTreeSet<KeyId>,
    /// Of what goes: of the part, and of each instance.
    tokens: Vec<[u8; 16]>,
    /// Whether anything else is there.
    stays: bool,
}

/// Keys by name, as the key service gave them.
type Leases = BTreeMap<KeyId, Arc<ObjectLease>>;

impl Shared {
    /// From here on nothing comes in that names what goes, and nothing under its keys, which are written into the order.
    /// Where nothing would stay, the order becomes one for the whole study.
    pub(super) async fn close_part(&self, tenant: TenantId, order: &mut Order) -> Result<(), EraseError> {
        let study = study_of(order)?;
        self.no_copy_in_quarantine(tenant, order).await?;
        let mut touched = self.touched(tenant, study, order).await?;
        if touched.keys.is_empty() {
            return Err(EraseError::Missing);
        }
        let until = self.clock.now().plus_secs(REMEMBERED_S);
        for token in &order.uid_tokens {
            let mut bytes = [0; 16];
            if hex::decode_to_slice(token, &mut bytes).is_ok() {
                self.bury(tenant, bytes).await?;
            }
        }
        let (mut closed, mut is_shut) = (BTreeSet::new(), false);
        for look in 0.. {
            let known = closed.len();
            closed.extend(touched.keys);
            if closed.len() > MAX_BATCH {
                return Err(EraseError::TooManyKeys);
            }
            if closed.len() == known && is_shut != touched.stays {
                break;
            }
            if look == LOOKS {
                return Err(EraseError::Pending);
            }
            // Where nothing stays, nobody may put anything beside it between this look and the next.
            if touched.stays {
                self.erased.open(tenant, study).await;
            } else {
                self.erased.close(tenant, &[study]).await;
            }
            is_shut = !touched.stays;
            self.erased.close_parts(tenant, &touched.tokens, until).await;
            self.erased.close_keys(&closed).await;
            self.keys.stop_sealing(tenant, study, &closed);
            self.drained_so_far().await?;
            // What came in between may lie under yet another key.
            touched = self.touched(tenant, study, order).await?;
        }
        if is_shut {
            let entry = self.catalog.study_by_ref(tenant, study).ok_or(EraseError::Missing)?;
            order.uid_tokens.extend(self.uid_token(tenant, &entry.row.uid).map(hex::encode));
            order.part = None;
            self.erased.end_parts(tenant, &touched.tokens).await;
        } else {
            order.keys = closed;
        }
        Ok(())
    }

    /// A copy of what goes, in a case of quarantine, lies under a key that this order does not end.
    async fn no_copy_in_quarantine(&self, tenant: TenantId, order: &Order) -> Result<(), EraseError> {
        for case in self.catalog.quarantined(tenant, None) {
            let rows = self.catalog.instances(tenant, case.study_ref).await?;
            if rows.iter().any(|row| self.goes(tenant, order, row)) {
                return Err(EraseError::InQuarantine { case: case.study_ref });
            }
        }
        Ok(())
    }

    async fn touched(&self, tenant: TenantId, study: StudyRef, order: &Order) -> Result<Touched, EraseError> {
        let mut touched = Touched { keys: BTreeSet::new(), tokens: Vec::new(), stays: false };
        touched.tokens.extend(order.part_token());
        for row in self.catalog.instances(tenant, study).await? {
            if self.goes(tenant, order, &row) {
                touched.keys.extend(objects_of(&row).map(|(key, _)| key));
                touched.tokens.extend(self.tokens(tenant, &row).map(|tokens| tokens.instance));
            } else {
                touched.stays = true;
            }
        }
        Ok(touched)
    }

    /// Writes down which rows go. Answers every object under the keys that end: of what goes, and what will have been sealed
    /// anew.
    pub(super) async fn list_part(
        &self,
        tenant: TenantId,
        order: &mut Order,
    ) -> Result<Vec<(KeyId, ObjectId)>, EraseError> {
        let (mut going, mut objects) = (Vec::new(), Vec::new());
        order.instances = 0;
        for row in self.catalog.instances(tenant, study_of(order)?).await? {
            objects.extend(objects_of(&row).filter(|(key, _)| order.keys.contains(key)));
            if self.goes(tenant, order, &row) {
                order.instances += objects_of(&row).count() as u64;
                // One that nobody sees is counted out of its series already.
                let seen = row.state != InstanceState::Withdrawn;
                let tokens = self.tokens(tenant, &row);
                going.extend(tokens.map(|tokens| if seen { tokens } else { Going { series: [0; 16], ..tokens } }));
            }
        }
        for (piece, rows) in (0..).zip(going.chunks(order::PIECE)) {
            let bytes = rows.iter().flat_map(|going| [going.instance, going.series].concat()).collect();
            self.keep_piece(tenant, &Order::rows_key(order.id, piece), bytes).await?;
        }
        Ok(objects)
    }

    /// Whether something has to be sealed anew and it is not decided under which key.
    pub(super) async fn lacks_key(&self, tenant: TenantId, order: &Order) -> Result<bool, EraseError> {
        if order.part.is_none() || order.moved || order.new_key.is_some() {
            return Ok(false);
        }
        let study = study_of(order)?;
        let under = self.catalog.heads_under(tenant, study, &order.keys).await?;
        Ok(!under.is_empty() || !self.staying(tenant, study, order).await?.is_empty())
    }

    /// A key that nothing lies under, bound to the study.
    pub(super) async fn choose_key(&self, tenant: TenantId, order: &mut Order) -> Result<(), EraseError> {
        let fresh = self.keys.sealing_key(tenant, None).await?;
        let bound = self.keys.bind(&fresh, study_of(order)?).await?;
        order.new_key = Some(bound.key_id());
        Ok(())
    }

    /// Seals anew what stays and lies under a key that ends. Dying here, what has a new row is done, and what has none is
    /// sealed again to the same bytes under the same name.
    pub(super) async fn move_staying(
        self: &Arc<Self>,
        tenant: TenantId,
        actor: ActorRef,
        order: &mut Order,
    ) -> Result<(), EraseError> {
        let study = study_of(order)?;
        if let Some(new_key) = order.new_key {
            self.move_under(tenant, actor, order, new_key).await?;
        }
        // Nothing is destroyed on trust.
        let left = self.staying(tenant, study, order).await?.len();
        if left > 0 || !self.catalog.heads_under(tenant, study, &order.keys).await?.is_empty() {
            return Err(EraseError::Pending);
        }
        order.moved = true;
        Ok(())
    }

    async fn move_under(
        self: &Arc<Self>,
        tenant: TenantId,
        actor: ActorRef,
        order: &Order,
        new_key: KeyId,
    ) -> Result<(), EraseError> {
        let study = study_of(order)?;
        let staying = self.staying(tenant, study, order).await?;
        let entry = self.erasure_entry(tenant, order, "resealed");
        let by = ReadBy { session: [0; 16], actor, purpose: Purpose::StorageCheck, entry: entry.entry_id };
        self.commit_entry(entry, None).await?;
        let keys: Vec<KeyId> = order.keys.iter().copied().chain([new_key]).collect();
        for rows in staying.chunks(MOVED_AT_ONCE) {
            if self.stop.is_cancelled() {
                return Err(EraseError::Stopping);
            }
            // Leases end after minutes: they are asked for anew, and mostly still there.
            let leases = self.leases_of(tenant, &keys, by).await?;
            self.move_rows(study, &leases, new_key, rows, by).await?;
        }
        if self.was_rectified(tenant, study).await.map_err(|error| EraseError::Rectified(error.into()))? {
            // The note that says so may lie under a key that ends.
            self.note_rectified(tenant, study, &order.keys, by)
                .await
                .map_err(|error| EraseError::Rectified(error.into()))?;
        }
        let leases = self.leases_of(tenant, &[new_key], by).await?;
        let lease = leases.get(&new_key).ok_or(EraseError::Missing)?;
        let under = SealUnder { key_id: new_key, key_gen: lease.key_gen(), key: lease.index_key() };
        self.catalog.move_heads(tenant, study, &order.keys, &under).await?;
        Ok(())
    }

    /// The rows of what goes are removed, whether they still open or not.
    pub(super) async fn unlist_part(&self, tenant: TenantId, order: &Order) -> Result<(), EraseError> {
        let going = self.listed_rows(tenant, order.id).await?;
        {
            // Whoever found the series there has put its instance into it by now.
            let _still = self.erased.hold_still().await;
            self.catalog.take_out(tenant, study_of(order)?, &going, &order.keys).await?;
        }
        self.catalog.forget_keys(tenant, &order.keys);
        self.erased.end_parts(tenant, &tokens_of(order, &going)).await;
        Ok(())
    }

    /// An order for a part is taken back: what it closed takes in again, and what it buried is not erased. Refused once a key that
    /// it was to end does not open any more.
    pub(super) async fn reopen_part(
        self: &Arc<Self>,
        tenant: TenantId,
        actor: ActorRef,
        order: &Order,
    ) -> Result<(), EraseError> {
        let study = study_of(order)?;
        let keys: Vec<KeyId> = order.keys.iter().copied().collect();
        let entry = self.erasure_entry(tenant, order, "withdrawn");
        let by = ReadBy { session: [0; 16], actor, purpose: Purpose::StorageCheck, entry: entry.entry_id };
        self.commit_entry(entry, None).await?;
        self.leases_of(tenant, &keys, by).await?;
        let mut touched = self.touched(tenant, study, order).await?;
        touched.keys.extend(keys);
        for token in &order.uid_tokens {
            let mut bytes = [0; 16];
            if hex::decode_to_slice(token, &mut bytes).is_ok() {
                self.dig_up(tenant, Some(bytes)).await?;
            }
        }
        self.erased.forget_tokens(tenant, &touched.tokens);
        self.erased.end_parts(tenant, &touched.tokens).await;
        self.erased.open_keys(&touched.keys).await;
        self.erased.open(tenant, study).await;
        // What was sealed anew stays so; what lies there in its old form, or can be made again, is nobody's.
        let mut nobodys: BTreeSet<ObjectId> = self.listed_objects(tenant, order.id).await?.into_iter().collect();
        for row in self.catalog.instances(tenant, study).await? {
            for (_, object) in objects_of(&row) {
                nobodys.remove(&object);
            }
        }
        for object in nobodys {
            self.objects.erase(object).await?;
        }
        self.forget_lists(tenant, order.id).await
    }

    /// Nothing comes into a part that is going, or under its keys; at start, before anybody can send.
    pub(super) async fn close_part_again(&self, tenant: TenantId, order: &Order) -> Result<(), RecordError> {
        // From *unlisted* on a person may let it come back.
        if order.stage <= Stage::Destroyed {
            let going = self.listed_rows(tenant, order.id).await?;
            let until = self.clock.now().plus_secs(REMEMBERED_S);
            self.erased.close_parts(tenant, &tokens_of(order, &going), until).await;
        }
        self.erased.close_keys(&order.keys).await;
        Ok(())
    }

    pub(super) async fn listed_rows(&self, tenant: TenantId, id: ErasureId) -> Result<BTreeSet<Going>, RecordError> {
        let mut going = BTreeSet::new();
        let Some(records) = self.records(tenant) else { return Ok(going) };
        for piece in 0.. {
            let key = Order::rows_key(id, piece);
            let Some(record) = records.get(leadglass_records::Table::Cases, &key).await? else { break };
            going.extend(order::read_rows(record.value.expose()));
        }
        Ok(going)
    }

    /// Whether something that does not go lies under the ending keys again: an index that was built anew may have found the older
    /// one of two objects. Once the keys are gone, their rows do not open, and there is nothing to ask.
    pub(super) async fn came_back(&self, tenant: TenantId, order: &Order) -> Result<bool, EraseError> {
        let study = study_of(order)?;
        match self.staying(tenant, study, order).await {
            Ok(left) if left.is_empty() => Ok(!self.catalog.heads_under(tenant, study, &order.keys).await?.is_empty()),
            Ok(_) => Ok(true),
            Err(EraseError::Index(IndexError::NoKey { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Rows that stay and have a version under a key that ends.
    async fn staying(&self, tenant: TenantId, study: StudyRef, order: &Order) -> Result<Vec<InstanceRow>, EraseError> {
        let mut rows = self.catalog.instances(tenant, study).await?;
        let touched = |row: &InstanceRow| objects_of(row).any(|(key, _)| order.keys.contains(&key));
        rows.retain(|row| touched(row) && !self.goes(tenant, order, row));
        Ok(rows)
    }

    async fn leases_of(&self, tenant: TenantId, keys: &[KeyId], by: ReadBy) -> Result<Leases, EraseError> {
        let mut leases = Leases::new();
        for keys in keys.chunks(MAX_BATCH) {
            for (id, lease) in self.keys.open(tenant, keys, by.purpose, by.actor, by.entry).await? {
                // What does not open now is not to be left behind under it.
                leases.insert(id, lease.map_err(RetrieveError::Refused)?);
            }
        }
        Ok(leases)
    }

    /// Seals the versions of these instances anew and lets their rows say so. None of them changes meanwhile.
    async fn move_rows(
        self: &Arc<Self>,
        study: StudyRef,
        leases: &Leases,
        new_key: KeyId,
        rows: &[InstanceRow],
        by: ReadBy,
    ) -> Result<(), EraseError> {
        let new = leases.get(&new_key).ok_or(EraseError::Missing)?;
        let (tenant, catalog) = (new.tenant(), &self.catalog);
        let under = SealUnder { key_id: new_key, key_gen: new.key_gen(), key: new.index_key() };
        let no_key = || IndexError::NoKey { table: Table::Instance };
        // Nobody else holds more than one turn, so nobody waits in a circle.
        let mut turns = Vec::with_capacity(rows.len());
        for row in rows {
            turns.push(self.claims.turn(tenant, &row.sop_uid).await);
        }
        let mut puts = Vec::with_capacity(2 * rows.len());
        for row in rows {
            let Some(mut row) = catalog.instance(tenant, study, &row.sop_uid).await? else { continue };
            for earlier in &mut row.earlier {
                let Some(lease) = leases.get(&earlier.key_id).filter(|_| earlier.key_id != new_key) else { continue };
                let old = Old { object: earlier.object_id, header: earlier.header, sealed_len: earlier.sealed_len };
                let sealed = self.reseal(lease, new, &old, by).await?;
                (earlier.object_id, earlier.header, earlier.sealed_len) = sealed;
                (earlier.key_id, earlier.key_gen) = (new_key, new.key_gen());
            }
            if let Some(lease) = leases.get(&row.key_id).filter(|_| row.key_id != new_key) {
                let old = Old { object: row.object_id, header: row.header, sealed_len: row.sealed_len };
                (row.object_id, row.header, row.sealed_len) = self.reseal(lease, new, &old, by).await?;
                (row.key_id, row.key_gen) = (new_key, new.key_gen());
                if row.state == InstanceState::Withdrawn {
                    // The note that hides it names the old object, and ends with its key.
                    let noted = self.decided(tenant, study, new, &row, "hide", by.actor).await;
                    noted.map_err(|error| EraseError::Rectified(error.into()))?;
                }
            }
            if let Some(meta) = catalog.meta(tenant, study, &row.sop_uid).await?
                && let Some(lease) = leases.get(&meta.key_id()).filter(|_| meta.key_id() != new_key)
            {
                let plain = Zeroizing::new(meta.open(lease.meta_key())?);
                let at = catalog.meta_key(tenant, study, &row.sop_uid).ok_or_else(no_key)?;
                puts.push((tenant, at, catalog.seal_meta(tenant, &at, new_key, new.key_gen(), new.meta_key(), &plain)));
            }
            let at = catalog.instance_key(tenant, study, &row.sop_uid).ok_or_else(no_key)?;
            puts.push((tenant, at, catalog.seal(tenant, &at, &under, &row)));
        }
        loop {
            match catalog.write(Batch { puts: puts.clone(), ..Batch::default() }).await {
                // A newer version came before its turn was taken, and is on its way to the engine.
                Err(IndexError::Pending { .. }) => tokio::time::sleep(PENDING_REST).await,
                done => return Ok(done.map(|_| ())?),
            }
        }
    }

    pub(super) fn goes(&self, tenant: TenantId, order: &Order, row: &InstanceRow) -> bool {
        let (Some(part), Some(tokens)) = (order.part_token(), self.tokens(tenant, row)) else { return false };
        part == tokens.series || part == tokens.instance
    }

    fn tokens(&self, tenant: TenantId, row: &InstanceRow) -> Option<Going> {
        let instance = self.instance_token(tenant, &row.sop_uid)?;
        Some(Going { instance, series: self.series_token(tenant, &row.series_uid)? })
    }
}

fn tokens_of(order: &Order, going: &BTreeSet<Going>) -> Vec<[u8; 16]> {
    going.iter().map(|going| going.instance).chain(order.part_token()).collect()
}

fn study_of(order: &Order) -> Result<StudyRef, EraseError> {
    order.studies.first().copied().ok_or(EraseError::Missing)
}

/// Instances whose rows are written together.
const MOVED_AT_ONCE: usize = 16;
/// How often something may have come in between.
const LOOKS: usize = 8;
const PENDING_REST: Duration = Duration::from_millis(20);
