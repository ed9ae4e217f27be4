//! The patient's access report, and what else is asked of the log.

use crate::{AccessError, Engine, KeyLogError, Reconciled, Record, Shared, ingest::PatientKey};
use leadglass_audit::{
    Entry, EntryLine, Event, NewEntry, OpenError, Outcome, ReadError, SubjectToken,
    report::{AccessReport, FORMAT, ProvenEntry, table},
};
use leadglass_journal::CommitError;
use leadglass_model::{Audit, EntryId, Fault, Permit, Phi, StudyRef, TenantId};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Whom a report is about.
#[derive(Debug, Clone)]
pub struct PatientAsked {
    /// Patient ID as devices send it.
    pub id: Phi<String>,
    /// Issuer of Patient ID, where devices send one.
    pub issuer: Option<Phi<String>>,
    /// Accesses from here, milliseconds since 1970.
    pub from_ms: Option<u64>,
    /// To here, exclusive.
    pub to_ms: Option<u64>,
}

/// The public keys of the logs: what an offline verifier needs.
#[derive(Debug, Clone, Serialize)]
pub struct Keyholders {
    /// This vault's log.
    pub vault_key: String,
    /// The key service as its witness; absent until it was heard once.
    pub witness_key: Option<String>,
    /// The newest checkpoint that was cosigned.
    pub cosigned: Option<String>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The log holds nothing about this patient.
    #[error("the log holds nothing about this patient")]
    Missing,
    /// That the log was asked could not be recorded.
    #[error("the use of the log could not be recorded")]
    Audit(#[from] AccessError),
    /// What was just done is not in the log yet.
    #[error("the log has not caught up; ask again")]
    NotYet,
    /// The log does not read.
    #[error("the log does not read")]
    Log(#[from] ReadError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl ReportError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::Audit(error) => error.fault(),
            Self::NotYet | Self::Stopping => Fault::Busy,
            Self::Log(error) => error.fault(),
        }
    }
}

impl Engine {
    /// Everything that the log says about a patient, with proofs. That it was asked for is an entry, which the report shows.
    ///
    /// Cancel safety: dropping the future may leave the asking recorded.
    pub async fn access_report(
        &self,
        permit: &Permit<Audit>,
        asked: PatientAsked,
    ) -> Result<AccessReport, ReportError> {
        self.shared.access_report(permit, asked).await
    }

    /// Looks at the key service's log now, and matches its unwraps with this node's accesses.
    pub async fn reconcile(&self, permit: &Permit<Audit>) -> Result<Reconciled, KeyLogError> {
        let tenant = permit.tenant().to_string();
        let mut found = self.shared.reconcile().await?;
        // What is amiss elsewhere is not this tenant's to know; an alarm told those who run the house.
        found.unmatched.retain(|unmatched| unmatched.tenant == tenant);
        Ok(found)
    }

    /// The logs' public keys.
    pub fn log_keys(&self) -> Keyholders {
        Keyholders {
            vault_key: self.shared.log.public_key().to_string(),
            witness_key: self.shared.witness.key().map(|key| key.to_string()),
            cosigned: self.shared.log.cosigned(),
        }
    }

    /// What is more than usual, from now on.
    pub fn set_breadth(&self, bounds: crate::Breadth) {
        self.shared.alarms.usual.lock().set(bounds);
    }

    /// Whether an entry is a tenant's to read: its own, what the node itself did, and on a node of one tenant all of it. What somebody
    /// did for whom no entry says is another tenant's perhaps.
    pub fn is_for(&self, tenant: TenantId, entry: &EntryLine) -> bool {
        let nobodys = entry.tenant.is_empty();
        let is_only = self.shared.only_tenant() == Some(tenant);
        entry.tenant == tenant.to_string() || (nobodys && (is_only || entry.actor.is_empty()))
    }

    /// Leaves of the log from `from` on, at most a few hundred, as an export reads them; empty at its end. With the size
    /// of the log.
    pub async fn log_page(&self, from: u64) -> Result<(Vec<Entry>, u64), ReportError> {
        let log = self.shared.log.clone();
        let read = tokio::task::spawn_blocking(move || {
            let size = log.head().size;
            let from = from.min(size);
            log.leaves(from..size.min(from + PAGE)).map(|leaves| (leaves, size))
        });
        let (leaves, size) = read.await.map_err(|_| ReportError::Stopping)??;
        let entries = leaves
            .iter()
            .zip(from..)
            .map(|(leaf, seq)| Entry::decode(leaf).map_err(|_| ReadError::Log(OpenError::Entry { seq })));
        Ok((entries.collect::<Result<_, _>>()?, size))
    }

    /// Records that somebody reads the log.
    pub async fn record_log_use(&self, permit: &Permit<Audit>) -> Result<(), ReportError> {
        self.shared.used(permit, None).await.map(drop)
    }
}

impl Shared {
    pub(crate) async fn access_report(
        self: &Arc<Self>,
        permit: &Permit<Audit>,
        asked: PatientAsked,
    ) -> Result<AccessReport, ReportError> {
        let tenant = permit.tenant();
        let patient = PatientKey { id: asked.id.clone(), issuer: asked.issuer };
        let subject = self.subject_token(tenant, &patient).ok_or(ReportError::Missing)?;
        // What was acknowledged before belongs to the report, and may make the patient known in the first place.
        self.until_drained(self.journal.last().0).await?;
        // Nobody makes a patient up by asking about one.
        let log = self.log.clone();
        let knows = tokio::task::spawn_blocking(move || log.knows(subject)).await.map_err(|_| ReportError::Stopping)?;
        if !knows {
            self.used(permit, None).await?;
            return Err(ReportError::Missing);
        }
        let position = self.used(permit, Some(subject)).await?;
        self.until_drained(position).await?;
        let at_least = self.log.head().size;
        self.cosign_and_tell().await;
        let log = self.log.clone();
        let read = tokio::task::spawn_blocking(move || log.subject(subject, at_least));
        let of = read.await.map_err(|_| ReportError::Stopping)??;
        let mut entries: Vec<Entry> = of.entries.iter().filter_map(|proved| Entry::decode(&proved.leaf).ok()).collect();
        // It ends with its being asked for: by that a reader sees that the newest are in it.
        let asked_at = entries.iter().rposition(|entry| entry.report.event == Event::AuditLogUsed);
        entries.truncate(asked_at.map_or(0, |at| at + 1));
        let (accesses, others) = table(&entries, asked.from_ms, asked.to_ms);
        let studies = entries.iter().filter_map(|entry| entry.report.study).collect();
        Ok(AccessReport {
            format: FORMAT.to_owned(),
            made_ms: self.clock.now().0,
            tenant: tenant.to_string(),
            subject: hex::encode(subject.0),
            patient: asked.id.expose().clone(),
            from_ms: asked.from_ms,
            to_ms: asked.to_ms,
            vault_key: self.log.public_key().to_string(),
            witness_key: self.witness.key().map(|key| key.to_string()),
            checkpoint: of.checkpoint,
            people: BTreeMap::new(),
            studies: self.studies_in_words(tenant, studies),
            accesses,
            others,
            entries: of.entries.iter().take(entries.len()).map(ProvenEntry::from).collect(),
        })
    }

    fn studies_in_words(&self, tenant: TenantId, studies: BTreeSet<StudyRef>) -> BTreeMap<String, String> {
        let words = |study: StudyRef| {
            let row = self.catalog.study_by_ref(tenant, study)?.row.clone();
            let part = |text: &Option<Phi<String>>| text.as_ref().map(|text| text.expose().clone());
            let words: Vec<String> = [part(&row.date), part(&row.description)].into_iter().flatten().collect();
            Some((study.to_string(), words.join(" ")))
        };
        studies.into_iter().filter_map(words).collect()
    }

    /// Records that the log was read (DCM 110101), and says at which place of the journal.
    async fn used(self: &Arc<Self>, permit: &Permit<Audit>, subject: Option<SubjectToken>) -> Result<u64, ReportError> {
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::AuditLogUsed, Outcome::Success);
        entry.tenant = Some(permit.tenant());
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.purpose = Some(permit.purpose());
        entry.subject = subject;
        let record = Record { entries: vec![entry.encode().into()], ..Record::default() };
        let shared = self.clone();
        let committed = self.tasks.spawn(async move { shared.commit(record).await }).await;
        let receipt = committed.map_err(|_| ReportError::Stopping)?.map_err(|e: CommitError| AccessError::Commit(e))?;
        Ok(receipt.position())
    }

    /// Waits until what was committed before lies in the tree.
    pub(crate) async fn until_drained(&self, position: u64) -> Result<(), ReportError> {
        let reached = async {
            while self.drained.load(Ordering::Acquire) < position {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(DRAIN_TIME, reached).await.map_err(|_| ReportError::NotYet)
    }
}

/// So long a report waits for the drain.
const DRAIN_TIME: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Entries of an export read at a time.
const PAGE: u64 = 512;
