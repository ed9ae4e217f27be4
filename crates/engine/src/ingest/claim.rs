//! Turns and claims: what two transfers at the same moment must agree on.
//!
//! Two first instances of a study must land under one [`StudyRef`], and two copies of one instance must not both believe
//! they are the first. The index cannot say so yet, since neither is durable: the claims here do, in memory, until the
//! index does.

use leadglass_model::{Phi, SopInstanceUid, StudyRef, StudyUid, TenantId};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::OwnedMutexGuard;

/// Who the patient is, as far as telling patients apart goes: Patient ID and its issuer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PatientKey {
    /// (0010,0020); empty when absent.
    pub id: Phi<String>,
    /// (0010,0021); `None` when absent: then any issuer fits.
    pub issuer: Option<Phi<String>>,
}

impl PatientKey {
    /// Whether both are the same patient: equal IDs, and no contradiction between issuers.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let issuers = match (&self.issuer, &other.issuer) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        self.id == other.id && issuers
    }
}

/// All claims of a node.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    studies: Mutex<HashMap<(TenantId, StudyUid), StudyClaim>>,
    instances: Mutex<HashMap<InstanceName, Arc<tokio::sync::Mutex<()>>>>,
}

type InstanceName = (TenantId, SopInstanceUid);

#[derive(Debug)]
struct StudyClaim {
    study_ref: StudyRef,
    patient: PatientKey,
    holders: usize,
}

/// A study that no row names yet, held until the holder's rows are visible or it gave up.
#[derive(Debug)]
pub(crate) struct HeldStudy {
    claims: Arc<Claims>,
    key: (TenantId, StudyUid),
    /// The reference that all holders agree on.
    pub(crate) study_ref: StudyRef,
    /// The patient of the first holder.
    pub(crate) patient: PatientKey,
}

/// The turn to decide about one instance.
#[derive(Debug)]
pub(crate) struct Turn {
    claims: Arc<Claims>,
    key: InstanceName,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Claims {
    /// Claims a new study under `candidate`; whoever came first decides.
    pub(crate) fn study(
        self: &Arc<Self>,
        tenant: TenantId,
        uid: &StudyUid,
        patient: &PatientKey,
        candidate: StudyRef,
    ) -> HeldStudy {
        let key = (tenant, uid.clone());
        let mut studies = self.studies.lock();
        let claim = studies.entry(key.clone()).or_insert_with(|| StudyClaim {
            study_ref: candidate,
            patient: patient.clone(),
            holders: 0,
        });
        claim.holders += 1;
        HeldStudy { claims: self.clone(), key, study_ref: claim.study_ref, patient: claim.patient.clone() }
    }

    /// Joins a claim that somebody holds already.
    pub(crate) fn join(self: &Arc<Self>, tenant: TenantId, uid: &StudyUid) -> Option<HeldStudy> {
        let key = (tenant, uid.clone());
        let mut studies = self.studies.lock();
        let claim = studies.get_mut(&key)?;
        claim.holders += 1;
        Some(HeldStudy { claims: self.clone(), key, study_ref: claim.study_ref, patient: claim.patient.clone() })
    }

    /// Waits until nobody else decides about this instance. Cancel safety: a dropped future holds nothing.
    pub(crate) async fn turn(self: &Arc<Self>, tenant: TenantId, uid: &SopInstanceUid) -> Turn {
        let key = (tenant, uid.clone());
        let lock = self.instances.lock().entry(key.clone()).or_default().clone();
        // Made before waiting, so that a dropped future cleans up as well.
        let mut turn = Turn { claims: self.clone(), key, guard: None };
        turn.guard = Some(lock.lock_owned().await);
        turn
    }
}

impl Drop for HeldStudy {
    fn drop(&mut self) {
        let mut studies = self.claims.studies.lock();
        if let Some(claim) = studies.get_mut(&self.key) {
            claim.holders -= 1;
            if claim.holders == 0 {
                studies.remove(&self.key);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut instances = self.claims.instances.lock();
        if instances.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            instances.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    fn patient(id: &str, issuer: Option<&str>) -> PatientKey {
        PatientKey { id: Phi::new(id.into()), issuer: issuer.map(|i| Phi::new(i.into())) }
    }

    #[test]
    fn the_first_claim_decides_until_the_last_holder_goes() {
        let claims = Arc::new(Claims::default());
        let uid = StudyUid::parse("1.2").unwrap();
        let first = claims.study(TENANT, &uid, &patient("a", None), StudyRef::from_bytes([1; 16]));
        let second = claims.study(TENANT, &uid, &patient("b", None), StudyRef::from_bytes([2; 16]));
        assert_eq!(second.study_ref, first.study_ref);
        assert_eq!(second.patient, patient("a", None));
        drop(first);
        assert!(claims.join(TENANT, &uid).is_some());
        drop(second);
        assert!(claims.join(TENANT, &uid).is_none());
        assert!(claims.studies.lock().is_empty());
    }

    #[test]
    fn an_absent_issuer_contradicts_nobody() {
        assert!(patient("a", None).is_same(&patient("a", Some("x"))));
        assert!(!patient("a", Some("y")).is_same(&patient("a", Some("x"))));
        assert!(!patient("a", None).is_same(&patient("b", None)));
    }

    #[tokio::test]
    async fn one_instance_is_decided_by_one_transfer_at_a_time() {
        let claims = Arc::new(Claims::default());
        let uid = SopInstanceUid::parse("1.2.3").unwrap();
        let first = claims.turn(TENANT, &uid).await;
        let waiting = tokio::spawn({
            let (claims, uid) = (claims.clone(), uid.clone());
            async move { claims.turn(TENANT, &uid).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        drop(waiting.await.unwrap());
        assert!(claims.instances.lock().is_empty());
    }
}
