//! The relay's process part: starts, serves, flushes, stops.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use weir_flow::manifest::Manifest;
use weir_flow::schema::objects::ObjectVersion;
use weir_flow::wire::HotTicket;

use crate::config::RelayConfig;
use crate::door::Door;
use crate::error::{RelayError, StoreError, WalError};
use crate::flush::Flusher;
use crate::hot::{Hot, HotView, Limits};
use crate::maintain::Maintenance;
use crate::metrics::Metrics;
use crate::objects::Objects;
use crate::store::{ORPHAN_AGE, Store};
use crate::wal::{Bell, Directory, Folder, Home, Restored, Writer, replay};

/// Where the write-ahead log is, from the store's directory.
const DEFAULT_WAL: &str = ".wal";
/// How long open calls may go on after the relay was told to stop.
const LEAVE: Duration = Duration::from_secs(5);
/// Between attempts to read the store at the start.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A relay that has not read its store yet, without which it cannot know what is stored already.
#[derive(Debug)]
pub struct Starting {
    pub(crate) config: RelayConfig,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) metrics: Metrics,
}

/// A relay that listens and does not serve yet.
#[derive(Debug)]
pub struct Relay {
    door: Door,
    flusher: Flusher,
    maintenance: Maintenance,
    maintain_interval: Duration,
    shared: Arc<Shared>,
    writer: Writer,
    /// The log is this process's as long as it runs.
    home: Home,
    shutdown_timeout: Duration,
}

/// What the service and the flusher share.
#[derive(Debug)]
pub(crate) struct Shared {
    hot: Mutex<Hot>,
    /// Locked after `hot` where both are.
    objects: Mutex<Objects>,
    pub(crate) store: Store,
    /// Up to which position the log is on disk.
    pub(crate) written: watch::Sender<u64>,
    /// Wakes the writer of the log.
    pub(crate) bell: Bell,
    /// What is not on disk by now is not acknowledged any more.
    pub(crate) gone: CancellationToken,
    /// Something became hot.
    pub(crate) arrived: Notify,
    /// Something left, or the relay is stopping.
    pub(crate) room: Notify,
    pub(crate) metrics: Metrics,
}

impl Starting {
    /// Adds the relay's metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Says whether the relay serves: not while it waits for its store, and not any more when it was
    /// told to stop.
    pub fn readiness(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let serving = self.metrics.serving.clone();
        move || serving.get() == 1
    }

    /// Reads the store and opens the doors. A bucket that does not answer is waited for: until then
    /// there is no door, and collectors keep their rows.
    ///
    /// # Errors
    /// The store or the log cannot be used, or an address cannot be bound.
    pub async fn bind(self) -> Result<Relay, RelayError> {
        self.bind_on(Directory::new).await
    }

    /// The same with a folder for the log, whose path it gets.
    pub(crate) async fn bind_on<F: Folder + 'static>(
        self,
        folder: impl FnOnce(&Path) -> F,
    ) -> Result<Relay, RelayError> {
        let Self { config, objects, metrics } = self;
        let started_ns = now_ns();
        let default = || config.store.directory().map(|store| store.join(DEFAULT_WAL));
        let wal = config.wal.clone().or_else(default).ok_or(WalError::Where)?;
        let home = Home::open(&wal, started_ns)?;
        let identity = home.identity.clone();
        let store = Store::new(objects);
        let is_bucket = config.store.directory().is_none();
        let (manifest, versions) = read(&store, &identity.prefix(), is_bucket, &metrics).await?;
        let limits = Limits {
            flush_rows: config.flush_rows,
            flush_bytes: config.flush_bytes.min(config.hot_max_bytes),
            flush_interval_ns: nanoseconds(config.flush_interval),
            hot_max_bytes: config.hot_max_bytes,
            wal_max_bytes: config.wal_max_bytes,
            recent_bytes: config.recent_bytes,
        };
        let (bell, rung) = Bell::new();
        let mut hot = Hot::new(identity.epoch, identity.name.clone(), limits, Arc::new(manifest));
        let folder = folder(&home.path);
        let mut objects = Objects::restore(started_ns, versions);
        let mut state = Restored { hot: &mut hot, objects: &mut objects, metrics: &metrics };
        let log = replay(folder, &identity, config.fsync, &mut state, started_ns)
            .map_err(|source| WalError::Open { path: home.path.clone(), source })?;
        let shared = Arc::new(Shared {
            hot: Mutex::new(hot),
            objects: Mutex::new(objects),
            store: store.clone(),
            written: watch::Sender::new(log.last()),
            bell,
            gone: CancellationToken::new(),
            arrived: Notify::new(),
            room: Notify::new(),
            metrics,
        });
        shared.measure(&shared.hot());
        let door = Door::bind(config.ingest, config.ingest_socket.as_deref()).await?;
        let writer = Writer::start(log, config.fsync, shared.clone(), rung);
        let writer = writer.map_err(WalError::Writer)?;
        let name = format!("{}{started_ns:016x}", identity.prefix());
        let maintenance =
            Maintenance::new(store.clone(), name.clone(), config.retention, config.delete_after);
        let flusher = Flusher {
            shared: shared.clone(),
            store,
            prefix: identity.prefix(),
            name,
            files_named: 0,
            linger: config.linger,
            interval_ns: limits.flush_interval_ns,
            pending: None,
            replaced: VecDeque::new(),
        };
        Ok(Relay {
            door,
            flusher,
            maintenance,
            maintain_interval: config.maintain_interval,
            shared,
            writer,
            home,
            shutdown_timeout: config.shutdown_timeout,
        })
    }
}

/// What the store knows at the start: its manifest, and the versions of objects. What this relay
/// left behind is swept.
async fn read(
    store: &Store,
    prefix: &str,
    waits: bool,
    metrics: &Metrics,
) -> Result<(Manifest, Vec<ObjectVersion>), StoreError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let attempt = async {
            let manifest = store.newest().await?;
            store.sweep(&manifest, Some(prefix), ORPHAN_AGE).await?;
            Ok::<_, StoreError>(manifest)
        };
        match attempt.await {
            Ok(manifest) => {
                let versions = store.versions_of_objects(&manifest).await;
                return Ok((manifest, versions));
            }
            Err(error) if waits && error.may_pass() => {
                metrics.start_failures.inc();
                tracing::error!(
                    %error,
                    "the relay waits for its store, which says what is stored already; collectors \
                     keep their rows until then"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

impl Relay {
    /// A relay that is to start.
    ///
    /// # Errors
    /// The store's location is wrong, or its directory cannot be used.
    pub fn prepare(config: RelayConfig) -> Result<Starting, RelayError> {
        let objects = weir_store::open(&config.store).map_err(StoreError::from)?;
        Ok(Starting { config, objects, metrics: Metrics::default() })
    }

    /// Prepares it, reads the store and opens the doors.
    ///
    /// # Errors
    /// Of [`prepare`](Self::prepare) and [`Starting::bind`].
    pub async fn bind(config: RelayConfig) -> Result<Self, RelayError> {
        Self::prepare(config)?.bind().await
    }

    /// The TCP address of the Flight service.
    pub fn ingest_address(&self) -> SocketAddr {
        self.door.address()
    }

    #[cfg(test)]
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Serves until told to stop; then no batch is taken any more, and what is hot is stored, if the
    /// store takes it in time. If not, the write-ahead log keeps it.
    ///
    /// # Errors
    /// The service or the log's writer ended by itself.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), RelayError> {
        // However it ends, nobody waits for it any longer.
        let _gone = self.shared.gone.clone().drop_guard();
        let stop = shutdown.child_token();
        self.shared.metrics.serving.set(1);
        let flush_stop = stop.clone();
        let served = {
            let serve = self.door.serve(self.shared.clone(), stop.clone());
            let flush = self.flusher.run(&flush_stop);
            let maintain = self.maintenance.run(&self.shared, self.maintain_interval, &flush_stop);
            // The two end together, when they are told to.
            let flush = async { tokio::join!(flush, maintain) };
            tokio::pin!(serve, flush);
            tokio::select! {
                served = &mut serve => { stop.cancel(); served }
                () = self.writer.ended() => { stop.cancel(); Err(writer_ended()) }
                _ = &mut flush => {
                    // Nothing more is taken; what was is acknowledged once it is on disk.
                    self.shared.close();
                    self.shared.room.notify_waiters();
                    let _ = tokio::time::timeout(LEAVE, self.shared.all_written()).await;
                    self.shared.gone.cancel();
                    tokio::time::timeout(LEAVE, serve).await.unwrap_or(Ok(()))
                }
            }
        };
        self.shared.close();
        if self.shared.hot().is_writing() {
            tracing::warn!("batches that are not on disk were not acknowledged and are sent again");
        }
        self.flusher.finish(self.shutdown_timeout).await;
        // It removes what is stored now, and ends before another process may have the log.
        let (writer, home) = (self.writer, self.home);
        let ended = tokio::task::spawn_blocking(move || drop((writer, home)));
        if tokio::time::timeout(LEAVE, ended).await.is_err() {
            tracing::warn!("the disk of the write-ahead log does not answer");
        }
        served
    }
}

fn writer_ended() -> RelayError {
    WalError::Writer(std::io::Error::other("it ended unexpectedly")).into()
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
        self.metrics.serving.set(0);
        self.hot().close();
        self.objects().close();
    }

    /// The log, which has so many bytes now, has everything up to a position on disk.
    pub(crate) fn written(&self, up_to: u64, wal_bytes: u64) {
        {
            let mut hot = self.hot();
            hot.written(up_to, wal_bytes, now_ns());
            self.measure(&hot);
        }
        self.written.send_replace(up_to);
        self.arrived.notify_one();
    }

    /// Everything that is taken is on disk.
    async fn all_written(&self) {
        let taken = self.hot().taken_position();
        // The sender lives as long as this.
        let _ = self.written.subscribe().wait_for(|up_to| *up_to >= taken).await;
    }

    /// `manifest` takes force; what it holds, and the objects' versions up to theirs, leave memory,
    /// in one step for readers.
    pub(crate) fn flushed(&self, objects_up_to: u64, manifest: Manifest) {
        {
            let mut hot = self.hot();
            self.objects().flushed(objects_up_to);
            hot.flushed(Arc::new(manifest), now_ns());
            hot.store_problem(None);
            self.measure(&hot);
        }
        self.bell.ring();
        self.room.notify_waiters();
    }

    /// A manifest that no flush of ours wrote takes force, if it is newer.
    pub(crate) fn adopt(&self, manifest: &Manifest) {
        {
            let mut hot = self.hot();
            if manifest.version <= hot.manifest().version {
                return;
            }
            hot.flushed(Arc::new(manifest.clone()), now_ns());
            self.measure(&hot);
        }
        self.bell.ring();
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
