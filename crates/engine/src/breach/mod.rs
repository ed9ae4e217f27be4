//! The scope of a breach (GDPR Art. 33 and 34): whose data somebody could read, and whose only lay there sealed.
//!
//! The key service's log decides, not the vault's: a key that was given out opens its study, whatever the vault says of it.
//! That log is read again from its first entry, and believed only where it leads both to its signed checkpoint and to what
//! this vault saw of it before.
//!
//! What the selectors mean:
//! - an *actor*: keys that were asked for in this pseudonym's name, or under an access of theirs;
//! - a *device*: keys opened under an access that names it as client or actor, and every key of the span that no access
//!   accounts for, because nothing says through what that one was opened;
//! - a *key*: its openings; a study under it that was not opened lay sealed;
//! - a *node*: keys given to this client of the key service. Of this vault itself also what came in during the span, which
//!   it held in clear, and as sealed everything else that lay here.
//!
//! An access in the span (its beginning or its end) counts as an opening of its whole study, also where no key was given out for it:
//! a node shares a lease that stands among its readers. One that began before the span and ended behind it is not seen by that.
//!
//! The key service's log does not tell opening an image from opening its index row: both count. An opened key opens all that
//! lies under it, so what came under it later counts, too.

mod tally;

pub use tally::{Counted, Opened, Span, Tally, TooMuch};

use crate::{AccessError, Engine, KeyLogError, Practice, ReportError, Shared, Unmatched, patient_key};
use leadglass_audit::{
    ClientRef, CodeWord, Entry, Event, FollowError, Followed, Follower, NewEntry, OpenError, Outcome, PublicKey,
    ReadError, SubjectToken,
};
use leadglass_index::{IndexError, InstanceRow};
use leadglass_keys::wire::LogRead;
use leadglass_model::{ActorRef, Audit, EntryId, Fault, KeyId, Permit, Phi, Role, StudyRef, TenantId, UnixMillis};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Through what data were reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// A person or a program, by pseudonym.
    Actor(ActorRef),
    /// A device, as the log names it.
    Device(ClientRef),
    /// A study key.
    Key(KeyId),
    /// A client of the key service: the first 16 bytes of its key's hash.
    Node(ClientRef),
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct BreachAsked {
    /// Through what; `None`: this vault as a node.
    pub by: Option<Selector>,
    /// From here.
    pub from: UnixMillis,
    /// To here, exclusive.
    pub to: UnixMillis,
}

/// Whose data were reached, and how far.
#[derive(Debug)]
pub struct BreachScope {
    /// What was asked, with this vault's own name where it was meant.
    pub by: Selector,
    /// From here.
    pub from: UnixMillis,
    /// To here, exclusive.
    pub to: UnixMillis,
    /// When it was computed.
    pub made: UnixMillis,
    /// Everybody concerned, by pseudonym; last those of whom nothing is known any more.
    pub patients: Vec<BreachPatient>,
    /// Openings that this vault's log does not account for. Their studies are among the opened.
    pub unaccounted: Vec<Unmatched>,
    /// Openings of the span that nothing accounts for and that the question did not ask about.
    pub unaccounted_elsewhere: u64,
    /// How often the node was given the index keys, which open names and IDs of all patients.
    pub index_keys: u64,
    /// How many entries of the key service's log were read, all of them.
    pub key_log_entries: u64,
    /// How many of the own.
    pub log_entries: u64,
    /// What the practice says of itself.
    pub practice: Practice,
}

/// A patient in the scope.
#[derive(Debug, Default)]
pub struct BreachPatient {
    /// The pseudonym, 32 hexadecimal digits; `None` for a study without a Patient ID.
    pub subject: Option<String>,
    /// Patient's Name, as far as it is known still.
    pub name: Option<Phi<String>>,
    /// Patient ID.
    pub id: Option<Phi<String>>,
    /// Issuer of Patient ID.
    pub issuer: Option<Phi<String>>,
    /// Studies whose keys were opened.
    pub opened: Vec<OpenedStudy>,
    /// Studies that only lay there sealed.
    pub sealed: Vec<SealedStudy>,
}

/// A study whose key was opened.
#[derive(Debug)]
pub struct OpenedStudy {
    /// Its random name.
    pub study: StudyRef,
    /// Study Instance UID; `None` once it was erased.
    pub uid: Option<Phi<String>>,
    /// SOP Instance UIDs of what lies under the opened keys; `None` once it was erased.
    pub instances: Option<Vec<Phi<String>>>,
    /// What the logs say.
    pub counted: Opened,
}

/// A study that lay there sealed.
#[derive(Debug)]
pub struct SealedStudy {
    /// Its random name.
    pub study: StudyRef,
    /// Study Instance UID; `None` once it was erased.
    pub uid: Option<Phi<String>>,
    /// How many instances; `None` once it was erased.
    pub instances: Option<u64>,
}

/// Why there is no scope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BreachError {
    /// It is for the data protection officer.
    #[error("the scope names patients: it is for the data protection officer")]
    NotOfficer,
    /// The span ends before it begins.
    #[error("the span ends before it begins")]
    Span,
    /// More than can be held.
    #[error("the scope is too large")]
    TooMuch(#[from] TooMuch),
    /// The key service's log cannot be followed.
    #[error("the key service's log cannot be used")]
    KeyLog(#[from] KeyLogError),
    /// The own log cannot be read, or the asking not recorded.
    #[error("the own log cannot be used")]
    Log(#[from] ReportError),
    /// The index failed.
    #[error("the index cannot be asked")]
    Index(#[from] IndexError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl BreachError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotOfficer => Fault::Denied,
            Self::Span | Self::TooMuch(_) => Fault::BadInput,
            Self::KeyLog(error) => error.fault(),
            Self::Log(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Stopping => Fault::Busy,
        }
    }
}

impl Engine {
    /// Whose data somebody could read in a span of time. That it was asked is an entry, durable before anything is told.
    ///
    /// Cancel safety: dropping the future may leave the asking recorded.
    pub async fn breach_scope(&self, permit: &Permit<Audit>, asked: BreachAsked) -> Result<BreachScope, BreachError> {
        self.shared.breach_scope(permit, asked).await
    }
}

impl Shared {
    async fn breach_scope(
        self: &Arc<Self>,
        permit: &Permit<Audit>,
        asked: BreachAsked,
    ) -> Result<BreachScope, BreachError> {
        if permit.role() != Role::Dpo {
            return Err(BreachError::NotOfficer);
        }
        if asked.from >= asked.to {
            return Err(BreachError::Span);
        }
        self.record_asking(permit, asked.by).await?;
        let tenant = permit.tenant();
        // What was seen before is written down, and what is amiss in it is an alarm.
        self.reconcile().await?;
        let me = self.own_name().await?;
        let by = asked.by.unwrap_or(Selector::Node(me));
        let tally = Tally::new(Span { tenant, by, from: asked.from, to: asked.to, me });
        let (tally, key_log_entries) = self.pass_key_log(tally).await?;
        // An access stands in the journal before its key is asked for: behind this, it stands in the tree.
        self.until_drained(self.journal.last().0).await?;
        let shared = self.clone();
        let passed = tokio::task::spawn_blocking(move || shared.pass_own_log(tally));
        let (tally, log_entries) = passed.await.map_err(|_| BreachError::Stopping)??;
        let counted = tally.finish(&self.lying_here(tenant, asked.to)?);
        let (subjects, unaccounted_elsewhere) = (counted.subjects.len(), counted.unaccounted_elsewhere);
        tracing::info!(
            opened = counted.opened.len(),
            sealed = counted.sealed.len(),
            subjects,
            unaccounted_elsewhere,
            "the scope of a breach was computed"
        );
        let (unaccounted, index_keys) = (counted.unaccounted.clone(), counted.index_keys);
        Ok(BreachScope {
            by,
            from: asked.from,
            to: asked.to,
            made: self.clock.now(),
            patients: self.name_patients(tenant, asked, counted).await?,
            unaccounted,
            unaccounted_elsewhere,
            index_keys,
            key_log_entries,
            log_entries,
            practice: self.exports.practices.lock().get(&tenant).cloned().unwrap_or_default(),
        })
    }

    /// The entry that says what was asked about.
    async fn record_asking(self: &Arc<Self>, permit: &Permit<Audit>, by: Option<Selector>) -> Result<(), BreachError> {
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::AuditLogUsed, Outcome::Success);
        entry.tenant = Some(permit.tenant());
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.purpose = Some(permit.purpose());
        entry.code = CodeWord::parse("breach-scope");
        match by {
            Some(Selector::Actor(actor)) => entry.client = Some(ClientRef(actor.0)),
            Some(Selector::Device(client) | Selector::Node(client)) => entry.client = Some(client),
            Some(Selector::Key(key)) => entry.key = Some(key),
            None => {}
        }
        let recorded = self.commit_entry(entry, None).await;
        recorded.map_err(|error| BreachError::Log(ReportError::Audit(AccessError::Commit(error))))
    }

    /// This vault, as the key service's log calls it.
    async fn own_name(&self) -> Result<ClientRef, BreachError> {
        let seen = self.key_log.seen().0;
        let page = self.keys.service().read_log(&LogRead { from: seen }).await.map_err(KeyLogError::Service)?;
        let mut me = [0; 16];
        hex::decode_to_slice(&page.caller, &mut me).map_err(|_| KeyLogError::Answer)?;
        Ok(ClientRef(me))
    }

    /// The key service's log from its first entry to its newest checkpoint. A page at a time is held.
    async fn pass_key_log(&self, mut tally: Tally) -> Result<(Tally, u64), BreachError> {
        let (key, before) = self.key_log.followed().await.ok_or(KeyLogError::Answer)?;
        let mut follower = Follower::begin(key);
        loop {
            let from = follower.head().size;
            let page = self.keys.service().read_log(&LogRead { from }).await.map_err(KeyLogError::Service)?;
            let shown = PublicKey::parse(&page.log_key).map_err(|_| KeyLogError::Answer)?;
            if shown != *follower.key() {
                return Err(KeyLogError::Answer.into());
            }
            let taken = tokio::task::spawn_blocking(move || {
                let signed = follower.key().verify_checkpoint(&page.checkpoint).map_err(FollowError::Note);
                let signed = signed.map_err(KeyLogError::Follow)?.head;
                let mut size = from;
                for leaf in page.leaves.iter().take_while(|_| {
                    size += 1;
                    size <= signed.size
                }) {
                    let entry = follower.take(leaf.expose()).map_err(KeyLogError::Follow)?;
                    tally.key_entry(&entry)?;
                    // The history that is told now is the one that was seen before.
                    if entry.seq + 1 == before.size && follower.head() != before {
                        return Err(KeyLogError::Follow(FollowError::Fork { size: before.size }).into());
                    }
                }
                let followed = follower.compare(&page.checkpoint).map_err(KeyLogError::Follow)?;
                Ok::<_, BreachError>((follower, tally, followed))
            });
            let followed;
            (follower, tally, followed) = taken.await.map_err(|_| BreachError::Stopping)??;
            let size = follower.head().size;
            match followed {
                Followed::Reached if size >= before.size => return Ok((tally, size)),
                Followed::Reached => {
                    return Err(KeyLogError::Follow(FollowError::Behind { size, seen: before.size }).into());
                }
                Followed::Ahead(_) if size == from => return Err(KeyLogError::Answer.into()),
                Followed::Ahead(_) => {}
            }
        }
    }

    /// The own log, all of it, some hundreds of entries at a time.
    fn pass_own_log(&self, mut tally: Tally) -> Result<(Tally, u64), BreachError> {
        let size = self.log.head().size;
        let mut at = 0;
        while at < size {
            let end = size.min(at + PAGE);
            let leaves = self.log.leaves(at..end).map_err(ReportError::Log)?;
            for (leaf, seq) in leaves.iter().zip(at..) {
                let entry =
                    Entry::decode(leaf).map_err(|_| ReportError::Log(ReadError::Log(OpenError::Entry { seq })))?;
                tally.own_entry(&entry)?;
            }
            at = end;
        }
        Ok((tally, size))
    }

    /// What the index holds that came before `to`, cases of quarantine too.
    fn lying_here(&self, tenant: TenantId, to: UnixMillis) -> Result<HashMap<StudyRef, UnixMillis>, TooMuch> {
        let refs = self.catalog.study_refs(tenant);
        if refs.len() > MAX_SCOPE_STUDIES {
            return Err(TooMuch);
        }
        let came = |study| Some((study, self.catalog.study_by_ref(tenant, study)?.row.created_at));
        Ok(refs.into_iter().filter_map(came).filter(|(_, came)| *came < to).collect())
    }

    async fn name_patients(
        self: &Arc<Self>,
        tenant: TenantId,
        asked: BreachAsked,
        counted: Counted,
    ) -> Result<Vec<BreachPatient>, BreachError> {
        let mut known: BTreeMap<SubjectToken, BreachPatient> = BTreeMap::new();
        let mut nobodys = Vec::new();
        let mut told = 0;
        let studies: BTreeSet<StudyRef> = counted.opened.keys().chain(&counted.sealed).copied().collect();
        for study in studies {
            let row = self.catalog.study_by_ref(tenant, study);
            // What the index says of it now is nearer than what the log said when it came: it may have been moved.
            let indexed = row.as_ref().and_then(|row| self.subject_token(tenant, &patient_key(row)));
            let subject = indexed.or(counted.subjects.get(&study).copied());
            let patient = match subject {
                Some(subject) => known.entry(subject).or_default(),
                None => {
                    nobodys.push(BreachPatient::default());
                    nobodys.last_mut().expect("one was pushed")
                }
            };
            patient.subject = subject.map(|subject| hex::encode(subject.0));
            if let Some(row) = &row {
                let row = &row.row;
                let (name, id, issuer) = (row.patient_name.clone(), row.patient_id.clone(), row.issuer.clone());
                (patient.name, patient.id, patient.issuer) =
                    (name.or(patient.name.take()), id.or(patient.id.take()), issuer.or(patient.issuer.take()));
            } else if let (None, Some(subject), Some(detail)) = (&patient.name, subject, counted.details.get(&study)) {
                let named = self.named_in_log(tenant, subject, *detail).await?;
                (patient.name, patient.id) =
                    (named.patient_name.map(Phi::new), patient.id.take().or(named.patient_id.map(Phi::new)));
            }
            let uid = row.as_ref().map(|row| Phi::new(row.row.uid.expose().to_owned()));
            if let Some(opened) = counted.opened.get(&study) {
                let rows = match &row {
                    Some(_) => Some(self.catalog.instances(tenant, study).await?),
                    None => None,
                };
                let instances = rows.map(|rows| reached(rows, opened, asked));
                told += instances.as_ref().map_or(0, Vec::len);
                if told > MAX_INSTANCES {
                    return Err(TooMuch.into());
                }
                patient.opened.push(OpenedStudy { study, uid, instances, counted: opened.clone() });
            } else {
                let instances = row.as_ref().map(|_| self.catalog.counted(tenant, study));
                patient.sealed.push(SealedStudy { study, uid, instances });
            }
        }
        Ok(known.into_values().chain(nobodys).collect())
    }

    /// Whom an entry named when it was written; nobody, once the patient's key in the log is gone.
    async fn named_in_log(
        self: &Arc<Self>,
        tenant: TenantId,
        subject: SubjectToken,
        (seq, entry): (u64, EntryId),
    ) -> Result<Named, BreachError> {
        let log = self.log.clone();
        let sealed = tokio::task::spawn_blocking(move || log.detail(seq)).await.map_err(|_| BreachError::Stopping)?;
        let Some(sealed) = sealed.map_err(ReportError::Log)? else { return Ok(Named::default()) };
        let opened = self.open_detail(tenant, subject, entry, &sealed).await;
        Ok(opened.and_then(|plain| serde_json::from_slice(&plain).ok()).unwrap_or_default())
    }
}

#[derive(Default, Deserialize)]
struct Named {
    patient_id: Option<String>,
    patient_name: Option<String>,
}

/// What lies under keys that were opened, and what came in through the node.
fn reached(rows: Vec<InstanceRow>, opened: &Opened, asked: BreachAsked) -> Vec<Phi<String>> {
    let is_reached = |row: &InstanceRow| {
        let under = |key| opened.keys.contains(key);
        let arrived = opened.taken_in && (asked.from..asked.to).contains(&row.received_at);
        opened.accesses > 0 || under(&row.key_id) || row.earlier.iter().any(|earlier| under(&earlier.key_id)) || arrived
    };
    let mut uids: Vec<String> =
        rows.iter().filter(|row| is_reached(row)).map(|row| row.sop_uid.expose().to_owned()).collect();
    uids.sort();
    uids.into_iter().map(Phi::new).collect()
}

/// Openings held while the logs pass by: about 200 bytes each.
pub(crate) const MAX_OPENINGS: usize = 500_000;
/// Studies held.
pub(crate) const MAX_SCOPE_STUDIES: usize = 200_000;
/// Instances told by name.
const MAX_INSTANCES: usize = 1_000_000;
/// Entries read at a time.
const PAGE: u64 = 512;
