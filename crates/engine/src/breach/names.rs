//! Whose the studies of a scope are, and which of their instances were reached. The index is asked off the threads that
//! carry everybody's requests, and so many studies at a time.

use super::{
    BreachAsked, BreachError, BreachPatient, Counted, MAX_SCOPE_STUDIES, Opened, OpenedStudy, SealedStudy, TooMuch,
};
use crate::{ReportError, Shared, patient_key};
use leadglass_audit::SubjectToken;
use leadglass_index::{InstanceRow, StudyEntry};
use leadglass_model::{EntryId, Phi, StudyRef, TenantId, UnixMillis};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// What the index holds of a study; nothing, once it was erased.
struct Indexed {
    study: StudyRef,
    row: Option<StudyEntry>,
    subject: Option<SubjectToken>,
    instances: Option<u64>,
}

impl BreachPatient {
    /// What the row leaves open, an earlier one said.
    fn is_named_by(&mut self, row: &StudyEntry) {
        let row = &row.row;
        let (name, id, issuer) = (row.patient_name.clone(), row.patient_id.clone(), row.issuer.clone());
        (self.name, self.id, self.issuer) =
            (name.or(self.name.take()), id.or(self.id.take()), issuer.or(self.issuer.take()));
    }
}

impl Shared {
    /// What the index holds that came before `to`, cases of quarantine too.
    pub(super) async fn lying_here(
        self: &Arc<Self>,
        tenant: TenantId,
        to: UnixMillis,
    ) -> Result<HashMap<StudyRef, UnixMillis>, BreachError> {
        let shared = self.clone();
        let look = move || {
            let refs = shared.catalog.study_refs(tenant);
            if refs.len() > MAX_SCOPE_STUDIES {
                return Err(TooMuch);
            }
            let came = |study| Some((study, shared.catalog.study_by_ref(tenant, study)?.row.created_at));
            Ok(refs.into_iter().filter_map(came).filter(|(_, came)| *came < to).collect())
        };
        Ok(tokio::task::spawn_blocking(look).await.map_err(|_| BreachError::Stopping)??)
    }

    /// Whose the studies are, and what of them was reached.
    pub(super) async fn name_patients(
        self: &Arc<Self>,
        tenant: TenantId,
        asked: BreachAsked,
        counted: Counted,
    ) -> Result<Vec<BreachPatient>, BreachError> {
        let mut known: BTreeMap<SubjectToken, BreachPatient> = BTreeMap::new();
        let mut nobodys = Vec::new();
        let mut told = 0;
        let studies: BTreeSet<StudyRef> = counted.opened.keys().chain(&counted.sealed).copied().collect();
        let studies: Vec<StudyRef> = studies.into_iter().collect();
        for page in studies.chunks(STUDIES_AT_ONCE) {
            for Indexed { study, row, subject, instances } in self.indexed(tenant, page.to_vec()).await? {
                // What the index says of it now is nearer than what the log said when it came: it may have been moved.
                let subject = subject.or(counted.subjects.get(&study).copied());
                let patient = match subject {
                    Some(subject) => known.entry(subject).or_default(),
                    None => {
                        nobodys.push(BreachPatient::default());
                        nobodys.last_mut().expect("one was pushed")
                    }
                };
                patient.subject = subject.map(|subject| hex::encode(subject.0));
                if let Some(row) = &row {
                    patient.is_named_by(row);
                } else if let (None, Some(subject), Some(detail)) =
                    (&patient.name, subject, counted.details.get(&study))
                {
                    let named = self.named_in_log(tenant, subject, *detail).await?;
                    (patient.name, patient.id) =
                        (named.patient_name.map(Phi::new), patient.id.take().or(named.patient_id.map(Phi::new)));
                }
                let uid = row.as_ref().map(|row| Phi::new(row.row.uid.expose().to_owned()));
                if let Some(opened) = counted.opened.get(&study) {
                    let rows = match &row {
                        Some(_) => Some(self.catalog.instances(tenant, study).await?),
                        None => None,
                    };
                    let instances = rows.map(|rows| reached(rows, opened, asked));
                    told += instances.as_ref().map_or(0, Vec::len);
                    if told > MAX_INSTANCES {
                        return Err(TooMuch.into());
                    }
                    patient.opened.push(OpenedStudy { study, uid, instances, counted: opened.clone() });
                } else {
                    patient.sealed.push(SealedStudy { study, uid, instances });
                }
            }
        }
        Ok(known.into_values().chain(nobodys).collect())
    }

    /// What the index holds of a page of studies. It is asked on a thread of its own: the index waits for nobody.
    async fn indexed(self: &Arc<Self>, tenant: TenantId, page: Vec<StudyRef>) -> Result<Vec<Indexed>, BreachError> {
        let shared = self.clone();
        let look = move || {
            let of = |study| {
                let row = shared.catalog.study_by_ref(tenant, study);
                let subject = row.as_ref().and_then(|row| shared.subject_token(tenant, &patient_key(row)));
                let instances = row.as_ref().map(|_| shared.catalog.counted(tenant, study));
                Indexed { study, row, subject, instances }
            };
            page.into_iter().map(of).collect()
        };
        tokio::task::spawn_blocking(look).await.map_err(|_| BreachError::Stopping)
    }

    /// Whom an entry named when it was written; nobody, once the patient's key in the log is gone.
    async fn named_in_log(
        self: &Arc<Self>,
        tenant: TenantId,
        subject: SubjectToken,
        (seq, entry): (u64, EntryId),
    ) -> Result<Named, BreachError> {
        let log = self.log.clone();
        let sealed = tokio::task::spawn_blocking(move || log.detail(seq)).await.map_err(|_| BreachError::Stopping)?;
        let Some(sealed) = sealed.map_err(ReportError::Log)? else { return Ok(Named::default()) };
        let opened = self.open_detail(tenant, subject, entry, &sealed).await;
        Ok(opened.and_then(|plain| serde_json::from_slice(&plain).ok()).unwrap_or_default())
    }
}

#[derive(Default, Deserialize)]
struct Named {
    patient_id: Option<String>,
    patient_name: Option<String>,
}

/// What lies under keys that were opened, and what came in through the node.
fn reached(rows: Vec<InstanceRow>, opened: &Opened, asked: BreachAsked) -> Vec<Phi<String>> {
    let is_reached = |row: &InstanceRow| {
        let under = |key| opened.keys.contains(key);
        let arrived = opened.taken_in && (asked.from..asked.to).contains(&row.received_at);
        opened.accesses > 0 || under(&row.key_id) || row.earlier.iter().any(|earlier| under(&earlier.key_id)) || arrived
    };
    let mut uids: Vec<String> =
        rows.iter().filter(|row| is_reached(row)).map(|row| row.sop_uid.expose().to_owned()).collect();
    uids.sort();
    uids.into_iter().map(Phi::new).collect()
}

/// Instances told by name.
const MAX_INSTANCES: usize = 1_000_000;
/// Studies that the index is asked about at a time.
const STUDIES_AT_ONCE: usize = 512;
