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
        $crate::tests::place::over_store! { directory: $($test),+ }
        $crate::tests::place::over_every_server! { $($test),+ }
    };
}

/// The same over those that are servers.
macro_rules! over_every_server {
    ($($test:ident),+ $(,)?) => {
        $crate::tests::place::over_store! { s3: $($test),+ }
        $crate::tests::place::over_store! { google: $($test),+ }
        $crate::tests::place::over_store! { azure: $($test),+ }
    };
}

macro_rules! over_store {
    ($store:ident: $($test:ident),+) => {
        mod $store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::tests::place::Place::$store()).await;
            })+
        }
    };
}
pub(crate) use {over_every_server, over_every_store, over_store};

/// An empty store of a test's own, and a folder for what is beside it.
pub(crate) struct Place {
    pub(crate) store: Location,
    server: Option<Server>,
    folder: tempfile::TempDir,
}

/// Where a server is, and what a prefix of its bucket is called at a port.
struct Server {
    port: u16,
    location: fn(u16, &str) -> Location,
}

impl Place {
    pub(crate) fn directory() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { store: folder.path().join("store").into(), server: None, folder }
    }

    pub(crate) fn s3() -> Self {
        Self::of(Server { port: servers::s3(), location: servers::s3_location })
    }

    pub(crate) fn google() -> Self {
        Self::of(Server { port: servers::google(), location: servers::google_location })
    }

    pub(crate) fn azure() -> Self {
        Self::of(Server { port: servers::azure(), location: servers::azure_location })
    }

    /// A prefix that nobody else has: the folder's name.
    fn of(server: Server) -> Self {
        let folder = tempfile::Builder::new().prefix("t").tempdir().unwrap();
        let store = (server.location)(server.port, prefix(&folder));
        Self { store, server: Some(server), folder }
    }

    /// The port of the server.
    pub(crate) fn port(&self) -> u16 {
        self.server.as_ref().unwrap().port
    }

    /// The same store at another port.
    pub(crate) fn through(&self, port: u16) -> Location {
        (self.server.as_ref().unwrap().location)(port, prefix(&self.folder))
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

fn prefix(folder: &tempfile::TempDir) -> &str {
    folder.path().file_name().unwrap().to_str().unwrap()
}
