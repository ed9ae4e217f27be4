//! The index: which study, series and instance lie where.
//!
//! Rows are sealed under the study's index key before an engine sees them; an engine stores opaque bytes under row keys
//! that hold no UID. Everything readable lives in memory only. The index is a projection: it can be rebuilt from the
//! sealed objects and the key service.
//!
//! **Invariant:** nothing here writes a UID, a name or a key to a disk, a log or an error.

#![forbid(unsafe_code)]

mod engine;
mod row_key;
mod rows;

pub use engine::{Batch, Index, IndexError, Mark};
pub use row_key::{RowKey, Table};
pub use rows::{EarlierVersion, FrameLayout, InstanceRow, InstanceState, QuarantineReason, SeriesRow, StudyRow};
