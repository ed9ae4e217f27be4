//! To whom what is erased had been disclosed before (GDPR Art. 19), and telling those that are peers.
//!
//! Who got the studies of an order is read from what exports wrote down, and written into the order before its rows go:
//! names, dates and counts, no patient. If the officer wants it, each peer among them gets a rejection note
//! (`imaging::rejection`). A note names the patient and the instances, so it is made while their rows open, lies sealed
//! under the key of the patient's audit details (`ERASURE.md`), leaves once everything is destroyed, and is removed
//! with the order's other lists. Dying on the way, it leaves again: it is the same instance.

use super::{EraseError, ErasureId, Ground, Order, Stage};
use crate::{
    Disclosure, Engine, Handed, Shared,
    export::{Brought, Parcel},
};
use leadglass_imaging::{
    self as imaging, Instance, MAX_REJECTED, Moment, Offset, Patient, Rejected, Rejection, Series, Sex, Study, Text,
    fresh_uid, rejection_note,
};
use leadglass_index::{IndexError, StudyEntry};
use leadglass_model::{
    Administer, EntryId, Permit, Phi, SeriesUid, SopClassUid, SopInstanceUid, StudyRef, TenantId, TransferSyntaxUid,
    UnixMillis,
};
use leadglass_records::{Expected, RecordError, Table};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Somebody who has copies of what was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// A peer of the configuration, or whom the officer named.
    pub name: String,
    /// How it got them.
    pub handed: Handed,
    /// When it first got something.
    pub first: UnixMillis,
    /// When it last did.
    pub last: UnixMillis,
    /// Of how many studies.
    pub studies: u64,
    /// How many instances at most.
    pub instances: u64,
    /// How many of them are known to be there.
    pub certain: u64,
    /// What became of telling it.
    #[serde(default)]
    pub notice: Notice,
    /// When it was told.
    #[serde(default)]
    pub told_at: Option<UnixMillis>,
    /// What kept it from being told, the last time it was tried.
    #[serde(default)]
    pub why: Option<String>,
}

/// What became of telling a recipient by a rejection note.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// Nobody asked for it, or it is no peer: a person tells it.
    #[default]
    None,
    /// It is to be told.
    Waiting,
    /// It took the note.
    Told,
    /// It could not be told, and the officer let the order end: a person tells it.
    GivenUp,
}

/// Whether peers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// By a rejection note each.
    Peers,
    /// By nobody but a person.
    Nobody,
}

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

impl Engine {
    /// To whom what an order is about had been disclosed: as far as it is known before it begins, from then on for
    /// good.
    pub async fn erasure_recipients(
        &self,
        permit: &Permit<Administer>,
        id: ErasureId,
    ) -> Result<Vec<Recipient>, EraseError> {
        let (order, _) = self.shared.order(permit.tenant(), id).await?;
        if order.recipients_known || order.stage != Stage::Ordered {
            return Ok(order.recipients);
        }
        let going = self.shared.going_instances(permit.tenant(), &order).await?;
        let found = self.shared.recipients_of(permit.tenant(), &order, going.as_ref()).await?;
        Ok(found.into_iter().map(|(recipient, _)| recipient).collect())
    }

    /// Has the peers among the recipients told, or not. It is asked for before the keys are destroyed; what is not told
    /// yet can be given up at any time.
    pub async fn tell_recipients(
        &self,
        permit: &Permit<Administer>,
        id: ErasureId,
        tell: Tell,
    ) -> Result<Order, EraseError> {
        let _turn = self.shared.erased.turn.lock().await;
        let (mut order, version) = self.shared.order(permit.tenant(), id).await?;
        let may = match tell {
            Tell::Peers => matches!(order.stage, Stage::Ordered | Stage::Listed),
            Tell::Nobody => !matches!(order.stage, Stage::Done | Stage::Withdrawn),
        };
        if !may {
            return Err(EraseError::Begun(order.stage));
        }
        // Made once, the notes stay as they are: what they name may not open any more.
        if tell == Tell::Peers && order.tell && order.recipients_known {
            return Ok(order);
        }
        let code = if tell == Tell::Peers { "tell-peers" } else { "tell-nobody" };
        let entry = self.shared.erasure_entry(permit.tenant(), &order, code);
        self.shared.commit_entry(super::desk::by_permit(entry, permit), None).await?;
        order.tell = tell == Tell::Peers;
        for recipient in &mut order.recipients {
            if tell == Tell::Nobody && recipient.notice == Notice::Waiting {
                recipient.notice = Notice::GivenUp;
            }
        }
        // Their notes are made before anything is destroyed.
        order.recipients_known &= tell == Tell::Nobody;
        self.shared.keep_order(permit.tenant(), &order, Expected::Version(version)).await?;
        Ok(order)
    }
}

impl Order {
    /// Whether somebody is still to be told.
    pub(super) fn waits_for_recipients(&self) -> bool {
        self.recipients.iter().any(|recipient| recipient.notice == Notice::Waiting)
    }

    /// Writes down what peers answered that are still to be told.
    pub(super) fn take_answers(&mut self, answers: &Answers, now: UnixMillis) {
        for recipient in self.recipients.iter_mut().filter(|recipient| recipient.notice == Notice::Waiting) {
            match answers.get(&recipient.name) {
                Some(None) => (recipient.notice, recipient.told_at) = (Notice::Told, Some(now)),
                Some(Some(why)) => recipient.why = Some(why.clone()),
                None => {}
            }
        }
    }

    /// The piece with this number of the note with that number.
    fn note_key(id: ErasureId, note: u32, piece: u32) -> Vec<u8> {
        [NOTES_PREFIX, &id.0, &note.to_be_bytes(), &piece.to_be_bytes()].concat()
    }
}

/// What kept peers from taking their notes, by peer; `None` for those that took them.
pub(super) type Answers = BTreeMap<String, Option<String>>;

/// Which instances of a study a peer has: `None` for all of them.
type Has = BTreeMap<StudyRef, Option<BTreeSet<String>>>;

impl Shared {
    /// Writes down who got what goes, and makes the notes for those that are to be told. Dying here, it is done again:
    /// nothing has left yet.
    pub(super) async fn know_recipients(&self, tenant: TenantId, order: &mut Order) -> Result<(), EraseError> {
        let going = self.going_instances(tenant, order).await?;
        let mut found = self.recipients_of(tenant, order, going.as_ref()).await?;
        self.forget_notes(tenant, order.id).await?;
        let mut notes = 0;
        if order.tell {
            for (recipient, has) in found.iter_mut().filter(|(recipient, _)| recipient.handed == Handed::Peer) {
                for (study, only) in has.iter() {
                    let before = notes;
                    match self.make_notes(tenant, order, &recipient.name, (*study, only.as_ref()), &mut notes).await {
                        Ok(()) if notes == before => {
                            recipient.why = Some("nothing of what went there can be named any more".to_owned());
                        }
                        Ok(()) => recipient.notice = Notice::Waiting,
                        // The key service destroyed them before this node heard it: nobody reads their names any more.
                        Err(EraseError::Index(IndexError::NoKey { .. })) => {
                            recipient.why = Some("what went there does not open any more".to_owned());
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        order.recipients = found.into_iter().map(|(recipient, _)| recipient).collect();
        order.recipients_known = true;
        Ok(())
    }

    /// Who got something since, while the order waited for the key host, is written down, too. No note says that: what
    /// it would name does not open any more. Dying here, it is done again.
    pub(super) async fn add_recipients(&self, tenant: TenantId, order: &mut Order) -> Result<(), EraseError> {
        let going = self.going_instances(tenant, order).await?;
        for (found, _) in self.recipients_of(tenant, order, going.as_ref()).await? {
            let is_same = |known: &&mut Recipient| known.name == found.name && known.handed == found.handed;
            let Some(known) = order.recipients.iter_mut().find(is_same) else {
                order.recipients.push(found);
                continue;
            };
            let why = if known.notice == Notice::Waiting && known.last != found.last {
                Some("what went there after the order began is not in its note".to_owned())
            } else {
                known.why.take()
            };
            *known = Recipient { notice: known.notice, told_at: known.told_at, why, ..found };
        }
        Ok(())
    }

    /// Tokens of the instances that go, where a part of a study does; hexadecimal.
    async fn going_instances(&self, tenant: TenantId, order: &Order) -> Result<Option<BTreeSet<String>>, EraseError> {
        let (Some(_), Some(study)) = (&order.part, order.studies.first()) else { return Ok(None) };
        // Once they are written down, their rows need not open.
        if order.stage != Stage::Ordered {
            let listed = self.listed_rows(tenant, order.id).await?;
            return Ok(Some(listed.iter().map(|going| hex::encode(going.instance)).collect()));
        }
        let rows = self.catalog.instances(tenant, *study).await?;
        let rows = rows.iter().filter(|row| self.goes(tenant, order, row));
        let tokens = rows.filter_map(|row| self.instance_token(tenant, &row.sop_uid));
        Ok(Some(tokens.map(hex::encode).collect()))
    }

    /// Who got something of what goes, and which of it.
    async fn recipients_of(
        &self,
        tenant: TenantId,
        order: &Order,
        going: Option<&BTreeSet<String>>,
    ) -> Result<Vec<(Recipient, Has)>, EraseError> {
        let mut found: BTreeMap<(Handed, String), (Recipient, Has)> = BTreeMap::new();
        for study in &order.studies {
            for disclosure in self.disclosures(tenant, *study).await? {
                let Disclosure { recipient, handed, at, instances, certain, only } = disclosure;
                let concerns = match (&only, going) {
                    (Some(only), Some(going)) => going.contains(only),
                    _ => true,
                };
                if !concerns {
                    continue;
                }
                let most = going.map_or(u64::MAX, |going| going.len() as u64);
                let (known, has) = found.entry((handed, recipient.clone())).or_insert_with(|| {
                    let known = Recipient {
                        name: recipient,
                        handed,
                        first: at,
                        last: at,
                        studies: 0,
                        instances: 0,
                        certain: 0,
                        notice: Notice::None,
                        told_at: None,
                        why: None,
                    };
                    (known, Has::new())
                });
                known.first = known.first.min(at);
                known.last = known.last.max(at);
                known.instances += instances.min(most);
                // Of a study of which a part goes, nobody wrote down which of its instances arrived.
                let all_arrived = certain == instances;
                known.certain += if going.is_none() || all_arrived { certain.min(most) } else { 0 };
                let before = has.get(study).cloned();
                let all = match (before, only) {
                    (Some(None), _) | (_, None) => None,
                    (before, Some(only)) => Some(before.flatten().into_iter().flatten().chain([only]).collect()),
                };
                has.insert(*study, all);
                known.studies = has.len() as u64;
            }
        }
        Ok(found.into_values().collect())
    }

    /// The notes for a peer about a study, written down.
    async fn make_notes(
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
                self.keep_piece(tenant, &Order::note_key(order.id, *notes, piece), bytes.to_vec()).await?;
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
            let key = Order::note_key(order.id, number, piece);
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
    fn a_recipient_reads_back_and_one_from_before_it_could_be_told_does() {
        let old = r#"{"name":"colleague","handed":"peer","first":1,"last":2,"studies":1,"instances":3,"certain":3}"#;
        let mut recipient: Recipient = serde_json::from_str(old).unwrap();
        assert_eq!(recipient.notice, Notice::None);
        recipient.notice = Notice::GivenUp;
        let text = serde_json::to_string(&recipient).unwrap();
        assert!(text.contains(r#""notice":"given-up""#));
        assert_eq!(serde_json::from_str::<Recipient>(&text).unwrap(), recipient);
    }

    #[test]
    fn every_note_has_a_place_of_its_own() {
        let id = ErasureId([7; 16]);
        assert_ne!(note_place(id, 0), note_place(id, 1));
        assert_ne!(note_place(id, 0), note_place(ErasureId([8; 16]), 0));
    }
}
