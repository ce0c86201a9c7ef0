//! The one store that plans may read. Whatever a plan names, a task opens no other place, and writes
//! nowhere.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::plan_err;
use datafusion::execution::object_store::ObjectStoreRegistry;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use url::Url;
use weir_query::remote::STORE_URL;

/// Knows the store, and no other.
#[derive(Debug)]
pub(crate) struct OnlyStore {
    store: Arc<dyn ObjectStore>,
}

impl OnlyStore {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store: Arc::new(ReadOnly { store }) }
    }
}

impl ObjectStoreRegistry for OnlyStore {
    /// Nothing can be added.
    fn register_store(&self, _: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        Some(store)
    }

    fn get_store(&self, url: &Url) -> datafusion::error::Result<Arc<dyn ObjectStore>> {
        let ours = Url::parse(STORE_URL)
            .is_ok_and(|ours| ours.scheme() == url.scheme() && ours.authority() == url.authority());
        if ours { Ok(self.store.clone()) } else { plan_err!("plans read {STORE_URL}, not {url}") }
    }
}

/// A store that nothing can be written to.
#[derive(Debug)]
struct ReadOnly {
    store: Arc<dyn ObjectStore>,
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, read-only", self.store)
    }
}

fn refuse<T>() -> Result<T> {
    Err(Error::NotSupported { source: "queries do not write to the store".into() })
}

#[async_trait]
impl ObjectStore for ReadOnly {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        refuse()
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        refuse()
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<bytes::Bytes>> {
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        stream::once(async { refuse() }).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        refuse()
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn only_the_store_is_there_and_nothing_can_be_written() {
        let inner = Arc::new(InMemory::new());
        inner.put(&Path::from("a"), "1".into()).await.unwrap();
        let registry = OnlyStore::new(inner);
        for url in ["file:///etc/passwd", "s3://bucket/", "weir://other/", "memory:///"] {
            let url = Url::parse(url).unwrap();
            assert!(registry.get_store(&url).is_err(), "{url}");
            registry.register_store(&url, Arc::new(InMemory::new()));
            assert!(registry.get_store(&url).is_err(), "{url}");
        }
        let store = registry.get_store(&Url::parse("weir://store/flows/x").unwrap()).unwrap();
        assert_eq!(store.get(&Path::from("a")).await.unwrap().bytes().await.unwrap(), "1");
        assert!(store.put(&Path::from("a"), "2".into()).await.is_err());
        assert!(store.delete(&Path::from("a")).await.is_err());
        assert!(store.copy(&Path::from("a"), &Path::from("b")).await.is_err());
        assert!(store.rename(&Path::from("a"), &Path::from("b")).await.is_err());
        assert!(store.put_multipart(&Path::from("a")).await.is_err());
        assert!(store.get(&Path::from("a")).await.is_ok());
    }
}
