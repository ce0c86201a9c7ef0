//! The relay's process part: starts, serves, flushes, stops.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use weir_flow::manifest::Manifest;
use weir_flow::wire::HotTicket;

use crate::config::RelayConfig;
use crate::door::Door;
use crate::error::{RelayError, StoreError};
use crate::flush::Flusher;
use crate::hot::{Hot, HotView, Limits};
use crate::metrics::Metrics;
use crate::objects::Objects;
use crate::store::{ORPHAN_AGE, Store};

/// How long open calls may go on after the relay was told to stop.
const LEAVE: Duration = Duration::from_secs(5);

/// A relay that listens and does not serve yet.
#[derive(Debug)]
pub struct Relay {
    door: Door,
    flusher: Flusher,
    shared: Arc<Shared>,
    shutdown_timeout: Duration,
}

/// What the service and the flusher share.
#[derive(Debug)]
pub(crate) struct Shared {
    hot: Mutex<Hot>,
    /// Locked after `hot` where both are.
    objects: Mutex<Objects>,
    /// Something was taken in.
    pub(crate) arrived: Notify,
    /// Something left, or the relay is stopping.
    pub(crate) room: Notify,
    pub(crate) metrics: Metrics,
}

impl Relay {
    /// Opens the store and the doors.
    ///
    /// # Errors
    /// The store cannot be used or an address cannot be bound.
    pub async fn bind(config: RelayConfig) -> Result<Self, RelayError> {
        let store = weir_store::open(&config.store).map_err(StoreError::from)?;
        Self::bind_with(config, store).await
    }

    pub(crate) async fn bind_with(
        config: RelayConfig,
        objects: Arc<dyn ObjectStore>,
    ) -> Result<Self, RelayError> {
        let store = Store::new(objects);
        let manifest = store.newest().await?;
        store.sweep(&manifest, ORPHAN_AGE).await?;
        let versions = store.versions_of_objects(&manifest).await;
        let relay_epoch = now_ns();
        let limits = Limits {
            flush_rows: config.flush_rows,
            flush_bytes: config.flush_bytes.min(config.hot_max_bytes),
            flush_interval_ns: nanoseconds(config.flush_interval),
            hot_max_bytes: config.hot_max_bytes,
        };
        let shared = Arc::new(Shared {
            hot: Mutex::new(Hot::new(relay_epoch, limits, Arc::new(manifest))),
            objects: Mutex::new(Objects::restore(relay_epoch, versions)),
            arrived: Notify::new(),
            room: Notify::new(),
            metrics: Metrics::default(),
        });
        shared.measure(&shared.hot());
        let door = Door::bind(config.ingest, config.ingest_socket.as_deref()).await?;
        let flusher = Flusher {
            shared: shared.clone(),
            store,
            name: format!("{relay_epoch:016x}-{:x}", std::process::id()),
            files_named: 0,
            linger: config.linger,
            interval_ns: limits.flush_interval_ns,
            pending: None,
            replaced: VecDeque::new(),
        };
        Ok(Self { door, flusher, shared, shutdown_timeout: config.shutdown_timeout })
    }

    /// The TCP address of the Flight service.
    pub fn ingest_address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Adds the relay's metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// Serves until told to stop; then no batch is taken any more, and what is hot is stored.
    ///
    /// # Errors
    /// The service ended by itself, or the last rows could not be stored in time.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), RelayError> {
        let stop = shutdown.child_token();
        let flush_stop = stop.clone();
        let served = {
            let serve = self.door.serve(self.shared.clone(), stop.clone());
            let flush = self.flusher.run(&flush_stop);
            tokio::pin!(serve, flush);
            tokio::select! {
                served = &mut serve => { stop.cancel(); served }
                () = &mut flush => {
                    self.shared.close();
                    self.shared.room.notify_waiters();
                    tokio::time::timeout(LEAVE, serve).await.unwrap_or(Ok(()))
                }
            }
        };
        self.shared.close();
        let finished = self.flusher.finish(self.shutdown_timeout).await;
        served.and(finished)
    }
}

impl Shared {
    /// The state. Nothing is awaited while it is held.
    pub(crate) fn hot(&self) -> MutexGuard<'_, Hot> {
        self.hot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The versions of objects. Nothing is awaited while it is held.
    pub(crate) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manifest in force and the versions of objects that complete it.
    pub(crate) fn objects_view(&self, ticket: &HotTicket) -> HotView {
        let hot = self.hot();
        self.objects().view(ticket, hot.manifest().version)
    }

    /// Nothing is taken any more.
    fn close(&self) {
        self.hot().close();
        self.objects().close();
    }

    /// The rows up to a position, and the objects' versions up to theirs, are in `manifest` and leave
    /// memory, in one step for readers.
    pub(crate) fn flushed(&self, up_to: u64, objects_up_to: u64, manifest: Manifest) {
        {
            let mut hot = self.hot();
            self.objects().flushed(objects_up_to);
            hot.flushed(up_to, Arc::new(manifest), now_ns());
            hot.store_problem(None);
            self.measure(&hot);
        }
        self.room.notify_waiters();
    }

    /// Brings the gauges up to date.
    pub(crate) fn measure(&self, hot: &Hot) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (rows, bytes) = hot.size();
        self.metrics.hot_rows.set(gauge(rows as u64));
        self.metrics.hot_bytes.set(gauge(bytes as u64));
        let manifest = hot.manifest();
        let files = &manifest.files;
        self.metrics.stored_rows.set(gauge(files.iter().map(|file| file.rows).sum()));
        self.metrics.stored_bytes.set(gauge(files.iter().map(|file| file.size_bytes).sum()));
        self.metrics.stored_files.set(gauge(files.len() as u64));
        self.metrics.manifest_version.set(gauge(manifest.version));
    }
}

/// The relay's clock.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
