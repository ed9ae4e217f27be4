//! How much of an upload may be in memory.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, stream::BoxStream};
use leadglass_model::{ObjectId, SystemEntropy};
use leadglass_store::{Backing, Objects};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart, memory::InMemory, path::Path,
};
use std::{fmt, sync::Arc};
use tokio::sync::Semaphore;

/// Parts land only as the gate lets them.
#[derive(Debug)]
struct Gated {
    inner: InMemory,
    gate: Arc<Semaphore>,
}

#[derive(Debug)]
struct GatedUpload(Box<dyn MultipartUpload>, Arc<Semaphore>);

impl fmt::Display for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gated")
    }
}

#[async_trait]
impl ObjectStore for Gated {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(at, payload, options).await
    }
    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(GatedUpload(self.inner.put_multipart_opts(at, options).await?, self.gate.clone())))
    }
    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }
    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartUpload for GatedUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (part, gate) = (self.0.put_part(payload), self.1.clone());
        async move {
            gate.acquire().await.expect("the gate stands").forget();
            part.await
        }
        .boxed()
    }
    async fn complete(&mut self) -> Result<PutResult> {
        self.0.complete().await
    }
    async fn abort(&mut self) -> Result<()> {
        self.0.abort().await
    }
}

#[tokio::test]
async fn an_upload_waits_while_two_parts_are_on_their_way() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let store = Arc::new(Gated { inner: InMemory::new(), gate: gate.clone() });
    let ledger = dir.path().join("uploads.lgl");
    let objects = Objects::over(Backing::remote(store, ledger, 1000)).unwrap();
    let id = ObjectId::random(&SystemEntropy);
    let mut upload = objects.begin(id).await.unwrap();
    let part = || Bytes::from(vec![1; 1000]);
    // With the first part the upload begins in the store, which takes a moment.
    upload.write(part()).await.unwrap();
    upload.write(part()).now_or_never().expect("two parts may be on their way").unwrap();
    upload.write(part().slice(..999)).now_or_never().expect("a part may fill meanwhile").unwrap();
    {
        let mut third = Box::pin(upload.write(part().slice(..1)));
        assert!((&mut third).now_or_never().is_none(), "the third part waits");
        gate.add_permits(1);
        third.await.unwrap();
    }
    gate.add_permits(2);
    assert_eq!(upload.finish().await.unwrap().sealed_len(), 3000);
    assert_eq!(objects.len(id).await.unwrap(), 3000);
}
