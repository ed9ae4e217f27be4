//! What happens to a file that is in the vault, and to the GDT file that told whose it is.

use super::Config;
use crate::import::{
    item::open_file,
    patient::{companion, is_gdt},
};
use anyhow::{Context, bail};
use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Keep,
    /// It is moved below this folder.
    Move(PathBuf),
    /// It is deleted.
    Delete,
}

impl Then {
    /// `keep`, `delete`, or `move DIR`; keep when nothing is said.
    pub fn parse(words: &[PathBuf]) -> anyhow::Result<Self> {
        let words: Vec<&Path> = words.iter().map(PathBuf::as_path).collect();
        Ok(match words.as_slice() {
            [] => Self::Keep,
            [what] if what.as_os_str() == "keep" => Self::Keep,
            [what] if what.as_os_str() == "delete" => Self::Delete,
            [what, dir] if what.as_os_str() == "move" => {
                crate::files::make_dir(dir)?;
                Self::Move(dir.canonicalize().with_context(|| format!("cannot use {}", dir.display()))?)
            }
            _ => bail!("--then takes keep, delete, or move DIR"),
        })
    }
}

/// Does it; says what was done. A file whose bytes are not those of `digest` any more stays.
pub async fn settle(config: &Config, path: &Path, digest: Option<blake3::Hash>) -> &'static str {
    if config.then == Then::Keep {
        return "kept";
    }
    let (then, path) = (config.then.clone(), path.to_owned());
    let root = config.folders.iter().find(|root| path.starts_with(root)).cloned().unwrap_or_default();
    let done = tokio::task::spawn_blocking(move || -> io::Result<&'static str> {
        if digest.is_none() || hash(&path).ok() != digest {
            return Ok("kept");
        }
        let gdt = companion(&path).filter(|_| is_last_of_its_name(&path));
        let word = act(&then, &root, &path)?;
        if let Some(gdt) = gdt {
            act(&then, &root, &gdt)?;
        }
        Ok(word)
    });
    match done.await {
        Ok(Ok(word)) => word,
        Ok(Err(error)) => {
            tracing::warn!(kind = %error.kind(), "a file that is in the vault could not be moved or deleted: {}", error.kind());
            "kept"
        }
        Err(_) => "kept",
    }
}

/// The digest of a file as it lies there now.
pub async fn digest(path: &Path) -> Option<blake3::Hash> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || hash(&path).ok()).await.ok().flatten()
}

fn hash(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(open_file(path)?)?;
    Ok(hasher.finalize())
}

fn act(then: &Then, root: &Path, path: &Path) -> io::Result<&'static str> {
    match then {
        Then::Keep => Ok("kept"),
        Then::Delete => fs::remove_file(path).map(|()| "deleted"),
        Then::Move(target) => {
            let below = path.strip_prefix(root).unwrap_or(path);
            move_to(path, &target.join(below)).map(|()| "moved")
        }
    }
}

/// Moves without replacing anything: a second file of the same name gets a number.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    let (stem, end) = (to.file_stem().unwrap_or_default().to_owned(), to.extension().map(ToOwned::to_owned));
    for number in 0..MAX_SAME_NAMES {
        let mut target = to.to_owned();
        if number > 0 {
            let mut name = stem.clone();
            name.push(format!("-{number}"));
            target.set_file_name(name);
            if let Some(end) = &end {
                let mut name = target.into_os_string();
                name.push(".");
                name.push(end);
                target = name.into();
            }
        }
        match fs::hard_link(from, &target) {
            Ok(()) => return fs::remove_file(from),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // Another file system, or one without links.
            Err(_) => match copy(from, &target) {
                Ok(()) => return fs::remove_file(from),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            },
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = open_file(from)?;
    let mut target = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let copied = io::copy(&mut source, &mut target).and_then(|_| target.sync_all());
    if copied.is_err() {
        // Half a copy is none; the error that counts is the first.
        let _ = fs::remove_file(to);
    }
    copied
}

/// Whether no other image in the folder shares its name without extension, and so its GDT file.
fn is_last_of_its_name(path: &Path) -> bool {
    let Some(dir) = path.parent() else { return true };
    let others = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let shares = |other: &PathBuf| {
        other != path
            && !is_gdt(other)
            && other.file_stem().zip(path.file_stem()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
    };
    !others.into_iter().any(|other| shares(&other))
}

const MAX_SAME_NAMES: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn config(dir: &Path, then: &[&str]) -> Config {
        let then: Vec<PathBuf> = then.iter().map(PathBuf::from).collect();
        Config::new(&[dir.to_owned()], &then, Duration::ZERO, Duration::from_secs(1), true).unwrap()
    }

    #[tokio::test]
    async fn a_file_is_moved_with_its_gdt_file_and_nothing_is_replaced() {
        let (watched, done) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = config(watched.path(), &["move", done.path().to_str().unwrap()]);
        let root = watched.path().canonicalize().unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        for round in ["first", "second"] {
            for name in ["sub/a.jpg", "sub/a.pdf", "sub/a.gdt"] {
                fs::write(root.join(name), round).unwrap();
            }
            for name in ["sub/a.jpg", "sub/a.pdf"] {
                assert!(root.join("sub/a.gdt").exists(), "it still tells whose the other is");
                let digest = blake3::hash(round.as_bytes());
                assert_eq!(settle(&config, &root.join(name), Some(digest)).await, "moved");
            }
            assert!(!root.join("sub/a.gdt").exists());
        }
        for (name, expect) in [("sub/a.jpg", "first"), ("sub/a-1.jpg", "second"), ("sub/a-1.gdt", "second")] {
            assert_eq!(fs::read_to_string(done.path().join(name)).unwrap(), expect, "{name}");
        }
    }

    #[tokio::test]
    async fn a_file_that_changed_since_it_was_sent_stays() {
        let watched = tempfile::tempdir().unwrap();
        let config = config(watched.path(), &["delete"]);
        let path = watched.path().join("a");
        fs::write(&path, "new").unwrap();
        assert_eq!(settle(&config, &path, Some(blake3::hash(b"old"))).await, "kept");
        assert!(path.exists());
        assert_eq!(settle(&config, &path, digest(&path).await).await, "deleted");
        assert!(!path.exists());
    }
}
