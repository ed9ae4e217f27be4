//! Reading: studies and series from memory, instances from the engine and what is staged above it.

use super::{Catalog, PAGE};
use crate::{IndexError, InstanceRow, RowKey, SeriesRow, StudyEntry, Table, projection::TenantState, sealed};
use bytes::Bytes;
use leadglass_model::{SeriesUid, SopInstanceUid, StudyRef, StudyUid, TenantId};
use leadglass_seal::RowHeader;
use std::{collections::BTreeMap, iter};

impl Catalog {
    /// A study by its UID. Cases of quarantine are not found here.
    pub fn study(&self, tenant: TenantId, uid: &StudyUid) -> Option<StudyEntry> {
        self.tenants.read().get(&tenant)?.study(uid)
    }

    /// A study or a case of quarantine by its random name.
    pub fn study_by_ref(&self, tenant: TenantId, study_ref: StudyRef) -> Option<StudyEntry> {
        self.tenants.read().get(&tenant)?.entry(study_ref)
    }

    /// The cases of quarantine: all, or those that name this study.
    pub fn quarantined(&self, tenant: TenantId, uid: Option<&StudyUid>) -> Vec<StudyEntry> {
        self.tenants.read().get(&tenant).map_or_else(Vec::new, |state| state.quarantined(uid))
    }

    /// The series of a study, by number; `instances` is what can be seen now.
    pub fn series(&self, tenant: TenantId, study_ref: StudyRef) -> Vec<SeriesRow> {
        self.tenants.read().get(&tenant).map_or_else(Vec::new, |state| state.series(study_ref))
    }

    /// How many instance rows a study has, as its series rows say. What is asked for after this has so many at least.
    pub fn counted(&self, tenant: TenantId, study_ref: StudyRef) -> u64 {
        self.tenants.read().get(&tenant).map_or(0, |state| state.counted(study_ref))
    }

    /// Whether a series' row is here: one keyed hash and a look, nothing is decoded.
    pub fn has_series(&self, tenant: TenantId, study_ref: StudyRef, uid: &SeriesUid) -> bool {
        self.tenants.read().get(&tenant).is_some_and(|state| state.has_series(study_ref, uid.expose()))
    }

    /// Whether the row of a study or of a case of quarantine is here; nothing is decoded.
    pub fn has_study(&self, tenant: TenantId, study_ref: StudyRef) -> bool {
        self.tenants.read().get(&tenant).is_some_and(|state| state.has_study(study_ref))
    }

    /// The random names of all studies of a tenant, cases of quarantine too.
    pub fn study_refs(&self, tenant: TenantId) -> Vec<StudyRef> {
        self.tenants.read().get(&tenant).map_or_else(Vec::new, TenantState::study_refs)
    }

    /// How many studies a tenant has, quarantine not counted.
    pub fn studies(&self, tenant: TenantId) -> usize {
        self.tenants.read().get(&tenant).map_or(0, TenantState::studies)
    }

    /// One instance. An absent one of a study that began in this process is answered from memory.
    ///
    /// Cancel safety: reads only.
    pub async fn instance(
        &self,
        tenant: TenantId,
        study_ref: StudyRef,
        uid: &SopInstanceUid,
    ) -> Result<Option<InstanceRow>, IndexError> {
        let Some(key) = self.instance_key(tenant, study_ref, uid) else { return Ok(None) };
        if self.newborns.lock().lacks(tenant, study_ref, &key.uid_mac) {
            return Ok(None);
        }
        if let Some((version, row)) = self.recent.get(tenant, key)
            && self.versions.is_newest(tenant, key, version)
        {
            return Ok(Some(row));
        }
        let mut tries = TRIES;
        loop {
            let moment = self.recent.moment();
            let Some(bytes) = self.fetch(tenant, key).await? else { return Ok(None) };
            tries -= 1;
            match self.open_instance(tenant, &key, &bytes) {
                // A newer version may have been staged since these bytes were fetched: it has to be the one that is told.
                Err(IndexError::Corrupt { .. }) if tries > 0 => {}
                opened => {
                    let (row, header) = opened?;
                    self.recent.put_all(moment, tenant, [(key, header.row_version, row.clone())]);
                    return Ok(Some(row));
                }
            }
        }
    }

    /// All instances of a study, in the order of their row keys, which says nothing.
    ///
    /// Cancel safety: reads only.
    pub async fn instances(&self, tenant: TenantId, study_ref: StudyRef) -> Result<Vec<InstanceRow>, IndexError> {
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match self.instances_once(tenant, study_ref).await {
                // As for one instance.
                Err(IndexError::Corrupt { .. }) if tries > 0 => {}
                rows => return rows,
            }
        }
    }

    async fn instances_once(&self, tenant: TenantId, study_ref: StudyRef) -> Result<Vec<InstanceRow>, IndexError> {
        let moment = self.recent.moment();
        // The overlay first: what leaves it meanwhile is in the engine by then.
        let staged = self.overlay.read().rows_of(tenant, Table::Instance, study_ref);
        let mut rows: BTreeMap<RowKey, (RowHeader, Bytes)> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.index.scan(tenant, Table::Instance, Some(study_ref), after, PAGE).await?;
            let last = page.last().map(|(key, _)| *key).filter(|_| page.len() == PAGE);
            for (key, bytes) in page {
                rows.insert(key, (sealed::header(&key, &bytes)?, bytes));
            }
            match last {
                Some(key) => after = Some(key),
                None => break,
            }
        }
        for (key, bytes) in staged {
            let header = sealed::header(&key, &bytes)?;
            if rows.get(&key).is_none_or(|(stored, _)| stored.row_version <= header.row_version) {
                rows.insert(key, (header, bytes));
            }
        }
        let few = rows.len() <= RECENT_MAX;
        let wanted = rows.iter().map(|(key, (header, _))| (*key, header.row_version));
        let known = if few { self.recent.of(tenant, wanted) } else { Vec::new() };
        let mut opened = Vec::with_capacity(rows.len());
        let mut news = Vec::new();
        for ((key, (header, bytes)), known) in rows.iter().zip(known.into_iter().chain(iter::repeat_with(|| None))) {
            // What was opened before is good while nobody saw a newer version.
            if let Some(row) = known
                && self.versions.is_newest(tenant, *key, header.row_version)
            {
                opened.push(row);
                continue;
            }
            let (row, header) = self.open_instance(tenant, key, bytes)?;
            if few {
                news.push((*key, header.row_version, row.clone()));
            }
            opened.push(row);
        }
        self.recent.put_all(moment, tenant, news);
        Ok(opened)
    }

    pub(super) async fn fetch(&self, tenant: TenantId, key: RowKey) -> Result<Option<Bytes>, IndexError> {
        let staged = self.overlay.read().row(tenant, key);
        match staged {
            Some(bytes) => Ok(Some(bytes)),
            None => self.index.fetch(tenant, key).await,
        }
    }
}

/// Rows of one study that are remembered after they were read together.
const RECENT_MAX: usize = 4_096;
/// How often rows are read before they count as corrupt.
const TRIES: usize = 3;
