//! `POST /v1/keys/create`: fresh study keys.

use super::{Caller, LEASE_S, Service};
use crate::{
    keyring::{ClientRole, Keyring, SHARD_STUDIES},
    refusal::Refusal,
    store::{Binding, KeyRow, KeyState, Table, Tx, by_shard, by_study, by_tenant},
    wrapping::{self, Bound},
};
use leadglass_audit::{Counts, Event, NewEntry, Outcome};
use leadglass_keys::wire::{CreateRequest, KeyBytes, MAX_BATCH, NewKey, ProblemCode};
use leadglass_model::{KeyGen, KeyId, StudyRef, TenantId};
use leadglass_seal::{StudyKey, WrapPurpose};
use std::sync::Arc;

/// A row and its name.
type NamedRow = (KeyId, KeyRow);

impl Service {
    /// Makes study keys; they are durable, with the mirror, when this answers.
    ///
    /// Cancel safety: a caller that goes away leaves unused keys behind, which open nothing.
    pub async fn create(self: &Arc<Self>, caller: &Caller, ask: CreateRequest) -> Result<Vec<NewKey>, Refusal> {
        caller.needs(ClientRole::Ingest)?;
        self.tenant_of(caller, ask.tenant)?;
        if !(1..=MAX_BATCH).contains(&usize::from(ask.count)) {
            return Err(Refusal::new(ProblemCode::BadRequest, "count is 1 to 256"));
        }
        self.make_room(ask.tenant, u64::from(ask.count)).await?;
        let entry = NewEntry {
            tenant: Some(ask.tenant),
            study: ask.study_ref,
            counts: Counts { studies: u64::from(ask.count), ..Counts::default() },
            ..self.entry_by(caller, Event::KeyCreated, Outcome::Success)
        };
        // The entry may stand for keys that a crash then leaves unmade; the other way round a key would stand unlogged.
        self.report(vec![entry]).await?;
        loop {
            let (rows, keys) = self.draw(&ask)?;
            match self.put(ask.tenant, rows).await {
                Ok(()) => return Ok(keys),
                // The shard was re-keyed between drawing and writing: draw again under its new key.
                Err(PutError::Rekeyed) => {}
                Err(PutError::Refused(refusal)) => return Err(refusal),
            }
        }
    }

    fn draw(&self, ask: &CreateRequest) -> Result<(Vec<NamedRow>, Vec<NewKey>), Refusal> {
        let keyring = self.keyring();
        let ring = keyring.tenant(ask.tenant).ok_or_else(gone)?;
        let shard = ring.open_shard();
        let newest = shard.newest();
        let now = self.clock.now();
        let mut rows = Vec::with_capacity(ask.count.into());
        let mut keys = Vec::with_capacity(ask.count.into());
        for _ in 0..ask.count {
            let (key_id, key_gen) = (KeyId::random(self.entropy.as_ref()), KeyGen::FIRST);
            let key = StudyKey::generate(self.entropy.as_ref());
            let study_ref = ask.study_ref.unwrap_or_else(|| StudyRef::random(self.entropy.as_ref()));
            let bound = Bound {
                purpose: WrapPurpose::Study,
                tenant: ask.tenant,
                wrapping: (shard.id, newest.version),
                wrapped: (key_id, key_gen),
            };
            let wrap = wrapping::wrap(&bound, &newest.key, key.reveal(), self.entropy.as_ref());
            let row = KeyRow {
                generation: key_gen,
                tenant: ask.tenant,
                study_ref,
                shard: shard.id,
                shard_version: newest.version,
                state: KeyState::Live,
                created_at_ms: now.0,
                binding: if ask.study_ref.is_some() { Binding::Settled } else { Binding::Open },
                wrap: wrap.to_vec(),
            };
            rows.push((key_id, row));
            keys.push(NewKey {
                key_id,
                key_gen,
                study_ref,
                key: KeyBytes::copy_of(key.reveal()),
                index_key: KeyBytes::copy_of(key.index_key(&ask.tenant, &key_id, key_gen).reveal()),
                meta_key: KeyBytes::copy_of(key.meta_key(&ask.tenant, &key_id, key_gen).reveal()),
                lease_s: LEASE_S,
            });
        }
        Ok((rows, keys))
    }

    async fn put(self: &Arc<Self>, tenant: TenantId, rows: Vec<NamedRow>) -> Result<(), PutError> {
        let service = Arc::clone(self);
        self.store
            .write(move |tx| {
                if !hangs_on_newest(&service.keyring(), tenant, &rows) {
                    return Err(PutError::Rekeyed);
                }
                rows.iter().try_for_each(|(id, row)| put_key(tx, *id, row)).map_err(|e| PutError::Refused(e.into()))
            })
            .await
    }

    /// Begins the next shard when this one is full.
    async fn make_room(self: &Arc<Self>, tenant: TenantId, count: u64) -> Result<(), Refusal> {
        if self.claim(tenant, count)? {
            return Ok(());
        }
        let service = Arc::clone(self);
        let split = tokio::task::spawn_blocking(move || {
            service.change_keyring(|keyring| {
                keyring.tenant_mut(tenant).ok_or_else(gone)?.split(service.entropy.as_ref());
                Ok(())
            })?;
            service.fill.lock().insert(tenant, count);
            Ok(())
        });
        split.await.map_err(Refusal::broken)?
    }

    /// Counts keys into the open shard; false when they start a new one.
    fn claim(&self, tenant: TenantId, count: u64) -> Result<bool, Refusal> {
        let mut fill = self.fill.lock();
        let filled = match fill.get(&tenant) {
            Some(filled) => *filled,
            None => {
                let shard = self.keyring().tenant(tenant).ok_or_else(gone)?.open_shard().id;
                let limit = usize::try_from(SHARD_STUDIES).unwrap_or(usize::MAX);
                self.store.snapshot()?.scan(Table::ByShard, shard.as_bytes(), None, limit)?.len() as u64
            }
        };
        let fits = filled < SHARD_STUDIES;
        fill.insert(tenant, if fits { filled + count } else { 0 });
        Ok(fits)
    }
}

/// Writes a key's row and the rows that find it.
pub(super) fn put_key(tx: &mut Tx<'_>, id: KeyId, row: &KeyRow) -> Result<(), crate::store::StoreError> {
    tx.put_row(Table::Keys, id.as_bytes(), row)?;
    tx.put(Table::ByStudy, &by_study(row.tenant, row.study_ref, id), b"")?;
    tx.put(Table::ByTenant, &by_tenant(row.tenant, id), b"")?;
    tx.put(Table::ByShard, &by_shard(row.shard, id), b"")
}

fn hangs_on_newest(keyring: &Keyring, tenant: TenantId, rows: &[NamedRow]) -> bool {
    let Some(ring) = keyring.tenant(tenant) else { return false };
    rows.iter().all(|(_, row)| ring.shard(row.shard).is_some_and(|s| s.newest().version == row.shard_version))
}

fn gone() -> Refusal {
    Refusal::new(ProblemCode::NotFound, "no such tenant for this client")
}

enum PutError {
    Rekeyed,
    Refused(Refusal),
}

impl From<crate::store::StoreError> for PutError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Refused(error.into())
    }
}
