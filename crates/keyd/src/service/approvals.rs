//! Approvals and suspensions as the service keeps them.

use super::{Caller, Service};
use crate::{
    approval::{ACTION_LOG_RESET, Approval},
    refusal::Refusal,
    store::{Snapshot, StoreError, Table, Tx},
};
use leadglass_audit::{Event, NewEntry, Outcome};
use leadglass_keys::wire::{self, ApprovalId, ApprovalState, Job, OpenApproval, ProblemCode, Word, json_from};
use leadglass_model::{StudyRef, UnixMillis};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// Somebody who went three times over a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// The budget's counter: `person:…` or `node:…`.
    pub who: String,
    /// Since when.
    pub since: UnixMillis,
}

/// An approval as `approvals` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalInfo {
    /// Its name.
    pub id: ApprovalId,
    /// What it is for.
    pub job: Job,
    /// Where it stands.
    pub state: ApprovalState,
    /// When it was lodged.
    pub opened_at: UnixMillis,
    /// Distinct studies opened under it so far.
    pub used: usize,
    /// How it was given: `key-host`, or a person's id.
    #[serde(default)]
    pub given_by: Option<Word>,
}

/// Whoever lets the witness begin anew says with which log: else any log that is shown next would be believed.
fn names_its_log(job: &Job) -> Result<(), Refusal> {
    // An empty log would let any that is shown next continue it.
    if (job.action.as_str() == ACTION_LOG_RESET) == job.log.is_some() && job.log.is_none_or(|log| log.size > 0) {
        return Ok(());
    }
    let sentence =
        "a log-reset, and nothing else, names the log that is believed: --log SIZE:ROOT, as the vault says it";
    Err(Refusal::new(ProblemCode::BadRequest, sentence))
}

impl Service {
    /// Lodges a job for approval; open jobs are listed at the key host and told by alarm.
    pub async fn lodge(&self, caller: &Caller, ask: OpenApproval) -> Result<wire::Approval, Refusal> {
        caller.needs(crate::keyring::ClientRole::Vault)?;
        let job: Job = json_from(ask.job.expose(), wire::MAX_JOB_BYTES)
            .map_err(|e| Refusal::new(ProblemCode::BadRequest, "the job cannot be read").because(e))?;
        if job.tenant != wire::INSTALLATION {
            self.tenant_of(caller, job.tenant)?;
        }
        names_its_log(&job)?;
        let text = String::from_utf8_lossy(ask.job.expose()).into_owned();
        let approval = Approval::lodge(text, job, self.clock.now(), self.entropy.as_ref());
        let kept = approval.clone();
        self.store
            .write::<(), Refusal, _>(move |tx| {
                if tx.names(Table::Approvals, b"", None, MAX_APPROVALS)?.len() == MAX_APPROVALS {
                    return Err(Refusal::new(ProblemCode::Busy, "too many approvals are kept"));
                }
                put(tx, &kept)
            })
            .await?;
        tracing::warn!(alarm = "approval", approval = %approval.id, action = %approval.job.action, "A job waits for approval");
        let entry = self.entry_by(caller, Event::Approval, Outcome::Success);
        self.report(vec![NewEntry { tenant: Some(approval.job.tenant), ..entry }]).await?;
        Ok(on_wire(&approval))
    }

    /// Lodges and gives an approval on the key host. Blocks.
    pub fn approve_job(&self, job: Job) -> Result<ApprovalInfo, Refusal> {
        if job.tenant != wire::INSTALLATION && self.keyring().tenant(job.tenant).is_none() {
            return Err(Refusal::new(ProblemCode::NotFound, "no such tenant"));
        }
        names_its_log(&job)?;
        let text = serde_json::to_string(&job).map_err(Refusal::broken)?;
        let approval = Approval::lodge(text, job, self.clock.now(), self.entropy.as_ref());
        self.give(approval)
    }

    /// Gives a lodged approval on the key host. Blocks.
    pub fn approve(&self, id: &ApprovalId) -> Result<ApprovalInfo, Refusal> {
        let found = read_from(&self.store.snapshot()?, id)?;
        let approval = found.ok_or_else(|| Refusal::new(ProblemCode::NotFound, "no such approval"))?;
        if approval.state_at(self.clock.now()) != ApprovalState::Open {
            return Err(Refusal::new(ProblemCode::Conflict, "the approval is given already, or over"));
        }
        // The vault can lodge one: whom it asks to believe what must have seen the log's head elsewhere.
        if approval.job.log.is_some() {
            let sentence = "a log-reset is given by typing its log in: --action log-reset --log SIZE:ROOT";
            return Err(Refusal::new(ProblemCode::Conflict, sentence));
        }
        self.give(approval)
    }

    fn give(&self, mut approval: Approval) -> Result<ApprovalInfo, Refusal> {
        approval.state = ApprovalState::Approved;
        approval.given_by = Word::new("key-host");
        let kept = approval.clone();
        self.store.write_blocking::<(), Refusal, _>(move |tx| put(tx, &kept))?;
        let entry = self.entry(Event::Approval, Outcome::Success);
        let code = leadglass_audit::CodeWord::parse("key-host");
        self.report_blocking(vec![NewEntry { tenant: Some(approval.job.tenant), code, ..entry }])?;
        Ok(info(&approval, self.clock.now()))
    }

    /// All approvals, newest last.
    pub fn approvals(&self) -> Result<Vec<ApprovalInfo>, Refusal> {
        let now = self.clock.now();
        let mut all = all(&self.store.snapshot()?)?;
        all.sort_by_key(|a| a.opened_at);
        Ok(all.iter().map(|a| info(a, now)).collect())
    }

    /// Everybody who is suspended.
    pub fn suspensions(&self) -> Vec<Suspension> {
        let mut all: Vec<Suspension> = self.suspended.lock().values().cloned().collect();
        all.sort_by(|a, b| a.who.cmp(&b.who));
        all
    }

    /// Lets somebody in again; this is the approval that KEYS.md asks for. Blocks.
    pub fn clear_suspension(&self, who: &str) -> Result<(), Refusal> {
        if let Some(node) = who.strip_prefix("actor-key:") {
            self.forget_actors(node)?;
            return self.report_blocking(vec![self.entry(Event::EnrolmentChange, Outcome::Success)]);
        }
        if who == "receipts" {
            self.forgo_receipts()?;
            return Ok(());
        }
        if !self.suspended.lock().contains_key(who) {
            return Err(Refusal::new(ProblemCode::NotFound, "nobody of this name is suspended"));
        }
        let name = who.to_owned();
        self.store.write_blocking::<(), Refusal, _>(move |tx| Ok(tx.delete(Table::Suspensions, name.as_bytes())?))?;
        self.suspended.lock().remove(who);
        self.budgets.lock().clear(who);
        self.report_blocking(vec![self.entry(Event::Suspension, Outcome::Success)])
    }

    /// The approval that is named, or every one.
    pub(super) fn approvals_for(&self, named: Option<&ApprovalId>) -> Result<Vec<Approval>, Refusal> {
        let snapshot = self.store.snapshot()?;
        match named {
            Some(id) => Ok(read_from(&snapshot, id)?.into_iter().collect()),
            None => all(&snapshot),
        }
    }

    /// Notes what was opened under an approval. Two calls at once cannot use the last place twice: the writer looks again.
    pub(super) async fn use_approval(
        self: &Arc<Self>,
        approval: &Approval,
        studies: BTreeSet<StudyRef>,
    ) -> Result<(), Refusal> {
        let id = approval.id.clone();
        self.store
            .write(move |tx| {
                let mut approval = read(tx, &id)?.ok_or_else(used_up)?;
                let before = approval.used.len();
                approval.used.extend(studies);
                if approval.job.study_refs.is_empty()
                    && approval.job.count.is_none_or(|count| approval.used.len() > count as usize)
                {
                    return Err(used_up());
                }
                if approval.used.len() == before { Ok(()) } else { put(tx, &approval) }
            })
            .await
    }
}

impl Suspension {
    pub(super) fn begin(service: &Service, who: &str, since: UnixMillis) {
        tracing::error!(alarm = "suspension", who, "Suspended after going three times over a budget");
        let suspension = Self { who: who.to_owned(), since };
        let json = serde_json::to_vec(&suspension).expect("plain fields always serialize");
        let name = who.to_owned();
        service.suspended.lock().entry(who.to_owned()).or_insert(suspension);
        service.store.write_soon(move |tx| tx.put(Table::Suspensions, name.as_bytes(), &json));
    }

    pub(super) fn all(snapshot: &Snapshot) -> Result<HashMap<String, Self>, StoreError> {
        let mut all = HashMap::new();
        for (_, value) in snapshot.scan(Table::Suspensions, b"", None, usize::MAX)? {
            let one: Self =
                serde_json::from_slice(&value).map_err(|_| StoreError::Damaged { table: Table::Suspensions })?;
            all.insert(one.who.clone(), one);
        }
        Ok(all)
    }
}

/// An approval, inside a write.
pub(super) fn read(tx: &Tx<'_>, id: &ApprovalId) -> Result<Option<Approval>, Refusal> {
    parse(tx.read(Table::Approvals, id.as_str().as_bytes())?)
}

/// Writes an approval.
pub(super) fn put(tx: &mut Tx<'_>, approval: &Approval) -> Result<(), Refusal> {
    let json = serde_json::to_vec(approval).map_err(Refusal::broken)?;
    Ok(tx.put(Table::Approvals, approval.id.as_str().as_bytes(), &json)?)
}

/// Every approval, inside a write.
pub(super) fn all_in(tx: &Tx<'_>) -> Result<Vec<Approval>, Refusal> {
    let names = tx.names(Table::Approvals, b"", None, MAX_APPROVALS)?;
    names
        .iter()
        .filter_map(|name| tx.read(Table::Approvals, name).map_err(Refusal::from).and_then(parse).transpose())
        .collect()
}

fn read_from(snapshot: &Snapshot, id: &ApprovalId) -> Result<Option<Approval>, Refusal> {
    parse(snapshot.read(Table::Approvals, id.as_str().as_bytes())?)
}

fn parse(bytes: Option<Vec<u8>>) -> Result<Option<Approval>, Refusal> {
    bytes.map(|b| serde_json::from_slice(&b).map_err(Refusal::broken)).transpose()
}

fn all(snapshot: &Snapshot) -> Result<Vec<Approval>, Refusal> {
    let rows = snapshot.scan(Table::Approvals, b"", None, MAX_APPROVALS)?;
    rows.into_iter().map(|(_, value)| serde_json::from_slice(&value).map_err(Refusal::broken)).collect()
}

fn info(approval: &Approval, now: UnixMillis) -> ApprovalInfo {
    ApprovalInfo {
        id: approval.id.clone(),
        job: approval.job.clone(),
        state: approval.state_at(now),
        opened_at: approval.opened_at,
        used: approval.used.len(),
        given_by: approval.given_by.clone(),
    }
}

pub(super) fn on_wire(approval: &Approval) -> wire::Approval {
    wire::Approval {
        id: approval.id.clone(),
        nonce: approval.nonce,
        expires_at: approval.give_until.min(approval.job.until),
        state: approval.state,
    }
}

fn used_up() -> Refusal {
    Refusal::new(ProblemCode::ApprovalNeeded, "the approval is used up")
}

/// Kept approvals; a later slice archives those that are over.
const MAX_APPROVALS: usize = 10_000;
