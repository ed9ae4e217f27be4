//! A shard gets a new key, so that a deleted wrap dies with the old one (KEYS.md "Erase", step 3).
//!
//! Keyring gains S' (durable) → every other wrap of the shard moves, 256 a commit → the writer counts that none hangs on S →
//! keyring drops S. What is left to do stands in the rows and the keyring themselves: after a crash anywhere the same call
//! goes on and comes to the same end. Its cost is the shard's, about a thousand rows, whatever the archive holds.

use super::Service;
use crate::{
    keyring::Shard,
    refusal::Refusal,
    store::{KeyRow, StoreError, Table},
};
use leadglass_keys::wire::ProblemCode;
use leadglass_model::{KeyGen, KeyId, TenantId};
use std::{collections::BTreeMap, sync::Arc};

/// What a re-keying cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Rekeyed {
    /// Rows that were looked at.
    pub(super) visited: u64,
    /// Wraps that were moved.
    pub(super) moved: u64,
}

impl Service {
    /// The shards that these keys hang on, or hung on, with the version that is the newest now.
    pub(super) fn shards_of(&self, tenant: TenantId, keys: &[KeyId]) -> Result<BTreeMap<KeyId, KeyGen>, Refusal> {
        let (snapshot, keyring) = (self.store.snapshot()?, self.keyring());
        let mut shards = BTreeMap::new();
        for id in keys {
            let row: Option<KeyRow> = snapshot.row(Table::Keys, id.as_bytes())?;
            let shard = row.and_then(|r| keyring.tenant(tenant)?.shard(r.shard));
            if let Some(shard) = shard {
                shards.insert(shard.id, shard.newest().version);
            }
        }
        Ok(shards)
    }

    /// Goes on until no version up to the one named is in the keyring. Blocks.
    pub(super) fn retire(
        self: &Arc<Self>,
        tenant: TenantId,
        shards: &BTreeMap<KeyId, KeyGen>,
    ) -> Result<Rekeyed, Refusal> {
        let _one = self.rekeying.lock();
        let mut done = Rekeyed::default();
        for (id, last) in shards {
            loop {
                let keyring = self.keyring();
                let Some(shard) = keyring.tenant(tenant).and_then(|t| t.shard(*id)) else { break };
                if shard.keys.iter().all(|key| key.version > *last) {
                    break;
                }
                if shard.is_rekeying() {
                    let old = self.old_wraps(shard, usize::MAX)?;
                    done.visited +=
                        self.store.snapshot()?.scan(Table::ByShard, id.as_bytes(), None, usize::MAX)?.len() as u64;
                    for piece in old.chunks(MOVED_AT_ONCE) {
                        done.moved += self.move_wraps(*id, piece.to_vec())?;
                    }
                    self.drop_old_version(tenant, shard)?;
                } else {
                    self.change_keyring(|keyring| {
                        let shard = keyring.tenant_mut(tenant).and_then(|t| t.shards.iter_mut().find(|s| s.id == *id));
                        shard.and_then(|s| s.rekey(self.entropy.as_ref())).ok_or_else(spent)
                    })?;
                }
            }
        }
        Ok(done)
    }

    /// Drops every version of a shard but its newest, if no wrap hangs on them. The writer counts: whatever was let in
    /// under an old version stands in the database before that, and nothing is let in under it any more.
    pub(super) fn drop_old_version(&self, tenant: TenantId, shard: &Shard) -> Result<bool, Refusal> {
        let (id, newest) = (shard.id, shard.newest().version);
        let left = self.store.write_blocking(move |tx| {
            let mut left = 0_u64;
            for name in tx.names(Table::ByShard, id.as_bytes(), None, usize::MAX)? {
                let row: Option<KeyRow> = tx.row(Table::Keys, &name[16..])?;
                left += u64::from(row.is_some_and(|r| !r.wrap.is_empty() && r.shard_version != newest));
            }
            Ok::<_, StoreError>(left)
        })?;
        if left > 0 {
            return Ok(false);
        }
        self.change_keyring(|keyring| {
            let shard = keyring.tenant_mut(tenant).and_then(|t| t.shards.iter_mut().find(|s| s.id == id));
            shard.ok_or_else(spent)?.drop_old();
            Ok(true)
        })
    }
}

fn spent() -> Refusal {
    Refusal::new(ProblemCode::Internal, "the shard has no further version")
}

/// Wraps that share one commit: about 5 ms of work for the writer.
const MOVED_AT_ONCE: usize = 256;
