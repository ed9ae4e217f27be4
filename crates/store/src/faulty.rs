//! A store that fails where a test wants it to.
//!
//! It stands between [`Objects`](crate::Objects) and the real store and counts every operation: put, begin, part, complete,
//! abort, get, list, delete. One of them can fail before it is done, or after it was done but the answer was lost.

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart, path::Path,
};
use parking_lot::Mutex;
use std::{fmt, io, sync::Arc};

/// When an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing was done.
    Before,
    /// It was done, and the answer was lost.
    After,
}

/// Which operation fails, and how. Operations count from 0, from the moment the plan was made or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fail {
    /// None.
    Never,
    /// One.
    Nth(u64, When, io::ErrorKind),
    /// That one and all after it.
    From(u64, When, io::ErrorKind),
}

/// The plan of a [`FaultyStore`]; clones share it, so a test keeps one.
#[derive(Debug, Clone)]
pub struct FaultPlan(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    fail: Fail,
    done: Vec<&'static str>,
}

impl FaultPlan {
    /// A plan.
    pub fn new(fail: Fail) -> Self {
        Self(Arc::new(Mutex::new(State { fail, done: Vec::new() })))
    }

    /// Another plan from now on; counting starts again.
    pub fn set(&self, fail: Fail) {
        *self.0.lock() = State { fail, done: Vec::new() };
    }

    /// The operations since the plan was made or changed, by name.
    pub fn operations(&self) -> Vec<&'static str> {
        self.0.lock().done.clone()
    }

    /// Counts an operation. Answers how it is to fail.
    fn next(&self, operation: &'static str) -> Option<(When, io::ErrorKind)> {
        let mut state = self.0.lock();
        let at = state.done.len() as u64;
        state.done.push(operation);
        match state.fail {
            Fail::Nth(n, when, kind) if n == at => Some((when, kind)),
            Fail::From(n, when, kind) if n <= at => Some((when, kind)),
            _ => None,
        }
    }

    async fn around<T>(&self, operation: &'static str, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.next(operation) {
            None => work.await,
            Some((When::Before, kind)) => Err(failure(kind)),
            Some((When::After, kind)) => {
                work.await?;
                Err(failure(kind))
            }
        }
    }
}

/// A store with a [`FaultPlan`].
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: FaultPlan,
}

impl FaultyStore {
    /// Puts `plan` before `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.plan.around("put", self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.plan.around("begin", self.inner.put_multipart_opts(location, options)).await?;
        Ok(Box::new(FaultyUpload { inner, plan: self.plan.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.plan.around("get", self.inner.get_opts(location, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, plan) = (self.inner.clone(), self.plan.clone());
        let deleted = locations.then(move |location| {
            let (inner, plan) = (inner.clone(), plan.clone());
            async move {
                let location = location?;
                let one = futures::stream::once(async { Ok(location) }).boxed();
                let mut deleted = inner.delete_stream(one);
                let work = async { deleted.next().await.unwrap_or_else(|| Err(failure(io::ErrorKind::Other))) };
                plan.around("delete", work).await
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.plan.next("list") {
            None => self.inner.list(prefix),
            Some((_, kind)) => futures::stream::once(async move { Err(failure(kind)) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.plan.around("list", self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.plan.around("copy", self.inner.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    plan: FaultPlan,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (part, plan) = (self.inner.put_part(payload), self.plan.clone());
        async move { plan.around("part", part).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.plan.around("complete", self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.plan.around("abort", self.inner.abort()).await
    }
}

fn failure(kind: io::ErrorKind) -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: Box::new(io::Error::from(kind)) }
}
