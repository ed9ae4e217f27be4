//! How far a repository was told, on disk.

use crate::files;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// All entries below `next` arrived at `receiver`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Whom: `host:port`.
    pub(crate) receiver: String,
    /// The first entry that it was not told.
    pub(crate) next: u64,
    /// The name of the entry before; empty at the beginning.
    pub(crate) entry: String,
    /// Whether this run found that entry in its place.
    #[serde(skip)]
    pub(super) known: bool,
}

impl Cursor {
    /// Nothing was told.
    pub(super) fn beginning(receiver: &str) -> Self {
        Self { receiver: receiver.to_owned(), next: 0, entry: String::new(), known: true }
    }

    /// Where it lies in a vault's data directory.
    pub(crate) fn place(data: &Path) -> PathBuf {
        data.join("syslog.json")
    }

    /// Reads it; nothing where none was written.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read(file) {
            Ok(text) => {
                let cursor = serde_json::from_slice(&text);
                cursor.map(Some).with_context(|| format!("{} does not parse; without it, all is sent", file.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Writes it, durably: a rename that is lost leaves an older one, and some entries are sent again.
    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        files::write_json(file, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_again_and_has_to_be_recognised_then() {
        let dir = tempfile::tempdir().unwrap();
        let file = Cursor::place(dir.path());
        assert_eq!(Cursor::read(&file).unwrap(), None);
        let cursor = Cursor { next: 7, entry: "ab".to_owned(), ..Cursor::beginning("here:6514") };
        cursor.write(&file).unwrap();
        assert_eq!(Cursor::read(&file).unwrap(), Some(Cursor { known: false, ..cursor }));
        std::fs::write(&file, "{").unwrap();
        assert!(Cursor::read(&file).is_err());
    }
}
