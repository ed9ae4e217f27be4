//! Study and series rows in memory, compact: what every look-up and every search is answered from.
//!
//! A study has a slot with its packed row and its series, an entry in the [`Order`] by time, and a place in two tables, by
//! random name and by the token of its UID. `examples/million.rs` measures it; benches/README.md has the figures.

use crate::{
    SeriesRow, StudyEntry, StudyRow,
    keyring::Keyring,
    order::{Entry, Order, Place},
    packed::{PackedSeries, PackedStudy, pack_series, pack_study},
    pattern::Signature,
    range::day_number,
    words::Words,
};
use hashbrown::HashTable;
use hmac::{Hmac, KeyInit as _, Mac as _};
use leadglass_model::{KeyGen, KeyId, Phi, StudyRef, StudyUid};
use leadglass_seal::{IndexKey, Secret};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};

/// One tenant's studies and the keys of their rows.
pub(crate) struct TenantState {
    token: Secret,
    keys: Keyring,
    pub(crate) slots: Vec<StudySlot>,
    free: Vec<u32>,
    by_ref: HashTable<u32>,
    /// Without the cases of quarantine.
    by_uid: HashTable<u32>,
    pub(crate) order: Order,
    quarantined: BTreeSet<(Token, StudyRef)>,
    pub(crate) words: Words,
    /// Modalities by their bit in [`Entry::modalities`].
    pub(crate) modalities: Vec<Box<str>>,
}

/// First 16 bytes of HMAC-SHA-256(token key, UID).
pub(crate) type Token = [u8; 16];

pub(crate) struct StudySlot {
    pub(crate) study_ref: StudyRef,
    /// Of its UID; zeros while there is no row.
    uid_mac: Token,
    version: u64,
    /// `None` while only rows below it have come.
    pub(crate) row: Option<Box<[u8]>>,
    pub(crate) series: Vec<SeriesSlot>,
}

pub(crate) struct SeriesSlot {
    pub(crate) uid_mac: Token,
    pub(crate) row: Option<Box<[u8]>>,
    version: u64,
    /// As in the engine.
    committed: u32,
    /// With what the journal holds.
    pub(crate) instances: u32,
}

/// Where a series is: in which study, under which token.
pub(crate) type SeriesAt = (StudyRef, Token);

impl TenantState {
    /// Without studies. Rows may come in any order; none is found by a search until [`sort`](Self::sort).
    pub(crate) fn new(token: Secret) -> Self {
        Self {
            token,
            keys: Keyring::default(),
            slots: Vec::new(),
            free: Vec::new(),
            by_ref: HashTable::new(),
            by_uid: HashTable::new(),
            order: Order::bulk(),
            quarantined: BTreeSet::new(),
            words: Words::default(),
            modalities: Vec::new(),
        }
    }

    /// Ends the loading.
    pub(crate) fn sort(&mut self) {
        let Self { order, slots, .. } = self;
        order.sort(refs(slots));
        slots.shrink_to_fit();
    }

    pub(crate) fn uid_mac(&self, uid: &str) -> Token {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.token.reveal()).expect("HMAC takes keys of every length");
        mac.update(uid.as_bytes());
        let mut out = [0; 16];
        out.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        out
    }

    pub(crate) fn add_key(&mut self, key_id: KeyId, key_gen: KeyGen, study_ref: StudyRef, key: IndexKey) {
        self.keys.add(key_id, key_gen, study_ref, key);
    }

    pub(crate) fn key(&self, key_id: KeyId, key_gen: KeyGen) -> Option<&IndexKey> {
        self.keys.key(key_id, key_gen)
    }

    /// Wipes these keys.
    pub(crate) fn forget_keys(&mut self, keys: &BTreeSet<KeyId>) {
        self.keys.forget_keys(keys);
    }

    pub(crate) const fn studies(&self) -> usize {
        self.order.len()
    }

    /// Takes a study row, unless a newer one is here. `at`: its row key says which.
    pub(crate) fn put_study(&mut self, at: (StudyRef, Token), version: u64, row: &StudyRow) {
        let number = self.slot_of(at.0);
        let slot = &self.slots[number as usize];
        if slot.row.is_some() && version < slot.version {
            return;
        }
        self.take_row(number);
        let packed = pack_study(row, &mut self.words);
        let modalities = self.modality_bits(number);
        let slot = &mut self.slots[number as usize];
        (slot.uid_mac, slot.version, slot.row) = (at.1, version, Some(packed));
        if row.quarantine.is_some() {
            self.quarantined.insert((at.1, at.0));
            return;
        }
        let entry = Entry {
            moment: moment(phi(&row.date), phi(&row.time)),
            name: Signature::of_name(phi(&row.patient_name)),
            ids: ids_signature(phi(&row.patient_id), phi(&row.accession_number)),
            modalities,
            birth: day_number(phi(&row.birth_date)).unwrap_or(0),
            slot: number,
        };
        let Self { order, slots, by_uid, .. } = self;
        order.insert(entry, refs(slots));
        // Of two studies with one UID the newer row is found by it.
        if let Ok(held) = by_uid.find_entry(hash(&at.1), |held| slots[*held as usize].uid_mac == at.1) {
            held.remove();
        }
        by_uid.insert_unique(hash(&at.1), number, |held| hash(&slots[*held as usize].uid_mac));
    }

    /// Takes a series row, unless a newer one is here. `loaded`: its count of instances is the engine's.
    pub(crate) fn put_series(&mut self, at: SeriesAt, version: u64, row: &SeriesRow, loaded: Option<u32>) {
        let number = self.slot_of(at.0);
        let Self { slots, words, .. } = self;
        let slot = series_slot(&mut slots[number as usize], at.1);
        if let Some(count) = loaded {
            let staged = slot.instances.saturating_sub(slot.committed);
            slot.committed = count;
            slot.instances = count.saturating_add(staged);
        }
        if slot.row.is_none() || version >= slot.version {
            slot.version = version;
            let packed = pack_series(row, words);
            if let Some(old) = slot.row.replace(packed) {
                release_series(&old, words);
            }
            self.show_modalities(number);
        }
    }

    /// Counts instances that the journal holds and the engine does not.
    pub(crate) fn count_staged(&mut self, at: SeriesAt, more: u32) {
        let number = self.slot_of(at.0);
        let slot = series_slot(&mut self.slots[number as usize], at.1);
        slot.instances = slot.instances.saturating_add(more);
    }

    /// The engine's count is this now; `staged` of them were counted before.
    pub(crate) fn count_committed(&mut self, at: SeriesAt, committed: u32, staged: u32) {
        let number = self.slot_of(at.0);
        let slot = series_slot(&mut self.slots[number as usize], at.1);
        let pending = slot.instances.saturating_sub(slot.committed).saturating_sub(staged);
        slot.committed = committed;
        slot.instances = committed.saturating_add(pending);
    }

    /// A series' row, and how many of its instances the engine has.
    pub(crate) fn series_row(&self, at: SeriesAt) -> Option<(SeriesRow, u32)> {
        let slot = self.slot(at.0)?.series.iter().find(|s| s.uid_mac == at.1)?;
        let row = PackedSeries::read(slot.row.as_deref()?)?.unpack(&self.words, slot.committed)?;
        Some((row, slot.committed))
    }

    /// Instances of a series that are on their way to the engine.
    pub(crate) fn staged(&self, at: SeriesAt) -> u32 {
        let series = self.slot(at.0).and_then(|slot| slot.series.iter().find(|s| s.uid_mac == at.1));
        series.map_or(0, |slot| slot.instances.saturating_sub(slot.committed))
    }

    /// Instances of all series of a study, as far as they were counted.
    pub(crate) fn counted(&self, study_ref: StudyRef) -> u64 {
        self.slot(study_ref).map_or(0, |slot| slot.series.iter().map(|series| u64::from(series.instances)).sum())
    }

    pub(crate) fn has_series(&self, study_ref: StudyRef, uid: &str) -> bool {
        let Some(slot) = self.slot(study_ref).filter(|slot| !slot.series.is_empty()) else { return false };
        let mac = self.uid_mac(uid);
        slot.series.iter().any(|series| series.uid_mac == mac && series.row.is_some())
    }

    pub(crate) fn has_study(&self, study_ref: StudyRef) -> bool {
        self.slot(study_ref).is_some_and(|slot| slot.row.is_some())
    }

    pub(crate) fn study_refs(&self) -> Vec<StudyRef> {
        self.by_ref.iter().map(|number| self.slots[*number as usize].study_ref).collect()
    }

    /// Whether anything is known of a study, be it a row below it.
    pub(crate) fn knows(&self, study_ref: StudyRef) -> bool {
        self.slot(study_ref).is_some()
    }

    pub(crate) fn remove_series(&mut self, at: SeriesAt) {
        let Some(number) = self.number(at.0) else { return };
        let Self { slots, words, .. } = self;
        slots[number as usize].series.retain(|series| {
            if series.uid_mac == at.1 {
                series.row.iter().for_each(|row| release_series(row, words));
            }
            series.uid_mac != at.1
        });
        self.show_modalities(number);
    }

    pub(crate) fn remove_study(&mut self, study_ref: StudyRef) {
        let Some(number) = self.number(study_ref) else { return };
        self.take_row(number);
        let Self { slots, words, by_ref, free, .. } = self;
        for series in std::mem::take(&mut slots[number as usize].series) {
            series.row.iter().for_each(|row| release_series(row, words));
        }
        if let Ok(held) = by_ref.find_entry(hash(study_ref.as_bytes()), |held| *held == number) {
            held.remove();
        }
        free.push(number);
    }

    /// Drops the keys of a study, and with them everything of it that could be read.
    pub(crate) fn forget(&mut self, study_ref: StudyRef) {
        self.remove_study(study_ref);
        self.keys.forget(study_ref);
    }

    pub(crate) fn study(&self, uid: &StudyUid) -> Option<StudyEntry> {
        self.entry_of(self.by_uid(uid)?)
    }

    pub(crate) fn entry(&self, study_ref: StudyRef) -> Option<StudyEntry> {
        self.entry_of(self.slot(study_ref)?)
    }

    /// The cases of quarantine: all, or those that name this study.
    pub(crate) fn quarantined(&self, uid: Option<&StudyUid>) -> Vec<StudyEntry> {
        let (first, last) = uid.map_or(([0; 16], [0xff; 16]), |uid| {
            let mac = self.uid_mac(uid.expose());
            (mac, mac)
        });
        let range = (first, StudyRef::from_bytes([0; 16]))..=(last, StudyRef::from_bytes([0xff; 16]));
        self.quarantined.range(range).filter_map(|(_, study_ref)| self.entry(*study_ref)).collect()
    }

    pub(crate) fn series(&self, study_ref: StudyRef) -> Vec<SeriesRow> {
        self.slot(study_ref).map_or_else(Vec::new, |slot| self.series_of(slot))
    }

    /// The series of a study, by number.
    pub(crate) fn series_of(&self, slot: &StudySlot) -> Vec<SeriesRow> {
        let row =
            |series: &SeriesSlot| PackedSeries::read(series.row.as_deref()?)?.unpack(&self.words, series.instances);
        let mut rows: Vec<SeriesRow> = slot.series.iter().filter_map(row).collect();
        rows.sort_by(|a, b| (a.number, &a.uid).cmp(&(b.number, &b.uid)));
        rows
    }

    /// The modalities of a study's series, as they were written but for padding.
    pub(crate) fn modalities_of<'s>(&'s self, slot: &'s StudySlot) -> impl Iterator<Item = &'s str> {
        slot.series.iter().filter_map(|series| {
            let at = PackedSeries::read(series.row.as_deref()?)?.modality?;
            Some(self.words.text(at).trim()).filter(|modality| !modality.is_empty())
        })
    }

    pub(crate) fn entry_of(&self, slot: &StudySlot) -> Option<StudyEntry> {
        let row = PackedStudy::read(slot.row.as_deref()?)?.unpack(&self.words)?;
        Some(StudyEntry { study_ref: slot.study_ref, row })
    }

    pub(crate) fn by_uid(&self, uid: &StudyUid) -> Option<&StudySlot> {
        let mac = self.uid_mac(uid.expose());
        let number = self.by_uid.find(hash(&mac), |held| self.slots[*held as usize].uid_mac == mac)?;
        self.slots.get(*number as usize)
    }

    /// Where a study stands in the order.
    pub(crate) fn place(&self, slot: &StudySlot) -> Option<Place> {
        place(slot)
    }

    fn slot(&self, study_ref: StudyRef) -> Option<&StudySlot> {
        self.slots.get(self.number(study_ref)? as usize)
    }

    fn number(&self, study_ref: StudyRef) -> Option<u32> {
        let is = |held: &u32| self.slots[*held as usize].study_ref == study_ref;
        self.by_ref.find(hash(study_ref.as_bytes()), is).copied()
    }

    /// The study's slot, made if there is none.
    fn slot_of(&mut self, study_ref: StudyRef) -> u32 {
        if let Some(number) = self.number(study_ref) {
            return number;
        }
        let slot = StudySlot { study_ref, uid_mac: [0; 16], version: 0, row: None, series: Vec::new() };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("fewer studies than 2^32")
            }
        };
        let Self { by_ref, slots, .. } = self;
        by_ref
            .insert_unique(hash(study_ref.as_bytes()), number, |held| hash(slots[*held as usize].study_ref.as_bytes()));
        number
    }

    /// Takes a study's row out of everything that it is found by.
    fn take_row(&mut self, number: u32) {
        let Self { slots, order, by_uid, quarantined, words, .. } = self;
        let slot = &slots[number as usize];
        let (study_ref, mac) = (slot.study_ref, slot.uid_mac);
        quarantined.remove(&(mac, study_ref));
        if let Some(place) = place(slot) {
            order.remove(place, refs(slots));
        }
        if let Ok(held) = by_uid.find_entry(hash(&mac), |held| *held == number) {
            held.remove();
        }
        if let Some(old) = slots[number as usize].row.take() {
            PackedStudy::read(&old).iter().flat_map(PackedStudy::words).for_each(|word| words.release(word));
        }
    }

    /// Brings a study's entry up to its series.
    fn show_modalities(&mut self, number: u32) {
        let bits = self.modality_bits(number);
        let Self { order, slots, .. } = self;
        let Some(place) = place(&slots[number as usize]) else { return };
        if let Some(entry) = order.entry_mut(place, refs(slots)) {
            entry.modalities = bits;
        }
    }

    fn modality_bits(&mut self, number: u32) -> u64 {
        let found: Vec<String> = self.modalities_of(&self.slots[number as usize]).map(str::to_owned).collect();
        found.iter().fold(0, |bits, modality| {
            let at = self.modalities.iter().position(|held| **held == **modality).unwrap_or_else(|| {
                if self.modalities.len() < OTHER_MODALITY {
                    self.modalities.push(modality.as_str().into());
                    self.modalities.len() - 1
                } else {
                    OTHER_MODALITY
                }
            });
            bits | 1 << at
        })
    }
}

/// `None` for a slot without a row and for a case of quarantine.
fn place(slot: &StudySlot) -> Option<Place> {
    let row = PackedStudy::read(slot.row.as_deref()?).filter(|row| row.quarantine.is_none())?;
    let (date, time) = (row.date.text().unwrap_or_default(), row.time.text().unwrap_or_default());
    Some(Place { moment: moment(&date, &time), study_ref: slot.study_ref })
}

fn refs(slots: &[StudySlot]) -> impl Fn(u32) -> StudyRef {
    |number| slots[number as usize].study_ref
}

fn series_slot(study: &mut StudySlot, uid_mac: Token) -> &mut SeriesSlot {
    let at = study.series.iter().position(|s| s.uid_mac == uid_mac).unwrap_or_else(|| {
        // Most studies have few series: no spare room.
        study.series.reserve_exact(1);
        study.series.push(SeriesSlot { uid_mac, row: None, version: 0, committed: 0, instances: 0 });
        study.series.len() - 1
    });
    &mut study.series[at]
}

fn release_series(row: &[u8], words: &mut Words) {
    PackedSeries::read(row).iter().flat_map(PackedSeries::words).for_each(|word| words.release(word));
}

fn phi(value: &Option<Phi<String>>) -> &str {
    value.as_ref().map_or("", |value| value.expose())
}

/// HHMMSS as far as it is there; fractions and zones do not order anything that matters.
fn moment(date: &str, time: &str) -> u64 {
    let day = day_number(date).unwrap_or(0);
    let digits = time.bytes().filter(|b| *b != b':').chain(std::iter::repeat(b'0')).take(6);
    let time = digits.fold(0, |n, b| n * 10 + if b.is_ascii_digit() { u64::from(b - b'0') } else { 0 });
    u64::from(day) * DAY + time
}

/// Both in one: a search for one of them is not much misled by the other.
fn ids_signature(patient_id: &str, accession: &str) -> Signature {
    let (id, accession) = (Signature::of_text(patient_id, ID_SEED), Signature::of_text(accession, ACCESSION_SEED));
    Signature(id.0 | accession.0)
}

/// UID tokens and random names: any eight bytes of one are a hash.
fn hash(bytes: &[u8; 16]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(first)
}

/// A day's place in [`Entry::moment`].
pub(crate) const DAY: u64 = 1_000_000;
pub(crate) const ID_SEED: u32 = 1;
pub(crate) const ACCESSION_SEED: u32 = 2;
/// The bit that all further modalities share.
pub(crate) const OTHER_MODALITY: usize = 63;

/// All tenants.
pub(crate) type Tenants = BTreeMap<leadglass_model::TenantId, TenantState>;
