//! Rows of cases in the records, and what open cases say of a study.

use super::{CaseError, CaseId, CaseType, RightsCase, RightsOutcome};
use crate::{Shared, ingest::PatientKey, retention::Kept};
use leadglass_model::TenantId;
use leadglass_records::{Expected, RecordError, Table, TenantRecords};
use zeroize::Zeroizing;

/// An open case that keeps its patient's studies.
#[derive(Debug)]
pub(crate) struct OpenCase {
    kind: CaseType,
    patient: PatientKey,
    /// It is about erasure, and its last decision grants that.
    grants_erasure: bool,
}

impl OpenCase {
    fn of(case: &RightsCase) -> Option<Self> {
        let patient = case.patient.as_ref().filter(|_| case.closed.is_none() && case.kind.keeps())?.key();
        let granted = case.decisions.last().is_some_and(|last| last.outcome != RightsOutcome::Refused);
        Some(Self { kind: case.kind, patient, grants_erasure: case.kind == CaseType::Erasure && granted })
    }

    /// Why open cases keep a patient's study. An erasure that the patient has a right to goes on where an erasure case
    /// of hers grants it, whatever else of hers is open; one because the time is over waits for all of them.
    pub(crate) fn kept(cases: &[Self], patient: &PatientKey, by_rule: bool) -> Option<Kept> {
        let hers = || cases.iter().filter(|case| case.patient.is_same(patient));
        if !by_rule && hers().any(|case| case.grants_erasure) {
            return None;
        }
        let case = hers().next()?;
        Some(Kept { why: format!("a case of the patient is open: {}", case.kind.as_str()), until: None })
    }
}

impl Shared {
    /// Learns whose cases are open.
    pub(crate) async fn load_asked(&self, tenant: TenantId) -> Result<(), RecordError> {
        let learn = |case| {
            self.asked.learn(tenant, &case);
            None::<()>
        };
        self.cases_as(tenant, learn).await.map(|_| ())
    }

    /// The open cases of a tenant that keep something.
    pub(crate) async fn open_cases(&self, tenant: TenantId) -> Result<Vec<OpenCase>, RecordError> {
        self.cases_as(tenant, |case| OpenCase::of(&case)).await
    }

    /// What `pick` makes of every case, a page of them in memory at a time.
    pub(super) async fn cases_as<T>(
        &self,
        tenant: TenantId,
        pick: impl Fn(RightsCase) -> Option<T>,
    ) -> Result<Vec<T>, RecordError> {
        let Some(records) = self.case_records(tenant) else { return Ok(Vec::new()) };
        let (mut picked, mut after) = (Vec::new(), PREFIX.to_vec());
        loop {
            let page = records.scan(Table::Cases, Some(&after), PAGE).await?;
            let Some(last) = page.last() else { return Ok(picked) };
            after.clone_from(&last.key);
            for record in &page {
                if !record.key.starts_with(PREFIX) {
                    return Ok(picked);
                }
                picked.extend(pick(read(record.value.expose())?));
            }
        }
    }

    pub(super) async fn case(&self, tenant: TenantId, id: CaseId) -> Result<(RightsCase, u64), CaseError> {
        let records = self.case_records(tenant).ok_or(CaseError::Missing)?;
        let record = records.get(Table::Cases, &name(id)).await?.ok_or(CaseError::Missing)?;
        Ok((read(record.value.expose())?, record.version))
    }

    /// Durable when it answers.
    pub(super) async fn keep_case(
        &self,
        tenant: TenantId,
        case: &RightsCase,
        expected: Expected,
    ) -> Result<(), CaseError> {
        let records = self.case_records(tenant).ok_or(CaseError::Missing)?;
        let value = Zeroizing::new(serde_json::to_vec(case).expect("a case has string keys and plain fields"));
        records.put(Table::Cases, &name(case.id), value, expected).await?;
        self.asked.learn(tenant, case);
        Ok(())
    }

    /// Durable when it answers.
    pub(super) async fn drop_case(&self, tenant: TenantId, id: CaseId) -> Result<(), CaseError> {
        let records = self.case_records(tenant).ok_or(CaseError::Missing)?;
        records.delete(Table::Cases, &name(id)).await?;
        Ok(())
    }

    pub(super) fn case_records(&self, tenant: TenantId) -> Option<&TenantRecords> {
        self.subjects.get(&tenant).map(crate::subject::Subjects::records)
    }
}

/// One that cannot be read is no case that may be passed over.
fn read(value: &[u8]) -> Result<RightsCase, RecordError> {
    serde_json::from_slice(value).map_err(|_| RecordError::NotAuthentic)
}

fn name(id: CaseId) -> Vec<u8> {
    [PREFIX, &id.0].concat()
}

const PREFIX: &[u8] = b"case:";
/// Rows of a page: at most 16 MiB of them.
const PAGE: usize = 16;
