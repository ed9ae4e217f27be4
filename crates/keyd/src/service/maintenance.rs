//! `POST /v1/rotate` and `/v1/rewrap`: tenant KEKs and shard keys get new versions. No image is touched.
//!
//! A KEK rotates in one step: its secrets stand in the keyring beside it. A shard goes in three: keyring gains the new
//! version → wraps move, a bounded piece at a time → no wrap hangs on the old one → keyring drops it. Which wraps are left
//! stands in the rows themselves, so a crash anywhere is resumed by asking again.

use super::{Caller, Service, unwrap};
use crate::{
    keyring::{ClientRole, Shard},
    refusal::Refusal,
    store::{KeyRow, Table},
    wrapping::{self, Bound},
};
use leadglass_audit::{Event, NewEntry, Outcome};
use leadglass_keys::wire::{ProblemCode, RewrapProgress, RewrapRequest, RotateRequest, RotateWhat, Rotated};
use leadglass_model::{KeyGen, KeyId, TenantId};
use leadglass_seal::WrapPurpose;
use std::sync::Arc;

impl Service {
    /// Rotates for a client with the role `admin`.
    pub async fn rotate(self: &Arc<Self>, caller: &Caller, ask: RotateRequest) -> Result<Rotated, Refusal> {
        caller.needs(ClientRole::Admin)?;
        self.tenant_of(caller, ask.tenant)?;
        let service = Arc::clone(self);
        tokio::task::spawn_blocking(move || service.rotate_keys(ask.tenant, ask.what)).await.map_err(Refusal::broken)?
    }

    /// Moves wraps for a client with the role `admin`.
    pub async fn rewrap(self: &Arc<Self>, caller: &Caller, ask: RewrapRequest) -> Result<RewrapProgress, Refusal> {
        caller.needs(ClientRole::Admin)?;
        self.tenant_of(caller, ask.tenant)?;
        let service = Arc::clone(self);
        tokio::task::spawn_blocking(move || service.rewrap_keys(ask.tenant, ask.limit))
            .await
            .map_err(Refusal::broken)?
    }

    /// Gives the keys new versions. Shards that are being re-keyed already keep going. Blocks.
    pub fn rotate_keys(self: &Arc<Self>, tenant: TenantId, what: RotateWhat) -> Result<Rotated, Refusal> {
        let version = self.change_keyring(|keyring| {
            let ring = keyring.tenant_mut(tenant).ok_or_else(no_tenant)?;
            match what {
                RotateWhat::TenantKek => ring.rotate_kek(self.entropy.as_ref()).map_err(Refusal::broken),
                RotateWhat::Shards => {
                    let mut newest = KeyGen::FIRST;
                    for shard in &mut ring.shards {
                        let _begun_before = shard.rekey(self.entropy.as_ref());
                        newest = newest.max(shard.newest().version);
                    }
                    Ok(newest)
                }
            }
        })?;
        let entry = self.entry(Event::KeyRotated, Outcome::Success);
        self.report_blocking(vec![NewEntry { tenant: Some(tenant), ..entry }])?;
        Ok(Rotated { version: version.get(), to_rewrap: self.left(tenant)? })
    }

    /// Moves at most `limit` wraps to the newest version of their shard; drops the old versions when none is left. Blocks.
    pub fn rewrap_keys(self: &Arc<Self>, tenant: TenantId, limit: u32) -> Result<RewrapProgress, Refusal> {
        let _one = self.rekeying.lock();
        let keyring = self.keyring();
        let ring = keyring.tenant(tenant).ok_or_else(no_tenant)?;
        let mut moved = 0;
        for shard in ring.shards.iter().filter(|s| s.is_rekeying()) {
            let room = u64::from(limit).saturating_sub(moved);
            let old = self.old_wraps(shard, usize::try_from(room).unwrap_or(usize::MAX))?;
            for piece in old.chunks(REWRAPPED_AT_ONCE) {
                moved += self.move_wraps(shard.id, piece.to_vec())?;
            }
        }
        let left = self.left(tenant)?;
        if left == 0 {
            for shard in ring.shards.iter().filter(|s| s.is_rekeying()) {
                self.drop_old_version(tenant, shard)?;
            }
        }
        Ok(RewrapProgress { moved, left })
    }

    pub(super) fn move_wraps(self: &Arc<Self>, shard: KeyId, ids: Vec<KeyId>) -> Result<u64, Refusal> {
        let service = Arc::clone(self);
        self.store.write_blocking(move |tx| {
            let keyring = service.keyring();
            let mut rows = Vec::with_capacity(ids.len());
            // Everything is opened before anything is written: one bad wrap stops the piece and changes nothing.
            for id in ids {
                let Some(mut row) = tx.row::<KeyRow>(Table::Keys, id.as_bytes())? else { continue };
                let Some(shard) = keyring.tenant(row.tenant).and_then(|t| t.shard(shard)) else { continue };
                let newest = shard.newest();
                if row.wrap.is_empty() || row.shard != shard.id || row.shard_version == newest.version {
                    continue;
                }
                let key = unwrap::study_key(&keyring, id, &row).map_err(Refusal::broken)?;
                row.shard_version = newest.version;
                let bound = Bound {
                    purpose: WrapPurpose::Study,
                    tenant: row.tenant,
                    wrapping: (shard.id, newest.version),
                    wrapped: (id, row.generation),
                };
                row.wrap = wrapping::wrap(&bound, &newest.key, key.reveal(), service.entropy.as_ref()).to_vec();
                rows.push((id, row));
            }
            for (id, row) in &rows {
                tx.put_row(Table::Keys, id.as_bytes(), row)?;
            }
            Ok(rows.len() as u64)
        })
    }

    /// Wraps of a tenant that do not hang on the newest version of their shard.
    fn left(&self, tenant: TenantId) -> Result<u64, Refusal> {
        let keyring = self.keyring();
        let ring = keyring.tenant(tenant).ok_or_else(no_tenant)?;
        let mut left = 0;
        for shard in ring.shards.iter().filter(|s| s.is_rekeying()) {
            left += self.old_wraps(shard, usize::MAX)?.len() as u64;
        }
        Ok(left)
    }

    /// Wraps of a shard that hang on a version that is not its newest.
    pub(super) fn old_wraps(&self, shard: &Shard, limit: usize) -> Result<Vec<KeyId>, Refusal> {
        let snapshot = self.store.snapshot()?;
        let mut old = Vec::new();
        for (name, _) in snapshot.scan(Table::ByShard, shard.id.as_bytes(), None, usize::MAX)? {
            if old.len() >= limit {
                break;
            }
            let row: Option<KeyRow> = snapshot.row(Table::Keys, &name[16..])?;
            if row.is_some_and(|r| !r.wrap.is_empty() && r.shard_version != shard.newest().version) {
                let mut id = [0; 16];
                id.copy_from_slice(&name[16..]);
                old.push(KeyId::from_bytes(id));
            }
        }
        Ok(old)
    }
}

fn no_tenant() -> Refusal {
    Refusal::new(ProblemCode::NotFound, "no such tenant for this client")
}

/// Wraps that share one commit: about 5 ms of work for the writer.
const REWRAPPED_AT_ONCE: usize = 256;
