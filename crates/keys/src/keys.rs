//! What the engine holds: leases, keys to seal under and secrets, over a [`KeyService`].
//!
//! The parts: `open` gives leases, `hand_out` keys to seal under, `secret` secrets; `watch` follows revocations and keeps
//! house. Each has its own lock, none is held across an `.await`.

use crate::{
    KeyService, KeysError, SealingKey, Secret, ServiceError,
    flight::Flights,
    lease::Leases,
    open::OpenState,
    sealing::{Reserve, SealingKeys},
    wire::{IndexRequest, MAX_INDEX_PAGE, ProblemCode, Revocation, SecretName},
};
use futures::{Stream, TryStreamExt};
use leadglass_model::{Clock, KeyGen, KeyId, StudyRef, TenantId, UnixMillis};
use leadglass_seal::IndexKey;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    future::Future,
    sync::Arc,
};
use tokio::sync::{Notify, broadcast};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Leases, reserve and secrets of this vault node. Cloning shares them.
#[derive(Clone)]
pub struct Keys {
    pub(crate) core: Arc<Core>,
}

pub(crate) struct Core {
    pub(crate) service: Arc<dyn KeyService>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: TaskTracker,
    pub(crate) open: Mutex<OpenState>,
    pub(crate) seal: Mutex<SealState>,
    pub(crate) secrets: Mutex<SecretState>,
    pub(crate) contact: Mutex<Contact>,
    pub(crate) notices: broadcast::Sender<Notice>,
    /// A reserve runs low.
    pub(crate) low: Notify,
    /// Says who acts.
    pub(crate) signer: std::sync::OnceLock<crate::ActorSigner>,
}

#[derive(Default)]
pub(crate) struct SealState {
    pub(crate) reserves: HashMap<TenantId, Reserve>,
    pub(crate) in_use: SealingKeys,
    /// Keys of which it is not known whether they are bound to the study: they are good for that study only.
    pub(crate) half_bound: HashMap<(TenantId, StudyRef), SealingKey>,
    pub(crate) refills: Flights<TenantId, ()>,
    pub(crate) binds: Flights<(TenantId, StudyRef), Arc<SealingKey>>,
    /// Studies that were destroyed while a key was being bound to them.
    pub(crate) destroyed_meanwhile: HashSet<(TenantId, StudyRef)>,
    /// Destructions so far.
    pub(crate) destructions: u64,
}

#[derive(Default)]
pub(crate) struct SecretState {
    pub(crate) held: HashMap<(TenantId, SecretName), HeldSecret>,
    pub(crate) fetches: Flights<(TenantId, SecretName), Arc<Secret>>,
}

pub(crate) struct HeldSecret {
    pub(crate) secret: Arc<Secret>,
    pub(crate) refresh_at: UnixMillis,
    pub(crate) expires: UnixMillis,
}

/// How the last call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contact {
    /// No call was made yet.
    #[default]
    Unknown,
    /// It answered.
    Up,
    /// It answered that it is sealed.
    Sealed,
    /// It did not answer.
    Away,
}

/// What the rest of the vault must follow: drop rows and rendered images of what is named.
#[derive(Debug, Clone)]
pub enum Notice {
    /// These studies or keys.
    Revoked(Arc<Revocation>),
    /// The node may have missed some: whatever was opened is to be opened again.
    Everything,
}

/// How it stands, for readiness and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyServiceState {
    /// How the last call went.
    pub contact: Contact,
    /// Whether revocations are heard; when not for 60 s, leases are dropped.
    pub revocations_heard: bool,
    /// Unused keys, by tenant.
    pub reserves: Vec<(TenantId, usize)>,
    /// Leases held.
    pub leases: usize,
    /// Studies that this node seals into.
    pub sealing_keys: usize,
}

/// The index key of one study key.
#[derive(Debug)]
pub struct IndexKeyEntry {
    /// The study key.
    pub key_id: KeyId,
    /// Its generation.
    pub key_gen: KeyGen,
    /// The study.
    pub study_ref: StudyRef,
    /// Opens study, series and instance rows.
    pub index_key: IndexKey,
}

impl Keys {
    /// Starts the tasks that follow revocations and fill the reserve; they end with `stop` and are counted by `tasks`.
    /// Cancel `stop` after whatever needs keys has drained.
    ///
    /// Reserves are kept for the tenants that the key service lists, and for any that a key is asked for.
    pub fn start(
        service: Arc<dyn KeyService>,
        clock: Arc<dyn Clock>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let keys = Self::idle(service, clock, tasks);
        keys.core.tasks.spawn(crate::watch::follow_revocations(keys.core.clone(), stop.clone()));
        keys.core.tasks.spawn(crate::watch::keep_house(keys.core.clone(), stop));
        keys
    }

    /// Without its tasks.
    pub(crate) fn idle(service: Arc<dyn KeyService>, clock: Arc<dyn Clock>, tasks: TaskTracker) -> Self {
        let core = Core {
            service,
            clock,
            tasks,
            open: Mutex::default(),
            seal: Mutex::default(),
            secrets: Mutex::default(),
            contact: Mutex::default(),
            notices: broadcast::Sender::new(NOTICES_KEPT),
            low: Notify::new(),
            signer: std::sync::OnceLock::new(),
        };
        Self { core: Arc::new(core) }
    }

    /// The calls that need no lease: `mac`, `tenants`, `attest`, `cosign`, `health`, restriction, destruction, approvals.
    pub fn service(&self) -> &Arc<dyn KeyService> {
        &self.core.service
    }

    /// Revocations from now on. A receiver that lags treats it as [`Notice::Everything`]. Leases and sealing keys
    /// are already dropped when a notice arrives.
    pub fn revocations(&self) -> broadcast::Receiver<Notice> {
        self.core.notices.subscribe()
    }

    /// The index keys of a tenant, page by page, ascending by key id: for the projection at start.
    ///
    /// Cancel safety: yes; dropping the stream ends it.
    pub fn index_keys(
        &self,
        tenant: TenantId,
    ) -> impl Stream<Item = Result<Vec<IndexKeyEntry>, KeysError>> + Send + use<> {
        let core = self.core.clone();
        let pages = futures::stream::try_unfold(Some(None), move |cursor: Option<Option<KeyId>>| {
            let core = core.clone();
            async move {
                let Some(after) = cursor else { return Ok::<_, ServiceError>(None) };
                let request = IndexRequest { tenant, after, limit: PAGE };
                let page = core.call(core.service.index_keys(&request)).await?;
                let next = if page.more { page.keys.last().map(|key| Some(key.key_id)) } else { None };
                let keys = page.keys.into_iter().map(|key| IndexKeyEntry {
                    key_id: key.key_id,
                    key_gen: key.key_gen,
                    study_ref: key.study_ref,
                    index_key: IndexKey::from_bytes(*key.index_key.expose()),
                });
                Ok(Some((keys.collect(), next)))
            }
        });
        pages.map_err(KeysError::from)
    }

    /// How it stands.
    pub fn state(&self) -> KeyServiceState {
        let now = self.core.clock.now();
        let (leases, heard) = {
            let open = self.core.open.lock();
            (open.leases.len(), open.leases.last_heard())
        };
        let seal = self.core.seal.lock();
        let tenants: BTreeSet<TenantId> = seal.reserves.keys().copied().collect();
        KeyServiceState {
            contact: *self.core.contact.lock(),
            revocations_heard: Leases::hears(heard, now),
            reserves: tenants.into_iter().map(|t| (t, seal.reserves.get(&t).map_or(0, Reserve::len))).collect(),
            leases,
            sealing_keys: seal.in_use.len(),
        }
    }

    /// Ends and wipes what is over. The housekeeping task does it each second; a test that moves a clock may do it itself.
    pub fn sweep(&self) {
        self.core.sweep();
    }
}

impl Core {
    /// Makes a call and remembers how it went.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, ServiceError>> + Send,
    ) -> Result<T, ServiceError> {
        let result = call.await;
        let contact = match &result {
            Err(ServiceError::Away { .. } | ServiceError::Lost { .. } | ServiceError::TimedOut) => Contact::Away,
            Err(e) if e.code() == Some(ProblemCode::Sealed) => Contact::Sealed,
            _ => Contact::Up,
        };
        let before = std::mem::replace(&mut *self.contact.lock(), contact);
        if before != contact {
            tracing::info!(?contact, "Contact to the key service changed");
        }
        result
    }

    pub(crate) fn sweep(&self) {
        let now = self.clock.now();
        self.open.lock().leases.sweep(now);
        {
            let mut seal = self.seal.lock();
            seal.in_use.sweep(now);
            seal.reserves.values_mut().for_each(|reserve| reserve.drop_old(now));
        }
        self.secrets.lock().held.retain(|_, held| now < held.expires);
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Keys").field(&self.state()).finish()
    }
}

/// Notices kept for a slow receiver.
const NOTICES_KEPT: usize = 256;
/// Index keys a page.
#[allow(clippy::cast_possible_truncation, reason = "4096 fits")]
const PAGE: u16 = MAX_INDEX_PAGE as u16;
