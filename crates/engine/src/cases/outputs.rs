//! What was made or done for a case, and whether it is about the case's patient.

use super::{CaseError, CasePatient, Linked, RightsCase};
use crate::{Engine, EraseError, ErasureId, RectificationId, RectifyError, Shared, ingest::PatientKey};
use leadglass_audit::{Entry, Event, OpenError, ReadError, SubjectToken};
use leadglass_model::{Administer, Permit, StudyRef, TenantId};
use std::sync::Arc;

impl Engine {
    /// Whether it is there, and the patient's. A breach is nobody's: there it is enough that it is there.
    pub(super) async fn is_output_of(
        &self,
        permit: &Permit<Administer>,
        case: &RightsCase,
        what: Linked,
        id: &str,
    ) -> Result<(), CaseError> {
        let (shared, tenant) = (&self.shared, permit.tenant());
        let is_hers = match what {
            Linked::Export => {
                let studies = shared.studies_of_export(tenant, id).await?.ok_or(CaseError::NoOutput)?;
                shared.are_hers(tenant, case, studies).await?
            }
            Linked::Erasure => {
                let id: ErasureId = id.parse().map_err(|_| CaseError::NoOutput)?;
                let order = match self.erasure(permit, id).await {
                    Ok(order) => order,
                    Err(EraseError::Missing) => return Err(CaseError::NoOutput),
                    Err(error) => return Err(error.into()),
                };
                // The order's token stands when its studies are gone.
                shared.is_hers(tenant, case, order.subject_token())
                    || shared.are_hers(tenant, case, order.studies).await?
            }
            Linked::Report => {
                let asked = shared.report_at(tenant, id).await?.ok_or(CaseError::NoOutput)?;
                shared.is_hers(tenant, case, Some(asked))
            }
            Linked::Restriction => {
                let study: StudyRef = id.parse().map_err(|_| CaseError::NoOutput)?;
                if !shared.care.restricted.holds(tenant, study) {
                    return Err(CaseError::NoOutput);
                }
                shared.are_hers(tenant, case, vec![study]).await?
            }
            Linked::Rectification => {
                let id: RectificationId = id.parse().map_err(|_| CaseError::NoOutput)?;
                let order = match self.rectification(permit, id).await {
                    Ok(order) => order,
                    Err(RectifyError::Missing) => return Err(CaseError::NoOutput),
                    Err(error) => return Err(CaseError::Rectification(error.into())),
                };
                let subject = |token: &String| {
                    let mut bytes = [0; 16];
                    hex::decode_to_slice(token, &mut bytes).ok().map(|()| SubjectToken(bytes))
                };
                order.patients.iter().any(|token| shared.is_hers(tenant, case, subject(token)))
            }
            // It says of nobody whom it is about: it holds tokens.
            Linked::Hold if self.holds(permit).await?.iter().any(|hold| hold.id == id) => true,
            Linked::Hold => return Err(CaseError::NoOutput),
        };
        if is_hers || case.patient.is_none() { Ok(()) } else { Err(CaseError::OtherPatient) }
    }
}

impl Shared {
    /// Whether all of these are the patient's. Of one that is not there any more that cannot be told.
    async fn are_hers(
        self: &Arc<Self>,
        tenant: TenantId,
        case: &RightsCase,
        studies: Vec<StudyRef>,
    ) -> Result<bool, CaseError> {
        let Some(patient) = case.patient.as_ref().map(CasePatient::key) else { return Ok(true) };
        let shared = self.clone();
        let look = move || {
            let is_hers = |study: &StudyRef| {
                let entry = shared.catalog.study_by_ref(tenant, *study);
                entry.is_some_and(|entry| crate::patient_key(&entry).is_same(&patient))
            };
            !studies.is_empty() && studies.iter().all(is_hers)
        };
        tokio::task::spawn_blocking(look).await.map_err(|_| CaseError::Stopping)
    }

    fn is_hers(&self, tenant: TenantId, case: &RightsCase, subject: Option<SubjectToken>) -> bool {
        let Some(patient) = case.patient.as_ref().map(CasePatient::key) else { return true };
        let without = PatientKey { issuer: None, ..patient.clone() };
        let hers = [patient, without].map(|key| self.subject_token(tenant, &key));
        subject.is_some() && hers.contains(&subject)
    }

    /// About whom a report was, by the place in the log at which it was asked for.
    async fn report_at(&self, tenant: TenantId, place: &str) -> Result<Option<SubjectToken>, CaseError> {
        let Ok(seq) = place.parse::<u64>() else { return Ok(None) };
        let log = self.log.clone();
        let read = tokio::task::spawn_blocking(move || {
            if seq >= log.head().size {
                return Ok(None);
            }
            let leaves = log.leaves(seq..seq + 1)?;
            let decode = |leaf: &Vec<u8>| Entry::decode(leaf).map_err(|_| ReadError::Log(OpenError::Entry { seq }));
            leaves.first().map(decode).transpose()
        });
        let entry = read.await.map_err(|_| CaseError::Stopping)?.map_err(CaseError::Log)?;
        let is_report =
            |entry: &Entry| entry.report.event == Event::AuditLogUsed && entry.report.tenant == Some(tenant);
        Ok(entry.filter(is_report).and_then(|entry| entry.report.subject))
    }
}
