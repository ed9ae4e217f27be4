//! Flow in: every way in meets here.
//!
//! tap (who, what, frames) and seal see the same bytes once; small instances travel inside the journal's record, larger
//! ones go to the store while they arrive. The sender is told "stored" with an [`Acknowledged`] and with nothing else.

mod claim;
mod error;
mod file;
mod gzip;
mod place;
mod rows;
mod settle;
mod transfer;

pub(crate) use claim::{Claims, PatientKey};
pub use error::IngestError;
pub use file::FileTransfer;
pub(crate) use gzip::gzip;
pub(crate) use place::MAX_EARLIER;
pub(crate) use rows::{earlier, series_row, study_row};
pub use transfer::{INLINE_BYTES, Transfer};

use crate::Shared;
use bytes::Bytes;
use leadglass_model::{
    ActorRef, EnrolmentLevel, ObjectId, Permit, Phi, ReceiverId, Role, SeriesUid, SopClassUid, SopInstanceUid, Store,
    StudyRef, StudyUid, TenantId, TransferSyntaxUid,
};
use leadglass_tap::{Tapped, part10};
use std::sync::Arc;

/// Where an instance comes from.
#[derive(Debug)]
pub struct Source {
    pub(crate) tenant: TenantId,
    pub(crate) receiver: ReceiverId,
    pub(crate) actor: ActorRef,
    pub(crate) role: Role,
    pub(crate) calling: Phi<String>,
    pub(crate) address: Phi<String>,
    pub(crate) level: Option<EnrolmentLevel>,
    pub(crate) corrects: Corrects,
}

/// What other bytes under a known SOP Instance UID mean, from one and the same source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corrects {
    /// A correction: the next version.
    Versions,
    /// A mistake: the first stays, the sender is told.
    Nothing,
}

impl Source {
    /// A device or person that may store. `calling` (an AE title, a user agent) and `address` stand in the sealed part of
    /// the audit entry only.
    pub fn new(permit: &Permit<Store>, receiver: ReceiverId, calling: Phi<String>, address: Phi<String>) -> Self {
        let (tenant, actor, role) = (permit.tenant(), permit.actor(), permit.role());
        Self { tenant, receiver, actor, role, calling, address, level: None, corrects: Corrects::Versions }
    }

    /// The same, of an enrolled device: what it had to show stands in the audit entry of each instance.
    #[must_use]
    pub fn with_level(self, level: EnrolmentLevel) -> Self {
        Self { level: Some(level), ..self }
    }

    /// The same, of somebody who never corrects: an instance that is known with other bytes is refused
    /// ([`IngestError::Different`]) and not replaced.
    #[must_use]
    pub fn without_corrections(self) -> Self {
        Self { corrects: Corrects::Nothing, ..self }
    }
}

/// What a sender says it is about to send.
#[derive(Debug, Clone)]
pub struct Announced {
    /// SOP Class UID.
    pub sop_class: SopClassUid,
    /// SOP Instance UID.
    pub sop_instance: SopInstanceUid,
    /// How the data set is encoded.
    pub transfer_syntax: TransferSyntaxUid,
}

/// Who decides where an instance goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The instance itself: the study that it names.
    AsNamed,
    /// A person decided: this study, whatever the instance names, and the current version there.
    Decided(StudyRef),
    /// As before, in the place of this object and of nothing that came since.
    Replaces(StudyRef, ObjectId),
}

impl Destination {
    /// The study that a person decided on.
    pub(crate) const fn study_ref(self) -> Option<StudyRef> {
        match self {
            Self::AsNamed => None,
            Self::Decided(study_ref) | Self::Replaces(study_ref, _) => Some(study_ref),
        }
    }
}

/// A whole instance, read and checked, whose place is to be decided.
#[derive(Debug)]
struct Received {
    source: Arc<Source>,
    announced: Announced,
    tapped: Tapped,
    preface: Bytes,
    study: StudyUid,
    series: SeriesUid,
    patient: PatientKey,
    destination: Destination,
}

impl Received {
    fn new(
        source: Arc<Source>,
        announced: Announced,
        tapped: Tapped,
        preface: Bytes,
        destination: Destination,
    ) -> Result<Self, IngestError> {
        let header = &tapped.header;
        let no = |attribute| IngestError::NoUid { attribute };
        let study = header.study_uid.clone().ok_or(no("StudyInstanceUID"))?;
        let series = header.series_uid.clone().ok_or(no("SeriesInstanceUID"))?;
        let sop = header.sop_instance_uid.as_ref().ok_or(no("SOPInstanceUID"))?;
        let class = header.sop_class.as_ref().ok_or(no("SOPClassUID"))?;
        if *sop != announced.sop_instance || *class != announced.sop_class {
            return Err(IngestError::NotAnnounced);
        }
        let patient = PatientKey::of(header);
        Ok(Self { source, announced, tapped, preface, study, series, patient, destination })
    }
}

impl Shared {
    /// Begins one instance: a data set without preamble and file meta, as C-STORE sends it.
    pub(crate) fn begin(
        self: &Arc<Self>,
        source: Arc<Source>,
        announced: Announced,
        destination: Destination,
    ) -> Result<Transfer, IngestError> {
        let preface = part10::write_head(
            &announced.sop_class,
            &announced.sop_instance,
            &announced.transfer_syntax,
            Some(source.calling.expose()),
        );
        self.begin_after(preface.into(), source, announced, destination)
    }

    /// Begins one instance whose data set follows `preface`: a preamble and file meta.
    pub(crate) fn begin_after(
        self: &Arc<Self>,
        preface: Bytes,
        source: Arc<Source>,
        announced: Announced,
        destination: Destination,
    ) -> Result<Transfer, IngestError> {
        if self.stop.is_cancelled() {
            return Err(IngestError::Stopping);
        }
        Ok(Transfer::new(self.clone(), source, announced, destination, preface))
    }
}
