//! The work itself: keys in batches, objects several at a time, rows in batches, and at last the cases of quarantine.

use super::{
    Rebuilt, ReindexError, Why,
    assemble::{Assembly, Holder, Put},
    gather::{Place, Strangers},
    leases::{Job, Leases},
    read::{self, Content, Decision, Failed, Under},
};
use futures::{StreamExt, stream};
use leadglass_index::{Batch, InstanceRow, InstanceState, QuarantineReason, StudyRow};
use leadglass_keys::{KeyRefusal, wire::MAX_BATCH};
use leadglass_model::KeyId;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tokio_util::task::TaskTracker;

/// Opens every object and fills the index.
pub(super) async fn fill(
    job: Arc<Job>,
    places: &[Place],
    strangers: Strangers,
    rebuilt: Rebuilt,
    mut told: impl FnMut(u64, u64) + Send,
) -> Result<Rebuilt, ReindexError> {
    let mut work = Work { job, rebuilt, puts: Vec::new(), put_bytes: 0, holders: Vec::new() };
    work.strangers(strangers).await?;
    let total = work.rebuilt.objects;
    let mut done = work.rebuilt.left_out.len() as u64;
    told(done, total);
    let tasks = TaskTracker::new();
    let mut study: Option<Assembly> = None;
    for window in windows(places) {
        let tenant = window[0].tenant;
        let leases = Arc::new(Leases::open(&work.job, tenant, &distinct(window.iter().map(|p| p.key))).await?);
        let job = work.job.clone();
        let read = |place: &Place| {
            let (job, leases, place) = (job.clone(), leases.clone(), *place);
            let reading = tasks.spawn(async move { read::read(&job, &leases, &place).await });
            async move { (place, reading.await) }
        };
        // In their order, so that a study is complete when the next one begins.
        let mut reads = stream::iter(window).map(read).buffered(OBJECTS_AT_ONCE);
        while let Some((place, content)) = reads.next().await {
            if study.as_ref().is_some_and(|study| !study.is_of(place.tenant, place.study)) {
                work.finish(study.take()).await?;
            }
            let study = study.get_or_insert_with(|| Assembly::new(place.tenant, place.study));
            match content.map_err(|_| ReindexError::Stopped)? {
                Ok(Content::Instance { found, bytes }) => {
                    work.rebuilt.bytes += bytes;
                    study.add(*found);
                }
                Ok(Content::Note { decision, bytes }) => {
                    work.rebuilt.bytes += bytes;
                    work.rebuilt.decisions += u64::from(decision != Decision::Quarantined);
                    study.decided(decision);
                }
                Ok(Content::Derived) => work.rebuilt.derived += 1,
                Err(Failed::LeftOut(why)) => work.rebuilt.leave_out(place.object, why)?,
                Err(Failed::Stop(error)) => return Err(error),
            }
            done += 1;
            told(done, total);
        }
    }
    work.finish(study).await?;
    work.write().await?;
    work.settle().await?;
    work.write().await?;
    Ok(work.rebuilt)
}

struct Work {
    job: Arc<Job>,
    rebuilt: Rebuilt,
    /// Rows on their way into the index.
    puts: Vec<Put>,
    put_bytes: usize,
    holders: Vec<Holder>,
}

impl Work {
    /// Objects under keys that were not listed: destroyed, or nobody's here. The key service says which.
    async fn strangers(&mut self, strangers: Strangers) -> Result<(), ReindexError> {
        let ids: Vec<KeyId> = strangers.keys().copied().collect();
        for batch in ids.chunks(MAX_BATCH) {
            let mut destroyed = BTreeSet::new();
            for tenant in self.job.tenants.clone() {
                let outcome = self.job.open(tenant, batch).await?;
                let gone = outcome.iter().filter(|(_, key)| matches!(key, Err(KeyRefusal::Destroyed)));
                destroyed.extend(gone.map(|(id, _)| *id));
            }
            for id in batch {
                let why = if destroyed.contains(id) { Why::Destroyed } else { Why::NoKey };
                for object in strangers.get(id).into_iter().flatten() {
                    self.rebuilt.leave_out(*object, why)?;
                }
            }
        }
        Ok(())
    }

    async fn finish(&mut self, study: Option<Assembly>) -> Result<(), ReindexError> {
        if let Some((puts, holder)) = study.and_then(|study| study.finish(&self.job, &mut self.rebuilt)) {
            self.holders.push(holder);
            self.put(puts).await?;
        }
        Ok(())
    }

    async fn put(&mut self, puts: Vec<Put>) -> Result<(), ReindexError> {
        self.put_bytes += puts.iter().map(|(_, _, bytes)| bytes.len()).sum::<usize>();
        self.puts.extend(puts);
        if self.puts.len() >= ROWS_AT_ONCE || self.put_bytes >= ROW_BYTES_AT_ONCE { self.write().await } else { Ok(()) }
    }

    async fn write(&mut self) -> Result<(), ReindexError> {
        let puts = std::mem::take(&mut self.puts);
        self.put_bytes = 0;
        if !puts.is_empty() {
            self.job.catalog.write(Batch { puts, ..Batch::default() }).await?;
        }
        Ok(())
    }

    /// Which references are studies and which are cases of quarantine; the rows of cases are written again.
    async fn settle(&mut self) -> Result<(), ReindexError> {
        let mut holders = std::mem::take(&mut self.holders);
        holders.sort_by_cached_key(Holder::order);
        for same in holders.chunk_by(|a, b| (a.tenant, a.uid_mac) == (b.tenant, b.uid_mac)) {
            let (study, cases) = match same {
                [first, cases @ ..] if !first.decided => (Some(first), cases),
                cases => (None, cases),
            };
            self.rebuilt.studies += u64::from(study.is_some());
            self.rebuilt.cases += cases.len() as u64;
            for case in cases {
                self.quarantine(study, case).await?;
            }
        }
        Ok(())
    }

    async fn quarantine(&mut self, study: Option<&Holder>, case: &Holder) -> Result<(), ReindexError> {
        let job = self.job.clone();
        let (tenant, catalog) = (case.tenant, &job.catalog);
        let Some(entry) = catalog.study_by_ref(tenant, case.study_ref) else { return Ok(()) };
        let study = study.and_then(|study| catalog.study_by_ref(tenant, study.study_ref));
        let same_patient = study.is_some_and(|study| crate::patient_key(&study).is_same(&crate::patient_key(&entry)));
        let reason = if same_patient { QuarantineReason::OtherDevice } else { QuarantineReason::OtherPatient };

        let rows = catalog.instances(tenant, case.study_ref).await?;
        let mut unders: HashMap<KeyId, Under> = HashMap::new();
        for batch in distinct(rows.iter().map(|row| row.key_id)).chunks(MAX_BATCH) {
            let opened = job.open(tenant, batch).await?;
            unders.extend(opened.into_iter().filter_map(|(id, lease)| Some((id, Under::of(&*lease.ok()?)))));
        }
        let mut puts: Vec<Put> = Vec::with_capacity(rows.len() + 1);
        if let Some(at) = catalog.study_key(tenant, case.study_ref, &entry.row.uid)
            && let Some(first) = rows.iter().min_by_key(|row| (row.received_at, row.object_id))
            && let Some(under) = unders.get(&first.key_id)
        {
            let row = StudyRow { quarantine: Some(reason), ..entry.row };
            puts.push((tenant, at, catalog.seal(tenant, &at, &under.seal_under(), &row)));
        }
        for row in rows {
            let (Some(at), Some(under)) =
                (catalog.instance_key(tenant, case.study_ref, &row.sop_uid), unders.get(&row.key_id))
            else {
                continue;
            };
            let state = match row.state {
                InstanceState::Withdrawn => InstanceState::Withdrawn,
                _ => InstanceState::Quarantined(reason),
            };
            let row = InstanceRow { state, ..row };
            puts.push((tenant, at, catalog.seal(tenant, &at, &under.seal_under(), &row)));
        }
        self.put(puts).await
    }
}

/// Runs of objects of one tenant under at most 256 keys.
fn windows(places: &[Place]) -> impl Iterator<Item = &[Place]> {
    let mut rest = places;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let (mut keys, mut last) = (0, None);
        let end = rest.iter().position(|place| {
            if last != Some(place.key) {
                keys += 1;
                last = Some(place.key);
            }
            place.tenant != first.tenant || keys > MAX_BATCH
        });
        let (window, later) = rest.split_at(end.unwrap_or(rest.len()));
        rest = later;
        Some(window)
    })
}

fn distinct(keys: impl Iterator<Item = KeyId>) -> Vec<KeyId> {
    keys.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Objects in work at one time; each holds at most a MiB of sealed bytes and as much plaintext.
const OBJECTS_AT_ONCE: usize = 8;
/// Rows that share one sync of the index.
const ROWS_AT_ONCE: usize = 1000;
const ROW_BYTES_AT_ONCE: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{ObjectId, StudyRef, TenantId};

    #[test]
    fn a_window_holds_one_tenant_and_no_more_keys_than_a_call_takes() {
        let place = |tenant: u8, key: u16, object: u8| {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&key.to_be_bytes());
            Place {
                tenant: TenantId::from_bytes([tenant; 16]),
                study: StudyRef::from_bytes(bytes),
                key: KeyId::from_bytes(bytes),
                object: ObjectId::from_bytes([object; 16]),
                len: 1,
            }
        };
        let mut places: Vec<Place> = (0..300).flat_map(|key| [place(1, key, 1), place(1, key, 2)]).collect();
        places.extend((0..10).map(|key| place(2, key, 3)));
        let lengths: Vec<usize> = windows(&places).map(<[Place]>::len).collect();
        assert_eq!(lengths, [512, 88, 10]);
        assert_eq!(windows(&places).flatten().copied().collect::<Vec<_>>(), places);
        assert_eq!(windows(&[]).count(), 0);
    }
}
