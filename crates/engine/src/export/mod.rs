//! Export: all of a patient, a study or an instance, as a package that leaves the house (GDPR Art. 15, 20).
//!
//! ```text
//!  begun     what is to go out is looked through once: names, lengths, digests, previews; written down sealed
//!  given out any piece of it, as often as it is asked for, until it is over a week old
//! ```
//!
//! The list is what makes a download go on where it broke off: every offset follows from it, and what is read later has to be
//! what was listed. It names the patient, so it lies sealed under a key that follows from the keys of all its studies: once
//! one of them is destroyed, no list opens any more, in no backup either. Nothing of the package touches a disk.

mod body;
mod courier;
mod disclosed;
mod job;
mod list;
mod send;
mod stored;

pub use courier::{Brought, Courier, CourierError, Delivery, Parcel, ParcelPieces};
pub use disclosed::{Disclosure, Handed};
pub(crate) use job::Exports;
pub use job::{ExportId, ExportView};

use crate::{AccessError, Engine, ReportError, RetrieveError, ingest::PatientKey};
use bytes::Bytes;
use futures::{Stream, future::BoxFuture};
use leadglass_audit::report::AccessReport;
use leadglass_export::papers::Practice;
use leadglass_journal::CommitError;
use leadglass_keys::KeysError;
use leadglass_model::{Audit, Fault, Permit, Phi, Read, SeriesUid, SopInstanceUid, StudyUid, TenantId};
use leadglass_policy::MayExport;
use leadglass_records::RecordError;
use std::{collections::BTreeMap, ops::Range, sync::Arc};
use zeroize::Zeroizing;

/// What is to go out.
#[derive(Debug, Clone)]
pub enum WhatToExport {
    /// All of a patient.
    Patient {
        /// Patient ID.
        id: Phi<String>,
        /// Issuer of Patient ID.
        issuer: Option<Phi<String>>,
    },
    /// One study.
    Study(StudyUid),
    /// One instance.
    Instance(StudyUid, SeriesUid, SopInstanceUid),
}

/// An export as it is asked for.
#[derive(Debug)]
pub struct ExportAsked {
    /// What.
    pub what: WhatToExport,
    /// With the report on who opened the patient's studies.
    pub report: Option<Permit<Audit>>,
    /// Pseudonyms in words, for that report.
    pub people: BTreeMap<String, String>,
    /// In an envelope that a passphrase opens.
    pub sealed: bool,
    /// To whom the package will be handed, if to anybody else than the patient.
    pub recipient: Option<String>,
    /// An order to whoever is at the reception: to hand it out.
    pub hand_out: bool,
}

/// Whoever asks, and what it takes to give something out.
#[derive(Clone)]
pub struct ExportBy {
    /// To open the studies.
    pub permit: Permit<Read>,
    /// Which exports.
    pub exports: MayExport,
    /// In which session.
    pub session: [u8; 16],
    /// Makes previews.
    pub previews: Arc<dyn Previews>,
}

impl ExportBy {
    /// Whether this may be begun.
    fn may_begin(&self, asked: &ExportAsked) -> Result<(), ExportError> {
        let is_of_one = !matches!(asked.what, WhatToExport::Patient { .. }) && asked.report.is_none();
        match self.exports {
            MayExport::All => Ok(()),
            MayExport::One if is_of_one => Ok(()),
            MayExport::One | MayExport::HandsOut | MayExport::Nothing => Err(ExportError::NotYours),
        }
    }

    /// Whether this one is there for him. One's own, what was left to be handed out, or all of them.
    fn may_have(&self, view: &ExportView) -> bool {
        match self.exports {
            MayExport::All => true,
            MayExport::One => view.by == self.permit.actor().to_string(),
            MayExport::HandsOut => view.hand_out,
            MayExport::Nothing => false,
        }
    }

    /// Whether he decides where this one goes, and takes it back.
    fn decides(&self, view: &ExportView) -> bool {
        matches!(self.exports, MayExport::All | MayExport::One) && self.may_have(view)
    }
}

impl std::fmt::Debug for ExportBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportBy").field("permit", &self.permit).finish_non_exhaustive()
    }
}

/// Makes a picture for looking at. The same instance gives the same bytes.
pub trait Previews: Send + Sync + 'static {
    /// The picture as JPEG; `None` for an instance without pixels, or whose pixels cannot be shown.
    fn preview(
        &self,
        study: StudyUid,
        series: SeriesUid,
        instance: SopInstanceUid,
    ) -> BoxFuture<'_, Result<Option<Bytes>, RetrieveError>>;
}

/// Writes papers in forms that the engine does not know.
pub trait Printer: Send + Sync + 'static {
    /// The report on accesses for people: file names and contents.
    fn report(&self, report: &AccessReport) -> Vec<(String, Vec<u8>)>;
    /// Lines of text as PDF.
    fn pdf(&self, lines: &[String]) -> Vec<u8>;
}

/// An export that was begun.
#[derive(Debug)]
pub struct Begun {
    /// What is known of it.
    pub view: ExportView,
    /// Opens its envelope. It stands nowhere else and is not shown again.
    pub passphrase: Option<Zeroizing<String>>,
}

/// Why there is no export, or why it broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Nothing that the caller may export, or no such export.
    #[error("there is nothing to export, or no such export")]
    Missing,
    /// The role has other exports, or none of its own.
    #[error(
        "this role exports one study or instance at a time, without the report on accesses, or hands out what others ordered"
    )]
    NotYours,
    /// More than one export holds.
    #[error("one export holds at most {MAX_INSTANCES} instances: export study by study")]
    TooMany,
    /// No such peer, or not for this tenant.
    #[error("there is no peer of this name for this practice")]
    NoPeer,
    /// Too long, or no text.
    #[error("a recipient is named in one line of at most 100 characters")]
    Recipient,
    /// The patient is named where the recipient should be.
    #[error("the recipient's name holds the patient's: name the recipient alone, for it is kept after an erasure")]
    RecipientNamesPatient,
    /// Several patients have this Patient ID.
    #[error("several issuers gave this Patient ID to somebody: name the issuer")]
    Ambiguous,
    /// Others are being made.
    #[error("as many exports as there is room for are being made")]
    Busy,
    /// What was listed is not there any more as it was.
    #[error("what was to be exported has changed since: begin a new export")]
    Changed,
    /// Something could not be read.
    #[error("something could not be read")]
    Read(#[from] RetrieveError),
    /// There is no report on accesses.
    #[error("the report on accesses could not be made")]
    Report(#[from] ReportError),
    /// The list could not be kept.
    #[error("the list could not be kept")]
    Records(#[from] RecordError),
    /// It could not be recorded, so nothing goes out.
    #[error("the export could not be recorded")]
    Audit(#[from] AccessError),
    /// The key service gave no key to sign with.
    #[error("the key service gave no key to sign with")]
    Keys(#[from] KeysError),
    /// The machine's cryptography or memory failed.
    #[error("the machine could not seal it")]
    Sealing,
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl From<CommitError> for ExportError {
    fn from(error: CommitError) -> Self {
        Self::Audit(error.into())
    }
}

impl ExportError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing | Self::NoPeer => Fault::Missing,
            Self::TooMany | Self::Ambiguous | Self::Recipient | Self::RecipientNamesPatient => Fault::BadInput,
            Self::NotYours => Fault::Denied,
            Self::Busy | Self::Stopping => Fault::Busy,
            Self::Changed => Fault::Conflict,
            Self::Read(error) => error.fault(),
            Self::Report(error) => error.fault(),
            Self::Records(error) => error.fault(),
            Self::Audit(error) => error.fault(),
            Self::Keys(error) => error.fault(),
            Self::Sealing => Fault::Broken,
        }
    }

    /// The stable word of it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "no-export",
            Self::NotYours => "not-allowed",
            Self::NoPeer => "no-peer",
            Self::TooMany => "too-many-instances",
            Self::Ambiguous => "several-patients",
            Self::Recipient => "recipient",
            Self::RecipientNamesPatient => "recipient-names-patient",
            Self::Busy => "busy",
            Self::Changed => "changed",
            Self::Read(error) => error.code(),
            _ => "export",
        }
    }
}

impl Engine {
    /// Looks through what is to go out, and writes down the list from which it is given out.
    ///
    /// Cancel safety: a dropped call may leave entries in the log that it was begun.
    pub async fn begin_export(&self, by: ExportBy, asked: ExportAsked) -> Result<Begun, ExportError> {
        self.shared.begin_export(by, asked).await
    }

    /// The exports that the caller can still have, each with its studies, newest last.
    pub async fn exports(&self, by: &ExportBy) -> Result<Vec<(ExportView, Vec<StudyUid>)>, ExportError> {
        self.shared.exports_of(by).await
    }

    /// Finds an export again.
    ///
    /// Cancel safety: dropping the future may leave accesses recorded that nobody used.
    pub async fn export(&self, by: &ExportBy, id: ExportId) -> Result<ExportView, ExportError> {
        Ok(self.shared.job(by, id).await?.view())
    }

    /// Bytes `range` of an export's file. That it is given out is an entry, durable before the first byte. An error ends the
    /// stream: what came until then is right.
    ///
    /// Cancel safety: dropping the stream ends the reading.
    pub async fn export_content(
        &self,
        by: ExportBy,
        id: ExportId,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, ExportError>> + Send + 'static, ExportError> {
        self.shared.export_content(by, id, range).await
    }

    /// Brings an export's instances to a peer, as they came. It goes on until it is over or nobody listens any more.
    ///
    /// Cancel safety: dropping the future may leave the entry that it was begun; dropping the receiver calls it off.
    pub async fn deliver_export(
        &self,
        by: ExportBy,
        id: ExportId,
        peer: &str,
    ) -> Result<tokio::sync::mpsc::Receiver<Delivery>, ExportError> {
        self.shared.deliver(by, id, peer).await
    }

    /// Who brings exports to other houses.
    pub fn set_courier(&self, courier: Arc<dyn Courier>) {
        *self.shared.exports.courier.lock() = Some(courier);
    }

    /// Takes an export back. What was downloaded stays with whoever has it.
    pub async fn drop_export(&self, by: &ExportBy, id: ExportId) -> Result<(), ExportError> {
        self.shared.take_back(by, id).await
    }

    /// What a tenant's practice has to say of itself (GDPR Art. 15(1)).
    pub fn set_practice(&self, tenant: TenantId, practice: Practice) {
        self.shared.exports.practices.lock().insert(tenant, practice);
    }

    /// Who writes papers.
    pub fn set_printer(&self, printer: Arc<dyn Printer>) {
        *self.shared.exports.printer.lock() = Some(printer);
    }
}

impl crate::Shared {
    /// What the tenant's practice says of itself.
    pub(crate) fn practice(&self, tenant: TenantId) -> Practice {
        self.exports.practices.lock().get(&tenant).cloned().unwrap_or_default()
    }
}

/// Whose studies, for the patient of a study.
fn same_patient(a: &PatientKey, b: &PatientKey) -> bool {
    a.is_same(b)
}

/// Instances of one export: its list is held in memory while it is given out, some 400 bytes of each.
pub const MAX_INSTANCES: usize = 200_000;
