//! What stands under the objects.

use crate::StoreError;
use object_store::{ObjectStore, local::LocalFileSystem};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A store and what this node needs beside it.
#[derive(Debug, Clone)]
pub struct Backing {
    /// Where objects are.
    pub store: Arc<dyn ObjectStore>,
    /// The folder under `store` if it is one of this machine: there, unfinished uploads are files to be swept.
    pub folder: Option<PathBuf>,
    /// The node's list of uploads begun and not ended; a file of this machine.
    pub ledger: PathBuf,
    /// How many bytes of an upload go in one part. An upload holds at most three parts in memory.
    pub part_bytes: usize,
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
            ledger: dir.join("uploads.lgl"),
            part_bytes: LOCAL_PART_BYTES,
        })
    }

    /// The same, with `wrap` between.
    #[must_use]
    pub fn wrapped(self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self { store: wrap(self.store), ..self }
    }
}

const LOCAL_PART_BYTES: usize = 1 << 20;
