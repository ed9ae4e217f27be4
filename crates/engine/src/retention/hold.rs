//! A hold: somebody needs it for a claim, whatever the rules say.

use super::RetentionError;
use crate::{Shared, ingest::PatientKey};
use leadglass_index::StudyEntry;
use leadglass_model::{Phi, StudyRef, StudyUid, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// The name of a hold, random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HoldId(pub(super) [u8; 16]);

/// What is to be held.
#[derive(Debug, Clone)]
pub enum WhatToHold {
    /// One study.
    Study(StudyUid),
    /// All of a patient, also what comes in later.
    Patient {
        /// Patient ID.
        id: Phi<String>,
        /// Issuer of Patient ID; `None`: whatever it is.
        issuer: Option<Phi<String>>,
    },
}

/// A hold as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its name.
    pub id: String,
    pub(super) on: On,
    /// Why, in the officer's words.
    pub reason: String,
    /// By pseudonym.
    pub by: String,
    /// Since when.
    pub at: UnixMillis,
}

/// Whom it is about, without a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum On {
    Study(String),
    Patient {
        /// Token of the Patient ID without an issuer.
        any: String,
        /// Token with the issuer, where one was given.
        exact: Option<String>,
    },
}

impl Hold {
    /// Whether it is about a patient, not a study.
    pub const fn is_of_patient(&self) -> bool {
        matches!(self.on, On::Patient { .. })
    }
}

/// A study, as holds look at it.
pub(super) struct Whose {
    study: String,
    /// Token of its Patient ID without the issuer.
    pub(super) any: Option<String>,
    exact: Option<String>,
}

impl Whose {
    pub(super) fn of(shared: &Shared, tenant: TenantId, study: &StudyEntry) -> Self {
        let patient = crate::patient_key(study);
        let exact = patient.issuer.is_some().then(|| shared.token_of(tenant, &patient)).flatten();
        let any = shared.token_of(tenant, &without_issuer(patient));
        Self { study: study.study_ref.to_string(), any, exact }
    }
}

impl On {
    /// Whether it is about this study.
    pub(super) fn holds(&self, whose: &Whose) -> bool {
        match self {
            Self::Study(held) => *held == whose.study,
            Self::Patient { any, exact } => {
                // As everywhere: no contradiction between issuers.
                let contradict = exact.is_some() && whose.exact.is_some() && *exact != whose.exact;
                whose.any.as_ref() == Some(any) && !contradict
            }
        }
    }
}

impl Shared {
    /// What a hold says of what it is about; `None` where there is no such study.
    pub(super) fn held(&self, tenant: TenantId, what: WhatToHold) -> Option<(On, Option<StudyRef>)> {
        match what {
            WhatToHold::Study(uid) => {
                let study = self.catalog.study(tenant, &uid)?.study_ref;
                Some((On::Study(study.to_string()), Some(study)))
            }
            WhatToHold::Patient { id, issuer } => {
                let patient = PatientKey { id, issuer };
                let exact = patient.issuer.is_some().then(|| self.token_of(tenant, &patient)).flatten();
                Some((On::Patient { any: self.token_of(tenant, &without_issuer(patient))?, exact }, None))
            }
        }
    }

    /// Whether a hold is about a study as it is and would not be about it as it is to be. A hold on the study itself stays
    /// with it, but not with a part that becomes another one.
    pub(crate) async fn would_lose_hold(
        self: &Arc<Self>,
        tenant: TenantId,
        now: &StudyEntry,
        then: &StudyEntry,
        leaves: bool,
    ) -> Result<bool, RetentionError> {
        let holds = self.holds(tenant).await?;
        let (now, mut then) = (Whose::of(self, tenant, now), Whose::of(self, tenant, then));
        if leaves {
            then.study.clear();
        }
        let held = |whose: &Whose| holds.iter().any(|hold| hold.on.holds(whose));
        Ok(held(&now) && !held(&then))
    }

    /// Whether somebody holds a study for a claim.
    pub(crate) async fn is_claimed(
        self: &Arc<Self>,
        tenant: TenantId,
        study: &StudyEntry,
    ) -> Result<bool, RetentionError> {
        let holds = self.holds(tenant).await?;
        if holds.is_empty() {
            return Ok(false);
        }
        let whose = Whose::of(self, tenant, study);
        Ok(holds.iter().any(|hold| hold.on.holds(&whose)))
    }

    pub(super) fn token_of(&self, tenant: TenantId, patient: &PatientKey) -> Option<String> {
        Some(hex::encode(self.subject_token(tenant, patient)?.0))
    }
}

pub(super) fn without_issuer(patient: PatientKey) -> PatientKey {
    PatientKey { issuer: None, ..patient }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for HoldId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}
