//! Who opens which study: the relation to the patient, a stated reason, an emergency, a restriction.
//!
//! Policy decides ([`leadglass_policy::opening`]); here is what it is told, and where that is kept. A relation belongs to a
//! person and a *matter*: the patient's keyed token, for a study without a Patient ID the study's random name, for
//! somebody who works at a device that device. None of them names anybody. Relations and reviews lie in the tenant's
//! records and in memory; which studies are restricted the key service says ([`restricted`](self)).

mod emergency;
mod error;
mod reason;
mod relation;
mod restricted;

pub use emergency::{Decision, EmergencyBegun, ReviewView};
pub use error::CareError;
pub use reason::Reason;
pub use relation::{Assigned, Kind, Matter, RelationView};
pub(crate) use restricted::Restricted;
pub use restricted::Restriction;

use crate::{AccessError, Engine, RetrieveError, Shared};
use emergency::Emergencies;
use leadglass_audit::{CodeWord, Event, NewEntry, Outcome};
use leadglass_index::{InstanceRow, StudyEntry};
use leadglass_model::{Access, ActorRef, EntryId, Permit, Phi, Read, Role, TenantId, UnixMillis};
use leadglass_policy::{CareRule, Facts, Opening, Use, opening};
use leadglass_records::{RecordError, TenantRecords};
use parking_lot::RwLock;
use relation::Relations;
use std::{collections::HashMap, sync::Arc};

/// The name that somebody is called by, as devices might write it.
pub type NameOf = dyn Fn(ActorRef) -> Option<Phi<String>> + Send + Sync;

/// What is known about who treats whom.
#[derive(Default)]
pub(crate) struct Care {
    rules: RwLock<HashMap<TenantId, CareRule>>,
    names: RwLock<Option<Arc<NameOf>>>,
    relations: Relations,
    emergencies: Emergencies,
    pub(crate) restricted: Restricted,
}

impl Care {
    fn rule(&self, tenant: TenantId) -> CareRule {
        self.rules.read().get(&tenant).copied().unwrap_or_default()
    }

    fn name_of(&self, actor: ActorRef) -> Option<Phi<String>> {
        self.names.read().as_ref()?(actor)
    }

    /// Forgets who stood in what relation to patients and studies that were erased.
    pub(crate) async fn forget(&self, records: &TenantRecords, matters: &[[u8; 16]]) -> Result<(), RecordError> {
        self.relations.forget(records, matters).await?;
        self.emergencies.forget(records, matters).await
    }

    /// Reads what the records hold.
    pub(crate) async fn load(&self, records: &TenantRecords, now: UnixMillis) -> Result<(), RecordError> {
        self.relations.load(records, now).await?;
        self.emergencies.load(records, now).await
    }
}

impl Engine {
    /// When a clinician of this tenant treats one of its patients; [`CareRule::Practice`] unless said.
    pub fn set_care(&self, tenant: TenantId, rule: CareRule) {
        self.shared.care.rules.write().insert(tenant, rule);
    }

    /// Who asks for the name of a person: whoever a study names as referring has a relation to its patient.
    pub fn set_names(&self, names: Arc<NameOf>) {
        *self.shared.care.names.write() = Some(names);
    }
}

impl Shared {
    /// The permit under which these rows of a study open to the caller, if they do.
    ///
    /// Cancel safety: a relation that follows from what the caller made may have been recorded.
    pub(crate) async fn may_open(
        self: &Arc<Self>,
        permit: &Permit<Read>,
        study: &StudyEntry,
        rows: &[InstanceRow],
        used: Use,
    ) -> Result<Permit<Read>, RetrieveError> {
        let (tenant, actor, now) = (permit.tenant(), permit.actor(), self.clock.now());
        let key = (tenant, actor, self.matter(tenant, study).0);
        let lately = |row: &InstanceRow| {
            let device = (tenant, actor, *row.receiver.as_bytes());
            now.millis_since(row.received_at) < MADE_LATELY_MS
                && (*row.receiver.as_bytes() == actor.0 || self.care.relations.stands(&device, now))
        };
        let facts = Facts {
            restricted: self.care.restricted.holds(tenant, study.study_ref),
            related: self.care.relations.stands(&key, now),
            made_lately: rows.iter().all(lately),
            emergency: self.care.emergencies.stands(&key, now),
            asked_for: self.asked.holds(tenant, &crate::patient_key(study)),
            claimed: permit.role() == Role::Dpo
                && self.is_claimed(tenant, study).await.map_err(RetrieveError::Holds)?,
            ordered: permit.role() == Role::Reception
                && self
                    .is_ordered(tenant, study.study_ref)
                    .await
                    .map_err(AccessError::Records)
                    .map_err(RetrieveError::Audit)?,
            used,
        };
        match opening(permit, self.care.rule(tenant), &facts) {
            Opening::Opens(permit) => Ok(permit),
            Opening::Hidden => Err(RetrieveError::Missing),
            Opening::WantsReason if self.made_it(permit, study).await? => Ok(permit.clone()),
            Opening::WantsReason => Err(RetrieveError::ReasonNeeded),
            Opening::WantsCase => Err(RetrieveError::CaseNeeded),
        }
    }

    /// Whether an emergency that an access goes on in is over.
    pub(crate) fn emergency_is_over(&self, tenant: TenantId, actor: ActorRef, matter: [u8; 16]) -> bool {
        !self.care.emergencies.stands(&(tenant, actor, matter), self.clock.now())
    }

    /// Whom a study is about.
    pub(crate) fn matter(&self, tenant: TenantId, study: &StudyEntry) -> Matter {
        let subject = self.subject_token(tenant, &crate::patient_key(study));
        Matter(subject.map_or(*study.study_ref.as_bytes(), |subject| subject.0))
    }

    /// An entry about a study.
    fn about<A: Access>(&self, permit: &Permit<A>, study: &StudyEntry, event: Event, code: &str) -> NewEntry {
        let mut entry = self.entry_by(permit, event, code);
        entry.subject = self.subject_token(permit.tenant(), &crate::patient_key(study));
        entry.study = Some(study.study_ref);
        entry
    }

    /// An entry about what the holder of a permit does.
    fn entry_by<A: Access>(&self, permit: &Permit<A>, event: Event, code: &str) -> NewEntry {
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), event, Outcome::Success);
        entry.tenant = Some(permit.tenant());
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.purpose = Some(permit.purpose());
        entry.code = CodeWord::parse(code);
        entry
    }

    fn records_of(&self, tenant: TenantId) -> Result<&TenantRecords, CareError> {
        self.subjects.get(&tenant).map(crate::subject::Subjects::records).ok_or(CareError::Missing)
    }
}

/// So long a radiographer opens what he or his device made.
const MADE_LATELY_MS: u64 = 24 * 3_600_000;
