//! The tap as its neighbours see it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests may fail loudly"
)]

mod build;
mod files;
mod frames;
mod header;
mod hostile;
mod json;
mod laws;
