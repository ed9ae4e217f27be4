#![doc = include_str!("../JOURNAL.md")]
#![forbid(unsafe_code)]

mod config;
mod disk;
mod error;
#[cfg(test)]
mod faults;
mod frame;
mod handle;
mod mark;
#[cfg(test)]
mod older;
mod open;
mod replay;
#[cfg(test)]
mod simulated;
mod walk;
mod writer;

pub use config::{JournalConfig, MAX_RECORD_BYTES, MIN_SEGMENT_BYTES};
pub use error::{CommitError, JournalError, TrimError};
pub use handle::{Journal, Position};
pub use replay::{Replay, Replayed};
