//! An object that is written while its bytes arrive.

use crate::{Objects, StoreError, folder_upload::FolderUpload, name, objects::Claim, steady::BegunTwice};
use bytes::Bytes;
use leadglass_model::{Durable, ObjectId};
use object_store::{MultipartUpload, ObjectStore, PutPayload};
use std::{path::Path, time::Duration};
use tokio::task::JoinSet;

/// An upload under way. Nothing of it is visible before [`Upload::finish`] answers; dropped, it is given up.
///
/// Memory: one part that fills and at most two on their way, of [`Objects::part_bytes`] each; all uploads together have at
/// most 16 parts on their way.
pub struct Upload {
    /// `None` once it has ended.
    parts: Option<Parts>,
}

struct Parts {
    objects: Objects,
    claim: Claim,
    /// `None` until the first part is full: what is shorter is put at once.
    upload: Option<Box<dyn MultipartUpload>>,
    flying: JoinSet<object_store::Result<()>>,
    filling: Vec<Bytes>,
    filling_bytes: usize,
    sent_bytes: u64,
}

impl Upload {
    pub(crate) fn new(objects: Objects, claim: Claim) -> Self {
        let flying = JoinSet::new();
        let parts =
            Parts { objects, claim, upload: None, flying, filling: Vec::new(), filling_bytes: 0, sent_bytes: 0 };
        Self { parts: Some(parts) }
    }

    /// Which object.
    pub fn object(&self) -> Option<ObjectId> {
        self.parts.as_ref().map(|parts| parts.claim.id())
    }

    /// Takes the next bytes; waits while two parts are on their way. After an error only [`Upload::abort`] makes sense.
    ///
    /// Cancel safety: none; a dropped call may have taken some of the bytes.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        let Some(parts) = &mut self.parts else { return Err(StoreError::Missing) };
        let part_bytes = parts.objects.part_bytes();
        while !bytes.is_empty() {
            let some = bytes.len().min(part_bytes - parts.filling_bytes);
            parts.filling.push(bytes.split_to(some));
            parts.filling_bytes += some;
            if parts.filling_bytes == part_bytes {
                parts.send().await?;
            }
        }
        Ok(())
    }

    /// Makes the object durable and visible. After an error it may still be visible, whole: the answer was lost, not the
    /// object. Nobody was told, so it is left to whoever compares the store with the index.
    ///
    /// Cancel safety: a dropped call leaves the object whole or absent.
    pub async fn finish(mut self) -> Result<Durable, StoreError> {
        let Some(mut parts) = self.parts.take() else { return Err(StoreError::Missing) };
        let id = parts.claim.id();
        if parts.upload.is_none() {
            return parts.objects.put_claimed(&parts.claim, parts.filling).await;
        }
        if let Err(e) = parts.flush().await {
            parts.give_up().await;
            return Err(e);
        }
        let Some(upload) = &mut parts.upload else { return Err(StoreError::Missing) };
        match upload.complete().await {
            Ok(done) => {
                let receipt = Durable::attest(id, parts.sent_bytes);
                // What was begun twice stays in the ledger: the next sweep takes the other beginning away.
                if done.extensions.get::<BegunTwice>().is_none() {
                    end(&parts.objects, id).await;
                }
                Ok(receipt)
            }
            Err(e) => {
                // The ledger keeps it: the next sweep looks at what became of it.
                parts.leave().await;
                Err(e.into())
            }
        }
    }

    /// Gives the upload up and removes what there is of it.
    pub async fn abort(mut self) {
        if let Some(parts) = self.parts.take() {
            parts.abort().await;
        }
    }
}

impl Parts {
    async fn send(&mut self) -> Result<(), StoreError> {
        while self.flying.len() >= FLYING_MAX {
            self.land().await?;
        }
        let permit = self.objects.shared.flying.clone().acquire_owned().await;
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                let begun = self.open().await?;
                self.upload.insert(begun)
            }
        };
        let payload: PutPayload = std::mem::take(&mut self.filling).into_iter().collect();
        self.sent_bytes += self.filling_bytes as u64;
        self.filling_bytes = 0;
        // A part moves only while somebody polls it; the task does.
        let part = upload.put_part(payload);
        self.flying.spawn(async move {
            let landed = part.await;
            drop(permit);
            landed
        });
        Ok(())
    }

    /// Begins the upload in the store. The ledger knows of it before.
    async fn open(&mut self) -> Result<Box<dyn MultipartUpload>, StoreError> {
        let (objects, id) = (&self.objects, self.claim.id());
        objects.on_ledger(move |ledger| ledger.begin(id)).await?;
        let name = name::of(id);
        let begin = async {
            let Some(folder) = objects.shared.backing.own_folder().map(Path::to_owned) else {
                return Ok(objects.shared.backing.store.put_multipart_opts(&name, Default::default()).await?);
            };
            let upload = tokio::task::spawn_blocking(move || FolderUpload::begin(&folder, id)).await??;
            Ok(Box::new(upload) as Box<dyn MultipartUpload>)
        };
        // A folder has said so when we began.
        let vacant = async { if objects.shared.backing.folder.is_none() { objects.vacant(id).await } else { Ok(()) } };
        let failed = match futures::join!(vacant, begin) {
            (Ok(()), Ok(upload)) => return Ok(upload),
            (Err(e), Ok(mut upload)) => {
                // What stays is taken away by its name.
                let _ = upload.abort().await;
                e
            }
            (_, Err(e)) => e,
        };
        if matches!(failed, StoreError::Away { .. }) {
            // To ask it once more, for as long, is nothing that a sender should wait for.
            let objects = objects.clone();
            tokio::spawn(async move { close(&objects, id).await });
        } else {
            close(objects, id).await;
        }
        Err(failed)
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.filling_bytes > 0 {
            self.send().await?;
        }
        while !self.flying.is_empty() {
            self.land().await?;
        }
        Ok(())
    }

    async fn land(&mut self) -> Result<(), StoreError> {
        match self.flying.join_next().await {
            Some(landed) => Ok(landed??),
            None => Ok(()),
        }
    }

    /// Takes back what there is. A remote store that just failed would keep its caller waiting twice.
    async fn give_up(self) {
        if self.objects.shared.backing.folder.is_some() {
            self.abort().await;
        } else {
            tokio::spawn(self.abort());
        }
    }

    /// Takes back what there is, and leaves it to the next sweep to say what became of it.
    async fn leave(self) {
        let local = self.objects.shared.backing.folder.is_some();
        let work = async move {
            // Held until then: nobody begins the same object meanwhile.
            let _ = self.objects.remove_unfinished(self.claim.id()).await;
        };
        if local {
            work.await;
        } else {
            tokio::spawn(work);
        }
    }

    async fn abort(mut self) {
        let id = self.claim.id();
        // A part that a store still writes when the upload is taken back may come to lie there for good.
        let landed = async { while self.flying.join_next().await.is_some() {} };
        if tokio::time::timeout(LANDING, landed).await.is_err() {
            self.flying.shutdown().await;
        }
        let Some(mut upload) = self.upload else { return };
        // What cannot be removed now stays in the ledger for the next sweep.
        match upload.abort().await {
            Ok(()) => close(&self.objects, id).await,
            Err(e) => tracing::warn!(object = %id, error = %e, "Could not take back an upload"),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        // Without a runtime the ledger remembers it until the next sweep.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(parts.abort());
        }
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("object", &self.object()).finish_non_exhaustive()
    }
}

/// Removes leftovers and ends the ledger's entry.
async fn close(objects: &Objects, id: ObjectId) {
    match objects.remove_unfinished(id).await {
        Ok(()) => end(objects, id).await,
        Err(e) => tracing::warn!(object = %id, error = %e, "Could not remove an unfinished upload"),
    }
}

/// An entry that does not end is only looked at once more.
async fn end(objects: &Objects, id: ObjectId) {
    if let Err(e) = objects.on_ledger(move |ledger| ledger.end(id)).await {
        tracing::warn!(object = %id, error = %e, "Could not write the ledger of uploads");
    }
}

const FLYING_MAX: usize = 2;
/// So long a part that is under way may take to arrive before its upload is taken back.
const LANDING: Duration = Duration::from_secs(5);
