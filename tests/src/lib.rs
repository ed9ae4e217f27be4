//! What the system tests stand on: a vault over real sockets, senders, a reader, and eyes for what must not be there.
//!
//! **Invariant:** nothing here uses code of the product. The sender, the reader and the file format are written a second time, so
//! that a mistake in one is not blessed by the other.

#![forbid(unsafe_code)]

pub mod alone;
pub mod big;
pub mod cast;
pub mod devices;
pub mod erasure;
pub mod eyes;
pub mod fixture;
pub mod form;
pub mod http;
pub mod part10;
pub mod peers;
pub mod person;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod recorder;
pub mod rows;
pub mod scu;
pub mod site;
pub mod slow;
pub mod stow;
pub mod thief;
pub mod trace;
pub mod vault;
pub mod weed;
pub mod wire;

use std::path::{Path, PathBuf};

/// The root of this checkout.
#[must_use]
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace").to_owned()
}

/// The folder the programs were built into: the one this very test runs from, without `deps`.
///
/// # Panics
/// When the running test has no path, which Linux always gives.
#[must_use]
pub fn built_programs() -> PathBuf {
    let own = std::env::current_exe().expect("a running test has a path");
    let dir = own.parent().expect("it stands in a folder");
    if dir.ends_with("deps") { dir.parent().expect("deps has a parent").to_owned() } else { dir.to_owned() }
}

/// A folder on disk (not in memory) that goes away with its value.
///
/// # Panics
/// When the disk refuses.
#[must_use]
pub fn scratch() -> tempfile::TempDir {
    let under = built_programs().join("system-tests");
    std::fs::create_dir_all(&under).expect("the target folder is writable");
    tempfile::Builder::new().prefix("lg").tempdir_in(under).expect("a scratch folder")
}
