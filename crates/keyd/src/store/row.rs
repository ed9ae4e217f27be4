//! Rows of the key database. Random names only: no row says anything about a patient, and no row holds a key in clear.

use leadglass_model::{KeyGen, KeyId, StudyRef, TenantId, UnixMillis};
use leadglass_seal::WRAP_LEN;
use minicbor::{Decode, Encode};

/// One study key. Its id is the row's name.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct KeyRow {
    /// Generation of the key.
    #[n(0)]
    pub generation: KeyGen,
    /// Whose.
    #[n(1)]
    pub tenant: TenantId,
    /// The study it seals.
    #[n(2)]
    pub study_ref: StudyRef,
    /// The shard key it hangs on.
    #[n(3)]
    pub shard: KeyId,
    /// Which version of that shard key.
    #[n(4)]
    pub shard_version: KeyGen,
    /// How far its life went.
    #[n(5)]
    pub state: KeyState,
    /// Milliseconds since 1970.
    #[n(6)]
    pub created_at_ms: u64,
    /// Whether `bind` may still name another study: only until the first unwrap.
    #[n(7)]
    pub binding: Binding,
    /// The SVK1 wrap; empty once the key is destroyed.
    #[n(8)]
    #[cbor(with = "minicbor::bytes")]
    pub wrap: Vec<u8>,
}

/// How far a key's life went. It only goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum KeyState {
    /// In use.
    #[n(0)]
    Live,
    /// Ordered to be destroyed; opens no more.
    #[n(1)]
    Destroying,
    /// The wrap is gone.
    #[n(2)]
    Destroyed,
}

/// Whether a key's study is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Binding {
    /// Made with a StudyRef of its own, which `bind` may replace once.
    #[n(0)]
    Open,
    /// Settled: by `create`, by `bind`, or by the first unwrap.
    #[n(1)]
    Settled,
}

/// A study under restriction (GDPR Art. 18).
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct Restriction {
    /// The order that asked for it.
    #[n(0)]
    pub order: String,
    /// Since when, milliseconds since 1970.
    #[n(1)]
    pub at_ms: u64,
}

/// What stays of a destroyed key: that it was, and by which order.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct Tombstone {
    /// Whose.
    #[n(0)]
    pub tenant: TenantId,
    /// Which study.
    #[n(1)]
    pub study_ref: StudyRef,
    /// The order.
    #[n(2)]
    pub order: String,
    /// When, milliseconds since 1970.
    #[n(3)]
    pub at_ms: u64,
}

/// Studies counted against budgets by one call, kept so that a restart does not open the window again.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct CountedRow {
    /// The counters, as `budget` names them.
    #[n(0)]
    pub counters: Vec<String>,
    /// Which studies.
    #[n(1)]
    pub studies: Vec<StudyRef>,
    /// When, milliseconds since 1970.
    #[n(2)]
    pub at_ms: u64,
    /// Whether they were given out, or refused.
    #[n(3)]
    pub granted: bool,
}

impl KeyRow {
    /// When it was made.
    pub const fn created_at(&self) -> UnixMillis {
        UnixMillis(self.created_at_ms)
    }

    /// The wrap, if the row still has one.
    pub fn wrap(&self) -> Option<&[u8; WRAP_LEN]> {
        self.wrap.as_slice().try_into().ok()
    }
}

/// The name of a row in [`super::Table::ByStudy`].
pub fn by_study(tenant: TenantId, study: StudyRef, key: KeyId) -> [u8; 48] {
    let mut name = [0; 48];
    name[..16].copy_from_slice(tenant.as_bytes());
    name[16..32].copy_from_slice(study.as_bytes());
    name[32..].copy_from_slice(key.as_bytes());
    name
}

/// The name of a row in [`super::Table::Restricted`], and the prefix of a study's rows in [`super::Table::ByStudy`].
pub fn study_name(tenant: TenantId, study: StudyRef) -> [u8; 32] {
    let mut name = [0; 32];
    name[..16].copy_from_slice(tenant.as_bytes());
    name[16..].copy_from_slice(study.as_bytes());
    name
}

/// The name of a row in [`super::Table::ByTenant`].
pub fn by_tenant(tenant: TenantId, key: KeyId) -> [u8; 32] {
    let mut name = [0; 32];
    name[..16].copy_from_slice(tenant.as_bytes());
    name[16..].copy_from_slice(key.as_bytes());
    name
}

/// The name of a row in [`super::Table::ByShard`].
pub fn by_shard(shard: KeyId, key: KeyId) -> [u8; 32] {
    let mut name = [0; 32];
    name[..16].copy_from_slice(shard.as_bytes());
    name[16..].copy_from_slice(key.as_bytes());
    name
}
