//! Writing: rows become visible, and reach the engine with the counts of their series.

use super::{Catalog, open::Opened};
use crate::{
    Batch, IndexError, Mark, RowKey, SeriesRow, Table,
    overlay::{Counted, Position, StagedRow},
    projection::SeriesAt,
    sealed,
};
use bytes::Bytes;
use leadglass_model::{Indexed, KeyGen, KeyId, TenantId};
use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::Ordering,
};

impl Catalog {
    /// Makes rows visible that are durable in the journal at `position`. Rows that do not open stay on their way to the
    /// engine all the same; the first error is given back. A position staged or committed before changes nothing.
    pub fn stage(
        &self,
        position: u64,
        rows: impl IntoIterator<Item = (TenantId, RowKey, Bytes)>,
    ) -> Result<(), IndexError> {
        if position <= self.position() || self.overlay.read().holds(position) {
            return Ok(());
        }
        let mut content = Position::default();
        let mut opened = Vec::new();
        let mut first_error = None;
        for (tenant, key, bytes) in rows {
            let row = self.open_any(tenant, &key, &bytes);
            let version = sealed::header(&key, &bytes).map_or(0, |h| h.row_version);
            content.rows.push(StagedRow { tenant, key, version, bytes });
            match row {
                Ok(row) => opened.push((tenant, key, version, row)),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let mut tenants = self.tenants.write();
        let mut newborns = self.newborns.lock();
        for (tenant, key, version, row) in opened {
            let Some(state) = tenants.get_mut(&tenant) else { continue };
            let at = (key.study_ref, key.uid_mac);
            match row {
                Opened::Study(row) => {
                    if !state.knows(key.study_ref) {
                        newborns.begin(tenant, key.study_ref);
                    }
                    state.put_study(at, version, &row);
                }
                Opened::Series(row) => state.put_series(at, version, &row, None),
                Opened::Instance { row, header } if row.version == 1 => {
                    let series = (key.study_ref, state.uid_mac(row.series_uid.expose()));
                    state.count_staged(series, 1);
                    content.counted.push(Counted { tenant, series, key: (header.key_id, header.key_gen) });
                }
                Opened::Instance { .. } | Opened::Meta => {}
            }
        }
        for row in content.rows.iter().filter(|row| row.key.table == Table::Instance) {
            newborns.put(row.tenant, row.key.study_ref, &row.key.uid_mac);
        }
        // Both locks: whoever sees the study sees its instances.
        self.overlay.write().stage(position, content);
        first_error.map_or(Ok(()), Err)
    }

    /// Commits everything staged up to `mark.position` to the engine, with the mark and the new counts of the series.
    ///
    /// Cancel safety: run it in a task that is not dropped; what was staged stays visible either way.
    pub async fn commit(&self, mark: Mark) -> Result<Indexed, IndexError> {
        let _turn = self.commits.lock().await;
        if mark.position <= self.position() {
            return self.index.commit(Batch::default()).await;
        }
        let (mut puts, counts) = self.staged_upto(mark.position);
        let resealed = self.reseal_series(&mut puts, &counts);
        let rows = puts.into_iter().map(|((tenant, key), (_, bytes))| (tenant, key, bytes)).collect();
        let done = self.index.commit(Batch { puts: rows, deletes: Vec::new(), mark: Some(mark) }).await?;
        let mut tenants = self.tenants.write();
        for ((tenant, series), committed) in resealed {
            if let Some(state) = tenants.get_mut(&tenant) {
                let staged = counts.get(&(tenant, series)).map_or(0, |c| c.more);
                state.count_committed(series, committed, staged);
            }
        }
        self.position.store(mark.position, Ordering::SeqCst);
        self.overlay.write().drop_upto(mark.position);
        Ok(done)
    }

    /// Writes rows past the journal: decisions on quarantine, re-sealing, erasure. Counts are not touched; put the series
    /// rows with their new counts into the batch. The batch's mark is not used.
    ///
    /// Cancel safety: run it in a task that is not dropped.
    pub async fn write(&self, batch: Batch) -> Result<Indexed, IndexError> {
        let _turn = self.commits.lock().await;
        let keys = batch.puts.iter().map(|(t, k, _)| (*t, *k)).chain(batch.deletes.iter().copied());
        for (tenant, key) in keys {
            if self.overlay.read().row(tenant, key).is_some() {
                return Err(IndexError::Pending { table: key.table });
            }
        }
        let opened = batch.puts.iter().map(|(tenant, key, bytes)| {
            let header = sealed::header(key, bytes)?;
            Ok((*tenant, *key, header.row_version, self.open_quietly(*tenant, key, bytes)?))
        });
        let opened: Vec<_> = opened.collect::<Result<_, IndexError>>()?;
        let deletes = batch.deletes.clone();
        self.recent.clear();
        for (tenant, key, _) in batch.puts.iter().filter(|(_, key, _)| key.table == Table::Instance) {
            self.newborns.lock().put(*tenant, key.study_ref, &key.uid_mac);
        }
        let done = self.index.commit(Batch { mark: None, ..batch }).await;
        // What was read before the commit does not come after it.
        self.recent.clear();
        let done = done?;
        // Not before they are there: whoever reads the old row meanwhile reads the newest one.
        for (tenant, key, version, _) in opened.iter().filter(|(_, key, ..)| key.table == Table::Instance) {
            self.versions.note(*tenant, *key, *version);
        }
        let mut tenants = self.tenants.write();
        for (tenant, key, version, row) in opened {
            let Some(state) = tenants.get_mut(&tenant) else { continue };
            let at = (key.study_ref, key.uid_mac);
            match row {
                Opened::Study(row) => state.put_study(at, version, &row),
                Opened::Series(row) => state.put_series(at, version, &row, Some(row.instances)),
                Opened::Instance { .. } | Opened::Meta => {}
            }
        }
        for (tenant, key) in deletes {
            let Some(state) = tenants.get_mut(&tenant) else { continue };
            match key.table {
                Table::Study => {
                    self.newborns.lock().doubt(tenant, key.study_ref);
                    state.remove_study(key.study_ref);
                }
                Table::Series => state.remove_series((key.study_ref, key.uid_mac)),
                Table::Instance | Table::Meta => {}
            }
        }
        Ok(done)
    }

    fn staged_upto(&self, position: u64) -> (Puts, HashMap<(TenantId, SeriesAt), Count>) {
        let overlay = self.overlay.read();
        let mut puts = Puts::new();
        let mut counts: HashMap<(TenantId, SeriesAt), Count> = HashMap::new();
        for content in overlay.upto(position) {
            for row in &content.rows {
                let newest = puts.entry((row.tenant, row.key)).or_insert_with(|| (row.version, row.bytes.clone()));
                if row.version > newest.0 {
                    *newest = (row.version, row.bytes.clone());
                }
            }
            for counted in &content.counted {
                let count =
                    counts.entry((counted.tenant, counted.series)).or_insert(Count { more: 0, key: counted.key });
                count.more += 1;
            }
        }
        (puts, counts)
    }

    /// Puts the series rows of the batch there with their counts. Gives back the counts that hold after the batch.
    fn reseal_series(
        &self,
        puts: &mut Puts,
        counts: &HashMap<(TenantId, SeriesAt), Count>,
    ) -> HashMap<(TenantId, SeriesAt), u32> {
        let mut touched: HashMap<(TenantId, SeriesAt), (KeyId, KeyGen)> =
            counts.iter().map(|(at, count)| (*at, count.key)).collect();
        for ((tenant, key), (_, bytes)) in puts.iter().filter(|((_, key), _)| key.table == Table::Series) {
            if let Ok(header) = sealed::header(key, bytes) {
                touched.insert((*tenant, (key.study_ref, key.uid_mac)), (header.key_id, header.key_gen));
            }
        }
        let tenants = self.tenants.read();
        let mut done = HashMap::new();
        for ((tenant, series), (key_id, key_gen)) in touched {
            let Some(state) = tenants.get(&tenant) else { continue };
            let Some(index_key) = state.key(key_id, key_gen) else { continue };
            let Some((row, committed)) = state.series_row(series) else { continue };
            let instances = committed.saturating_add(counts.get(&(tenant, series)).map_or(0, |c| c.more));
            let row = SeriesRow { instances, ..row };
            let key = RowKey { table: Table::Series, study_ref: series.0, uid_mac: series.1 };
            let version = self.versions.next(self.clock.now());
            let header = sealed::new_header(key_id, key_gen, version);
            let bytes = sealed::seal(index_key, tenant, &key, header, &*self.entropy, &sealed::encode(&row));
            puts.insert((tenant, key), (version, bytes));
            done.insert((tenant, series), instances);
        }
        done
    }
}

/// The newest version of each row in a batch.
type Puts = BTreeMap<(TenantId, RowKey), (u64, Bytes)>;

struct Count {
    more: u32,
    key: (KeyId, KeyGen),
}
