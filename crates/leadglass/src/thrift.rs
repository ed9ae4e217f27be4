//! The allocator's settings for a node that lives long.
//!
//! Buffers of large instances are made on one thread and dropped on another; by default the allocator keeps them for a
//! while and in huge pages, which held 90 to 130 MiB beside eight instances of 500 MB. Given back at once they are asked
//! for again at once, which costs a page fault every 4 KiB: a twentieth of a second is long enough for the next use of a
//! buffer and too short to gather. It reads them from the environment before `main`, so the program starts itself once more with them.

use std::{os::unix::process::CommandExt, process::Command};

/// Starts the program anew, in the same process, unless the settings are there. An operator's own settings win.
pub fn settle() {
    if SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // Where the system forbids it, the node runs with the allocator's defaults.
    let error = Command::new(program).args(std::env::args_os().skip(1)).envs(SETTINGS).exec();
    tracing::debug!(%error, "the allocator keeps its defaults");
}

/// Give memory back after so many milliseconds; no huge pages.
const SETTINGS: [(&str, &str); 2] = [("MIMALLOC_PURGE_DELAY", "1000"), ("MIMALLOC_ALLOW_THP", "0")];
