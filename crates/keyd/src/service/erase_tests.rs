//! A key's end and an epoch's end, step by step, on a service without sockets.

use super::{Caller, Service, Started, unwrap};
use crate::{
    approval::ACTION_DESTROY,
    backup::{self, BackupFile},
    capsule::{self, RecoverySheet},
    config::{Config, ProviderConfig},
    keyring::{Client, ClientRole, Keyring},
    layout::Layout,
    provider::{Epoch, KeyFileProvider, ProviderError, SealProvider},
    setup,
    store::{Binding, KeyRow, KeyState, StoreError, Table, by_shard},
};
use leadglass_keys::wire::{
    CreateRequest, DestroyRequest, DestroyStatement, EpochStatement, Few, Job, KeyRefusal, PresentReceipts,
    ProblemCode, ReceiptsSeen, Scope, SignedStatement, UnwrapRequest, Word, json_from,
};
use leadglass_model::{
    ActorRef, EntryId, KeyGen, KeyId, Purpose, StudyRef, SystemClock, SystemEntropy, TenantId, UnixMillis,
};
use leadglass_seal::EpochKey;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A provider that breaks off before its n-th change.
struct Breaking {
    inner: KeyFileProvider,
    left: Arc<AtomicUsize>,
}

impl Breaking {
    fn step(&self) -> Result<(), ProviderError> {
        let take = |left: usize| left.checked_sub(1);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(ProviderError::Damaged { what: "broken off by the test" }),
        }
    }
}

impl SealProvider for Breaking {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
    fn class(&self) -> char {
        self.inner.class()
    }
    fn keep(&self, epoch: Epoch, key: &EpochKey) -> Result<(), ProviderError> {
        self.inner.keep(epoch, key)
    }
    fn open(&self) -> Result<(Epoch, EpochKey), ProviderError> {
        self.inner.open()
    }
    fn prepare(&self, epoch: Epoch, key: &EpochKey) -> Result<(), ProviderError> {
        self.step()?;
        self.inner.prepare(epoch, key)?;
        self.step()
    }
    fn prepared(&self) -> Result<Option<(Epoch, EpochKey)>, ProviderError> {
        self.inner.prepared()
    }
    fn promote(&self, epoch: KeyId) -> Result<(), ProviderError> {
        self.step()?;
        self.inner.promote(epoch)?;
        self.step()
    }
    fn destroy_disabled(&self) -> Result<(), ProviderError> {
        self.step()?;
        self.inner.destroy_disabled()?;
        self.step()
    }
}

struct Host {
    dir: tempfile::TempDir,
    sheet: RecoverySheet,
    config: Config,
}

impl Host {
    fn new(recovery_days: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(ProviderConfig::KeyFile { path: dir.path().join("outside.key") });
        config.epoch_hold = std::time::Duration::ZERO;
        config.recovery_days = recovery_days;
        config.mirror = Some(dir.path().join("mirror"));
        let provider = provider(dir.path());
        provider.make_key_file().unwrap();
        let made = setup::init(&layout(dir.path()), &config, &provider, &SystemClock, &SystemEntropy).unwrap();
        Self { dir, sheet: made.sheet, config }
    }

    async fn open_with(&self, left: usize) -> Result<Arc<Service>, super::OpenError> {
        let inner = provider(self.dir.path());
        let provider = Breaking { inner, left: Arc::new(AtomicUsize::new(left)) };
        let started = Started {
            layout: layout(self.dir.path()),
            config: self.config.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        };
        tokio::task::spawn_blocking(move || Service::open(started, Box::new(provider))).await.unwrap()
    }

    async fn open(&self) -> Arc<Service> {
        self.open_with(usize::MAX).await.unwrap()
    }
}

fn layout(dir: &Path) -> Layout {
    Layout::new(&dir.join("data"))
}

fn provider(dir: &Path) -> KeyFileProvider {
    let data = dir.join("data");
    KeyFileProvider::new(&data, dir.join("outside.key"), layout(dir).epoch(), Arc::new(SystemEntropy)).unwrap()
}

fn caller() -> Caller {
    let roles = vec![ClientRole::Ingest, ClientRole::Vault];
    Caller { client: Client { key_hash: [1; 32], label: "vault".into(), roles, tenants: vec![], enrolled_at_ms: 0 } }
}

async fn tenant(service: &Arc<Service>) -> TenantId {
    let service = Arc::clone(service);
    let made = tokio::task::spawn_blocking(move || service.add_tenant(&Word::new("practice").unwrap()).unwrap());
    made.await.unwrap().tenant
}

async fn create(service: &Arc<Service>, tenant: TenantId, study: u8) -> KeyId {
    let ask = CreateRequest { tenant, study_ref: Some(StudyRef::from_bytes([study; 16])), count: 1 };
    service.create(&caller(), ask).await.unwrap()[0].key_id
}

async fn destroy(service: &Arc<Service>, tenant: TenantId, study: u8) -> DestroyStatement {
    json_from(receipt(service, tenant, study).await.statement.as_bytes(), 1 << 20).unwrap()
}

async fn receipt(service: &Arc<Service>, tenant: TenantId, study: u8) -> SignedStatement {
    let study_refs = Few::new(vec![StudyRef::from_bytes([study; 16])]).unwrap();
    let job = Job {
        tenant,
        action: Word::new(ACTION_DESTROY).unwrap(),
        purpose: None,
        scope: None,
        study_refs: study_refs.clone(),
        count: None,
        log: None,
        until: UnixMillis(u64::MAX),
    };
    let approving = Arc::clone(service);
    let approval = tokio::task::spawn_blocking(move || approving.approve_job(job).unwrap().id).await.unwrap();
    let order_id = Word::new("order-1").unwrap();
    let ask = DestroyRequest { tenant, study_refs, key_ids: Few::default(), order_id, approval };
    service.destroy(&caller(), ask).await.unwrap()
}

async fn opened(service: &Arc<Service>, tenant: TenantId, id: KeyId) -> Result<Option<KeyRefusal>, ProblemCode> {
    let ask = UnwrapRequest {
        tenant: Some(tenant),
        key_ids: Few::new(vec![id]).unwrap(),
        scope: Scope::Object,
        purpose: Purpose::Care,
        actor: ActorRef([7; 16]),
        reason: None,
        approval: None,
        actor_proof: None,
        audit_entry: EntryId::from_bytes([8; 16]),
    };
    let outcomes = service.unwrap(&caller(), ask).await.map_err(|refusal| refusal.code())?;
    Ok(outcomes.into_iter().next().unwrap().result.err())
}

async fn shown(service: &Arc<Service>, tenant: TenantId, receipts: Vec<SignedStatement>, last: bool) -> ReceiptsSeen {
    let receipts = Few::new(receipts).unwrap();
    service.present_receipts(&caller(), PresentReceipts { tenant, receipts, last }).await.unwrap()
}

fn row(service: &Service, id: KeyId) -> KeyRow {
    service.store.snapshot().unwrap().row(Table::Keys, id.as_bytes()).unwrap().unwrap()
}

async fn advance(service: &Arc<Service>) -> Result<EpochStatement, crate::refusal::Refusal> {
    let service = Arc::clone(service);
    let done = tokio::task::spawn_blocking(move || {
        let digest = service.backup()?.sha256.parse().unwrap();
        service.advance(digest, None)
    });
    done.await.unwrap().map(|advanced| serde_json::from_str(&advanced.receipt.statement).unwrap())
}

#[tokio::test]
async fn what_a_database_file_still_holds_of_an_erased_key_opens_no_more_and_its_neighbours_do() {
    let host = Host::new(35);
    let service = host.open().await;
    let tenant = tenant(&service).await;
    let (doomed, kept) = (create(&service, tenant, 1).await, create(&service, tenant, 2).await);
    let remnants = [(doomed, row(&service, doomed)), (kept, row(&service, kept))];
    for (id, old) in &remnants {
        assert!(unwrap::study_key(&service.keyring(), *id, old).is_ok());
    }
    let statement = destroy(&service, tenant, 1).await;
    assert_eq!(statement.key_ids, [doomed]);
    for (id, old) in &remnants {
        assert!(unwrap::study_key(&service.keyring(), *id, old).is_err(), "the shard key that it hung on is gone");
    }
    assert!(unwrap::study_key(&service.keyring(), kept, &row(&service, kept)).is_ok());
    assert!(row(&service, doomed).wrap.is_empty());
    drop(service);
    // Still so after a restart, from the file.
    let service = host.open().await;
    assert!(unwrap::study_key(&service.keyring(), kept, &row(&service, kept)).is_ok());
    assert!(unwrap::study_key(&service.keyring(), doomed, &remnants[0].1).is_err());
}

/// A backup from before an erasure comes back: with the folder of the capsules as it is now, and with the capsule alone.
#[tokio::test]
async fn a_restored_service_opens_nothing_until_receipts_were_shown_and_never_what_they_name() {
    for with_receipts in [true, false] {
        let host = Host::new(35);
        let service = host.open().await;
        let tenant = tenant(&service).await;
        let (doomed, kept) = (create(&service, tenant, 1).await, create(&service, tenant, 2).await);
        let taking = Arc::clone(&service);
        let before = tokio::task::spawn_blocking(move || taking.backup().unwrap()).await.unwrap();
        let receipt = receipt(&service, tenant, 1).await;
        let foreign = SignedStatement { statement: receipt.statement.replace("order-1", "order-2"), ..receipt.clone() };
        drop(service);

        let (backup, capsules) = (host.dir.path().join("before.lgkb"), host.dir.path().join("capsules-kept"));
        std::fs::copy(&before.path, &backup).unwrap();
        std::fs::rename(host.config.capsules(&layout(host.dir.path())), &capsules).unwrap();
        if !with_receipts {
            std::fs::remove_dir_all(capsules.join("erased")).unwrap();
        }
        std::fs::remove_dir_all(host.dir.path().join("data")).unwrap();
        let source = crate::restore::Source::Backup(backup);
        let provider = provider(host.dir.path());
        let from = (&source, capsules.as_path(), &host.sheet);
        let entropy = (&SystemClock as _, &SystemEntropy as _);
        crate::restore::restore(&layout(host.dir.path()), &host.config, &provider, from, entropy).unwrap();

        let service = host.open().await;
        let state = if with_receipts { KeyState::Destroyed } else { KeyState::Live };
        assert_eq!(row(&service, doomed).state, state, "before anybody asked");
        assert_eq!(opened(&service, tenant, kept).await, Err(ProblemCode::ReceiptsAwaited));
        let asked = opened(&service, tenant, doomed).await;
        assert_eq!(
            asked,
            if with_receipts { Ok(Some(KeyRefusal::Destroyed)) } else { Err(ProblemCode::ReceiptsAwaited) }
        );
        let seen = shown(&service, tenant, vec![foreign], false).await;
        assert_eq!((seen.foreign, seen.destroyed, seen.awaited), (1, 0, true));
        drop(service);
        let service = host.open().await;
        let seen = shown(&service, tenant, vec![receipt.clone()], true).await;
        assert_eq!((seen.destroyed, seen.awaited), (u32::from(!with_receipts), false));
        assert_eq!(opened(&service, tenant, doomed).await, Ok(Some(KeyRefusal::Destroyed)));
        assert_eq!(opened(&service, tenant, kept).await, Ok(None));
        assert!(row(&service, doomed).wrap.is_empty());
        assert_eq!(shown(&service, tenant, vec![receipt], true).await.destroyed, 0, "once is enough");
        drop(service);
        let service = host.open().await;
        assert_eq!(opened(&service, tenant, doomed).await, Ok(Some(KeyRefusal::Destroyed)));
        assert_eq!(opened(&service, tenant, kept).await, Ok(None));
    }
}

#[tokio::test]
async fn erasing_one_study_of_a_hundred_thousand_touches_its_shard_alone() {
    let host = Host::new(35);
    let service = host.open().await;
    let tenant = tenant(&service).await;
    for study in 1..=5 {
        create(&service, tenant, study).await;
    }
    // A hundred shards of a thousand keys that nobody asks about: looking at one would be a defect, so they need no keys.
    let foreign = KeyRow {
        generation: KeyGen::FIRST,
        tenant,
        study_ref: StudyRef::from_bytes([7; 16]),
        shard: KeyId::from_bytes([0; 16]),
        shard_version: KeyGen::FIRST,
        state: KeyState::Live,
        created_at_ms: 0,
        binding: Binding::Settled,
        wrap: vec![0; 160],
    };
    for shard in 0..100_u8 {
        let mut row = foreign.clone();
        row.shard = KeyId::from_bytes([shard; 16]);
        service
            .store
            .write::<_, StoreError, _>(move |tx| {
                for number in 0..1000_u16 {
                    let mut id = [shard; 16];
                    id[14..].copy_from_slice(&number.to_be_bytes());
                    let id = KeyId::from_bytes(id);
                    tx.put_row(Table::Keys, id.as_bytes(), &row)?;
                    tx.put(Table::ByShard, &by_shard(row.shard, id), b"")?;
                }
                Ok(())
            })
            .await
            .unwrap();
    }
    let shards: Vec<KeyId> = service.keyring().tenant(tenant).unwrap().shards.iter().map(|s| s.id).collect();
    assert_eq!(shards.len(), 1);
    let (retiring, newest) = (Arc::clone(&service), KeyGen::FIRST);
    let cost = tokio::task::spawn_blocking(move || retiring.retire(tenant, &[(shards[0], newest)].into()).unwrap());
    let cost = cost.await.unwrap();
    assert_eq!((cost.visited, cost.moved), (5, 5));
    destroy(&service, tenant, 3).await;
    assert_eq!(service.store.snapshot().unwrap().count(Table::Keys).unwrap(), 100_005);
}

#[tokio::test]
async fn an_epoch_that_breaks_off_at_any_step_comes_to_the_same_end() {
    for left in 1.. {
        let host = Host::new(0);
        let service = host.open().await;
        let tenant = tenant(&service).await;
        let (doomed, kept) = (create(&service, tenant, 1).await, create(&service, tenant, 2).await);
        let before = {
            let service = Arc::clone(&service);
            tokio::task::spawn_blocking(move || service.backup().unwrap()).await.unwrap()
        };
        let old_backup = std::fs::read(&before.path).unwrap();
        destroy(&service, tenant, 1).await;
        drop(service);
        // One step is taken by the start itself.
        let Ok(service) = host.open_with(left).await else { continue };
        let broke = advance(&service).await.is_err();
        drop(service);
        let service = host.open().await;
        let standing = service.epochs().unwrap();
        let statement: EpochStatement = match standing.epochs.first() {
            Some(signed) => serde_json::from_str(&signed.statement).unwrap(),
            None => advance(&service).await.unwrap(),
        };
        assert_eq!((statement.old, statement.new, service.epoch().number.get()), (1, 2, 2), "{left}");
        assert!(statement.epoch_destroyed_at.is_some() && statement.backup_erased_at.is_some(), "{left}");
        assert!(unwrap::study_key(&service.keyring(), kept, &row(&service, kept)).is_ok(), "{left}");
        assert!(unwrap::study_key(&service.keyring(), doomed, &row(&service, doomed)).is_err(), "{left}");

        // The backup from before does not open: not with today's provider, and not with the sheet.
        let file: PathBuf = host.dir.path().join("old.lgkb");
        std::fs::write(&file, &old_backup).unwrap();
        let old = BackupFile::read(&file).unwrap();
        let (epoch, key) = provider(host.dir.path()).open().unwrap();
        assert!(Keyring::open(old.sealed_keyring(), epoch, &key).is_err());
        assert!(Keyring::open(old.sealed_keyring(), old.epoch(), &key).is_err());
        let capsules = host.config.capsules(&layout(host.dir.path()));
        assert!(capsule::open(&capsules, old.head.epoch, &host.sheet).is_err());
        // Today's does, and so does the mirror.
        let newest = backup::newest(&host.config.backups(&layout(host.dir.path()))).unwrap();
        for source in
            [crate::restore::Source::Backup(newest), crate::restore::Source::Mirror(host.dir.path().join("mirror"))]
        {
            let opened = crate::restore::rehearse(&source, &capsules, &host.sheet).unwrap();
            assert_eq!((opened.epoch, opened.opened), (2, 1), "{left}");
        }
        assert!(!layout(host.dir.path()).epoch().with_extension("disabled.json").exists());
        if !broke {
            return;
        }
    }
}

#[tokio::test]
async fn an_epoch_ends_only_over_a_backup_of_todays_keyring_and_not_while_the_one_before_is_held() {
    let mut host = Host::new(35);
    host.config.epoch_hold = std::time::Duration::from_secs(3600);
    let service = host.open().await;
    let tenant = tenant(&service).await;
    create(&service, tenant, 1).await;
    let stale = {
        let service = Arc::clone(&service);
        tokio::task::spawn_blocking(move || service.backup().unwrap()).await.unwrap()
    };
    destroy(&service, tenant, 1).await;
    let asked = Arc::clone(&service);
    let refused =
        tokio::task::spawn_blocking(move || asked.advance(stale.sha256.parse().unwrap(), None)).await.unwrap();
    assert_eq!(refused.unwrap_err().code(), ProblemCode::Conflict);
    let held = advance(&service).await.unwrap();
    assert!(held.epoch_destroyed_at.is_none() && held.held_until.is_some_and(|until| until > held.began_at));
    assert!(layout(host.dir.path()).epoch().with_extension("disabled.json").exists());
    assert_eq!(advance(&service).await.unwrap_err().code(), ProblemCode::Conflict);
}
