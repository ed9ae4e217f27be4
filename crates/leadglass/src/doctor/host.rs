//! The machine: clock, swap, core dumps.

use super::Finding;
use nix::sys::resource::{Resource, getrlimit};
use std::{fs, path::Path};

pub(super) fn look() -> Vec<Finding> {
    vec![
        clock(Path::new("/run/systemd/timesync/synchronized").exists(), chrony_runs()),
        swap(fs::read_to_string("/proc/swaps").ok().as_deref()),
        dumps(
            fs::read_to_string("/proc/sys/kernel/core_pattern").ok().as_deref(),
            getrlimit(Resource::RLIMIT_CORE).ok().map(|(soft, _)| soft),
        ),
    ]
}

fn clock(synchronised: bool, chrony: bool) -> Finding {
    match (synchronised, chrony) {
        (true, _) => Finding::green("clock", "The clock is set by the network."),
        (false, true) => Finding::green("clock", "The clock is kept by chrony."),
        (false, false) => Finding::yellow(
            "clock-unknown",
            "Nothing is known to keep this clock right: the times in the audit log are as good as it. Run systemd-timesyncd or chrony.",
        ),
    }
}

fn chrony_runs() -> bool {
    ["/run/chrony/chronyd.pid", "/run/chronyd.pid", "/run/chrony/chronyd.sock"]
        .iter()
        .any(|path| Path::new(path).exists())
}

/// `/proc/swaps` has a heading and a line for each swap area. zram stays in memory.
fn swap(swaps: Option<&str>) -> Finding {
    let Some(swaps) = swaps else {
        return Finding::yellow("swap-unknown", "Whether memory is swapped to a disk cannot be told.");
    };
    let on_disk = swaps.lines().skip(1).filter(|line| !line.starts_with("/dev/zram")).count();
    if on_disk == 0 {
        Finding::green("no-swap", "No memory is swapped to a disk.")
    } else {
        Finding::yellow(
            "swap",
            "Swap is on: open images and keys could reach a disk. Switch it off, encrypt it, or set MemorySwapMax=0 for both services.",
        )
    }
}

fn dumps(pattern: Option<&str>, limit: Option<u64>) -> Finding {
    let piped = pattern.is_some_and(|pattern| pattern.starts_with('|'));
    match limit {
        Some(0) if !piped => Finding::green("no-core-dumps", "No core dump is written."),
        // A program that takes dumps through a pipe gets them whatever the limit says.
        Some(_) if piped => Finding::yellow(
            "core-dumps",
            "Core dumps go to a program (kernel.core_pattern): a crash would hand it open images. Set LimitCORE=0 and Storage=none.",
        ),
        Some(_) => Finding::yellow(
            "core-dumps",
            "Core dumps may be written: a crash would leave open images on a disk. Set LimitCORE=0 (deploy/leadglass.service does).",
        ),
        None => Finding::yellow("core-dumps-unknown", "Whether core dumps are written cannot be told."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Light;

    #[test]
    fn swap_on_a_disk_is_seen_and_zram_is_not_counted() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        let line = |name: &str| format!("{head}{name} partition 8388604 0 -2\n");
        assert_eq!(swap(Some(head)).light, Light::Green);
        assert_eq!(swap(Some(&line("/dev/zram0"))).light, Light::Green);
        assert_eq!(swap(Some(&line("/dev/sda2"))).light, Light::Yellow);
        assert_eq!(swap(None).light, Light::Yellow);
    }

    #[test]
    fn core_dumps_are_seen_through_a_pipe_too() {
        assert_eq!(dumps(Some("core"), Some(0)).light, Light::Green);
        assert_eq!(dumps(Some("core"), Some(u64::MAX)).light, Light::Yellow);
        assert_eq!(dumps(Some("|/lib/systemd/systemd-coredump"), Some(0)).light, Light::Yellow);
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_not_called_well() {
        assert_eq!(clock(false, false).light, Light::Yellow);
        assert_eq!(clock(true, false).light, Light::Green);
    }
}
