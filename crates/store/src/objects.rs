//! Objects of one store, as the engine sees them.

use crate::{Backing, StoreError, ledger::Ledger, local, name, upload::Upload};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use leadglass_model::{Durable, ObjectId};
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};
use parking_lot::Mutex;
use std::{collections::HashSet, path::Path, sync::Arc};
use tokio::sync::Semaphore;

/// The objects of one store. Clones share it.
#[derive(Clone)]
pub struct Objects {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) backing: Backing,
    pub(crate) ledger: Mutex<Ledger>,
    /// Objects that this process is writing.
    writing: Mutex<HashSet<ObjectId>>,
    /// Parts of all uploads that are on their way.
    pub(crate) flying: Arc<Semaphore>,
}

/// The right to write one object; one holder at a time.
pub(crate) struct Claim {
    shared: Arc<Shared>,
    id: ObjectId,
}

impl Objects {
    /// A folder of this machine. Blocks while it reads the ledger.
    pub fn local(dir: &Path) -> Result<Self, StoreError> {
        Self::over(Backing::local(dir)?)
    }

    /// Any store. Blocks while it reads the ledger.
    pub fn over(backing: Backing) -> Result<Self, StoreError> {
        if let Some(folder) = backing.own_folder() {
            local::make_folders(folder)?;
        }
        let ledger = Mutex::new(Ledger::open(&backing.ledger)?);
        Ok(Self {
            shared: Arc::new(Shared {
                backing,
                ledger,
                writing: Mutex::default(),
                flying: Arc::new(Semaphore::new(FLYING_MAX)),
            }),
        })
    }

    /// Writes a whole object. An object with the same bytes under that name is as good as written; other bytes are a
    /// [`StoreError::Conflict`].
    ///
    /// Cancel safety: a dropped call leaves the object whole or absent; putting it again is harmless.
    pub async fn put(&self, id: ObjectId, pieces: Vec<Bytes>) -> Result<Durable, StoreError> {
        let claim = self.claim(id)?;
        self.put_claimed(&claim, pieces).await
    }

    pub(crate) async fn put_claimed(&self, claim: &Claim, pieces: Vec<Bytes>) -> Result<Durable, StoreError> {
        let id = claim.id();
        self.remove_unfinished(id).await?;
        let payload: PutPayload = pieces.into_iter().collect();
        let len = payload.content_length() as u64;
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.shared.backing.store.put_opts(&name::of(id), payload.clone(), create).await {
            Ok(_) => Ok(Durable::attest(id, len)),
            // By us, if an answer was lost, here or in another life.
            Err(object_store::Error::AlreadyExists { .. }) => {
                if !self.holds(id, &payload).await? {
                    return Err(StoreError::Conflict);
                }
                // Whoever wrote it may have died before its name was durable.
                self.on_folder(id, local::sync).await?;
                Ok(Durable::attest(id, len))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Begins an object whose bytes are still arriving. It is visible once [`Upload::finish`] is done, whole. That the name is
    /// taken is said here by a folder of this machine, and by a remote store not before its first part or the end.
    ///
    /// Cancel safety: a dropped call leaves nothing.
    pub async fn begin(&self, id: ObjectId) -> Result<Upload, StoreError> {
        let claim = self.claim(id)?;
        // A round trip for every object that nobody else could have named: a remote store is asked on the way.
        if self.shared.backing.folder.is_some() {
            self.vacant(id).await?;
        }
        Ok(Upload::new(self.clone(), claim))
    }

    /// Whether the name is free; a [`StoreError::Conflict`] if not.
    pub(crate) async fn vacant(&self, id: ObjectId) -> Result<(), StoreError> {
        match self.len(id).await {
            Err(StoreError::Missing) => Ok(()),
            Ok(_) => Err(StoreError::Conflict),
            Err(e) => Err(e),
        }
    }

    /// How many bytes an upload sends at once.
    pub fn part_bytes(&self) -> usize {
        self.shared.backing.part_bytes.max(1)
    }

    /// Length of an object in bytes.
    pub async fn len(&self, id: ObjectId) -> Result<u64, StoreError> {
        Ok(self.shared.backing.store.head(&name::of(id)).await?.size)
    }

    /// Every object with its length, in no order. Files under other names are not objects and are left out.
    pub fn list(&self) -> BoxStream<'static, Result<(ObjectId, u64), StoreError>> {
        let found = self.shared.backing.store.list(Some(&name::root()));
        let objects = found
            .map_err(StoreError::from)
            .try_filter_map(|meta| async move { Ok(name::parse(&meta.location).map(|id| (id, meta.size))) });
        objects.boxed()
    }

    /// Removes an object for good. One that is not there is as good as removed. For the eraser alone.
    ///
    /// Cancel safety: a dropped call may or may not have removed it; removing it again is harmless.
    pub async fn delete(&self, id: ObjectId) -> Result<(), StoreError> {
        let _claim = self.claim(id)?;
        self.remove_unfinished(id).await?;
        match self.shared.backing.store.delete(&name::of(id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        // The local store does not make removals durable.
        self.on_folder(id, local::sync_folder).await
    }

    /// As [`Objects::delete`]; and where the bucket keeps versions, all of them and what marks their end, looked for again until
    /// none is listed. Needs the rights to list and to delete versions there.
    ///
    /// Cancel safety: erasing it again goes on.
    pub async fn erase(&self, id: ObjectId) -> Result<(), StoreError> {
        self.delete(id).await?;
        if let Some(unfinished) = &self.shared.backing.unfinished {
            unfinished.erase_versions(&name::of(id)).await?;
        }
        Ok(())
    }

    /// Whether these very bytes stand under that name.
    async fn holds(&self, id: ObjectId, payload: &PutPayload) -> Result<bool, StoreError> {
        let (mut found, len) = self.stream(id, 0).await?;
        if len != payload.content_length() as u64 {
            return Ok(false);
        }
        let mut ours = payload.iter().filter(|piece| !piece.is_empty()).cloned();
        let mut piece = Bytes::new();
        while let Some(mut theirs) = found.try_next().await? {
            while !theirs.is_empty() {
                if piece.is_empty() {
                    let Some(next) = ours.next() else { return Ok(false) };
                    piece = next;
                }
                let some = piece.len().min(theirs.len());
                if piece.split_to(some) != theirs.split_to(some) {
                    return Ok(false);
                }
            }
        }
        Ok(piece.is_empty() && ours.next().is_none())
    }

    pub(crate) fn claim(&self, id: ObjectId) -> Result<Claim, StoreError> {
        if !self.shared.writing.lock().insert(id) {
            return Err(StoreError::InUse);
        }
        Ok(Claim { shared: self.shared.clone(), id })
    }

    /// Removes leftovers of dead writers of that object; the caller holds the claim, so nobody alive is meant.
    pub(crate) async fn remove_unfinished(&self, id: ObjectId) -> Result<(), StoreError> {
        if let Some(unfinished) = &self.shared.backing.unfinished {
            // Only what the ledger knows can be there, and to look is a request.
            if self.on_ledger(move |ledger| Ok(ledger.is_open(id))).await? {
                unfinished.abort_all(&name::of(id)).await?;
            }
        }
        self.on_folder(id, |folder, id| local::remove_unfinished(folder, id).map(drop)).await
    }

    /// Does `work` on a blocking thread, if the store is a folder of this machine.
    pub(crate) async fn on_folder(
        &self,
        id: ObjectId,
        work: impl FnOnce(&Path, ObjectId) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        if let Some(folder) = self.shared.backing.folder.clone() {
            tokio::task::spawn_blocking(move || work(&folder, id)).await??;
        }
        Ok(())
    }

    /// Does `work` on the ledger, on a blocking thread.
    pub(crate) async fn on_ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Ledger) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.shared.clone();
        Ok(tokio::task::spawn_blocking(move || work(&mut shared.ledger.lock())).await??)
    }
}

/// Parts of all uploads on their way at one time; each upload holds one more that fills.
const FLYING_MAX: usize = 16;

impl Claim {
    pub(crate) fn id(&self) -> ObjectId {
        self.id
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.writing.lock().remove(&self.id);
    }
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("store", &self.shared.backing.store).finish_non_exhaustive()
    }
}
