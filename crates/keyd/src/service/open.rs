//! From sealed to unsealed: provider, keyring, database, log, in this order.

use super::{Sealing, Service, Suspension, destroy, epoch, receipts, revocations};
use crate::{
    backup::{self, BackupError},
    budget::{Budgets, DAY_S},
    config::Config,
    keyring::{Keyring, KeyringError},
    layout::Layout,
    provider::{ProviderError, SealProvider},
    refusal::Refusal,
    store::{CountedRow, Record, Store, StoreError, Table},
};
use leadglass_audit::{Event, Log, Outcome};
use leadglass_model::{Clock, Entropy, Fault, KeyId, UnixMillis};
use parking_lot::{Mutex, RwLock};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{Notify, watch};

/// What a start needs.
pub struct Started {
    /// Where things lie.
    pub layout: Layout,
    /// What was configured.
    pub config: Config,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Started({})", self.layout.root().display())
    }
}

/// Why the service does not unseal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The epoch key was not given out.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The keyring does not open, or is an older one.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The key database does not open.
    #[error("the key database does not open")]
    Store(#[from] StoreError),
    /// The key database lacks its own name: it was not made by `init` or `restore`.
    #[error("the key database does not say which keyring it belongs to")]
    Nameless,
    /// The own log does not open. Nothing is done that cannot be logged.
    #[error("the key service's own log does not open")]
    Log(#[from] leadglass_audit::OpenError),
    /// The mirror could not be started.
    #[error("the mirror could not be started")]
    Mirror(#[from] BackupError),
    /// A restore was broken off here.
    #[error("a restore was broken off here: run `leadglass-keyd restore` again, as it was begun")]
    Restoring,
    /// What a crash left half done could not be finished.
    #[error("what a crash left half done could not be finished")]
    Resume(#[from] Refusal),
}

impl OpenError {
    /// What kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Provider(source) => source.fault(),
            Self::Keyring(source) => source.fault(),
            Self::Store(source) => source.fault(),
            Self::Nameless => Fault::Corrupt,
            Self::Restoring => Fault::Conflict,
            Self::Log(source) => source.fault(),
            Self::Mirror(source) => source.fault(),
            Self::Resume(source) => source.fault(),
        }
    }
}

impl Service {
    /// Unseals. Blocks: stretching a passphrase takes about a second, verifying the log its length.
    pub fn open(started: Started, provider: Box<dyn SealProvider>) -> Result<Arc<Self>, OpenError> {
        let Started { layout, config, clock, entropy } = started;
        if layout.restoring().exists() {
            return Err(OpenError::Restoring);
        }
        // A crash in the middle of an advance leaves the new epoch prepared; the keyring says which one is in force.
        provider.promote(Keyring::epoch_of(&layout.keyring())?)?;
        let (epoch, epoch_key) = provider.open()?;
        let keyring = Keyring::read(&layout.keyring(), epoch, &epoch_key)?;
        let store = Store::open(&layout.database(), None)?;
        let known = known(&store)?;
        keyring.check_against(known.keyring, known.sequence)?;
        let now = clock.now();

        // The mirror starts with all that stands, so that whatever happened to it meanwhile is made good.
        let store = match config.mirror(&layout) {
            None => store,
            Some(folder) => {
                let sealed = keyring.seal(epoch, &epoch_key, entropy.as_ref());
                let mirror = backup::start_mirror(&folder, &store.snapshot()?, &sealed, &keyring, epoch, now)?;
                drop(store);
                Store::open(&layout.database(), Some(mirror))?
            }
        };
        if known.sequence != keyring.sequence {
            let sequence = keyring.sequence;
            store.write_blocking::<(), StoreError, _>(move |tx| {
                tx.put(Table::Meta, META_SEQUENCE, &sequence.to_be_bytes())
            })?;
        }
        let log = Log::open(&layout.log(), &log_origin(&keyring, known.log_number), keyring.own.log.reveal())?;
        let snapshot = store.snapshot()?;
        let budgets = counted(&snapshot, now)?;
        let suspended = Suspension::all(&snapshot)?;
        let revoked = revocations::last(&snapshot)?;
        let awaited = receipts::awaited(&snapshot)?;
        drop(snapshot);
        let service = Arc::new(Self {
            layout,
            config,
            clock,
            entropy,
            provider_kind: provider.kind(),
            provider_class: provider.class(),
            provider,
            sealing: RwLock::new(Arc::new(Sealing { epoch, key: epoch_key })),
            advancing: Mutex::new(()),
            rekeying: Mutex::new(()),
            keyring: RwLock::new(Arc::new(keyring)),
            changing: Mutex::new(()),
            store,
            log: Arc::new(log),
            budgets: Mutex::new(budgets),
            counted: std::sync::atomic::AtomicU32::new(0),
            suspended: Mutex::new(suspended),
            fill: Mutex::new(HashMap::new()),
            revoked: watch::Sender::new(revoked),
            awaited: RwLock::new(awaited),
            backup_wanted: Notify::new(),
        });
        service.report_blocking(vec![service.entry(Event::Unsealed, Outcome::Success)])?;
        destroy::resume(&service)?;
        receipts::replay_known(&service)?;
        epoch::resume(&service)?;
        Ok(service)
    }
}

/// What the database says of itself.
pub(crate) struct Known {
    pub(crate) keyring: KeyId,
    pub(crate) sequence: u64,
    pub(crate) log_number: u32,
}

pub(crate) fn known(store: &Store) -> Result<Known, OpenError> {
    let snapshot = store.snapshot()?;
    let field = |name| snapshot.read(Table::Meta, name).map_err(OpenError::from);
    let keyring = field(META_KEYRING)?.and_then(|v| v.try_into().ok()).ok_or(OpenError::Nameless)?;
    let sequence = field(META_SEQUENCE)?.and_then(|v| v.try_into().ok()).ok_or(OpenError::Nameless)?;
    let log_number = field(META_LOG)?.and_then(|v| v.try_into().ok()).ok_or(OpenError::Nameless)?;
    Ok(Known {
        keyring: KeyId::from_bytes(keyring),
        sequence: u64::from_be_bytes(sequence),
        log_number: u32::from_be_bytes(log_number),
    })
}

/// The rows by which a database knows its keyring and its log.
pub(crate) fn meta_records(keyring: &Keyring, log_number: u32) -> Vec<Record> {
    let record = |key: &[u8], value: &[u8]| Record { table: Table::Meta, key: key.to_vec(), value: value.to_vec() };
    vec![
        record(META_KEYRING, keyring.id.as_bytes()),
        record(META_SEQUENCE, &keyring.sequence.to_be_bytes()),
        record(META_LOG, &log_number.to_be_bytes()),
    ]
}

/// The name of the own log. A restore begins a new one, which has the next number.
pub(crate) fn log_origin(keyring: &Keyring, number: u32) -> String {
    format!("leadglass/keyd/{}/{number}", keyring.id)
}

fn counted(snapshot: &crate::store::Snapshot, now: UnixMillis) -> Result<Budgets, StoreError> {
    let mut budgets = Budgets::default();
    let first = UnixMillis(now.0.saturating_sub(DAY_S * 1000)).0.to_be_bytes();
    let mut after = first.to_vec();
    loop {
        let page = snapshot.scan(Table::Counted, b"", Some(&after), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(budgets) };
        after.clone_from(last);
        for (_, value) in page {
            let row: CountedRow = crate::store::decode(Table::Counted, &value)?;
            budgets.restore(&row.counters, &row.studies, UnixMillis(row.at_ms), row.granted);
        }
    }
}

const PAGE: usize = 1024;
pub(crate) const META_KEYRING: &[u8] = b"keyring";
pub(crate) const META_SEQUENCE: &[u8] = b"sequence";
pub(crate) const META_LOG: &[u8] = b"log";
