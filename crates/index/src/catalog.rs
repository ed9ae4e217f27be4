//! The catalog: an engine's sealed rows, opened; study and series rows in memory; rows of the journal on top.
//!
//! Order of a row's life: sealed ([`Catalog::seal`]) · durable in the journal · staged, which makes it visible
//! ([`Catalog::stage`]) · committed to the engine by the drain ([`Catalog::commit`]), which also counts the instances into
//! their series' rows. Dead before the commit: the journal stages it again. Dead after it: the engine's mark says so, and
//! a position not above the mark is not staged again, so nothing is counted twice.

mod metas;

pub use metas::SealedMeta;

use crate::{
    Batch, Index, IndexError, InstanceRow, Mark, Row, RowKey, SeriesRow, StudyEntry, StudyRow, Table,
    newborn::Newborns,
    overlay::{Counted, Overlay, Position, StagedRow},
    projection::{SeriesAt, TenantState, Tenants},
    recent::Recent,
    sealed,
    versions::Versions,
};
use bytes::Bytes;
use leadglass_model::{
    Clock, Entropy, Indexed, KeyGen, KeyId, SeriesUid, SopInstanceUid, StudyRef, StudyUid, TenantId,
};
use leadglass_seal::{IndexKey, RowHeader, Secret};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
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
            Ok((*tenant, *key, header.row_version, self.open_any(*tenant, key, bytes)?))
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
                    self.recent.put(moment, tenant, key, header.row_version, &row);
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
        let open = |(key, (_, bytes)): (&RowKey, &(RowHeader, Bytes))| {
            let (row, header) = self.open_instance(tenant, key, bytes)?;
            if few {
                self.recent.put(moment, tenant, *key, header.row_version, &row);
            }
            Ok(row)
        };
        rows.iter().map(open).collect()
    }

    async fn fetch(&self, tenant: TenantId, key: RowKey) -> Result<Option<Bytes>, IndexError> {
        let staged = self.overlay.read().row(tenant, key);
        match staged {
            Some(bytes) => Ok(Some(bytes)),
            None => self.index.fetch(tenant, key).await,
        }
    }

    fn open_any(&self, tenant: TenantId, key: &RowKey, bytes: &[u8]) -> Result<Opened, IndexError> {
        if key.table == Table::Meta {
            return Ok(Opened::Meta);
        }
        if key.table == Table::Instance {
            let (row, header) = self.open_instance(tenant, key, bytes)?;
            return Ok(Opened::Instance { row: Box::new(row), header });
        }
        let (plain, _) = self.open_row(tenant, key, bytes)?;
        let tenants = self.tenants.read();
        let state = tenants.get(&tenant).ok_or(IndexError::NoKey { table: key.table })?;
        if key.table == Table::Study {
            let row = sealed::decode::<StudyRow>(&plain)?;
            state.check_name(key, row.uid.expose())?;
            Ok(Opened::Study(Box::new(row)))
        } else {
            let row = sealed::decode::<SeriesRow>(&plain)?;
            state.check_name(key, row.uid.expose())?;
            Ok(Opened::Series(Box::new(row)))
        }
    }

    fn open_instance(
        &self,
        tenant: TenantId,
        key: &RowKey,
        bytes: &[u8],
    ) -> Result<(InstanceRow, RowHeader), IndexError> {
        let (plain, header) = self.open_row(tenant, key, bytes)?;
        let row = sealed::decode::<InstanceRow>(&plain)?;
        let tenants = self.tenants.read();
        tenants.get(&tenant).map_or(Ok(()), |state| state.check_name(key, row.sop_uid.expose()))?;
        Ok((row, header))
    }

    fn open_row(&self, tenant: TenantId, key: &RowKey, bytes: &[u8]) -> Result<(Vec<u8>, RowHeader), IndexError> {
        let table = key.table;
        let header = sealed::header(key, bytes)?;
        let plain = {
            let tenants = self.tenants.read();
            let index_key = tenants.get(&tenant).and_then(|s| s.key(header.key_id, header.key_gen));
            sealed::open(index_key.ok_or(IndexError::NoKey { table })?, tenant, key, header, bytes)?
        };
        if table == Table::Instance && !self.versions.note(tenant, *key, header.row_version) {
            return Err(IndexError::Corrupt { table });
        }
        Ok((plain, header))
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

impl TenantState {
    /// A row must lie under the name of what it speaks about.
    fn check_name(&self, key: &RowKey, uid: &str) -> Result<(), IndexError> {
        if self.uid_mac(uid) == key.uid_mac { Ok(()) } else { Err(IndexError::Corrupt { table: key.table }) }
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("position", &self.position).finish_non_exhaustive()
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

enum Opened {
    Study(Box<StudyRow>),
    Series(Box<SeriesRow>),
    Instance { row: Box<InstanceRow>, header: RowHeader },
    Meta,
}

/// The newest version of each row in a batch.
type Puts = BTreeMap<(TenantId, RowKey), (u64, Bytes)>;

struct Count {
    more: u32,
    key: (KeyId, KeyGen),
}

/// Rows read from the engine at a time: a few MiB.
const PAGE: usize = 4096;
/// Rows of one study that are remembered after they were read together.
const RECENT_MAX: usize = 4_096;
/// How often rows are read before they count as corrupt.
const TRIES: usize = 3;

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
