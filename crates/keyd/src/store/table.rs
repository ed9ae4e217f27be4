//! The tables of the key database. Keys and values are bytes; `row.rs` and its neighbours say which.

use redb::TableDefinition;

/// One table. Its number stands in backups and mirrors and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Table {
    /// name → value: keyring sequence, keyring id, format.
    Meta = 1,
    /// key id → [`super::KeyRow`].
    Keys = 2,
    /// tenant ‖ study_ref ‖ key id → nothing: the keys of a study.
    ByStudy = 3,
    /// shard id ‖ key id → nothing: what a shard's re-keying has to visit.
    ByShard = 4,
    /// tenant ‖ study_ref → [`super::Restriction`].
    Restricted = 5,
    /// key id → [`super::Tombstone`]: random ids only; replayed over every restored backup.
    Tombstones = 6,
    /// sequence u64 → [`super::RevocationRow`]: what nodes must drop.
    Revocations = 7,
    /// receipt id → signed receipt, JSON.
    Receipts = 8,
    /// approval id → approval, JSON.
    Approvals = 9,
    /// who → suspension, JSON.
    Suspensions = 10,
    /// time u64 ‖ counter u32 → one study counted against budgets.
    Counted = 11,
    /// log origin → last checkpoint that was co-signed.
    Witness = 12,
    /// maintenance job → cursor.
    Jobs = 13,
    /// tenant ‖ key id → nothing: the order of the index stream.
    ByTenant = 14,
    /// person's id → [`super::PersonRow`]: whose passkeys approve.
    People = 15,
}

impl Table {
    /// Every table, in the order of a dump.
    pub const ALL: [Self; 15] = [
        Self::Meta,
        Self::Keys,
        Self::ByStudy,
        Self::ByShard,
        Self::Restricted,
        Self::Tombstones,
        Self::Revocations,
        Self::Receipts,
        Self::Approvals,
        Self::Suspensions,
        Self::Counted,
        Self::Witness,
        Self::Jobs,
        Self::ByTenant,
        Self::People,
    ];

    /// The table with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|t| *t as u8 == number)
    }

    pub(super) const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(match self {
            Self::Meta => "meta",
            Self::Keys => "keys",
            Self::ByStudy => "by-study",
            Self::ByShard => "by-shard",
            Self::Restricted => "restricted",
            Self::Tombstones => "tombstones",
            Self::Revocations => "revocations",
            Self::Receipts => "receipts",
            Self::Approvals => "approvals",
            Self::Suspensions => "suspensions",
            Self::Counted => "counted",
            Self::Witness => "witness",
            Self::Jobs => "jobs",
            Self::ByTenant => "by-tenant",
            Self::People => "people",
        })
    }
}
