//! What the system tests stand on: a vault over real sockets, senders, a reader, and eyes for what must not be there.
//!
//! **Invariant:** nothing here uses code of the product. The sender, the reader and the file format are written a second time, so
//! that a mistake in one is not blessed by the other.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

/// The root of this checkout.
#[must_use]
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace").to_owned()
}
