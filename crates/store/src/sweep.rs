//! Taking away what dead uploads of this node left behind.

use crate::{Objects, StoreError, local};
use leadglass_model::ObjectId;
use std::collections::HashSet;

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Uploads of this node that never finished; what they left behind is gone.
    pub removed: Vec<ObjectId>,
    /// Uploads of this node that did finish although it did not live to note it. The objects stand, whole; the index knows
    /// whether anybody was told.
    pub finished: Vec<ObjectId>,
    /// Unfinished files that this node did not begin. They are left alone.
    pub unknown_unfinished: u64,
}

impl Objects {
    /// Ends every upload that the ledger knows and that nobody is at, and counts what others left behind. Objects are never
    /// removed, known or unknown.
    ///
    /// Cancel safety: sweeping again goes on where it stopped.
    pub async fn sweep(&self) -> Result<SweepReport, StoreError> {
        let known: HashSet<ObjectId> = self.on_ledger(|ledger| Ok(ledger.begun())).await?.into_iter().collect();
        let mut report = self.sweep_begun().await?;
        if let Some(folder) = self.shared.backing.folder.clone() {
            let count = move || local::count_unknown_unfinished(&folder, &known);
            report.unknown_unfinished = tokio::task::spawn_blocking(count).await??;
        }
        Ok(report)
    }

    /// The same without looking for what others left behind: costs nothing where nothing of ours is unfinished, and may be
    /// done at any time beside uploads that are under way.
    ///
    /// Cancel safety: sweeping again goes on where it stopped.
    pub async fn sweep_begun(&self) -> Result<SweepReport, StoreError> {
        let mut report = SweepReport::default();
        for id in self.on_ledger(|ledger| Ok(ledger.begun())).await? {
            // Somebody is at it right now.
            let Ok(_claim) = self.claim(id) else { continue };
            // Or was until a moment ago.
            if !self.on_ledger(move |ledger| Ok(ledger.is_open(id))).await? {
                continue;
            }
            self.remove_unfinished(id).await?;
            match self.len(id).await {
                Ok(_) => report.finished.push(id),
                Err(StoreError::Missing) => report.removed.push(id),
                Err(e) => return Err(e),
            }
            self.on_ledger(move |ledger| ledger.end(id)).await?;
        }
        Ok(report)
    }
}
