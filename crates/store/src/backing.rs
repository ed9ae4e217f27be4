//! What stands under the objects.

use crate::{
    StoreError,
    steady::{Steady, Unfinished},
};
use object_store::{ObjectStore, local::LocalFileSystem};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A store and what this node needs beside it.
#[derive(Clone)]
pub struct Backing {
    /// Where objects are.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The folder under `store` if it is one of this machine: there, unfinished uploads are files to be swept.
    pub(crate) folder: Option<PathBuf>,
    /// The node's list of uploads begun and not ended; a file of this machine.
    pub(crate) ledger: PathBuf,
    /// Uploads that died, if the store is a remote one that keeps them.
    pub(crate) unfinished: Option<Arc<dyn Unfinished>>,
    /// Whether something stands between the store and its folder.
    wrapped: bool,
    /// How many bytes of an upload go in one part. An upload holds at most three parts in memory.
    pub(crate) part_bytes: usize,
}

impl Backing {
    /// A folder of this machine, made if need be. The ledger stands in it as `uploads.lgl`.
    pub fn local(dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir)?;
        // Without fsync the store would answer before anything is durable.
        let store = LocalFileSystem::new_with_prefix(dir)?.with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            folder: Some(dir.canonicalize()?),
            unfinished: None,
            wrapped: false,
            ledger: dir.join("uploads.lgl"),
            part_bytes: LOCAL_PART_BYTES,
        })
    }

    /// A store that is no folder of this machine. The ledger's file stands in a folder that exists.
    #[must_use]
    pub fn remote(store: Arc<dyn ObjectStore>, ledger: PathBuf, part_bytes: usize) -> Self {
        Self { store, folder: None, unfinished: None, wrapped: false, ledger, part_bytes }
    }

    /// A remote store that is asked again.
    pub(crate) fn steady(steady: Steady, ledger: PathBuf, part_bytes: usize) -> Self {
        let unfinished = Some(Arc::new(steady.clone()) as Arc<dyn Unfinished>);
        Self { unfinished, ..Self::remote(Arc::new(steady), ledger, part_bytes) }
    }

    /// The same, with other parts.
    #[must_use]
    pub fn with_part_bytes(self, part_bytes: usize) -> Self {
        Self { part_bytes, ..self }
    }

    /// The folder, if nothing stands between.
    pub(crate) fn own_folder(&self) -> Option<&Path> {
        self.folder.as_deref().filter(|_| !self.wrapped)
    }

    /// The same, with `wrap` between.
    #[must_use]
    pub fn wrapped(self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self { store: wrap(self.store), wrapped: true, ..self }
    }
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backing").field("store", &self.store).field("folder", &self.folder).finish_non_exhaustive()
    }
}

const LOCAL_PART_BYTES: usize = 1 << 20;
