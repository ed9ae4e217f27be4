//! The tap: watches DICOM bytes go by and says what they are.
//!
//! Bytes are pushed in pieces of any size; out come the identifying attributes ([`InstanceHeader`]), DICOM JSON metadata,
//! the [`FrameTable`] and the places of bulk values ([`Tapped`]). The same bytes go on untouched to whoever seals them.
//!
//! - [`Tap`] reads a data set of a known transfer syntax (a C-STORE), [`Part10Tap`] a whole PS3.10 file (an upload).
//! - [`Walker`] is the state machine below both: O(depth) memory, no recursion, no allocation by a claimed length.
//! - [`Rewriter`] writes a data set anew as Explicit VR Little Endian.
//! - [`Coercer`] replaces a few attributes, keeps what they were, and lets all else through as it lies.
//! - [`part10`] reads and writes file heads, [`command`] DIMSE command sets.
//!
//! **Invariant:** no I/O, no clock, no cryptography, no pixels kept. An error names a tag and a byte position, never a
//! value. Whatever a peer sends, memory stays under [`Limits`].

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may fail loudly"))]

mod charset;
mod coerce;
pub mod command;
mod dictionary;
mod encoding;
mod explicit;
mod frames;
mod header;
mod inflate;
mod json;
mod limits;
pub mod part10;
mod scan;
mod tag;
mod tap;
mod text;
mod walk;

pub use charset::{Charset, Decoded};
pub use coerce::{CoerceError, Coerced, CoercedBy, Coercer};
pub use encoding::{Encoding, Framing, Syntax};
pub use explicit::{Part, Replaced, RewriteError, Rewriter};
pub use frames::{FrameSource, FrameSpan, FrameTable};
pub use header::{InstanceHeader, RequestIds};
pub use json::{BulkForm, BulkValue};
pub use limits::Limits;
pub use part10::Part10Tap;
pub use tag::{Tag, Vr};
pub use tap::{Marks, Tap, TapError, Tapped};
pub use walk::{Element, Visitor, WalkError, Walker, Want};
