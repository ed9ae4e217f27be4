//! The catalog: an engine's sealed rows, opened; study and series rows in memory; rows of the journal on top.
//!
//! Order of a row's life: sealed ([`Catalog::seal`]) · durable in the journal · staged, which makes it visible
//! ([`Catalog::stage`]) · committed to the engine by the drain ([`Catalog::commit`]), which also counts the instances into
//! their series' rows. Dead before the commit: the journal stages it again. Dead after it: the engine's mark says so, and
//! a position not above the mark is not staged again, so nothing is counted twice.

mod ask;
mod commit;
mod erase;
mod load;
mod metas;
mod open;
mod part;

pub use load::{LoadReport, StudyIndexKey, TenantKeys};
pub use metas::SealedMeta;
pub use part::Going;

use crate::{
    Index, IndexError, Mark, Row, RowKey, Table,
    newborn::Newborns,
    overlay::Overlay,
    projection::{TenantState, Tenants},
    recent::Recent,
    sealed,
    versions::Versions,
};
use bytes::Bytes;
use leadglass_model::{Clock, Entropy, KeyGen, KeyId, SeriesUid, SopInstanceUid, StudyRef, StudyUid, TenantId};
use leadglass_seal::IndexKey;
use parking_lot::{Mutex, RwLock};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The key to seal rows under.
#[derive(Debug, Clone, Copy)]
pub struct SealUnder<'a> {
    /// The study key.
    pub key_id: KeyId,
    /// Its generation.
    pub key_gen: KeyGen,
    /// Seals the rows.
    pub key: &'a IndexKey,
}

/// See the module. Shared by reference.
pub struct Catalog {
    index: Arc<dyn Index>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    pub(crate) tenants: RwLock<Tenants>,
    overlay: RwLock<Overlay>,
    /// Taken while `tenants` is held, never the other way round.
    newborns: Mutex<Newborns>,
    versions: Versions,
    recent: Recent,
    /// The engine's mark.
    position: AtomicU64,
    /// One commit at a time: counts are read, sealed and written.
    commits: tokio::sync::Mutex<()>,
}

impl Catalog {
    /// The journal position that the engine holds; nothing up to it needs to be staged.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::SeqCst)
    }

    /// The tree size and journal position in the engine.
    pub async fn mark(&self) -> Result<Mark, IndexError> {
        self.index.mark().await
    }

    /// The key of a row named by a UID; `None` for a tenant that was not loaded.
    fn row_key(&self, tenant: TenantId, table: Table, study_ref: StudyRef, uid: &str) -> Option<RowKey> {
        let tenants = self.tenants.read();
        Some(RowKey { table, study_ref, uid_mac: tenants.get(&tenant)?.uid_mac(uid) })
    }

    /// Key of a study's row; `None` for a tenant that was not loaded.
    pub fn study_key(&self, tenant: TenantId, study_ref: StudyRef, uid: &StudyUid) -> Option<RowKey> {
        self.row_key(tenant, Table::Study, study_ref, uid.expose())
    }

    /// Key of a series' row; `None` for a tenant that was not loaded.
    pub fn series_key(&self, tenant: TenantId, study_ref: StudyRef, uid: &SeriesUid) -> Option<RowKey> {
        self.row_key(tenant, Table::Series, study_ref, uid.expose())
    }

    /// Key of an instance's row; `None` for a tenant that was not loaded.
    pub fn instance_key(&self, tenant: TenantId, study_ref: StudyRef, uid: &SopInstanceUid) -> Option<RowKey> {
        self.row_key(tenant, Table::Instance, study_ref, uid.expose())
    }

    /// Key of an instance's metadata row; `None` for a tenant that was not loaded.
    pub fn meta_key(&self, tenant: TenantId, study_ref: StudyRef, uid: &SopInstanceUid) -> Option<RowKey> {
        self.row_key(tenant, Table::Meta, study_ref, uid.expose())
    }

    /// Seals a row as the newest version of itself, and keeps the key so that the row can be read back.
    pub fn seal<R: Row>(&self, tenant: TenantId, key: &RowKey, under: &SealUnder<'_>, row: &R) -> Bytes {
        debug_assert_eq!(key.table, R::TABLE, "the key names another table than the row's");
        let known = |state: &TenantState| state.key(under.key_id, under.key_gen).is_some();
        if !self.tenants.read().get(&tenant).is_none_or(known)
            && let Some(state) = self.tenants.write().get_mut(&tenant)
        {
            let copy = IndexKey::from_bytes(*under.key.reveal());
            state.add_key(under.key_id, under.key_gen, key.study_ref, copy);
        }
        let header = sealed::new_header(under.key_id, under.key_gen, self.versions.next(self.clock.now()));
        sealed::seal(under.key, tenant, key, header, &*self.entropy, &sealed::encode(row))
    }

    /// Drops a study and its keys from memory: it was erased, or this node may not see it any more. Rows in the engine
    /// stay; without the key they do not open.
    pub fn forget(&self, tenant: TenantId, study_ref: StudyRef) {
        if let Some(state) = self.tenants.write().get_mut(&tenant) {
            state.forget(study_ref);
        }
        self.newborns.lock().doubt(tenant, study_ref);
        self.overlay.write().forget(tenant, study_ref);
        self.recent.clear();
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("position", &self.position).finish_non_exhaustive()
    }
}

/// Rows read from the engine at a time: a few MiB.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests;
