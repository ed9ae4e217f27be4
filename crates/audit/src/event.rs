//! What happened.
//!
//! The DICOM codes are those of PS3.15 §A.5.3 (PS3.16 CID 400). Codes of our own start at 1,000,001, above every DCM code.

/// An auditable event. Codes are part of the log's bytes: they are never renumbered and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Event {
    /// A program started or stopped (DCM 110100).
    ApplicationActivity,
    /// Somebody read the audit log (DCM 110101).
    AuditLogUsed,
    /// A transfer of instances began (DCM 110102).
    BeginTransferring,
    /// A study was opened, or an opening was refused (DCM 110103). One entry a lease.
    InstancesAccessed,
    /// Instances came in or went out (DCM 110104).
    InstancesTransferred,
    /// A study was deleted (DCM 110105).
    StudyDeleted,
    /// Data left the system (DCM 110106).
    Export,
    /// Data came in from a medium (DCM 110107).
    Import,
    /// A node joined or left the network (DCM 110108).
    NetworkEntry,
    /// An order was changed (DCM 110109).
    OrderRecord,
    /// A patient record was changed (DCM 110110).
    PatientRecord,
    /// A procedure record was changed (DCM 110111).
    ProcedureRecord,
    /// A search (DCM 110112).
    Query,
    /// A security alert without a code of its own (DCM 110113).
    SecurityAlert,
    /// Somebody logged in or out, or failed to (DCM 110114).
    UserAuthentication,
    /// The end of a lease: counts of what was read.
    LeaseEnded,
    /// Study keys were created.
    KeyCreated,
    /// A reserve key was bound to a study.
    KeyBound,
    /// Study keys were given out or refused.
    KeyUnwrapped,
    /// Study keys were destroyed.
    KeyDestroyed,
    /// Studies were restricted (GDPR Art. 18).
    KeyRestricted,
    /// A restriction was lifted.
    KeyUnrestricted,
    /// The index keys of a tenant were given out.
    IndexKeysRead,
    /// A secret of a tenant was given out.
    SecretRead,
    /// KEKs or shard keys were rotated.
    KeyRotated,
    /// The erasure epoch moved on.
    EpochAdvanced,
    /// The key service was unsealed, or an attempt failed.
    Unsealed,
    /// Keys were written to an escrow file.
    KeyEscrowed,
    /// An approval was given, used or withdrawn.
    Approval,
    /// A budget was exceeded.
    BudgetHit,
    /// An actor was suspended or let in again.
    Suspension,
    /// Bytes at rest were not what was written.
    IntegrityAlarm,
    /// The logs of vault and key service do not agree, or a fork was refused.
    LogAlarm,
    /// An instance went into quarantine.
    Quarantined,
    /// A decision on a quarantined instance.
    QuarantineDecision,
    /// Break-glass: opened or reviewed.
    BreakGlass,
    /// An erasure was ordered, refused or done.
    Erasure,
    /// A retention rule was changed.
    RetentionChange,
    /// A role or token was granted or taken away.
    GrantChange,
    /// A device or client was enrolled or revoked.
    EnrolmentChange,
    /// A tenant was added or changed.
    TenantChange,
    /// The configuration changed.
    ConfigChange,
    /// A backup was written.
    Backup,
    /// A restore, or the replay of its tombstones.
    Restore,
    /// The log was begun anew after a restore; names the old head.
    LogReset,
    /// The clock jumped.
    ClockStep,
    /// The index was rebuilt from the objects.
    Reindex,
    /// Objects were checked in their store.
    StorageCheck,
}

impl Event {
    /// Every event, by code ascending.
    pub const ALL: [Self; 48] = [
        Self::ApplicationActivity,
        Self::AuditLogUsed,
        Self::BeginTransferring,
        Self::InstancesAccessed,
        Self::InstancesTransferred,
        Self::StudyDeleted,
        Self::Export,
        Self::Import,
        Self::NetworkEntry,
        Self::OrderRecord,
        Self::PatientRecord,
        Self::ProcedureRecord,
        Self::Query,
        Self::SecurityAlert,
        Self::UserAuthentication,
        Self::LeaseEnded,
        Self::KeyCreated,
        Self::KeyBound,
        Self::KeyUnwrapped,
        Self::KeyDestroyed,
        Self::KeyRestricted,
        Self::KeyUnrestricted,
        Self::IndexKeysRead,
        Self::SecretRead,
        Self::KeyRotated,
        Self::EpochAdvanced,
        Self::Unsealed,
        Self::KeyEscrowed,
        Self::Approval,
        Self::BudgetHit,
        Self::Suspension,
        Self::IntegrityAlarm,
        Self::LogAlarm,
        Self::Quarantined,
        Self::QuarantineDecision,
        Self::BreakGlass,
        Self::Erasure,
        Self::RetentionChange,
        Self::GrantChange,
        Self::EnrolmentChange,
        Self::TenantChange,
        Self::ConfigChange,
        Self::Backup,
        Self::Restore,
        Self::LogReset,
        Self::ClockStep,
        Self::Reindex,
        Self::StorageCheck,
    ];

    /// The code in the entry.
    pub const fn code(self) -> u32 {
        match self {
            Self::ApplicationActivity => 110_100,
            Self::AuditLogUsed => 110_101,
            Self::BeginTransferring => 110_102,
            Self::InstancesAccessed => 110_103,
            Self::InstancesTransferred => 110_104,
            Self::StudyDeleted => 110_105,
            Self::Export => 110_106,
            Self::Import => 110_107,
            Self::NetworkEntry => 110_108,
            Self::OrderRecord => 110_109,
            Self::PatientRecord => 110_110,
            Self::ProcedureRecord => 110_111,
            Self::Query => 110_112,
            Self::SecurityAlert => 110_113,
            Self::UserAuthentication => 110_114,
            Self::LeaseEnded => OWN + 1,
            Self::KeyCreated => OWN + 2,
            Self::KeyBound => OWN + 3,
            Self::KeyUnwrapped => OWN + 4,
            Self::KeyDestroyed => OWN + 5,
            Self::KeyRestricted => OWN + 6,
            Self::KeyUnrestricted => OWN + 7,
            Self::IndexKeysRead => OWN + 8,
            Self::SecretRead => OWN + 9,
            Self::KeyRotated => OWN + 10,
            Self::EpochAdvanced => OWN + 11,
            Self::Unsealed => OWN + 12,
            Self::KeyEscrowed => OWN + 13,
            Self::Approval => OWN + 14,
            Self::BudgetHit => OWN + 15,
            Self::Suspension => OWN + 16,
            Self::IntegrityAlarm => OWN + 17,
            Self::LogAlarm => OWN + 18,
            Self::Quarantined => OWN + 19,
            Self::QuarantineDecision => OWN + 20,
            Self::BreakGlass => OWN + 21,
            Self::Erasure => OWN + 22,
            Self::RetentionChange => OWN + 23,
            Self::GrantChange => OWN + 24,
            Self::EnrolmentChange => OWN + 25,
            Self::TenantChange => OWN + 26,
            Self::ConfigChange => OWN + 27,
            Self::Backup => OWN + 28,
            Self::Restore => OWN + 29,
            Self::LogReset => OWN + 30,
            Self::ClockStep => OWN + 31,
            Self::Reindex => OWN + 32,
            Self::StorageCheck => OWN + 33,
        }
    }

    /// The event with this code; `None` for a code this version does not know.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.code() == code)
    }
}

/// Codes of our own lie above this.
const OWN: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_ascending_and_come_back() {
        for pair in Event::ALL.windows(2) {
            assert!(pair[0].code() < pair[1].code(), "{pair:?}");
        }
        for event in Event::ALL {
            assert_eq!(Event::from_code(event.code()), Some(event));
        }
        assert_eq!(Event::from_code(7), None);
    }
}
