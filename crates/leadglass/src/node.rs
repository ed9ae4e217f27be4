//! A node's ports: which adapter stands behind which, opened in the order in which they need each other.

use crate::{
    actors, backup,
    config::{self, Config},
    courier::Couriers,
    files, objects,
};
use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use leadglass_audit::{LocalDisk, Log};
use leadglass_engine::{
    Ack, AlarmKind, Breadth, Engine, KeyLogPort, Limits, Ports, SubjectPort, kept_receipts, show_receipts,
};
use leadglass_index::{Catalog, LoadReport, StudyIndexKey, TenantKeys};
use leadglass_index_sled::{SledIndex, SledOptions};
use leadglass_journal::{Journal, JournalConfig};
use leadglass_keys::{IdentityFiles, Keys, MtlsConfig, MtlsKeyService, SecretName, wire};
use leadglass_model::{Clock, Entropy, Fault, SystemClock, SystemEntropy, TenantId};
use leadglass_records::{RecordKey, Records, TenantRecords};
use leadglass_seal::Secret;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// The use cases.
    pub engine: Engine,
    /// The vault's own records.
    pub records: Records,
    /// The key service, for what needs no lease.
    pub keys: Keys,
    /// The records again, tenant by tenant, under their keys.
    pub tenant_records: Vec<TenantRecords>,
    /// What lies below the catalog: for backups.
    pub index: Arc<SledIndex>,
    tasks: TaskTracker,
    key_tasks: TaskTracker,
    key_stop: CancellationToken,
}

/// Where things lie under the data directory.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The journal's segments.
    pub journal: PathBuf,
    /// The index engine's files.
    pub index: PathBuf,
    /// The audit tree.
    pub audit: PathBuf,
    /// The records' file.
    pub records: PathBuf,
    /// What was seen of the key service's log.
    pub key_log: PathBuf,
}

impl Layout {
    /// As `config` has it; makes the data directory.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        files::make_dir(&config.data)?;
        Ok(Self::under(&config.data))
    }

    /// The same places under another directory.
    pub fn under(data: &Path) -> Self {
        let at = |name: &str| data.join(name);
        Self {
            journal: at("journal"),
            index: at("index"),
            audit: at("audit"),
            records: at("records.redb"),
            key_log: at("key-log"),
        }
    }
}

/// The key service as this node sees it, and the tasks that go with it.
pub struct KeyPort {
    /// Leases, reserve, secrets.
    pub keys: Keys,
    /// Its tasks.
    pub tasks: TaskTracker,
    /// Ends them.
    pub stop: CancellationToken,
}

impl Node {
    /// Opens everything and replays the journal. Waits for the key service as long as it takes: without it the index
    /// cannot be read. When this answers, everything acknowledged before is readable.
    pub async fn start(config: &Config, stop: CancellationToken) -> anyhow::Result<Self> {
        let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let layout = Layout::of(config)?;
        ensure!(
            !backup::is_under_way(&config.data),
            "a restore was begun here and not finished: `leadglass restore` goes on"
        );
        let records =
            Records::open(&layout.records, clock.clone(), entropy.clone()).context("cannot open the records")?;
        let KeyPort { keys, tasks: key_tasks, stop: key_stop } = connect(config, &clock)?;

        let seed = patiently("the key service", || keys.secret(wire::INSTALLATION, SecretName::AuditLog)).await?;
        let audit = layout.audit.clone();
        let log = tokio::task::spawn_blocking(move || Log::open(&audit, LOG_ORIGIN, seed.expose())).await?;
        let log = log.context("cannot open the audit log")?;

        let (mut tenants, mut subjects, mut tenant_records) = (Vec::new(), HashMap::new(), Vec::new());
        for tenant in &config.tenants {
            let id = tenant.id;
            let token = patiently("the key service", || keys.secret(id, SecretName::Token)).await?;
            let detail = patiently("the key service", || keys.secret(id, SecretName::AuditDetail)).await?;
            let record = patiently("the key service", || keys.secret(id, SecretName::Record)).await?;
            let own = records.tenant(id, RecordKey::from_bytes(*record.expose()));
            // A key service that was restored gives no index key before.
            let receipts = kept_receipts(&own).await.context("cannot read the erasures")?;
            patiently("the key service", || show_receipts(&keys, id, &receipts)).await?;
            tenant_records.push(own.clone());
            subjects.insert(id, SubjectPort { detail, records: own });
            let index_keys = index_keys(&keys, id).await?;
            tenants.push(TenantKeys { tenant: id, token: Secret::from_bytes(*token.expose()), index_keys });
        }
        let index = SledIndex::open(&layout.index, SledOptions::default()).context("cannot open the index")?;
        let index = Arc::new(index);
        let loaded = Catalog::load(index.clone(), clock.clone(), entropy.clone(), tenants).await;
        let (catalog, report) = loaded.context("cannot load the index")?;
        tell(&report);
        let journal_dir = layout.journal.clone();
        let journal_config = journal_config(&config.limits);
        let names = entropy.clone();
        let opened = tokio::task::spawn_blocking(move || Journal::open(&journal_dir, journal_config, names)).await?;
        let journal = opened.context("cannot open the journal")?;

        let objects = objects::open(config)?;
        objects::reach(&objects).await?;
        actors::sign(&keys, &tenant_records, &*entropy).await?;
        let limits = Limits {
            instance_bytes: config.limits.instance_bytes,
            journal_bytes: config.limits.journal_bytes,
            ack: match config.store.ack() {
                config::Ack::Journal => Ack::Journal,
                config::Ack::Store => Ack::Store,
            },
        };
        let tasks = TaskTracker::new();
        let for_people = keys.clone();
        let seen = layout.key_log.clone();
        let seen = tokio::task::spawn_blocking(move || LocalDisk::open(&seen)).await?;
        let key_log = KeyLogPort(Arc::new(seen.context("cannot keep what is seen of the key service's log")?));
        let ports = Ports { keys, objects, journal, catalog, log, key_log, subjects, clock, entropy, limits };
        let engine = Engine::start(ports, tasks.clone(), stop).await.context("the node does not start")?;
        if report.corrupt_studies + report.corrupt_series > 0 {
            engine.alarm(AlarmKind::Index);
        }
        for tenant in &config.tenants {
            engine.set_care(tenant.id, tenant.care.into());
        }
        for tenant in &config.tenants {
            engine.set_practice(tenant.id, tenant.practice.clone());
            engine.set_case_years(tenant.id, tenant.case_years);
        }
        engine.set_printer(Arc::new(crate::export::Papers));
        engine.set_courier(Arc::new(Couriers::new(&config.peers)?));
        engine.set_erasure((&config.erasure).into());
        engine.set_breadth(Breadth { patients: config.alarms.patients_per_hour, times: config.alarms.times_the_usual });
        backup::forget_finished(&config.data).context("cannot take away the note of a finished restore")?;
        Ok(Self { engine, records, keys: for_people, tenant_records, index, tasks, key_tasks, key_stop })
    }

    /// Waits until what was begun is done and what was committed lies in its place. Call it when nobody sends or reads
    /// any more.
    pub async fn finish(self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.engine.finish().await;
        self.key_stop.cancel();
        self.key_tasks.close();
        self.key_tasks.wait().await;
    }
}

/// The key service behind its cache.
pub fn connect(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<KeyPort> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let service = MtlsKeyService::new(mtls(config)?, clock.clone(), tasks.clone(), stop.clone())
        .context("the identity for the key service is not usable")?;
    let keys = Keys::start(Arc::new(service), clock.clone(), tasks.clone(), stop.clone());
    Ok(KeyPort { keys, tasks, stop })
}

/// Where the key service is, and who we are to it.
pub fn mtls(config: &Config) -> anyhow::Result<MtlsConfig> {
    Ok(MtlsConfig {
        authority: config.keys.address.parse().context("keys.address is no host:port")?,
        identity: IdentityFiles {
            ca: config.keys.ca.clone(),
            cert: config.keys.certificate.clone(),
            key: config.keys.key.clone(),
        },
        connect_timeout: KEY_CONNECT_TIME,
        call_timeout: KEY_CALL_TIME,
    })
}

/// All index keys of a tenant.
pub async fn index_keys(keys: &Keys, tenant: TenantId) -> anyhow::Result<Vec<StudyIndexKey>> {
    let read = || async {
        let mut all = Vec::new();
        let mut pages = std::pin::pin!(keys.index_keys(tenant));
        while let Some(page) = pages.next().await {
            all.extend(page?.into_iter().map(|entry| StudyIndexKey {
                key_id: entry.key_id,
                key_gen: entry.key_gen,
                study_ref: entry.study_ref,
                key: entry.index_key,
            }));
        }
        Ok(all)
    };
    patiently("the key service", read).await
}

fn tell(report: &LoadReport) {
    tracing::info!(studies = report.studies, series = report.series, "the index is loaded");
    if report.without_key > 0 {
        tracing::warn!(rows = report.without_key, "rows whose key is gone were left out");
    }
    let corrupt = report.corrupt_studies + report.corrupt_series;
    if corrupt > 0 {
        tracing::error!(
            rows = corrupt,
            "alarm: index rows are not what was written; `leadglass reindex` rebuilds them"
        );
    }
}

/// How large the journal may grow, and in which pieces.
pub fn journal_config(limits: &config::Limits) -> JournalConfig {
    let default = JournalConfig::default();
    JournalConfig { max_bytes: limits.journal_bytes.max(2 * default.segment_bytes), ..default }
}

/// Asks again and again while the other side is away or sealed; any other failure ends it.
pub async fn patiently<T, F: Future<Output = Result<T, leadglass_keys::KeysError>>>(
    whom: &str,
    mut ask: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let mut told = false;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.fault() == Fault::Busy => {
                if !told {
                    tracing::warn!(%error, "waiting for {whom}");
                    told = true;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => bail!(anyhow::Error::new(error).context(format!("{whom} refuses"))),
        }
    }
}

/// The name of this node's log in checkpoints.
pub const LOG_ORIGIN: &str = "leadglass/vault";
const KEY_CONNECT_TIME: Duration = Duration::from_secs(5);
const KEY_CALL_TIME: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(200);
