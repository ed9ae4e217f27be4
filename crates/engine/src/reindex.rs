//! The index, built anew from the sealed objects and the key service alone.
//!
//! ```text
//!  journal   records that nobody drained: their objects go into the store, their entries into the audit tree
//!  store     every object's header says under which key it lies
//!  keys      opened in batches, purpose storage-check, under an approval given on the key host
//!  objects   opened whole: records, digests, data set (tap); study by study, so that one study's rows are in memory
//!  rows      sealed and written into an empty index, about a thousand at a time
//!  at last   which of two references of one study is the study and which a case of quarantine; audit entry; mark
//! ```
//!
//! Nothing but the new index is written: an object that does not open is reported and left alone, the journal is not
//! trimmed. If we die on the way, the old index is still in its place and the half-made one is thrown away.
//!
//! What the objects do not say is worked out:
//! - of several objects of one instance the highest version is current; of two with the same version the later one, since
//!   an upload whose sender was never told "stored" may have left the other;
//! - a reference under which a note lies is a case of quarantine. Of those left that name the same study the one
//!   whose first instance came first is the study; the others are cases: of another patient, or of another device.

mod assemble;
mod gather;
mod leases;
mod read;
mod work;

use crate::RecordError;
use leadglass_audit::{AppendError, CodeWord, Counts, EntryError, Event, Log, NewEntry, Outcome};
use leadglass_index::{Batch, Catalog, Index, IndexError, LoadReport, Mark, TenantKeys};
use leadglass_journal::{Journal, JournalError, Replay};
use leadglass_keys::{Keys, KeysError, wire::ApprovalId};
use leadglass_model::{ActorRef, Clock, Entropy, EntryId, Fault, KeyId, ObjectId, Purpose, Role, StudyRef, TenantId};
use leadglass_store::{Objects, StoreError};
use leases::Job;
use serde::Serialize;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// What a rebuild works with. Nobody else may work on the vault meanwhile; the locks of journal and log see to it.
pub struct ReindexPorts {
    /// The key service.
    pub keys: Keys,
    /// The sealed objects.
    pub objects: Objects,
    /// The journal, and what it held when it was opened.
    pub journal: (Journal, Replay),
    /// An empty index.
    pub index: Arc<dyn Index>,
    /// Token key and index keys of every tenant of the node.
    pub tenants: Vec<TenantKeys>,
    /// The audit log.
    pub log: Arc<Log>,
    /// Who started it, as the logs have it.
    pub actor: ActorRef,
    /// The approval to run under; without it the key service takes any open one that fits, tenant by tenant.
    pub approval: Option<ApprovalId>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// What was rebuilt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// Objects in the store.
    pub objects: u64,
    /// Bytes of bodies that were read and checked.
    pub bytes: u64,
    /// Studies, cases of quarantine not counted.
    pub studies: u64,
    /// Cases of quarantine, decided ones too.
    pub cases: u64,
    /// Series of both.
    pub series: u64,
    /// Instances of both, each once.
    pub instances: u64,
    /// Versions before the current ones.
    pub earlier_versions: u64,
    /// Objects that hold a version which a later object holds too.
    pub duplicates: u64,
    /// Decisions that were replayed.
    pub decisions: u64,
    /// Objects that are made from others and need no row.
    pub derived: u64,
    /// Records that were still in the journal.
    pub journal_records: u64,
    /// Objects that are not in the index.
    pub left_out: Vec<LeftOut>,
}

/// An object that is not in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Which.
    pub object: ObjectId,
    /// Why.
    pub why: Why,
}

/// Why an object is not in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Why {
    /// Its key was destroyed: it was erased, and its bytes are not yet swept.
    Destroyed,
    /// No tenant of this node has its key.
    NoKey,
    /// Not a whole sealed object, or not what was sealed.
    Damaged,
    /// It was listed and is not there.
    Missing,
    /// The store fails on it.
    Unreadable,
    /// It opens and lacks a record that an index row needs.
    Incomplete,
    /// It opens and says that it belongs to another study than its key.
    Misfiled,
    /// It opens and its body is no instance that this version reads.
    NotDicom,
    /// It opens and is of a kind, or a decision, that this version does not know.
    Unknown,
}

/// Why the index could not be rebuilt. What was written into the new one is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReindexError {
    /// There are rows in the index that was to be empty.
    #[error("the index to be filled is not empty")]
    NotEmpty,
    /// The key service does not open so many studies without an approval.
    #[error("the key service opens no studies for this without an approval that covers {studies} studies")]
    ApprovalNeeded {
        /// Distinct studies that must be opened.
        studies: usize,
        /// What it said; `None` where the approval ran out on the way.
        #[source]
        source: Option<KeysError>,
    },
    /// The key service cannot be asked.
    #[error("the key service gave no keys")]
    Keys(#[source] KeysError),
    /// The store cannot be listed, or took no object of the journal.
    #[error("the object store cannot be used")]
    Store(#[from] StoreError),
    /// The store failed on too many objects: an index without them would hide them.
    #[error("the object store failed on {objects} objects")]
    StoreFailing {
        /// How many.
        objects: usize,
    },
    /// The journal does not read.
    #[error("the journal does not read")]
    Journal(#[from] JournalError),
    /// A journalled record is not in this version's form.
    #[error("a record of the journal does not read")]
    Record(#[from] RecordError),
    /// A journalled audit entry does not read.
    #[error("a journalled entry does not read")]
    Entry(#[from] EntryError),
    /// The audit log takes no entry.
    #[error("the rebuild cannot be recorded")]
    Audit(#[from] AppendError),
    /// The new index failed.
    #[error("the new index cannot be written")]
    Index(#[from] IndexError),
    /// The program is going down.
    #[error("the rebuild was given up")]
    Stopped,
}

impl ReindexError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotEmpty => Fault::Conflict,
            Self::ApprovalNeeded { .. } => Fault::Denied,
            Self::Keys(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::StoreFailing { .. } => Fault::Broken,
            Self::Journal(error) => error.fault(),
            Self::Record(error) => error.fault(),
            Self::Entry(error) => error.fault(),
            Self::Audit(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Stopped => Fault::Busy,
        }
    }
}

/// Fills the index. `told` hears of every object: how many are done, of how many.
///
/// When it answers, the new index is durable and fits audit tree and journal, so that a node starts with it.
///
/// Cancel safety: dropping the future leaves a half-filled index; throw it away.
pub async fn reindex(ports: ReindexPorts, told: impl FnMut(u64, u64) + Send) -> Result<Rebuilt, ReindexError> {
    let ReindexPorts {
        keys,
        objects,
        journal: (journal, replay),
        index,
        tenants,
        log,
        actor,
        approval,
        clock,
        entropy,
    } = ports;
    let mut rebuilt =
        Rebuilt { journal_records: gather::bring_home(replay, &objects, &log).await?, ..Rebuilt::default() };
    let position = journal.last().0;

    let names: Vec<TenantId> = tenants.iter().map(|keys| keys.tenant).collect();
    let known: HashMap<KeyId, (TenantId, StudyRef)> = tenants
        .iter()
        .flat_map(|of| of.index_keys.iter().map(|key| (key.key_id, (of.tenant, key.study_ref))))
        .collect();
    let untouched = index.mark().await? == Mark::default();
    let (catalog, found) = Catalog::load(index.clone(), clock.clone(), entropy.clone(), tenants).await?;
    if !untouched || found != LoadReport::default() {
        return Err(ReindexError::NotEmpty);
    }
    let (places, strangers) = gather::places(&objects, &known, &mut rebuilt).await?;
    drop(known);

    // The entry stands in the log before the first key is opened, and the key service's log names it.
    let studies = places.iter().map(|place| place.study).collect::<BTreeSet<_>>().len();
    let mut begun = NewEntry::new(EntryId::random(&*entropy), clock.now(), Event::Reindex, Outcome::Success);
    begun.actor = Some(actor);
    begun.role = Some(Role::Admin);
    begun.purpose = Some(Purpose::StorageCheck);
    begun.tenant = if let [only] = names[..] { Some(only) } else { None };
    begun.code = CodeWord::parse("begin");
    begun.counts = Counts { studies: studies as u64, instances: places.len() as u64, ..Counts::default() };
    append(&log, vec![begun.clone()], None).await?;

    let job = Job { keys, objects, catalog, actor, approval, entry: begun.entry_id, tenants: names, studies };
    let rebuilt = work::fill(Arc::new(job), &places, strangers, rebuilt, told).await?;

    let tree_size = append(&log, ending(&begun, &rebuilt, &*clock, &*entropy), None).await?;
    let publisher = log.clone();
    spawned(move || publisher.publish()).await??;
    index.commit(Batch { mark: Some(Mark { tree_size, position }), ..Batch::default() }).await?;
    Ok(rebuilt)
}

/// The entries at the end: what was rebuilt, and an alarm if objects are damaged.
fn ending(begun: &NewEntry, rebuilt: &Rebuilt, clock: &dyn Clock, entropy: &dyn Entropy) -> Vec<NewEntry> {
    let counts = Counts {
        studies: rebuilt.studies,
        series: rebuilt.series,
        instances: rebuilt.instances,
        bytes: rebuilt.bytes,
        ..Counts::default()
    };
    let end = |event, code, counts| NewEntry {
        entry_id: EntryId::random(entropy),
        time: clock.now(),
        event,
        code: CodeWord::parse(code),
        counts,
        related: Some(begun.entry_id),
        ..begun.clone()
    };
    let mut entries = vec![end(Event::Reindex, "end", counts)];
    let damaged = rebuilt.left_out.iter().filter(|out| out.why == Why::Damaged).count();
    if damaged > 0 {
        metrics::counter!("leadglass_alarms_total", "kind" => "integrity").increment(damaged as u64);
        tracing::error!(kind = "integrity", objects = damaged, "alarm: {damaged} objects are not what was sealed");
        let counts = Counts { instances: damaged as u64, ..Counts::default() };
        entries.push(NewEntry { outcome: Outcome::Failed, ..end(Event::IntegrityAlarm, "integrity", counts) });
    }
    entries
}

async fn append(log: &Arc<Log>, entries: Vec<NewEntry>, position: Option<u64>) -> Result<u64, ReindexError> {
    let log = log.clone();
    Ok(spawned(move || log.append(entries, position)).await??.size)
}

async fn spawned<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ReindexError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ReindexError::Stopped)
}

impl std::fmt::Debug for ReindexPorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReindexPorts").finish_non_exhaustive()
    }
}
