//! The two children: key service first, then vault; ended the other way round.

use super::{
    home::Home,
    keyd::Keyd,
    summary::{Pids, Summary, Tokens},
    supervise::{Ready, Recipe, keep},
};
use crate::serve::Addresses;
use anyhow::Context;
use std::time::{Duration, Instant};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Both, running.
#[derive(Debug)]
pub struct Children {
    keyd: Child<serde_json::Value>,
    vault: Child<Addresses>,
}

#[derive(Debug)]
struct Child<T> {
    ready: watch::Receiver<Ready<T>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl<T> Child<T> {
    async fn end(self) {
        self.stop.cancel();
        // The task ends by itself; a panic in it was logged, and the child died with it.
        let _ended = self.task.await;
    }
}

impl Children {
    /// Starts both and waits until both serve. Dropped before that, it leaves nobody behind.
    pub async fn start(home: &Home, keyd: &Keyd) -> anyhow::Result<Self> {
        let ready_file = home.log("keyd.ready");
        let keyd = child(Recipe {
            name: "key service",
            program: keyd.program().to_owned(),
            args: keyd.serve_args(&ready_file),
            ready_file,
            log: home.log("keyd.log"),
        })
        .await?;
        let ready_file = home.log("vault.ready");
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let config = text(&home.config("vault.toml"));
        let args = ["--log", "json", "serve", "--config", &config, "--stdin-guard", "--ready-file", &text(&ready_file)];
        let vault = child(Recipe {
            name: "vault",
            program: std::env::current_exe().context("our own program cannot be found")?,
            args: args.map(Into::into).into(),
            ready_file,
            log: home.log("vault.log"),
        })
        .await;
        match vault {
            Ok(vault) => Ok(Self { keyd, vault }),
            Err(error) => {
                keyd.end().await;
                Err(error)
            }
        }
    }

    /// Where both serve now.
    pub fn summary(&self, home: &Home, tokens: &Tokens) -> Summary {
        let vault = self.vault.ready.borrow();
        let pids = Pids { vault: vault.pid, keyd: self.keyd.ready.borrow().pid };
        Summary::of(home, tokens.clone(), &vault.says, pids)
    }

    /// Waits until one of them was started again and serves.
    ///
    /// Cancel safety: safe.
    pub async fn changed(&mut self) -> anyhow::Result<()> {
        let changed = tokio::select! {
            changed = self.keyd.ready.changed() => changed,
            changed = self.vault.ready.changed() => changed,
        };
        changed.context("a child is no longer looked after")
    }

    /// Ends the vault, which may need keys to finish, then the key service.
    pub async fn end(self) {
        self.vault.end().await;
        self.keyd.end().await;
    }
}

async fn child<T>(recipe: Recipe) -> anyhow::Result<Child<T>>
where
    T: serde::de::DeserializeOwned + Clone + Send + Sync + 'static,
{
    let stop = CancellationToken::new();
    let (ready, task) = keep(recipe, stop.clone()).await?;
    Ok(Child { ready, stop, task })
}

/// Waits for the children of an `up` that was killed: they end by themselves when their standard input closes.
pub async fn wait_for_orphans(home: &Home) -> anyhow::Result<()> {
    let Ok(bytes) = std::fs::read(home.up_json()) else { return Ok(()) };
    let Ok(before) = serde_json::from_slice::<Summary>(&bytes) else { return Ok(()) };
    let begun = Instant::now();
    for (pid, name) in [(before.pids.vault, "leadglass"), (before.pids.keyd, "leadglass-keyd")] {
        while runs(pid, name) {
            anyhow::ensure!(
                begun.elapsed() < ORPHANS_END,
                "process {pid} ({name}) of an earlier `leadglass up` does not end; end it, then start again"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// Whether the process runs that program; a number that went to somebody else does not count, nor does a dead child
/// that its parent has not looked at.
fn runs(pid: u32, name: &str) -> bool {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    read("comm").trim_end() == name && !read("status").contains("\nState:\tZ")
}

/// Longer than a vault drains.
const ORPHANS_END: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_number_and_name() {
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert!(runs(std::process::id(), own.trim_end()));
        assert!(!runs(std::process::id(), "somebody-else"));
        assert!(!runs(u32::MAX, own.trim_end()));
    }
}
