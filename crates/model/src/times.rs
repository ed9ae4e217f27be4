//! How long somebody stays signed in.

use std::time::Duration;

/// How long a session lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionTimes {
    /// Without use, until a person has to show once more who he is.
    pub lock: Duration,
    /// Without use, until it ends.
    pub idle: Duration,
    /// In any case.
    pub absolute: Duration,
}

impl SessionTimes {
    /// The shorter of each.
    pub fn within(self, most: &Self) -> Self {
        Self {
            lock: self.lock.min(most.lock),
            idle: self.idle.min(most.idle),
            absolute: self.absolute.min(most.absolute),
        }
    }
}
