//! strace that makes every sync of a running program take long, so that a test can end it at any of them.
//!
//! A step that is durable ends with a sync. While the next one waits the program stands between the two, and a test has the time to
//! look where that is, to freeze it there, and to kill it.

use crate::peers::said;
use crate::process::{signal, until};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// So long a sync waits before it is done.
const DELAY: &str = "100ms";
const CALLS: &str = "fsync,fdatasync,syncfs";
const HELD_WITHIN: Duration = Duration::from_secs(30);

/// A program whose syncs are slow, as long as this lives.
#[derive(Debug)]
pub struct Slow {
    strace: Child,
    pid: u32,
    out: PathBuf,
}

impl Slow {
    /// Takes hold of a running program. What it syncs is written to `out`.
    ///
    /// # Panics
    /// When strace is missing, or cannot.
    #[must_use]
    pub fn on(pid: u32, out: &Path) -> Self {
        let words = fs::File::create(out.with_extension("words")).expect("the folder is writable");
        let strace = Command::new("strace")
            .args(["-f", "-y", "-o"])
            .arg(out)
            .args(["-e", &format!("trace={CALLS}"), "-e", &format!("inject={CALLS}:delay_enter={DELAY}")])
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(words)
            .spawn()
            .expect("strace is missing: run tests/all once, or install strace");
        let slow = Self { strace, pid, out: out.to_owned() };
        assert!(
            until(HELD_WITHIN, || slow.all(|status| !status.contains("TracerPid:\t0\n"))),
            "strace does not get hold of it: {}",
            fs::read_to_string(out.with_extension("words")).unwrap_or_default()
        );
        slow
    }

    /// The syncs that are over, each with its file.
    #[must_use]
    pub fn syncs(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.out).unwrap_or_default();
        text.split_inclusive('\n').filter(|line| line.ends_with("(DELAYED)\n")).map(str::to_owned).collect()
    }

    /// No thread goes on from here.
    ///
    /// # Panics
    /// When one does.
    pub fn freeze(&self) {
        signal(self.pid, Signal::STOP);
        let stands = |status: &str| status.contains("State:\tt") || status.contains("State:\tT");
        assert!(until(HELD_WITHIN, || self.all(stands)), "it does not stand still");
    }

    /// Whether this holds of every thread. One that has ended meanwhile is passed over.
    fn all(&self, holds: impl Fn(&str) -> bool) -> bool {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return false };
        tasks.flatten().all(|task| {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            status.is_empty() || holds(&status)
        })
    }

    /// Whether this machine lets one program look at another that is not its child. Many do so for root alone (yama).
    ///
    /// # Panics
    /// When it does not, or strace is missing, where a machine brings its tools.
    #[must_use]
    pub fn is_possible() -> bool {
        let mut other = Command::new("sleep").arg("1").stdin(Stdio::null()).spawn().expect("sleep runs");
        // It ends with what it looks at.
        let tried = Command::new("strace")
            .args(["-o", "/dev/null", "-e", "trace=none", "-p", &other.id().to_string()])
            .stdin(Stdio::null())
            .output();
        let _ = other.kill();
        let _ = other.wait();
        let told = tried.map_or_else(|error| error.to_string(), |output| said(&output));
        let can = told.contains("attached");
        assert!(can || std::env::var_os("LEADGLASS_ALL_TOOLS").is_none(), "strace gets hold of nothing: {told}");
        can
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // Asked to end it would first wait for what it has stopped.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
        // What was frozen and is to live goes on.
        if crate::process::alive(self.pid) {
            signal(self.pid, Signal::CONT);
        }
    }
}
