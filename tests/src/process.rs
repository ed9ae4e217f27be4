//! Processes this test started: whether they live, what memory they hold, how they end.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// How often a state of another process is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Whether the process exists and is not a zombie.
#[must_use]
pub fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|s| s.rsplit_once(") ").map(|(_, rest)| !rest.starts_with('Z')))
        .unwrap_or(false)
}

/// Sends a signal.
///
/// # Panics
/// For a pid that is no process id.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    // A process that is gone already is what the caller wanted.
    let _ = rustix::process::kill_process(pid, signal);
}

/// Ends a process as a power cut would.
pub fn kill_9(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

/// The arguments a process runs with, spaces between.
#[must_use]
pub fn command_line(pid: u32) -> String {
    fs::read(format!("/proc/{pid}/cmdline")).map(|b| String::from_utf8_lossy(&b).replace('\0', " ")).unwrap_or_default()
}

/// Looks until `done` holds or the deadline passes; the answer is whether it held.
pub fn until(deadline: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

/// Resident memory now, in bytes (`VmRSS`).
///
/// # Panics
/// When the process is gone.
#[must_use]
pub fn resident_bytes(pid: u32) -> u64 {
    status_field(pid, "VmRSS:")
}

/// The highest resident memory since the start or the last [`forget_peak`], in bytes (`VmHWM`).
///
/// # Panics
/// When the process is gone.
#[must_use]
pub fn peak_bytes(pid: u32) -> u64 {
    status_field(pid, "VmHWM:")
}

/// Makes the present memory the peak.
///
/// # Errors
/// When the kernel does not let us (the process belongs to somebody else).
pub fn forget_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

fn status_field(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|_| panic!("process {pid} is gone"));
    let line = status.lines().find(|l| l.starts_with(field)).unwrap_or_else(|| panic!("{field} of {pid} (a zombie?)"));
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of KiB");
    kib * 1024
}
