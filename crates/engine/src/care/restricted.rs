//! Restricted studies (GDPR Art. 18). The key service says which: it opens no pixel of one but for the exceptions, and tells
//! every change. Here they are hidden from whoever may not open them.

use super::CareError;
use crate::{AccessError, Engine, Shared, subject::Detail};
use futures::StreamExt;
use leadglass_audit::Event;
use leadglass_index::StudyEntry;
use leadglass_keys::{
    KeyService, ServiceError,
    wire::{Few, OrderId, RestrictRequest, Revocation, RevocationEvent, RevocationKind},
};
use leadglass_model::{Access, Permit, Restrict, StudyRef, StudyUid, TenantId};
use parking_lot::RwLock;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// The study is restricted from now on.
    Begins,
    /// It is so no longer.
    Ends,
}

/// The restricted studies of a node's tenants.
#[derive(Default)]
pub(crate) struct Restricted(RwLock<HashMap<TenantId, Arc<HashSet<StudyRef>>>>);

impl Restricted {
    pub(crate) fn holds(&self, tenant: TenantId, study: StudyRef) -> bool {
        self.0.read().get(&tenant).is_some_and(|studies| studies.contains(&study))
    }

    pub(crate) fn of(&self, tenant: TenantId) -> Arc<HashSet<StudyRef>> {
        self.0.read().get(&tenant).cloned().unwrap_or_default()
    }

    /// What a revocation changes.
    pub(crate) fn apply(&self, revocation: &Revocation) {
        apply(&mut self.0.write(), revocation);
    }
}

fn apply(all: &mut HashMap<TenantId, Arc<HashSet<StudyRef>>>, revocation: &Revocation) {
    let studies = Arc::make_mut(all.entry(revocation.tenant).or_default());
    for study in revocation.study_refs.iter() {
        if revocation.kind == RevocationKind::Restricted {
            studies.insert(*study);
        } else {
            studies.remove(study);
        }
    }
}

impl Engine {
    /// Restricts a study, or lifts that, by an order. When this answers, the key service holds to it, and so does this node.
    ///
    /// # Errors
    /// [`CareError::Missing`] for a study that is not there.
    ///
    /// Cancel safety: dropping the future may leave an entry about a change that was not made.
    pub async fn restrict(
        &self,
        permit: &Permit<Restrict>,
        study: &StudyUid,
        order: &OrderId,
        what: Restriction,
    ) -> Result<(), CareError> {
        let study = self.shared.catalog.study(permit.tenant(), study).ok_or(CareError::Missing)?;
        self.change_restriction(permit, &study, order, what).await
    }

    /// As [`Engine::restrict`] with [`Restriction::Ends`], for a study of the list.
    ///
    /// Cancel safety: as [`Engine::restrict`].
    pub async fn lift_restriction(
        &self,
        permit: &Permit<Restrict>,
        study: StudyRef,
        order: &OrderId,
    ) -> Result<(), CareError> {
        let study = self.shared.catalog.study_by_ref(permit.tenant(), study).ok_or(CareError::Missing)?;
        self.change_restriction(permit, &study, order, Restriction::Ends).await
    }

    /// The restricted studies of a tenant that are there, by their random names, in order.
    pub fn restrictions(&self, permit: &Permit<Restrict>) -> Vec<StudyRef> {
        let (shared, tenant) = (&self.shared, permit.tenant());
        let restricted = shared.care.restricted.of(tenant);
        let mut all: Vec<StudyRef> =
            restricted.iter().copied().filter(|study| shared.catalog.has_study(tenant, *study)).collect();
        all.sort_unstable_by_key(|study| *study.as_bytes());
        all
    }

    async fn change_restriction(
        &self,
        permit: &Permit<Restrict>,
        study: &StudyEntry,
        order: &OrderId,
        what: Restriction,
    ) -> Result<(), CareError> {
        let shared = &self.shared;
        let tenant = permit.tenant();
        let event = match what {
            Restriction::Begins => Event::KeyRestricted,
            Restriction::Ends => Event::KeyUnrestricted,
        };
        let mut entry = shared.about(permit, study, event, order.as_str());
        let detail = shared.detail(tenant, entry.subject, entry.entry_id, &Detail::of(study)).await;
        let detail = detail.map_err(AccessError::Records)?;
        entry.detail = detail.bytes;
        shared.commit_entry(entry, detail.wrap).await?;
        let study_refs = Few::new(vec![study.study_ref]).expect("one is few");
        let request = RestrictRequest { tenant, study_refs: study_refs.clone(), order_id: order.clone() };
        let kind = match what {
            Restriction::Begins => {
                shared.keys.service().restrict(&request).await?;
                RevocationKind::Restricted
            }
            Restriction::Ends => {
                shared.keys.service().unrestrict(&request).await?;
                RevocationKind::Unrestricted
            }
        };
        // It is told in a moment, too; whoever ordered it need not wait for that.
        shared.care.restricted.apply(&Revocation { kind, tenant, study_refs, key_ids: Few::default() });
        Ok(())
    }
}

impl Shared {
    /// What a search must not show to the holder of this permit.
    pub(crate) fn hidden_from<A: Access>(&self, permit: &Permit<A>) -> Arc<HashSet<StudyRef>> {
        if leadglass_policy::opens_restricted(permit.purpose()) {
            return Arc::default();
        }
        self.care.restricted.of(permit.tenant())
    }

    /// Asks the key service for every restriction that it ever told of, until it answers.
    pub(crate) async fn learn_restrictions(&self, stop: &CancellationToken) {
        loop {
            let learnt = tokio::select! {
                () = stop.cancelled() => return,
                learnt = tokio::time::timeout(LEARN_TIME, told(&**self.keys.service())) => learnt,
            };
            match learnt {
                Ok(Ok(all)) => {
                    *self.care.restricted.0.write() = all;
                    return;
                }
                Ok(Err(error)) => tracing::warn!(%error, "which studies are restricted is not known yet"),
                Err(_) => tracing::warn!("which studies are restricted is not told in time; asking again"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TRY_AGAIN) => {}
            }
        }
    }
}

/// What follows from all that the service told so far.
async fn told(service: &dyn KeyService) -> Result<HashMap<TenantId, Arc<HashSet<StudyRef>>>, ServiceError> {
    let mut all = HashMap::new();
    let Some(now) = service.revocations(None).await?.next().await.transpose()? else { return Ok(all) };
    let last = now.seq();
    if last == 0 {
        return Ok(all);
    }
    let mut events = service.revocations(Some(0)).await?;
    while let Some(event) = events.next().await.transpose()? {
        if let RevocationEvent::Revoked { revocation, .. } = &event {
            apply(&mut all, revocation);
        }
        if event.seq() >= last {
            break;
        }
    }
    Ok(all)
}

const LEARN_TIME: Duration = Duration::from_secs(30);
const TRY_AGAIN: Duration = Duration::from_secs(1);
