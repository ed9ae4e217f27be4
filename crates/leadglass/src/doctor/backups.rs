//! Whether a backup of the vault would come back: what the last `leadglass drill` found, and when.

use super::Finding;
use crate::backup::{self, Drilled};
use leadglass_model::UnixMillis;
use std::path::Path;

pub(super) fn look(data: &Path, now: UnixMillis) -> Finding {
    judge(backup::last_drill(data).as_ref(), now)
}

fn judge(drilled: Option<&Drilled>, now: UnixMillis) -> Finding {
    const FIX: &str = "leadglass backup FOLDER --config FILE && leadglass drill FOLDER --config FILE";
    const WHY: &str = "A backup that nobody tried is a hope. When this disk dies, what is not in one is gone.";
    let Some(drilled) = drilled else {
        let sentence = "No backup of this vault was ever tried.";
        return Finding::red("backup-never-tried", sentence).why(WHY).fix(FIX);
    };
    let days = |since: u64| now.0.saturating_sub(since) / DAY_MS;
    let (tried, taken) = (days(drilled.at_ms), days(drilled.taken_ms));
    if !drilled.good {
        let sentence = format!("The last drill, {tried} days ago, found {} things wrong.", drilled.findings.len());
        return Finding::red("backup-bad", sentence).why(WHY).fix(FIX);
    }
    if tried > MOST_DAYS {
        let sentence = format!("The last drill was {tried} days ago.");
        return Finding::red("backup-not-tried", sentence).why(WHY).fix(FIX);
    }
    let sentence = format!("The backup of {taken} days ago came back in a drill {tried} days ago.");
    Finding::green("backup-tried", sentence)
}

const DAY_MS: u64 = 86_400_000;
/// A month and some days: a drill a month.
const MOST_DAYS: u64 = 35;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_is_green_until_it_is_old_and_never_when_it_found_something() {
        let now = UnixMillis(100 * DAY_MS);
        let drilled = |days: u64, good| Drilled {
            at_ms: now.0 - days * DAY_MS,
            taken_ms: now.0 - (days + 1) * DAY_MS,
            good,
            ..Drilled::default()
        };
        let code = |drilled: Option<Drilled>| judge(drilled.as_ref(), now).code;
        assert_eq!(code(None), "backup-never-tried");
        assert_eq!(code(Some(drilled(35, true))), "backup-tried");
        assert_eq!(code(Some(drilled(36, true))), "backup-not-tried");
        assert_eq!(code(Some(drilled(0, false))), "backup-bad");
    }
}
