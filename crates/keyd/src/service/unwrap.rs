//! `POST /v1/keys/unwrap`: leases on study keys.
//!
//! Order: rows → restriction and state → approval or budgets → own log durable → unwrap → answer. A refused budget refuses
//! the whole call; everything else refuses single keys and leaves their neighbours.

use super::{Caller, LEASE_S, Service, Suspension};
use crate::{
    approval::Cover,
    budget::{self, Opening, Verdict},
    keyring::{ClientRole, Keyring},
    refusal::Refusal,
    store::{Binding, CountedRow, KeyRow, KeyState, Snapshot, StoreError, Table, study_name},
    wrapping::{self, Bound, UnwrapError},
};
use leadglass_audit::{CodeWord, Counts, Event, NewEntry, Outcome};
use leadglass_keys::wire::{
    KeyBytes, KeyRefusal, Opened, OpenedKeys, ProblemCode, Scope, UnwrapOutcome, UnwrapRequest,
};
use leadglass_model::{KeyId, Purpose, StudyRef, TenantId, UnixMillis};
use leadglass_seal::{StudyKey, WrapPurpose};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

/// A key of the batch on its way: its row, or why it is refused.
type Candidate = (KeyId, Result<KeyRow, KeyRefusal>);

impl Service {
    /// Opens keys. The own log holds an entry for each opened key, with the vault's entry id, before any of them leaves.
    ///
    /// Cancel safety: a caller that goes away has been counted and logged, and gets nothing.
    pub async fn unwrap(self: &Arc<Self>, caller: &Caller, ask: UnwrapRequest) -> Result<Vec<UnwrapOutcome>, Refusal> {
        caller.needs(ClientRole::Vault)?;
        let now = self.clock.now();
        let entry = NewEntry {
            tenant: ask.tenant,
            actor: Some(ask.actor),
            purpose: Some(ask.purpose),
            related: Some(ask.audit_entry),
            code: ask.reason.as_ref().and_then(|r| CodeWord::parse(r.as_str())),
            ..self.entry_by(caller, Event::KeyUnwrapped, Outcome::Success)
        };
        if let Some(refusal) = self.suspension(caller, &ask) {
            return self.refuse(entry, "suspended", refusal).await;
        }
        if let Err(refusal) = self.prove_actor(caller, &ask, now) {
            return self.refuse(entry, "actor-unproven", refusal).await;
        }
        if ask.purpose == Purpose::Ingest && ask.scope != Scope::Object {
            return Err(Refusal::new(ProblemCode::BadRequest, "purpose ingest opens scope object only"));
        }
        if ask.purpose == Purpose::BreakGlass && ask.reason.is_none() {
            return Err(Refusal::new(ProblemCode::BadRequest, "purpose break-glass gives a reason"));
        }
        let mut candidates = {
            let snapshot = self.store.snapshot()?;
            candidates(&snapshot, caller, &ask, now)?
        };
        let mut tenants: BTreeMap<TenantId, BTreeSet<StudyRef>> = BTreeMap::new();
        for row in candidates.iter().filter_map(|(_, row)| row.as_ref().ok()) {
            tenants.entry(row.tenant).or_default().insert(row.study_ref);
        }
        if let Some(refusal) = tenants.keys().find_map(|tenant| self.awaiting(*tenant)) {
            return self.refuse(entry, "receipts-awaited", refusal).await;
        }
        for (tenant, studies) in &tenants {
            match self.admit(caller, &ask, *tenant, studies, now).await {
                Ok(None) => {}
                Ok(Some(named)) => {
                    for (_, row) in &mut candidates {
                        if row.as_ref().is_ok_and(|r| r.tenant == *tenant && !named.contains(&r.study_ref)) {
                            *row = Err(KeyRefusal::NotForThisPurpose);
                        }
                    }
                }
                Err((code, refusal)) => {
                    let alarm = refusal.code() == ProblemCode::OverBudget;
                    let entry = NewEntry {
                        tenant: Some(*tenant),
                        event: if alarm { Event::BudgetHit } else { Event::KeyUnwrapped },
                        counts: Counts { studies: studies.len() as u64, ..Counts::default() },
                        ..entry
                    };
                    if alarm && self.suspension(caller, &ask).is_some() {
                        let suspended = NewEntry {
                            actor: Some(ask.actor),
                            ..self.entry_by(caller, Event::Suspension, Outcome::Success)
                        };
                        self.report(vec![suspended]).await?;
                    }
                    return self.refuse(entry, code, refusal).await;
                }
            }
        }
        self.settle(&candidates).await?;
        let keyring = self.keyring();
        let mut outcomes = Vec::with_capacity(candidates.len());
        let mut report = Vec::new();
        for (key_id, row) in candidates {
            let result = match row.map(|row| self.open_key(&keyring, key_id, &row, ask.scope)) {
                Ok(Ok(opened)) => Ok(opened),
                Ok(Err(UnwrapError)) => {
                    tracing::error!(alarm = "integrity", key = %key_id, "A wrapped key is not what was written");
                    let alarm = self.entry_by(caller, Event::IntegrityAlarm, Outcome::Failed);
                    report.push(NewEntry { key: Some(key_id), related: Some(ask.audit_entry), ..alarm });
                    Err(KeyRefusal::Unknown)
                }
                Err(refusal) => Err(refusal),
            };
            outcomes.push(UnwrapOutcome { key_id, result });
        }
        report.extend(entries(self, &entry, &outcomes));
        self.report(report).await?;
        Ok(outcomes)
    }

    /// Who is suspended hears so, except in an emergency, which has a small pot of its own.
    fn suspension(&self, caller: &Caller, ask: &UnwrapRequest) -> Option<Refusal> {
        let suspended = self.suspended.lock();
        let person = ask.purpose != Purpose::BreakGlass && suspended.contains_key(&budget::person_counter(ask.actor));
        (person || suspended.contains_key(&budget::node_counter(caller.node()))).then(|| {
            Refusal::new(
                ProblemCode::Suspended,
                "suspended after going far over a budget; an approval on the key host clears it",
            )
        })
    }

    /// Whether these studies may be opened: `None` all of them, `Some` only the named ones.
    async fn admit(
        self: &Arc<Self>,
        caller: &Caller,
        ask: &UnwrapRequest,
        tenant: TenantId,
        studies: &BTreeSet<StudyRef>,
        now: UnixMillis,
    ) -> Result<Option<BTreeSet<StudyRef>>, (&'static str, Refusal)> {
        if ask.scope == Scope::Index && !is_bulk(ask.purpose) {
            return Ok(None);
        }
        let failed = |refusal: Refusal| ("failed", refusal);
        let mut partly = None;
        for approval in self.approvals_for(ask.approval.as_ref()).map_err(failed)? {
            match approval.covers_unwrap(tenant, ask.purpose, ask.scope, studies, now) {
                Cover::All => {
                    self.use_approval(&approval, studies.clone()).await.map_err(failed)?;
                    return Ok(None);
                }
                Cover::Some(named) => partly = partly.or(Some((approval, named))),
                Cover::Nothing => {}
            }
        }
        let many = ask.purpose == Purpose::SubjectRequest && studies.len() > SUBJECT_REQUEST_STUDIES;
        if is_bulk(ask.purpose) || many || ask.approval.is_some() {
            let Some((approval, named)) = partly else {
                let refusal = Refusal::new(
                    ProblemCode::ApprovalNeeded,
                    "this purpose needs an approval that is given on the key host",
                );
                return Err(("approval-needed", refusal));
            };
            self.use_approval(&approval, named.clone()).await.map_err(failed)?;
            return Ok(Some(named));
        }
        self.count(caller, ask, tenant, studies, now).map(|()| None)
    }

    fn count(
        &self,
        caller: &Caller,
        ask: &UnwrapRequest,
        tenant: TenantId,
        studies: &BTreeSet<StudyRef>,
        now: UnixMillis,
    ) -> Result<(), (&'static str, Refusal)> {
        let opening = Opening { actor: ask.actor, node: caller.node(), tenant, purpose: ask.purpose, studies };
        let (verdict, counters) = self.budgets.lock().open(&self.config.budgets, &opening, now);
        let granted = verdict == Verdict::Within;
        self.keep_count(CountedRow { counters, studies: studies.iter().copied().collect(), at_ms: now.0, granted });
        let Verdict::Over { counter, limit, retry_after_s, suspend } = verdict else { return Ok(()) };
        tracing::error!(alarm = "budget", counter, limit, "A budget is used up");
        if let Some(who) = suspend {
            Suspension::begin(self, &who, now);
        }
        let refusal =
            Refusal::new(ProblemCode::OverBudget, "a budget for opening studies is used up").retry_after(retry_after_s);
        Err((budget_code(&counter), refusal))
    }

    /// Keeps a count for the next start, without waiting, and forgets some of what is older than a day.
    fn keep_count(&self, row: CountedRow) {
        let number = self.counted.fetch_add(1, Ordering::Relaxed);
        let mut name = row.at_ms.to_be_bytes().to_vec();
        name.extend_from_slice(&number.to_be_bytes());
        let oldest = row.at_ms.saturating_sub(budget::DAY_S * 1000).to_be_bytes();
        self.store.write_soon(move |tx| {
            for old in tx.names(Table::Counted, b"", None, FORGOTTEN_AT_ONCE)? {
                if old.as_slice() < oldest.as_slice() {
                    tx.delete(Table::Counted, &old)?;
                }
            }
            tx.put_row(Table::Counted, &name, &row)
        });
    }

    /// The first unwrap settles which study a reserve key belongs to.
    async fn settle(&self, candidates: &[Candidate]) -> Result<(), Refusal> {
        let open = |row: &KeyRow| row.binding == Binding::Open;
        let ids: Vec<KeyId> =
            candidates.iter().filter(|(_, row)| row.as_ref().is_ok_and(open)).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.store
            .write(move |tx| {
                for id in ids {
                    if let Some(mut row) = tx.row::<KeyRow>(Table::Keys, id.as_bytes())? {
                        row.binding = Binding::Settled;
                        tx.put_row(Table::Keys, id.as_bytes(), &row)?;
                    }
                }
                Ok::<(), StoreError>(())
            })
            .await?;
        Ok(())
    }

    fn open_key(&self, keyring: &Keyring, key_id: KeyId, row: &KeyRow, scope: Scope) -> Result<Opened, UnwrapError> {
        let key = study_key(keyring, key_id, row)?;
        let index_key = KeyBytes::copy_of(key.index_key(&row.tenant, &key_id, row.generation).reveal());
        let keys = match scope {
            Scope::Index => OpenedKeys::Index { index_key },
            Scope::Object => OpenedKeys::Object {
                meta_key: KeyBytes::copy_of(key.meta_key(&row.tenant, &key_id, row.generation).reveal()),
                key: KeyBytes::copy_of(key.reveal()),
                index_key,
            },
        };
        Ok(Opened { key_gen: row.generation, tenant: row.tenant, study_ref: row.study_ref, keys, lease_s: LEASE_S })
    }
}

/// Opens the wrap of a row: bound to tenant, key id, generation, shard and shard version, so that no other row's wrap fits.
pub(super) fn study_key(keyring: &Keyring, key_id: KeyId, row: &KeyRow) -> Result<StudyKey, UnwrapError> {
    let shard = keyring.tenant(row.tenant).and_then(|t| t.shard(row.shard)).ok_or(UnwrapError)?;
    let version = shard.version(row.shard_version).ok_or(UnwrapError)?;
    let bound = Bound {
        purpose: WrapPurpose::Study,
        tenant: row.tenant,
        wrapping: (shard.id, version.version),
        wrapped: (key_id, row.generation),
    };
    let bytes = wrapping::unwrap(&bound, &version.key, row.wrap().ok_or(UnwrapError)?)?;
    Ok(StudyKey::from_bytes(*bytes))
}

fn candidates(
    snapshot: &Snapshot,
    caller: &Caller,
    ask: &UnwrapRequest,
    now: UnixMillis,
) -> Result<Vec<Candidate>, StoreError> {
    let mut candidates = Vec::with_capacity(ask.key_ids.len());
    for key_id in ask.key_ids.iter().copied() {
        let row: Option<KeyRow> = snapshot.row(Table::Keys, key_id.as_bytes())?;
        let mine = |row: &KeyRow| caller.may(row.tenant) && ask.tenant.is_none_or(|t| t == row.tenant);
        let judged = match row.filter(mine) {
            None => Err(KeyRefusal::Unknown),
            Some(row) => judge(snapshot, row, ask, now)?,
        };
        candidates.push((key_id, judged));
    }
    Ok(candidates)
}

fn judge(
    snapshot: &Snapshot,
    row: KeyRow,
    ask: &UnwrapRequest,
    now: UnixMillis,
) -> Result<Result<KeyRow, KeyRefusal>, StoreError> {
    if row.state != KeyState::Live {
        return Ok(Err(KeyRefusal::Destroyed));
    }
    if ask.purpose == Purpose::Ingest && now.millis_since(row.created_at()) >= INGEST_WINDOW_S * 1000 {
        return Ok(Err(KeyRefusal::NotForThisPurpose));
    }
    let exempt = matches!(ask.purpose, Purpose::SubjectRequest | Purpose::LegalClaim | Purpose::StorageCheck);
    let restricted = ask.scope == Scope::Object
        && !exempt
        && snapshot.read(Table::Restricted, &study_name(row.tenant, row.study_ref))?.is_some();
    Ok(if restricted { Err(KeyRefusal::Restricted) } else { Ok(row) })
}

/// One entry a key, so that this log and the vault's reconcile key by key.
fn entries(service: &Service, call: &NewEntry, outcomes: &[UnwrapOutcome]) -> Vec<NewEntry> {
    let entry = |outcome: &UnwrapOutcome| {
        let (result, study, tenant, code) = match &outcome.result {
            Ok(opened) => (Outcome::Success, Some(opened.study_ref), Some(opened.tenant), call.code.clone()),
            Err(refusal) => (Outcome::Refused, None, call.tenant, CodeWord::parse(refusal_code(*refusal))),
        };
        NewEntry {
            entry_id: leadglass_model::EntryId::random(service.entropy.as_ref()),
            outcome: result,
            study,
            tenant,
            key: Some(outcome.key_id),
            code,
            counts: Counts { studies: 1, ..Counts::default() },
            ..call.clone()
        }
    };
    outcomes.iter().map(entry).collect()
}

fn refusal_code(refusal: KeyRefusal) -> &'static str {
    match refusal {
        KeyRefusal::Destroyed => "destroyed",
        KeyRefusal::Restricted => "restricted",
        KeyRefusal::Unknown => "unknown-key",
        KeyRefusal::NotForThisPurpose => "not-for-this-purpose",
    }
}

fn budget_code(counter: &str) -> &'static str {
    match counter.split(':').next() {
        Some("person") => "budget-person",
        Some("node") => "budget-node",
        Some("tenant") => "budget-tenant",
        Some("break-glass") => "budget-break-glass",
        _ => "budget-storage-check",
    }
}

const fn is_bulk(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Erasure | Purpose::Research | Purpose::Quality)
}

/// Purpose `ingest` opens only what is this young, in seconds.
const INGEST_WINDOW_S: u64 = 24 * 3600;
/// More studies than this in one subject request are bulk.
const SUBJECT_REQUEST_STUDIES: usize = 20;
/// Old counts that one new count clears away.
const FORGOTTEN_AT_ONCE: usize = 32;
