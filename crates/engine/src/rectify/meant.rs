//! What is meant: which studies, and what is right of them; and what that would change.

use super::{
    Attribute, MAX_STUDIES, RectifyError, Values,
    attribute::{coerced, said},
};
use crate::{Shared, ingest::PatientKey};
use leadglass_index::{InstanceState, StudyEntry};
use leadglass_model::{Phi, SeriesUid, SopInstanceUid, StudyUid, TenantId};
use std::{collections::BTreeSet, sync::Arc};

/// Which images.
#[derive(Debug, Clone)]
pub enum WhatToRectify {
    /// These studies.
    Studies(Vec<StudyUid>),
    /// All studies of a patient.
    Patient {
        /// Patient ID.
        id: Phi<String>,
        /// Issuer of Patient ID.
        issuer: Option<Phi<String>>,
    },
    /// A part of a study, which becomes a study of its own.
    Part {
        /// Of which.
        study: StudyUid,
        /// Whole series.
        series: Vec<SeriesUid>,
        /// Single instances.
        instances: Vec<SopInstanceUid>,
    },
}

/// What is right.
#[derive(Debug, Clone)]
pub enum Truth {
    /// This; what is not named stays.
    Typed(Values),
    /// They are this patient's: what her latest study says of her, and nothing of what it does not say.
    Patient {
        /// Patient ID.
        id: Phi<String>,
        /// Issuer of Patient ID.
        issuer: Option<Phi<String>>,
    },
}

/// What would change.
#[derive(Debug, Clone)]
pub struct RectificationPreview {
    /// The studies, in the order of their random names.
    pub studies: Vec<StudyChange>,
    /// Whether a part leaves its study.
    pub splits: bool,
    /// Of all this; whoever orders it repeats it.
    pub digest: String,
}

/// What would change of a study.
#[derive(Debug, Clone)]
pub struct StudyChange {
    /// Which.
    pub study: StudyUid,
    /// Instances that it is about.
    pub instances: u64,
    /// Attributes that would say something else: what the study says, and what it would.
    pub changes: Vec<(Attribute, Phi<String>, Phi<String>)>,
    /// Who got something of it, so that somebody tells them (GDPR Art. 19).
    pub recipients: Vec<String>,
}

/// What somebody means.
pub(super) struct Meant {
    pub(super) studies: Vec<StudyEntry>,
    pub(super) values: Values,
    /// Series and instances, where a part of the one study is meant.
    pub(super) part: Option<(BTreeSet<String>, BTreeSet<String>)>,
}

impl Shared {
    /// The studies that are meant, and what is to be said of them. One look at every study in memory.
    pub(super) async fn meant(
        self: &Arc<Self>,
        tenant: TenantId,
        what: &WhatToRectify,
        truth: &Truth,
    ) -> Result<Meant, RectifyError> {
        let mut part = None;
        let one = |uid| self.catalog.study(tenant, uid).ok_or(RectifyError::Missing);
        let mut studies: Vec<StudyEntry> = match what {
            WhatToRectify::Studies(uids) => uids.iter().take(MAX_STUDIES + 1).map(one).collect::<Result<_, _>>()?,
            WhatToRectify::Patient { id, issuer } => self.studies_of_patient(tenant, id, issuer.as_ref()).await?,
            WhatToRectify::Part { study, series, instances } => {
                if series.len().saturating_add(instances.len()) > MAX_STUDIES {
                    return Err(RectifyError::TooMany);
                }
                let series = series.iter().map(|uid| uid.expose().to_owned()).collect();
                part = Some((series, instances.iter().map(|uid| uid.expose().to_owned()).collect()));
                vec![one(study)?]
            }
        };
        studies.sort_by_key(|study| study.study_ref);
        studies.dedup_by_key(|study| study.study_ref);
        if studies.is_empty() {
            return Err(RectifyError::Missing);
        }
        if studies.len() > MAX_STUDIES {
            return Err(RectifyError::TooMany);
        }
        let values = match truth {
            Truth::Typed(values) => values.clone(),
            Truth::Patient { id, issuer } => {
                let hers = self.studies_of_patient(tenant, id, issuer.as_ref()).await?;
                let latest = hers.iter().max_by_key(|study| study.row.created_at).ok_or(RectifyError::Missing)?;
                Attribute::OF_PATIENT.map(|attribute| (attribute, said(&latest.row, attribute))).into()
            }
        };
        coerced(&values).map_err(RectifyError::Form)?;
        Ok(Meant { studies, values, part })
    }

    /// The studies of one patient. Who is meant must be one: where several issuers gave the number, one of them is named.
    async fn studies_of_patient(
        self: &Arc<Self>,
        tenant: TenantId,
        id: &Phi<String>,
        issuer: Option<&Phi<String>>,
    ) -> Result<Vec<StudyEntry>, RectifyError> {
        let (shared, patient) = (self.clone(), PatientKey { id: id.clone(), issuer: issuer.cloned() });
        if id.expose().is_empty() {
            // Studies without a number are not one patient's.
            return Err(RectifyError::Missing);
        }
        let look = move || -> Vec<StudyEntry> {
            let all = shared.catalog.study_refs(tenant).into_iter();
            let entries = all.filter_map(|study| shared.catalog.study_by_ref(tenant, study));
            let hers =
                |study: &StudyEntry| study.row.quarantine.is_none() && crate::patient_key(study).is_same(&patient);
            entries.filter(hers).collect()
        };
        let found = tokio::task::spawn_blocking(look).await.map_err(|_| RectifyError::Stopping)?;
        let mut issuers = found.iter().filter_map(|study| study.row.issuer.as_ref());
        let first = issuers.next();
        if issuers.any(|other| Some(other) != first) {
            return Err(RectifyError::Ambiguous);
        }
        Ok(found)
    }

    pub(super) async fn preview_of(
        &self,
        tenant: TenantId,
        meant: &Meant,
    ) -> Result<RectificationPreview, RectifyError> {
        let mut digest = blake3::Hasher::new();
        let mut take = |text: &[u8]| {
            digest.update(&(text.len() as u64).to_be_bytes());
            digest.update(text);
        };
        let mut changes_any = false;
        let mut studies = Vec::with_capacity(meant.studies.len());
        for study in &meant.studies {
            let instances = self.concerned(tenant, meant, study).await?;
            take(study.study_ref.as_bytes());
            take(&instances.to_be_bytes());
            let mut changes = Vec::new();
            for (attribute, new) in &meant.values {
                let old = said(&study.row, *attribute);
                for text in [attribute.as_str(), old.expose(), new.expose()] {
                    take(text.as_bytes());
                }
                if old != *new {
                    changes.push((*attribute, old, new.clone()));
                }
            }
            changes_any |= !changes.is_empty();
            let disclosed = self.disclosures(tenant, study.study_ref).await?;
            let recipients: BTreeSet<String> = disclosed.into_iter().map(|to| to.recipient).collect();
            let recipients = recipients.into_iter().collect();
            studies.push(StudyChange { study: study.row.uid.clone(), instances, changes, recipients });
        }
        for uid in meant.part.iter().flat_map(|(series, instances)| series.iter().chain(instances)) {
            take(uid.as_bytes());
        }
        // An instance may say something else than its study; where nothing is to be said at all there is nothing to do.
        let splits = meant.part.is_some();
        if !changes_any && !splits {
            return Err(RectifyError::Nothing);
        }
        Ok(RectificationPreview { studies, splits, digest: digest.finalize().to_hex().to_string() })
    }

    /// How many instances of a study it is about.
    async fn concerned(&self, tenant: TenantId, meant: &Meant, study: &StudyEntry) -> Result<u64, RectifyError> {
        let Some((series, instances)) = &meant.part else { return Ok(self.catalog.counted(tenant, study.study_ref)) };
        let rows = self.catalog.instances(tenant, study.study_ref).await?;
        let (mut goes, mut stays) = (0, false);
        let mut found: BTreeSet<&str> = BTreeSet::new();
        for row in rows.iter().filter(|row| row.state == InstanceState::Current) {
            let (of, uid) = (row.series_uid.expose(), row.sop_uid.expose());
            if series.contains(of) || instances.contains(uid) {
                goes += 1;
                found.extend([of, uid]);
            } else {
                stays = true;
            }
        }
        // A UID that names nothing is a mistake, and it shows before anything happens.
        if goes == 0 || series.iter().chain(instances).any(|uid| !found.contains(uid.as_str())) {
            return Err(RectifyError::Missing);
        }
        if stays { Ok(goes) } else { Err(RectifyError::Whole) }
    }
}
