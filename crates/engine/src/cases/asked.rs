//! Whose cases are open, in memory: an officer opens the studies of nobody else.

use super::{CaseId, RightsCase};
use crate::ingest::PatientKey;
use leadglass_model::TenantId;
use parking_lot::RwLock;
use std::collections::HashMap;

/// The patients of the open cases of a node's tenants. There are at most as many as there are cases.
#[derive(Default)]
pub(crate) struct Asked(RwLock<HashMap<(TenantId, CaseId), PatientKey>>);

impl Asked {
    /// Whether a case of this patient is open.
    pub(crate) fn holds(&self, tenant: TenantId, patient: &PatientKey) -> bool {
        self.0.read().iter().any(|((of, _), asked)| *of == tenant && asked.is_same(patient))
    }

    /// Learns of a case as it is now.
    pub(super) fn learn(&self, tenant: TenantId, case: &RightsCase) {
        let patient = case.patient.as_ref().filter(|_| case.closed.is_none()).map(super::CasePatient::key);
        let (mut asked, name) = (self.0.write(), (tenant, case.id));
        match patient {
            Some(patient) => asked.insert(name, patient),
            None => asked.remove(&name),
        };
    }
}
