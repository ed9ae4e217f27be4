//! An upload into a folder of this machine, past the page cache.
//!
//! Parts arrive in order, each but the last of [`crate::Objects::part_bytes`]; every one is written at its place, two at a
//! time. The file has a temporary name until [`FolderUpload::complete`]: its bytes are synced, then it gets its
//! name, never replacing one, then the folder is synced. What a dead writer leaves is taken away by the sweep.

use crate::{batch::rename_to_new, local};
use async_trait::async_trait;
use leadglass_disk::{BLOCK_BYTES, BlockFile, Buffer};
use leadglass_model::ObjectId;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, UploadPart};
use parking_lot::Mutex;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file that fills.
pub(crate) struct FolderUpload {
    open: Option<Arc<Open>>,
    temporary: PathBuf,
    whole: PathBuf,
    len: u64,
}

struct Open {
    file: BlockFile,
    /// Those of parts that have landed.
    buffers: Mutex<Vec<Buffer>>,
}

impl FolderUpload {
    /// Makes the file. Leftovers of dead writers of that object are taken away first; the caller holds its claim.
    pub(crate) fn begin(folder: &Path, id: ObjectId) -> io::Result<Self> {
        let whole = local::file(folder, id);
        local::remove_unfinished(folder, id)?;
        let temporary = local::staged(&whole, 1);
        let file = match local::create_staged(&temporary) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                local::make_folders(folder)?;
                local::create_staged(&temporary)?
            }
            created => created?,
        };
        let file = BlockFile::over(file, &temporary);
        Ok(Self { open: Some(Arc::new(Open { file, buffers: Mutex::default() })), temporary, whole, len: 0 })
    }
}

impl Open {
    fn write(&self, payload: &PutPayload, offset: u64) -> io::Result<()> {
        let held = self.buffers.lock().pop();
        let mut buffer = held.unwrap_or_else(|| Buffer::new(WRITE_BYTES));
        let mut blocks = self.file.write_from(offset, &mut buffer);
        for piece in payload {
            blocks.push(piece)?;
        }
        blocks.finish_exactly()?;
        self.buffers.lock().push(buffer);
        Ok(())
    }
}

#[async_trait]
impl MultipartUpload for FolderUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (open, offset) = (self.open.clone(), self.len);
        self.len += payload.content_length() as u64;
        Box::pin(async move {
            let Some(open) = open.filter(|_| offset.is_multiple_of(BLOCK_BYTES as u64)) else { return Err(ended()) };
            blocking(move || open.write(&payload, offset)).await
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let Some(open) = self.open.take() else { return Err(ended()) };
        let (temporary, whole) = (self.temporary.clone(), self.whole.clone());
        blocking(move || {
            open.file.sync()?;
            rename_to_new(&temporary, &whole)?;
            whole.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None, extensions: object_store::Extensions::default() })
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.open = None;
        let temporary = self.temporary.clone();
        blocking(move || match std::fs::remove_file(temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        })
        .await
    }
}

impl std::fmt::Debug for FolderUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FolderUpload").field("len", &self.len).finish_non_exhaustive()
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> object_store::Result<T> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: String::new(), source: source.into() },
        _ => Error::Generic { store: "folder", source: source.into() },
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::JoinError { source: e })?.map_err(failed)
}

fn ended() -> Error {
    Error::Generic {
        store: "folder",
        source: "the upload has ended, or a part before the last was no whole blocks".into(),
    }
}

/// Bytes written at a time.
const WRITE_BYTES: usize = 256 << 10;
