//! Rejection notes for peers that have copies of what is erased (`imaging::rejection`).
//!
//! A note names the patient and the instances, so it is made while their rows open, lies sealed under the key of the patient's
//! audit details (`ERASURE.md`), leaves once everything is destroyed, and is removed with the order's other lists. Dying on
//! the way, it leaves again: it is the same instance.

use super::{EraseError, ErasureId, Ground, Notice, Order};
use crate::{
    Shared,
    export::{Brought, Parcel},
};
use leadglass_imaging::{
    self as imaging, Instance, MAX_REJECTED, Moment, Offset, Patient, Rejected, Rejection, Series, Sex, Study, Text,
    fresh_uid, rejection_note,
};
use leadglass_index::StudyEntry;
use leadglass_model::{EntryId, Phi, SeriesUid, SopClassUid, SopInstanceUid, StudyRef, TenantId, TransferSyntaxUid};
use leadglass_records::{RecordError, Table};
use minicbor::{Decode, Encode};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// A note at rest.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Note {
    #[n(0)]
    peer: String,
    #[n(1)]
    class: String,
    #[n(2)]
    instance: String,
    #[n(3)]
    syntax: String,
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    data_set: Vec<u8>,
}

/// What kept peers from taking their notes, by peer; `None` for those that took them.
pub(super) type Answers = BTreeMap<String, Option<String>>;

impl Shared {
    /// The notes for a peer about a study, written down.
    pub(super) async fn make_notes(
        &self,
        tenant: TenantId,
        order: &Order,
        peer: &str,
        (study, only): (StudyRef, Option<&BTreeSet<String>>),
        notes: &mut u32,
    ) -> Result<(), EraseError> {
        let Some(entry) = self.catalog.study_by_ref(tenant, study) else { return Ok(()) };
        let mut rejected = Vec::new();
        for row in self.catalog.instances(tenant, study).await? {
            let goes = order.part.is_none() || self.goes(tenant, order, &row);
            let token = self.instance_token(tenant, &row.sop_uid).map(hex::encode);
            let went = only.is_none_or(|only| token.is_some_and(|token| only.contains(&token)));
            if goes && went {
                rejected.push(Rejected { series: row.series_uid, sop_class: row.sop_class, instance: row.sop_uid });
            }
        }
        let why = if order.ground == Ground::Unlawful { Rejection::PatientSafety } else { Rejection::RetentionExpired };
        for some in rejected.chunks(MAX_REJECTED) {
            let at = Moment::at(self.clock.now(), Offset::UTC);
            let Some(record) = self.note_record(&entry, at) else { return Err(EraseError::Missing) };
            let Some(made) = rejection_note(&record, why, some, at) else { continue };
            let note = Note {
                peer: peer.to_owned(),
                class: made.sop_class.as_str().to_owned(),
                instance: made.sop_instance.expose().to_owned(),
                syntax: made.transfer_syntax.as_str().to_owned(),
                data_set: made.pieces.concat(),
            };
            let plain = Zeroizing::new(minicbor::to_vec(&note).expect("a vector takes every byte"));
            let place = note_place(order.id, *notes);
            let sealed = self.seal_about(tenant, order.subject_token(), place, &plain).await?;
            for (piece, bytes) in (0..).zip(sealed.chunks(NOTE_PIECE)) {
                self.keep_piece(tenant, &note_key(order.id, *notes, piece), bytes.to_vec()).await?;
            }
            *notes += 1;
        }
        Ok(())
    }

    /// What a note about a study says of itself.
    fn note_record(&self, entry: &StudyEntry, at: Moment) -> Option<imaging::Record> {
        let row = &entry.row;
        let text = |text: &Option<Phi<String>>| Text::known(text.as_ref());
        Some(imaging::Record {
            patient: Patient {
                id: text(&row.patient_id),
                issuer: text(&row.issuer),
                name: text(&row.patient_name),
                birth_date: text(&row.birth_date),
                sex: row.sex.as_ref().and_then(|sex| Sex::parse(sex.expose())).unwrap_or_default(),
            },
            study: Study {
                uid: row.uid.clone(),
                date: text(&row.date),
                time: text(&row.time),
                id: text(&row.id),
                accession_number: text(&row.accession_number),
                referring_physician: text(&row.referring_physician),
                description: text(&row.description),
            },
            series: Series {
                uid: SeriesUid::parse(&fresh_uid(&*self.entropy)).ok()?,
                number: 1,
                description: Text::long("Rejection note").ok()?,
                body_part: Text::default(),
                laterality: None,
            },
            instance: SopInstanceUid::parse(&fresh_uid(&*self.entropy)).ok()?,
            number: 1,
            received: Some(at),
            place: Some(Offset::UTC),
            taken: None,
        })
    }

    /// Brings the notes to the peers that are to be told. Who cannot be reached keeps the order waiting. Dying here, a
    /// peer may get its notes twice: they are the same instances.
    pub(super) async fn tell_peers(self: &Arc<Self>, tenant: TenantId, order: &Order) -> Result<Answers, EraseError> {
        let waiting = order.recipients.iter().filter(|recipient| recipient.notice == Notice::Waiting);
        let mut answers = Answers::new();
        for name in waiting.map(|recipient| &recipient.name) {
            let entry = self.erasure_entry(tenant, order, &format!("notice-{name}"));
            self.commit_entry(entry, None).await?;
            answers.insert(name.clone(), self.bring_notes(tenant, order, name).await?);
        }
        Ok(answers)
    }

    /// What kept a peer from taking all its notes, if anything did.
    async fn bring_notes(&self, tenant: TenantId, order: &Order, peer: &str) -> Result<Option<String>, EraseError> {
        let courier = self.exports.courier.lock().clone().filter(|courier| courier.knows(tenant, peer));
        let Some(courier) = courier else { return Ok(Some("there is no such peer any more".to_owned())) };
        for number in 0.. {
            let note = match self.note(tenant, order, number).await {
                Ok(Some(note)) => note,
                Ok(None) => break,
                // Another order closed the patient's details meanwhile. A person tells the peer; the others are told.
                Err(EraseError::Records(RecordError::NotAuthentic)) => {
                    return Ok(Some("its note does not open any more".to_owned()));
                }
                Err(error) => return Err(error),
            };
            if note.peer != peer {
                continue;
            }
            let (Ok(sop_class), Ok(sop_instance), Ok(transfer_syntax)) = (
                SopClassUid::parse(&note.class),
                SopInstanceUid::parse(&note.instance),
                TransferSyntaxUid::parse(&note.syntax),
            ) else {
                return Err(RecordError::NotAuthentic.into());
            };
            let pieces = vec![note.data_set.into()];
            let parcel = Parcel::made(vec![Instance { sop_class, sop_instance, transfer_syntax, pieces }]);
            let (told, mut answers) = mpsc::channel(1);
            let bringing = courier.bring(peer, parcel, told);
            let listening = async {
                let mut refused = Some("it did not answer".to_owned());
                while let Some(Brought { refused: said, .. }) = answers.recv().await {
                    refused = said;
                }
                refused
            };
            let (ended, refused) = tokio::select! {
                () = self.stop.cancelled() => return Err(EraseError::Stopping),
                both = async { tokio::join!(bringing, listening) } => both,
            };
            if let Some(why) = ended.err().map(|error| error.0).or(refused) {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// The note with this number.
    async fn note(&self, tenant: TenantId, order: &Order, number: u32) -> Result<Option<Note>, EraseError> {
        let records = self.records(tenant).ok_or(EraseError::Missing)?;
        let mut sealed = Vec::new();
        for piece in 0.. {
            let key = note_key(order.id, number, piece);
            let Some(record) = records.get(Table::Cases, &key).await? else { break };
            sealed.extend_from_slice(record.value.expose());
        }
        if sealed.is_empty() {
            return Ok(None);
        }
        let place = note_place(order.id, number);
        let plain = self.open_about(tenant, order.subject_token(), place, &sealed).await.map(Zeroizing::new);
        let plain = plain.ok_or(RecordError::NotAuthentic)?;
        Ok(Some(minicbor::decode(&plain).map_err(|_| RecordError::NotAuthentic)?))
    }

    /// Nothing is left of an order's notes.
    pub(super) async fn forget_notes(&self, tenant: TenantId, id: ErasureId) -> Result<(), EraseError> {
        let records = self.records(tenant).ok_or(EraseError::Missing)?;
        let prefix = [NOTES_PREFIX, &id.0].concat();
        for (key, _) in super::tombstone::scan(records, &prefix).await? {
            records.delete(Table::Cases, &key).await?;
        }
        Ok(())
    }
}

/// The piece with this number of the note with that number.
fn note_key(id: ErasureId, note: u32, piece: u32) -> Vec<u8> {
    [NOTES_PREFIX, &id.0, &note.to_be_bytes(), &piece.to_be_bytes()].concat()
}

/// What a note is bound to where it lies sealed.
fn note_place(id: ErasureId, number: u32) -> EntryId {
    let key =
        blake3::derive_key("leadglass 2026 a rejection note at rest", &[&id.0[..], &number.to_be_bytes()].concat());
    let mut place = [0; 16];
    place.copy_from_slice(&key[..16]);
    EntryId::from_bytes(place)
}

const NOTES_PREFIX: &[u8] = b"erasure-notes:";
/// Bytes of a note in one record.
const NOTE_PIECE: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_note_has_a_place_of_its_own() {
        let id = ErasureId([7; 16]);
        assert_ne!(note_place(id, 0), note_place(id, 1));
        assert_ne!(note_place(id, 0), note_place(ErasureId([8; 16]), 0));
    }
}
