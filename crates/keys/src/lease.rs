//! Leases: study keys that the vault holds for minutes.
//!
//! A lease ends 300 s after it was given, 60 s after its last use, when its study is destroyed or restricted, when the
//! vault has been blind for revocations for 60 s, or when 512 others are newer. Source: the key design, "Service".
//! Pure: times come in as parameters. What it drops is wiped with its last holder; holders watch [`ObjectLease::ended`].

use crate::wire::{KeyRefusal, Revocation, RevocationKind, Scope};
use leadglass_model::{KeyGen, KeyId, Purpose, StudyRef, TenantId, UnixMillis};
use leadglass_seal::{IndexKey, MetaKey, StudyKey};
use std::{collections::BTreeMap, sync::Arc};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// The keys of one study key, scope `object`, for one purpose, until [`ObjectLease::expires`] at the latest.
///
/// Whoever holds one across an `.await` looks at [`ObjectLease::is_ended`] before each chunk it opens, or waits for
/// [`ObjectLease::ended`] beside its work, and lets go then.
pub struct ObjectLease {
    pub(crate) key_id: KeyId,
    pub(crate) key_gen: KeyGen,
    pub(crate) tenant: TenantId,
    pub(crate) study_ref: StudyRef,
    pub(crate) purpose: Purpose,
    pub(crate) study_key: StudyKey,
    pub(crate) index_key: IndexKey,
    pub(crate) meta_key: MetaKey,
    pub(crate) acquired: UnixMillis,
    pub(crate) expires: UnixMillis,
    pub(crate) end: CancellationToken,
}

impl ObjectLease {
    /// Name of the study key.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }
    /// Its generation.
    pub const fn key_gen(&self) -> KeyGen {
        self.key_gen
    }
    /// Whose it is.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }
    /// The study it seals.
    pub const fn study_ref(&self) -> StudyRef {
        self.study_ref
    }
    /// What it was opened for.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }
    /// Opens pixels.
    pub const fn study_key(&self) -> &StudyKey {
        &self.study_key
    }
    /// Opens rows.
    pub const fn index_key(&self) -> &IndexKey {
        &self.index_key
    }
    /// Opens the DICOM-JSON of instances.
    pub const fn meta_key(&self) -> &MetaKey {
        &self.meta_key
    }
    /// The latest end.
    pub const fn expires(&self) -> UnixMillis {
        self.expires
    }
    /// Whether it is over.
    pub fn is_ended(&self) -> bool {
        self.end.is_cancelled()
    }
    /// A token that is cancelled when it is over, for what must not outlive it and does not hold it.
    pub fn watch(&self) -> CancellationToken {
        self.end.child_token()
    }
    /// Waits until it is over. Cancel safety: yes.
    pub fn ended(&self) -> WaitForCancellationFuture<'_> {
        self.end.cancelled()
    }
}

impl std::fmt::Debug for ObjectLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectLease")
            .field("key_id", &self.key_id)
            .field("key_gen", &self.key_gen)
            .finish_non_exhaustive()
    }
}

/// What a lease is found by. The generation stands last: a look-up takes the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct LeaseKey {
    key_id: KeyId,
    tenant: TenantId,
    purpose: Purpose,
    scope: Scope,
    key_gen: KeyGen,
}

struct Held {
    lease: Arc<ObjectLease>,
    used: UnixMillis,
    /// Order of use, also within a millisecond.
    turn: u64,
}

/// The leases of this node.
#[derive(Default)]
pub(crate) struct Leases {
    held: BTreeMap<LeaseKey, Held>,
    turns: u64,
    /// When the revocation stream last gave a sign of life.
    heard: Option<UnixMillis>,
}

impl Leases {
    /// The lease, if one stands.
    pub(crate) fn find(
        &mut self,
        tenant: TenantId,
        key_id: KeyId,
        purpose: Purpose,
        now: UnixMillis,
    ) -> Option<Arc<ObjectLease>> {
        let at = |key_gen| LeaseKey { key_id, tenant, purpose, scope: Scope::Object, key_gen };
        let range = at(KeyGen::FIRST)..=at(KeyGen::new(u32::MAX)?);
        let key = *self.held.range(range).next_back()?.0;
        self.turns += 1;
        let (turn, heard) = (self.turns, self.heard);
        let held = self.held.get_mut(&key)?;
        if is_held(held) {
            held.used = now;
        }
        if is_over(held, heard, now) {
            self.end(key);
            return None;
        }
        held.used = now;
        held.turn = turn;
        Some(held.lease.clone())
    }

    /// Takes a lease in. When too many stand, one goes that nobody is reading with, the longest unused first.
    pub(crate) fn insert(&mut self, lease: Arc<ObjectLease>, now: UnixMillis) {
        let key = LeaseKey {
            key_id: lease.key_id,
            tenant: lease.tenant,
            purpose: lease.purpose,
            scope: Scope::Object,
            key_gen: lease.key_gen,
        };
        self.end(key);
        while self.held.len() >= MAX_LEASES {
            let idle = self.held.iter().filter(|(_, h)| !is_held(h)).min_by_key(|(_, h)| h.turn);
            let oldest = idle.or_else(|| self.held.iter().min_by_key(|(_, h)| h.turn));
            match oldest.map(|(key, _)| *key) {
                Some(key) => self.end(key),
                None => break,
            }
        }
        self.turns += 1;
        self.held.insert(key, Held { lease, used: now, turn: self.turns });
    }

    /// Ends what is over. A lease that somebody holds is in use.
    pub(crate) fn sweep(&mut self, now: UnixMillis) {
        let heard = self.heard;
        for held in self.held.values_mut().filter(|h| is_held(h)) {
            held.used = now;
        }
        self.end_where(|held| is_over(held, heard, now));
    }

    /// Ends the leases that a revocation names, at once.
    pub(crate) fn revoke(&mut self, revocation: &Revocation) {
        self.end_where(|held| refusal_by(revocation, &held.lease).is_some());
    }

    /// Ends every lease.
    pub(crate) fn clear(&mut self) {
        self.end_where(|_| true);
    }

    /// The revocation stream gave a sign of life.
    pub(crate) const fn heard(&mut self, now: UnixMillis) {
        self.heard = Some(now);
    }

    /// When it last did.
    pub(crate) const fn last_heard(&self) -> Option<UnixMillis> {
        self.heard
    }

    /// Whether revocations are heard.
    pub(crate) fn hears(heard: Option<UnixMillis>, now: UnixMillis) -> bool {
        heard.is_some_and(|heard| now.millis_since(heard) < BLIND_MS)
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    fn end(&mut self, key: LeaseKey) {
        if let Some(held) = self.held.remove(&key) {
            held.lease.end.cancel();
        }
    }

    fn end_where(&mut self, over: impl Fn(&Held) -> bool) {
        self.held.retain(|_, held| {
            let over = over(held);
            if over {
                held.lease.end.cancel();
            }
            !over
        });
    }
}

/// What a revocation makes of a lease.
pub(crate) fn refusal_by(revocation: &Revocation, lease: &ObjectLease) -> Option<KeyRefusal> {
    let named = revocation.tenant == lease.tenant
        && (revocation.study_refs.contains(&lease.study_ref) || revocation.key_ids.contains(&lease.key_id));
    match revocation.kind {
        RevocationKind::Destroyed if named => Some(KeyRefusal::Destroyed),
        RevocationKind::Restricted if named && !opens_restricted(lease.purpose) => Some(KeyRefusal::Restricted),
        _ => None,
    }
}

/// The purposes that a restricted study still opens for (GDPR Art. 18(2)).
pub(crate) const fn opens_restricted(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::SubjectRequest | Purpose::LegalClaim | Purpose::StorageCheck)
}

fn is_held(held: &Held) -> bool {
    Arc::strong_count(&held.lease) > 1
}

fn is_over(held: &Held, heard: Option<UnixMillis>, now: UnixMillis) -> bool {
    let lease = &held.lease;
    let seeing = heard.map_or(lease.acquired, |heard| heard.max(lease.acquired));
    now >= lease.expires
        // A clock that went back proves nothing about the lease's age.
        || now < lease.acquired
        || now.millis_since(held.used) >= IDLE_MS
        || now.millis_since(seeing) >= BLIND_MS
}

/// The most leases a node holds.
pub const MAX_LEASES: usize = 512;
/// The longest life of a lease, in seconds, whatever the service grants.
pub const LEASE_S: u64 = 300;
const IDLE_MS: u64 = 60_000;
/// So long without the revocation stream, and leases go, in milliseconds.
const BLIND_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Few;

    const TENANT: TenantId = TenantId::from_bytes([9; 16]);

    fn key(n: u16) -> KeyId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        KeyId::from_bytes(bytes)
    }

    fn lease(n: u16, purpose: Purpose, now: UnixMillis) -> Arc<ObjectLease> {
        Arc::new(ObjectLease {
            key_id: key(n),
            key_gen: KeyGen::FIRST,
            tenant: TENANT,
            study_ref: StudyRef::from_bytes(*key(n).as_bytes()),
            purpose,
            study_key: StudyKey::from_bytes([1; 32]),
            index_key: IndexKey::from_bytes([2; 32]),
            meta_key: MetaKey::from_bytes([3; 32]),
            acquired: now,
            expires: now.plus_secs(LEASE_S),
            end: CancellationToken::new(),
        })
    }

    const T0: UnixMillis = UnixMillis(1_000_000_000);

    fn find(leases: &mut Leases, n: u16, now: UnixMillis) -> bool {
        leases.find(TENANT, key(n), Purpose::Care, now).is_some()
    }

    #[test]
    fn a_lease_that_is_used_all_the_time_ends_after_300_seconds() {
        let mut leases = Leases::default();
        leases.insert(lease(1, Purpose::Care, T0), T0);
        for s in (0..300).step_by(30) {
            leases.heard(T0.plus_secs(s));
            assert!(find(&mut leases, 1, T0.plus_secs(s)), "after {s} s");
        }
        leases.heard(T0.plus_secs(299));
        assert!(find(&mut leases, 1, T0.plus_secs(299)));
        assert!(!find(&mut leases, 1, T0.plus_secs(300)));
        assert_eq!(leases.len(), 0);
    }

    #[test]
    fn an_unused_lease_ends_after_60_seconds_and_says_so_to_no_one_else() {
        let mut leases = Leases::default();
        let (first, second) = (lease(1, Purpose::Care, T0), lease(2, Purpose::Care, T0));
        leases.insert(first.clone(), T0);
        leases.insert(second.clone(), T0);
        drop(first);
        leases.heard(T0.plus_secs(60));
        leases.sweep(T0.plus_secs(60));
        // The second is held by a reader, so it is in use.
        assert!(!find(&mut leases, 1, T0.plus_secs(60)));
        assert!(find(&mut leases, 2, T0.plus_secs(60)));
        assert!(!second.is_ended());
    }

    #[test]
    fn a_held_lease_learns_of_its_end() {
        let mut leases = Leases::default();
        let held = lease(1, Purpose::Care, T0);
        leases.insert(held.clone(), T0);
        leases.heard(T0.plus_secs(300));
        leases.sweep(T0.plus_secs(300));
        assert!(held.is_ended());
    }

    #[test]
    fn the_513th_lease_ends_the_one_that_was_longest_unused() {
        let mut leases = Leases::default();
        for n in 0..512 {
            leases.insert(lease(n, Purpose::Care, T0), T0);
        }
        assert!(find(&mut leases, 0, T0));
        leases.insert(lease(512, Purpose::Care, T0), T0);
        assert_eq!(leases.len(), MAX_LEASES);
        assert!(find(&mut leases, 0, T0));
        assert!(!find(&mut leases, 1, T0));
    }

    #[test]
    fn without_the_revocation_stream_leases_end_after_60_seconds() {
        let mut leases = Leases::default();
        leases.heard(T0);
        leases.insert(lease(1, Purpose::Care, T0.plus_secs(20)), T0.plus_secs(20));
        assert!(find(&mut leases, 1, T0.plus_secs(79)));
        assert!(!find(&mut leases, 1, T0.plus_secs(80)));
    }

    #[test]
    fn a_lease_for_one_purpose_is_none_for_another() {
        let mut leases = Leases::default();
        leases.insert(lease(1, Purpose::LegalClaim, T0), T0);
        assert!(!find(&mut leases, 1, T0));
    }

    #[test]
    fn restriction_ends_care_and_leaves_the_exceptions() {
        let mut leases = Leases::default();
        for purpose in Purpose::ALL {
            leases.insert(lease(1, purpose, T0), T0);
        }
        let mut revocation = Revocation {
            kind: RevocationKind::Restricted,
            tenant: TENANT,
            study_refs: Few::new(vec![StudyRef::from_bytes(*key(1).as_bytes())]).unwrap(),
            key_ids: Few::default(),
        };
        leases.revoke(&revocation);
        for purpose in Purpose::ALL {
            assert_eq!(leases.find(TENANT, key(1), purpose, T0).is_some(), opens_restricted(purpose), "{purpose}");
        }
        revocation.kind = RevocationKind::Destroyed;
        leases.revoke(&revocation);
        assert_eq!(leases.len(), 0);
    }

    #[test]
    fn the_same_references_of_another_tenant_are_left_alone() {
        let mut leases = Leases::default();
        leases.insert(lease(1, Purpose::Care, T0), T0);
        leases.revoke(&Revocation {
            kind: RevocationKind::Destroyed,
            tenant: TenantId::from_bytes([8; 16]),
            study_refs: Few::default(),
            key_ids: Few::new(vec![key(1)]).unwrap(),
        });
        assert!(find(&mut leases, 1, T0));
    }

    #[test]
    fn a_clock_that_went_back_ends_the_lease() {
        let mut leases = Leases::default();
        leases.insert(lease(1, Purpose::Care, T0), T0);
        assert!(!find(&mut leases, 1, UnixMillis(T0.0 - 1)));
    }
}
