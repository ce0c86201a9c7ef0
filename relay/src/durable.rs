//! A local directory as an object store whose `put` returns only when the object would survive a
//! power failure: `object_store`'s own writes and renames, but does not sync.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::error::StoreError;

/// Unfinished objects lie here; on the same file system, so that they can be moved into place.
const STAGING: &str = ".staging";
/// Held as long as a relay uses the directory.
const LOCK: &str = ".relay.lock";

/// A local store with durable `put`, used by one process at a time.
#[derive(Debug)]
pub(crate) struct DurableLocal {
    inner: LocalFileSystem,
    disk: Arc<Disk>,
    _lock: File,
}

#[derive(Debug)]
struct Disk {
    root: PathBuf,
    staging: PathBuf,
    staged: AtomicU64,
}

impl DurableLocal {
    /// Opens a directory, makes it if it is not there, and removes what an earlier process left
    /// unfinished.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(open)?;
        let root = path.canonicalize().map_err(open)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join(LOCK))
            .map_err(open)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::InUse { path: path.to_owned() },
            TryLockError::Error(source) => open(source),
        })?;
        let staging = root.join(STAGING);
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(open(error)),
            _ => {}
        }
        fs::create_dir(&staging).map_err(open)?;
        let inner = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| open(io::Error::other(error)))?;
        let disk = Arc::new(Disk { root, staging, staged: AtomicU64::new(0) });
        Ok(Self { inner, disk, _lock: lock })
    }
}

impl Disk {
    fn put(&self, target: &Path, payload: &PutPayload, create: bool) -> io::Result<()> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let staged = self.staging.join(number.to_string());
        let put = self.write(&staged, target, payload, create);
        if put.is_err() || create {
            let _ = fs::remove_file(&staged);
        }
        put
    }

    fn write(
        &self,
        staged: &Path,
        target: &Path,
        payload: &PutPayload,
        create: bool,
    ) -> io::Result<()> {
        let mut file = File::create_new(staged)?;
        for chunk in payload {
            file.write_all(chunk)?;
        }
        file.sync_all()?;
        let folder = target.parent().unwrap_or(&self.root);
        self.make_folder(folder)?;
        if create {
            fs::hard_link(staged, target)?;
        } else {
            fs::rename(staged, target)?;
        }
        sync_folder(folder)
    }

    /// Makes a folder and those above it; each new entry is synced.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder == self.root || folder.is_dir() {
            return Ok(());
        }
        let above = folder.parent().unwrap_or(&self.root);
        self.make_folder(above)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        sync_folder(above)
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return Err(self.not_offered("update")),
        };
        let target = self.inner.path_to_filesystem(location)?;
        let disk = self.disk.clone();
        let put = tokio::task::spawn_blocking(move || disk.put(&target, &payload, create)).await?;
        put.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists if create => {
                Error::AlreadyExists { path: location.to_string(), source: Box::new(source) }
            }
            _ => Error::Generic { store: "local", source: Box::new(source) },
        })?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        _: &ObjectPath,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(self.not_offered("upload in parts"))
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &ObjectPath, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &ObjectPath, _: &ObjectPath, _: CopyOptions) -> Result<()> {
        Err(self.not_offered("copy"))
    }
}

impl DurableLocal {
    /// An operation that would not be durable, and that the relay does not need.
    fn not_offered(&self, operation: &str) -> Error {
        Error::NotImplemented { operation: operation.to_owned(), implementer: self.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use object_store::ObjectStoreExt as _;

    use super::*;

    async fn put(
        store: &DurableLocal,
        path: &str,
        body: &'static str,
        mode: PutMode,
    ) -> Result<()> {
        store.put_opts(&path.into(), body.into(), mode.into()).await.map(drop)
    }

    #[tokio::test]
    async fn create_refuses_what_exists_and_overwrite_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::open(folder.path()).unwrap();
        put(&store, "a/b/c", "one", PutMode::Create).await.unwrap();
        let again = put(&store, "a/b/c", "two", PutMode::Create).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        put(&store, "a/b/d", "three", PutMode::Overwrite).await.unwrap();
        put(&store, "a/b/d", "four", PutMode::Overwrite).await.unwrap();
        let read = async |path: &str| store.get(&path.into()).await.unwrap().bytes().await.unwrap();
        assert_eq!(read("a/b/c").await, "one");
        assert_eq!(read("a/b/d").await, "four");
        let listed: Vec<_> = store.list(Some(&"a".into())).try_collect().await.unwrap();
        assert_eq!(listed.len(), 2);
        let left = fs::read_dir(folder.path().join(STAGING)).unwrap().count();
        assert_eq!(left, 0);
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::open(folder.path()).unwrap();
        let second = DurableLocal::open(folder.path());
        assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
        drop(store);
        fs::write(folder.path().join(STAGING).join("7"), "torn").unwrap();
        DurableLocal::open(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join(STAGING)).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let error = DurableLocal::open(&path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}
