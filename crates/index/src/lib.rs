//! The index: which study, series and instance lie where.
//!
//! Rows are sealed under the study's index key before an engine sees them; an engine stores opaque bytes under row keys
//! that hold no UID. Everything readable lives in memory only. The index is a projection: it can be rebuilt from the
//! sealed objects and the key service.
//!
//! **Invariant:** nothing here writes a UID, a name or a key to a disk, a log or an error.

#![forbid(unsafe_code)]

mod catalog;
mod engine;
mod find;
mod fold;
mod fuzzy;
mod keyring;
mod memory;
mod newborn;
mod order;
mod overlay;
mod packed;
mod pattern;
mod projection;
mod query;
mod range;
mod recent;
mod row_key;
mod rows;
mod scan;
mod sealed;
mod versions;
mod words;

pub mod conformance;

pub use catalog::{Catalog, Going, LoadReport, SealUnder, SealedMeta, StudyIndexKey, TenantKeys};
pub use engine::{Batch, Index, IndexError, Mark};
pub use find::FindError;
pub use memory::MemoryIndex;
pub use pattern::{NamePattern, Pattern, QueryError, TextPattern};
pub use query::{
    DeepQuery, Found, InstanceHit, InstanceKeys, Query, SeriesHit, SeriesKeys, Stopped, StudyEntry, StudyHit,
};
pub use range::{DateRange, TimeRange};
pub use row_key::{RowKey, Table};
pub use rows::{
    EarlierVersion, FrameLayout, InstanceRow, InstanceState, QuarantineReason, RequestRow, SeriesRow, StudyRow,
};
pub use sealed::Row;
