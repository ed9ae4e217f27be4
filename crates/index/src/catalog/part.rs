//! A part of a study goes, the rest stays: its rows under another key, its series counted anew.

use super::{Catalog, SealUnder};
use crate::{Batch, IndexError, Row, RowKey, SeriesRow, StudyRow, Table, sealed};
use bytes::Bytes;
use leadglass_model::{KeyId, StudyRef, TenantId};
use std::collections::{BTreeMap, BTreeSet};

/// An instance that goes, by the tokens that its row keys carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Going {
    /// Of its SOP Instance UID.
    pub instance: [u8; 16],
    /// Of its Series Instance UID.
    pub series: [u8; 16],
}

/// Series of which instances went.
#[derive(Default)]
struct Less {
    puts: Vec<(TenantId, RowKey, Bytes)>,
    counts: Vec<([u8; 16], u64, SeriesRow)>,
    empty: Vec<[u8; 16]>,
}

impl Less {
    /// The rows of series that are empty.
    fn deletes(&self, tenant: TenantId, study_ref: StudyRef) -> impl Iterator<Item = (TenantId, RowKey)> {
        let key = move |series: &[u8; 16]| (tenant, RowKey { table: Table::Series, study_ref, uid_mac: *series });
        self.empty.iter().map(key)
    }
}

impl Catalog {
    /// Which of these keys the rows of the study and of its series are sealed under.
    ///
    /// Cancel safety: reads only.
    pub async fn heads_under(
        &self,
        tenant: TenantId,
        study_ref: StudyRef,
        keys: &BTreeSet<KeyId>,
    ) -> Result<BTreeSet<KeyId>, IndexError> {
        let mut under = BTreeSet::new();
        for (key, bytes) in self.heads(tenant, study_ref).await? {
            let header = sealed::header(&key, &bytes)?;
            under.extend(keys.get(&header.key_id));
        }
        Ok(under)
    }

    /// Seals the rows of the study and its series anew that lie under one of these keys. Nothing may come into the study
    /// under them any more, and nothing that came may be on its way from the journal.
    ///
    /// Cancel safety: run it in a task that is not dropped.
    pub async fn move_heads(
        &self,
        tenant: TenantId,
        study_ref: StudyRef,
        keys: &BTreeSet<KeyId>,
        under: &SealUnder<'_>,
    ) -> Result<(), IndexError> {
        let _turn = self.commits.lock().await;
        let mut puts = Vec::new();
        for (key, bytes) in self.heads(tenant, study_ref).await? {
            let header = sealed::header(&key, &bytes)?;
            if !keys.contains(&header.key_id) {
                continue;
            }
            if self.overlay.read().row(tenant, key).is_some() {
                return Err(IndexError::Pending { table: key.table });
            }
            let (plain, _) = self.open_row(tenant, &key, &bytes)?;
            let bytes = match key.table {
                Table::Study => self.seal_again::<StudyRow>(tenant, &key, under, &plain)?,
                _ => self.seal_again::<SeriesRow>(tenant, &key, under, &plain)?,
            };
            puts.push((tenant, key, bytes));
        }
        if !puts.is_empty() {
            self.index.commit(Batch { puts, ..Batch::default() }).await?;
        }
        Ok(())
    }

    /// Removes the rows of instances, which lie under these keys, and counts them out of their series; a series that is empty
    /// then goes with them. What is gone already counts for nothing, so it may be done twice. The keys of the instances' rows
    /// may be gone; those of the series' rows may not. Nothing may come into the study meanwhile. Answers how many went.
    ///
    /// Cancel safety: run it in a task that is not dropped.
    pub async fn take_out(
        &self,
        tenant: TenantId,
        study_ref: StudyRef,
        going: &BTreeSet<Going>,
        keys: &BTreeSet<KeyId>,
    ) -> Result<usize, IndexError> {
        let _turn = self.commits.lock().await;
        let row_key = |table, uid_mac| RowKey { table, study_ref, uid_mac };
        let (mut deletes, mut less) = (Vec::new(), BTreeMap::<[u8; 16], u32>::new());
        for one in going {
            let (row, meta) = (row_key(Table::Instance, one.instance), row_key(Table::Meta, one.instance));
            if self.overlay.read().row(tenant, row).is_some() || self.overlay.read().row(tenant, meta).is_some() {
                return Err(IndexError::Pending { table: Table::Instance });
            }
            if let Some(bytes) = self.index.fetch(tenant, row).await? {
                if !keys.contains(&sealed::header(&row, &bytes)?.key_id) {
                    // Another one under the same name: it was not ordered to go.
                    return Err(IndexError::Pending { table: Table::Instance });
                }
                *less.entry(one.series).or_default() += 1;
                deletes.extend([(tenant, row), (tenant, meta)]);
            }
        }
        if deletes.is_empty() {
            return Ok(0);
        }
        let gone = deletes.len() / 2;
        let less = self.less(tenant, study_ref, less).await?;
        deletes.extend(less.deletes(tenant, study_ref));
        self.recent.clear();
        let done = self.index.commit(Batch { puts: less.puts.clone(), deletes, mark: None }).await;
        self.recent.clear();
        done?;
        self.count(tenant, study_ref, less);
        Ok(gone)
    }

    /// Puts the sealed rows of instances there that nobody is to see any more, and counts those out of their series; a series
    /// of which nobody sees anything goes. The rows must be of instances that were seen until now, with the tokens of their
    /// series.
    ///
    /// # Errors
    /// [`IndexError::Pending`] while a row of one is on its way from the journal.
    ///
    /// Cancel safety: run it in a task that is not dropped.
    pub async fn hide(
        &self,
        tenant: TenantId,
        study_ref: StudyRef,
        hidden: Vec<(RowKey, Bytes, [u8; 16])>,
    ) -> Result<(), IndexError> {
        let _turn = self.commits.lock().await;
        let (mut puts, mut less) = (Vec::new(), BTreeMap::<[u8; 16], u32>::new());
        for (key, bytes, series) in hidden {
            if self.overlay.read().row(tenant, key).is_some() {
                return Err(IndexError::Pending { table: Table::Instance });
            }
            *less.entry(series).or_default() += 1;
            puts.push((tenant, key, bytes));
        }
        let versions: Vec<(RowKey, u64)> = puts
            .iter()
            .map(|(_, key, bytes)| Ok((*key, sealed::header(key, bytes)?.row_version)))
            .collect::<Result<_, IndexError>>()?;
        let less = self.less(tenant, study_ref, less).await?;
        puts.extend(less.puts.iter().cloned());
        self.recent.clear();
        let deletes = less.deletes(tenant, study_ref).collect();
        let done = self.index.commit(Batch { puts, deletes, mark: None }).await;
        self.recent.clear();
        done?;
        for (key, version) in versions {
            self.versions.note(tenant, key, version);
        }
        self.count(tenant, study_ref, less);
        Ok(())
    }

    /// The series of a study with so many instances less.
    async fn less(
        &self,
        tenant: TenantId,
        study_ref: StudyRef,
        less: BTreeMap<[u8; 16], u32>,
    ) -> Result<Less, IndexError> {
        let mut out = Less::default();
        for (series, less) in less {
            let key = RowKey { table: Table::Series, study_ref, uid_mac: series };
            let Some(bytes) = self.index.fetch(tenant, key).await? else { continue };
            let (plain, header) = self.open_row(tenant, &key, &bytes)?;
            let row = sealed::decode::<SeriesRow>(&plain)?;
            let instances = row.instances.saturating_sub(less);
            let tenants = self.tenants.read();
            let no_key = IndexError::NoKey { table: Table::Series };
            let Some(state) = tenants.get(&tenant) else { return Err(no_key) };
            if instances == 0 && state.staged((study_ref, series)) == 0 {
                out.empty.push(series);
                continue;
            }
            let index_key = state.key(header.key_id, header.key_gen).ok_or(no_key)?;
            let version = self.versions.next(self.clock.now());
            let header = sealed::new_header(header.key_id, header.key_gen, version);
            let row = SeriesRow { instances, ..row };
            let bytes = sealed::seal(index_key, tenant, &key, header, &*self.entropy, &sealed::encode(&row));
            out.puts.push((tenant, key, bytes));
            out.counts.push((series, version, row));
        }
        Ok(out)
    }

    /// Shows the new counts.
    fn count(&self, tenant: TenantId, study_ref: StudyRef, less: Less) {
        if let Some(state) = self.tenants.write().get_mut(&tenant) {
            for (series, version, row) in less.counts {
                state.put_series((study_ref, series), version, &row, Some(row.instances));
            }
            for series in less.empty {
                state.remove_series((study_ref, series));
            }
        }
    }

    /// Wipes these keys from memory: nothing that stays lies under them.
    pub fn forget_keys(&self, tenant: TenantId, keys: &BTreeSet<KeyId>) {
        if let Some(state) = self.tenants.write().get_mut(&tenant) {
            state.forget_keys(keys);
        }
    }

    /// The stored rows of a study and its series.
    async fn heads(&self, tenant: TenantId, study_ref: StudyRef) -> Result<Vec<(RowKey, Bytes)>, IndexError> {
        let mut heads = self.index.scan(tenant, Table::Study, Some(study_ref), None, 1).await?;
        let mut after = None;
        loop {
            let page = self.index.scan(tenant, Table::Series, Some(study_ref), after, super::PAGE).await?;
            after = page.last().map(|(key, _)| *key).filter(|_| page.len() == super::PAGE);
            heads.extend(page);
            if after.is_none() {
                return Ok(heads);
            }
        }
    }

    fn seal_again<R: Row>(
        &self,
        tenant: TenantId,
        key: &RowKey,
        under: &SealUnder<'_>,
        plain: &[u8],
    ) -> Result<Bytes, IndexError> {
        Ok(self.seal(tenant, key, under, &sealed::decode::<R>(plain)?))
    }
}
