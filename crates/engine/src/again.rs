//! What an earlier try of the same upload left behind.
//!
//! A sender that heard no answer sends again, under the same key and so under the same UIDs. What stands in the data set
//! and is not the sender's word (a number in a series, the day a study began) must then be what it was, or the second try
//! would be another instance. Nobody is told anything that the same sender did not bring: no entry is written.

use crate::{Engine, IngestError};
use leadglass_index::{InstanceRow, InstanceState, SeriesRow, StudyRow};
use leadglass_model::{Permit, ReceiverId, SopInstanceUid, Store, StudyUid};

/// A study as an earlier try left it.
#[derive(Debug)]
pub struct Begun {
    /// The study.
    pub study: StudyRow,
    /// Its series.
    pub series: Vec<SeriesRow>,
}

impl Engine {
    /// The study of that UID, where the caller brought one of its instances.
    ///
    /// Cancel safety: reads only.
    pub async fn begun_by(&self, permit: &Permit<Store>, study: &StudyUid) -> Result<Option<Begun>, IngestError> {
        let (catalog, tenant) = (&self.shared.catalog, permit.tenant());
        let Some(entry) = catalog.study(tenant, study) else { return Ok(None) };
        let rows = catalog.instances(tenant, entry.study_ref).await;
        let rows = rows.inspect_err(|error| self.shared.index_alarm(error)).map_err(IngestError::Index)?;
        Ok(rows
            .iter()
            .any(|row| is_of(permit, row))
            .then(|| Begun { study: entry.row.clone(), series: catalog.series(tenant, entry.study_ref) }))
    }

    /// The Instance Number (0020,0013) of an instance that the caller brought into that study; `Some(None)` when it has none.
    ///
    /// Cancel safety: reads only.
    pub async fn brought_by(
        &self,
        permit: &Permit<Store>,
        study: &StudyUid,
        instance: &SopInstanceUid,
    ) -> Result<Option<Option<i64>>, IngestError> {
        let (catalog, tenant) = (&self.shared.catalog, permit.tenant());
        let Some(entry) = catalog.study(tenant, study) else { return Ok(None) };
        let row = catalog.instance(tenant, entry.study_ref, instance).await;
        let row = row.inspect_err(|error| self.shared.index_alarm(error)).map_err(IngestError::Index)?;
        Ok(row.filter(|row| is_of(permit, row)).map(|row| row.instance_number))
    }
}

/// Brought by this person, and where readers find it.
fn is_of(permit: &Permit<Store>, row: &InstanceRow) -> bool {
    row.state == InstanceState::Current && row.receiver == ReceiverId::from_bytes(permit.actor().0)
}
