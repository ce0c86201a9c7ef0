//! Reads the store's manifests. A manifest never changes, so parsed ones are kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::execution::object_store::ObjectStoreUrl;
use futures::TryStreamExt as _;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use weir_flow::manifest::{
    EDGES_PREFIX, FLOWS_PREFIX, LOSS_PREFIX, MANIFEST_PREFIX, Manifest, OBJECTS_PREFIX,
};
use weir_store::Location;

use crate::error::StartError;

/// Where DataFusion finds the store.
pub const STORE_URL: &str = "weir://store/";
/// Parsed manifests kept.
const CACHED: usize = 4;
/// Largest manifest that is read: about a million files.
const MAX_MANIFEST_BYTES: u64 = 256 * 1024 * 1024;

/// Why the store gave no manifest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the store cannot be read: {0}")]
    Read(#[from] object_store::Error),
    #[error("{path} in the store is wrong: {cause}")]
    Manifest { path: String, cause: String },
}

/// The store's manifests.
#[derive(Debug)]
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
    cache: Mutex<VecDeque<Arc<Manifest>>>,
}

impl Store {
    /// Opens a store; a directory is made where there is none: the relay may start later.
    pub(crate) fn open(location: &Location) -> Result<Self, StartError> {
        Ok(Self { objects: weir_store::open(location)?, cache: Mutex::default() })
    }

    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        self.objects.clone()
    }

    pub(crate) fn url() -> ObjectStoreUrl {
        ObjectStoreUrl::parse(STORE_URL).expect("the constant is a URL")
    }

    /// The manifest of a version; `None` if it does not exist any more.
    pub(crate) async fn manifest(&self, version: u64) -> Result<Option<Arc<Manifest>>, StoreError> {
        if version == 0 {
            return Ok(Some(Arc::default()));
        }
        if let Some(known) = self.cache().iter().find(|known| known.version == version) {
            return Ok(Some(known.clone()));
        }
        let path = Manifest::path(version);
        let object = match self.objects.get(&ObjectPath::from(path.as_str())).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let wrong = |cause: String| StoreError::Manifest { path: path.clone(), cause };
        if object.meta.size > MAX_MANIFEST_BYTES {
            return Err(wrong(format!("more than {MAX_MANIFEST_BYTES} bytes")));
        }
        let manifest: Manifest = serde_json::from_slice(&object.bytes().await?)
            .map_err(|error| wrong(error.to_string()))?;
        check(&manifest, version).map_err(wrong)?;
        let manifest = Arc::new(manifest);
        let mut cache = self.cache();
        cache.push_back(manifest.clone());
        if cache.len() > CACHED {
            cache.pop_front();
        }
        Ok(Some(manifest))
    }

    /// A manifest of that version or a later one: the newest, or else just that. `None` if it does
    /// not exist any more.
    pub(crate) async fn at_least(
        &self,
        version: u64,
        newest: bool,
    ) -> Result<Option<Arc<Manifest>>, StoreError> {
        if newest {
            let newest = self.newest().await?;
            if newest.version >= version {
                return Ok(Some(newest));
            }
        }
        self.manifest(version).await
    }

    /// The manifest of the highest version; an empty one if there is none.
    pub(crate) async fn newest(&self) -> Result<Arc<Manifest>, StoreError> {
        loop {
            let version = self.newest_version().await?;
            // Pruned between listing and reading: there is a newer one.
            if let Some(manifest) = self.manifest(version).await? {
                return Ok(manifest);
            }
        }
    }

    async fn newest_version(&self) -> Result<u64, StoreError> {
        let prefix = ObjectPath::from(MANIFEST_PREFIX);
        let newest = self
            .objects
            .list(Some(&prefix))
            .try_fold(0, async |newest: u64, object| {
                let version = Manifest::version_of(object.location.as_ref()).unwrap_or(0);
                Ok(newest.max(version))
            })
            .await?;
        Ok(newest)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Manifest>>> {
        // Only whole manifests are ever pushed.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A manifest is input: it names only files where those of their kind lie.
fn check(manifest: &Manifest, version: u64) -> Result<(), String> {
    if manifest.version != version {
        return Err(format!("it says version {}", manifest.version));
    }
    let flows = manifest.files.iter().map(|file| (&file.path, FLOWS_PREFIX));
    let edges =
        manifest.files.iter().filter_map(|file| Some((&file.edges.as_ref()?.path, EDGES_PREFIX)));
    let objects = manifest.objects.iter().map(|file| (&file.path, OBJECTS_PREFIX));
    let loss = manifest.loss.iter().map(|file| (&file.path, LOSS_PREFIX));
    for (file, prefix) in flows.chain(edges).chain(objects).chain(loss) {
        let path = ObjectPath::parse(file).map_err(|error| error.to_string())?;
        if !path.prefix_matches(&ObjectPath::from(prefix)) {
            return Err(format!("{file:?} is not below {prefix}/"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use weir_flow::manifest::{DataFile, RollUp};

    use std::path::Path;

    use super::*;

    fn write(directory: &Path, manifest: &Manifest) {
        let path = directory.join(Manifest::path(manifest.version));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, serde_json::to_vec(manifest).unwrap()).unwrap();
    }

    #[tokio::test]
    async fn the_newest_version_wins_and_version_zero_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().into()).unwrap();
        assert_eq!(*store.newest().await.unwrap(), Manifest::default());
        for version in [2, 10, 9] {
            write(directory.path(), &Manifest { version, ..Manifest::default() });
        }
        assert_eq!(store.newest().await.unwrap().version, 10);
        assert_eq!(store.manifest(9).await.unwrap().unwrap().version, 9);
        assert!(store.manifest(1).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_manifest_cannot_name_other_files() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().into()).unwrap();
        for path in ["../../etc/passwd", "/etc/passwd", "flowsx/a.parquet", "flows/../x"] {
            let file = DataFile {
                path: path.into(),
                rows: 1,
                size_bytes: 1,
                min_time_ns: 0,
                max_time_ns: 0,
                schema_version: 1,
                ..DataFile::default()
            };
            let flows = Manifest { version: 1, files: vec![file.clone()], ..Manifest::default() };
            let objects =
                Manifest { version: 1, objects: vec![file.clone()], ..Manifest::default() };
            let loss = Manifest { version: 1, loss: vec![file.clone()], ..Manifest::default() };
            let edges = Some(RollUp { path: path.into(), rows: 1, size_bytes: 1 });
            let file = DataFile { path: "flows/a.parquet".into(), edges, ..file };
            let edges = Manifest { version: 1, files: vec![file], ..Manifest::default() };
            for manifest in [flows, objects, loss, edges] {
                write(directory.path(), &manifest);
                let error = store.manifest(1).await.unwrap_err().to_string();
                assert!(error.contains("00000000000000000001.json"), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_broken_manifest_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().into()).unwrap();
        write(directory.path(), &Manifest { version: 1, ..Manifest::default() });
        std::fs::write(directory.path().join(Manifest::path(1)), "{").unwrap();
        let error = store.newest().await.unwrap_err().to_string();
        assert!(error.contains("00000000000000000001.json"), "{error}");
    }
}
