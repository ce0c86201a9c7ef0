//! A local directory as an object store whose `put` returns only when the object would survive a
//! power failure: `object_store`'s own writes and renames, but does not sync. Its reads wake a thread
//! for each; here what the system has in memory is read at once.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, IoSliceMut, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use rustix::io::{ReadWriteFlags, preadv2};

use crate::OpenError;

/// Unfinished objects lie here; on the same file system, so that they can be moved into place.
const STAGING: &str = ".staging";
/// More than this is read by a thread for that: copying it takes longer than waking one.
const MAX_AT_HAND_BYTES: u64 = 4 << 20;
/// Unfinished objects so old are nobody's any more.
const UNFINISHED_AGE: Duration = Duration::from_secs(3600);

/// A local store with durable `put`. Any number of processes may use it.
#[derive(Debug)]
pub(crate) struct DurableLocal {
    inner: LocalFileSystem,
    disk: Arc<Disk>,
}

#[derive(Debug)]
struct Disk {
    root: PathBuf,
    staging: PathBuf,
    /// Begins the name of every unfinished object: unique among processes and their lives.
    name: String,
    staged: AtomicU64,
}

impl DurableLocal {
    /// Opens a directory, makes it if it is not there, and removes what earlier processes left
    /// unfinished.
    pub(crate) fn open(path: &Path) -> std::result::Result<Self, OpenError> {
        let open = |source| OpenError::Directory { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(open)?;
        let root = path.canonicalize().map_err(open)?;
        let inner = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| open(io::Error::other(error)))?;
        let staging = root.join(STAGING);
        remove_unfinished(&staging);
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let opened = OPENED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{:x}-{:x}-{opened:x}", since_1970.as_nanos(), std::process::id());
        let disk = Arc::new(Disk { root, staging, name, staged: AtomicU64::new(0) });
        Ok(Self { inner, disk })
    }
}

/// Best effort: whoever opens the store next tries again.
fn remove_unfinished(staging: &Path) {
    let Ok(entries) = fs::read_dir(staging) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        if age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNFINISHED_AGE)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Disk {
    fn put(&self, target: &Path, payload: &PutPayload, create: bool) -> io::Result<()> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let staged = self.staging.join(format!("{}-{number:x}", self.name));
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
        fs::create_dir_all(&self.staging)?;
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

/// Parts of a file that the system has in memory: no thread has to wait for them, so none is woken.
/// `None` if a byte is anywhere else, or nowhere.
fn at_hand(path: &Path, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
    let length = |range: &Range<u64>| range.end.saturating_sub(range.start);
    if ranges.iter().map(length).fold(0, u64::saturating_add) > MAX_AT_HAND_BYTES {
        return None;
    }
    let file = File::open(path).ok()?;
    let read = |range: &Range<u64>| {
        let mut bytes = vec![0; usize::try_from(length(range)).ok()?];
        let mut begin = 0;
        while begin < bytes.len() {
            let rest = &mut [IoSliceMut::new(&mut bytes[begin..])];
            let offset = range.start.checked_add(begin as u64)?;
            match preadv2(&file, rest, offset, ReadWriteFlags::NOWAIT) {
                Ok(0) | Err(_) => return None,
                Ok(more) => begin += more,
            }
        }
        Some(bytes.into())
    };
    ranges.iter().map(read).collect()
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
        let path = self.inner.path_to_filesystem(location)?;
        match at_hand(&path, ranges) {
            Some(read) => Ok(read),
            None => self.inner.get_ranges(location, ranges).await,
        }
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

    #[tokio::test]
    async fn processes_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let first = DurableLocal::open(folder.path()).unwrap();
        let second = DurableLocal::open(folder.path()).unwrap();
        put(&first, "a/1", "one", PutMode::Create).await.unwrap();
        assert!(put(&second, "a/1", "two", PutMode::Create).await.is_err());
        put(&second, "a/2", "two", PutMode::Create).await.unwrap();
        let staging = folder.path().join(STAGING);
        for (name, age) in [("old", 2 * UNFINISHED_AGE), ("new", Duration::ZERO)] {
            let file = File::create(staging.join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        DurableLocal::open(folder.path()).unwrap();
        let left: Vec<_> = fs::read_dir(staging).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["new"]);
    }

    #[tokio::test]
    async fn ranges_are_the_same_from_memory_and_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::open(folder.path()).unwrap();
        let body: Bytes = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let location = ObjectPath::from("a/b");
        let written = store.put_opts(&location, body.clone().into(), PutMode::Create.into());
        written.await.unwrap();
        let path = store.inner.path_to_filesystem(&location).unwrap();
        for ranges in [vec![], vec![0..1, 0..0], vec![5..5 + 70_000, 1..2, 2_999_990..3_000_000]] {
            let expected = store.inner.get_ranges(&location, &ranges).await.unwrap();
            assert_eq!(store.get_ranges(&location, &ranges).await.unwrap(), expected);
            let sliced = ranges.iter().map(|r| body.slice(r.start as usize..r.end as usize));
            assert_eq!(expected, sliced.collect::<Vec<_>>());
            // Some file systems cannot say what they have in memory.
            assert!(at_hand(&path, &ranges).is_none_or(|read| read == expected));
        }
        let beyond = std::slice::from_ref(&(2_999_990..3_000_001));
        assert_eq!(at_hand(&path, beyond), None);
        assert_eq!(at_hand(&path, &[0..1, 0..MAX_AT_HAND_BYTES]), None);
        let theirs = store.inner.get_ranges(&location, beyond).await;
        let ours = store.get_ranges(&location, beyond).await;
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        let nowhere = store.get_ranges(&"a/c".into(), beyond).await;
        assert!(matches!(nowhere, Err(Error::NotFound { .. })), "{nowhere:?}");
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
