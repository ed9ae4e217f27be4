//! A node starts: what the journal holds is brought to its places before anybody is let in.

use crate::{
    Engine, KeyLogPort, Record, RecordError, Shared,
    access::Accesses,
    alarm::{self, Alarms},
    care::Care,
    commit::Backlog,
    drain,
    erase::Erased,
    export::Exports,
    ingest::Claims,
    keylog::KeyLog,
    retrieve::{Cache, Pool, Tables},
    subject::{SubjectPort, Subjects},
    sweep,
    witness::Witnessed,
};
use leadglass_audit::Log;
use leadglass_disk::Trays;
use leadglass_index::{Catalog, IndexError};
use leadglass_journal::{Journal, JournalError, Replay};
use leadglass_keys::{Keys, wire::LogHead};
use leadglass_model::{Clock, Entropy, Fault, TenantId};
use leadglass_store::{Objects, StoreError};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a node is made of.
pub struct Ports {
    /// Leases, reserve, secrets.
    pub keys: Keys,
    /// Sealed objects.
    pub objects: Objects,
    /// The durable step, and what it held when it was opened.
    pub journal: (Journal, Replay),
    /// The index, loaded.
    pub catalog: Catalog,
    /// The audit log.
    pub log: Log,
    /// Where what was seen of the key service's log is kept.
    pub key_log: KeyLogPort,
    /// What it takes to write about the patients of each tenant.
    pub subjects: HashMap<TenantId, SubjectPort>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Bounds.
    pub limits: Limits,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

/// Bounds of the use cases.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest instance, bytes.
    pub instance_bytes: u64,
    /// Journal bytes above which the node is not ready.
    pub journal_bytes: u64,
    /// What has to be durable where before a sender is told "stored".
    pub ack: Ack,
}

/// Where an instance is durable when its sender is told so. Rows and audit entry are in the journal either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ack {
    /// A small instance in the journal of this node; the store gets it a moment later. One local sync, for a store that
    /// is no safer than this node's disk.
    #[default]
    Journal,
    /// Every instance in the store, so that "stored" never rests on one local disk. It waits for the store each time.
    Store,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The index knows of audit entries that the tree does not hold: somebody put an older tree, or an older disk, back.
    #[error("the index has seen {index} audit entries and the tree holds {tree}: was something restored?")]
    TreeBehindIndex {
        /// Entries that the index saw.
        index: u64,
        /// Entries that the tree holds.
        tree: u64,
    },
    /// The index holds journal positions that the journal never gave: the journal was replaced by an older one.
    #[error("the index holds journal position {index} and the journal ends at {journal}: was something restored?")]
    JournalBehindIndex {
        /// The index's last position.
        index: u64,
        /// The journal's last position.
        journal: u64,
    },
    /// The journal was trimmed beyond what the index holds: the index was replaced by an older one.
    #[error(
        "the index holds journal position {index} and the journal was trimmed to {journal}: was an older index put back? \
         `leadglass reindex` rebuilds it from the sealed objects"
    )]
    IndexBehindJournal {
        /// The index's last position.
        index: u64,
        /// Up to where the journal was trimmed.
        journal: u64,
    },
    /// The key service has signed another log than this one, or more of it: an older disk was put back, or the log was
    /// written anew.
    #[error(
        "the key service has signed {seen} audit entries and refuses the log of {} that lies here: was an older disk put \
         back, or the log written anew? After an honest restore, on the key host: \
         `leadglass-keyd approve --action log-reset --log {shown}`, then start again",
        shown.size
    )]
    Witness {
        /// Entries that the witness signed.
        seen: u64,
        /// The log that lies here.
        shown: LogHead,
    },
    /// Who treats whom cannot be read.
    #[error("who treats whom cannot be read from the records")]
    Care(#[from] leadglass_records::RecordError),
    /// The journal does not read.
    #[error("the journal does not read")]
    Journal(#[from] JournalError),
    /// A journalled record is not in this version's form.
    #[error("a record of the journal does not read")]
    Record(#[from] RecordError),
    /// The index failed.
    #[error("the index cannot be asked")]
    Index(#[from] IndexError),
    /// The store failed.
    #[error("the object store cannot be asked")]
    Store(#[from] StoreError),
}

impl StartError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TreeBehindIndex { .. }
            | Self::JournalBehindIndex { .. }
            | Self::IndexBehindJournal { .. }
            | Self::Witness { .. } => Fault::Conflict,
            Self::Care(error) => error.fault(),
            Self::Journal(error) => error.fault(),
            Self::Record(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Store(error) => error.fault(),
        }
    }
}

impl Engine {
    /// Replays the journal, ends uploads that died, and starts the tasks that run beside the use cases. When it answers,
    /// everything acknowledged before is readable.
    ///
    /// `tasks` counts the work that must end before the process may; `stop` begins the end.
    ///
    /// Cancel safety: none; call it once.
    pub async fn start(ports: Ports, tasks: TaskTracker, stop: CancellationToken) -> Result<Self, StartError> {
        let Ports {
            keys,
            objects,
            journal: (journal, replay),
            catalog,
            log,
            key_log,
            subjects,
            clock,
            entropy,
            limits,
        } = ports;
        let mark = catalog.mark().await?;
        let tree = log.head().size;
        if mark.tree_size > tree {
            return Err(StartError::TreeBehindIndex { index: mark.tree_size, tree });
        }
        let last = journal.last().0;
        if mark.position > last {
            return Err(StartError::JournalBehindIndex { index: mark.position, journal: last });
        }
        // The drain trims only what the index has committed.
        let trimmed = journal.trimmed().0;
        if mark.position < trimmed {
            return Err(StartError::IndexBehindJournal { index: mark.position, journal: trimmed });
        }
        let last_before = crate::activity::last_entry_at(&log);
        alarm::declare();
        sweep::tell(&objects.sweep().await?);
        let shared = Arc::new(Shared {
            keys,
            objects,
            drained: journal.trimmed().0.into(),
            journal,
            drains: Arc::default(),
            catalog: Arc::new(catalog),
            log: Arc::new(log),
            clock,
            entropy,
            limits,
            tenants: subjects.keys().copied().collect(),
            subjects: subjects.into_iter().map(|(tenant, port)| (tenant, Subjects::new(tenant, port))).collect(),
            backlog: Backlog::new(),
            trays: Trays::new(KEPT_BYTES),
            claims: Arc::new(Claims::default()),
            accesses: Accesses::default(),
            care: Care::default(),
            tables: Tables::default(),
            pool: Pool::default(),
            cache: Cache::default(),
            witness: Witnessed::default(),
            key_log: Arc::new(KeyLog::new(key_log)),
            alarms: Alarms::default(),
            erased: Erased::default(),
            exports: Exports::default(),
            deidentified: crate::deidentify::Deidentifications::default(),
            case_times: crate::cases::KeepTimes::default(),
            asked: crate::cases::Asked::default(),
            last_before,
            rectifying: tokio::sync::Mutex::default(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        });
        for (tenant, subjects) in &shared.subjects {
            shared.care.load(subjects.records(), shared.clock.now()).await?;
            shared.load_asked(*tenant).await?;
        }
        let notices = shared.keys.revocations();
        shared.learn_restrictions(&stop).await;
        shared.check_with_witness().await?;
        shared.load_tombstones().await?;
        shared.close_erasures().await?;
        let mut replayed = 0_u64;
        for item in replay {
            let item = item?;
            shared.replay(item.position.0, Record::decode(&[item.record])?);
            replayed += 1;
            if replayed.is_multiple_of(REPLAY_BATCH) {
                drain::settle(&shared).await;
            }
        }
        drain::settle(&shared).await;
        if replayed > 0 {
            tracing::info!(records = replayed, "the journal was replayed");
        }
        tasks.spawn(shared.clone().resume_erasures());
        tasks.spawn(shared.clone().resume_rectifications());
        tasks.spawn(shared.clone().close_accesses(stop.clone()));
        tasks.spawn(shared.clone().follow_revocations(notices, stop.clone()));
        tasks.spawn(shared.clone().sweep_now_and_then(stop.clone()));
        tasks.spawn(drain::publish(shared.clone(), stop.clone()));
        tasks.spawn(shared.clone().be_witnessed(stop.clone()));
        tasks.spawn(shared.clone().reconcile_now_and_then(stop.clone()));
        // Not tracked: it ends after everything that is, see `Engine::finish`.
        let drain_stop = CancellationToken::new();
        let drain = tokio::spawn(drain::run(shared.clone(), drain_stop.clone()));
        Ok(Self { shared, drain: Arc::new(drain::Handle::new(drain, drain_stop)) })
    }

    /// Waits until what was committed lies in its places. Call it when the tracked tasks have ended.
    ///
    /// Cancel safety: dropping the future leaves the rest to the next start's replay.
    pub async fn finish(&self) {
        self.drain.finish().await;
        // What was drained last is cosigned, too, unless the key service is away.
        let last = tokio::time::timeout(LAST_COSIGNATURE, self.shared.cosign_and_tell()).await;
        if last.is_err() {
            tracing::warn!("the last entries of the audit log are cosigned at the next start");
        }
    }
}

/// Replayed records that lie in memory at one time.
const REPLAY_BATCH: u64 = 64;

/// So long a node that stops waits for the witness.
const LAST_COSIGNATURE: Duration = Duration::from_secs(3);

/// Memory that waits for the next sealed objects: as much as a drained batch leaves behind.
const KEPT_BYTES: usize = 32 << 20;
