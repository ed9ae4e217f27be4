//! `POST /v1/keys/destroy`: keys come to their end.
//!
//! 1. One commit: approval used up, rows `destroying`, revocation, and the job itself. Dying here, the next start goes on.
//! 2. Listeners hear of it; unwrap refuses from here.
//! 3. One commit: wraps deleted, rows `destroyed`, tombstones. Dying before it, step 3 is done again.
//! 4. Every shard that lost a wrap gets a new key (`rekey.rs`), so that old bytes of the database file open nothing.
//! 5. The signed receipt goes beside the capsules (`erased.rs`), so that a restore finds it. One commit: receipt, job gone. Dying before it, steps 3 to 5 are done again; nobody was told yet.
//! 6. The own log names every key; the caller gets the receipt. The same order under the same approval gets it again.
//!
//! What the receipt dates is the end of step 4. A backup from before still opens the keys until its epoch ends (`epoch.rs`).

use super::{Caller, RevocationRow, Service, approvals, attest};
use crate::{
    approval::ACTION_DESTROY,
    keyring::ClientRole,
    refusal::Refusal,
    store::{KeyRow, KeyState, Table, Tombstone, by_shard, study_name},
};
use leadglass_audit::{Event, NewEntry, Outcome};
use leadglass_keys::wire::{
    ApprovalState, DestroyRequest, DestroyStatement, Few, ProblemCode, RevocationKind, SignedStatement,
};
use leadglass_model::{KeyId, StudyRef};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// A destruction under way, kept until its receipt is.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Job {
    request: DestroyRequest,
    keys: Vec<KeyId>,
    /// Given before a restore: what was destroyed then is destroyed again, and keeps its date.
    #[serde(default)]
    receipt: Option<SignedStatement>,
}

impl Service {
    /// Destroys keys under an approval that covers their studies.
    ///
    /// Cancel safety: what has begun goes on; asking again gives the receipt.
    pub async fn destroy(self: &Arc<Self>, caller: &Caller, ask: DestroyRequest) -> Result<SignedStatement, Refusal> {
        caller.needs(ClientRole::Vault)?;
        self.tenant_of(caller, ask.tenant)?;
        if ask.study_refs.is_empty() && ask.key_ids.is_empty() {
            return Err(Refusal::new(ProblemCode::BadRequest, "no study and no key is named"));
        }
        let entry =
            NewEntry { tenant: Some(ask.tenant), ..self.entry_by(caller, Event::KeyDestroyed, Outcome::Success) };
        if let Some(receipt) = self.receipt(&ask)? {
            return Ok(receipt);
        }
        if let Some(job) = self.store.snapshot()?.read(Table::Jobs, &job_name(&ask))? {
            // Begun, and its end failed: on a full disk, say. Its approval is used up, so it goes on from where it was.
            let job: Job = serde_json::from_slice(&job).map_err(Refusal::broken)?;
            let service = Arc::clone(self);
            return tokio::task::spawn_blocking(move || finish(&service, &job)).await.map_err(Refusal::broken)?;
        }
        let now = self.clock.now();
        let asked = ask.clone();
        let begun: Result<(Job, u64), Refusal> = self
            .store
            .write(move |tx| {
                let (keys, studies) = named(tx, &asked)?;
                let mut approval = approvals::read(tx, &asked.approval)?
                    .filter(|a| a.covers_action(asked.tenant, ACTION_DESTROY, &studies, now))
                    .ok_or_else(|| Refusal::new(ProblemCode::ApprovalNeeded, "no approval covers this destruction"))?;
                for id in &keys {
                    if let Some(mut row) = tx.row::<KeyRow>(Table::Keys, id.as_bytes())? {
                        row.state = KeyState::Destroying;
                        tx.put_row(Table::Keys, id.as_bytes(), &row)?;
                    }
                }
                approval.state = ApprovalState::Ended;
                approvals::put(tx, &approval)?;
                let whole: Vec<StudyRef> = asked.study_refs.iter().copied().collect();
                let mut seq = 0;
                for (at, keys) in keys.chunks(leadglass_keys::wire::MAX_BATCH).enumerate() {
                    let studies = if at == 0 { whole.clone() } else { Vec::new() };
                    seq =
                        RevocationRow::new(RevocationKind::Destroyed, asked.tenant, studies, keys.to_vec()).put(tx)?;
                }
                let job = Job { request: asked, keys, receipt: None };
                tx.put(Table::Jobs, &job_name(&job.request), &to_json(&job))?;
                Ok((job, seq))
            })
            .await;
        let (job, seq) = match begun {
            Ok(begun) => begun,
            Err(refusal) => return self.refuse(entry, "destroy", refusal).await,
        };
        self.push(seq);
        let service = Arc::clone(self);
        tokio::task::spawn_blocking(move || finish(&service, &job)).await.map_err(Refusal::broken)?
    }

    fn receipt(&self, ask: &DestroyRequest) -> Result<Option<SignedStatement>, Refusal> {
        let kept = self.store.snapshot()?.read(Table::Receipts, &job_name(ask))?;
        kept.map(|bytes| serde_json::from_slice(&bytes).map_err(Refusal::broken)).transpose()
    }
}

/// Begins what a receipt from before a restore says again: steps 1 and 2 without an approval, which was used up then. Gives the
/// keys that were there; none of them opens from here. Blocks.
pub(super) fn again(
    service: &Arc<Service>,
    receipt: SignedStatement,
    said: DestroyStatement,
) -> Result<usize, Refusal> {
    let tenant = said.tenant;
    let request = DestroyRequest {
        tenant,
        study_refs: Few::default(),
        key_ids: Few::default(),
        order_id: said.order_id,
        approval: said.approval,
    };
    if service.receipt(&request)?.is_some() {
        return Ok(0);
    }
    let (job, seq, there) = service.store.write_blocking::<_, Refusal, _>(move |tx| {
        let mut there = Vec::new();
        for id in &said.key_ids {
            let row: Option<KeyRow> = tx.row(Table::Keys, id.as_bytes())?;
            let Some(mut row) = row.filter(|row| row.tenant == tenant && row.state != KeyState::Destroyed) else {
                continue;
            };
            row.state = KeyState::Destroying;
            tx.put_row(Table::Keys, id.as_bytes(), &row)?;
            there.push(*id);
        }
        let mut seq = 0;
        for keys in there.chunks(leadglass_keys::wire::MAX_BATCH) {
            seq = RevocationRow::new(RevocationKind::Destroyed, tenant, Vec::new(), keys.to_vec()).put(tx)?;
        }
        let count = there.len();
        let job = Job { request, keys: there, receipt: Some(receipt) };
        tx.put(Table::Jobs, &job_name(&job.request), &to_json(&job))?;
        Ok((job, seq, count))
    })?;
    if there > 0 {
        service.push(seq);
    }
    finish(service, &job)?;
    Ok(there)
}

/// Goes on with every destruction that a crash left half done.
///
/// One that cannot be finished, for a wrap of its shard that is damaged, say, does not keep the others from their keys.
pub(super) fn resume(service: &Arc<Service>) -> Result<(), Refusal> {
    for (_, value) in service.store.snapshot()?.scan(Table::Jobs, JOB_PREFIX, None, usize::MAX)? {
        let job: Job = serde_json::from_slice(&value).map_err(Refusal::broken)?;
        if let Err(refusal) = finish(service, &job) {
            tracing::error!(
                alarm = "erasure",
                cause = refusal.causes(),
                "A destruction that was begun could not be finished"
            );
        }
    }
    Ok(())
}

/// Steps 3 to 6. Blocks.
fn finish(service: &Arc<Service>, job: &Job) -> Result<SignedStatement, Refusal> {
    let (done, now) = (job.clone(), service.clock.now());
    service.store.write_blocking::<(), Refusal, _>(move |tx| {
        for id in &done.keys {
            let Some(mut row) = tx.row::<KeyRow>(Table::Keys, id.as_bytes())? else { continue };
            if row.state == KeyState::Destroyed {
                continue;
            }
            row.state = KeyState::Destroyed;
            row.wrap.clear();
            tx.put_row(Table::Keys, id.as_bytes(), &row)?;
            tx.delete(Table::ByShard, &by_shard(row.shard, *id))?;
            let order = done.request.order_id.as_str().to_owned();
            let tombstone = Tombstone { tenant: row.tenant, study_ref: row.study_ref, order, at_ms: now.0 };
            tx.put_row(Table::Tombstones, id.as_bytes(), &tombstone)?;
        }
        Ok(())
    })?;
    let tenant = job.request.tenant;
    let cost = service.retire(tenant, &service.shards_of(tenant, &job.keys)?)?;
    tracing::info!(visited = cost.visited, moved = cost.moved, keys = job.keys.len(), "Shards re-keyed");

    let statement = DestroyStatement {
        tenant,
        order_id: job.request.order_id.clone(),
        approval: job.request.approval.clone(),
        key_ids: job.keys.clone(),
        live_erased_at: service.clock.now(),
        epoch: service.epoch().number.get(),
    };
    let receipt = job.receipt.clone().map_or_else(|| attest::sign(service, &statement), Ok)?;
    // Beside the capsules first: dying here, this is done again.
    crate::erased::keep(&service.config.capsules(&service.layout), &receipt)?;
    let (done, kept) = (job.clone(), receipt.clone());
    service.store.write_blocking::<(), Refusal, _>(move |tx| {
        tx.put(Table::Receipts, &job_name(&done.request), &to_json(&kept))?;
        Ok(tx.delete(Table::Jobs, &job_name(&done.request))?)
    })?;
    let entries = job.keys.iter().map(|key| NewEntry {
        tenant: Some(job.request.tenant),
        key: Some(*key),
        ..service.entry(Event::KeyDestroyed, Outcome::Success)
    });
    service.report_blocking(entries.collect())?;
    service.backup_wanted.notify_one();
    Ok(receipt)
}

/// The live keys that a request names, and their studies.
fn named(tx: &crate::store::Tx<'_>, ask: &DestroyRequest) -> Result<(Vec<KeyId>, BTreeSet<StudyRef>), Refusal> {
    let mut keys = BTreeSet::new();
    let mut studies: BTreeSet<StudyRef> = ask.study_refs.iter().copied().collect();
    for study in ask.study_refs.iter() {
        for name in tx.names(Table::ByStudy, &study_name(ask.tenant, *study), None, MAX_KEYS)? {
            let id: [u8; 16] = name[32..].try_into().map_err(Refusal::broken)?;
            keys.insert(KeyId::from_bytes(id));
        }
    }
    keys.extend(ask.key_ids.iter().copied());
    let mut live = Vec::new();
    for id in keys {
        let row: Option<KeyRow> = tx.row(Table::Keys, id.as_bytes())?;
        match row.filter(|row| row.tenant == ask.tenant) {
            None => return Err(Refusal::new(ProblemCode::NotFound, "no such key for this client")),
            Some(row) if row.state == KeyState::Destroyed => {}
            Some(row) => {
                studies.insert(row.study_ref);
                live.push(id);
            }
        }
    }
    if live.len() > MAX_KEYS {
        return Err(Refusal::new(ProblemCode::BadRequest, "too many keys in one order"));
    }
    Ok((live, studies))
}

fn job_name(ask: &DestroyRequest) -> Vec<u8> {
    let mut name = JOB_PREFIX.to_vec();
    name.extend_from_slice(ask.tenant.as_bytes());
    name.extend_from_slice(ask.order_id.as_str().as_bytes());
    name.push(b' ');
    name.extend_from_slice(ask.approval.as_str().as_bytes());
    name
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("wire types have string keys and no failing serializer")
}

const JOB_PREFIX: &[u8] = b"destroy:";
/// Keys of one order: 256 studies with sixteen keys each.
const MAX_KEYS: usize = 4096;
