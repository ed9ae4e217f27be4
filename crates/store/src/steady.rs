//! A remote store that is asked again when an answer does not come.
//!
//! Everything an object store can be asked here is repeatable: names are random and bytes under a name never change, so that
//! the same put twice is one put, and a body that breaks off is read on from where it broke. Two answers need a second look,
//! because the first attempt may have succeeded without our hearing of it: a create that finds the name taken (its caller
//! compares the bytes, see `Objects::put`), and the completion of an upload that is gone (the object's length tells).

use crate::{patience::Patience, told::Told};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
    multipart::{MultipartStore, PartId},
    path::Path,
};
use parking_lot::Mutex;
use std::{fmt, ops::Range, sync::Arc};

/// What can stand under a [`Steady`].
pub(crate) trait Remote: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Remote for T {}

/// Uploads that were begun under a name and never completed.
#[async_trait]
pub(crate) trait Unfinished: Send + Sync {
    /// Takes them away, all of that name and no other.
    async fn abort_all(&self, name: &Path) -> Result<()>;

    /// Takes away what a bucket with versions keeps of a deleted object.
    async fn erase_versions(&self, name: &Path) -> Result<()>;
}

/// With the answer to a completion: an earlier beginning under the same name may still stand in the store.
#[derive(Clone, Copy)]
pub(crate) struct BegunTwice;

/// A store that asks again. Clones share it.
#[derive(Clone)]
pub(crate) struct Steady(Arc<Shared>);

struct Shared {
    remote: Arc<dyn Remote>,
    unfinished: Arc<dyn Unfinished>,
    /// Before every name.
    prefix: Path,
    patience: Patience,
    /// For people: where it is. Nothing secret.
    place: String,
}

impl Steady {
    pub(crate) fn new(
        remote: Arc<dyn Remote>,
        unfinished: Arc<dyn Unfinished>,
        prefix: Path,
        patience: Patience,
        place: String,
    ) -> Self {
        Self(Arc::new(Shared { remote, unfinished, prefix, patience, place }))
    }

    async fn keep<T, F: Future<Output = Result<T>>>(&self, name: &Path, work: impl FnMut() -> F) -> Result<T> {
        self.0.patience.keep(name, work).await
    }

    /// The name as the remote store has it.
    fn full(&self, name: &Path) -> Path {
        self.0.prefix.parts().chain(name.parts()).collect()
    }

    /// The name as it is known here.
    fn own(&self, full: &Path) -> Result<Path> {
        let rest = full.prefix_match(&self.0.prefix);
        rest.map(Iterator::collect).ok_or_else(|| strange("a name outside the prefix"))
    }

    fn own_meta(&self, meta: ObjectMeta) -> Result<ObjectMeta> {
        Ok(ObjectMeta { location: self.own(&meta.location)?, ..meta })
    }

    /// The pieces of `range`; when they stop coming, the rest is asked for.
    fn resumed(
        &self,
        full: Path,
        pieces: BoxStream<'static, Result<Bytes>>,
        range: Range<u64>,
        meta: ObjectMeta,
    ) -> BoxStream<'static, Result<Bytes>> {
        let waits = self.0.patience.waits(&full);
        let state = (self.clone(), pieces, range.start, waits);
        let end = range.end;
        let pieces = futures::stream::try_unfold(state, move |(steady, mut pieces, mut at, mut waits)| {
            let (full, meta) = (full.clone(), meta.clone());
            async move {
                if at >= end {
                    return Ok(None);
                }
                // A reader that took its time is not the store's silence.
                waits.refresh();
                loop {
                    let failure = match pieces.next().await {
                        Some(Ok(piece)) if piece.len() as u64 <= end - at => {
                            at += piece.len() as u64;
                            return Ok(Some((piece, (steady, pieces, at, waits))));
                        }
                        Some(Ok(_)) => strange("more bytes than were asked for"),
                        Some(Err(error)) => error,
                        None => strange("fewer bytes than were announced"),
                    };
                    waits.after(failure).await?;
                    pieces = match steady.reopen(&full, at..end, &meta).await {
                        Ok(pieces) => pieces,
                        // It counts as the next piece that did not come.
                        Err(error) => futures::stream::once(async { Err(error) }).boxed(),
                    };
                }
            }
        });
        pieces.boxed()
    }

    async fn reopen(
        &self,
        full: &Path,
        range: Range<u64>,
        meta: &ObjectMeta,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.0.remote.get_opts(full, options).await?;
        if found.meta.size != meta.size || found.meta.e_tag != meta.e_tag {
            return Err(strange("another object than a moment before"));
        }
        Ok(found.into_stream())
    }

    /// Objects under `prefix`, after `last` if there is one.
    fn listed(&self, prefix: Option<&Path>, last: Option<Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let root = prefix.map_or_else(|| self.0.prefix.clone(), |prefix| self.full(prefix));
        let waits = self.0.patience.waits(&root);
        let open = |steady: &Self, root: &Path, last: Option<&Path>| match last {
            Some(last) => steady.0.remote.list_with_offset(Some(root), last),
            None => steady.0.remote.list(Some(root)),
        };
        let found = open(self, &root, last.as_ref());
        let state = (self.clone(), root, found, last, waits);
        let objects =
            futures::stream::try_unfold(state, move |(steady, root, mut found, mut last, mut waits)| async move {
                loop {
                    match found.next().await {
                        None => return Ok(None),
                        Some(Ok(meta)) => {
                            waits.refresh();
                            last = Some(meta.location.clone());
                            let meta = steady.own_meta(meta)?;
                            return Ok(Some((meta, (steady, root, found, last, waits))));
                        }
                        Some(Err(error)) => {
                            waits.after(error).await?;
                            found = open(&steady, &root, last.as_ref());
                        }
                    }
                }
            });
        objects.boxed()
    }
}

#[async_trait]
impl ObjectStore for Steady {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let full = self.full(location);
        self.keep(&full, || self.0.remote.put_opts(&full, payload.clone(), options.clone())).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let full = self.full(location);
        let mut tries = 0_u32;
        let begun = self.keep(&full, || {
            tries += 1;
            self.0.remote.create_multipart(&full)
        });
        let id = begun.await?;
        let landed = Arc::new(Mutex::new(Landed::default()));
        Ok(Box::new(SteadyUpload { steady: self.clone(), full, id, next: 0, landed, doubtful: tries > 1 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let full = self.full(location);
        let head = options.head;
        let found = self.keep(&full, || self.0.remote.get_opts(&full, options.clone())).await?;
        let GetResult { payload, meta, range, attributes, extensions } = found;
        let payload = match payload {
            GetResultPayload::Stream(pieces) if !head => {
                GetResultPayload::Stream(self.resumed(full, pieces, range.clone(), meta.clone()))
            }
            other => other,
        };
        Ok(GetResult { payload, meta: self.own_meta(meta)?, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let steady = self.clone();
        let deleted = locations.and_then(move |location| {
            let steady = steady.clone();
            async move {
                let full = steady.full(&location);
                match steady.keep(&full, || steady.0.remote.delete(&full)).await {
                    Ok(()) | Err(Error::NotFound { .. }) => Ok(location),
                    Err(error) => Err(error),
                }
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, Some(self.full(offset)))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let root = prefix.map_or_else(|| self.0.prefix.clone(), |prefix| self.full(prefix));
        let found = self.keep(&root, || self.0.remote.list_with_delimiter(Some(&root))).await?;
        let ListResult { common_prefixes, objects, extensions } = found;
        Ok(ListResult {
            common_prefixes: common_prefixes.iter().map(|prefix| self.own(prefix)).collect::<Result<_>>()?,
            objects: objects.into_iter().map(|meta| self.own_meta(meta)).collect::<Result<_>>()?,
            extensions,
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (from, to) = (self.full(from), self.full(to));
        self.keep(&to, || self.0.remote.copy_opts(&from, &to, options.clone())).await
    }
}

/// An upload whose steps are tried again.
struct SteadyUpload {
    steady: Steady,
    full: Path,
    id: MultipartId,
    next: usize,
    landed: Arc<Mutex<Landed>>,
    /// It took more than one attempt to begin; the others may have begun something too.
    doubtful: bool,
}

#[derive(Default)]
struct Landed {
    parts: Vec<(usize, PartId)>,
    bytes: u64,
}

#[async_trait]
impl MultipartUpload for SteadyUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (steady, full, id, landed) = (self.steady.clone(), self.full.clone(), self.id.clone(), self.landed.clone());
        let number = self.next;
        self.next += 1;
        let bytes = payload.content_length() as u64;
        async move {
            let put = || steady.0.remote.put_part(&full, &id, number, payload.clone());
            let part = steady.keep(&full, put).await?;
            let mut landed = landed.lock();
            landed.parts.push((number, part));
            landed.bytes += bytes;
            Ok(())
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (parts, bytes) = {
            let mut landed = self.landed.lock();
            landed.parts.sort_by_key(|(number, _)| *number);
            (landed.parts.iter().map(|(_, part)| part.clone()).collect::<Vec<_>>(), landed.bytes)
        };
        if parts.len() != self.next {
            return Err(strange("an upload whose parts have not all landed"));
        }
        let Shared { remote, unfinished, patience, .. } = &*self.steady.0;
        let mut waits = patience.waits(&self.full);
        let mut done = loop {
            match remote.complete_multipart(&self.full, &self.id, parts.clone()).await {
                Ok(done) => break done,
                // An earlier attempt may have succeeded. The name was free when we began and is ours alone.
                Err(gone @ Error::NotFound { .. }) => {
                    let found = self.steady.keep(&self.full, || remote.head(&self.full)).await;
                    match found {
                        Ok(meta) if meta.size == bytes => {
                            break PutResult {
                                e_tag: meta.e_tag,
                                version: meta.version,
                                extensions: Default::default(),
                            };
                        }
                        _ => return Err(gone),
                    }
                }
                Err(error) => waits.after(error).await?,
            }
        };
        if self.doubtful
            && let Err(error) = patience.keep(&self.full, || unfinished.abort_all(&self.full)).await
        {
            let told = Told::of(&error).map(|told| told.to_string());
            tracing::warn!(told, "Could not look for a second beginning of an upload yet; it holds no bytes");
            done.extensions.insert(BegunTwice);
        }
        Ok(done)
    }

    async fn abort(&mut self) -> Result<()> {
        let remote = &self.steady.0.remote;
        match self.steady.keep(&self.full, || remote.abort_multipart(&self.full, &self.id)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Unfinished for Steady {
    async fn abort_all(&self, name: &Path) -> Result<()> {
        let full = self.full(name);
        self.keep(&full, || self.0.unfinished.abort_all(&full)).await
    }

    async fn erase_versions(&self, name: &Path) -> Result<()> {
        let full = self.full(name);
        self.keep(&full, || self.0.unfinished.erase_versions(&full)).await
    }
}

impl fmt::Display for Steady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.place)
    }
}

impl fmt::Debug for Steady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Steady").field(&self.0.place).finish()
    }
}

impl fmt::Debug for SteadyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteadyUpload").field("name", &self.full).finish_non_exhaustive()
    }
}

/// An answer that no store of ours gives.
fn strange(what: &'static str) -> Error {
    Error::Generic { store: "S3", source: Box::new(Told::because(what)) }
}
