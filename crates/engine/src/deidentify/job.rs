//! A job: its key, what leaves, what is held back, and what is told of it.

use leadglass_deidentify::{Choice, Counts, Doubt, EDITION, Job, Method, Plan, Preset, Refusal};
use leadglass_model::{
    ActorRef, Phi, SeriesUid, SopClassUid, SopInstanceUid, StudyRef, StudyUid, TenantId, TransferSyntaxUid, UnixMillis,
};
use lru::LruCache;
use parking_lot::Mutex;
use serde::Serialize;
use std::{collections::BTreeMap, fmt, num::NonZeroUsize, str::FromStr, sync::Arc};
use tokio::sync::Semaphore;

/// Random name of a job.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeidentifiedId(pub(super) [u8; 16]);

impl fmt::Display for DeidentifiedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for DeidentifiedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeidentifiedId({self})")
    }
}

impl FromStr for DeidentifiedId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}

/// A job that was begun.
#[derive(Debug)]
pub struct Deidentified {
    /// Its name.
    pub id: DeidentifiedId,
    /// What goes with the instances. It names nobody.
    pub report: NamelessReport,
    /// What does not leave, for whoever may see the patient.
    pub held: Vec<HeldBack>,
}

/// An instance that does not leave.
#[derive(Debug, Clone)]
pub struct HeldBack {
    /// Its UIDs: of study, series, instance.
    pub uids: Phi<[String; 3]>,
    /// Why.
    pub why: Stays,
}

/// Why an instance does not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// A person has to look at it first.
    Review(Doubt),
    /// It cannot be made nameless.
    Refused(Refusal),
    /// It cannot be read as DICOM.
    Broken,
}

impl Stays {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Review(_) => "review",
            Self::Refused(_) => "refused",
            Self::Broken => "broken",
        }
    }

    /// The same in a sentence.
    pub fn sentence(self) -> String {
        match self {
            Self::Review(doubt) => doubt.sentence().to_owned(),
            Self::Refused(refusal) => refusal.to_string(),
            Self::Broken => "it cannot be read as DICOM".to_owned(),
        }
    }
}

/// What was done, in a form that may go with the instances.
#[derive(Debug, Clone, Serialize)]
pub struct NamelessReport {
    /// Name of the job.
    pub job: String,
    /// When, milliseconds since 1970.
    pub made_ms: u64,
    /// How.
    pub preset: Preset,
    /// Options of the profile.
    pub options: Vec<Choice>,
    /// Of which edition the table of the profile is.
    pub table: &'static str,
    /// Method codes (PS3.16 CID 7050); regions are said at each instance.
    pub methods: Vec<Method>,
    /// What goes out.
    pub instances: Vec<Line>,
    /// How many do not, by why.
    pub left_out: BTreeMap<String, usize>,
}

/// What was done to one instance.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Where it stands in the package.
    pub file: String,
    /// Its new UID.
    pub sop_instance: String,
    /// Its transfer syntax.
    pub transfer_syntax: String,
    /// Length of its file.
    pub bytes: u64,
    /// Regions of its pixels are blanked.
    pub blanked: bool,
    /// A person said that nothing in its pixels names or shows anybody.
    pub reviewed: bool,
    /// How often what was done.
    pub done: Counts,
}

/// An instance that leaves.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) uids: (StudyUid, SeriesUid, SopInstanceUid),
    pub(super) patient: Phi<String>,
    pub(super) class: SopClassUid,
    /// What it becomes.
    pub(super) new_uid: SopInstanceUid,
    pub(super) new_syntax: TransferSyntaxUid,
    pub(super) stamp: [u8; 16],
    pub(super) plan: Plan,
    pub(super) head: Vec<u8>,
    /// Bytes of its data set.
    pub(super) len: u64,
    pub(super) done: Counts,
    pub(super) file: String,
}

/// A job in memory.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) tenant: TenantId,
    pub(super) actor: ActorRef,
    pub(super) until: UnixMillis,
    pub(super) job: Arc<Job>,
    pub(super) items: Vec<Item>,
    pub(super) studies: Vec<StudyRef>,
}

/// What all jobs of a node share.
pub(crate) struct Deidentifications {
    pub(super) jobs: Mutex<LruCache<DeidentifiedId, Arc<Held>>>,
    pub(super) turns: Arc<Semaphore>,
}

impl Default for Deidentifications {
    fn default() -> Self {
        Self { jobs: Mutex::new(LruCache::new(JOBS_HELD)), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Item {
    fn line(&self) -> Line {
        Line {
            file: self.file.clone(),
            sop_instance: self.new_uid.expose().to_owned(),
            transfer_syntax: self.new_syntax.as_str().to_owned(),
            bytes: self.head.len() as u64 + self.len,
            blanked: !self.plan.boxes.is_empty(),
            reviewed: self.plan.reviewed,
            done: self.done,
        }
    }
}

/// What is told of a job.
pub(super) fn report(
    id: DeidentifiedId,
    now: UnixMillis,
    job: &Job,
    items: &[Item],
    held: &[HeldBack],
) -> NamelessReport {
    let mut left_out = BTreeMap::new();
    for one in held {
        *left_out.entry(one.why.sentence()).or_default() += 1;
    }
    NamelessReport {
        job: id.to_string(),
        made_ms: now.0,
        preset: job.preset(),
        options: job.options().choices().to_vec(),
        table: EDITION,
        methods: Method::of(job.options(), false),
        instances: items.iter().map(Item::line).collect(),
        left_out,
    }
}

/// Jobs in memory, with their keys.
const JOBS_HELD: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");
/// Jobs that are begun at one time.
const AT_ONCE: usize = 2;
/// So long a job and its key are held: an hour.
pub(super) const LASTS_S: u64 = 3600;
