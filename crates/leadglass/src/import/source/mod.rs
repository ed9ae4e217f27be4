//! Where images come from: a folder, an archive, the directory of a disc, another archive's REST interface.
//!
//! A source is listed bit by bit while its things are already being sent; nothing of it is held in memory but what is in
//! flight.

pub mod archive;
mod dicomdir;
pub mod folder;
pub mod orthanc;

use super::{
    item::{Item, Origin, SourceError, open_file},
    kind::{Kind, SNIFF_BYTES},
};
use anyhow::{Context, bail};
use archive::Archive;
use leadglass_model::Phi;
use orthanc::{Access, Orthanc};
use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// What a listing says.
#[derive(Debug)]
pub enum Found {
    /// A thing to look at.
    Item(Item),
    /// Something that is not looked at.
    Passed(Passed),
    /// Something that cannot be looked at, and its place.
    Unreadable(&'static str, Phi<String>),
}

/// What is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// A hidden file, or one that an operating system leaves behind.
    Hidden,
    /// A link: it could lead out of the source, or in a circle.
    Link,
    /// A pipe, a socket, a device.
    Special,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Things to look at.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One source.
#[derive(Debug, Clone)]
pub enum Source {
    /// All that lies below a folder.
    Folder(PathBuf),
    /// One file.
    File(PathBuf),
    /// A ZIP archive.
    Archive(Arc<Archive>),
    /// What a DICOMDIR lists.
    Directory(PathBuf),
    /// All instances of an Orthanc.
    Orthanc(Arc<Orthanc>),
}

impl Source {
    /// Looks what `word` is: an address begins with `http`; else a path, told by its content.
    pub async fn open(word: &str, access: &Access) -> anyhow::Result<Self> {
        if word.starts_with("http://") || word.starts_with("https://") {
            return Ok(Self::Orthanc(Arc::new(Orthanc::connect(word, access).await?)));
        }
        let shown = Path::new(word);
        let path = shown.canonicalize().with_context(|| format!("cannot read {}", shown.display()))?;
        if path.is_dir() {
            return Ok(Self::Folder(path));
        }
        let mut first = Vec::new();
        let file = open_file(&path).with_context(|| format!("cannot read {}", shown.display()))?;
        file.take(SNIFF_BYTES as u64).read_to_end(&mut first)?;
        Ok(match Kind::of(&first) {
            Kind::Archive => {
                let opened = tokio::task::spawn_blocking(move || Archive::open(&path)).await?;
                Self::Archive(Arc::new(opened.with_context(|| format!("cannot use {}", shown.display()))?))
            }
            Kind::Directory => Self::Directory(path),
            Kind::Other => bail!("{} is neither DICOM nor a folder, a ZIP archive or a DICOMDIR", shown.display()),
            _ => Self::File(path),
        })
    }

    /// Tells all that is there.
    ///
    /// Cancel safety: safe; a listener who goes away ends it.
    pub async fn list(self, tell: mpsc::Sender<Found>) -> Result<(), SourceError> {
        match self {
            Self::Orthanc(server) => Orthanc::list(server, tell).await,
            Self::File(path) => {
                let bytes = std::fs::metadata(&path).map_err(|e| SourceError::of(&e))?.len();
                // A listener who went away wants no more.
                let _ = tell.send(Found::Item(Item { origin: Origin::File(Phi::new(path)), bytes })).await;
                Ok(())
            }
            blocking => {
                tokio::task::spawn_blocking(move || blocking.list_blocking(|found| tell.blocking_send(found).is_ok()))
                    .await
                    .map_err(|_| SourceError::Io)?
            }
        }
    }

    /// How much there is, told again and again as it becomes known.
    ///
    /// Cancel safety: safe, it only reads.
    pub async fn count(self, mut tell: impl FnMut(Totals) -> bool + Send + 'static) {
        if let Self::Orthanc(server) = self {
            if let Ok(totals) = server.totals().await {
                tell(totals);
            }
            return;
        }
        let counting = move || {
            let mut totals = Totals::default();
            let counted = self.list_blocking(|found| {
                if let Found::Item(item) = found {
                    totals.items += 1;
                    totals.bytes += item.bytes;
                    if totals.items.is_multiple_of(COUNT_EVERY) {
                        return tell(totals);
                    }
                }
                true
            });
            // Who cannot be listed is told by the listing itself.
            if counted.is_ok() {
                tell(totals);
            }
        };
        // It is for the bar only.
        let _ = tokio::task::spawn_blocking(counting).await;
    }

    fn list_blocking(self, tell: impl FnMut(Found) -> bool) -> Result<(), SourceError> {
        match self {
            Self::Folder(root) => folder::list(&root, tell),
            Self::Archive(archive) => archive::list(&archive, tell),
            Self::Directory(path) => dicomdir::list(&path, tell),
            Self::File(path) => {
                let mut tell = tell;
                let bytes = std::fs::metadata(&path).map_err(|e| SourceError::of(&e))?.len();
                tell(Found::Item(Item { origin: Origin::File(Phi::new(path)), bytes }));
                Ok(())
            }
            Self::Orthanc(_) => Ok(()),
        }
    }
}

/// Names that operating systems leave behind.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || LEFT_BEHIND.iter().any(|left| name.eq_ignore_ascii_case(left))
}

const LEFT_BEHIND: [&str; 5] = ["Thumbs.db", "desktop.ini", "__MACOSX", "$RECYCLE.BIN", "System Volume Information"];
/// Things between two words about the total.
const COUNT_EVERY: u64 = 256;
