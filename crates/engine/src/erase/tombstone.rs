//! What stays of an erased study, or of a part of one: that it must not come back unnoticed.
//!
//! The keyed token of its UID lies sealed with the tenant's records, in table `Cases` under `tombstone:`, for
//! 90 days. Whatever names it within that time goes into quarantine, where a person decides. In memory also: studies that
//! are being erased, into which nothing is committed any more.

use super::ErasureRules;
use crate::{Shared, subject::Subjects};
use leadglass_model::{KeyId, SeriesUid, SopInstanceUid, StudyRef, StudyUid, TenantId, UnixMillis};
use leadglass_records::{Expected, RecordError, Table, TenantRecords};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeSet, HashMap, HashSet};
use zeroize::Zeroizing;

/// What is being erased, the tokens of what was, and whose turn it is.
#[derive(Default)]
pub(crate) struct Erased {
    ending: tokio::sync::RwLock<Ending>,
    tokens: RwLock<HashMap<(TenantId, [u8; 16]), UnixMillis>>,
    /// One order at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) rules: Mutex<ErasureRules>,
}

/// What nothing is committed into or under any more.
#[derive(Default)]
struct Ending {
    studies: HashSet<(TenantId, StudyRef)>,
    /// Of studies of which a part goes.
    keys: HashSet<KeyId>,
    /// Tokens of the series and instances that go.
    parts: HashSet<(TenantId, [u8; 16])>,
}

impl StillThere<'_> {
    /// Whether what has one of these tokens goes.
    pub(crate) fn goes(&self, tenant: TenantId, tokens: [Option<[u8; 16]>; 2]) -> bool {
        let parts = &self.0.parts;
        !parts.is_empty() && tokens.into_iter().flatten().any(|token| parts.contains(&(tenant, token)))
    }
}

/// As long as it is held, nobody begins to erase the study, or what lies under the key.
pub(crate) struct StillThere<'a>(tokio::sync::RwLockReadGuard<'a, Ending>);

/// As long as it is held, nothing is committed by whoever arrives.
pub(crate) struct Still<'a>(tokio::sync::RwLockWriteGuard<'a, Ending>);

impl Still<'_> {
    /// Whether the study is being erased, or what lies under the key.
    pub(crate) fn ends(&self, tenant: TenantId, study: StudyRef, key: KeyId) -> bool {
        self.0.has(tenant, study, key)
    }
}

impl Ending {
    fn has(&self, tenant: TenantId, study: StudyRef, key: KeyId) -> bool {
        self.studies.contains(&(tenant, study)) || self.keys.contains(&key)
    }
}

impl Erased {
    /// The right to commit something into a study under a key; `None` when either is being erased.
    pub(crate) async fn still_there(&self, tenant: TenantId, study: StudyRef, key: KeyId) -> Option<StillThere<'_>> {
        let ending = self.ending.read().await;
        (!ending.has(tenant, study, key)).then_some(StillThere(ending))
    }

    /// Nothing is committed into these studies after this answers.
    pub(super) async fn close(&self, tenant: TenantId, studies: &[StudyRef]) {
        self.ending.write().await.studies.extend(studies.iter().map(|study| (tenant, *study)));
    }

    /// A study that was closed takes in again.
    pub(super) async fn open(&self, tenant: TenantId, study: StudyRef) {
        self.ending.write().await.studies.remove(&(tenant, study));
    }

    /// Nothing that has one of these tokens is committed into a study after this answers; what names one goes into quarantine.
    pub(super) async fn close_parts(&self, tenant: TenantId, tokens: &[[u8; 16]], until: UnixMillis) {
        let mut ending = self.ending.write().await;
        ending.parts.extend(tokens.iter().map(|token| (tenant, *token)));
        let mut known = self.tokens.write();
        for token in tokens {
            known.entry((tenant, *token)).or_insert(until);
        }
    }

    /// What had these tokens is gone.
    pub(super) async fn end_parts(&self, tenant: TenantId, tokens: &[[u8; 16]]) {
        let mut ending = self.ending.write().await;
        for token in tokens {
            ending.parts.remove(&(tenant, *token));
        }
    }

    /// What had these tokens was not erased after all. Those that stand in the records are dug up one by one.
    pub(super) fn forget_tokens(&self, tenant: TenantId, tokens: &[[u8; 16]]) {
        self.tokens.write().retain(|(of, token), _| *of != tenant || !tokens.contains(token));
    }

    /// These keys do not end after all.
    pub(super) async fn open_keys(&self, keys: &BTreeSet<KeyId>) {
        self.ending.write().await.keys.retain(|key| !keys.contains(key));
    }

    /// Whether what has one of these tokens goes at this moment.
    pub(crate) async fn is_ending(&self, tenant: TenantId, tokens: [Option<[u8; 16]>; 2]) -> bool {
        let ending = self.ending.read().await;
        tokens.into_iter().flatten().any(|token| ending.parts.contains(&(tenant, token)))
    }

    /// Nothing is committed under these keys after this answers.
    pub(super) async fn close_keys(&self, keys: &BTreeSet<KeyId>) {
        self.ending.write().await.keys.extend(keys);
    }

    /// Waits for the commits that have begun; none begins before this is dropped.
    pub(crate) async fn hold_still(&self) -> Still<'_> {
        Still(self.ending.write().await)
    }
}

impl Shared {
    pub(super) fn records(&self, tenant: TenantId) -> Option<&TenantRecords> {
        self.subjects.get(&tenant).map(Subjects::records)
    }

    /// Whether a study of this UID was erased lately.
    pub(crate) fn was_erased(&self, tenant: TenantId, uid: &StudyUid) -> bool {
        self.is_buried(tenant, || self.uid_token(tenant, uid))
    }

    /// Whether this instance, or its whole series, was erased lately.
    pub(crate) fn was_part_erased(
        &self,
        tenant: TenantId,
        series: Option<&SeriesUid>,
        instance: &SopInstanceUid,
    ) -> bool {
        self.is_buried(tenant, || self.instance_token(tenant, instance))
            || series.is_some_and(|series| self.is_buried(tenant, || self.series_token(tenant, series)))
    }

    fn is_buried(&self, tenant: TenantId, token: impl FnOnce() -> Option<[u8; 16]>) -> bool {
        if self.erased.tokens.read().is_empty() {
            return false;
        }
        let Some(token) = token() else { return false };
        let now = self.clock.now();
        self.erased.tokens.read().get(&(tenant, token)).is_some_and(|until| now < *until)
    }

    /// The keyed token of a Study Instance UID: what stands in row keys, too.
    pub(crate) fn uid_token(&self, tenant: TenantId, uid: &StudyUid) -> Option<[u8; 16]> {
        Some(self.catalog.study_key(tenant, NO_STUDY, uid)?.uid_mac)
    }

    /// As [`Self::uid_token`], of a Series Instance UID.
    pub(crate) fn series_token(&self, tenant: TenantId, uid: &SeriesUid) -> Option<[u8; 16]> {
        Some(self.catalog.series_key(tenant, NO_STUDY, uid)?.uid_mac)
    }

    /// As [`Self::uid_token`], of a SOP Instance UID.
    pub(crate) fn instance_token(&self, tenant: TenantId, uid: &SopInstanceUid) -> Option<[u8; 16]> {
        Some(self.catalog.instance_key(tenant, NO_STUDY, uid)?.uid_mac)
    }

    /// A person let the study come back.
    pub(crate) async fn let_come_back(&self, tenant: TenantId, uid: &StudyUid) -> Result<(), RecordError> {
        self.dig_up(tenant, self.uid_token(tenant, uid)).await
    }

    /// A person let the instance come back, and so the series that it is of.
    pub(crate) async fn let_part_come_back(
        &self,
        tenant: TenantId,
        series: &SeriesUid,
        instance: &SopInstanceUid,
    ) -> Result<(), RecordError> {
        self.dig_up(tenant, self.instance_token(tenant, instance)).await?;
        self.dig_up(tenant, self.series_token(tenant, series)).await
    }

    pub(super) async fn dig_up(&self, tenant: TenantId, token: Option<[u8; 16]>) -> Result<(), RecordError> {
        let (Some(token), Some(records)) = (token, self.records(tenant)) else { return Ok(()) };
        if self.erased.tokens.write().remove(&(tenant, token)).is_some() {
            records.delete(Table::Cases, &name(token)).await?;
        }
        Ok(())
    }

    pub(super) async fn bury(&self, tenant: TenantId, token: [u8; 16]) -> Result<(), RecordError> {
        let until = self.clock.now().plus_secs(REMEMBERED_S);
        if let Some(records) = self.records(tenant) {
            let value = Zeroizing::new(until.0.to_be_bytes().to_vec());
            records.put(Table::Cases, &name(token), value, Expected::Anything).await?;
        }
        self.erased.tokens.write().insert((tenant, token), until);
        Ok(())
    }

    /// Reads what stands in the records, and removes what is over; at start.
    pub(crate) async fn load_tombstones(&self) -> Result<(), RecordError> {
        for tenant in &self.tenants {
            let Some(records) = self.records(*tenant) else { continue };
            for (key, value) in scan(records, PREFIX).await? {
                let token = key[PREFIX.len()..].try_into();
                let until = value.as_slice().try_into().map(u64::from_be_bytes).map(UnixMillis);
                let (Ok(token), Ok(until)) = (token, until) else { continue };
                if self.clock.now() < until {
                    self.erased.tokens.write().insert((*tenant, token), until);
                } else {
                    records.delete(Table::Cases, &key).await?;
                }
            }
        }
        Ok(())
    }
}

/// Every record of table `Cases` whose name starts so.
pub(crate) async fn scan(
    records: &TenantRecords,
    prefix: &[u8],
) -> Result<Vec<(Vec<u8>, Zeroizing<Vec<u8>>)>, RecordError> {
    let mut found = Vec::new();
    let mut after = prefix.to_vec();
    loop {
        let page = records.scan(Table::Cases, Some(&after), PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after.clone_from(&last.key);
        for record in page {
            if !record.key.starts_with(prefix) {
                return Ok(found);
            }
            found.push((record.key, Zeroizing::new(record.value.expose().to_vec())));
        }
    }
}

fn name(token: [u8; 16]) -> Vec<u8> {
    [PREFIX, &token].concat()
}

/// Tokens do not depend on the study.
const NO_STUDY: StudyRef = StudyRef::from_bytes([0; 16]);
const PREFIX: &[u8] = b"tombstone:";
const PAGE: usize = 256;
/// 90 days.
pub(super) const REMEMBERED_S: u64 = 90 * 24 * 3600;
