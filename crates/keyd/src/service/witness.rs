//! `POST /v1/log/cosign` and `/v1/log/reset`: the key service as witness of the vault's log. `POST /v1/log/read`: its own log,
//! which the vault witnesses.
//!
//! There is one log. Its key is the secret `audit-log`, which this service holds, so the checkpoint's signature is checked
//! here. The first checkpoint ever shown names the log; another name needs an approved reset, and an approval names the one log
//! that it lets the witness begin anew with: what is shown next would else be believed, whoever shows it.

use super::{Caller, Service, approvals};
use crate::{
    approval::Approval,
    keyring::ClientRole,
    refusal::Refusal,
    store::{Snapshot, Table, Tx},
};
use leadglass_audit::{CosignError, Cosigner, Event, Hash, LogKey, NewEntry, Outcome, TreeHead};
use leadglass_keys::wire::{
    ApprovalId, ApprovalState, Base64Bytes, CosignAnswer, CosignRequest, Few, Hex32, LogHead, LogPage, LogRead,
    LogReset, LogResetAnswer, MAX_LOG_PAGE, ProblemCode,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The last checkpoint that was co-signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seen {
    origin: String,
    size: u64,
    root: Hex32,
}

impl Service {
    /// Co-signs a checkpoint that extends what was seen; remembers it before the answer.
    pub async fn cosign(self: &Arc<Self>, caller: &Caller, ask: CosignRequest) -> Result<CosignAnswer, Refusal> {
        caller.needs(ClientRole::Vault)?;
        let alarm = self.entry_by(caller, Event::LogAlarm, Outcome::Refused);
        let (service, first) = (Arc::clone(self), ask.clone());
        let signed: Result<CosignAnswer, Refusal> = self.store.write(move |tx| service.cosign_in(tx, &first)).await;
        let refusal = match signed {
            Err(refusal) if refusal.code() == ProblemCode::Fork => refusal,
            other => return other,
        };
        // After an honest restore: an approval, given on the key host, lets the witness begin anew with what it is shown.
        let now = self.clock.now();
        let shown = self.checkpoint_of(&ask).ok();
        let believed = |a: &Approval| shown.is_some() && a.believes(now) == shown;
        if let Some(approval) = self.approvals_for(None)?.into_iter().find(believed) {
            let service = Arc::clone(self);
            let anew = self.store.write(move |tx| service.cosign_anew(tx, &approval.id, &ask)).await?;
            self.report(vec![self.entry_by(caller, Event::LogReset, Outcome::Success)]).await?;
            return Ok(anew);
        }
        tracing::error!(alarm = "log-fork", "A checkpoint does not continue what the witness saw");
        self.refuse(alarm, "fork", refusal).await
    }

    fn cosign_anew(
        &self,
        tx: &mut Tx<'_>,
        approval: &ApprovalId,
        ask: &CosignRequest,
    ) -> Result<CosignAnswer, Refusal> {
        let head = self.checkpoint_of(ask)?;
        let origin = ask.checkpoint.lines().next().unwrap_or_default();
        self.begin_anew(tx, approval, origin, |believed| believed == head)?;
        self.cosign_in(tx, &CosignRequest { old_size: head.size, proof: Few::default(), ..ask.clone() })
    }

    /// What a checkpoint says, if it is signed with this installation's key.
    fn checkpoint_of(&self, ask: &CosignRequest) -> Result<LogHead, Refusal> {
        let bad = |_| Refusal::new(ProblemCode::BadRequest, "the checkpoint does not verify");
        let origin = ask.checkpoint.lines().next().unwrap_or_default();
        let log = LogKey::from_seed(origin, self.keyring().own.audit_log.reveal()).map_err(bad)?.public();
        let head = log.verify_checkpoint(&ask.checkpoint).map_err(bad)?.head;
        Ok(LogHead { size: head.size, root: Hex32(head.root.0) })
    }

    /// Uses an approval up: the witness goes on from the log that it names, and from no other.
    fn begin_anew(
        &self,
        tx: &mut Tx<'_>,
        approval: &ApprovalId,
        origin: &str,
        is_meant: impl Fn(LogHead) -> bool,
    ) -> Result<(), Refusal> {
        let none = || Refusal::new(ProblemCode::ApprovalNeeded, "no approval covers this reset");
        let mut approval = approvals::read(tx, approval)?.ok_or_else(none)?;
        let head = approval.believes(self.clock.now()).filter(|head| is_meant(*head)).ok_or_else(none)?;
        approval.state = ApprovalState::Ended;
        approvals::put(tx, &approval)?;
        let begun = Seen { origin: origin.to_owned(), size: head.size, root: head.root };
        tx.put(Table::Witness, CURRENT, &serde_json::to_vec(&begun).map_err(Refusal::broken)?)?;
        Ok(())
    }

    fn cosign_in(&self, tx: &mut Tx<'_>, ask: &CosignRequest) -> Result<CosignAnswer, Refusal> {
        let origin = ask.checkpoint.lines().next().unwrap_or_default();
        let seen = parse(tx.read(Table::Witness, CURRENT)?)?;
        if let Some(seen) = &seen
            && seen.origin != origin
        {
            return Err(fork("the witness knows this installation's log under another name", seen.size));
        }
        let seen = seen.filter(|s| s.size > 0);
        let known = seen.as_ref().map_or(0, |s| s.size);
        let keyring = self.keyring();
        let bad = |_| Refusal::new(ProblemCode::BadRequest, "the checkpoint does not verify");
        let log = LogKey::from_seed(origin, keyring.own.audit_log.reveal()).map_err(bad)?.public();
        let shown = log.verify_checkpoint(&ask.checkpoint).map_err(bad)?.head;
        if shown.size < known {
            return Err(fork("the log is shorter than what the witness saw", known));
        }
        // A caller that died before it heard of the last signature: it asks again from there.
        if ask.old_size != known {
            let sentence = "the proof does not start at the size that the witness saw last";
            return Err(Refusal::new(ProblemCode::Conflict, sentence).known_size(known));
        }
        let witness = Cosigner::from_seed(WITNESS_NAME, keyring.own.witness.reveal()).map_err(bad)?;
        let head = seen.map(|s| TreeHead { size: s.size, root: Hash(s.root.0) });
        let proof: Vec<Hash> = ask.proof.iter().map(|h| Hash(h.0)).collect();
        let cosigned = witness
            .cosign(&log, head.as_ref(), &ask.checkpoint, &proof, self.clock.now().0 / 1000)
            .map_err(|error| match error {
                CosignError::Note(note) => bad(note),
                _ => fork("the checkpoint is no continuation of what the witness saw", known),
            })?;
        let now = Seen { origin: origin.to_owned(), size: cosigned.head.size, root: Hex32(cosigned.head.root.0) };
        tx.put(Table::Witness, CURRENT, &serde_json::to_vec(&now).map_err(Refusal::broken)?)?;
        Ok(CosignAnswer { cosignature: cosigned.line })
    }

    /// Entries of the own log. Reading it adds none: whoever follows it would never reach its end.
    pub async fn read_log(self: &Arc<Self>, caller: &Caller, ask: LogRead) -> Result<LogPage, Refusal> {
        caller.needs(ClientRole::Vault)?;
        let log = Arc::clone(&self.log);
        let read = tokio::task::spawn_blocking(move || {
            let size = log.head().size;
            let checkpoint = log.checkpoint();
            let from = ask.from.min(size);
            log.leaves(from..size.min(from.saturating_add(MAX_LOG_PAGE as u64))).map(|leaves| (checkpoint, leaves))
        });
        let (checkpoint, leaves) = read.await.map_err(Refusal::broken)?.map_err(Refusal::broken)?;
        let leaves = leaves.iter().filter_map(|leaf| Base64Bytes::new(leaf)).collect();
        let keyring = self.keyring();
        let witness = Cosigner::from_seed(WITNESS_NAME, keyring.own.witness.reveal()).map_err(Refusal::broken)?;
        Ok(LogPage {
            checkpoint,
            log_key: self.log.public_key().to_string(),
            witness_key: witness.public().to_string(),
            caller: hex::encode(caller.node()),
            leaves: Few::new(leaves).unwrap_or_default(),
        })
    }

    /// After an honest restore: forgets the old log under an approval, and says what had been seen of it.
    pub async fn reset_log(self: &Arc<Self>, caller: &Caller, ask: LogReset) -> Result<LogResetAnswer, Refusal> {
        caller.needs(ClientRole::Admin)?;
        let entry = self.entry_by(caller, Event::LogReset, Outcome::Success);
        let service = Arc::clone(self);
        let reset: Result<LogResetAnswer, Refusal> = self
            .store
            .write(move |tx| {
                let seen = parse(tx.read(Table::Witness, CURRENT)?)?.filter(|s| s.origin == ask.old_origin);
                let seen =
                    seen.ok_or_else(|| Refusal::new(ProblemCode::NotFound, "the witness has not seen this log"))?;
                service.begin_anew(tx, &ask.approval, &ask.new_origin, |_| true)?;
                Ok(LogResetAnswer { old_size: seen.size, old_root: seen.root })
            })
            .await;
        match reset {
            Ok(answer) => {
                self.report(vec![NewEntry { outcome: Outcome::Success, ..entry }]).await?;
                Ok(answer)
            }
            Err(refusal) => self.refuse(entry, "log-reset", refusal).await,
        }
    }
}

/// Size and name of the vault's log as the witness saw it last, for `status`.
pub(super) fn seen(snapshot: &Snapshot) -> Result<Option<(String, u64)>, Refusal> {
    Ok(parse(snapshot.read(Table::Witness, CURRENT)?)?.map(|s| (s.origin, s.size)))
}

fn parse(bytes: Option<Vec<u8>>) -> Result<Option<Seen>, Refusal> {
    bytes.map(|b| serde_json::from_slice(&b).map_err(Refusal::broken)).transpose()
}

fn fork(sentence: &str, known: u64) -> Refusal {
    Refusal::new(ProblemCode::Fork, sentence).known_size(known)
}

const CURRENT: &[u8] = b"current";
/// The witness's name in signature lines.
pub(super) const WITNESS_NAME: &str = "leadglass/keyd/witness";
