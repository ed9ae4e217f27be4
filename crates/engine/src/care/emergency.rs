//! Emergencies: a clinician opens a patient's studies for an hour, whatever else stands in the way, and somebody else looks at
//! it afterwards.
//!
//! Each is a review that stays open until another person closes it: table `Reviews`, key = the entry's id, value = CBOR. Field
//! numbers are bytes at rest. The reason lies in it as the entry's details do: sealed under the patient's key, so that an
//! erasure reaches it.

use super::{CareError, Reason, relation::Key};
use crate::{AccessError, AlarmKind, Engine, Shared, subject::Detail};
use leadglass_audit::{Event, SubjectToken};
use leadglass_model::{
    ActorRef, Emergency, EntryId, Permit, Phi, Review, Role, StudyRef, StudyUid, TenantId, UnixMillis,
};
use leadglass_records::{Expected, MAX_SCAN, RecordError, Table, TenantRecords};
use parking_lot::RwLock;
use std::{collections::HashMap, net::IpAddr, sync::Arc};
use zeroize::Zeroizing;

/// An emergency that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmergencyBegun {
    /// Its entry, which is also the name of its review.
    pub review: EntryId,
    /// When it is over.
    pub ends: UnixMillis,
}

/// What somebody decided who looked at an emergency.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Decision {
    /// It was right.
    #[n(0)]
    Justified,
    /// It was not.
    #[n(1)]
    NotJustified,
}

impl Decision {
    /// The word in the entry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Justified => "justified",
            Self::NotJustified => "not-justified",
        }
    }
}

/// An emergency as whoever looks at it sees it.
#[derive(Debug, Clone)]
pub struct ReviewView {
    /// Its entry.
    pub id: EntryId,
    /// Who.
    pub actor: ActorRef,
    /// Which study he asked for; all of its patient's opened.
    pub study: StudyRef,
    /// Since when.
    pub begun: UnixMillis,
    /// Until when.
    pub ends: UnixMillis,
    /// Why, in his words; `None` where the role is not told, or the patient was erased.
    pub reason: Option<Phi<String>>,
    /// Who decided what about it, and when.
    pub closed: Option<(ActorRef, UnixMillis, Decision)>,
}

#[derive(Debug, Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Held {
    #[cbor(n(0), with = "minicbor::bytes")]
    actor: [u8; 16],
    #[cbor(n(1), with = "minicbor::bytes")]
    matter: [u8; 16],
    #[n(2)]
    study: StudyRef,
    #[n(3)]
    begun: u64,
    #[n(4)]
    ends: u64,
    /// The patient, where the study names one.
    #[cbor(n(5), with = "minicbor::bytes")]
    subject: Option<[u8; 16]>,
    /// The entry's sealed details.
    #[cbor(n(6), with = "minicbor::bytes")]
    detail: Option<Vec<u8>>,
    #[n(7)]
    closed: Option<Closed>,
}

#[derive(Debug, Clone, Copy, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Closed {
    #[cbor(n(0), with = "minicbor::bytes")]
    by: [u8; 16],
    #[n(1)]
    at: u64,
    #[n(2)]
    decision: Decision,
}

/// Emergencies that go on, by their ends.
#[derive(Default)]
pub(super) struct Emergencies(RwLock<HashMap<Key, UnixMillis>>);

impl Emergencies {
    pub(super) fn stands(&self, key: &Key, now: UnixMillis) -> bool {
        self.0.read().get(key).is_some_and(|ends| now < *ends)
    }

    pub(super) async fn load(&self, records: &TenantRecords, now: UnixMillis) -> Result<(), RecordError> {
        for (_, held, _) in all(records).await? {
            if now.0 < held.ends {
                let key = (records.tenant(), ActorRef(held.actor), held.matter);
                self.0.write().insert(key, UnixMillis(held.ends));
            }
        }
        Ok(())
    }

    /// A patient or study was erased: a review that is closed goes, an open one keeps who did it and loses whom it was about.
    pub(super) async fn forget(&self, records: &TenantRecords, matters: &[[u8; 16]]) -> Result<(), RecordError> {
        for (id, mut held, version) in all(records).await? {
            if !matters.contains(&held.matter) && !held.subject.is_some_and(|subject| matters.contains(&subject)) {
                continue;
            }
            self.0.write().remove(&(records.tenant(), ActorRef(held.actor), held.matter));
            if held.closed.is_some() {
                records.delete(Table::Reviews, id.as_bytes()).await?;
                continue;
            }
            (held.matter, held.subject, held.detail) = (NOBODY, None, None);
            held.ends = held.begun;
            let value = Zeroizing::new(minicbor::to_vec(&held).expect("writing to memory does not fail"));
            records.put(Table::Reviews, id.as_bytes(), value, Expected::Version(version)).await?;
        }
        Ok(())
    }

    fn begin(&self, key: Key, ends: UnixMillis, now: UnixMillis) {
        let mut all = self.0.write();
        all.retain(|_, ends| now < *ends);
        all.insert(key, ends);
    }
}

impl Engine {
    /// Opens a patient's studies to a clinician for an hour, whose identity was proven just now. Entry and review are durable
    /// when this answers, and an alarm is on its way.
    ///
    /// # Errors
    /// [`CareError::Missing`] for a study that is not there, or is restricted: an emergency does not end a restriction.
    ///
    /// Cancel safety: dropping the future may leave an entry, and a review, of an emergency that opens nothing.
    pub async fn break_glass(
        &self,
        permit: &Permit<Emergency>,
        study: &StudyUid,
        reason: &Reason,
        address: Option<IpAddr>,
    ) -> Result<EmergencyBegun, CareError> {
        let shared = &self.shared;
        let (tenant, actor) = (permit.tenant(), permit.actor());
        let found = shared.catalog.study(tenant, study);
        let found = found.filter(|found| !shared.care.restricted.holds(tenant, found.study_ref));
        let study = found.ok_or(CareError::Missing)?;
        let mut entry = shared.about(permit, &study, Event::BreakGlass, "opened");
        let (id, begun) = (entry.entry_id, entry.time);
        let ends = begun.plus_secs(EMERGENCY_S);
        let key = (tenant, actor, shared.matter(tenant, &study).0);
        let address = address.map_or_else(String::new, |address| address.to_string());
        let detail = Detail { reason: reason.text(), address: &address, ..Detail::of(&study) };
        // A study that names no patient still has a reason: it stands under the tenant's own key.
        entry.subject = entry.subject.or_else(|| shared.site_token(tenant));
        let subject = entry.subject;
        let sealed = shared.detail(tenant, subject, id, &detail).await.map_err(AccessError::Records)?;
        entry.detail.clone_from(&sealed.bytes);
        shared.commit_entry(entry, sealed.wrap).await?;
        let held = Held {
            actor: actor.0,
            matter: key.2,
            study: study.study_ref,
            begun: begun.0,
            ends: ends.0,
            subject: subject.map(|subject| subject.0),
            detail: sealed.bytes,
            closed: None,
        };
        put(shared.records_of(tenant)?, id, &held, Expected::Absent).await?;
        shared.care.emergencies.begin(key, ends, begun);
        shared.alarm_about(AlarmKind::BreakGlass, tenant, actor);
        Ok(EmergencyBegun { review: id, ends })
    }

    /// The emergencies of a tenant, newest first. That they were looked at is an entry.
    ///
    /// Cancel safety: dropping the future may leave the looking recorded.
    pub async fn reviews(&self, permit: &Permit<Review>) -> Result<Vec<ReviewView>, CareError> {
        let shared = &self.shared;
        let records = shared.records_of(permit.tenant())?;
        shared.commit_entry(shared.entry_by(permit, Event::AuditLogUsed, "reviews"), None).await?;
        // Who runs the system sees that something waits, and not whom it is about.
        let told = matches!(permit.role(), Role::Dpo | Role::Auditor);
        let mut views = Vec::new();
        for (id, held, _) in all(records).await? {
            let reason = if told { shared.reason_of(permit.tenant(), id, &held).await } else { None };
            views.push(ReviewView {
                id,
                actor: ActorRef(held.actor),
                study: held.study,
                begun: UnixMillis(held.begun),
                ends: UnixMillis(held.ends),
                reason,
                closed: held.closed.map(|c| (ActorRef(c.by), UnixMillis(c.at), c.decision)),
            });
        }
        views.sort_by_key(|view| std::cmp::Reverse(view.begun));
        Ok(views)
    }

    /// Closes a review with a decision; the emergency ends with it.
    ///
    /// Cancel safety: dropping the future may leave a decision recorded that is not shown; deciding again helps.
    pub async fn close_review(
        &self,
        permit: &Permit<Review>,
        id: EntryId,
        decision: Decision,
    ) -> Result<(), CareError> {
        let shared = &self.shared;
        let tenant = permit.tenant();
        let records = shared.records_of(tenant)?;
        let record = records.get(Table::Reviews, id.as_bytes()).await?.ok_or(CareError::Missing)?;
        let mut held: Held = minicbor::decode(record.value.expose()).map_err(|_| CareError::Damaged)?;
        if held.actor == permit.actor().0 {
            return Err(CareError::OwnEmergency);
        }
        if held.closed.is_some() {
            return Err(CareError::Closed);
        }
        let mut entry = shared.entry_by(permit, Event::BreakGlass, decision.as_str());
        let at = entry.time;
        entry.related = Some(id);
        entry.study = Some(held.study);
        entry.subject = held.subject.map(SubjectToken);
        shared.commit_entry(entry, None).await?;
        held.closed = Some(Closed { by: permit.actor().0, at: at.0, decision });
        held.ends = held.ends.min(at.0);
        put(records, id, &held, Expected::Version(record.version)).await.map_err(|error| match error {
            CareError::Records(RecordError::Changed) => CareError::Closed,
            other => other,
        })?;
        let key = (tenant, ActorRef(held.actor), held.matter);
        shared.care.emergencies.0.write().remove(&key);
        Ok(())
    }
}

impl Shared {
    async fn reason_of(self: &Arc<Self>, tenant: TenantId, id: EntryId, held: &Held) -> Option<Phi<String>> {
        let (subject, sealed) = (SubjectToken(held.subject?), held.detail.as_deref()?);
        let plain = Zeroizing::new(self.open_detail(tenant, subject, id, sealed).await?);
        let detail: serde_json::Value = serde_json::from_slice(&plain).ok()?;
        Some(Phi::new(detail["reason"].as_str()?.to_owned()))
    }
}

async fn all(records: &TenantRecords) -> Result<Vec<(EntryId, Held, u64)>, RecordError> {
    let (mut found, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let page = records.scan(Table::Reviews, after.as_deref(), MAX_SCAN).await?;
        for record in &page {
            let id: Option<[u8; 16]> = record.key.as_slice().try_into().ok();
            let (Some(id), Ok(held)) = (id, minicbor::decode::<Held>(record.value.expose())) else {
                return Err(RecordError::NotAuthentic);
            };
            found.push((EntryId::from_bytes(id), held, record.version));
        }
        match page.last() {
            Some(last) if page.len() == MAX_SCAN => after = Some(last.key.clone()),
            _ => return Ok(found),
        }
    }
}

async fn put(records: &TenantRecords, id: EntryId, held: &Held, expected: Expected) -> Result<(), CareError> {
    let value = Zeroizing::new(minicbor::to_vec(held).expect("writing to memory does not fail"));
    records.put(Table::Reviews, id.as_bytes(), value, expected).await?;
    Ok(())
}

/// Stands in a review where the patient was erased.
const NOBODY: [u8; 16] = [0; 16];
/// So long an emergency goes on.
const EMERGENCY_S: u64 = 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_reads_as_it_was_written() {
        let held = Held {
            actor: [1; 16],
            matter: [2; 16],
            study: StudyRef::from_bytes([3; 16]),
            begun: 4,
            ends: 5,
            subject: Some([6; 16]),
            detail: Some(vec![7]),
            closed: Some(Closed { by: [8; 16], at: 9, decision: Decision::NotJustified }),
        };
        let bytes = minicbor::to_vec(&held).unwrap();
        assert_eq!(
            hex::encode(&bytes),
            format!(
                "a80050{}0150{}0250{}030404050550{}06410707a30050{}01090201",
                "01".repeat(16),
                "02".repeat(16),
                "03".repeat(16),
                "06".repeat(16),
                "08".repeat(16)
            )
        );
        let again: Held = minicbor::decode(&bytes).unwrap();
        assert_eq!((again.begun, again.ends, again.detail), (4, 5, Some(vec![7])));
    }

    #[test]
    fn an_emergency_is_over_when_it_says() {
        let (emergencies, key) = (Emergencies::default(), (TenantId::from_bytes([1; 16]), ActorRef([2; 16]), [3; 16]));
        emergencies.begin(key, UnixMillis(10), UnixMillis(0));
        assert!(emergencies.stands(&key, UnixMillis(9)) && !emergencies.stands(&key, UnixMillis(10)));
        let other = (key.0, ActorRef([4; 16]), key.2);
        assert!(!emergencies.stands(&other, UnixMillis(9)));
    }
}
