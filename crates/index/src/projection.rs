//! Study and series rows in memory, compact.
//!
//! A study is its row's CBOR in one box, read in place by a borrowing view. Measured with 200,000 studies of one series:
//! about 650 bytes each with its index key and the maps, so that a million take about 0.65 GB.

use crate::{QuarantineReason, Query, SeriesRow, StudyEntry, StudyHit, StudyRow, query::day_number, sealed};
use hmac::{Hmac, KeyInit as _, Mac as _};
use leadglass_model::{KeyGen, KeyId, StudyRef, StudyUid};
use leadglass_seal::{IndexKey, Secret};
use minicbor::Decode;
use sha2::Sha256;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

/// One tenant's studies and the keys of their rows.
pub(crate) struct TenantState {
    token: Secret,
    keys: HashMap<(KeyId, KeyGen), (StudyRef, Arc<IndexKey>)>,
    studies: HashMap<StudyRef, StudySlot>,
    by_uid: HashMap<[u8; 16], StudyRef>,
    newest: BTreeSet<Place>,
    quarantined: BTreeSet<StudyRef>,
}

/// Newest first; equal times by the study's random name.
type Place = (Reverse<u64>, StudyRef);

#[derive(Default)]
struct StudySlot {
    /// `None` while only rows below it have come.
    row: Option<Box<[u8]>>,
    version: u64,
    series: Vec<SeriesSlot>,
}

struct SeriesSlot {
    uid_mac: [u8; 16],
    row: Option<Box<[u8]>>,
    version: u64,
    /// As in the engine.
    committed: u32,
    /// With what the journal holds.
    instances: u32,
}

/// What of a study row is matched, without copying it.
#[derive(Decode)]
#[cbor(map)]
struct StudyView<'b> {
    #[b(0)]
    uid: &'b str,
    #[b(1)]
    patient_name: Option<&'b str>,
    #[b(2)]
    patient_id: Option<&'b str>,
    #[b(3)]
    issuer: Option<&'b str>,
    #[b(4)]
    birth_date: Option<&'b str>,
    #[b(5)]
    sex: Option<&'b str>,
    #[b(6)]
    date: Option<&'b str>,
    #[b(7)]
    time: Option<&'b str>,
    #[b(8)]
    id: Option<&'b str>,
    #[b(9)]
    description: Option<&'b str>,
    #[b(10)]
    accession_number: Option<&'b str>,
    #[b(11)]
    referring_physician: Option<&'b str>,
    #[n(14)]
    quarantine: Option<QuarantineReason>,
}

#[derive(Decode)]
#[cbor(map)]
struct SeriesView<'b> {
    #[b(1)]
    modality: Option<&'b str>,
}

/// Where a search goes on after it let others have the lock.
pub(crate) struct Cursor {
    after: Option<Place>,
    skip: usize,
    want: usize,
    hits: Vec<StudyHit>,
}

impl TenantState {
    pub(crate) fn new(token: Secret) -> Self {
        Self {
            token,
            keys: HashMap::new(),
            studies: HashMap::new(),
            by_uid: HashMap::new(),
            newest: BTreeSet::new(),
            quarantined: BTreeSet::new(),
        }
    }

    /// First 16 bytes of HMAC-SHA-256(token key, UID).
    pub(crate) fn uid_mac(&self, uid: &str) -> [u8; 16] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.token.reveal()).expect("HMAC takes keys of every length");
        mac.update(uid.as_bytes());
        let mut out = [0; 16];
        out.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        out
    }

    pub(crate) fn add_key(&mut self, key_id: KeyId, key_gen: KeyGen, study_ref: StudyRef, key: IndexKey) {
        self.keys.entry((key_id, key_gen)).or_insert_with(|| (study_ref, Arc::new(key)));
    }

    pub(crate) fn key(&self, key_id: KeyId, key_gen: KeyGen) -> Option<Arc<IndexKey>> {
        self.keys.get(&(key_id, key_gen)).map(|(_, key)| Arc::clone(key))
    }

    pub(crate) fn studies(&self) -> usize {
        self.newest.len()
    }

    /// Takes a study row, unless a newer one is here.
    pub(crate) fn put_study(&mut self, study_ref: StudyRef, version: u64, cbor: &[u8]) {
        let Some(new) = view(cbor) else { return };
        let slot = self.studies.entry(study_ref).or_default();
        if slot.row.is_some() && version < slot.version {
            return;
        }
        slot.version = version;
        if let Some(old) = slot.row.replace(cbor.into()) {
            let place = view(&old).map(|v| v.place(study_ref));
            place.map(|place| self.newest.remove(&place));
        }
        if new.quarantine.is_some() {
            self.quarantined.insert(study_ref);
        } else {
            self.quarantined.remove(&study_ref);
            let place = new.place(study_ref);
            let mac = self.uid_mac(new.uid);
            self.newest.insert(place);
            self.by_uid.insert(mac, study_ref);
        }
    }

    /// Takes a series row, unless a newer one is here. `loaded`: its count of instances is the engine's.
    pub(crate) fn put_series(&mut self, at: (StudyRef, [u8; 16]), version: u64, cbor: &[u8], loaded: Option<u32>) {
        let slot = self.series_slot(at);
        if let Some(count) = loaded {
            let staged = slot.instances.saturating_sub(slot.committed);
            slot.committed = count;
            slot.instances = count.saturating_add(staged);
        }
        if slot.row.is_none() || version >= slot.version {
            slot.version = version;
            slot.row = Some(cbor.into());
        }
    }

    /// Counts instances that the journal holds and the engine does not.
    pub(crate) fn count_staged(&mut self, at: (StudyRef, [u8; 16]), more: u32) {
        let slot = self.series_slot(at);
        slot.instances = slot.instances.saturating_add(more);
    }

    /// The engine's count is this now; `staged` of them were counted before.
    pub(crate) fn count_committed(&mut self, at: (StudyRef, [u8; 16]), committed: u32, staged: u32) {
        let slot = self.series_slot(at);
        let pending = slot.instances.saturating_sub(slot.committed).saturating_sub(staged);
        slot.committed = committed;
        slot.instances = committed.saturating_add(pending);
    }

    /// A series' row, and how many of its instances the engine has.
    pub(crate) fn series_row(&self, at: (StudyRef, [u8; 16])) -> Option<(SeriesRow, u32)> {
        let slot = self.studies.get(&at.0)?.series.iter().find(|s| s.uid_mac == at.1)?;
        let (row, _) = sealed::decode::<SeriesRow>(slot.row.as_deref()?).ok()?;
        Some((row, slot.committed))
    }

    pub(crate) fn has_series(&self, study_ref: StudyRef, uid: &str) -> bool {
        let Some(slot) = self.studies.get(&study_ref).filter(|slot| !slot.series.is_empty()) else { return false };
        let mac = self.uid_mac(uid);
        slot.series.iter().any(|series| series.uid_mac == mac && series.row.is_some())
    }

    pub(crate) fn has_study(&self, study_ref: StudyRef) -> bool {
        self.studies.get(&study_ref).is_some_and(|slot| slot.row.is_some())
    }

    pub(crate) fn remove_series(&mut self, at: (StudyRef, [u8; 16])) {
        if let Some(slot) = self.studies.get_mut(&at.0) {
            slot.series.retain(|s| s.uid_mac != at.1);
        }
    }

    pub(crate) fn remove_study(&mut self, study_ref: StudyRef) {
        self.quarantined.remove(&study_ref);
        let Some(row) = self.studies.remove(&study_ref).and_then(|slot| slot.row) else { return };
        let Some(view) = view(&row) else { return };
        self.newest.remove(&view.place(study_ref));
        let mac = self.uid_mac(view.uid);
        if self.by_uid.get(&mac) == Some(&study_ref) {
            self.by_uid.remove(&mac);
        }
    }

    /// Drops the keys of a study, and with them everything of it that could be read.
    pub(crate) fn forget(&mut self, study_ref: StudyRef) {
        self.remove_study(study_ref);
        self.keys.retain(|_, (of, _)| *of != study_ref);
    }

    pub(crate) fn study(&self, uid: &StudyUid) -> Option<StudyEntry> {
        self.entry(*self.by_uid.get(&self.uid_mac(uid.expose()))?)
    }

    pub(crate) fn entry(&self, study_ref: StudyRef) -> Option<StudyEntry> {
        let cbor = self.studies.get(&study_ref)?.row.as_deref()?;
        let (row, _) = sealed::decode::<StudyRow>(cbor).ok()?;
        Some(StudyEntry { study_ref, row })
    }

    pub(crate) fn quarantined(&self, uid: Option<&StudyUid>) -> Vec<StudyEntry> {
        let entries = self.quarantined.iter().filter_map(|study_ref| self.entry(*study_ref));
        entries.filter(|entry| uid.is_none_or(|uid| entry.row.uid == *uid)).collect()
    }

    pub(crate) fn series(&self, study_ref: StudyRef) -> Vec<SeriesRow> {
        let slots = self.studies.get(&study_ref).map_or(&[][..], |slot| &slot.series);
        let mut rows: Vec<SeriesRow> = slots
            .iter()
            .filter_map(|slot| {
                let (row, _) = sealed::decode::<SeriesRow>(slot.row.as_deref()?).ok()?;
                Some(SeriesRow { instances: slot.instances, ..row })
            })
            .collect();
        rows.sort_by(|a, b| (a.number, &a.uid).cmp(&(b.number, &b.uid)));
        rows
    }

    /// Goes on with a search for `steps` studies. `false`: it is done.
    pub(crate) fn search(&self, query: &Query, cursor: &mut Cursor, steps: usize) -> bool {
        if !query.study_uids.is_empty() {
            self.search_by_uid(query, cursor);
            return false;
        }
        let from = cursor.after.map_or(Bound::Unbounded, Bound::Excluded);
        for (step, place) in self.newest.range((from, Bound::Unbounded)).enumerate() {
            if cursor.hits.len() >= cursor.want {
                return false;
            }
            if step == steps {
                return true;
            }
            cursor.after = Some(*place);
            self.consider(query, place.1, cursor);
        }
        false
    }

    fn search_by_uid(&self, query: &Query, cursor: &mut Cursor) {
        let refs = query.study_uids.iter().filter_map(|uid| self.by_uid.get(&self.uid_mac(uid.expose())));
        let mut places: Vec<Place> = refs
            .filter_map(|study_ref| {
                let row = self.studies.get(study_ref)?.row.as_deref()?;
                view(row).map(|v| v.place(*study_ref))
            })
            .collect();
        places.sort_unstable();
        places.dedup();
        for (_, study_ref) in places {
            if cursor.hits.len() < cursor.want {
                self.consider(query, study_ref, cursor);
            }
        }
    }

    fn consider(&self, query: &Query, study_ref: StudyRef, cursor: &mut Cursor) {
        let Some(slot) = self.studies.get(&study_ref) else { return };
        let Some(view) = slot.row.as_deref().and_then(view) else { return };
        if !view.fits(query) || !slot.has_modality(&query.modalities) {
            return;
        }
        if cursor.skip > 0 {
            cursor.skip -= 1;
            return;
        }
        let Some(StudyEntry { study_ref, row }) = self.entry(study_ref) else { return };
        let modalities: BTreeSet<&str> = slot.modalities().collect();
        cursor.hits.push(StudyHit {
            study_ref,
            row,
            modalities: modalities.into_iter().map(str::to_owned).collect(),
            series: u32::try_from(slot.series.len()).unwrap_or(u32::MAX),
            instances: slot.series.iter().map(|s| u64::from(s.instances)).sum(),
        });
    }

    fn series_slot(&mut self, (study_ref, uid_mac): (StudyRef, [u8; 16])) -> &mut SeriesSlot {
        let series = &mut self.studies.entry(study_ref).or_default().series;
        let at = series.iter().position(|s| s.uid_mac == uid_mac).unwrap_or_else(|| {
            // Most studies have few series: no spare room.
            series.reserve_exact(1);
            series.push(SeriesSlot { uid_mac, row: None, version: 0, committed: 0, instances: 0 });
            series.len() - 1
        });
        &mut series[at]
    }
}

impl StudySlot {
    fn modalities(&self) -> impl Iterator<Item = &str> {
        self.series.iter().filter_map(|series| {
            let view: SeriesView<'_> = minicbor::decode(series.row.as_deref()?).ok()?;
            view.modality.map(str::trim)
        })
    }

    fn has_modality(&self, wanted: &[String]) -> bool {
        wanted.is_empty() || self.modalities().any(|m| wanted.iter().any(|w| w.trim() == m))
    }
}

impl StudyView<'_> {
    fn place(&self, study_ref: StudyRef) -> Place {
        let day = self.date.and_then(day_number).unwrap_or(0);
        // HHMMSS as far as it is there; fractions and zones do not order anything that matters.
        let digits = self.time.unwrap_or("").bytes().filter(|b| *b != b':').chain(std::iter::repeat(b'0')).take(6);
        let time = digits.fold(0, |n, b| n * 10 + if b.is_ascii_digit() { u64::from(b - b'0') } else { 0 });
        (Reverse(u64::from(day) * 1_000_000 + time), study_ref)
    }

    fn fits(&self, query: &Query) -> bool {
        let text = |value: Option<&str>, pattern: &Option<crate::Pattern>| {
            pattern.as_ref().is_none_or(|p| p.matches(value.unwrap_or("")))
        };
        let name = |value: Option<&str>, pattern: &Option<crate::NamePattern>| {
            pattern.as_ref().is_none_or(|p| p.matches(value.unwrap_or("")))
        };
        let date = |value: Option<&str>, range: &Option<crate::DateRange>| {
            range.is_none_or(|r| r.matches(value.unwrap_or("")))
        };
        // The cheap ones first: names are folded.
        date(self.date, &query.study_date)
            && text(self.patient_id, &query.patient_id)
            && text(self.accession_number, &query.accession_number)
            && text(self.issuer, &query.issuer)
            && text(self.sex, &query.sex)
            && text(self.id, &query.study_id)
            && date(self.birth_date, &query.birth_date)
            && name(self.patient_name, &query.patient_name)
            && name(self.referring_physician, &query.referring_physician)
            && name(self.description, &query.description)
    }
}

impl Cursor {
    pub(crate) fn new(query: &Query) -> Self {
        Self { after: None, skip: query.offset, want: query.limit.unwrap_or(usize::MAX), hits: Vec::new() }
    }

    pub(crate) fn into_hits(self) -> Vec<StudyHit> {
        self.hits
    }
}

fn view(cbor: &[u8]) -> Option<StudyView<'_>> {
    minicbor::decode(cbor).ok()
}

/// All tenants.
pub(crate) type Tenants = BTreeMap<leadglass_model::TenantId, TenantState>;
