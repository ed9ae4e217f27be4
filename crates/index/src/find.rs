//! The catalog's searches: studies and series from memory, instances from the engine's rows.
//!
//! Newest study first (study date and time as the device wrote them; equal ones by random name, unknown dates last), in a
//! study by series number and UID, in a series by instance number and UID.

use crate::{
    Catalog, DeepQuery, Found, IndexError, InstanceHit, InstanceRow, InstanceState, Query, SeriesHit, Stopped,
    StudyHit,
    scan::{Collector, Cursor},
};
use leadglass_model::{Fault, TenantId};
use std::{ops::ControlFlow, sync::Arc};

/// Why instances were not searched to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// It was stopped: too much to look through.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Rows could not be read.
    #[error("the rows of a study could not be read")]
    Index(#[from] IndexError),
}

impl FindError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Stopped(_) => Fault::BadInput,
            Self::Index(error) => error.fault(),
        }
    }
}

impl Catalog {
    /// The studies that fit. Gives others the lock in between, and may take a second for a million studies if rows have to
    /// be read: call it from `spawn_blocking`.
    pub fn search(&self, tenant: TenantId, query: &Query) -> Vec<StudyHit> {
        self.find_studies(tenant, query, || false).map(|found| found.hits).unwrap_or_default()
    }

    /// As [`search`](Self::search), until `stop` says so: it is asked every few milliseconds.
    pub fn find_studies(
        &self,
        tenant: TenantId,
        query: &Query,
        stop: impl Fn() -> bool,
    ) -> Result<Found<StudyHit>, Stopped> {
        let (mut cursor, mut out) = (Cursor::default(), Collector::new(query));
        while self.tenants.read().get(&tenant).is_some_and(|s| s.search(query, &mut cursor, STEPS, &mut out)) {
            if stop() {
                return Err(Stopped);
            }
        }
        Ok(out.finish())
    }

    /// The series that fit; offset and limit of `query.study` count series.
    pub fn find_series(
        &self,
        tenant: TenantId,
        query: &DeepQuery,
        stop: impl Fn() -> bool,
    ) -> Result<Found<SeriesHit>, Stopped> {
        let (mut cursor, mut out) = (Cursor::default(), Collector::new(&query.study));
        while self.tenants.read().get(&tenant).is_some_and(|s| s.search_series(query, &mut cursor, STEPS, &mut out)) {
            if stop() {
                return Err(Stopped);
            }
        }
        Ok(out.finish())
    }

    /// The instances that fit and that viewers see; offset and limit of `query.study` count instances. The engine is asked
    /// for the rows of every study whose study and series parts fit, so narrow those.
    ///
    /// Cancel safety: reads only.
    pub async fn find_instances(
        &self,
        tenant: TenantId,
        query: &DeepQuery,
        stop: impl Fn() -> bool,
    ) -> Result<Found<InstanceHit>, FindError> {
        let (mut cursor, mut out) = (Cursor::default(), Collector::new(&query.study));
        loop {
            let mut found = Collector::all();
            let more =
                self.tenants.read().get(&tenant).is_some_and(|s| s.search_series(query, &mut cursor, FEW, &mut found));
            for series in found.hits.chunk_by(|a, b| a.study_ref == b.study_ref) {
                if self.take_instances(tenant, query, series, &mut out).await?.is_break() {
                    return Ok(out.finish());
                }
                if stop() {
                    return Err(Stopped.into());
                }
            }
            if !more {
                return Ok(out.finish());
            }
            if stop() {
                return Err(Stopped.into());
            }
        }
    }

    /// Takes what fits of one study's series.
    async fn take_instances(
        &self,
        tenant: TenantId,
        query: &DeepQuery,
        series: &[SeriesHit],
        out: &mut Collector<InstanceHit>,
    ) -> Result<ControlFlow<()>, IndexError> {
        let Some(first) = series.first() else { return Ok(ControlFlow::Continue(())) };
        let mut rows: Vec<InstanceRow> = Vec::new();
        if query.instance.uids.is_empty() || query.instance.uids.len() > UIDS_ONE_BY_ONE {
            rows = self.instances(tenant, first.study_ref).await?;
        } else {
            for uid in &query.instance.uids {
                rows.extend(self.instance(tenant, first.study_ref, uid).await?);
            }
        }
        rows.retain(|row| row.state == InstanceState::Current && query.instance.fits(row));
        rows.sort_by(|a, b| (a.instance_number, &a.sop_uid).cmp(&(b.instance_number, &b.sop_uid)));
        rows.dedup_by(|a, b| a.sop_uid == b.sop_uid);
        for hit in series {
            let of_series = Arc::new(hit.row.clone());
            for row in rows.extract_if(.., |row| row.series_uid == hit.row.uid) {
                let taken = out
                    .take(|| Some(InstanceHit { study: Arc::clone(&hit.study), series: Arc::clone(&of_series), row }));
                if taken.is_break() {
                    return Ok(taken);
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Studies looked at before others get the lock: a millisecond or two if every row has to be read.
const STEPS: usize = 4096;
/// Studies looked at before the engine is asked for the instances of those that fit.
const FEW: usize = 256;
/// So many instances of a study are fetched; for more of them all rows of the study are read.
const UIDS_ONE_BY_ONE: usize = 64;
