//! Opening keys: leases that stand, calls under way, and new calls.

use crate::{
    Acting, Keys, KeysError, ServiceError,
    flight::{Flight, Flights, launch},
    keys::{Core, Notice},
    lease::{LEASE_S, Leases, MAX_LEASES, ObjectLease, refusal_by},
    wire::{ApprovalId, Few, KeyRefusal, MAX_BATCH, Opened, OpenedKeys, Scope, UnwrapOutcome, UnwrapRequest, Word},
};
use leadglass_model::{ActorRef, EntryId, KeyId, Purpose, TenantId, UnixMillis};
use leadglass_seal::{IndexKey, MetaKey, StudyKey};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// What became of each key.
pub type OpenOutcome = HashMap<KeyId, Result<Arc<ObjectLease>, KeyRefusal>>;

#[derive(Default)]
pub(crate) struct OpenState {
    pub(crate) leases: Leases,
    flights: Flights<(TenantId, KeyId, Purpose), Arc<OpenOutcome>>,
    /// What was revoked while a call was under way: its answer may be older. By the call's number.
    missed: HashMap<u64, Vec<Notice>>,
    calls: u64,
}

impl Keys {
    /// Opens study keys with scope `object`. Leases that stand are shared, as the cache key says: key, generation,
    /// tenant, scope, purpose. For the others one call a 256 keys is made, or the one that is under way is waited for.
    /// `entry` names the audit entry of this access, which is durable already.
    ///
    /// # Errors
    /// The call failed ([`KeysError::fault`] `Busy`: the key service is away, sealed, or a budget is used up), or more
    /// keys than leases may be held. A key that does not open stands in the map with its reason.
    ///
    /// Cancel safety: yes; a call under way goes on for whoever else waits, and its leases are kept.
    pub async fn open(
        &self,
        tenant: TenantId,
        ids: &[KeyId],
        purpose: Purpose,
        acting: impl Into<Acting>,
        entry: EntryId,
    ) -> Result<OpenOutcome, KeysError> {
        let acting = acting.into();
        let ids: BTreeSet<KeyId> = ids.iter().copied().collect();
        if ids.len() > MAX_LEASES {
            return Err(KeysError::TooMany { count: ids.len(), max: MAX_LEASES });
        }
        let mut opened = OpenOutcome::new();
        let waits = {
            let mut state = self.core.open.lock();
            let now = self.core.clock.now();
            let (mut waits, mut wanted) = (Vec::<Flight<_>>::new(), Vec::new());
            for id in ids.iter().copied() {
                if let Some(lease) = state.leases.find(tenant, id, purpose, now) {
                    opened.insert(id, Ok(lease));
                } else if let Some(flight) = state.flights.get(&(tenant, id, purpose)) {
                    if !waits.iter().any(|w| w.ptr_eq(&flight)) {
                        waits.push(flight);
                    }
                } else {
                    wanted.push(id);
                }
            }
            for batch in wanted.chunks(MAX_BATCH) {
                let call = unwrap_batch(self.core.clone(), tenant, batch.to_vec(), purpose, acting, entry);
                let flight = launch(&self.core.tasks, call);
                for id in batch {
                    state.flights.insert((tenant, *id, purpose), flight.clone());
                }
                waits.push(flight);
            }
            waits
        };
        for wait in waits {
            let outcome = wait.await?;
            opened.extend(outcome.iter().filter(|(id, _)| ids.contains(id)).map(|(id, result)| (*id, result.clone())));
        }
        Ok(opened)
    }

    /// Opens at most 256 study keys for a job that runs under an approval: the named one, or without a name whichever
    /// the key service finds that fits. Always a call of its own; the leases it brings are kept like others.
    ///
    /// # Errors
    /// As [`Keys::open`]; a named approval that does not fit is [`crate::wire::ProblemCode::ApprovalNeeded`], one that does
    /// not reach refuses the keys beyond it one by one.
    ///
    /// Cancel safety: yes; the call goes on and its leases are kept.
    pub async fn open_under(
        &self,
        approval: Option<ApprovalId>,
        tenant: TenantId,
        ids: &[KeyId],
        purpose: Purpose,
        actor: ActorRef,
        entry: EntryId,
    ) -> Result<OpenOutcome, KeysError> {
        if ids.len() > MAX_BATCH {
            return Err(KeysError::TooMany { count: ids.len(), max: MAX_BATCH });
        }
        let (core, ids) = (self.core.clone(), ids.to_vec());
        let call = async move { ask(&core, tenant, &ids, purpose, actor.into(), entry, approval).await };
        let outcome = launch(&self.core.tasks, call).await?;
        Ok(Arc::try_unwrap(outcome).unwrap_or_else(|shared| (*shared).clone()))
    }
}

impl OpenState {
    /// A revocation: ends leases and marks calls under way.
    pub(crate) fn revoke(&mut self, notice: &Notice) {
        match notice {
            Notice::Revoked(revocation) => self.leases.revoke(revocation),
            Notice::Everything => self.leases.clear(),
        }
        for missed in self.missed.values_mut() {
            if missed.len() < MAX_MISSED {
                missed.push(notice.clone());
            } else {
                *missed = vec![Notice::Everything];
            }
        }
    }
}

/// The call's task: asks, takes the leases in, and leaves the list of calls under way.
async fn unwrap_batch(
    core: Arc<Core>,
    tenant: TenantId,
    ids: Vec<KeyId>,
    purpose: Purpose,
    acting: Acting,
    entry: EntryId,
) -> Result<Arc<OpenOutcome>, KeysError> {
    let result = ask(&core, tenant, &ids, purpose, acting, entry, None).await;
    let mut state = core.open.lock();
    for id in &ids {
        state.flights.remove(&(tenant, *id, purpose));
    }
    result
}

async fn ask(
    core: &Core,
    tenant: TenantId,
    ids: &[KeyId],
    purpose: Purpose,
    acting: Acting,
    entry: EntryId,
    approval: Option<ApprovalId>,
) -> Result<Arc<OpenOutcome>, KeysError> {
    let request = UnwrapRequest {
        tenant: Some(tenant),
        key_ids: Few::new(ids.to_vec()).ok_or(KeysError::TooMany { count: ids.len(), max: MAX_BATCH })?,
        scope: Scope::Object,
        purpose,
        actor: acting.actor,
        // Why in words stands in the vault's log; the service wants it to be called an emergency.
        reason: (purpose == Purpose::BreakGlass).then(|| Word::new("emergency")).flatten(),
        approval,
        actor_proof: core.proof(acting, tenant, purpose),
        audit_entry: entry,
    };
    for _ in 0..ATTEMPTS {
        let (number, asked_at) = {
            let mut state = core.open.lock();
            state.calls += 1;
            let number = state.calls;
            state.missed.insert(number, Vec::new());
            (number, core.clock.now())
        };
        let answer = core.call(core.service.unwrap_keys(&request)).await;
        let mut state = core.open.lock();
        let missed = state.missed.remove(&number).unwrap_or_default();
        let mut outcome = read(&request, tenant, answer?, asked_at)?;
        if missed.iter().any(|notice| matches!(notice, Notice::Everything)) {
            continue;
        }
        for result in outcome.values_mut() {
            let refusal = result.as_ref().ok().and_then(|lease| {
                missed.iter().find_map(|notice| match notice {
                    Notice::Revoked(revocation) => refusal_by(revocation, lease),
                    Notice::Everything => None,
                })
            });
            if let Some(refusal) = refusal {
                *result = Err(refusal);
            }
        }
        let now = core.clock.now();
        for lease in outcome.values().flatten() {
            state.leases.insert(lease.clone(), now);
        }
        return Ok(Arc::new(outcome));
    }
    Err(KeysError::GivenUp)
}

/// Checks that the answer is one to this request.
fn read(
    request: &UnwrapRequest,
    tenant: TenantId,
    answer: Vec<UnwrapOutcome>,
    asked_at: UnixMillis,
) -> Result<OpenOutcome, ServiceError> {
    if answer.len() != request.key_ids.len() {
        return Err(ServiceError::answer("count"));
    }
    let mut outcome = OpenOutcome::with_capacity(answer.len());
    for (asked, UnwrapOutcome { key_id, result }) in request.key_ids.iter().zip(answer) {
        if key_id != *asked {
            return Err(ServiceError::answer("key_id"));
        }
        let result = match result {
            Err(refusal) => Err(refusal),
            Ok(Opened { key_gen, tenant: whose, study_ref, keys, lease_s }) => {
                let OpenedKeys::Object { key, index_key, meta_key } = keys else {
                    return Err(ServiceError::answer("scope"));
                };
                if whose != tenant {
                    return Err(ServiceError::answer("tenant"));
                }
                Ok(Arc::new(ObjectLease {
                    key_id,
                    key_gen,
                    tenant,
                    study_ref,
                    purpose: request.purpose,
                    study_key: StudyKey::from_bytes(*key.expose()),
                    index_key: IndexKey::from_bytes(*index_key.expose()),
                    meta_key: MetaKey::from_bytes(*meta_key.expose()),
                    acquired: asked_at,
                    expires: asked_at.plus_secs(u64::from(lease_s).min(LEASE_S)),
                    end: CancellationToken::new(),
                }))
            }
        };
        outcome.insert(key_id, result);
    }
    Ok(outcome)
}

/// How often a call is made when a reset of the revocation stream crosses its answer.
const ATTEMPTS: usize = 3;
/// Revocations remembered for a call under way; with more, its answer is not used.
const MAX_MISSED: usize = 64;
