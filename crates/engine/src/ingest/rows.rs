//! What the rows and the object's own records say, taken from the instance.

use super::{Received, place::SeatKind};
use leadglass_index::{
    EarlierVersion, FrameLayout, InstanceRow, InstanceState, QuarantineReason, RequestRow, SeriesRow, StudyRow,
};
use leadglass_keys::SealingKey;
use leadglass_model::{ObjectId, StudyRef, UnixMillis};
use leadglass_seal::{FrameSpan, Frames, Layout, Lineage, ObjectKind, ObjectRecords, Provenance, Sealed};
use leadglass_tap::{FrameTable, InstanceHeader, RequestIds};

/// Which version of the instance this is, and under which study.
#[derive(Debug)]
pub(super) struct Succession {
    pub(super) study_ref: StudyRef,
    pub(super) prior: Option<InstanceRow>,
    pub(super) quarantine: Option<QuarantineReason>,
}

impl Succession {
    pub(super) fn version(&self) -> u32 {
        self.prior.as_ref().map_or(1, |row| row.version.saturating_add(1))
    }

    pub(super) fn reason(kind: &SeatKind) -> Option<QuarantineReason> {
        match kind {
            SeatKind::Quarantine(_, reason) => Some(*reason),
            SeatKind::Known(_) | SeatKind::New(_) | SeatKind::Open => None,
        }
    }
}

impl Received {
    pub(super) fn dataset_start(&self) -> u64 {
        self.preface.len() as u64
    }

    /// INDEX of the sealed object.
    pub(super) fn records(&self, succession: &Succession, received_at: UnixMillis) -> ObjectRecords {
        let start = self.dataset_start();
        ObjectRecords {
            kind: ObjectKind::Instance,
            lineage: Lineage {
                study_ref: succession.study_ref,
                version: succession.version(),
                supersedes: succession.prior.as_ref().map(|row| row.object_id),
            },
            layout: Some(Layout {
                dataset_start: start,
                pixel_value: self.tapped.pixel_value_offset.map(|offset| offset + start),
            }),
            frames: match &self.tapped.frames {
                FrameTable::Native { offset, count, frame_len } => {
                    Frames::Native { offset: offset + start, count: *count, frame_len: *frame_len }
                }
                FrameTable::Table(spans) => Frames::Table(
                    spans.iter().map(|span| FrameSpan { offset: span.offset + start, len: span.len }).collect(),
                ),
                FrameTable::None | FrameTable::Unknown => Frames::None,
            },
            transfer_syntax: Some(self.announced.transfer_syntax.clone()),
            media_type: Some("application/dicom".to_owned()),
            provenance: Some(Provenance { receiver: self.source.receiver, received_at }),
        }
    }

    pub(super) fn study_row(&self, received_at: UnixMillis, quarantine: Option<QuarantineReason>) -> StudyRow {
        study_row(&self.tapped.header, self.study.clone(), received_at, quarantine)
    }

    pub(super) fn series_row(&self) -> SeriesRow {
        series_row(&self.tapped.header, self.series.clone())
    }

    pub(super) fn instance_row(
        &self,
        succession: Succession,
        object: ObjectId,
        key: &SealingKey,
        sealed: &Sealed,
        received_at: UnixMillis,
    ) -> InstanceRow {
        let header = &self.tapped.header;
        let start = self.dataset_start();
        InstanceRow {
            sop_uid: self.announced.sop_instance.clone(),
            series_uid: self.series.clone(),
            sop_class: self.announced.sop_class.clone(),
            transfer_syntax: self.announced.transfer_syntax.clone(),
            object_id: object,
            key_id: key.key_id(),
            key_gen: key.key_gen(),
            header: sealed.header,
            sealed_len: sealed.sealed_len,
            body_len: sealed.body_len,
            dataset_start: start,
            content_digest: sealed.content_digest,
            frames: match &self.tapped.frames {
                FrameTable::Native { offset, count, frame_len } => {
                    FrameLayout::Native { offset: offset + start, count: *count, frame_len: *frame_len }
                }
                FrameTable::Table(spans) => FrameLayout::Table { count: u32::try_from(spans.len()).unwrap_or(0) },
                FrameTable::None | FrameTable::Unknown => FrameLayout::None,
            },
            version: succession.version(),
            state: succession.quarantine.map_or(InstanceState::Current, InstanceState::Quarantined),
            earlier: succession.prior.map_or_else(Vec::new, earlier),
            received_at,
            receiver: self.source.receiver,
            instance_number: header.instance_number,
            rows: header.rows,
            columns: header.columns,
            number_of_frames: header.number_of_frames,
            bits_allocated: header.bits_allocated,
            has_metadata: Some(self.tapped.metadata_json.is_some()),
        }
    }
}

/// What a study's first instance says of the study.
pub(crate) fn study_row(
    header: &InstanceHeader,
    uid: leadglass_model::StudyUid,
    created_at: UnixMillis,
    quarantine: Option<QuarantineReason>,
) -> StudyRow {
    StudyRow {
        uid,
        patient_name: header.patient_name.clone(),
        patient_id: header.patient_id.clone(),
        issuer: header.issuer_of_patient_id.clone(),
        birth_date: header.birth_date.clone(),
        sex: header.sex.clone(),
        date: header.study_date.clone(),
        time: header.study_time.clone(),
        id: header.study_id.clone(),
        description: header.study_description.clone(),
        accession_number: header.accession_number.clone(),
        referring_physician: header.referring_physician.clone(),
        timezone_offset: header.timezone_offset.clone(),
        created_at,
        quarantine,
    }
}

/// What a series' first instance says of the series.
pub(crate) fn series_row(header: &InstanceHeader, uid: leadglass_model::SeriesUid) -> SeriesRow {
    SeriesRow {
        uid,
        modality: header.modality.clone(),
        number: header.series_number,
        description: header.series_description.clone(),
        date: header.series_date.clone(),
        time: header.series_time.clone(),
        body_part: header.body_part.clone(),
        laterality: header.laterality.clone(),
        instances: 0,
        performed_date: header.performed_date.clone(),
        performed_time: header.performed_time.clone(),
        requests: header.requests.iter().map(request_row).collect(),
    }
}

fn request_row(request: &RequestIds) -> RequestRow {
    RequestRow { scheduled_step: request.scheduled_step.clone(), procedure: request.procedure.clone() }
}

/// The versions before the next one, oldest first.
pub(crate) fn earlier(prior: InstanceRow) -> Vec<EarlierVersion> {
    let mut earlier = prior.earlier;
    earlier.push(EarlierVersion {
        version: prior.version,
        object_id: prior.object_id,
        key_id: prior.key_id,
        key_gen: prior.key_gen,
        header: prior.header,
        sealed_len: prior.sealed_len,
        body_len: prior.body_len,
        content_digest: prior.content_digest,
        received_at: prior.received_at,
        receiver: prior.receiver,
    });
    earlier
}
