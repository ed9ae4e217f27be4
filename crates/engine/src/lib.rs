//! The use cases: the one place where ports meet.
//!
//! `ingest` brings instances in, `retrieve` gives them out, `search` finds them, `quarantine` decides on what did not fit,
//! `verify` proves that what is stored still opens. Edges translate and decide nothing; what is allowed comes as a
//! [`Permit`](leadglass_model::Permit), what is done goes through one durable step, the journal.
//!
//! **Invariants:** nothing acknowledged is lost, nothing unacknowledged is visible; nothing is read without a permit, a
//! purpose and an audit entry; no plaintext and no key reaches a disk.

#![forbid(unsafe_code)]

mod access;
mod activity;
mod again;
mod alarm;
mod breach;
mod breadth;
mod care;
mod cases;
mod commit;
mod deidentify;
mod drain;
mod erase;
mod export;
mod ingest;
mod keyhost;
mod keylog;
mod people;
mod quarantine;
mod readiness;
mod record;
mod rectify;
mod refusal;
mod reindex;
mod report;
mod retention;
mod retrieve;
mod revoked;
mod rooms;
mod search;
mod signing;
mod start;
mod still;
mod subject;
mod sweep;
mod unbroken;
mod verify;
mod witness;

pub use access::AccessError;
pub use activity::Activity;
pub use again::Begun;
pub use alarm::{AlarmKind, Raised};
pub use breach::{
    BreachAsked, BreachError, BreachPatient, BreachScope, Counted, Opened, OpenedStudy, SealedStudy, Selector, Span,
    Tally, TooMuch,
};
pub use breadth::Breadth;
pub use care::{
    Assigned, CareError, Decision, EmergencyBegun, Kind, Matter, NameOf, Reason, RelationView, Restriction, ReviewView,
};
pub use cases::{
    BREACH_SECS, CaseError, CaseId, CaseLine, CaseLink, CasePatient, CaseState, CaseType, Channel, DEFAULT_CASE_YEARS,
    Deadline, Extension, IdentityCheck, Language, LetterTemplate, Linked, MAX_CASE_YEARS, MIN_CASE_YEARS, NewCase,
    NoLanguage, NoTemplate, Note, Occasion, RightsCase, RightsDecision, RightsOutcome, Seen, Stamp, TemplateLine,
    TemplateName, Written, fill_template,
};
pub use deidentify::{
    Deidentified, DeidentifiedId, DeidentifyAsked, DeidentifyBy, HeldBack, MAX_NAMELESS, NamelessReport, Stays,
};
pub use erase::{
    Approved, Cause, CertificateError, CertificateKeys, CertificateText, CopiesWith, EraseError, ErasureId,
    ErasureRules, Ground, Level, MAX_STUDIES, Notice, Order, Recipient, Stage, Tell, WhatToErase, certificate_text,
    kept_receipts, show_receipts, verify_certificate,
};
pub use export::{
    Begun as ExportBegun, Brought, Courier, CourierError, Delivery, Disclosure, ExportAsked, ExportBy, ExportError,
    ExportId, ExportView, Handed, MAX_INSTANCES, Parcel, ParcelPieces, Previews, Printer, WhatToExport,
};
pub use ingest::{Announced, FileTransfer, INLINE_BYTES, IngestError, Source, Transfer};
pub use keyhost::{KeyHostAnswer, KeyHostError, KeyHostJob, NewKeyHostPasskey};
pub use keylog::{KeyLogError, KeyLogPort, Reconciled, Unmatched};
pub use leadglass_deidentify::{Preset, Region, Rule as RegionRule, Rules as RegionRules};
pub use leadglass_export::papers::Practice;
pub use leadglass_keys::wire::OrderId;
pub use leadglass_policy::CareRule;
pub use quarantine::{Case, QuarantineError, Verdict};
pub use readiness::Readiness;
pub use record::{Record, RecordError, SealedRow, SubjectWrap};
pub use rectify::{
    Attribute, Rectification, RectificationId, RectificationPreview, RectifyError, StudyChange, Truth, Values,
    WhatToRectify,
};
pub use refusal::{EnrolmentChange, Refusals, Refused};
pub use reindex::{LeftOut, Rebuilt, ReindexError, ReindexPorts, Why, reindex};
pub use report::{Keyholders, PatientAsked, ReportError};
pub use retention::{
    Confirmed, Day, Due, DueList, Hold, HoldId, Kept, NoDay, RecordClass, RetentionError, Rule, Since, WhatToHold,
};
pub use retrieve::{
    Bulk, BulkPath, Document, Explicit, Frame, FrameStream, Instance, Metadata, Pixels, RetrieveError, Target,
    Thumbnail,
};
pub use rooms::{Room, Rooms, Share};
pub use search::{SearchError, Within};
pub use signing::{Person, Signing};
pub use start::{Ack, Limits, Ports, StartError};
pub use still::{Still, StillError};
pub use subject::SubjectPort;
pub use verify::{Finding, Report, VerifyError};

use access::Accesses;
use alarm::Alarms;
use commit::Backlog;
use ingest::{Claims, Destination};
use keylog::KeyLog;
use leadglass_audit::Log;
use leadglass_disk::Trays;
use leadglass_index::Catalog;
use leadglass_journal::Journal;
use leadglass_keys::Keys;
use leadglass_model::{ActorRef, Administer, Clock, Entropy, Permit, Read, StudyRef, TenantId};
use leadglass_store::Objects;
use retrieve::{Cache, Pool, Tables};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::AtomicU64},
};
use subject::Subjects;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use witness::Witnessed;

pub(crate) use subject::patient_key;

/// A node's use cases. Clones share it.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    drain: Arc<drain::Handle>,
}

/// The ports, and what the use cases share.
pub(crate) struct Shared {
    pub(crate) keys: Keys,
    pub(crate) objects: Objects,
    pub(crate) journal: Journal,
    /// Up to where the journal was drained.
    pub(crate) drained: AtomicU64,
    /// Held while a batch is drained; and by whoever wants log and index to stand still.
    pub(crate) drains: Arc<tokio::sync::Mutex<()>>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) log: Arc<Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) limits: Limits,
    /// The tenants of this node.
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) subjects: HashMap<TenantId, Subjects>,
    pub(crate) backlog: Backlog,
    /// Memory of sealed objects between their sealing and the store.
    pub(crate) trays: Trays,
    pub(crate) claims: Arc<Claims>,
    pub(crate) accesses: Accesses,
    pub(crate) care: care::Care,
    pub(crate) tables: Tables,
    pub(crate) pool: Pool,
    pub(crate) cache: Cache,
    pub(crate) witness: Witnessed,
    pub(crate) key_log: Arc<KeyLog>,
    pub(crate) alarms: Alarms,
    pub(crate) erased: erase::Erased,
    pub(crate) exports: export::Exports,
    pub(crate) deidentified: deidentify::Deidentifications,
    pub(crate) case_times: cases::KeepTimes,
    pub(crate) asked: cases::Asked,
    /// When the log's last entry was written, at the start.
    pub(crate) last_before: Option<leadglass_model::UnixMillis>,
    /// One rectification at a time.
    pub(crate) rectifying: tokio::sync::Mutex<()>,
    /// Work that must end before the node does: everything between a durable byte and its entry.
    pub(crate) tasks: TaskTracker,
    /// No new instance after this.
    pub(crate) stop: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Engine {
    /// Begins one instance that arrives as a data set without file meta, as C-STORE sends it.
    pub fn begin(&self, source: Arc<Source>, announced: Announced) -> Result<Transfer, IngestError> {
        self.shared.begin(source, announced, Destination::AsNamed)
    }

    /// Finds what is asked for, records the access, and takes the keys.
    ///
    /// Cancel safety: dropping the future may leave an access recorded that nobody used.
    pub async fn locate(
        &self,
        permit: &Permit<Read>,
        session: [u8; 16],
        target: &Target,
    ) -> Result<Vec<Instance>, RetrieveError> {
        self.shared.locate(permit, session, target).await
    }

    /// A session is over: its accesses end, and nothing that was opened in it stays in memory.
    pub fn end_session(&self, session: [u8; 16]) {
        self.shared.end_session(session);
    }

    /// Who has opened a study lately or is being given something out, in whatever session.
    pub fn readers(&self) -> HashSet<ActorRef> {
        self.shared.readers()
    }

    /// A person or program may read no more: all their accesses end, in whatever session, and nothing that was opened in
    /// one stays in memory. What is being given out stops within a few MiB. How many accesses went on until now.
    pub fn end_actor(&self, actor: ActorRef) -> usize {
        self.shared.end_actor(actor)
    }

    /// What waits for a decision.
    pub async fn quarantined(&self, permit: &Permit<Administer>) -> Result<Vec<Case>, QuarantineError> {
        self.shared.quarantined(permit).await
    }

    /// Decides on a case. Instances that were decided on before an error stay decided; asking again goes on.
    ///
    /// Cancel safety: asking again goes on where it stopped.
    pub async fn decide(
        &self,
        permit: &Permit<Administer>,
        case: StudyRef,
        verdict: &Verdict,
    ) -> Result<usize, QuarantineError> {
        self.shared.decide(permit, case, verdict).await
    }

    /// Opens everything that is stored. `told` hears of every object.
    ///
    /// Cancel safety: yes; nothing is changed.
    pub async fn verify(
        &self,
        permit: &Permit<Administer>,
        told: impl FnMut(u64, u64) + Send,
    ) -> Result<Report, VerifyError> {
        self.shared.verify(permit, told).await
    }

    /// Raises an alarm that was found outside the use cases.
    pub fn alarm(&self, kind: AlarmKind) {
        self.shared.alarm(kind, None);
    }

    /// What the node can do right now.
    pub fn readiness(&self) -> Readiness {
        self.shared.readiness()
    }

    /// Writes the gauges that are read and not counted.
    pub fn publish_gauges(&self) {
        self.shared.publish_gauges();
    }
}
