//! Unusual breadth: somebody opens studies of many more different patients than usual.
//!
//! The rule in one sentence: an alarm when somebody opens studies of more than `patients` different patients within an hour
//! and of more than `times` as many as in their usual hour. Their usual hour is the mean over their last hours in which
//! they opened any, since the node started; before there are a few of those, only the number counts. One alarm an hour.

use crate::{AlarmKind, Shared};
use leadglass_audit::SubjectToken;
use leadglass_model::{ActorRef, TenantId, UnixMillis};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

/// What is more than usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breadth {
    /// Different patients in an hour that are never too many.
    pub patients: usize,
    /// So many times the usual is too many.
    pub times: usize,
}

impl Default for Breadth {
    fn default() -> Self {
        Self { patients: 60, times: 3 }
    }
}

/// What each person does in an hour.
#[derive(Debug, Default)]
pub(crate) struct Usual {
    bounds: Breadth,
    people: HashMap<ActorRef, Hours>,
}

#[derive(Debug, Default)]
struct Hours {
    /// The number of the hour since 1970.
    hour: u64,
    now: HashSet<SubjectToken>,
    /// Patients in hours before, the newest last.
    before: VecDeque<usize>,
    told: bool,
}

impl Usual {
    pub(crate) fn set(&mut self, bounds: Breadth) {
        self.bounds = bounds;
    }

    /// Counts. `true`: this is too many, and nobody was told in this hour.
    fn count(&mut self, actor: ActorRef, subject: SubjectToken, now: UnixMillis) -> bool {
        let hour = now.0 / HOUR_MS;
        if self.people.len() >= MAX_PEOPLE && !self.people.contains_key(&actor) {
            self.people.retain(|_, hours| hours.hour + KEPT_HOURS as u64 > hour);
        }
        let hours = self.people.entry(actor).or_default();
        if hours.hour != hour {
            if !hours.now.is_empty() {
                hours.before.push_back(hours.now.len());
            }
            if hours.before.len() > KEPT_HOURS {
                hours.before.pop_front();
            }
            *hours = Hours { hour, before: std::mem::take(&mut hours.before), ..Hours::default() };
        }
        if hours.now.len() < MAX_PATIENTS {
            hours.now.insert(subject);
        }
        let many = hours.now.len() > self.bounds.patients;
        let usual = (hours.before.len() >= FEW_HOURS).then(|| hours.before.iter().sum::<usize>() / hours.before.len());
        let unusual = usual.is_none_or(|usual| hours.now.len() > usual * self.bounds.times);
        let first = many && unusual && !hours.told;
        hours.told |= first;
        first
    }
}

impl Shared {
    /// An access was opened.
    pub(crate) fn notice_breadth(self: &Arc<Self>, tenant: TenantId, actor: ActorRef, subject: Option<SubjectToken>) {
        let Some(subject) = subject else { return };
        let now = self.clock.now();
        if self.alarms.usual.lock().count(actor, subject, now) {
            self.alarm_about(AlarmKind::Breadth, tenant, actor);
        }
    }
}

const HOUR_MS: u64 = 3_600_000;
/// Hours that make somebody's usual hour.
const KEPT_HOURS: usize = 200;
/// With fewer hours nothing is usual yet.
const FEW_HOURS: usize = 8;
/// Different patients counted of an hour.
const MAX_PATIENTS: usize = 10_000;
/// People remembered; who did nothing for long goes first.
const MAX_PEOPLE: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn open(usual: &mut Usual, hour: u64, patients: std::ops::Range<u8>) -> usize {
        let at = UnixMillis(hour * HOUR_MS);
        patients.filter(|n| usual.count(ActorRef([1; 16]), SubjectToken([*n; 16]), at)).count()
    }

    #[test]
    fn more_patients_than_the_number_are_one_alarm_an_hour() {
        let mut usual = Usual::default();
        assert_eq!(open(&mut usual, 1, 0..60), 0);
        assert_eq!(open(&mut usual, 1, 0..60), 0, "the same patients again");
        assert_eq!(open(&mut usual, 1, 60..90), 1);
        assert_eq!(open(&mut usual, 2, 0..100), 1);
    }

    #[test]
    fn who_usually_opens_many_may() {
        let mut usual = Usual::default();
        for hour in 1..=8 {
            open(&mut usual, hour, 0..50);
        }
        assert_eq!(open(&mut usual, 9, 0..150), 0, "three times the usual");
        assert_eq!(open(&mut usual, 10, 0..200), 1);
    }
}
