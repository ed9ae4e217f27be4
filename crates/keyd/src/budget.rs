//! Budgets: how many distinct studies may be opened in a sliding window, scope `object`.
//!
//! A counter is a name (`person:…`, `node:…`, `tenant:…`) with the studies it saw. A study that is opened again inside the
//! window is renewed and not counted again. Refused studies are remembered too: who asks for three times the budget is
//! suspended until an approval clears it.
//!
//! Persons are named by the vault, whose session service signs who acts (`service/actors.rs`): a stolen certificate alone names
//! nobody. Against an owned vault, which has that key too, only the node's and the tenant's counters bind.

use crate::config::{BudgetConfig, PersonClass};
use leadglass_model::{ActorRef, Purpose, StudyRef, TenantId, UnixMillis};
use std::collections::{BTreeSet, HashMap};

/// Everything that was counted.
#[derive(Debug, Default)]
pub struct Budgets {
    counters: HashMap<String, HashMap<StudyRef, Seen>>,
}

/// Who opens what for whom.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The person, as the vault names it.
    pub actor: ActorRef,
    /// The node: the first 16 bytes of its key's hash.
    pub node: [u8; 16],
    /// Whose studies.
    pub tenant: TenantId,
    /// What for.
    pub purpose: Purpose,
    /// Which studies.
    pub studies: &'a BTreeSet<StudyRef>,
}

/// What the budgets say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Within all of them; counted.
    Within,
    /// Over one.
    Over {
        /// Which counter.
        counter: String,
        /// Its limit.
        limit: u32,
        /// When the oldest study leaves the window, in seconds.
        retry_after_s: u32,
        /// Three times over: whoever this counter belongs to is to be suspended.
        suspend: Option<String>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    at: UnixMillis,
    granted: bool,
}

struct Limit {
    counter: String,
    window_s: u64,
    most: u32,
    suspends: bool,
}

impl Budgets {
    /// Counts an opening, or refuses it whole. Gives the counters it was counted under.
    pub fn open(&mut self, config: &BudgetConfig, opening: &Opening<'_>, now: UnixMillis) -> (Verdict, Vec<String>) {
        let limits = limits(config, opening);
        let counters: Vec<String> = {
            let names: BTreeSet<&String> = limits.iter().map(|l| &l.counter).collect();
            names.into_iter().cloned().collect()
        };
        for counter in &counters {
            self.forget_old(counter, now);
        }
        let over = limits.iter().find_map(|limit| self.over(limit, opening, now));
        let granted = over.is_none();
        for counter in &counters {
            self.note(counter, opening.studies, now, granted);
        }
        let verdict = match over {
            None => Verdict::Within,
            Some((limit, retry_after_s)) => {
                let asked = self.counters.get(&limit.counter).map_or(0, |seen| within(seen, limit, now, None));
                let suspend = limit.suspends && asked > limit.most as usize * SUSPENDED_AT;
                Verdict::Over {
                    counter: limit.counter.clone(),
                    limit: limit.most,
                    retry_after_s,
                    suspend: suspend.then(|| limit.counter.clone()),
                }
            }
        };
        (verdict, counters)
    }

    /// Notes what was counted before a restart.
    pub fn restore(&mut self, counters: &[String], studies: &[StudyRef], at: UnixMillis, granted: bool) {
        let studies: BTreeSet<StudyRef> = studies.iter().copied().collect();
        for counter in counters {
            self.note(counter, &studies, at, granted);
        }
    }

    /// Forgets what a counter saw: its suspension was cleared.
    pub fn clear(&mut self, counter: &str) {
        self.counters.remove(counter);
    }

    fn over<'a>(&self, limit: &'a Limit, opening: &Opening<'_>, now: UnixMillis) -> Option<(&'a Limit, u32)> {
        let empty = HashMap::new();
        let seen = self.counters.get(&limit.counter).unwrap_or(&empty);
        let fresh = opening.studies.iter().filter(|s| !counts(seen.get(*s), limit, now)).count();
        if fresh == 0 || within(seen, limit, now, Some(true)) + fresh <= limit.most as usize {
            return None;
        }
        let oldest = seen.values().filter(|s| counts(Some(s), limit, now)).map(|s| s.at).min().unwrap_or(now);
        let left_ms = oldest.plus_secs(limit.window_s).millis_since(now);
        Some((limit, u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1)))
    }

    fn note(&mut self, counter: &str, studies: &BTreeSet<StudyRef>, now: UnixMillis, granted: bool) {
        let seen = self.counters.entry(counter.to_owned()).or_default();
        for study in studies {
            if !granted && seen.len() >= MAX_REMEMBERED {
                break;
            }
            let entry = seen.entry(*study).or_insert(Seen { at: now, granted });
            // A refused repeat does not renew what was granted.
            if granted || !entry.granted {
                *entry = Seen { at: entry.at.max(now), granted: granted || entry.granted };
            }
        }
    }

    fn forget_old(&mut self, counter: &str, now: UnixMillis) {
        if let Some(seen) = self.counters.get_mut(counter) {
            seen.retain(|_, s| now.millis_since(s.at) < DAY_S * 1000);
        }
    }
}

fn limits(config: &BudgetConfig, opening: &Opening<'_>) -> Vec<Limit> {
    let person = person_counter(opening.actor);
    let node = node_counter(opening.node);
    let tenant = format!("tenant:{}", opening.tenant);
    let limit =
        |counter: &str, window_s, most, suspends| Limit { counter: counter.to_owned(), window_s, most, suspends };
    match opening.purpose {
        Purpose::BreakGlass => {
            vec![limit(&format!("break-glass:{}", opening.tenant), HOUR_S, config.break_glass_per_hour, false)]
        }
        Purpose::StorageCheck => {
            vec![limit(&format!("storage-check:{}", opening.tenant), DAY_S, config.storage_check_per_day, false)]
        }
        Purpose::Ingest => vec![limit(&node, HOUR_S, config.node_per_hour, true)],
        Purpose::Care
        | Purpose::SubjectRequest
        | Purpose::Erasure
        | Purpose::Research
        | Purpose::Quality
        | Purpose::LegalClaim => {
            let reads_all_day = config.default_class == PersonClass::ReadingRoom
                || config.reading_room.iter().any(|a| *a == opening.actor.to_string());
            let (hour, day) = if reads_all_day {
                (config.reading_room_per_hour, config.reading_room_per_day)
            } else {
                (config.person_per_hour, config.person_per_day)
            };
            vec![
                limit(&person, HOUR_S, hour, true),
                limit(&person, DAY_S, day, true),
                limit(&node, HOUR_S, config.node_per_hour, true),
                limit(&tenant, DAY_S, config.tenant_per_day, false),
            ]
        }
    }
}

/// The counter of a person; also what a suspension names.
pub fn person_counter(actor: ActorRef) -> String {
    format!("person:{actor}")
}

/// The counter of a node; also what a suspension names.
pub fn node_counter(node: [u8; 16]) -> String {
    format!("node:{}", hex::encode(node))
}

fn counts(seen: Option<&Seen>, limit: &Limit, now: UnixMillis) -> bool {
    seen.is_some_and(|s| s.granted && now.millis_since(s.at) < limit.window_s * 1000)
}

fn within(seen: &HashMap<StudyRef, Seen>, limit: &Limit, now: UnixMillis, granted: Option<bool>) -> usize {
    seen.values()
        .filter(|s| now.millis_since(s.at) < limit.window_s * 1000 && granted.is_none_or(|g| g == s.granted))
        .count()
}

/// How long a study stays counted at most, in seconds.
pub const DAY_S: u64 = 24 * 3600;
const HOUR_S: u64 = 3600;
/// So many times over a budget suspends.
const SUSPENDED_AT: usize = 3;
/// Refused studies that a counter remembers: above three times any sensible limit, about 3 MiB.
const MAX_REMEMBERED: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn studies(range: std::ops::Range<u8>) -> BTreeSet<StudyRef> {
        range.map(|n| StudyRef::from_bytes([n; 16])).collect()
    }

    fn open(budgets: &mut Budgets, range: std::ops::Range<u8>, purpose: Purpose, at_s: u64) -> Verdict {
        let config = BudgetConfig { person_per_hour: 4, person_per_day: 6, ..BudgetConfig::default() };
        let studies = studies(range);
        let opening = Opening {
            actor: ActorRef([1; 16]),
            node: [2; 16],
            tenant: TenantId::from_bytes([3; 16]),
            purpose,
            studies: &studies,
        };
        budgets.open(&config, &opening, UnixMillis(1_000_000_000 + at_s * 1000)).0
    }

    fn is_over(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Over { .. })
    }

    #[test]
    fn a_study_opened_again_is_not_counted_again() {
        let mut budgets = Budgets::default();
        assert_eq!(open(&mut budgets, 0..4, Purpose::Care, 0), Verdict::Within);
        assert_eq!(open(&mut budgets, 0..4, Purpose::Care, 10), Verdict::Within);
        assert!(is_over(&open(&mut budgets, 4..5, Purpose::Care, 20)));
    }

    #[test]
    fn after_the_hour_the_window_is_open_again_and_the_day_still_counts() {
        let mut budgets = Budgets::default();
        assert_eq!(open(&mut budgets, 0..4, Purpose::Care, 0), Verdict::Within);
        assert_eq!(open(&mut budgets, 4..6, Purpose::Care, 3600), Verdict::Within);
        assert!(is_over(&open(&mut budgets, 6..7, Purpose::Care, 7300)));
        assert_eq!(open(&mut budgets, 6..7, Purpose::Care, 3 * 86_400), Verdict::Within);
    }

    #[test]
    fn three_times_over_suspends_the_person_and_not_before() {
        let mut budgets = Budgets::default();
        let suspended = |verdict: &Verdict| match verdict {
            Verdict::Over { suspend, .. } => suspend.clone(),
            Verdict::Within => None,
        };
        assert_eq!(suspended(&open(&mut budgets, 0..12, Purpose::Care, 0)), None);
        let last = open(&mut budgets, 12..17, Purpose::Care, 1);
        assert_eq!(suspended(&last), Some(person_counter(ActorRef([1; 16]))));
    }

    #[test]
    fn an_emergency_opens_when_everything_else_is_used_up() {
        let mut budgets = Budgets::default();
        assert_eq!(open(&mut budgets, 0..4, Purpose::Care, 0), Verdict::Within);
        assert_eq!(open(&mut budgets, 10..20, Purpose::BreakGlass, 1), Verdict::Within);
        assert!(is_over(&open(&mut budgets, 20..21, Purpose::BreakGlass, 2)));
    }

    #[test]
    fn a_refused_call_opens_none_of_its_studies() {
        let mut budgets = Budgets::default();
        assert!(is_over(&open(&mut budgets, 0..5, Purpose::Care, 0)));
        assert_eq!(open(&mut budgets, 0..4, Purpose::Care, 1), Verdict::Within);
    }
}
