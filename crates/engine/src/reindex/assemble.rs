//! One study: versions in their order, decisions, series and counts.

use super::{
    Rebuilt,
    leases::Job,
    read::{Decision, Found, Under},
};
use crate::ingest::earlier;
use bytes::Bytes;
use leadglass_index::{InstanceRow, InstanceState, RowKey, SeriesRow, StudyRow};
use leadglass_model::{KeyId, ObjectId, SeriesUid, SopInstanceUid, StudyRef, TenantId, UnixMillis};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

/// A sealed row and where it goes.
pub(super) type Put = (TenantId, RowKey, Bytes);

/// What is known so far of one StudyRef.
pub(super) struct Assembly {
    tenant: TenantId,
    study_ref: StudyRef,
    first: Option<(Arrival, StudyRow, KeyId)>,
    series: BTreeMap<SeriesUid, (Arrival, SeriesRow, KeyId)>,
    instances: BTreeMap<SopInstanceUid, Vec<Version>>,
    notes: Notes,
    unders: HashMap<KeyId, Under>,
}

/// When an object came; the name settles what came in the same millisecond.
type Arrival = (UnixMillis, ObjectId);

struct Version {
    row: InstanceRow,
    /// What it says of its study.
    study: StudyRow,
    meta: Option<(RowKey, Bytes)>,
}

/// What people decided, as the notes under a StudyRef say.
#[derive(Default)]
struct Notes {
    /// It is a case of quarantine, and never a study, even where the study it names is gone.
    is_case: bool,
    /// Whose it is was corrected.
    is_rectified: bool,
    /// Objects that nobody sees any more.
    withdrawn: HashSet<ObjectId>,
}

/// A StudyRef that holds a study or a case of quarantine: which, shows when all are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) tenant: TenantId,
    /// Keyed token of the Study Instance UID.
    pub(super) uid_mac: [u8; 16],
    /// Decisions lie under it: it is a case.
    pub(super) decided: bool,
    pub(super) since: UnixMillis,
    pub(super) instances: usize,
    pub(super) study_ref: StudyRef,
}

impl Holder {
    /// Those of one study together, and the study itself before its cases.
    pub(super) fn order(&self) -> impl Ord + use<> {
        (self.tenant, self.uid_mac, self.decided, self.since, Reverse(self.instances), self.study_ref)
    }
}

impl Assembly {
    pub(super) fn new(tenant: TenantId, study_ref: StudyRef) -> Self {
        Self {
            tenant,
            study_ref,
            first: None,
            series: BTreeMap::new(),
            instances: BTreeMap::new(),
            notes: Notes::default(),
            unders: HashMap::new(),
        }
    }

    pub(super) fn is_of(&self, tenant: TenantId, study_ref: StudyRef) -> bool {
        (self.tenant, self.study_ref) == (tenant, study_ref)
    }

    /// Takes what a note says.
    pub(super) fn decided(&mut self, decision: Decision) {
        let notes = &mut self.notes;
        match decision {
            Decision::Quarantined => notes.is_case = true,
            Decision::Left(object) => {
                notes.is_case = true;
                notes.withdrawn.insert(object);
            }
            Decision::Hidden(object) => {
                notes.withdrawn.insert(object);
            }
            Decision::Rectified => notes.is_rectified = true,
        }
    }

    pub(super) fn add(&mut self, found: Found) {
        let Found { row, study, series, meta, under } = found;
        let (arrival, key) = ((row.received_at, row.object_id), row.key_id);
        if self.first.as_ref().is_none_or(|(first, ..)| arrival < *first) {
            self.first = Some((arrival, study.clone(), key));
        }
        if self.series.get(&series.uid).is_none_or(|(first, ..)| arrival < *first) {
            self.series.insert(series.uid.clone(), (arrival, series, key));
        }
        self.unders.entry(key).or_insert(under);
        self.instances.entry(row.sop_uid.clone()).or_default().push(Version { row, study, meta });
    }

    /// The study's rows, sealed; `None` where there is no instance.
    pub(super) fn finish(self, job: &Job, rebuilt: &mut Rebuilt) -> Option<(Vec<Put>, Holder)> {
        let Self { tenant, study_ref, first, series, instances, notes, unders } = self;
        let (arrival, mut study, mut study_key) = first?;
        let catalog = &job.catalog;
        let holder = Holder {
            tenant,
            uid_mac: catalog.study_key(tenant, study_ref, &study.uid)?.uid_mac,
            decided: notes.is_case,
            since: arrival.0,
            instances: instances.len(),
            study_ref,
        };
        let mut puts: Vec<Put> = Vec::with_capacity(2 * instances.len() + series.len() + 1);
        let mut counts: HashMap<SeriesUid, u32> = HashMap::new();
        let mut says: Option<Arrival> = None;
        for (sop, versions) in instances {
            let Some(Version { row, study: said, meta }) = current(versions, &notes.withdrawn, rebuilt) else {
                continue;
            };
            let (seen, at) = (row.state == InstanceState::Current, (row.received_at, row.object_id));
            // A study that was corrected is what the first of its current versions says.
            if notes.is_rectified && seen && says.is_none_or(|says| at < says) {
                (says, study, study_key) = (Some(at), StudyRow { created_at: arrival.0, ..said }, row.key_id);
            }
            // What was hidden is counted nowhere, but in a case, where all of it is kept for the trail.
            if seen || notes.is_case {
                *counts.entry(row.series_uid.clone()).or_default() += 1;
            }
            rebuilt.instances += 1;
            rebuilt.earlier_versions += row.earlier.len() as u64;
            let at = catalog.instance_key(tenant, study_ref, &sop)?;
            let under = unders.get(&row.key_id)?.seal_under();
            puts.push((tenant, at, catalog.seal(tenant, &at, &under, &row)));
            puts.extend(meta.map(|(at, bytes)| (tenant, at, bytes)));
        }
        for (uid, (_, row, key)) in series {
            // A series that only older or hidden versions name is empty.
            let Some(instances) = counts.get(&uid).copied() else { continue };
            rebuilt.series += 1;
            let at = catalog.series_key(tenant, study_ref, &uid)?;
            let under = unders.get(&key)?.seal_under();
            puts.push((tenant, at, catalog.seal(tenant, &at, &under, &SeriesRow { instances, ..row })));
        }
        let at = catalog.study_key(tenant, study_ref, &study.uid)?;
        puts.push((tenant, at, catalog.seal(tenant, &at, &unders.get(&study_key)?.seal_under(), &study)));
        Some((puts, holder))
    }
}

/// The highest version with those before it. Of two objects with one version the later one counts.
fn current(mut versions: Vec<Version>, withdrawn: &HashSet<ObjectId>, rebuilt: &mut Rebuilt) -> Option<Version> {
    versions.sort_by_key(|version| (version.row.version, version.row.received_at, version.row.object_id));
    let (mut newest, mut is_withdrawn): (Option<Version>, bool) = (None, false);
    for mut next in versions {
        let named = withdrawn.contains(&next.row.object_id);
        match newest.take() {
            Some(twin) if twin.row.version == next.row.version => {
                rebuilt.duplicates += 1;
                next.row.earlier = twin.row.earlier;
                is_withdrawn |= named;
            }
            Some(prior) => {
                next.row.earlier = earlier(prior.row);
                is_withdrawn = named;
            }
            None => is_withdrawn = named,
        }
        newest = Some(next);
    }
    let mut newest = newest?;
    if is_withdrawn {
        newest.row.state = InstanceState::Withdrawn;
    }
    Some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::study_row;
    use leadglass_index::FrameLayout;
    use leadglass_model::{KeyGen, ReceiverId, SopClassUid, StudyUid, TransferSyntaxUid};
    use leadglass_tap::InstanceHeader;

    fn version(number: u32, received_at: u64, object: u8) -> Version {
        let row = InstanceRow {
            sop_uid: SopInstanceUid::parse("1.2.3").unwrap(),
            series_uid: SeriesUid::parse("1.2").unwrap(),
            sop_class: SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap(),
            transfer_syntax: TransferSyntaxUid::parse("1.2.840.10008.1.2.1").unwrap(),
            object_id: ObjectId::from_bytes([object; 16]),
            key_id: KeyId::from_bytes([2; 16]),
            key_gen: KeyGen::FIRST,
            header: [3; 120],
            sealed_len: 4,
            body_len: 5,
            dataset_start: 6,
            content_digest: [object; 32],
            frames: FrameLayout::None,
            version: number,
            earlier: Vec::new(),
            state: InstanceState::Current,
            received_at: UnixMillis(received_at),
            receiver: ReceiverId::from_bytes([12; 16]),
            instance_number: None,
            rows: None,
            columns: None,
            number_of_frames: None,
            bits_allocated: None,
            has_metadata: None,
        };
        let study = study_row(&InstanceHeader::default(), StudyUid::parse("1.1").unwrap(), row.received_at, None);
        Version { row, study, meta: None }
    }

    fn chosen(versions: Vec<Version>, withdrawn: &[u8]) -> (u8, Vec<u8>, InstanceState, u64) {
        let withdrawn = withdrawn.iter().map(|object| ObjectId::from_bytes([*object; 16])).collect();
        let mut rebuilt = Rebuilt::default();
        let row = current(versions, &withdrawn, &mut rebuilt).unwrap().row;
        let number = |object: ObjectId| object.as_bytes()[0];
        let earlier = row.earlier.iter().map(|earlier| number(earlier.object_id)).collect();
        (number(row.object_id), earlier, row.state, rebuilt.duplicates)
    }

    #[test]
    fn the_highest_version_is_current_and_the_later_of_two_twins_counts() {
        let versions = vec![version(2, 50, 5), version(3, 70, 7), version(1, 10, 1), version(2, 40, 4)];
        assert_eq!(chosen(versions, &[]), (7, vec![1, 5], InstanceState::Current, 1));
    }

    #[test]
    fn a_decision_holds_for_the_version_that_it_names() {
        let versions = || vec![version(1, 10, 1), version(2, 20, 2)];
        assert_eq!(chosen(versions(), &[1]).2, InstanceState::Current);
        assert_eq!(chosen(versions(), &[2]).2, InstanceState::Withdrawn);
        let twins = vec![version(1, 10, 1), version(1, 20, 2)];
        assert_eq!(chosen(twins, &[1]).2, InstanceState::Withdrawn, "the earlier twin was the one in the row");
    }
}
