//! Children: started, watched, started again when they die, ended with us.
//!
//! A child ends when its standard input closes (`--stdin-guard`), so even a `kill -9` of the supervisor leaves nobody
//! behind. A child that dies is started again at once; one that does not come to serve is given a growing rest.

use anyhow::Context;
use serde::de::DeserializeOwned;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    process::{Child, ChildStdin, Command},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

/// How a child is started.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// For people: `vault`, `key service`.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments; `--ready-file FILE` is among them.
    pub args: Vec<String>,
    /// The file that the child writes once it serves.
    pub ready_file: PathBuf,
    /// Where its standard error goes.
    pub log: PathBuf,
}

/// A child that serves: its process id, and what its ready file says.
#[derive(Debug, Clone)]
pub struct Ready<T> {
    /// Process id.
    pub pid: u32,
    /// The ready file.
    pub says: T,
}

/// A child that ended before it served.
#[derive(Debug, thiserror::Error)]
#[error("the {name} ended with {status}; its log is {}", log.display())]
pub struct Ended {
    name: &'static str,
    status: String,
    log: PathBuf,
}

struct Running {
    child: Child,
    guard: Option<ChildStdin>,
}

/// Starts the child and keeps it running until `stop`. The receiver holds the latest that serves.
pub async fn keep<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    recipe: Recipe,
    stop: CancellationToken,
) -> anyhow::Result<(watch::Receiver<Ready<T>>, tokio::task::JoinHandle<()>)> {
    let mut running = start(&recipe)?;
    let ready = match wait_ready::<T>(&recipe, &mut running.child).await {
        Ok(ready) => ready,
        Err(error) => {
            let _ = running.child.kill().await;
            return Err(error);
        }
    };
    let (tell, told) = watch::channel(ready);
    let task = tokio::spawn(async move {
        let (mut rest, mut served) = (Duration::ZERO, true);
        loop {
            let begun = Instant::now();
            tokio::select! {
                () = stop.cancelled() => return end(running).await,
                status = running.child.wait() => {
                    let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
                    tracing::warn!(child = recipe.name, status, "the {} ended; starting it again", recipe.name);
                }
            }
            rest = match (served, begun.elapsed() > STEADY) {
                (true, true) => Duration::ZERO,
                (true, false) => FIRST_REST,
                (false, _) => (rest * 2 + FIRST_REST).min(LONGEST_REST),
            };
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(rest) => {}
                }
                match start(&recipe) {
                    Ok(again) => running = again,
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "the {} does not start", recipe.name);
                        rest = LONGEST_REST;
                        continue;
                    }
                }
                // A child that dies before it serves is found by the wait of the outer loop.
                tokio::select! {
                    () = stop.cancelled() => return end(running).await,
                    ready = wait_ready::<T>(&recipe, &mut running.child) => {
                        served = ready.is_ok();
                        if let Ok(ready) = ready {
                            tell.send_replace(ready);
                        }
                    }
                }
                break;
            }
        }
    });
    Ok((told, task))
}

fn start(recipe: &Recipe) -> anyhow::Result<Running> {
    match std::fs::remove_file(&recipe.ready_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("cannot remove the old ready file");
        }
        _ => {}
    }
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&recipe.log)
        .with_context(|| format!("cannot write {}", recipe.log.display()))?;
    let mut child = Command::new(&recipe.program)
        .args(&recipe.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        .kill_on_drop(true)
        // Ctrl-C at a terminal goes to a whole group: the vault must not lose the key service while it drains.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", recipe.program.display()))?;
    let guard = child.stdin.take();
    Ok(Running { child, guard })
}

async fn wait_ready<T: DeserializeOwned>(recipe: &Recipe, child: &mut Child) -> anyhow::Result<Ready<T>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Err(Ended { name: recipe.name, status: status.to_string(), log: recipe.log.clone() }.into());
        }
        if let Some(says) = read_ready(&recipe.ready_file) {
            let pid = child.id().context("the child has just ended")?;
            return Ok(Ready { pid, says });
        }
        anyhow::ensure!(
            begun.elapsed() < START_TIME,
            "the {} does not get ready; its log is {}",
            recipe.name,
            recipe.log.display()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn read_ready<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Asks by SIGTERM, waits, then ends it.
async fn end(mut running: Running) {
    if let Some(pid) = running.child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
    if tokio::time::timeout(END_TIME, running.child.wait()).await.is_err() {
        let _ = running.child.kill().await;
    }
    drop(running.guard);
}

/// A child that served so long is started again at once; one that served at all, after a short rest.
const STEADY: Duration = Duration::from_secs(1);
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(5);
/// A large index takes its time.
const START_TIME: Duration = Duration::from_secs(600);
const END_TIME: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
