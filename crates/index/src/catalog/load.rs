//! Loading: the study and series rows of a tenant, opened at start.

use super::{Catalog, PAGE};
use crate::{
    Index, IndexError, RowKey, SeriesRow, StudyRow, Table, projection::TenantState, recent::Recent, sealed,
    versions::Versions,
};
use leadglass_model::{Clock, Entropy, KeyGen, KeyId, StudyRef, TenantId};
use leadglass_seal::{IndexKey, Secret};
use parking_lot::{Mutex, RwLock};
use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

/// What the key service gives for a tenant at start.
pub struct TenantKeys {
    /// Which tenant.
    pub tenant: TenantId,
    /// Its token key: row keys are made with it.
    pub token: Secret,
    /// The index keys of its studies.
    pub index_keys: Vec<StudyIndexKey>,
}

/// The index key of one study key.
pub struct StudyIndexKey {
    /// The study key.
    pub key_id: KeyId,
    /// Its generation.
    pub key_gen: KeyGen,
    /// Its study.
    pub study_ref: StudyRef,
    /// Opens the rows.
    pub key: IndexKey,
}

/// What loading found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadReport {
    /// Study rows opened.
    pub studies: u64,
    /// Series rows opened.
    pub series: u64,
    /// Rows whose key is not there: erased studies, until their rows are removed.
    pub without_key: u64,
    /// Study rows that are not what was written. An alarm goes with it.
    pub corrupt_studies: u64,
    /// Series rows that are not what was written. An alarm goes with it.
    pub corrupt_series: u64,
}

impl Catalog {
    /// Opens the study and series rows of the tenants. A row that does not open does not stop the others: it is counted.
    ///
    /// Cancel safety: nothing is changed on disk.
    pub async fn load(
        index: Arc<dyn Index>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        tenants: Vec<TenantKeys>,
    ) -> Result<(Self, LoadReport), IndexError> {
        let mark = index.mark().await?;
        let catalog = Self {
            index,
            clock,
            entropy,
            tenants: RwLock::default(),
            overlay: RwLock::default(),
            newborns: Mutex::default(),
            versions: Versions::default(),
            recent: Recent::default(),
            position: AtomicU64::new(mark.position),
            commits: tokio::sync::Mutex::default(),
        };
        let mut report = LoadReport::default();
        for keys in tenants {
            let found = catalog.load_tenant(keys).await?;
            report.studies += found.studies;
            report.series += found.series;
            report.without_key += found.without_key;
            report.corrupt_studies += found.corrupt_studies;
            report.corrupt_series += found.corrupt_series;
        }
        Ok((catalog, report))
    }

    /// Opens the rows of one more tenant.
    ///
    /// Cancel safety: the tenant may be loaded in part; load it again.
    pub async fn load_tenant(&self, keys: TenantKeys) -> Result<LoadReport, IndexError> {
        let tenant = keys.tenant;
        let mut state = TenantState::new(keys.token);
        for entry in keys.index_keys {
            state.add_key(entry.key_id, entry.key_gen, entry.study_ref, entry.key);
        }
        let mut report = LoadReport::default();
        // Series first: a study's entry tells its modalities.
        for table in [Table::Series, Table::Study] {
            let mut after = None;
            loop {
                let page = self.index.scan(tenant, table, None, after, PAGE).await?;
                for (key, bytes) in &page {
                    self.load_row(&mut state, &mut report, tenant, key, bytes);
                }
                match page.last() {
                    Some((last, _)) if page.len() == PAGE => after = Some(*last),
                    _ => break,
                }
            }
        }
        state.sort();
        self.tenants.write().insert(tenant, state);
        Ok(report)
    }

    fn load_row(&self, state: &mut TenantState, report: &mut LoadReport, tenant: TenantId, key: &RowKey, bytes: &[u8]) {
        let at = (key.study_ref, key.uid_mac);
        let opened = sealed::header(key, bytes).and_then(|header| {
            let index_key = state.key(header.key_id, header.key_gen).ok_or(IndexError::NoKey { table: key.table })?;
            let plain = sealed::open(index_key, tenant, key, header, bytes)?;
            self.versions.raise(header.row_version);
            if key.table == Table::Study {
                let row = sealed::decode::<StudyRow>(&plain)?;
                state.check_name(key, row.uid.expose())?;
                state.put_study(at, header.row_version, &row);
                report.studies += 1;
            } else {
                let row = sealed::decode::<SeriesRow>(&plain)?;
                state.check_name(key, row.uid.expose())?;
                state.put_series(at, header.row_version, &row, Some(row.instances));
                report.series += 1;
            }
            Ok(())
        });
        let Err(error) = opened else { return };
        self.newborns.lock().doubt(tenant, key.study_ref);
        match error {
            IndexError::NoKey { .. } => report.without_key += 1,
            _ if key.table == Table::Study => report.corrupt_studies += 1,
            _ => report.corrupt_series += 1,
        }
    }
}

impl fmt::Debug for TenantKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantKeys").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl fmt::Debug for StudyIndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StudyIndexKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}
