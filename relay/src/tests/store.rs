//! A store that can be told to fail.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// How a `put` goes wrong.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Every `put` fails, nothing is written.
    pub(crate) full: AtomicBool,
    /// So many manifests are written and the answer is an error all the same.
    pub(crate) lost_answers: AtomicU64,
    /// No manifest is written.
    pub(crate) manifests_fail: AtomicBool,
    /// Attempts to write.
    pub(crate) puts: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct FaultyStore {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) faults: Arc<Faults>,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

fn failure(message: &str) -> Error {
    Error::Generic { store: "faulty", source: message.into() }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.faults.puts.fetch_add(1, Ordering::SeqCst);
        if self.faults.full.load(Ordering::SeqCst) {
            return Err(failure("no space left on device"));
        }
        let is_manifest = location.as_ref().starts_with("manifests");
        if is_manifest && self.faults.manifests_fail.load(Ordering::SeqCst) {
            return Err(failure("connection refused"));
        }
        let put = self.inner.put_opts(location, payload, options).await?;
        let lose = is_manifest
            && self
                .faults
                .lost_answers
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
        if lose { Err(failure("connection reset")) } else { Ok(put) }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
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
