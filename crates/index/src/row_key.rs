//! Where a row lies: table, study, and a keyed token of the UID. No UID in clear.

use leadglass_model::StudyRef;

/// The tables; the byte enters the row key and the row's authenticated data (KEYS.md, "row").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// One row a study, under the index key.
    Study = 1,
    /// One row a series, under the index key.
    Series = 2,
    /// One row an instance, under the index key of the key that seals the object.
    Instance = 3,
    /// The DICOM-JSON of an instance, gzip, under the meta key of the key that seals the object.
    Meta = 4,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 4] = [Self::Study, Self::Series, Self::Instance, Self::Meta];

    /// The byte.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The table with this byte.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.number() == number)
    }
}

/// Key of a row inside a tenant: `table[1] ‖ study_ref[16] ‖ uid_mac[16]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey {
    /// Which table.
    pub table: Table,
    /// Which study.
    pub study_ref: StudyRef,
    /// First 16 bytes of HMAC-SHA-256(the tenant's token key, the UID).
    pub uid_mac: [u8; 16],
}

impl RowKey {
    /// Bytes of a row key.
    pub const LEN: usize = 33;

    /// The bytes, as an engine orders them.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = self.table.number();
        bytes[1..17].copy_from_slice(self.study_ref.as_bytes());
        bytes[17..].copy_from_slice(&self.uid_mac);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` for an unknown table.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let table = Table::from_number(bytes[0])?;
        let (mut study_ref, mut uid_mac) = ([0; 16], [0; 16]);
        study_ref.copy_from_slice(&bytes[1..17]);
        uid_mac.copy_from_slice(&bytes[17..]);
        Some(Self { table, study_ref: StudyRef::from_bytes(study_ref), uid_mac })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_key_comes_back_and_orders_by_table_then_study() {
        let key = |table, study: u8, mac: u8| RowKey {
            table,
            study_ref: StudyRef::from_bytes([study; 16]),
            uid_mac: [mac; 16],
        };
        let keys =
            [key(Table::Study, 9, 9), key(Table::Series, 1, 2), key(Table::Series, 2, 1), key(Table::Meta, 0, 0)];
        for key in keys {
            assert_eq!(RowKey::from_bytes(&key.to_bytes()), Some(key));
        }
        assert!(keys.is_sorted_by_key(RowKey::to_bytes));
        assert_eq!(RowKey::from_bytes(&[0; RowKey::LEN]), None);
    }
}
