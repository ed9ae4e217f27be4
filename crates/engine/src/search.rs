//! Finding studies: the index's projection answers, the log knows that it was asked.

use crate::Shared;
use leadglass_audit::{Counts, Event, NewEntry, Outcome};
use leadglass_index::{IndexError, InstanceRow, InstanceState, Query, SeriesRow, StudyEntry, StudyHit};
use leadglass_journal::CommitError;
use leadglass_model::{EntryId, Fault, Permit, Search, StudyUid};
use std::sync::Arc;

/// Why a search was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// No such study for this caller.
    #[error("there is no such study for this caller")]
    Missing,
    /// The query could not be recorded, so it is not answered.
    #[error("the query could not be recorded")]
    Audit(#[source] CommitError),
    /// The index failed.
    #[error("the index could not be asked")]
    Index(#[source] IndexError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl SearchError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::Audit(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Stopping => Fault::Busy,
        }
    }
}

impl Shared {
    pub(crate) async fn search(
        self: &Arc<Self>,
        permit: &Permit<Search>,
        query: Query,
    ) -> Result<Vec<StudyHit>, SearchError> {
        let (catalog, tenant) = (self.catalog.clone(), permit.tenant());
        // A million studies take a while to look through.
        let hits = tokio::task::spawn_blocking(move || catalog.search(tenant, &query)).await;
        let hits = hits.map_err(|_| SearchError::Stopping)?;
        self.asked(permit, hits.len()).await?;
        Ok(hits)
    }

    pub(crate) async fn search_series(
        self: &Arc<Self>,
        permit: &Permit<Search>,
        uid: &StudyUid,
    ) -> Result<(StudyEntry, Vec<SeriesRow>), SearchError> {
        let study = self.catalog.study(permit.tenant(), uid).ok_or(SearchError::Missing)?;
        self.asked(permit, 1).await?;
        let series = self.catalog.series(permit.tenant(), study.study_ref);
        Ok((study, series))
    }

    pub(crate) async fn search_instances(
        self: &Arc<Self>,
        permit: &Permit<Search>,
        uid: &StudyUid,
    ) -> Result<(StudyEntry, Vec<InstanceRow>), SearchError> {
        let study = self.catalog.study(permit.tenant(), uid).ok_or(SearchError::Missing)?;
        self.asked(permit, 1).await?;
        let rows = self.catalog.instances(permit.tenant(), study.study_ref).await;
        let mut rows = rows.inspect_err(|error| self.index_alarm(error)).map_err(SearchError::Index)?;
        rows.retain(|row| row.state == InstanceState::Current);
        Ok((study, rows))
    }

    /// The query's entry: who asked, how much was found. What was asked for names patients and is not in it.
    async fn asked(self: &Arc<Self>, permit: &Permit<Search>, found: usize) -> Result<(), SearchError> {
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::Query, Outcome::Success);
        entry.tenant = Some(permit.tenant());
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.purpose = Some(permit.purpose());
        entry.counts = Counts { studies: found as u64, ..Counts::default() };
        self.commit_entry(entry, None).await.map_err(SearchError::Audit)
    }
}
