//! A key service in memory, for the tests of every crate above.
//!
//! It keeps the rules that callers can notice: fresh references, binding once, refusals, restriction, budgets, the
//! revocation stream. It can be switched to be gone or sealed, and it counts calls. It holds no person to an approval.

use crate::{
    KeyService, RevocationStream, ServiceError,
    lease::{LEASE_S, opens_restricted},
    wire::{
        Approval, ApprovalId, ApprovalState, Assertion, Attestation, BindRequest, CosignAnswer, CosignRequest,
        CreateRequest, CreateTenant, DestroyRequest, DestroyStatement, EnrolPerson, Enrolled, EpochAdvance,
        EpochAdvanced, EpochList, Few, Health, Hex32, IndexKeyRecord, IndexPage, IndexRequest, KeyBytes, KeyRefusal,
        LodgedJob, LogPage, LogRead, MAX_BATCH, MAX_INDEX_PAGE, MacAnswer, MacRequest, NewKey, OpenApproval, Opened,
        OpenedKeys, PresentReceipts, Problem, ProblemCode, ReceiptsSeen, RegisterActors, RestrictAnswer,
        RestrictRequest, Revocation, RevocationEvent, RevocationKind, SECRET_LEASE_S, Scope, SecretName, SecretRecord,
        SecretRequest, SignedStatement, TenantInfo, TenantList, UnwrapOutcome, UnwrapRequest, Word,
    },
};
use futures::{StreamExt, stream};
use hmac::{Hmac, KeyInit, Mac};
use leadglass_model::{Clock, Entropy, KeyGen, KeyId, Purpose, StudyRef, TenantId, UnixMillis};
use leadglass_seal::StudyKey;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{broadcast, watch};

/// How the fake behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FakeMode {
    /// Answers.
    #[default]
    Up,
    /// Cannot be reached; revocation streams end.
    Gone,
    /// Says that it is sealed.
    Sealed,
    /// Does what it is asked and loses the answer.
    LosesAnswers,
}

/// Calls that arrived, answered or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each is the call of that name")]
pub struct FakeCalls {
    pub create: usize,
    pub bind: usize,
    pub unwrap: usize,
    pub index: usize,
    pub secret: usize,
    pub mac: usize,
    pub tenants: usize,
    pub revocations: usize,
    pub cosign: usize,
    pub other: usize,
}

/// A key service in memory.
pub struct FakeKeyService {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    world: Mutex<World>,
    held: watch::Sender<bool>,
}

struct World {
    mode: FakeMode,
    over_budget: bool,
    bulk_approved: bool,
    tenants: BTreeMap<TenantId, TenantInfo>,
    keys: BTreeMap<KeyId, Row>,
    restricted: HashSet<(TenantId, StudyRef)>,
    secrets: BTreeMap<(TenantId, SecretName), KeyBytes>,
    peppers: BTreeMap<TenantId, KeyBytes>,
    revoked: Vec<Revocation>,
    /// Revocations that are no longer remembered.
    forgotten: usize,
    listeners: broadcast::Sender<RevocationEvent>,
    calls: FakeCalls,
    unwraps: Vec<UnwrapRequest>,
    known_size: u64,
}

struct Row {
    tenant: TenantId,
    study_ref: StudyRef,
    key: StudyKey,
    created: UnixMillis,
    bound: bool,
    opened: bool,
    destroyed: bool,
}

impl FakeKeyService {
    /// A service without tenants.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Arc<Self> {
        let world = World {
            mode: FakeMode::Up,
            over_budget: false,
            bulk_approved: false,
            tenants: BTreeMap::new(),
            keys: BTreeMap::new(),
            restricted: HashSet::new(),
            secrets: BTreeMap::new(),
            peppers: BTreeMap::new(),
            revoked: Vec::new(),
            forgotten: 0,
            listeners: broadcast::Sender::new(LISTENER_ROOM),
            calls: FakeCalls::default(),
            unwraps: Vec::new(),
            known_size: 0,
        };
        Arc::new(Self { clock, entropy, world: Mutex::new(world), held: watch::Sender::new(false) })
    }

    /// Makes a tenant. The label is a word as [`Word`] has it.
    pub fn add_tenant(&self, label: &str) -> TenantId {
        let request = CreateTenant { label: Word::new(label).expect("the test gives a word") };
        let tenant = TenantId::random(&*self.entropy);
        let info = TenantInfo { tenant, label: request.label, created_at: self.clock.now() };
        self.world.lock().tenants.insert(tenant, info);
        tenant
    }

    /// Changes how it behaves from the next call on.
    pub fn set_mode(&self, mode: FakeMode) {
        let mut world = self.world.lock();
        world.mode = mode;
        if matches!(mode, FakeMode::Gone | FakeMode::Sealed) {
            world.listeners = broadcast::Sender::new(LISTENER_ROOM);
        }
    }

    /// Ends the revocation streams, as a restart does. Keys and revocations stay.
    pub fn restart(&self) {
        self.world.lock().listeners = broadcast::Sender::new(LISTENER_ROOM);
    }

    /// Whether unwraps of scope `object` are over budget.
    pub fn set_over_budget(&self, over: bool) {
        self.world.lock().over_budget = over;
    }

    /// Whether bulk purposes (erasure, research, quality), and calls that name an approval, stand under one.
    pub fn set_bulk_approved(&self, approved: bool) {
        self.world.lock().bulk_approved = approved;
    }

    /// Loses the list of revocations, so that readers who come back get a reset.
    pub fn forget_revocations(&self) {
        let mut world = self.world.lock();
        world.forgotten += world.revoked.len();
        world.revoked.clear();
    }

    /// Loses keys, as a restore from an older backup does.
    pub fn lose_keys_created_since(&self, since: UnixMillis) {
        self.world.lock().keys.retain(|_, row| row.created < since);
    }

    /// Calls wait from here on until [`Self::release`].
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets waiting calls go on.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Calls so far.
    pub fn calls(&self) -> FakeCalls {
        self.world.lock().calls
    }

    /// Unwraps so far, as they were asked.
    pub fn unwraps(&self) -> Vec<UnwrapRequest> {
        self.world.lock().unwraps.clone()
    }

    /// The study that a key seals, as the service has it.
    pub fn study_of(&self, key_id: KeyId) -> Option<StudyRef> {
        self.world.lock().keys.get(&key_id).map(|row| row.study_ref)
    }

    /// Sends a sign of life on the revocation streams.
    pub fn beat(&self) {
        let world = self.world.lock();
        let _ = world.listeners.send(RevocationEvent::Beat { seq: world.seq() });
    }

    /// Destroys all keys of a study.
    pub fn destroy_study(&self, tenant: TenantId, study: StudyRef) {
        self.world.lock().destroy(tenant, &[study], &[]);
    }

    /// Restricts a study.
    pub fn restrict_study(&self, tenant: TenantId, study: StudyRef) {
        self.world.lock().restrict(tenant, &[study]);
    }

    /// Lifts a restriction.
    pub fn unrestrict_study(&self, tenant: TenantId, study: StudyRef) {
        self.world.lock().unrestrict(tenant, &[study]);
    }

    async fn serve<T>(
        &self,
        count: impl FnOnce(&mut FakeCalls) + Send,
        work: impl FnOnce(&Self, &mut World) -> Result<T, ServiceError> + Send,
    ) -> Result<T, ServiceError> {
        count(&mut self.world.lock().calls);
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.map_err(|e| ServiceError::Away { source: Arc::new(e) })?;
        let mut world = self.world.lock();
        match world.mode {
            FakeMode::Up => work(self, &mut world),
            FakeMode::Gone => Err(ServiceError::Away { source: Arc::new(broken()) }),
            FakeMode::Sealed => Err(refused(ProblemCode::Sealed)),
            FakeMode::LosesAnswers => {
                work(self, &mut world)?;
                Err(ServiceError::Lost { source: Arc::new(broken()) })
            }
        }
    }
}

#[async_trait::async_trait]
impl KeyService for FakeKeyService {
    async fn create(&self, request: &CreateRequest) -> Result<Vec<NewKey>, ServiceError> {
        self.serve(
            |calls| calls.create += 1,
            |fake, world| {
                world.tenant(request.tenant)?;
                if request.count == 0 || usize::from(request.count) > MAX_BATCH {
                    return Err(refused(ProblemCode::BadRequest));
                }
                let keys = (0..request.count).map(|_| fake.new_key(world, request.tenant, request.study_ref));
                Ok(keys.collect())
            },
        )
        .await
    }

    async fn bind(&self, request: &BindRequest) -> Result<(), ServiceError> {
        self.serve(
            |calls| calls.bind += 1,
            |_, world| {
                let row = world.keys.get_mut(&request.key_id).filter(|row| row.tenant == request.tenant);
                let row = row.ok_or(refused(ProblemCode::NotFound))?;
                match () {
                    () if row.destroyed => Err(refused(ProblemCode::Destroyed)),
                    () if row.bound && row.study_ref == request.study_ref => Ok(()),
                    () if row.bound || row.opened => Err(refused(ProblemCode::Conflict)),
                    () => {
                        row.study_ref = request.study_ref;
                        row.bound = true;
                        Ok(())
                    }
                }
            },
        )
        .await
    }

    async fn unwrap_keys(&self, request: &UnwrapRequest) -> Result<Vec<UnwrapOutcome>, ServiceError> {
        self.serve(
            |calls| calls.unwrap += 1,
            |fake, world| {
                world.unwraps.push(request.clone());
                if world.over_budget && request.scope == Scope::Object {
                    return Err(refused(ProblemCode::OverBudget));
                }
                if request.approval.is_some() && !world.bulk_approved {
                    return Err(refused(ProblemCode::ApprovalNeeded));
                }
                let now = fake.clock.now();
                let outcomes = request
                    .key_ids
                    .iter()
                    .map(|id| UnwrapOutcome { key_id: *id, result: world.open(*id, request, now) });
                Ok(outcomes.collect())
            },
        )
        .await
    }

    async fn register_actors(&self, _: &RegisterActors) -> Result<(), ServiceError> {
        self.serve(|calls| calls.other += 1, |_, _| Ok(())).await
    }

    async fn index_keys(&self, request: &IndexRequest) -> Result<IndexPage, ServiceError> {
        self.serve(
            |calls| calls.index += 1,
            |_, world| {
                world.tenant(request.tenant)?;
                let limit = usize::from(request.limit).min(MAX_INDEX_PAGE);
                let from = request.after.map_or(Bound::Unbounded, Bound::Excluded);
                let rows = world.keys.range((from, Bound::Unbounded));
                let mut rows = rows.filter(|(_, row)| row.tenant == request.tenant && !row.destroyed);
                let keys = rows.by_ref().take(limit).map(|(id, row)| IndexKeyRecord {
                    key_id: *id,
                    key_gen: KeyGen::FIRST,
                    study_ref: row.study_ref,
                    index_key: row.index_key(*id),
                });
                let keys = keys.collect();
                Ok(IndexPage { keys, more: rows.next().is_some() })
            },
        )
        .await
    }

    async fn secret(&self, request: &SecretRequest) -> Result<SecretRecord, ServiceError> {
        self.serve(
            |calls| calls.secret += 1,
            |fake, world| {
                if request.tenant != crate::wire::INSTALLATION {
                    world.tenant(request.tenant)?;
                }
                let secret = world.secrets.entry((request.tenant, request.name)).or_insert_with(|| fake.fresh());
                Ok(SecretRecord { version: 1, lease_s: SECRET_LEASE_S, bytes: KeyBytes::copy_of(secret.expose()) })
            },
        )
        .await
    }

    async fn mac(&self, request: &MacRequest) -> Result<MacAnswer, ServiceError> {
        self.serve(
            |calls| calls.mac += 1,
            |fake, world| {
                world.tenant(request.tenant)?;
                let pepper = world.peppers.entry(request.tenant).or_insert_with(|| fake.fresh());
                let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(pepper.expose())
                    .map_err(|_| refused(ProblemCode::Internal))?;
                mac.update(request.data.expose());
                Ok(MacAnswer { mac: Hex32(mac.finalize().into_bytes().into()) })
            },
        )
        .await
    }

    async fn tenants(&self) -> Result<TenantList, ServiceError> {
        self.serve(
            |calls| calls.tenants += 1,
            |_, world| {
                let tenants = Few::new(world.tenants.values().cloned().collect());
                Ok(TenantList { tenants: tenants.ok_or(refused(ProblemCode::Internal))? })
            },
        )
        .await
    }

    async fn revocations(&self, after: Option<u64>) -> Result<RevocationStream, ServiceError> {
        self.serve(
            |calls| calls.revocations += 1,
            |_, world| {
                let (seq, forgotten) = (world.seq(), world.forgotten as u64);
                let after = after.unwrap_or(seq);
                let start = if after < forgotten || after > seq {
                    vec![RevocationEvent::Reset { seq }]
                } else {
                    let missed = (forgotten + 1..).zip(&world.revoked).filter(|(n, _)| *n > after);
                    let missed = missed.map(|(seq, r)| RevocationEvent::Revoked { seq, revocation: r.clone() });
                    missed.chain([RevocationEvent::Beat { seq }]).collect()
                };
                let live = stream::unfold(world.listeners.subscribe(), async |mut listener| {
                    listener.recv().await.ok().map(|event| (event, listener))
                });
                Ok(stream::iter(start).chain(live).map(Ok).boxed())
            },
        )
        .await
    }

    async fn attest(&self, nonce: Hex32) -> Result<Attestation, ServiceError> {
        self.serve(|calls| calls.other += 1, |_, _| Ok(statement(format!("{{\"nonce\":\"{nonce}\"}}")))).await
    }

    async fn health(&self) -> Result<Health, ServiceError> {
        self.serve(
            |calls| calls.other += 1,
            |_, _| Ok(Health { sealed: false, epoch: Some(1), uptime_s: 1, version: "fake".to_owned() }),
        )
        .await
    }

    async fn cosign(&self, request: &CosignRequest) -> Result<CosignAnswer, ServiceError> {
        self.serve(
            |calls| calls.cosign += 1,
            |_, world| {
                // C2SP tlog-checkpoint: the second line is the size.
                let size = request.checkpoint.lines().nth(1).and_then(|line| line.parse::<u64>().ok());
                let size = size.ok_or(refused(ProblemCode::BadRequest))?;
                if request.old_size != world.known_size || size < world.known_size {
                    let forked = size < world.known_size;
                    let code = if forked { ProblemCode::Fork } else { ProblemCode::Conflict };
                    let mut problem = Problem::new(code, "not a continuation");
                    problem.known_size = Some(world.known_size);
                    return Err(ServiceError::Refused { problem });
                }
                world.known_size = size;
                Ok(CosignAnswer { cosignature: format!("\u{2014} fake-witness {size}\n") })
            },
        )
        .await
    }

    /// It keeps no log.
    async fn read_log(&self, _request: &LogRead) -> Result<LogPage, ServiceError> {
        self.serve(|calls| calls.other += 1, |_, _| Err(refused(ProblemCode::NotFound))).await
    }

    async fn restrict(&self, request: &RestrictRequest) -> Result<RestrictAnswer, ServiceError> {
        self.serve(
            |calls| calls.other += 1,
            |_, world| Ok(RestrictAnswer { changed: world.restrict(request.tenant, &request.study_refs) }),
        )
        .await
    }

    async fn unrestrict(&self, request: &RestrictRequest) -> Result<RestrictAnswer, ServiceError> {
        self.serve(
            |calls| calls.other += 1,
            |_, world| Ok(RestrictAnswer { changed: world.unrestrict(request.tenant, &request.study_refs) }),
        )
        .await
    }

    async fn destroy(&self, request: &DestroyRequest) -> Result<SignedStatement, ServiceError> {
        self.serve(
            |calls| calls.other += 1,
            |fake, world| {
                let said = DestroyStatement {
                    tenant: request.tenant,
                    order_id: request.order_id.clone(),
                    approval: request.approval.clone(),
                    key_ids: world.destroy(request.tenant, &request.study_refs, &request.key_ids),
                    live_erased_at: fake.clock.now(),
                    epoch: 1,
                };
                let said = serde_json::to_string(&said).map_err(|_| refused(ProblemCode::Internal))?;
                Ok(statement(said))
            },
        )
        .await
    }

    /// It is never restored.
    async fn present_receipts(&self, _: &PresentReceipts) -> Result<ReceiptsSeen, ServiceError> {
        let seen = ReceiptsSeen { destroyed: 0, foreign: 0, awaited: false };
        self.serve(|calls| calls.other += 1, |_, _| Ok(seen)).await
    }

    /// It has one epoch, which does not end.
    async fn advance_epoch(&self, _: &EpochAdvance) -> Result<EpochAdvanced, ServiceError> {
        self.serve(|calls| calls.other += 1, |_, _| Err(refused(ProblemCode::NotFound))).await
    }

    async fn epochs(&self) -> Result<EpochList, ServiceError> {
        self.serve(|calls| calls.other += 1, |_, _| Ok(EpochList { epochs: Vec::new() })).await
    }

    async fn open_approval(&self, _: &OpenApproval) -> Result<Approval, ServiceError> {
        self.serve(|calls| calls.other += 1, |fake, _| fake.approval(ApprovalState::Open)).await
    }

    async fn answer_approval(&self, _: &ApprovalId, _: &Assertion) -> Result<Approval, ServiceError> {
        self.serve(|calls| calls.other += 1, |fake, _| fake.approval(ApprovalState::Approved)).await
    }

    /// It keeps no job, and knows no people.
    async fn lodged_job(&self, _: &ApprovalId) -> Result<LodgedJob, ServiceError> {
        self.serve(|calls| calls.other += 1, |_, _| Err(refused(ProblemCode::NotFound))).await
    }

    async fn enrol_person(&self, _: &EnrolPerson) -> Result<Enrolled, ServiceError> {
        self.serve(|calls| calls.other += 1, |_, _| Err(refused(ProblemCode::Forbidden))).await
    }
}

impl FakeKeyService {
    fn fresh(&self) -> KeyBytes {
        KeyBytes::fill_with(|out| self.entropy.fill(out))
    }

    fn new_key(&self, world: &mut World, tenant: TenantId, study: Option<StudyRef>) -> NewKey {
        let key_id = KeyId::random(&*self.entropy);
        let study_ref = study.unwrap_or_else(|| StudyRef::random(&*self.entropy));
        let key = StudyKey::generate(&*self.entropy);
        let row = Row {
            tenant,
            study_ref,
            key,
            created: self.clock.now(),
            bound: study.is_some(),
            opened: false,
            destroyed: false,
        };
        let (key, index_key, meta_key) = row.keys(key_id);
        world.keys.insert(key_id, row);
        NewKey { key_id, key_gen: KeyGen::FIRST, study_ref, key, index_key, meta_key, lease_s: LEASE }
    }

    fn approval(&self, state: ApprovalState) -> Result<Approval, ServiceError> {
        let id = Word::new("fake").ok_or(refused(ProblemCode::Internal))?;
        Ok(Approval { id, nonce: Hex32([0; 32]), expires_at: self.clock.now().plus_secs(600), state })
    }
}

impl World {
    fn seq(&self) -> u64 {
        (self.forgotten + self.revoked.len()) as u64
    }

    fn tenant(&self, tenant: TenantId) -> Result<(), ServiceError> {
        if self.tenants.contains_key(&tenant) { Ok(()) } else { Err(refused(ProblemCode::NotFound)) }
    }

    fn open(&mut self, id: KeyId, request: &UnwrapRequest, now: UnixMillis) -> Result<Opened, KeyRefusal> {
        let bulk_approved = self.bulk_approved;
        let row = self.keys.get_mut(&id).filter(|row| request.tenant.is_none_or(|t| t == row.tenant));
        let row = row.ok_or(KeyRefusal::Unknown)?;
        if row.destroyed {
            return Err(KeyRefusal::Destroyed);
        }
        let keys = match request.scope {
            Scope::Index => OpenedKeys::Index { index_key: row.index_key(id) },
            Scope::Object => {
                if self.restricted.contains(&(row.tenant, row.study_ref)) && !opens_restricted(request.purpose) {
                    return Err(KeyRefusal::Restricted);
                }
                let fits = match request.purpose {
                    Purpose::Ingest => now.millis_since(row.created) < DAY_MS,
                    Purpose::Erasure | Purpose::Research | Purpose::Quality => bulk_approved,
                    _ => true,
                };
                if !fits {
                    return Err(KeyRefusal::NotForThisPurpose);
                }
                let (key, index_key, meta_key) = row.keys(id);
                OpenedKeys::Object { key, index_key, meta_key }
            }
        };
        row.opened = true;
        Ok(Opened { key_gen: KeyGen::FIRST, tenant: row.tenant, study_ref: row.study_ref, keys, lease_s: LEASE })
    }

    fn destroy(&mut self, tenant: TenantId, studies: &[StudyRef], ids: &[KeyId]) -> Vec<KeyId> {
        let mut gone = Vec::new();
        for (id, row) in self.keys.iter_mut().filter(|(_, row)| row.tenant == tenant && !row.destroyed) {
            if studies.contains(&row.study_ref) || ids.contains(id) {
                row.destroyed = true;
                gone.push(*id);
            }
        }
        self.tell(RevocationKind::Destroyed, tenant, studies, ids);
        gone
    }

    fn restrict(&mut self, tenant: TenantId, studies: &[StudyRef]) -> u32 {
        let changed = studies.iter().filter(|s| self.restricted.insert((tenant, **s))).count();
        self.tell(RevocationKind::Restricted, tenant, studies, &[]);
        u32::try_from(changed).unwrap_or(u32::MAX)
    }

    fn unrestrict(&mut self, tenant: TenantId, studies: &[StudyRef]) -> u32 {
        let changed = studies.iter().filter(|s| self.restricted.remove(&(tenant, **s))).count();
        self.tell(RevocationKind::Unrestricted, tenant, studies, &[]);
        u32::try_from(changed).unwrap_or(u32::MAX)
    }

    fn tell(&mut self, kind: RevocationKind, tenant: TenantId, studies: &[StudyRef], ids: &[KeyId]) {
        let revocation = Revocation {
            kind,
            tenant,
            study_refs: Few::new(studies.to_vec()).unwrap_or_default(),
            key_ids: Few::new(ids.to_vec()).unwrap_or_default(),
        };
        self.revoked.push(revocation.clone());
        let _ = self.listeners.send(RevocationEvent::Revoked { seq: self.seq(), revocation });
    }
}

impl Row {
    fn keys(&self, id: KeyId) -> (KeyBytes, KeyBytes, KeyBytes) {
        let meta_key = self.key.meta_key(&self.tenant, &id, KeyGen::FIRST);
        (KeyBytes::copy_of(self.key.reveal()), self.index_key(id), KeyBytes::copy_of(meta_key.reveal()))
    }

    fn index_key(&self, id: KeyId) -> KeyBytes {
        KeyBytes::copy_of(self.key.index_key(&self.tenant, &id, KeyGen::FIRST).reveal())
    }
}

impl std::fmt::Debug for FakeKeyService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeKeyService").field("calls", &self.calls()).finish_non_exhaustive()
    }
}

/// Random bytes that are the same in each run: SHA-256 of seed and counter. For tests only.
#[derive(Debug)]
pub struct CountedEntropy {
    seed: u64,
    drawn: AtomicU64,
}

impl CountedEntropy {
    /// A sequence of its own for each seed.
    pub const fn new(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }
}

impl Entropy for CountedEntropy {
    fn fill(&self, out: &mut [u8]) {
        for piece in out.chunks_mut(32) {
            let n = self.drawn.fetch_add(1, Ordering::Relaxed);
            let block = Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(n.to_be_bytes()).finalize();
            piece.iter_mut().zip(block).for_each(|(to, from)| *to = from);
        }
    }
}

fn refused(code: ProblemCode) -> ServiceError {
    ServiceError::Refused { problem: Problem::new(code, "the fake refuses") }
}

fn broken() -> std::io::Error {
    std::io::Error::from(std::io::ErrorKind::ConnectionRefused)
}

fn statement(statement: String) -> SignedStatement {
    SignedStatement { statement, signer: Hex32([0; 32]), signature: "00".repeat(64) }
}

const LISTENER_ROOM: usize = 1024;
const DAY_MS: u64 = 24 * 3_600_000;
#[allow(clippy::cast_possible_truncation, reason = "300 fits")]
const LEASE: u32 = LEASE_S as u32;
