//! Which records there are.

/// A table of records. Its number enters every seal and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum Table {
    /// Patients of a tenant.
    Patients = 1,
    /// People who work with the vault.
    People = 2,
    /// Modalities, phones, programs.
    Devices = 3,
    /// Sessions of people.
    Sessions = 4,
    /// Subject requests and erasures.
    Cases = 5,
    /// Imaging orders.
    Orders = 6,
    /// Legal holds.
    Holds = 7,
    /// What is kept until when, and why.
    Retention = 8,
    /// Studies shared with somebody.
    Shares = 9,
    /// Work that goes on in the background.
    Jobs = 10,
    /// Settings of a tenant.
    Settings = 11,
    /// Decisions on quarantined instances.
    Quarantine = 12,
    /// Wrapped keys of audit subjects, by the subject's token. Who removes one ends that patient's audit details.
    Subjects = 13,
    /// Who treats whom, until when: by actor and by the keyed token of the patient.
    Care = 14,
    /// What was opened in emergencies, and what was decided about it, by the entry's id.
    Reviews = 15,
}

impl Table {
    /// All of them, by number.
    pub const ALL: [Self; 15] = [
        Self::Patients,
        Self::People,
        Self::Devices,
        Self::Sessions,
        Self::Cases,
        Self::Orders,
        Self::Holds,
        Self::Retention,
        Self::Shares,
        Self::Jobs,
        Self::Settings,
        Self::Quarantine,
        Self::Subjects,
        Self::Care,
        Self::Reviews,
    ];

    /// Its number at rest.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_named_once_by_its_number() {
        assert!(Table::ALL.iter().map(|table| table.number()).eq(1..=15));
    }
}
