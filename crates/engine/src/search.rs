//! Finding studies, series and instances: the index's projection answers, the log knows that it was asked.

use crate::{Engine, Shared};
use leadglass_audit::{Counts, Event, NewEntry, Outcome};
use leadglass_index::{DeepQuery, FindError, Found, IndexError, InstanceHit, Query, SeriesHit, StudyHit};
use leadglass_journal::CommitError;
use leadglass_model::{EntryId, Fault, Permit, Search, SeriesUid, StudyUid};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Where a search looks: the path of its address.
#[derive(Debug, Clone, Copy)]
pub enum Within<'a> {
    /// All studies of the tenant.
    Tenant,
    /// One study, which must be there.
    Study(&'a StudyUid),
    /// One series of a study; both must be there.
    Series(&'a StudyUid, &'a SeriesUid),
}

/// Why a search was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// No such study or series for this caller.
    #[error("there is no such study or series for this caller")]
    Missing,
    /// There was too much to look through.
    #[error("the search took longer than {} s", MAX_SEARCH.as_secs())]
    TooBroad,
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
            Self::TooBroad => Fault::BadInput,
            Self::Audit(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Stopping => Fault::Busy,
        }
    }
}

impl Engine {
    /// Finds studies. The query is recorded before it is answered.
    ///
    /// Cancel safety: dropping the future may leave a query recorded that nobody got an answer to.
    pub async fn search(&self, permit: &Permit<Search>, mut query: Query) -> Result<Found<StudyHit>, SearchError> {
        let (catalog, tenant) = (self.shared.catalog.clone(), permit.tenant());
        query.hidden = self.shared.hidden_from(permit);
        // A million studies take a while to look through.
        let found = tokio::task::spawn_blocking(move || catalog.find_studies(tenant, &query, time_is_up()));
        let found = found.await.map_err(|_| SearchError::Stopping)?.map_err(|_| SearchError::TooBroad)?;
        self.shared.asked(permit, found.hits.len()).await?;
        Ok(found)
    }

    /// Finds series; offset and limit of the study part count series.
    ///
    /// Cancel safety: as [`search`](Self::search).
    pub async fn search_series(
        &self,
        permit: &Permit<Search>,
        within: Within<'_>,
        mut query: DeepQuery,
    ) -> Result<Found<SeriesHit>, SearchError> {
        if !self.shared.narrow(permit, within, &mut query)? {
            return self.shared.nothing(permit).await;
        }
        let (catalog, tenant) = (self.shared.catalog.clone(), permit.tenant());
        let found = tokio::task::spawn_blocking(move || catalog.find_series(tenant, &query, time_is_up()));
        let found = found.await.map_err(|_| SearchError::Stopping)?.map_err(|_| SearchError::TooBroad)?;
        let studies = found.hits.chunk_by(|a, b| a.study_ref == b.study_ref).count();
        self.shared.asked(permit, studies).await?;
        Ok(found)
    }

    /// Finds instances that viewers see; offset and limit of the study part count instances.
    ///
    /// Cancel safety: as [`search`](Self::search).
    pub async fn search_instances(
        &self,
        permit: &Permit<Search>,
        within: Within<'_>,
        mut query: DeepQuery,
    ) -> Result<Found<InstanceHit>, SearchError> {
        if !self.shared.narrow(permit, within, &mut query)? {
            return self.shared.nothing(permit).await;
        }
        let found = self.shared.catalog.find_instances(permit.tenant(), &query, time_is_up()).await;
        let found = found.map_err(|error| match error {
            FindError::Index(error) => {
                self.shared.index_alarm(&error);
                SearchError::Index(error)
            }
            _ => SearchError::TooBroad,
        })?;
        let studies = found.hits.chunk_by(|a, b| Arc::ptr_eq(&a.study, &b.study)).count();
        self.shared.asked(permit, studies).await?;
        Ok(found)
    }
}

impl Shared {
    /// Asks what the path names too. `false`: the query's own UIDs leave nothing of it.
    fn narrow(&self, permit: &Permit<Search>, within: Within<'_>, query: &mut DeepQuery) -> Result<bool, SearchError> {
        query.study.hidden = self.hidden_from(permit);
        let (study, series) = match within {
            Within::Tenant => return Ok(true),
            Within::Study(study) => (study, None),
            Within::Series(study, series) => (study, Some(series)),
        };
        let entry =
            self.catalog.study(permit.tenant(), study).filter(|found| !query.study.hidden.contains(&found.study_ref));
        let entry = entry.ok_or(SearchError::Missing)?;
        if !only(&mut query.study.study_uids, study) {
            return Ok(false);
        }
        let Some(series) = series else { return Ok(true) };
        if !self.catalog.has_series(permit.tenant(), entry.study_ref, series) {
            return Err(SearchError::Missing);
        }
        Ok(only(&mut query.series.uids, series))
    }

    async fn nothing<T>(self: &Arc<Self>, permit: &Permit<Search>) -> Result<Found<T>, SearchError> {
        self.asked(permit, 0).await?;
        Ok(Found { hits: Vec::new(), more: false })
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

/// Leaves `uid` in a list of which empty means any. `false`: the list names others only.
fn only<T: Clone + PartialEq>(list: &mut Vec<T>, uid: &T) -> bool {
    let fits = list.is_empty() || list.contains(uid);
    *list = vec![uid.clone()];
    fits
}

/// Whether a search that begins now must end.
fn time_is_up() -> impl Fn() -> bool {
    let begun = Instant::now();
    move || begun.elapsed() > MAX_SEARCH
}

/// A search that takes longer is refused.
const MAX_SEARCH: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_and_the_query_must_both_fit() {
        for (list, fits) in [(vec![], true), (vec![1, 2], true), (vec![2, 3], false)] {
            let mut left = list.clone();
            assert_eq!(only(&mut left, &1), fits, "{list:?}");
            assert_eq!(left, [1]);
        }
    }
}
