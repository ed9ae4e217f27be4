//! De-identification (PS3.15 Annex E): a data set is written anew without what names a patient.
//!
//! - [`Profile`] says what becomes of an attribute: the standard's table (`data/profile.tsv`) and the options chosen.
//! - [`JobKey`] makes other UIDs, pseudonyms and days out of the real ones: the same ones within a job, and nobody
//!   finds the way back once the key is gone.
//! - [`Deidentifier`] rewrites one data set, pushed in pieces of any size, and tells what it met ([`Findings`]).
//! - [`Doubt`] is why a person has to look before an instance leaves; [`Boxes`] are regions of pixels that are blanked.
//!
//! Where the table leaves a choice by the attribute's type in an object (`X/Z`, `X/Z/D` …), the last letter is taken:
//! it is right for every type, and nothing that names anybody is in an empty or a made-up value. What the table does
//! not know: private attributes, curves, overlays and attributes that the dictionary does not have are removed, names
//! emptied, long free text made up or cleaned, dates treated as the table treats dates, and UIDs mapped unless they
//! name a kind of thing (a SOP class, a coding scheme).
//!
//! **Invariant:** no I/O, no clock, no randomness, no recursion over a data set, no allocation by a claimed length. An
//! error names a tag and a byte position, never a value.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may fail loudly"))]

mod codestream;
mod dates;
mod dictionary;
mod doubt;
mod dummy;
mod findings;
mod job;
mod key;
mod method;
mod pixels;
mod profile;
mod rewrite;
mod words;

pub use doubt::Doubt;
pub use findings::{Counts, Findings, Shape};
pub use job::{Job, Plan};
pub use key::JobKey;
pub use method::Method;
pub use pixels::{BoxError, Boxes, Region, Rule, Rules};
pub use profile::{Choice, EDITION, Options, Preset, Profile};
pub use rewrite::{Deidentifier, DeidentifyError, Refusal};
