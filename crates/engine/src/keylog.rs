//! The key service's log, witnessed from here, and matched with this node's own: *reconciliation*.
//!
//! Every entry that the key service writes is fetched and hashed, so that it can neither change nor take back what it once
//! showed. And each key that it gave to this node must belong to an access that this node's log holds: one that does not
//! was opened past the log, by a changed program or by somebody else with this node's certificate.
//!
//! What was seen lies in a file of its own, written before anything is said about it. If we die before, the same entries
//! are fetched and judged again; an alarm may then come twice, and none is lost.

mod kept;
mod matching;

pub(crate) use kept::KeyLog;
pub use kept::{KeyLogError, KeyLogPort};
pub use matching::Unmatched;

use crate::{AlarmKind, Shared};
use kept::{Kept, State};
use leadglass_audit::{ClientRef, Entry, Event, FollowError, Followed, Follower, Outcome, PublicKey};
use leadglass_keys::wire::{LogPage, LogRead};
use leadglass_model::{EntryId, UnixMillis};
pub(crate) use matching::{Unwrap, mismatch};
use serde::Serialize;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What one look at the key service's log found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Reconciled {
    /// Entries of the key service's log that were seen so far.
    pub key_log_entries: u64,
    /// Unwraps by this node among those that were looked at now.
    pub unwraps: u64,
    /// Of these, unwraps that an entry of this node's log accounts for.
    pub matched: u64,
    /// Unwraps by other nodes, which their own logs account for.
    pub others: u64,
    /// Unwraps whose entry this node does not hold yet; they are looked for again before an alarm is raised.
    pub waiting: usize,
    /// Unwraps that no entry accounts for.
    pub unmatched: Vec<Unmatched>,
}

impl Shared {
    /// Takes what is new in the key service's log and matches it with the own.
    ///
    /// Cancel safety: it is finished in any case.
    pub(crate) async fn reconcile(self: &Arc<Self>) -> Result<Reconciled, KeyLogError> {
        let shared = self.clone();
        let looked = self.tasks.spawn(async move { shared.look_at_key_log().await });
        looked.await.map_err(|_| KeyLogError::Stopping)?
    }

    /// What is seen is held only once it is written down: what is lost on the way is fetched and judged again.
    async fn look_at_key_log(self: &Arc<Self>) -> Result<Reconciled, KeyLogError> {
        let mut held = self.key_log.state.lock().await;
        if held.is_none() {
            let key_log = self.key_log.clone();
            *held = tokio::task::spawn_blocking(move || key_log.read()).await.map_err(|_| KeyLogError::Stopping)??;
        }
        let mut found = Reconciled::default();
        let mut unwraps = Vec::new();
        let mut seen = held.clone();
        loop {
            let from = seen.as_ref().map_or(0, |state| state.follower.head().size);
            let page = self.keys.service().read_log(&LogRead { from }).await?;
            let state = match self.known(&mut seen, &page) {
                Ok(state) => state,
                // Another log from now on, seen from its first entry.
                Err(error) => {
                    *held = seen;
                    return Err(error);
                }
            };
            let more = self.take(state, &page, &mut found, &mut unwraps)?;
            if !more || unwraps.len() >= MAX_UNWRAPS {
                self.judge(state, std::mem::take(&mut unwraps), &mut found).await?;
                *held = Some(state.clone());
            }
            if !more {
                found.key_log_entries = state.follower.head().size;
                break;
            }
        }
        *self.key_log.seen.lock() = (found.key_log_entries, self.clock.now().0);
        *self.key_log.told.lock() = None;
        Ok(found)
    }

    /// The log that is followed: the first that is seen, and no other without an alarm.
    fn known<'a>(self: &Arc<Self>, held: &'a mut Option<State>, page: &LogPage) -> Result<&'a mut State, KeyLogError> {
        let key = PublicKey::parse(&page.log_key).map_err(|_| KeyLogError::Answer)?;
        let witness = PublicKey::parse(&page.witness_key).map_err(|_| KeyLogError::Answer)?;
        let begin = || {
            let kept = Kept { log_key: page.log_key.clone(), witness_key: page.witness_key.clone(), ..Kept::default() };
            State { follower: Follower::begin(key.clone()), kept }
        };
        let state = held.get_or_insert_with(begin);
        if *state.follower.key() != key || state.kept.witness_key != page.witness_key {
            tracing::error!(log = key.name(), "the key service shows another log or another key: was it restored?");
            self.alarm(AlarmKind::Fork, None);
            *state =
                State { kept: Kept { waiting: std::mem::take(&mut state.kept.waiting), ..begin().kept }, ..begin() };
            // Its entries are asked for from the first.
            return Err(KeyLogError::Answer);
        }
        self.witness.learn_key(witness);
        Ok(state)
    }

    /// Takes a page. `true`: there is more.
    fn take(
        self: &Arc<Self>,
        state: &mut State,
        page: &LogPage,
        found: &mut Reconciled,
        unwraps: &mut Vec<Unwrap>,
    ) -> Result<bool, KeyLogError> {
        let mut caller = [0; 16];
        hex::decode_to_slice(&page.caller, &mut caller).map_err(|_| KeyLogError::Answer)?;
        // The head is compared first: a log that is shorter than before gives nothing new.
        if matches!(state.follower.compare(&page.checkpoint)?, Followed::Reached) {
            state.kept.checkpoint.clone_from(&page.checkpoint);
            return Ok(false);
        }
        // Nothing is kept of a page that does not lead to what was signed.
        let mut ahead = state.follower.clone();
        let mut entries = Vec::with_capacity(page.leaves.len());
        let signed = ahead.key().verify_checkpoint(&page.checkpoint).map_err(FollowError::Note)?.head;
        for leaf in page.leaves.iter() {
            if ahead.head().size == signed.size {
                break;
            }
            entries.push(ahead.take(leaf.expose())?);
        }
        if entries.is_empty() {
            return Err(KeyLogError::Answer);
        }
        let more = !matches!(ahead.compare(&page.checkpoint)?, Followed::Reached);
        state.follower = ahead;
        for entry in &entries {
            self.look(entry, ClientRef(caller), found, unwraps);
        }
        state.kept.checkpoint.clone_from(&page.checkpoint);
        Ok(more)
    }

    fn look(self: &Arc<Self>, entry: &Entry, me: ClientRef, found: &mut Reconciled, unwraps: &mut Vec<Unwrap>) {
        let report = &entry.report;
        if report.client != Some(me) {
            found.others += u64::from(report.event == Event::KeyUnwrapped && report.outcome == Outcome::Success);
            return;
        }
        match report.event {
            Event::KeyUnwrapped if report.outcome == Outcome::Success => {
                let text = |id: Option<String>| id.unwrap_or_default();
                unwraps.push(Unwrap {
                    seq: entry.seq,
                    at_ms: report.time.0,
                    tenant: text(report.tenant.map(|v| v.to_string())),
                    actor: text(report.actor.map(|v| v.to_string())),
                    purpose: text(report.purpose.map(|v| v.to_string())),
                    access: text(report.related.map(|v| v.to_string())),
                    key: text(report.key.map(|v| v.to_string())),
                    study: text(report.study.map(|v| v.to_string())),
                });
            }
            Event::BudgetHit | Event::Suspension => {
                tracing::error!(key_log_entry = entry.seq, "the key service reports that a budget is used up");
                self.alarm(AlarmKind::Budget, None);
            }
            _ => {}
        }
    }

    /// Matches unwraps with the own log, those first that waited. What is not matched waits for the drain, then is an alarm.
    async fn judge(
        self: &Arc<Self>,
        state: &mut State,
        fresh: Vec<Unwrap>,
        found: &mut Reconciled,
    ) -> Result<(), KeyLogError> {
        found.unwraps += fresh.len() as u64;
        let mut all = std::mem::take(&mut state.kept.waiting);
        all.extend(fresh);
        // The entry is in the journal before the key is asked for: with nothing on the way, what is not there never was.
        let (drained, stuck) = (self.journal.pending() == 0, self.backlog.stuck.load(Ordering::Relaxed));
        let names: HashSet<EntryId> = all.iter().filter_map(|unwrap| unwrap.access.parse().ok()).collect();
        let own = if names.is_empty() {
            HashMap::new()
        } else {
            let log = self.log.clone();
            tokio::task::spawn_blocking(move || log.find(&names)).await.map_err(|_| KeyLogError::Stopping)??
        };
        let now = self.clock.now();
        let mut lost = Vec::new();
        for unwrap in all {
            let entry = unwrap.access.parse().ok().and_then(|id: EntryId| own.get(&id));
            let Some(why) = mismatch(&unwrap, entry) else {
                found.matched += 1;
                continue;
            };
            let old = now.millis_since(UnixMillis(unwrap.at_ms)) >= GRACE_MS;
            if entry.is_none() && !drained && (stuck || !old) {
                state.kept.waiting.push(unwrap);
            } else {
                lost.push(Unmatched {
                    key_log_entry: unwrap.seq,
                    tenant: unwrap.tenant,
                    at_ms: unwrap.at_ms,
                    access: unwrap.access,
                    key: unwrap.key,
                    study: unwrap.study,
                    actor: unwrap.actor,
                    why: why.to_owned(),
                });
            }
        }
        found.waiting = state.kept.waiting.len();
        for unmatched in &lost {
            tracing::error!(
                key_log_entry = unmatched.key_log_entry,
                study = unmatched.study,
                why = unmatched.why,
                "alarm: a key was given out without an access in the log"
            );
            self.alarm(AlarmKind::Unmatched, None);
        }
        self.key_log.write(state).await?;
        found.unmatched.extend(lost);
        Ok(())
    }

    /// Looks now and then, until `stop`.
    pub(crate) async fn reconcile_now_and_then(self: Arc<Self>, stop: CancellationToken) {
        loop {
            match self.reconcile().await {
                Ok(_) => {}
                Err(KeyLogError::Follow(error)) => {
                    // Each time until somebody looks; said once.
                    let words = error.to_string();
                    let before = self.key_log.told.lock().replace(words.clone());
                    if before != Some(words) {
                        tracing::error!(%error, "the key service's log is not the one that was seen before");
                        self.alarm(AlarmKind::Fork, None);
                    }
                }
                Err(error) => tracing::debug!(%error, "the key service's log is not followed now"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }
}

const EVERY: Duration = Duration::from_secs(10);
/// So long an entry may take from its journal to the tree: the drain takes half a second, a full disk longer.
const GRACE_MS: u64 = 30_000;
/// Unwraps that are looked up together.
const MAX_UNWRAPS: usize = 8_192;
