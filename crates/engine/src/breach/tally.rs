//! What two logs say together: which keys were opened, whose studies they open, what lay there sealed.
//!
//! The key service's log is told first, whole; then the vault's own, whole. Both pass by; what is held is one record for
//! each opening (access, key, study, actor and node together) and one for each study, both bounded.
//!
//! Law: nothing that the key service gave out is left out because this vault's log says otherwise. What the own log does not
//! account for counts as opened, and is named.

use super::{MAX_OPENINGS, MAX_SCOPE_STUDIES, Selector};
use crate::{
    Unmatched,
    keylog::{Unwrap, mismatch},
};
use leadglass_audit::{ClientRef, Entry, Event, Outcome, SubjectToken};
use leadglass_model::{ActorRef, EntryId, KeyId, Purpose, StudyRef, TenantId, UnixMillis};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What is asked of the logs.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Whose studies.
    pub tenant: TenantId,
    /// Through what they were reached.
    pub by: Selector,
    /// From here.
    pub from: UnixMillis,
    /// To here, exclusive.
    pub to: UnixMillis,
    /// This vault, as the key service's log calls it.
    pub me: ClientRef,
}

/// More than can be held: the span has to be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_OPENINGS} openings or {MAX_SCOPE_STUDIES} studies")]
pub struct TooMuch;

/// The logs while they pass by.
#[derive(Debug)]
pub struct Tally {
    span: Span,
    openings: Vec<Opening>,
    places: HashMap<Reached, usize>,
    by_access: HashMap<EntryId, Vec<usize>>,
    /// Keys that were gone before the span began.
    destroyed: HashSet<KeyId>,
    studies: HashMap<StudyRef, Lain>,
    index_keys: u64,
}

/// What the logs said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Studies with an opened key.
    pub opened: BTreeMap<StudyRef, Opened>,
    /// Studies that lay there sealed, without one.
    pub sealed: BTreeSet<StudyRef>,
    /// Whose they are, where the own log says it.
    pub subjects: BTreeMap<StudyRef, SubjectToken>,
    /// An entry of the own log about the study that has sealed details.
    pub details: BTreeMap<StudyRef, (u64, EntryId)>,
    /// Openings in the scope that the own log does not account for.
    pub unaccounted: Vec<Unmatched>,
    /// Openings of the span that nothing accounts for and that the question did not ask about.
    pub unaccounted_elsewhere: u64,
    /// How often the node was given the index keys, which open names and IDs of all patients.
    pub index_keys: u64,
}

/// A study with an opened key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The keys that were given out.
    pub keys: BTreeSet<KeyId>,
    /// How often.
    pub unwraps: u64,
    /// How many of these the own log does not account for.
    pub unaccounted: u64,
    /// Accesses of the own log in the span. Nodes share a standing lease, so one may have needed no opening of its own.
    pub accesses: u64,
    /// Whether instances came in through the node during the span: it held them in clear.
    pub taken_in: bool,
    /// The first opening or arrival.
    pub first: UnixMillis,
    /// The last.
    pub last: UnixMillis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reached {
    access: Option<EntryId>,
    key: Option<KeyId>,
    study: Option<StudyRef>,
    actor: Option<ActorRef>,
    client: Option<ClientRef>,
    purpose: Option<Purpose>,
}

#[derive(Debug)]
struct Opening {
    what: Reached,
    seq: u64,
    times: u64,
    first: UnixMillis,
    last: UnixMillis,
    /// Why the own log does not account for it.
    why: Option<&'static str>,
    /// Whether the entry that it belongs to is the selected one's.
    is_theirs: bool,
}

#[derive(Debug, Default)]
struct Lain {
    subject: Option<SubjectToken>,
    detail: Option<(u64, EntryId)>,
    came: Option<UnixMillis>,
    /// Whether one of its keys lived when the span began.
    alive: bool,
    /// First and last arrival within the span.
    taken_in: Option<(UnixMillis, UnixMillis)>,
    /// First and last access within the span by whom the question is about, and how many.
    accessed: Option<(UnixMillis, UnixMillis, u64)>,
    /// Whether the key that was asked about is one of its keys.
    under_key: bool,
}

impl Tally {
    /// Begins.
    pub fn new(span: Span) -> Self {
        Self {
            span,
            openings: Vec::new(),
            places: HashMap::new(),
            by_access: HashMap::new(),
            destroyed: HashSet::new(),
            studies: HashMap::new(),
            index_keys: 0,
        }
    }

    /// The next entry of the key service's log.
    pub fn key_entry(&mut self, entry: &Entry) -> Result<(), TooMuch> {
        let report = &entry.report;
        if report.outcome != Outcome::Success {
            return Ok(());
        }
        match (report.event, report.key) {
            (Event::KeyDestroyed, Some(key)) if report.time < self.span.from => {
                self.destroyed.insert(key);
                return if self.destroyed.len() > MAX_OPENINGS { Err(TooMuch) } else { Ok(()) };
            }
            (Event::IndexKeysRead, _) if report.tenant == Some(self.span.tenant) && self.holds(report.time) => {
                self.index_keys += u64::from(report.client.is_some_and(|node| self.span.by == Selector::Node(node)));
                return Ok(());
            }
            (Event::KeyUnwrapped, _) if report.tenant == Some(self.span.tenant) && self.holds(report.time) => {}
            _ => return Ok(()),
        }
        let wanted = match self.span.by {
            Selector::Key(key) => report.key == Some(key),
            Selector::Node(node) => report.client == Some(node),
            // Whose it was stands in the own log, too.
            Selector::Actor(_) | Selector::Device(_) => true,
        };
        if !wanted {
            return Ok(());
        }
        let what = Reached {
            access: report.related,
            key: report.key,
            study: report.study,
            actor: report.actor,
            client: report.client,
            purpose: report.purpose,
        };
        if let Some(known) = self.places.get(&what).and_then(|at| self.openings.get_mut(*at)) {
            known.times += 1;
            known.first = known.first.min(report.time);
            known.last = known.last.max(report.time);
            return Ok(());
        }
        if self.openings.len() >= MAX_OPENINGS {
            return Err(TooMuch);
        }
        let at = self.openings.len();
        let (first, last) = (report.time, report.time);
        let why = Some("no-entry");
        self.openings.push(Opening { what, seq: entry.seq, times: 1, first, last, why, is_theirs: false });
        self.places.insert(what, at);
        if let Some(access) = what.access {
            self.by_access.entry(access).or_default().push(at);
        }
        if let Some(study) = what.study {
            self.studies.entry(study).or_default().under_key |= matches!(self.span.by, Selector::Key(_));
        }
        Ok(())
    }

    /// The next entry of the own log.
    pub fn own_entry(&mut self, entry: &Entry) -> Result<(), TooMuch> {
        let report = &entry.report;
        for at in self.by_access.get(&report.entry_id).into_iter().flatten() {
            let Some(opening) = self.openings.get_mut(*at) else { continue };
            // Another node's openings are accounted for by its own log alone.
            if opening.what.client == Some(self.span.me) {
                opening.why = mismatch(&unwrap_of(self.span.tenant, opening), Some(entry));
            }
            opening.is_theirs = match self.span.by {
                Selector::Actor(actor) => report.actor == Some(actor),
                Selector::Device(device) => report.client == Some(device) || report.actor == Some(ActorRef(device.0)),
                Selector::Key(_) | Selector::Node(_) => true,
            };
        }
        if report.tenant != Some(self.span.tenant) || report.outcome != Outcome::Success {
            return Ok(());
        }
        let Some(study) = report.study else { return Ok(()) };
        let came = matches!(report.event, Event::InstancesTransferred | Event::Quarantined);
        let under_key = matches!((self.span.by, report.key), (Selector::Key(asked), Some(key)) if asked == key);
        let lies_here = self.span.by == Selector::Node(self.span.me);
        let accessed = self.is_access_of_theirs(entry);
        let is_new = accessed && !matches!(self.span.by, Selector::Key(_));
        let is_asked_about = under_key || is_new || (came && lies_here);
        if !is_asked_about && !self.studies.contains_key(&study) {
            return Ok(());
        }
        if self.studies.len() >= MAX_SCOPE_STUDIES && !self.studies.contains_key(&study) {
            return Err(TooMuch);
        }
        let within = self.holds(report.time);
        let lain = self.studies.entry(study).or_default();
        lain.subject = lain.subject.or(report.subject);
        if entry.detail_hash.is_some() && report.subject.is_some() {
            lain.detail = lain.detail.or(Some((entry.seq, report.entry_id)));
        }
        lain.under_key |= under_key;
        // Of an access it is not said under which key: to ask about a key is to ask about its study.
        if accessed && (lain.under_key || !matches!(self.span.by, Selector::Key(_))) {
            let (first, last, times) = lain.accessed.unwrap_or((report.time, report.time, 0));
            lain.accessed = Some((first.min(report.time), last.max(report.time), times + 1));
        }
        if came {
            lain.came = Some(lain.came.map_or(report.time, |came| came.min(report.time)));
            lain.alive |= report.key.is_none_or(|key| !self.destroyed.contains(&key));
            if within {
                let (first, last) = lain.taken_in.unwrap_or((report.time, report.time));
                lain.taken_in = Some((first.min(report.time), last.max(report.time)));
            }
        }
        Ok(())
    }

    /// Both logs have passed by. `is_here`: studies that the index holds, which a log begun anew does not tell of.
    pub fn finish(mut self, is_here: &HashMap<StudyRef, UnixMillis>) -> Counted {
        let lies_here = self.span.by == Selector::Node(self.span.me);
        if lies_here {
            for (study, came) in is_here {
                let lain = self.studies.entry(*study).or_default();
                lain.came = Some(lain.came.map_or(*came, |known| known.min(*came)));
                lain.alive = true;
            }
        }
        let mut counted = Counted { index_keys: self.index_keys, ..Counted::default() };
        for opening in &self.openings {
            let in_scope = match self.span.by {
                Selector::Key(_) | Selector::Node(_) => true,
                Selector::Actor(actor) => opening.is_theirs || opening.what.actor == Some(actor),
                // No entry says through which device: it may have been this one.
                Selector::Device(device) => {
                    opening.is_theirs || opening.why.is_some() || opening.what.actor == Some(ActorRef(device.0))
                }
            };
            let lost = if opening.why.is_some() { opening.times } else { 0 };
            if !in_scope {
                counted.unaccounted_elsewhere += lost;
                continue;
            }
            if opening.why.is_some() {
                counted.unaccounted.push(unmatched(self.span.tenant, opening));
            }
            let Some(study) = opening.what.study else { continue };
            let opened = counted.opened.entry(study).or_default();
            opened.seen(opening.first, opening.last);
            opened.keys.extend(opening.what.key);
            opened.unwraps += opening.times;
            opened.unaccounted += lost;
        }
        for (study, lain) in &self.studies {
            if let (true, Some((first, last))) = (lies_here, lain.taken_in) {
                let opened = counted.opened.entry(*study).or_default();
                opened.seen(first, last);
                opened.taken_in = true;
            }
            if let Some((first, last, times)) = lain.accessed {
                let opened = counted.opened.entry(*study).or_default();
                opened.seen(first, last);
                opened.accesses = times;
            }
            let lay_here = lies_here && lain.alive && lain.came.is_some_and(|came| came < self.span.to);
            if (lay_here || lain.under_key) && !counted.opened.contains_key(study) {
                counted.sealed.insert(*study);
            }
        }
        for study in counted.opened.keys().chain(&counted.sealed) {
            let Some(lain) = self.studies.get(study) else { continue };
            counted.subjects.extend(lain.subject.map(|subject| (*study, subject)));
            counted.details.extend(lain.detail.map(|detail| (*study, detail)));
        }
        counted.unaccounted.sort_by_key(|unmatched| unmatched.key_log_entry);
        counted
    }

    /// Whether it is the beginning or the end of an access, within the span, by whom the question is about.
    fn is_access_of_theirs(&self, entry: &Entry) -> bool {
        let report = &entry.report;
        let theirs = match self.span.by {
            Selector::Actor(actor) => report.actor == Some(actor),
            Selector::Device(device) => report.client == Some(device) || report.actor == Some(ActorRef(device.0)),
            Selector::Key(_) => true,
            Selector::Node(node) => node == self.span.me,
        };
        theirs && self.holds(report.time) && matches!(report.event, Event::InstancesAccessed | Event::LeaseEnded)
    }

    fn holds(&self, time: UnixMillis) -> bool {
        (self.span.from..self.span.to).contains(&time)
    }
}

impl Opened {
    fn seen(&mut self, first: UnixMillis, last: UnixMillis) {
        let is_new = self.unwraps == 0 && !self.taken_in && self.accesses == 0;
        self.first = if is_new { first } else { self.first.min(first) };
        self.last = self.last.max(last);
    }
}

fn unwrap_of(tenant: TenantId, opening: &Opening) -> Unwrap {
    let text = |id: Option<String>| id.unwrap_or_default();
    Unwrap {
        seq: opening.seq,
        at_ms: opening.first.0,
        tenant: tenant.to_string(),
        actor: text(opening.what.actor.map(|v| v.to_string())),
        purpose: text(opening.what.purpose.map(|v| v.to_string())),
        access: text(opening.what.access.map(|v| v.to_string())),
        key: text(opening.what.key.map(|v| v.to_string())),
        study: text(opening.what.study.map(|v| v.to_string())),
    }
}

fn unmatched(tenant: TenantId, opening: &Opening) -> Unmatched {
    let Unwrap { seq, at_ms, tenant, actor, access, key, study, .. } = unwrap_of(tenant, opening);
    let why = opening.why.unwrap_or_default().to_owned();
    Unmatched { key_log_entry: seq, tenant, at_ms, access, key, study, actor, why }
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
