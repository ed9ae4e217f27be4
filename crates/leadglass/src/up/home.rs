//! The directory of `up`: what lies where, who runs in it, how far its making came.
//!
//! `config/making` stands while the first start makes things and nobody has stored anything yet: a first start that was
//! cut off is begun again from nothing. `config/installation.json` stands once it is whole, and is never made anew.

use crate::files;
use anyhow::{Context, bail, ensure};
use leadglass_model::TenantId;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Paths under one directory, all absolute.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// What the first start made, and what is still to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// "Practice".
    pub tenant: TenantId,
    /// "Other practice".
    pub other_tenant: TenantId,
    /// The sample study is to be loaded once all serves.
    pub sample_pending: bool,
}

/// How far a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Nothing lies in it.
    Empty,
    /// A first start was cut off.
    HalfMade,
    /// Whole.
    Made(Installation),
}

impl Home {
    /// Takes the directory, making it when it is missing.
    pub fn at(dir: &Path) -> anyhow::Result<Self> {
        files::make_dir(dir)?;
        let root = dir.canonicalize().with_context(|| format!("cannot use {}", dir.display()))?;
        ensure!(root.to_str().is_some(), "the directory's path is no UTF-8: configuration files could not name it");
        Ok(Self { root })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The key service's data directory.
    pub fn keyd(&self) -> PathBuf {
        super::keyd_data(&self.root)
    }

    /// The vault's data directory.
    pub fn vault(&self) -> PathBuf {
        self.root.join("vault")
    }

    /// Sealed objects.
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// A certificate or private key.
    pub fn tls(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(name)
    }

    /// A file that steers or remembers.
    pub fn config(&self, name: &str) -> PathBuf {
        self.root.join("config").join(name)
    }

    /// A child's log, or its ready file.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("log").join(name)
    }

    /// The page that brings a dead key service back.
    pub fn sheet(&self) -> PathBuf {
        super::sheet(&self.root)
    }

    /// Where everything is, for scripts.
    pub fn up_json(&self) -> PathBuf {
        self.root.join("up.json")
    }

    /// Makes sure that nobody else runs `up` here, for as long as the answer or a copy of it lives.
    ///
    /// A first start hands copies to the commands that it runs. When it is killed, a command ends by itself and lets go:
    /// that is waited for, and nothing else is.
    ///
    /// Cancel safety: safe.
    pub async fn lock(&self) -> anyhow::Result<File> {
        let path = self.root.join("up.lock");
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if self.config("making").exists() && begun.elapsed() < COMMAND_TIME => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(TryLockError::WouldBlock) => {
                    bail!("leadglass up runs in {} already; end it first, or give another --data", self.root.display())
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
    }

    /// How far it is. Call it under the lock.
    pub fn stage(&self) -> anyhow::Result<Stage> {
        let path = self.config("installation.json");
        match fs::read(&path) {
            Ok(bytes) => {
                let made = serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
                return Ok(Stage::Made(made));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
        if self.config("making").exists() {
            return Ok(Stage::HalfMade);
        }
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            // `config` alone is empty: its first file is the mark above.
            if name != "up.lock" && name != "config" {
                bail!("{} holds other files; `leadglass up` wants a directory of its own", self.root.display());
            }
        }
        Ok(Stage::Empty)
    }

    /// Begins a first start: removes what one that was cut off left, and makes the directories.
    pub fn begin(&self) -> anyhow::Result<()> {
        files::make_dir(&self.root.join("config"))?;
        files::write(&self.config("making"), b"A first start is under way; nothing was stored yet.\n")?;
        for dir in ["keyd", "vault", "objects", "tls", "log"] {
            let path = self.root.join(dir);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
            // The key service makes its own.
            if dir != "keyd" {
                files::make_dir(&path)?;
            }
        }
        for file in [self.sheet(), self.config("unseal.key"), self.config("tokens.json"), self.config("vault.toml")] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Says that the first start is whole, or that its sample is loaded.
    pub fn remember(&self, installation: &Installation) -> anyhow::Result<()> {
        files::write_json(&self.config("installation.json"), installation)?;
        match fs::remove_file(self.config("making")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("cannot end the first start"),
            _ => Ok(()),
        }
    }
}

/// `given`, or the place for a person's data: `$XDG_DATA_HOME/leadglass`, else `~/.local/share/leadglass`.
pub fn choose(
    given: Option<PathBuf>,
    xdg_data_home: Option<PathBuf>,
    home: Option<PathBuf>,
) -> anyhow::Result<PathBuf> {
    // The XDG base directory specification has relative paths ignored.
    let xdg = xdg_data_home.filter(|path| path.is_absolute());
    given
        .or_else(|| xdg.map(|path| path.join("leadglass")))
        .or_else(|| home.map(|path| path.join(".local/share/leadglass")))
        .context("no home directory is known: give --data DIR")
}

/// The longest that a command of a first start runs.
const COMMAND_TIME: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(&dir.path().join("up")).unwrap();
        (dir, home)
    }

    fn installation() -> Installation {
        let tenant = |byte| TenantId::from_bytes([byte; 16]);
        Installation { tenant: tenant(1), other_tenant: tenant(2), sample_pending: true }
    }

    #[test]
    fn the_directory_is_for_its_owner_alone() {
        let (_dir, home) = home();
        assert_eq!(fs::metadata(home.root()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn a_second_up_is_refused_while_one_runs() {
        let (_dir, home) = home();
        let held = home.lock().await.unwrap();
        let refusal = home.lock().await.unwrap_err().to_string();
        assert!(refusal.contains("already"), "{refusal}");
        drop(held);
        home.lock().await.unwrap();
    }

    #[tokio::test]
    async fn the_commands_of_a_first_start_that_was_killed_are_waited_for() {
        let (_dir, home) = home();
        let held = home.lock().await.unwrap();
        home.begin().unwrap();
        let copy = held.try_clone().unwrap();
        let mut command = std::process::Command::new("cat").stdin(copy).spawn().unwrap();
        drop(held);
        let lock = home.lock().await;
        assert!(command.wait().unwrap().success());
        lock.unwrap();
    }

    #[tokio::test]
    async fn a_directory_goes_from_empty_to_half_made_to_made() {
        let (_dir, home) = home();
        let _lock = home.lock().await.unwrap();
        assert_eq!(home.stage().unwrap(), Stage::Empty);
        home.begin().unwrap();
        assert_eq!(home.stage().unwrap(), Stage::HalfMade);
        home.remember(&installation()).unwrap();
        assert_eq!(home.stage().unwrap(), Stage::Made(installation()));
        assert!(!home.config("making").exists());
    }

    #[test]
    fn a_first_start_that_was_cut_off_leaves_nothing_to_the_next() {
        let (_dir, home) = home();
        home.begin().unwrap();
        fs::create_dir(home.keyd()).unwrap();
        fs::write(home.keyd().join("keys.redb"), b"half").unwrap();
        fs::write(home.sheet(), b"half").unwrap();
        home.begin().unwrap();
        assert!(!home.keyd().exists() && !home.sheet().exists());
    }

    #[test]
    fn a_directory_with_other_files_is_refused() {
        let (_dir, home) = home();
        fs::write(home.root().join("thesis.txt"), b"mine").unwrap();
        assert!(home.stage().is_err());
    }

    #[test]
    fn the_default_directory_follows_xdg() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(choose(path("here"), path("/x"), path("/h")).unwrap(), Path::new("here"));
        assert_eq!(choose(None, path("/x"), path("/h")).unwrap(), Path::new("/x/leadglass"));
        assert_eq!(choose(None, path("x"), path("/h")).unwrap(), Path::new("/h/.local/share/leadglass"));
        assert!(choose(None, None, None).is_err());
    }
}
