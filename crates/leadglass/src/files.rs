//! Small files that other programs wait for: whole or not there, and for the owner alone.

use anyhow::Context;
use serde::Serialize;
use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

/// Writes `value` as JSON under a temporary name, syncs, and renames.
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(value).context("cannot write JSON")?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// Writes under a temporary name, syncs, and renames. Mode 0600.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let put = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}

/// A text without the end of its last line; `-` is standard input. What names somebody is read so: process arguments are
/// readable by others.
pub fn text(file: &Path) -> anyhow::Result<String> {
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?
    } else {
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The lines of a text that are not empty.
pub fn lines(file: &Path) -> anyhow::Result<Vec<String>> {
    let text = text(file)?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Makes a directory, and those above it, for the owner alone.
pub fn make_dir(path: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path).with_context(|| format!("cannot make {}", path.display()))
}
