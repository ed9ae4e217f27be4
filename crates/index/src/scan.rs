//! Searching the projection: newest first, in steps, so that others get the lock in between.
//!
//! What the order's entries say decides most studies at a glance; the rows of the others are read. An entry never hides a
//! study that fits (`tests::a_search_finds_what_a_slow_one_finds`).

use crate::{
    DateRange, DeepQuery, Pattern, Query, SeriesHit, StudyHit,
    order::{Entry, Place},
    packed::PackedStudy,
    pattern::Signature,
    projection::{ACCESSION_SEED, DAY, ID_SEED, OTHER_MODALITY, StudySlot, TenantState, Token},
    range::moment_fits,
};
use leadglass_model::StudyUid;
use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

/// Where a search goes on after it let others have the lock.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    after: Option<Place>,
    begun: bool,
}

/// Hits up to a limit and one more, behind an offset.
pub(crate) struct Collector<T> {
    skip: usize,
    want: usize,
    pub(crate) hits: Vec<T>,
}

/// A query, ready to be held against entries and rows.
struct Plan<'q> {
    query: &'q Query,
    /// For each name group that is asked for, any of these.
    names: Vec<Vec<Signature>>,
    ids: Signature,
    /// Bits of which one must be there, for each list of modalities that is asked for.
    modalities: Vec<u64>,
    /// Every series that is asked for by its UID.
    series: Vec<Token>,
    newest: u64,
    oldest: u64,
    /// The entry does not decide alone.
    needs_row: bool,
    /// There is nothing to decide.
    takes_all: bool,
}

impl TenantState {
    /// Goes on with a search for studies. `true`: it wants to be called again.
    pub(crate) fn search(
        &self,
        query: &Query,
        cursor: &mut Cursor,
        steps: usize,
        out: &mut Collector<StudyHit>,
    ) -> bool {
        let plan = Plan::new(self, query, &[], Vec::new());
        // Without a condition the offset needs no counting.
        if plan.takes_all && !cursor.begun && query.study_uids.is_empty() && query.hidden.is_empty() {
            cursor.begun = true;
            let skipped = std::mem::take(&mut out.skip);
            return self.walk(&plan, self.order.skip(skipped), cursor, steps, |slot| out.take(|| self.hit(slot)));
        }
        self.step(&plan, cursor, steps, |slot| out.take(|| self.hit(slot)))
    }

    /// Goes on with a search for series. `true`: it wants to be called again.
    pub(crate) fn search_series(
        &self,
        query: &DeepQuery,
        cursor: &mut Cursor,
        steps: usize,
        out: &mut Collector<SeriesHit>,
    ) -> bool {
        let macs = query.series.uids.iter().map(|uid| self.uid_mac(uid.expose())).collect();
        let plan = Plan::new(self, &query.study, &query.series.modality, macs);
        self.step(&plan, cursor, steps, |slot| {
            let mut fitting = self.series_of(slot);
            fitting.retain(|row| query.series.fits(row));
            if fitting.is_empty() {
                return ControlFlow::Continue(());
            }
            let Some(study) = self.entry_of(slot) else { return ControlFlow::Continue(()) };
            let (study_ref, study) = (study.study_ref, Arc::new(study.row));
            fitting
                .into_iter()
                .try_for_each(|row| out.take(|| Some(SeriesHit { study_ref, study: Arc::clone(&study), row })))
        })
    }

    fn step<'s>(
        &'s self,
        plan: &Plan<'_>,
        cursor: &mut Cursor,
        steps: usize,
        visit: impl FnMut(&'s StudySlot) -> ControlFlow<()>,
    ) -> bool {
        if !plan.query.study_uids.is_empty() {
            let _ended = self
                .named(&plan.query.study_uids)
                .into_iter()
                .filter(|slot| !plan.query.hidden.contains(&slot.study_ref) && self.row_fits(plan, slot))
                .try_for_each(visit);
            return false;
        }
        let begun = std::mem::replace(&mut cursor.begun, true);
        match cursor.after {
            None if begun => false,
            None => self.walk(plan, self.order.since(plan.newest), cursor, steps, visit),
            after => {
                let refs = |number: u32| self.slots[number as usize].study_ref;
                self.walk(plan, self.order.behind(after, refs), cursor, steps, visit)
            }
        }
    }

    fn walk<'s>(
        &'s self,
        plan: &Plan<'_>,
        entries: impl Iterator<Item = &'s Entry>,
        cursor: &mut Cursor,
        steps: usize,
        mut visit: impl FnMut(&'s StudySlot) -> ControlFlow<()>,
    ) -> bool {
        for (step, entry) in entries.enumerate() {
            if entry.moment < plan.oldest {
                return false;
            }
            if plan.may_fit(entry) {
                let slot = &self.slots[entry.slot as usize];
                let hidden = || plan.query.hidden.contains(&slot.study_ref);
                if (!plan.needs_row || self.row_fits(plan, slot)) && !hidden() && visit(slot).is_break() {
                    return false;
                }
            }
            if step + 1 == steps {
                let study_ref = self.slots[entry.slot as usize].study_ref;
                cursor.after = Some(Place { moment: entry.moment, study_ref });
                return true;
            }
        }
        false
    }

    /// The studies with these UIDs, newest first.
    fn named(&self, uids: &[StudyUid]) -> Vec<&StudySlot> {
        let found = uids.iter().filter_map(|uid| self.by_uid(uid));
        let mut found: Vec<(Place, &StudySlot)> = found.filter_map(|slot| Some((self.place(slot)?, slot))).collect();
        found.sort_unstable_by_key(|(place, _)| (std::cmp::Reverse(place.moment), place.study_ref));
        found.dedup_by_key(|(place, _)| place.study_ref);
        found.into_iter().map(|(_, slot)| slot).collect()
    }

    /// Whether a study's rows fit, every condition asked.
    fn row_fits(&self, plan: &Plan<'_>, slot: &StudySlot) -> bool {
        let query = plan.query;
        let has_series = |mac: &Token| slot.series.iter().any(|series| series.uid_mac == *mac);
        if !plan.series.is_empty() && !plan.series.iter().any(has_series) {
            return false;
        }
        let Some(row) = slot.row.as_deref().and_then(PackedStudy::read) else { return false };
        let text = |value: Option<&str>, pattern: &Option<Pattern>| {
            pattern.as_ref().is_none_or(|p| p.matches(value.unwrap_or("")))
        };
        let word = |at: Option<u32>| at.map(|at| self.words.text(at));
        let moment_asked = query.study_date.is_some() || query.study_time.is_some();
        // The cheap ones first: names are folded.
        text(row.patient_id, &query.patient_id)
            && text(row.accession_number, &query.accession_number)
            && text(word(row.issuer), &query.issuer)
            && text(word(row.sex), &query.sex)
            && text(row.id, &query.study_id)
            && (!moment_asked
                || moment_fits(
                    query.study_date,
                    query.study_time,
                    row.date.text().as_deref(),
                    row.time.text().as_deref(),
                ))
            && query.birth_date.is_none_or(|range| range.matches(&row.birth_date.text().unwrap_or_default()))
            && query.patient_name.as_ref().is_none_or(|p| p.matches(row.patient_name.unwrap_or("")))
            && query.referring_physician.as_ref().is_none_or(|p| p.matches(word(row.referring_physician).unwrap_or("")))
            && query.description.as_ref().is_none_or(|p| p.matches(word(row.description).unwrap_or("")))
            && (query.modalities.is_empty()
                || self.modalities_of(slot).any(|held| query.modalities.iter().any(|p| p.matches(held))))
    }

    fn hit(&self, slot: &StudySlot) -> Option<StudyHit> {
        let entry = self.entry_of(slot)?;
        let modalities: BTreeSet<&str> = self.modalities_of(slot).collect();
        Some(StudyHit {
            study_ref: entry.study_ref,
            row: entry.row,
            modalities: modalities.into_iter().map(str::to_owned).collect(),
            series: u32::try_from(slot.series.len()).unwrap_or(u32::MAX),
            instances: slot.series.iter().map(|s| u64::from(s.instances)).sum(),
        })
    }
}

impl<'q> Plan<'q> {
    fn new(state: &TenantState, query: &'q Query, series_modality: &[Pattern], series: Vec<Token>) -> Self {
        let bits = |patterns: &[Pattern]| {
            let fits = |held: &str| patterns.iter().any(|p| p.matches(held));
            let held = state.modalities.iter().enumerate().filter(|(_, held)| fits(held));
            held.fold(1u64 << OTHER_MODALITY, |bits, (at, _)| bits | 1 << at)
        };
        let asked = [query.modalities.as_slice(), series_modality].into_iter().filter(|list| !list.is_empty());
        let modalities: Vec<u64> = asked.map(bits).collect();
        let id = query.patient_id.as_ref().map_or(0, |p| p.signature(ID_SEED).0);
        let accession = query.accession_number.as_ref().map_or(0, |p| p.signature(ACCESSION_SEED).0);
        let (first, last) = query.study_date.map_or((0, u32::MAX), |range| range.bounds());
        let more_modalities = state.modalities.len() >= OTHER_MODALITY;
        let needs_row = query.patient_id.is_some()
            || query.issuer.is_some()
            || query.patient_name.is_some()
            || query.sex.is_some()
            || query.study_time.is_some()
            || query.accession_number.is_some()
            || query.study_id.is_some()
            || query.description.is_some()
            || query.referring_physician.is_some()
            || !series.is_empty()
            || (!query.modalities.is_empty() && more_modalities);
        Self {
            query,
            names: query.patient_name.as_ref().map_or_else(Vec::new, crate::NamePattern::signatures),
            ids: Signature(id | accession),
            takes_all: !needs_row && modalities.is_empty() && query.birth_date.is_none() && query.study_date.is_none(),
            modalities,
            series,
            newest: u64::from(last) * DAY + (DAY - 1),
            oldest: u64::from(first) * DAY,
            needs_row,
        }
    }

    /// `false`: the study does not fit. Entries before `newest` or behind `oldest` are not asked.
    fn may_fit(&self, entry: &Entry) -> bool {
        entry.ids.may_fit(self.ids)
            && self.modalities.iter().all(|bits| entry.modalities & bits != 0)
            && self.names.iter().all(|forms| forms.iter().any(|form| entry.name.may_fit(*form)))
            && self.query.birth_date.is_none_or(|range: DateRange| range.holds(entry.birth))
    }
}

impl<T> Collector<T> {
    /// For a query's offset and limit.
    pub(crate) fn new(query: &Query) -> Self {
        // One more tells whether there is more.
        let want = query.limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
        Self { skip: query.offset, want, hits: Vec::new() }
    }

    /// For everything.
    pub(crate) const fn all() -> Self {
        Self { skip: 0, want: usize::MAX, hits: Vec::new() }
    }

    /// Counts a hit, and keeps it when it is behind the offset.
    pub(crate) fn take(&mut self, hit: impl FnOnce() -> Option<T>) -> ControlFlow<()> {
        if self.skip > 0 {
            self.skip -= 1;
            return ControlFlow::Continue(());
        }
        self.hits.extend(hit());
        if self.hits.len() >= self.want { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// What was found; the one too many is left out.
    pub(crate) fn finish(mut self) -> crate::Found<T> {
        let more = self.hits.len() >= self.want;
        if more {
            self.hits.truncate(self.want - 1);
        }
        crate::Found { hits: self.hits, more }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
