//! Where an instance belongs.
//!
//! ```text
//!  study unknown                          a new study, under the fresh key's StudyRef
//!  study, series or instance erased
//!  within the last 90 days                quarantine
//!  study known, same patient              into the study
//!  study known, another patient           quarantine, under a StudyRef of its own; the sender is told success
//!  instance known, equal data set         acknowledged, not stored twice
//!  instance known, other bytes, same device    a new version, current
//!  instance known, other bytes, other device   quarantine; the old one stays current
//!  instance known and hidden, other bytes      quarantine
//!  instance known, other bytes, from who never corrects    refused; the old one stays current
//! ```

use super::{Announced, Corrects, Destination, IngestError, PatientKey, Received, Source, claim::HeldStudy};
use crate::Shared;
use leadglass_index::{InstanceRow, InstanceState, QuarantineReason, StudyEntry};
use leadglass_keys::SealingKey;
use leadglass_model::{Phi, SeriesUid, SopInstanceUid, StudyRef, StudyUid, TenantId};
use leadglass_tap::InstanceHeader;
use std::sync::Arc;

/// A place under a study, with the key to seal with.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) key: Arc<SealingKey>,
    pub(super) kind: SeatKind,
}

/// Whose place it is.
#[derive(Debug)]
pub(super) enum SeatKind {
    /// A study that the index knows.
    Known(StudyRef),
    /// A study that no row names yet.
    New(HeldStudy),
    /// A case of quarantine: new, or one that holds more of the same already.
    Quarantine(StudyRef, QuarantineReason),
    /// Nobody's yet: the key is fresh, and its StudyRef is its own until it is bound.
    Open,
}

/// The study that an instance names, as far as it is known.
#[derive(Debug)]
pub(super) enum Home {
    /// In the index, with the same patient.
    Known(StudyRef),
    /// Claimed by a transfer at this moment, with the same patient.
    Claimed(HeldStudy),
    /// Nobody knows it.
    Unknown,
    /// Known with another patient.
    OtherPatient,
    /// It was erased not long ago.
    Erased,
}

impl PatientKey {
    /// The patient that a data set names.
    pub(crate) fn of(header: &InstanceHeader) -> Self {
        Self {
            id: header.patient_id.clone().unwrap_or_else(|| Phi::new(String::new())),
            issuer: header.issuer_of_patient_id.clone(),
        }
    }
}

impl Received {
    pub(super) fn names(&self) -> Names<'_> {
        Names {
            study: &self.study,
            series: Some(&self.series),
            instance: &self.announced.sop_instance,
            patient: &self.patient,
        }
    }
}

/// What an instance says it is, as far as it is known.
#[derive(Debug)]
pub(super) struct Names<'a> {
    pub(super) study: &'a StudyUid,
    pub(super) series: Option<&'a SeriesUid>,
    pub(super) instance: &'a SopInstanceUid,
    pub(super) patient: &'a PatientKey,
}

/// Finds the study's home.
pub(super) fn home(shared: &Shared, tenant: TenantId, names: &Names<'_>, destination: Destination) -> Home {
    let (uid, patient) = (names.study, names.patient);
    if let Some(study_ref) = destination.study_ref() {
        return Home::Known(study_ref);
    }
    let is_part_erased = || shared.was_part_erased(tenant, names.series, names.instance);
    if let Some(study) = shared.catalog.study(tenant, uid) {
        return if !crate::patient_key(&study).is_same(patient) {
            Home::OtherPatient
        } else if is_part_erased() {
            Home::Erased
        } else {
            Home::Known(study.study_ref)
        };
    }
    if shared.was_erased(tenant, uid) || is_part_erased() {
        return Home::Erased;
    }
    match shared.claims.join(tenant, uid) {
        Some(held) if held.patient.is_same(patient) => Home::Claimed(held),
        Some(_) => Home::OtherPatient,
        None => Home::Unknown,
    }
}

/// A seat in the study of that home.
pub(super) async fn seat(
    shared: &Shared,
    tenant: TenantId,
    uid: &StudyUid,
    patient: &PatientKey,
    home: Home,
) -> Result<Seat, IngestError> {
    match home {
        Home::Known(study_ref) => {
            let key = shared.keys.sealing_key(tenant, Some(study_ref)).await.map_err(IngestError::Keys)?;
            Ok(Seat { key, kind: SeatKind::Known(study_ref) })
        }
        Home::Claimed(held) => {
            let key = shared.keys.sealing_key(tenant, Some(held.study_ref)).await.map_err(IngestError::Keys)?;
            Ok(Seat { key, kind: SeatKind::New(held) })
        }
        Home::Unknown => {
            let fresh = shared.keys.sealing_key(tenant, None).await.map_err(IngestError::Keys)?;
            let held = shared.claims.study(tenant, uid, patient, fresh.study_ref());
            // While the key was fetched, another transfer may have claimed the study, committed, and let its claim go.
            if let Some(seat) = settled_meanwhile(shared, tenant, uid, patient).await? {
                return Ok(seat);
            }
            if held.study_ref == fresh.study_ref() {
                return Ok(Seat { key: fresh, kind: SeatKind::New(held) });
            }
            // Another transfer was first while we fetched the key; the patient may be another one, too.
            if !held.patient.is_same(patient) {
                return quarantine(shared, tenant, uid, patient, QuarantineReason::OtherPatient).await;
            }
            let key = shared.keys.sealing_key(tenant, Some(held.study_ref)).await.map_err(IngestError::Keys)?;
            Ok(Seat { key, kind: SeatKind::New(held) })
        }
        Home::OtherPatient => quarantine(shared, tenant, uid, patient, QuarantineReason::OtherPatient).await,
        Home::Erased => quarantine(shared, tenant, uid, patient, QuarantineReason::Erased).await,
    }
}

/// The seat in a study whose row became visible after it was looked for.
async fn settled_meanwhile(
    shared: &Shared,
    tenant: TenantId,
    uid: &StudyUid,
    patient: &PatientKey,
) -> Result<Option<Seat>, IngestError> {
    let Some(study) = shared.catalog.study(tenant, uid) else { return Ok(None) };
    if !crate::patient_key(&study).is_same(patient) {
        return quarantine(shared, tenant, uid, patient, QuarantineReason::OtherPatient).await.map(Some);
    }
    let key = shared.keys.sealing_key(tenant, Some(study.study_ref)).await.map_err(IngestError::Keys)?;
    Ok(Some(Seat { key, kind: SeatKind::Known(study.study_ref) }))
}

/// The case of quarantine for this study, patient and reason, if one is open.
pub(super) fn case(
    shared: &Shared,
    tenant: TenantId,
    uid: &StudyUid,
    patient: &PatientKey,
    reason: QuarantineReason,
) -> Option<StudyRef> {
    let cases = shared.catalog.quarantined(tenant, Some(uid));
    let fits = |case: &StudyEntry| case.row.quarantine == Some(reason) && crate::patient_key(case) == *patient;
    cases.into_iter().find(fits).map(|case| case.study_ref)
}

/// A seat in quarantine: with its like, if a case for this study, patient and reason is open, else in a case of its own.
pub(super) async fn quarantine(
    shared: &Shared,
    tenant: TenantId,
    uid: &StudyUid,
    patient: &PatientKey,
    reason: QuarantineReason,
) -> Result<Seat, IngestError> {
    let case = case(shared, tenant, uid, patient, reason);
    let key = shared.keys.sealing_key(tenant, case).await.map_err(IngestError::Keys)?;
    let study_ref = case.unwrap_or_else(|| key.study_ref());
    Ok(Seat { key, kind: SeatKind::Quarantine(study_ref, reason) })
}

/// A seat for an instance that must be sealed before it is whole. An instance that is already known gets an open seat:
/// whether it is a copy, a version or a case of quarantine shows at its end.
pub(super) async fn seat_early(
    shared: &Shared,
    source: &Source,
    announced: &Announced,
    so_far: &InstanceHeader,
    destination: Destination,
) -> Result<Seat, IngestError> {
    let Some(uid) = &so_far.study_uid else { return open(shared, source.tenant).await };
    let patient = PatientKey::of(so_far);
    let names =
        Names { study: uid, series: so_far.series_uid.as_ref(), instance: &announced.sop_instance, patient: &patient };
    let home = home(shared, source.tenant, &names, destination);
    if let Home::Known(study_ref) = &home {
        let row = shared.catalog.instance(source.tenant, *study_ref, &announced.sop_instance).await;
        if row.map_err(IngestError::Index)?.is_some() {
            return open(shared, source.tenant).await;
        }
    }
    seat(shared, source.tenant, uid, &patient, home).await
}

async fn open(shared: &Shared, tenant: TenantId) -> Result<Seat, IngestError> {
    let key = shared.keys.sealing_key(tenant, None).await.map_err(IngestError::Keys)?;
    Ok(Seat { key, kind: SeatKind::Open })
}

/// What a known instance means for one that arrives with the same SOP Instance UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// The same data set.
    Copy,
    /// Other bytes from the same device: the next version.
    Version,
    /// Other bytes from another device.
    Stranger,
}

/// Versions before the current one that an instance may have. Each stands in its row, which is read and written whole.
pub(crate) const MAX_EARLIER: usize = 64;

/// Compares an arriving instance with the stored one.
pub(super) fn compare(stored: &InstanceRow, digest: &[u8; 32], received: &Received) -> Result<Known, IngestError> {
    let decided = received.destination != Destination::AsNamed;
    let had_before = || !decided && stored.earlier.iter().any(|earlier| earlier.content_digest == *digest);
    Ok(if stored.content_digest == *digest || had_before() {
        Known::Copy
    } else if received.source.corrects == Corrects::Nothing {
        return Err(IngestError::Different);
    } else if !decided && stored.state == InstanceState::Withdrawn {
        // A person hid it: whether something else comes in its place is a person's decision, too.
        Known::Stranger
    } else if decided || stored.receiver == received.source.receiver {
        if stored.earlier.len() >= MAX_EARLIER {
            return Err(IngestError::TooManyVersions);
        }
        Known::Version
    } else {
        Known::Stranger
    })
}
