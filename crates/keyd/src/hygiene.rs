//! What keeps keys inside the process: no dumps, no core, no swap, no values in panic messages.
//!
//! Memory that is freed is wiped by the global allocator (`main.rs`). A guard that the machine forbids is a warning and
//! not a refusal: a key service without `mlockall` is better than none.

use nix::sys::{
    mman::{MlockAllFlags, mlockall},
    prctl::set_dumpable,
    resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
};

/// Takes every guard the machine allows and says what it would not allow.
pub fn guard() -> Vec<String> {
    let mut warnings = Vec::new();
    if let Err(errno) = set_dumpable(false) {
        warnings.push(format!("the process stays dumpable: {errno}"));
    }
    if let Err(errno) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        warnings.push(format!("core dumps stay possible: {errno}"));
    }
    if let Some(warning) = lock_memory() {
        warnings.push(warning);
    }
    warnings
}

/// A panic names its place in the source and never its message: a message may hold what was being worked on.
pub fn mute_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "unknown".to_owned(), |at| format!("{}:{}", at.file(), at.line()));
        tracing::error!(place, "A defect stopped a task");
    }));
}

/// Under a limit, `MCL_FUTURE` turns a later allocation into an abort, so memory is locked only where there is no limit.
fn lock_memory() -> Option<String> {
    let unlimited = match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((_, hard)) if hard == RLIM_INFINITY => setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard).is_ok(),
        Ok(_) | Err(_) => false,
    };
    if !unlimited {
        return Some(
            "memory is not locked: RLIMIT_MEMLOCK is limited (systemd: LimitMEMLOCK=infinity); keep swap off or encrypted"
                .to_owned(),
        );
    }
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
        .err()
        .map(|errno| format!("memory is not locked: {errno}; keep swap off or encrypted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_guard_no_core_is_written_and_the_process_is_not_dumpable() {
        let _warnings = guard();
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
    }
}
