//! Help for tests: invented patients and data sets.
//!
//! **Invariant:** a dev-dependency only; nobody here exists.

#![forbid(unsafe_code)]

mod dataset;

pub use dataset::{CT_IMAGE_STORAGE, DataSet, EXPLICIT_VR_LITTLE_ENDIAN};
