//! Records of a tenant: put, get, scan, delete.

use crate::{
    Nobody, OpenError, PersonRoll, RecordError, RecordKey, Sessions, Table, TokenError, Tokens,
    database::{RECORDS, Store},
    sealed::{self, Place},
};
use leadglass_model::{Clock, Entropy, Phi, TenantId};
use redb::ReadableTable;
use std::{
    path::Path,
    sync::{Arc, OnceLock},
};
use zeroize::Zeroizing;

/// The file of records. Clones share it.
#[derive(Clone)]
pub struct Records {
    pub(crate) store: Arc<Store>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    /// Who works here, once somebody said so: tokens that people made ask it.
    people: Arc<OnceLock<Arc<dyn PersonRoll>>>,
}

/// The records of one tenant, with the key that opens them. Drop it when the key's lease ends.
#[derive(Clone)]
pub struct TenantRecords {
    records: Records,
    tenant: TenantId,
    key: Arc<RecordKey>,
}

/// One record, opened. Its value may name a patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its random name within the table.
    pub key: Vec<u8>,
    /// What it holds.
    pub value: Phi<Zeroizing<Vec<u8>>>,
    /// Counts its writes, from 1.
    pub version: u64,
}

/// A record to be written: its name and its value.
pub type Fresh = (Vec<u8>, Zeroizing<Vec<u8>>);

/// What a writer takes for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: the last writer wins.
    Anything,
    /// There is no such record yet.
    Absent,
    /// The record is still the one that was read.
    Version(u64),
}

impl Records {
    /// Opens the file at `path`; makes it if there is none. Blocks; repairs what a crash left.
    pub fn open(path: &Path, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self, OpenError> {
        Ok(Self { store: Arc::new(Store::open(path)?), entropy, clock, people: Arc::default() })
    }

    /// The records of one tenant under its record key.
    pub fn tenant(&self, tenant: TenantId, key: RecordKey) -> TenantRecords {
        TenantRecords { records: self.clone(), tenant, key: Arc::new(key) }
    }

    /// The bearer tokens of all tenants.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.store.clone(), self.clock.clone(), self.entropy.clone(), self.people.clone())
    }

    /// The sessions of all tenants, of tokens alone. To be called once: what it answers holds them in memory. Blocks.
    pub fn sessions(&self) -> Result<Sessions, TokenError> {
        self.sessions_of(Arc::new(Nobody))
    }

    /// As [`Records::sessions`], on a node that has people.
    pub fn sessions_of(&self, people: Arc<dyn PersonRoll>) -> Result<Sessions, TokenError> {
        // It is called once, so there is nobody before.
        let _ = self.people.set(people.clone());
        Sessions::load(self.store.clone(), self.tokens(), people, self.clock.clone(), self.entropy.clone())
    }
}

impl TenantRecords {
    pub(crate) fn store(&self) -> Arc<Store> {
        self.records.store.clone()
    }

    /// Which tenant.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Writes a record; durable when it answers. `key` stands in the file as it is and must name nobody. Answers the
    /// record's new version.
    ///
    /// Cancel safety: a dropped call may or may not have written.
    pub async fn put(
        &self,
        table: Table,
        key: &[u8],
        value: Zeroizing<Vec<u8>>,
        expected: Expected,
    ) -> Result<u64, RecordError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(RecordError::Limits);
        }
        self.blocking(key, move |this, key| this.put_now(table, &key, &value, expected)).await
    }

    /// Writes records that are not there yet, all in one step; durable when it answers. One that is there stays as it is.
    ///
    /// Cancel safety: a dropped call has written all of them or none.
    pub async fn put_absent(&self, table: Table, records: Vec<Fresh>) -> Result<(), RecordError> {
        let fits = |(key, value): &Fresh| (1..=MAX_KEY_BYTES).contains(&key.len()) && value.len() <= MAX_VALUE_BYTES;
        if !records.iter().all(fits) {
            return Err(RecordError::Limits);
        }
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.noticing(this.put_absent_now(table, &records))).await?
    }

    /// As [`TenantRecords::get`], on the caller's thread: for look-ups that the file's cache answers.
    pub fn get_now(&self, table: Table, key: &[u8]) -> Result<Option<Record>, RecordError> {
        let place = Place { tenant: self.tenant, table, key };
        let found = self.noticing(self.read(&place.name()).map_err(RecordError::from))?;
        found.map(|row| self.open(table, key, &row)).transpose()
    }

    /// Reads a record.
    pub async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Record>, RecordError> {
        self.blocking(key, move |this, key| {
            let place = Place { tenant: this.tenant, table, key: &key };
            let found = this.read(&place.name())?;
            found.map(|row| this.open(table, &key, &row)).transpose()
        })
        .await
    }

    /// At most `limit` (and never more than [`MAX_SCAN`]) records of a table in the order of their keys, after `after`.
    pub async fn scan(&self, table: Table, after: Option<&[u8]>, limit: usize) -> Result<Vec<Record>, RecordError> {
        let after = after.map(<[u8]>::to_vec);
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.noticing(this.scan_now(table, after.as_deref(), limit.min(MAX_SCAN))))
            .await?
    }

    /// Removes a record; durable when it answers. Answers whether there was one.
    ///
    /// Cancel safety: a dropped call may or may not have removed it.
    pub async fn delete(&self, table: Table, key: &[u8]) -> Result<bool, RecordError> {
        self.blocking(key, move |this, key| {
            let name = Place { tenant: this.tenant, table, key: &key }.name();
            Ok(remove(&this.records.store, &name)?)
        })
        .await
    }

    fn put_now(&self, table: Table, key: &[u8], value: &[u8], expected: Expected) -> Result<u64, RecordError> {
        let place = Place { tenant: self.tenant, table, key };
        let write = self.records.store.begin_write()?;
        let version = {
            let mut rows = write.open_table(RECORDS).map_err(redb::Error::from)?;
            let name = place.name();
            let old = rows.get(name.as_slice()).map_err(redb::Error::from)?.map(|row| row.value().to_vec());
            // What is replaced is opened first: a damaged record is reported, not papered over.
            let old = old.map(|row| sealed::open(&self.key, place, &row)).transpose()?.map(|(version, _)| version);
            let as_expected = match expected {
                Expected::Anything => true,
                Expected::Absent => old.is_none(),
                Expected::Version(version) => old == Some(version),
            };
            if !as_expected {
                return Err(RecordError::Changed);
            }
            let version = old.unwrap_or(0) + 1;
            let row = sealed::seal(&self.key, place, version, value, &*self.records.entropy);
            rows.insert(name.as_slice(), row.as_slice()).map_err(redb::Error::from)?;
            version
        };
        write.commit().map_err(redb::Error::from)?;
        Ok(version)
    }

    fn put_absent_now(&self, table: Table, records: &[Fresh]) -> Result<(), RecordError> {
        let write = self.records.store.begin_write()?;
        {
            let mut rows = write.open_table(RECORDS).map_err(redb::Error::from)?;
            for (key, value) in records {
                let place = Place { tenant: self.tenant, table, key };
                let name = place.name();
                if rows.get(name.as_slice()).map_err(redb::Error::from)?.is_none() {
                    let row = sealed::seal(&self.key, place, 1, value, &*self.records.entropy);
                    rows.insert(name.as_slice(), row.as_slice()).map_err(redb::Error::from)?;
                }
            }
        }
        write.commit().map_err(redb::Error::from)?;
        Ok(())
    }

    fn scan_now(&self, table: Table, after: Option<&[u8]>, limit: usize) -> Result<Vec<Record>, RecordError> {
        let prefix = Place { tenant: self.tenant, table, key: &[] }.name();
        let from = [prefix.as_slice(), after.unwrap_or_default()].concat();
        let read = self.records.store.begin_read()?;
        let rows = read.open_table(RECORDS).map_err(redb::Error::from)?;
        let mut found = Vec::new();
        for entry in rows.range(from.as_slice()..).map_err(redb::Error::from)? {
            let (name, row) = entry.map_err(redb::Error::from)?;
            let Some(key) = name.value().strip_prefix(prefix.as_slice()) else { break };
            if found.len() == limit {
                break;
            }
            if after != Some(key) {
                found.push(self.open(table, key, row.value())?);
            }
        }
        Ok(found)
    }

    fn read(&self, name: &[u8]) -> Result<Option<Vec<u8>>, redb::Error> {
        let read = self.records.store.begin_read()?;
        let rows = read.open_table(RECORDS)?;
        Ok(rows.get(name)?.map(|row| row.value().to_vec()))
    }

    fn open(&self, table: Table, key: &[u8], row: &[u8]) -> Result<Record, RecordError> {
        let (version, value) = sealed::open(&self.key, Place { tenant: self.tenant, table, key }, row)?;
        Ok(Record { key: key.to_vec(), value: Phi::new(value), version })
    }

    /// A failure in the file makes the next operation open it anew.
    fn noticing<T>(&self, outcome: Result<T, RecordError>) -> Result<T, RecordError> {
        if let Err(RecordError::Io { .. } | RecordError::NoSpace) = &outcome {
            self.records.store.suspect();
        }
        outcome
    }

    async fn blocking<T: Send + 'static>(
        &self,
        key: &[u8],
        work: impl FnOnce(&Self, Vec<u8>) -> Result<T, RecordError> + Send + 'static,
    ) -> Result<T, RecordError> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(RecordError::Limits);
        }
        let (this, key) = (self.clone(), key.to_vec());
        tokio::task::spawn_blocking(move || this.noticing(work(&this, key))).await?
    }
}

fn remove(store: &Store, name: &[u8]) -> Result<bool, redb::Error> {
    let write = store.begin_write()?;
    let removed = write.open_table(RECORDS)?.remove(name)?.is_some();
    write.commit()?;
    Ok(removed)
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Records")
    }
}

impl std::fmt::Debug for TenantRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantRecords").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// The longest key of a record, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// The most records in one scan.
pub const MAX_SCAN: usize = 1000;
