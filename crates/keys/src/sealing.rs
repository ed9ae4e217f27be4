//! Keys to seal under: the reserve of unused ones, and those in use.
//!
//! The reserve is what lets ingest go on while the key service restarts. Pure: times come in as parameters.
//! Source: the key design, "Service": up to 64 unused keys a tenant, at most 12 h old; a key in use stays until 30 min
//! after the last instance.

use crate::wire::{NewKey, Revocation, RevocationKind};
use leadglass_model::{KeyGen, KeyId, StudyRef, TenantId, UnixMillis};
use leadglass_seal::{IndexKey, MetaKey, StudyKey};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

/// A study key that this node seals under.
pub struct SealingKey {
    tenant: TenantId,
    key_id: KeyId,
    key_gen: KeyGen,
    study_ref: StudyRef,
    study_key: StudyKey,
    index_key: IndexKey,
    meta_key: MetaKey,
    created: UnixMillis,
}

impl SealingKey {
    pub(crate) fn new(tenant: TenantId, key: NewKey, created: UnixMillis) -> Self {
        Self {
            tenant,
            key_id: key.key_id,
            key_gen: key.key_gen,
            study_ref: key.study_ref,
            study_key: StudyKey::from_bytes(*key.key.expose()),
            index_key: IndexKey::from_bytes(*key.index_key.expose()),
            meta_key: MetaKey::from_bytes(*key.meta_key.expose()),
            created,
        }
    }

    /// Whose it is.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }
    /// Its name.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }
    /// Its generation.
    pub const fn key_gen(&self) -> KeyGen {
        self.key_gen
    }
    /// The study it seals.
    pub const fn study_ref(&self) -> StudyRef {
        self.study_ref
    }
    /// Seals pixels.
    pub const fn study_key(&self) -> &StudyKey {
        &self.study_key
    }
    /// Seals rows.
    pub const fn index_key(&self) -> &IndexKey {
        &self.index_key
    }
    /// Seals the DICOM-JSON of instances.
    pub const fn meta_key(&self) -> &MetaKey {
        &self.meta_key
    }

    /// The key service bound it to this study.
    pub(crate) const fn bound_to(mut self, study_ref: StudyRef) -> Self {
        self.study_ref = study_ref;
        self
    }

    /// As [`Self::bound_to`], while somebody still holds the first.
    pub(crate) fn bound_copy(&self, study_ref: StudyRef) -> Self {
        Self {
            tenant: self.tenant,
            key_id: self.key_id,
            key_gen: self.key_gen,
            study_ref,
            study_key: StudyKey::from_bytes(*self.study_key.reveal()),
            index_key: IndexKey::from_bytes(*self.index_key.reveal()),
            meta_key: MetaKey::from_bytes(*self.meta_key.reveal()),
            created: self.created,
        }
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey")
            .field("key_id", &self.key_id)
            .field("key_gen", &self.key_gen)
            .finish_non_exhaustive()
    }
}

/// Unused keys of one tenant, oldest first.
#[derive(Default)]
pub(crate) struct Reserve {
    unused: VecDeque<SealingKey>,
    /// No refill in the background before this.
    not_before: UnixMillis,
}

impl Reserve {
    /// The oldest key that is young enough.
    pub(crate) fn take(&mut self, now: UnixMillis) -> Option<SealingKey> {
        self.drop_old(now);
        self.unused.pop_front()
    }

    /// A key that was taken and surely not used.
    pub(crate) fn give_back(&mut self, key: SealingKey) {
        self.unused.push_front(key);
    }

    /// How many keys to ask for: none while enough young ones stand, else as many as fill it up. Keys that end within
    /// the hour count as gone, so that their successors come in time.
    pub(crate) fn wants(&self, now: UnixMillis) -> usize {
        let young = self.unused.iter().filter(|k| age_ms(k, now) < RENEW_AFTER_MS).count();
        if young >= REFILL_BELOW { 0 } else { RESERVE_SIZE - young }
    }

    /// Whether the background is to fill it up now.
    pub(crate) fn is_due(&self, now: UnixMillis) -> bool {
        now >= self.not_before && self.wants(now) > 0
    }

    /// A refill failed; the background waits a little.
    pub(crate) const fn refill_failed(&mut self, now: UnixMillis) {
        self.not_before = now.plus_secs(REFILL_PAUSE_S);
    }

    /// Takes new keys in; old ones make room.
    pub(crate) fn add(&mut self, keys: impl IntoIterator<Item = SealingKey>) {
        self.unused.extend(keys);
        while self.unused.len() > RESERVE_SIZE {
            self.unused.pop_front();
        }
    }

    pub(crate) fn drop_old(&mut self, now: UnixMillis) {
        self.unused.retain(|k| age_ms(k, now) < RESERVE_AGE_MS);
    }

    pub(crate) fn len(&self) -> usize {
        self.unused.len()
    }
}

fn age_ms(key: &SealingKey, now: UnixMillis) -> u64 {
    // A clock that went back proves nothing about the key's age.
    if now < key.created { u64::MAX } else { now.millis_since(key.created) }
}

struct InUse {
    key: Arc<SealingKey>,
    used: UnixMillis,
}

/// Keys in use, by study.
#[derive(Default)]
pub(crate) struct SealingKeys(HashMap<(TenantId, StudyRef), InUse>);

impl SealingKeys {
    /// The key that this node seals the study under.
    pub(crate) fn find(&mut self, tenant: TenantId, study: StudyRef, now: UnixMillis) -> Option<Arc<SealingKey>> {
        let in_use = self.0.get_mut(&(tenant, study)).filter(|k| !k.is_over(now))?;
        in_use.used = now;
        Some(in_use.key.clone())
    }

    /// A key is handed out for the first time.
    pub(crate) fn insert(&mut self, key: Arc<SealingKey>, now: UnixMillis) {
        if self.0.len() >= MAX_SEALING_KEYS {
            let oldest = self.0.iter().min_by_key(|(_, k)| (Arc::strong_count(&k.key) > 1, k.used)).map(|(at, _)| *at);
            oldest.and_then(|at| self.0.remove(&at));
        }
        self.0.insert((key.tenant, key.study_ref), InUse { key, used: now });
    }

    /// Nobody shall seal further instances under this key and reference.
    pub(crate) fn forget(&mut self, key: &SealingKey) {
        if self.0.get(&(key.tenant, key.study_ref)).is_some_and(|k| k.key.key_id == key.key_id) {
            self.0.remove(&(key.tenant, key.study_ref));
        }
    }

    /// Nobody shall seal further instances of the study under one of these keys.
    pub(crate) fn stop(&mut self, tenant: TenantId, study: StudyRef, keys: &BTreeSet<KeyId>) {
        if self.0.get(&(tenant, study)).is_some_and(|k| keys.contains(&k.key.key_id)) {
            self.0.remove(&(tenant, study));
        }
    }

    /// Drops what was not used for 30 min. A key that somebody holds is in use.
    pub(crate) fn sweep(&mut self, now: UnixMillis) {
        for in_use in self.0.values_mut().filter(|k| Arc::strong_count(&k.key) > 1) {
            in_use.used = now;
        }
        self.0.retain(|_, k| !k.is_over(now));
    }

    /// Nobody seals under a destroyed key. A restricted study may still be added to: storing is what restriction leaves.
    pub(crate) fn revoke(&mut self, revocation: &Revocation) {
        if revocation.kind == RevocationKind::Destroyed {
            self.0.retain(|(tenant, study), k| {
                *tenant != revocation.tenant
                    || !(revocation.study_refs.contains(study) || revocation.key_ids.contains(&k.key.key_id))
            });
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl InUse {
    fn is_over(&self, now: UnixMillis) -> bool {
        now.millis_since(self.used) >= SEALING_IDLE_MS || age_ms(&self.key, now) >= SEALING_AGE_MS
    }
}

/// Unused keys a tenant has at most.
pub const RESERVE_SIZE: usize = 64;
/// Below so many young keys the reserve is filled up.
const REFILL_BELOW: usize = 48;
/// The most studies that a node seals into at a time.
const MAX_SEALING_KEYS: usize = 4096;
/// So long after a failed refill the background tries again.
const REFILL_PAUSE_S: u64 = 5;
const HOUR_MS: u64 = 3_600_000;
const RESERVE_AGE_MS: u64 = 12 * HOUR_MS;
const RENEW_AFTER_MS: u64 = 11 * HOUR_MS;
const SEALING_IDLE_MS: u64 = HOUR_MS / 2;
/// The purpose `ingest` opens keys of the last 24 h only, so nobody seals under an older one.
const SEALING_AGE_MS: u64 = 24 * HOUR_MS;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::{Few, KeyBytes};

    const T0: UnixMillis = UnixMillis(1_000_000_000);
    const HOUR_S: u64 = 3600;
    const TENANT: TenantId = TenantId::from_bytes([9; 16]);

    fn key(n: u8, created: UnixMillis) -> SealingKey {
        let new = NewKey {
            key_id: KeyId::from_bytes([n; 16]),
            key_gen: KeyGen::FIRST,
            study_ref: StudyRef::from_bytes([n; 16]),
            key: KeyBytes::copy_of(&[1; 32]),
            index_key: KeyBytes::copy_of(&[2; 32]),
            meta_key: KeyBytes::copy_of(&[3; 32]),
            lease_s: 0,
        };
        SealingKey::new(TENANT, new, created)
    }

    #[test]
    fn a_reserve_key_of_twelve_hours_is_not_used() {
        let mut reserve = Reserve::default();
        reserve.add([key(1, T0), key(2, T0.plus_secs(HOUR_S))]);
        let taken = reserve.take(T0.plus_secs(12 * HOUR_S)).unwrap();
        assert_eq!(taken.key_id(), KeyId::from_bytes([2; 16]));
        assert!(reserve.take(T0.plus_secs(12 * HOUR_S)).is_none());
    }

    #[test]
    fn the_reserve_is_filled_up_before_it_runs_low_and_before_it_is_old() {
        let mut reserve = Reserve::default();
        assert_eq!(reserve.wants(T0), 64);
        reserve.add((0..64).map(|n| key(n, T0)));
        assert_eq!(reserve.wants(T0), 0);
        for _ in 0..16 {
            reserve.take(T0).unwrap();
        }
        assert_eq!(reserve.wants(T0), 0);
        reserve.take(T0).unwrap();
        assert_eq!(reserve.wants(T0), 17);
        assert_eq!(reserve.wants(T0.plus_secs(11 * HOUR_S)), 64);
        reserve.add((100..164).map(|n| key(n, T0.plus_secs(11 * HOUR_S))));
        assert_eq!(reserve.len(), RESERVE_SIZE);
        assert_eq!(reserve.take(T0.plus_secs(11 * HOUR_S)).unwrap().key_id(), KeyId::from_bytes([100; 16]));
    }

    #[test]
    fn a_sealing_key_stays_until_30_minutes_after_its_last_use() {
        let mut keys = SealingKeys::default();
        keys.insert(Arc::new(key(1, T0)), T0);
        let study = StudyRef::from_bytes([1; 16]);
        assert!(keys.find(TENANT, study, T0.plus_secs(1799)).is_some());
        keys.sweep(T0.plus_secs(1799 + 1799));
        assert!(keys.find(TENANT, study, T0.plus_secs(1799 + 1799)).is_some());
        assert!(keys.find(TENANT, study, T0.plus_secs(1799 + 1799 + 1800)).is_none());
        keys.sweep(T0.plus_secs(1799 + 1799 + 1800));
        assert_eq!(keys.len(), 0);
    }

    #[test]
    fn a_key_that_somebody_seals_with_is_in_use() {
        let mut keys = SealingKeys::default();
        let held = Arc::new(key(1, T0));
        keys.insert(held.clone(), T0);
        keys.sweep(T0.plus_secs(1799));
        keys.sweep(T0.plus_secs(2 * 1799));
        assert!(keys.find(TENANT, held.study_ref(), T0.plus_secs(2 * 1799)).is_some());
    }

    #[test]
    fn no_key_is_sealed_under_after_a_day() {
        let mut keys = SealingKeys::default();
        let held = Arc::new(key(1, T0));
        keys.insert(held.clone(), T0);
        for quarter in 1..=96 {
            assert!(keys.find(TENANT, held.study_ref(), T0.plus_secs(quarter * 900 - 1)).is_some(), "{quarter}");
        }
        assert!(keys.find(TENANT, held.study_ref(), T0.plus_secs(24 * HOUR_S)).is_none());
    }

    #[test]
    fn a_key_that_is_to_end_is_not_handed_out_again() {
        let mut keys = SealingKeys::default();
        let (old, study) = (key(1, T0), StudyRef::from_bytes([1; 16]));
        keys.insert(Arc::new(old), T0);
        keys.stop(TENANT, study, &BTreeSet::from([KeyId::from_bytes([2; 16])]));
        assert!(keys.find(TENANT, study, T0).is_some(), "another one is meant");
        keys.stop(TENANT, study, &BTreeSet::from([KeyId::from_bytes([1; 16])]));
        assert!(keys.find(TENANT, study, T0).is_none());
    }

    #[test]
    fn nobody_seals_under_a_destroyed_key_and_restriction_leaves_it() {
        let mut keys = SealingKeys::default();
        keys.insert(Arc::new(key(1, T0)), T0);
        let mut revocation = Revocation {
            kind: RevocationKind::Restricted,
            tenant: TENANT,
            study_refs: Few::default(),
            key_ids: Few::new(vec![KeyId::from_bytes([1; 16])]).unwrap(),
        };
        keys.revoke(&revocation);
        assert_eq!(keys.len(), 1);
        revocation.kind = RevocationKind::Destroyed;
        keys.revoke(&revocation);
        assert_eq!(keys.len(), 0);
    }
}
