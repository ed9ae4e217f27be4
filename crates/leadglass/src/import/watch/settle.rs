//! Which files of a watched folder are complete, which rest, and which wait for something beside them.

use crate::import::item::Stamp;
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

/// What is known of the files of a folder.
#[derive(Debug)]
pub struct Settling {
    settle: Duration,
    pending: HashMap<PathBuf, (Stamp, Instant)>,
    rested: HashMap<PathBuf, Rested>,
}

#[derive(Debug)]
struct Rested {
    stamp: Stamp,
    why: String,
    waits: bool,
}

impl Settling {
    /// A folder in which nothing was seen yet.
    pub fn new(settle: Duration) -> Self {
        Self { settle, pending: HashMap::new(), rested: HashMap::new() }
    }

    /// A file was seen so.
    pub fn see(&mut self, path: PathBuf, stamp: Stamp, now: Instant) {
        if self.rested.get(&path).is_some_and(|rested| rested.stamp == stamp) {
            return;
        }
        self.await_calm(path, stamp, now);
    }

    /// As [`Settling::see`], and what waits for something beside it is tried again.
    pub fn see_again(&mut self, path: PathBuf, stamp: Stamp, now: Instant) {
        if self.rested.get(&path).is_some_and(|rested| rested.stamp == stamp && !rested.waits) {
            return;
        }
        self.await_calm(path, stamp, now);
    }

    fn await_calm(&mut self, path: PathBuf, stamp: Stamp, now: Instant) {
        match self.pending.get(&path) {
            Some((known, _)) if *known == stamp => {}
            _ => {
                self.pending.insert(path, (stamp, now + self.settle));
            }
        }
    }

    /// A file is to be tried at that time.
    pub fn again(&mut self, path: PathBuf, stamp: Stamp, at: Instant) {
        self.pending.insert(path, (stamp, at));
    }

    /// What waits in the same folder is tried at once.
    pub fn wake_beside(&mut self, path: &Path, now: Instant) {
        let beside = |other: &Path| other.parent() == path.parent();
        let waiting = self.rested.iter().filter(|(other, rested)| rested.waits && beside(other));
        let waiting: Vec<_> = waiting.map(|(other, rested)| (other.clone(), rested.stamp)).collect();
        for (other, stamp) in waiting {
            self.pending.insert(other, (stamp, now));
        }
    }

    /// A file is gone.
    pub fn forget(&mut self, path: &Path) {
        self.pending.remove(path);
        self.rested.remove(path);
    }

    /// All other files are gone.
    pub fn keep_only(&mut self, seen: &[(PathBuf, Stamp)]) {
        let seen: HashSet<&Path> = seen.iter().map(|(path, _)| path.as_path()).collect();
        self.pending.retain(|path, _| seen.contains(path.as_path()));
        self.rested.retain(|path, _| seen.contains(path.as_path()));
    }

    /// A file is done with until it changes, or waits; says whether that is news.
    pub fn rest(&mut self, path: PathBuf, stamp: Stamp, why: &str, waits: bool) -> bool {
        let rested = Rested { stamp, why: why.to_owned(), waits };
        let before = self.rested.insert(path, rested);
        before.is_none_or(|before| before.stamp != stamp || before.why != why)
    }

    /// When the next file is complete.
    pub fn next_due(&self) -> Option<Instant> {
        self.pending.values().map(|(_, due)| *due).min()
    }

    /// Takes the files that did not change for long enough, in the order of their paths.
    pub fn take_due(&mut self, now: Instant) -> Vec<(PathBuf, Stamp)> {
        let mut due: Vec<_> =
            self.pending.extract_if(|_, (_, due)| *due <= now).map(|(path, (stamp, _))| (path, stamp)).collect();
        due.sort_by(|a, b| a.0.cmp(&b.0));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stamp(bytes: u64) -> Stamp {
        Stamp { bytes, mtime: 0 }
    }

    fn names(due: Vec<(PathBuf, Stamp)>) -> Vec<String> {
        due.into_iter().map(|(path, _)| path.display().to_string()).collect()
    }

    #[tokio::test]
    async fn a_file_is_complete_when_it_did_not_change_for_a_while() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut s = Settling::new(2 * second);
        s.see("d/a".into(), stamp(1), start);
        s.see("d/a".into(), stamp(1), start + second);
        assert_eq!(s.next_due(), Some(start + 2 * second), "seen the same again: the time runs on");
        s.see("d/a".into(), stamp(2), start + second);
        assert!(s.take_due(start + 2 * second).is_empty(), "it grew");
        assert_eq!(names(s.take_due(start + 3 * second)), ["d/a"]);
        assert!(s.rest("d/a".into(), stamp(2), "in", false));
        s.see("d/a".into(), stamp(2), start);
        s.see_again("d/a".into(), stamp(2), start);
        assert_eq!(s.next_due(), None, "done with");
        s.see("d/a".into(), stamp(3), start);
        assert!(s.next_due().is_some(), "and not any more when it changed");
    }

    #[tokio::test]
    async fn what_waits_is_tried_again_and_told_once() {
        let now = Instant::now();
        let mut s = Settling::new(Duration::ZERO);
        assert!(s.rest("d/a.jpg".into(), stamp(1), "no-patient", true));
        assert!(s.rest("e/a.jpg".into(), stamp(1), "no-patient", true));
        assert!(!s.rest("d/a.jpg".into(), stamp(1), "no-patient", true));
        s.see("d/a.jpg".into(), stamp(1), now);
        assert_eq!(s.next_due(), None);
        s.wake_beside(Path::new("d/a.gdt"), now);
        assert_eq!(names(s.take_due(now)), ["d/a.jpg"]);
        s.see_again("e/a.jpg".into(), stamp(1), now);
        assert_eq!(names(s.take_due(now)), ["e/a.jpg"]);
        s.keep_only(&[]);
        assert!(s.rest("d/a.jpg".into(), stamp(1), "no-patient", true), "gone and come again is news");
    }
}
