//! Handing out keys to seal under.

use crate::{
    Keys, KeysError, SealingKey, ServiceError,
    flight::{Flight, launch},
    keys::Core,
    wire::{BindRequest, CreateRequest, Problem, ProblemCode, Revocation, RevocationKind},
};
use leadglass_model::{KeyId, StudyRef, TenantId};
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

impl Keys {
    /// A key to seal under. Without a study: an unused one with a fresh StudyRef. With a study that exists: the one this
    /// node already seals it under, else an unused one that the key service has bound to it before it is handed out.
    ///
    /// While the key service is away the reserve serves new studies, and keys in use serve theirs.
    ///
    /// # Errors
    /// The key service is needed and cannot be asked ([`KeysError::fault`] `Busy`), or refused.
    ///
    /// Cancel safety: yes; a key bound by a call under way is kept for the next who asks for that study.
    pub async fn sealing_key(&self, tenant: TenantId, study: Option<StudyRef>) -> Result<Arc<SealingKey>, KeysError> {
        let Some(study) = study else {
            let key = Arc::new(self.core.take_unused(tenant).await?);
            self.core.seal.lock().in_use.insert(key.clone(), self.core.clock.now());
            return Ok(key);
        };
        let bind = {
            let mut state = self.core.seal.lock();
            if let Some(key) = state.in_use.find(tenant, study, self.core.clock.now()) {
                return Ok(key);
            }
            let core = self.core.clone();
            state.binds.get_or_start((tenant, study), || launch(&self.core.tasks, bind(core, tenant, study)))
        };
        bind.await
    }

    /// Binds a key that [`Self::sealing_key`] gave out for a new study to a study that turned out to be known. The key
    /// given back is the same with the study's reference; what was sealed under the first one opens as part of it.
    /// Repeating it is fine.
    ///
    /// # Errors
    /// The key service cannot be asked (`Busy`) or refuses (the key is bound to another study: `Conflict`). After an
    /// error the key is good for this study only: whether it is bound may not be known.
    ///
    /// Cancel safety: yes, in that it may be called again; the call may or may not have been carried out.
    pub async fn bind(&self, key: &Arc<SealingKey>, study: StudyRef) -> Result<Arc<SealingKey>, KeysError> {
        if key.study_ref() == study {
            return Ok(key.clone());
        }
        let request = BindRequest { tenant: key.tenant(), key_id: key.key_id(), study_ref: study };
        let destructions = self.core.seal.lock().destructions;
        let result = self.core.call(self.core.service.bind(&request)).await;
        let mut state = self.core.seal.lock();
        state.in_use.forget(key);
        result?;
        let bound = Arc::new(key.bound_copy(study));
        let now = self.core.clock.now();
        if state.destructions == destructions && state.in_use.find(key.tenant(), study, now).is_none() {
            state.in_use.insert(bound.clone(), now);
        }
        Ok(bound)
    }

    /// Nobody is given one of these keys for the study any more: they come to their end. What holds one already goes on.
    pub fn stop_sealing(&self, tenant: TenantId, study: StudyRef, keys: &BTreeSet<KeyId>) {
        self.core.seal.lock().in_use.stop(tenant, study, keys);
    }
}

impl Core {
    /// An unused key, from the reserve or, when that is empty, straight from the key service.
    async fn take_unused(self: &Arc<Self>, tenant: TenantId) -> Result<SealingKey, KeysError> {
        for _ in 0..TAKE_ATTEMPTS {
            let refill = {
                let mut state = self.seal.lock();
                let reserve = state.reserves.entry(tenant).or_default();
                let now = self.clock.now();
                let key = reserve.take(now);
                if reserve.wants(now) > 0 {
                    self.low.notify_one();
                }
                if let Some(key) = key {
                    return Ok(key);
                }
                drop(state);
                self.refill(tenant)
            };
            refill.await?;
        }
        Err(KeysError::GivenUp)
    }

    /// Fills a reserve up, if it wants it. One call a tenant at a time.
    pub(crate) fn refill(self: &Arc<Self>, tenant: TenantId) -> Flight<()> {
        let core = self.clone();
        self.seal.lock().refills.get_or_start(tenant, || {
            launch(&self.tasks, async move {
                let result = core.create(tenant).await;
                let mut state = core.seal.lock();
                state.refills.remove(&tenant);
                if let Err(error) = &result {
                    let reserve = state.reserves.entry(tenant).or_default();
                    reserve.refill_failed(core.clock.now());
                    // No tenant of ours: nothing to keep in mind.
                    if reserve.len() == 0 && error.code() == Some(ProblemCode::NotFound) {
                        state.reserves.remove(&tenant);
                    }
                }
                result.map_err(KeysError::from)
            })
        })
    }

    async fn create(&self, tenant: TenantId) -> Result<(), ServiceError> {
        let created = self.clock.now();
        let wants = self.seal.lock().reserves.entry(tenant).or_default().wants(created);
        if wants == 0 {
            return Ok(());
        }
        let count = u16::try_from(wants).unwrap_or(u16::MAX);
        let request = CreateRequest { tenant, study_ref: None, count };
        let keys = self.call(self.service.create(&request)).await?;
        // Two studies under one key or reference would be erased together: such an answer is of no use.
        let names: HashSet<_> = keys.iter().map(|k| k.key_id).collect();
        let studies: HashSet<_> = keys.iter().map(|k| k.study_ref).collect();
        if keys.len() != wants || names.len() != wants || studies.len() != wants {
            return Err(ServiceError::answer("count"));
        }
        let keys = keys.into_iter().map(|key| SealingKey::new(tenant, key, created));
        self.seal.lock().reserves.entry(tenant).or_default().add(keys);
        Ok(())
    }

    /// Nobody goes on sealing under what is destroyed.
    pub(crate) fn revoke_sealing(&self, revocation: &Revocation) {
        let mut state = self.seal.lock();
        state.in_use.revoke(revocation);
        if revocation.kind == RevocationKind::Destroyed {
            state.destructions += 1;
            for study in revocation.study_refs.iter() {
                if state.binds.get(&(revocation.tenant, *study)).is_some() {
                    state.destroyed_meanwhile.insert((revocation.tenant, *study));
                }
            }
        }
    }

    /// The key service may have lost keys that it made (it was restored from a backup): what it does not know cannot
    /// be opened again, so nobody may begin to seal under it.
    pub(crate) fn distrust_keys(&self) {
        let mut state = self.seal.lock();
        state.reserves.values_mut().for_each(|reserve| *reserve = crate::sealing::Reserve::default());
        state.in_use = crate::sealing::SealingKeys::default();
        state.half_bound.clear();
        self.low.notify_one();
    }
}

/// The call's task: binds a key and puts it into use.
async fn bind(core: Arc<Core>, tenant: TenantId, study: StudyRef) -> Result<Arc<SealingKey>, KeysError> {
    let mut result = try_bind(&core, tenant, study).await;
    if let Err(e) = &result
        && matches!(e.code(), Some(ProblemCode::Conflict | ProblemCode::NotFound))
    {
        result = try_bind(&core, tenant, study).await;
    }
    let mut state = core.seal.lock();
    state.binds.remove(&(tenant, study));
    if state.destroyed_meanwhile.remove(&(tenant, study)) {
        let problem = Problem::new(ProblemCode::Destroyed, "the study was destroyed meanwhile");
        return Err(ServiceError::Refused { problem }.into());
    }
    if let Ok(key) = &result {
        state.in_use.insert(key.clone(), core.clock.now());
    }
    result
}

async fn try_bind(core: &Arc<Core>, tenant: TenantId, study: StudyRef) -> Result<Arc<SealingKey>, KeysError> {
    let half_bound = core.seal.lock().half_bound.remove(&(tenant, study));
    let key = match half_bound {
        Some(key) => key,
        None => core.take_unused(tenant).await?,
    };
    let request = BindRequest { tenant, key_id: key.key_id(), study_ref: study };
    let error = match core.call(core.service.bind(&request)).await {
        Ok(()) => return Ok(Arc::new(key.bound_to(study))),
        Err(error) => error,
    };
    let mut state = core.seal.lock();
    match error.code() {
        // Bound to another study, or destroyed: this key is of no use to anybody.
        Some(ProblemCode::Conflict | ProblemCode::Destroyed) => {}
        Some(ProblemCode::NotFound) => {
            drop(state);
            core.distrust_keys();
        }
        _ if error.had_no_effect() => state.reserves.entry(tenant).or_default().give_back(key),
        _ if state.half_bound.len() < MAX_HALF_BOUND => {
            state.half_bound.insert((tenant, study), key);
        }
        _ => {}
    }
    Err(error.into())
}

/// How often an empty reserve is filled for one caller, while others empty it at the same time.
const TAKE_ATTEMPTS: usize = 8;
/// Keys kept of which it is not known whether they are bound.
const MAX_HALF_BOUND: usize = 64;
