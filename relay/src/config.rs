//! What a relay can be told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use weir_store::Location;

use crate::maintain::Retention;

/// Default of [`RelayConfig::delete_after`].
pub(crate) const DELETE_AFTER: Duration = Duration::from_secs(20 * 60);

/// How a relay runs. [`RelayConfig::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// TCP address of the Flight service; port 0 picks a free one. Default 127.0.0.1:4246.
    pub ingest: SocketAddr,
    /// Unix socket of the same service, for collectors in network namespaces of their own.
    pub ingest_socket: Option<PathBuf>,
    /// The store.
    pub store: Location,
    /// Directory of the write-ahead log, this relay's alone. `None`, the default: `.wal` in the
    /// store, which then has to be a directory.
    pub wal: Option<PathBuf>,
    /// When the write-ahead log is forced to disk. Default [`Fsync::Batch`].
    pub fsync: Fsync,
    /// Bytes of the write-ahead log above which collectors have to wait. Default 2 GiB.
    pub wal_max_bytes: u64,
    /// Hot rows that start a flush. Default 300,000.
    pub flush_rows: usize,
    /// Hot bytes that start a flush. Default 192 MiB.
    pub flush_bytes: usize,
    /// Age of the oldest hot row that starts a flush. Default 60 s.
    pub flush_interval: Duration,
    /// Hot bytes above which collectors have to wait: reached only while the store is slower than
    /// the collectors or fails. Default 512 MiB.
    pub hot_max_bytes: usize,
    /// Bytes of batches that stay in memory after they are stored, for followers who come again.
    /// Default 64 MiB.
    pub recent_bytes: usize,
    /// How long rows stay in memory after a flush has taken them, so that followers, who look a few
    /// times a second, see each of them. Default 500 ms.
    pub linger: Duration,
    /// How often the store is looked at for files to merge and to remove. Default 30 s.
    pub maintain_interval: Duration,
    /// How long flows are kept. Default: all of them.
    pub retention: Retention,
    /// How long files stay after the last manifest that names them: longer than any query takes.
    /// Default 20 min.
    pub delete_after: Duration,
    /// How long the last flush may take when the relay is told to stop. Default 20 s.
    pub shutdown_timeout: Duration,
}

/// When the write-ahead log is forced to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before a batch is acknowledged: a power failure loses nothing acknowledged.
    #[default]
    Batch,
    /// Every second: a power failure may lose what was acknowledged since.
    Interval,
    /// When the system likes to. A relay that is killed still loses nothing.
    Never,
}

impl RelayConfig {
    /// The defaults, with the store in `store`.
    pub fn new(store: impl Into<Location>) -> Self {
        Self {
            ingest: SocketAddr::from(([127, 0, 0, 1], 4246)),
            ingest_socket: None,
            store: store.into(),
            wal: None,
            fsync: Fsync::Batch,
            wal_max_bytes: 2 << 30,
            flush_rows: 300_000,
            flush_bytes: 192 << 20,
            flush_interval: Duration::from_secs(60),
            hot_max_bytes: 512 << 20,
            recent_bytes: 64 << 20,
            linger: Duration::from_millis(500),
            maintain_interval: Duration::from_secs(30),
            retention: Retention::default(),
            delete_after: DELETE_AFTER,
            shutdown_timeout: Duration::from_secs(20),
        }
    }
}
