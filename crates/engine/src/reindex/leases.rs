//! Keys for the work: a batch at a time, asked for again when a lease ends in the middle.

use super::ReindexError;
use leadglass_index::Catalog;
use leadglass_keys::{
    KeyRefusal, Keys, KeysError, ObjectLease, OpenOutcome,
    wire::{ApprovalId, ProblemCode},
};
use leadglass_model::{ActorRef, EntryId, Fault, KeyId, Purpose, TenantId};
use leadglass_store::Objects;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

/// What all parts of the work share.
pub(super) struct Job {
    pub(super) keys: Keys,
    pub(super) objects: Objects,
    pub(super) catalog: Catalog,
    pub(super) actor: ActorRef,
    pub(super) approval: Option<ApprovalId>,
    pub(super) entry: EntryId,
    pub(super) tenants: Vec<TenantId>,
    /// Distinct studies: what an approval must cover.
    pub(super) studies: usize,
}

impl Job {
    /// Opens at most 256 keys. While the key service is away or sealed it is asked again, for two minutes.
    pub(super) async fn open(&self, tenant: TenantId, ids: &[KeyId]) -> Result<OpenOutcome, ReindexError> {
        let mut attempts = 0;
        loop {
            let approval = self.approval.clone();
            let asked =
                self.keys.open_under(approval, tenant, ids, Purpose::StorageCheck, self.actor, self.entry).await;
            let error = match asked {
                Ok(outcome) => {
                    // The approval does not reach any further. An index without the rest would hide it.
                    let short = outcome.values().any(|key| matches!(key, Err(KeyRefusal::NotForThisPurpose)));
                    return if short { Err(self.unapproved(None)) } else { Ok(outcome) };
                }
                Err(error) => error,
            };
            attempts += 1;
            match error.code() {
                Some(ProblemCode::ApprovalNeeded | ProblemCode::OverBudget | ProblemCode::Suspended) => {
                    return Err(self.unapproved(Some(error)));
                }
                _ if error.fault() == Fault::Busy && attempts < ATTEMPTS => tokio::time::sleep(REST).await,
                _ => return Err(ReindexError::Keys(error)),
            }
        }
    }

    fn unapproved(&self, source: Option<KeysError>) -> ReindexError {
        ReindexError::ApprovalNeeded { studies: self.studies, source }
    }
}

/// The leases of one batch of keys.
pub(super) struct Leases {
    tenant: TenantId,
    held: Mutex<OpenOutcome>,
    renewing: tokio::sync::Mutex<()>,
}

impl Leases {
    pub(super) async fn open(job: &Job, tenant: TenantId, ids: &[KeyId]) -> Result<Self, ReindexError> {
        let held = Mutex::new(job.open(tenant, ids).await?);
        Ok(Self { tenant, held, renewing: tokio::sync::Mutex::default() })
    }

    /// A lease that stands, or why there is none. One reader at a time asks again: a newer lease ends the older one.
    pub(super) async fn get(
        &self,
        job: &Job,
        key: KeyId,
    ) -> Result<Result<Arc<ObjectLease>, KeyRefusal>, ReindexError> {
        if let Some(known) = self.standing(key) {
            return Ok(known);
        }
        let _turn = self.renewing.lock().await;
        if let Some(known) = self.standing(key) {
            return Ok(known);
        }
        let mut opened = job.open(self.tenant, &[key]).await?;
        let again = opened.remove(&key).unwrap_or(Err(KeyRefusal::Unknown));
        self.held.lock().insert(key, again.clone());
        Ok(again)
    }

    /// `None`: there was a lease, and it is over.
    fn standing(&self, key: KeyId) -> Option<Result<Arc<ObjectLease>, KeyRefusal>> {
        match self.held.lock().get(&key) {
            Some(Ok(lease)) if lease.is_ended() => None,
            Some(known) => Some(known.clone()),
            None => Some(Err(KeyRefusal::Unknown)),
        }
    }
}

/// Two minutes.
const ATTEMPTS: u32 = 240;
const REST: Duration = Duration::from_millis(500);
