//! Where a test's store is. Every test of the storage runs over each kind of place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use weir_store::Location;

use super::client::StoreReader;
use super::{Duration, RelayConfig, servers};

/// Makes a test of each of these functions over each kind of store.
macro_rules! over_every_store {
    ($($test:ident),+ $(,)?) => {
        mod directory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::tests::place::Place::directory()).await;
            })+
        }

        mod s3 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::tests::place::Place::s3()).await;
            })+
        }

        mod azure {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::tests::place::Place::azure()).await;
            })+
        }
    };
}
pub(crate) use over_every_store;

/// An empty store of a test's own, and a folder for what is beside it.
pub(crate) struct Place {
    pub(crate) store: Location,
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn directory() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { store: folder.path().join("store").into(), folder }
    }

    pub(crate) fn s3() -> Self {
        Self::below(|name| servers::s3_location(servers::s3(), name))
    }

    pub(crate) fn azure() -> Self {
        Self::below(|name| servers::azure_location(servers::azure(), name))
    }

    /// A prefix that nobody else has: the folder's name.
    fn below(location: impl FnOnce(&str) -> Location) -> Self {
        let folder = tempfile::Builder::new().prefix("t").tempdir().unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        Self { store: location(&name), folder }
    }

    /// A folder on the local disk.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the log is that [`config`](Self::config) names.
    pub(crate) fn wal(&self) -> PathBuf {
        self.folder().join("wal")
    }

    /// Never flushes by itself within a test.
    pub(crate) fn config(&self) -> RelayConfig {
        RelayConfig {
            linger: Duration::ZERO,
            ingest: ([127, 0, 0, 1], 0).into(),
            flush_interval: Duration::from_secs(3600),
            wal: Some(self.wal()),
            ..RelayConfig::new(self.store.clone())
        }
    }

    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        weir_store::open(&self.store).unwrap()
    }

    pub(crate) fn reader(&self) -> StoreReader {
        StoreReader::new(self.objects())
    }
}
