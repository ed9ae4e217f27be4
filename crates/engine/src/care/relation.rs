//! Relations: table `Care`, key = actor[16] ‖ matter[16], value = CBOR. Field numbers are bytes at rest.

use super::CareError;
use crate::{AccessError, Engine, RetrieveError, Shared, ingest::PatientKey, subject::Detail};
use leadglass_audit::{ClientRef, CodeWord, Event, NewEntry, Outcome, SubjectToken};
use leadglass_index::StudyEntry;
use leadglass_model::{ActorRef, Administer, EntryId, Permit, Phi, Read, ReceiverId, TenantId, UnixMillis};
use leadglass_records::{Expected, MAX_SCAN, RecordError, Table, TenantRecords};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};
use zeroize::Zeroizing;

/// Whom or what a relation is to: a patient's keyed token, the random name of a study, or that of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Matter(pub [u8; 16]);

/// Where a relation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, minicbor::Encode, minicbor::Decode)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Kind {
    /// The practice said so.
    #[n(0)]
    Assigned,
    /// He brought a part of the study in, or is named in it.
    #[n(1)]
    Made,
    /// He said why.
    #[n(2)]
    Stated,
}

/// A relation as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationView {
    /// Who.
    pub actor: ActorRef,
    /// To whom or what.
    pub matter: Matter,
    /// Where from.
    pub kind: Kind,
    /// Since when.
    pub begun: UnixMillis,
    /// Until when; `None`: until somebody ends it.
    pub ends: Option<UnixMillis>,
}

#[derive(Debug, Clone, Copy, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Relation {
    #[n(0)]
    kind: Kind,
    #[n(1)]
    begun: u64,
    #[n(2)]
    ends: Option<u64>,
    /// The entry that says so.
    #[cbor(n(3), with = "minicbor::bytes")]
    entry: [u8; 16],
}

pub(super) type Key = (TenantId, ActorRef, [u8; 16]);

/// All relations of a node.
#[derive(Default)]
pub(super) struct Relations(RwLock<HashMap<Key, Relation>>);

impl Relation {
    fn stands(&self, now: UnixMillis) -> bool {
        self.ends.is_none_or(|ends| now.0 < ends)
    }
}

impl Relations {
    pub(super) fn stands(&self, key: &Key, now: UnixMillis) -> bool {
        self.0.read().get(key).is_some_and(|relation| relation.stands(now))
    }

    /// Reads them; those that are over are forgotten.
    pub(super) async fn load(&self, records: &TenantRecords, now: UnixMillis) -> Result<(), RecordError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = records.scan(Table::Care, after.as_deref(), MAX_SCAN).await?;
            for record in &page {
                let (Some(key), Ok(relation)) =
                    (key_of(records.tenant(), &record.key), minicbor::decode::<Relation>(record.value.expose()))
                else {
                    return Err(RecordError::NotAuthentic);
                };
                if relation.stands(now) {
                    self.0.write().insert(key, relation);
                } else {
                    records.delete(Table::Care, &record.key).await?;
                }
            }
            match page.last() {
                Some(last) if page.len() == MAX_SCAN => after = Some(last.key.clone()),
                _ => return Ok(()),
            }
        }
    }
}

impl Relations {
    /// Nobody stands in a relation to these any more.
    pub(super) async fn forget(&self, records: &TenantRecords, matters: &[[u8; 16]]) -> Result<(), RecordError> {
        let is_one = |(tenant, _, matter): &&Key| *tenant == records.tenant() && matters.contains(matter);
        let gone: Vec<Key> = self.0.read().keys().filter(is_one).copied().collect();
        for key in gone {
            records.delete(Table::Care, &name_of(&key)).await?;
            self.0.write().remove(&key);
        }
        Ok(())
    }
}

impl Engine {
    /// Records that somebody treats a patient, or works at a device, until it is ended. The patient need not have a study yet.
    ///
    /// Cancel safety: dropping the future may leave an entry about a relation that does not stand.
    pub async fn assign(
        &self,
        permit: &Permit<Administer>,
        person: ActorRef,
        to: &Assigned,
    ) -> Result<Matter, CareError> {
        let shared = &self.shared;
        let tenant = permit.tenant();
        let (subject, matter, id) = match to {
            Assigned::Patient { id, issuer } => {
                let patient = PatientKey { id: id.clone(), issuer: issuer.clone() };
                let subject = shared.subject_token(tenant, &patient).ok_or(CareError::Missing)?;
                (Some(subject), Matter(subject.0), id.expose().as_str())
            }
            Assigned::Device(device) => (shared.site_token(tenant), Matter(*device.as_bytes()), ""),
        };
        let mut entry = shared.relation_entry(permit, person, "relation-assigned");
        entry.subject = subject;
        let detail = Detail { patient_id: id, ..Detail::default() };
        shared.relate(entry, &detail, (tenant, person, matter.0), Kind::Assigned, None).await?;
        Ok(matter)
    }

    /// Ends a relation, and what is being given out to that person.
    ///
    /// Cancel safety: dropping the future may leave an entry about a relation that goes on.
    pub async fn unassign(
        &self,
        permit: &Permit<Administer>,
        person: ActorRef,
        matter: Matter,
    ) -> Result<(), CareError> {
        let shared = &self.shared;
        let key = (permit.tenant(), person, matter.0);
        if !shared.care.relations.0.read().contains_key(&key) {
            return Err(CareError::Missing);
        }
        let mut entry = shared.relation_entry(permit, person, "relation-ended");
        let records = shared.records_of(permit.tenant())?;
        // A patient has a key for what is said of him; a device has none.
        let is_patient = records.get(Table::Subjects, &matter.0).await?.is_some();
        entry.subject = if is_patient { Some(SubjectToken(matter.0)) } else { shared.site_token(permit.tenant()) };
        shared.commit_entry(entry, None).await?;
        records.delete(Table::Care, &name_of(&key)).await?;
        shared.care.relations.0.write().remove(&key);
        shared.end_actor(person);
        Ok(())
    }

    /// The relations of a tenant that stand, in the order of people. Nobody is named.
    pub fn relations(&self, permit: &Permit<Administer>) -> Vec<RelationView> {
        let now = self.shared.clock.now();
        let all = self.shared.care.relations.0.read();
        let own = all.iter().filter(|((tenant, ..), relation)| *tenant == permit.tenant() && relation.stands(now));
        let mut views: Vec<RelationView> = own
            .map(|((_, actor, matter), relation)| RelationView {
                actor: *actor,
                matter: Matter(*matter),
                kind: relation.kind,
                begun: UnixMillis(relation.begun),
                ends: relation.ends.map(UnixMillis),
            })
            .collect();
        views.sort_by_key(|view| (view.actor.0, view.begun, view.matter.0));
        views
    }
}

/// Whom or what somebody is assigned to.
#[derive(Debug, Clone)]
pub enum Assigned {
    /// A patient, as devices name him.
    Patient {
        /// Patient ID.
        id: Phi<String>,
        /// Issuer of Patient ID.
        issuer: Option<Phi<String>>,
    },
    /// A device: what it sends opens for a day.
    Device(ReceiverId),
}

impl Shared {
    /// The entry, the record, then the relation itself: in this order.
    pub(super) async fn relate(
        self: &Arc<Self>,
        mut entry: NewEntry,
        detail: &Detail<'_>,
        key: Key,
        kind: Kind,
        ends: Option<UnixMillis>,
    ) -> Result<(), CareError> {
        let relation =
            Relation { kind, begun: entry.time.0, ends: ends.map(|ends| ends.0), entry: *entry.entry_id.as_bytes() };
        let detail = self.detail(key.0, entry.subject, entry.entry_id, detail).await.map_err(AccessError::Records)?;
        entry.detail = detail.bytes;
        self.commit_entry(entry, detail.wrap).await?;
        // What lasts is not shortened by what ends.
        let lasts = self.care.relations.0.read().get(&key).is_some_and(|known| known.ends.is_none());
        if lasts && ends.is_some() {
            return Ok(());
        }
        let value = Zeroizing::new(minicbor::to_vec(relation).expect("writing to memory does not fail"));
        self.records_of(key.0)?.put(Table::Care, &name_of(&key), value, Expected::Anything).await?;
        self.care.relations.0.write().insert(key, relation);
        Ok(())
    }

    /// Whether the caller brought an instance of the study in, or is named in it as referring. Then that is recorded, once.
    pub(super) async fn made_it(
        self: &Arc<Self>,
        permit: &Permit<Read>,
        study: &StudyEntry,
    ) -> Result<bool, RetrieveError> {
        let (tenant, actor) = (permit.tenant(), permit.actor());
        let referring = study.row.referring_physician.as_ref();
        let named = referring.is_some_and(|written| {
            self.care.name_of(actor).is_some_and(|name| is_same(written.expose(), name.expose()))
        });
        if !named {
            let rows = self.catalog.instances(tenant, study.study_ref).await.map_err(|e| self.index_failed(e))?;
            if !rows.iter().any(|row| *row.receiver.as_bytes() == actor.0) {
                return Ok(false);
            }
        }
        let entry = self.about(permit, study, Event::GrantChange, "relation-made");
        let key = (tenant, actor, self.matter(tenant, study).0);
        let related = self.relate(entry, &Detail::of(study), key, Kind::Made, None).await;
        related.map_err(|error| match error {
            CareError::Audit(error) => RetrieveError::Audit(error),
            CareError::Records(error) => RetrieveError::Audit(AccessError::Records(error)),
            _ => RetrieveError::Missing,
        })?;
        Ok(true)
    }

    fn relation_entry(&self, permit: &Permit<Administer>, person: ActorRef, code: &str) -> NewEntry {
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::GrantChange, Outcome::Success);
        entry.tenant = Some(permit.tenant());
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.client = Some(ClientRef(person.0));
        entry.code = CodeWord::parse(code);
        entry
    }
}

/// Whether a person's name is what a device wrote: the same words in whatever order, titles apart. A single word is nobody's
/// name, for too many bear it.
fn is_same(written: &str, name: &str) -> bool {
    let words = |text: &str| {
        let mut words: Vec<String> = text
            .split('=')
            .next()
            .unwrap_or_default()
            .split(|c: char| !c.is_alphanumeric() && c != '-')
            .map(str::to_lowercase)
            .filter(|word| !word.is_empty() && !TITLES.contains(&word.as_str()))
            .collect();
        words.sort();
        words
    };
    let written = words(written);
    written.len() > 1 && written == words(name)
}

fn name_of((_, actor, matter): &Key) -> Vec<u8> {
    [actor.0, *matter].concat()
}

fn key_of(tenant: TenantId, name: &[u8]) -> Option<Key> {
    let (actor, matter) = name.split_at_checked(16)?;
    Some((tenant, ActorRef(actor.try_into().ok()?), matter.try_into().ok()?))
}

const TITLES: [&str; 6] = ["dr", "prof", "med", "dent", "md", "dds"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_whatever_order_and_with_whatever_title() {
        assert!(is_same("Muster^Erika^^Dr.", "Dr. med. Erika Muster"));
        assert!(is_same("Müller-Lüdenscheidt^Otto", "Otto Müller-Lüdenscheidt"));
        for (written, name) in [("Muster^Erika", "Erik Muster"), ("Muster", "Muster"), ("", ""), ("Dr.^", "Dr")] {
            assert!(!is_same(written, name), "{written} {name}");
        }
    }

    #[test]
    fn a_relation_ends_when_it_says() {
        let relation = |ends| Relation { kind: Kind::Stated, begun: 0, ends, entry: [0; 16] };
        assert!(relation(None).stands(UnixMillis(u64::MAX)));
        assert!(relation(Some(5)).stands(UnixMillis(4)) && !relation(Some(5)).stands(UnixMillis(5)));
    }

    #[test]
    fn a_relation_reads_as_it_was_written() {
        let relation = Relation { kind: Kind::Made, begun: 7, ends: Some(9), entry: [3; 16] };
        let bytes = minicbor::to_vec(relation).unwrap();
        assert_eq!(hex::encode(&bytes), "a4000101070209035003030303030303030303030303030303");
        let again: Relation = minicbor::decode(&bytes).unwrap();
        assert_eq!((again.kind, again.begun, again.ends, again.entry), (Kind::Made, 7, Some(9), [3; 16]));
    }
}
