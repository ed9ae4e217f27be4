//! The vault held still for a moment, so that a copy of index, log and records belongs together.
//!
//! What comes meanwhile is acknowledged as always: it waits in the journal, and readers are served from memory. Nothing
//! moves on into log and index until [`Still`] is dropped, so it must be short: as long as copying the index takes.

use crate::{Engine, Shared};
use leadglass_audit::{AppendError, CodeWord, Event, NewEntry, Outcome};
use leadglass_index::{IndexError, Mark};
use leadglass_journal::CommitError;
use leadglass_model::{ActorRef, EntryId, Fault, Role};
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

/// Nothing goes into log and index while this lives.
#[derive(Debug)]
pub struct Still {
    _turn: OwnedMutexGuard<()>,
    /// What the index holds: entries of the log and records of the journal. The log holds no less.
    pub mark: Mark,
}

/// Why the vault cannot be held still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StillError {
    /// The backup cannot be recorded.
    #[error("the backup cannot be recorded")]
    Entry(#[from] CommitError),
    /// The log cannot be written.
    #[error("the log cannot be published")]
    Publish(#[from] AppendError),
    /// The index cannot be asked.
    #[error("the index cannot be asked")]
    Index(#[from] IndexError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl StillError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Entry(error) => error.fault(),
            Self::Publish(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Stopping => Fault::Busy,
        }
    }
}

impl Engine {
    /// Records that `actor` takes a backup, waits for the batch that is under way, and holds the vault still.
    ///
    /// Cancel safety: dropping the future may leave the entry alone.
    pub async fn hold_still(&self, actor: ActorRef) -> Result<Still, StillError> {
        let shared = &self.shared;
        let id = EntryId::random(&*shared.entropy);
        let mut entry = NewEntry::new(id, shared.clock.now(), Event::Backup, Outcome::Success);
        entry.actor = Some(actor);
        entry.role = Some(Role::Admin);
        entry.code = CodeWord::parse("begin");
        shared.commit_entry(entry, None).await?;
        shared.hold_still().await
    }
}

impl Shared {
    async fn hold_still(self: &Arc<Self>) -> Result<Still, StillError> {
        let turn = self.drains.clone().lock_owned().await;
        let log = self.log.clone();
        // Everything in its tile and under its checkpoint: the files of the log stand still, too.
        tokio::task::spawn_blocking(move || log.publish()).await.map_err(|_| StillError::Stopping)??;
        Ok(Still { _turn: turn, mark: self.catalog.mark().await? })
    }
}
