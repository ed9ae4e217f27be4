//! The scrub: every object that the index names is opened from its first byte to its last; every object that the store
//! has is looked for in the index.

use crate::{
    Shared,
    alarm::AlarmKind,
    retrieve::{RetrieveError, thumbnail_name},
};
use futures::TryStreamExt;
use leadglass_audit::{Counts, Event, NewEntry, Outcome};
use leadglass_index::{EarlierVersion, IndexError, InstanceRow, Query};
use leadglass_journal::CommitError;
use leadglass_model::{Administer, EntryId, Fault, ObjectId, Permit, StudyRef};
use leadglass_seal::{Corruption, HEADER_LEN, OpenError, StreamOpener, TailStep};
use leadglass_store::StoreError;
use serde::Serialize;
use std::{collections::HashSet, sync::Arc};

/// What a scrub found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Objects that the index names.
    pub objects: u64,
    /// Objects that opened, with right lengths and digests.
    pub good: u64,
    /// Bytes of plaintext that were checked.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Whether every study was looked at. The key service's budget ends a scrub early, unless an approval covers it.
    pub complete: bool,
    /// Objects in the store that the index does not name: decisions on quarantine, or images whose row was lost. They are
    /// reported and never deleted.
    pub unknown_objects: Vec<ObjectId>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Which object; `None` when a row is at fault.
    pub object: Option<ObjectId>,
    /// Of which study.
    pub study_ref: StudyRef,
    /// What: `missing`, `damaged`, `refused`, `unreadable`; of rows `row-damaged`, `row-missing`, `metadata`.
    pub what: &'static str,
}

/// Why the scrub could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The index failed.
    #[error("the index cannot be asked")]
    Index(#[from] IndexError),
    /// The store cannot be listed.
    #[error("the store cannot be listed")]
    Store(#[from] StoreError),
    /// The scrub could not be recorded.
    #[error("the scrub cannot be recorded")]
    Audit(#[from] CommitError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl VerifyError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Index(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Audit(error) => error.fault(),
            Self::Stopping => Fault::Busy,
        }
    }
}

impl Report {
    /// Whether everything was looked at and is whole.
    pub fn is_clean(&self) -> bool {
        self.complete && self.findings.is_empty()
    }
}

impl Shared {
    pub(crate) async fn verify(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        mut told: impl FnMut(u64, u64) + Send,
    ) -> Result<Report, VerifyError> {
        let tenant = permit.tenant();
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::StorageCheck, Outcome::Success);
        entry.tenant = Some(tenant);
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.purpose = Some(leadglass_model::Purpose::StorageCheck);

        // The store first: what arrives meanwhile is in the index by the time it is looked for, not the other way round.
        let listed: Vec<ObjectId> = self.objects.list().map_ok(|(object, _)| object).try_collect().await?;
        let (catalog, query) = (self.catalog.clone(), Query::default());
        let hits = tokio::task::spawn_blocking(move || catalog.search(tenant, &query)).await;
        let hits = hits.map_err(|_| VerifyError::Stopping)?;
        let mut studies: Vec<StudyRef> = hits.into_iter().map(|hit| hit.study_ref).collect();
        studies.extend(self.catalog.quarantined(tenant, None).into_iter().map(|case| case.study_ref));
        entry.counts = Counts { studies: studies.len() as u64, ..Counts::default() };
        self.commit_entry(entry, None).await?;

        let mut report = Report { complete: true, ..Report::default() };
        let mut known = HashSet::new();
        let total = studies.len() as u64;
        for (done, study_ref) in (1..).zip(studies) {
            self.check_study(permit, study_ref, id, &mut report, &mut known).await;
            told(done, total);
            if !report.complete {
                return Ok(report);
            }
        }
        report.unknown_objects = listed
            .into_iter()
            .filter(|object| !known.contains(object) && self.backlog.object(*object).is_none())
            .collect();
        Ok(report)
    }

    async fn check_study(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        study_ref: StudyRef,
        entry: EntryId,
        report: &mut Report,
        known: &mut HashSet<ObjectId>,
    ) {
        let tenant = permit.tenant();
        let row_finding = |what| Finding { object: None, study_ref, what };
        let rows = match self.catalog.instances(tenant, study_ref).await {
            Ok(rows) => rows,
            Err(error) => {
                self.index_alarm(&error);
                return report.findings.push(row_finding("row-damaged"));
            }
        };
        let counted: u64 =
            self.catalog.series(tenant, study_ref).iter().map(|series| u64::from(series.instances)).sum();
        if counted > rows.len() as u64 {
            self.alarm(AlarmKind::Index, None);
            report.findings.push(row_finding("row-missing"));
        }
        for row in rows {
            if self.metadata_is_damaged(permit, study_ref, &row, entry).await {
                self.alarm(AlarmKind::Index, None);
                report.findings.push(row_finding("metadata"));
            }
            for version in versions(row) {
                known.insert(version.object_id);
                known.extend(self.made_from(permit, &version, entry).await);
                report.objects += 1;
                let what = match self.check(permit, &version, entry).await {
                    Ok(bytes) => {
                        report.good += 1;
                        report.bytes += bytes;
                        continue;
                    }
                    Err(RetrieveError::Keys(_)) => {
                        report.complete = false;
                        return;
                    }
                    Err(RetrieveError::Damaged { source: OpenError::Truncated, .. })
                        if !self.is_there(version.object_id).await =>
                    {
                        "missing"
                    }
                    Err(RetrieveError::Damaged { .. }) => "damaged",
                    Err(RetrieveError::Refused(_)) => "refused",
                    Err(_) => "unreadable",
                };
                report.findings.push(Finding { object: Some(version.object_id), study_ref, what });
            }
        }
    }

    /// A metadata row that is there must open under its study's meta key.
    async fn metadata_is_damaged(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        study_ref: StudyRef,
        row: &InstanceRow,
        entry: EntryId,
    ) -> bool {
        match self.catalog.meta(permit.tenant(), study_ref, &row.sop_uid).await {
            Ok(None) => false,
            Ok(Some(sealed)) => match self.lease_for_check(permit, row, entry).await {
                Ok(lease) if lease.key_id() == sealed.key_id() => sealed.open(lease.meta_key()).is_err(),
                // Another key's, or no key now: the objects' check says so.
                _ => false,
            },
            Err(error) => error.fault() == Fault::Corrupt,
        }
    }

    /// What was made from a version is known by its name; whether it is whole shows when it is asked for.
    async fn made_from(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        row: &InstanceRow,
        entry: EntryId,
    ) -> Option<ObjectId> {
        let lease = self.lease_for_check(permit, row, entry).await.ok()?;
        Some(thumbnail_name(&lease, row.object_id))
    }

    async fn is_there(&self, object: ObjectId) -> bool {
        self.backlog.object(object).is_some() || self.objects.len(object).await.is_ok()
    }

    /// Opens one object whole: header as pinned, every chunk, footer, records, digests. Gives the bytes of its body.
    async fn check(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        row: &InstanceRow,
        entry: EntryId,
    ) -> Result<u64, RetrieveError> {
        let lease = self.lease_for_check(permit, row, entry).await?;
        let opener = self.opener(&lease, permit, row)?;
        let damaged = |error| self.damaged(row.object_id, error);

        let sealed_len = opener.geometry().sealed_len();
        let suffix_len = opener.geometry().chunk_size().suffix_len(sealed_len);
        let suffix = self.sealed_range(row.object_id, &opener, sealed_len - suffix_len..sealed_len).await?;
        let tail = match opener.read_tail(&suffix).map_err(damaged)? {
            TailStep::Complete(tail) => *tail,
            TailStep::NeedsIndex { footer, index } => {
                let sealed = self.sealed_range(row.object_id, &opener, index.sealed()).await?;
                opener.read_index(&footer, &index, &sealed).map_err(damaged)?
            }
        };
        if tail.footer.body_len != row.body_len || tail.opened.content_digest != Some(row.content_digest) {
            return Err(damaged(Corruption::Lengths.into()));
        }
        let mut stream = StreamOpener::verified(self.opener(&lease, permit, row)?, &tail).map_err(damaged)?;
        let (mut at, mut plain) = (0, Vec::new());
        while at < sealed_len {
            let end = sealed_len.min(at + PIECE_BYTES);
            let piece = self.sealed_range(row.object_id, &opener, at..end).await?;
            if at == 0 && piece.get(..HEADER_LEN) != Some(&row.header[..]) {
                return Err(damaged(OpenError::HeaderChanged));
            }
            stream.feed(&piece, &mut plain).map_err(damaged)?;
            plain.clear();
            at = end;
        }
        stream.finish().map_err(damaged)?;
        Ok(row.body_len)
    }
}

/// The current version and those before it, each as a row of its own.
fn versions(row: InstanceRow) -> impl Iterator<Item = InstanceRow> {
    let earlier = row.earlier.clone().into_iter().map({
        let row = row.clone();
        move |old: EarlierVersion| InstanceRow {
            object_id: old.object_id,
            key_id: old.key_id,
            key_gen: old.key_gen,
            header: old.header,
            sealed_len: old.sealed_len,
            body_len: old.body_len,
            content_digest: old.content_digest,
            version: old.version,
            ..row.clone()
        }
    });
    earlier.chain([row]).collect::<Vec<_>>().into_iter()
}

/// Sealed bytes read at a time.
const PIECE_BYTES: u64 = 2 << 20;
