//! Opening: bytes under a row key become the row that they are, or nothing.

use super::Catalog;
use crate::{IndexError, InstanceRow, RowKey, SeriesRow, StudyRow, Table, projection::TenantState, sealed};
use leadglass_model::TenantId;
use leadglass_seal::RowHeader;

/// A row of any table.
pub(super) enum Opened {
    Study(Box<StudyRow>),
    Series(Box<SeriesRow>),
    Instance { row: Box<InstanceRow>, header: RowHeader },
    Meta,
}

impl Catalog {
    /// As [`Self::open_any`], of a row that is about to be written: nobody has seen its version yet.
    pub(super) fn open_quietly(&self, tenant: TenantId, key: &RowKey, bytes: &[u8]) -> Result<Opened, IndexError> {
        if key.table != Table::Instance {
            return self.open_any(tenant, key, bytes);
        }
        let (plain, header) = self.open_sealed(tenant, key, bytes)?;
        let row = sealed::decode::<InstanceRow>(&plain)?;
        let tenants = self.tenants.read();
        tenants.get(&tenant).map_or(Ok(()), |state| state.check_name(key, row.sop_uid.expose()))?;
        Ok(Opened::Instance { row: Box::new(row), header })
    }

    pub(super) fn open_any(&self, tenant: TenantId, key: &RowKey, bytes: &[u8]) -> Result<Opened, IndexError> {
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

    pub(super) fn open_instance(
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

    pub(super) fn open_row(
        &self,
        tenant: TenantId,
        key: &RowKey,
        bytes: &[u8],
    ) -> Result<(Vec<u8>, RowHeader), IndexError> {
        let (plain, header) = self.open_sealed(tenant, key, bytes)?;
        if key.table == Table::Instance && !self.versions.note(tenant, *key, header.row_version) {
            return Err(IndexError::Corrupt { table: key.table });
        }
        Ok((plain, header))
    }

    fn open_sealed(&self, tenant: TenantId, key: &RowKey, bytes: &[u8]) -> Result<(Vec<u8>, RowHeader), IndexError> {
        let table = key.table;
        let header = sealed::header(key, bytes)?;
        let tenants = self.tenants.read();
        let index_key = tenants.get(&tenant).and_then(|s| s.key(header.key_id, header.key_gen));
        let plain = sealed::open(index_key.ok_or(IndexError::NoKey { table })?, tenant, key, header, bytes)?;
        Ok((plain, header))
    }
}

impl TenantState {
    /// A row must lie under the name of what it speaks about.
    pub(super) fn check_name(&self, key: &RowKey, uid: &str) -> Result<(), IndexError> {
        if self.uid_mac(uid) == key.uid_mac { Ok(()) } else { Err(IndexError::Corrupt { table: key.table }) }
    }
}
