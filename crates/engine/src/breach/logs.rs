//! What is asked of the two logs, and the two logs passing by.

use super::{BreachError, Selector, Tally};
use crate::{AccessError, KeyLogError, ReportError, Shared};
use leadglass_audit::{
    ClientRef, CodeWord, Entry, Event, FollowError, Followed, Follower, NewEntry, OpenError, Outcome, PublicKey,
    ReadError,
};
use leadglass_keys::wire::LogRead;
use leadglass_model::{Audit, EntryId, Permit};
use std::sync::Arc;

impl Shared {
    /// The entry that says what was asked about.
    pub(super) async fn record_asking(
        self: &Arc<Self>,
        permit: &Permit<Audit>,
        by: Option<Selector>,
    ) -> Result<(), BreachError> {
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
    pub(super) async fn own_name(&self) -> Result<ClientRef, BreachError> {
        let seen = self.key_log.seen().0;
        let page = self.keys.service().read_log(&LogRead { from: seen }).await.map_err(KeyLogError::Service)?;
        let mut me = [0; 16];
        hex::decode_to_slice(&page.caller, &mut me).map_err(|_| KeyLogError::Answer)?;
        Ok(ClientRef(me))
    }

    /// The key service's log from its first entry to its newest checkpoint. A page at a time is held.
    pub(super) async fn pass_key_log(&self, mut tally: Tally) -> Result<(Tally, u64), BreachError> {
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
    pub(super) fn pass_own_log(&self, mut tally: Tally) -> Result<(Tally, u64), BreachError> {
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
}

/// Entries read at a time.
const PAGE: u64 = 512;
