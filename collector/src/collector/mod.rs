//! The node agent as a process: what runs, in which order it starts and stops.

mod config;
mod left;
mod report;
pub(crate) mod rows;
mod stage;
mod threads;
mod uninstall;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_flow::wire::{CollectorStatus, SelfTest};

use crate::enforcer::{EnforceError, Enforcer, Options};
use crate::health::Health;
use crate::intervals::{Intervals, SharedIntervals};
use crate::join::Joiner;
use crate::kernel;
use crate::logging::Logger;
use crate::netlink::Changes;
use crate::node_state::NodeState;
use crate::objects::Teller;
use crate::presence::Presence;
use crate::source::{ClusterSource, ManifestDirectory};
use crate::uplink::{OutboxHandle, RelayAddress, StatusSource, Uplink};
pub use config::{CollectorConfig, CollectorError, SpoolFsync};
use left::Left;
use report::Report;
use rows::Rows;
use stage::Stage;
use threads::{Pace, Signals};
pub use uninstall::{Uninstalled, uninstall};

/// Work handed from one thread to the next ahead of it.
const WORK_AHEAD: usize = 16;
/// Counters that are reported less often would be of no use, and idle connections end before.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
/// Room for some segments.
const LEAST_SPOOL_BYTES: u64 = 1 << 20;

/// A collector that is ready to run: programs loaded, nothing attached.
pub struct Collector {
    config: CollectorConfig,
    relay: RelayAddress,
    source: ManifestDirectory,
    enforcer: Enforcer,
    left: Left,
    changes: Changes,
    health: Arc<Health>,
    presence: Presence,
    state: Option<NodeState>,
    logger: Option<Arc<Logger>>,
}

impl Collector {
    /// Checks the configuration and loads the programs, in the network namespace of this thread.
    ///
    /// # Errors
    /// The configuration is wrong, or this process may not use the kernel.
    pub fn start(config: CollectorConfig) -> Result<Self, CollectorError> {
        let given = |setting, value: &str| match value {
            "" => Err(CollectorError::Setting { setting, problem: "is empty" }),
            _ => Ok(()),
        };
        given("cluster", &config.cluster)?;
        given("node", &config.node)?;
        if config.interval.is_zero() {
            return Err(CollectorError::Setting { setting: "interval", problem: "is zero" });
        }
        if config.interval > LONGEST_INTERVAL {
            let problem = "is longer than an hour";
            return Err(CollectorError::Setting { setting: "interval", problem });
        }
        if config.spool_bytes < LEAST_SPOOL_BYTES {
            let problem = "is less than a mebibyte";
            return Err(CollectorError::Setting { setting: "spool_bytes", problem });
        }
        if config.pins.is_some() && config.state.is_none() {
            let problem = "needs a state directory: what is pinned has no meaning without it";
            return Err(CollectorError::Setting { setting: "pins", problem });
        }
        let relay: RelayAddress = config.relay.parse()?;
        let source = ManifestDirectory::open(Path::new(&config.manifests))?;
        // The directory's lock names the other process, so it is asked first.
        let state = config.state.as_deref().map(NodeState::open).transpose()?;
        let presence = Presence::claim(&config.node)
            .map_err(|source| CollectorError::System { what: "claiming the node", source })?
            .ok_or_else(|| CollectorError::Running { node: config.node.clone() })?;
        let health = Arc::new(Health::default());
        let proved = kernel::self_test(&config.datapath)?;
        tracing::info!("self-test: {proved}");
        health.set_self_test(SelfTest {
            passed: true,
            message: proved.to_string(),
            time_ns: unix_time_ns(),
        });
        let mut enforcer = Enforcer::new(Options {
            node: config.node.clone(),
            startup: config.startup,
            established: config.established,
            audit: config.audit,
            datapath: config.datapath.clone(),
            pins: config.pins.clone(),
            state: config.state.clone(),
        })?;
        for finding in enforcer.findings() {
            tracing::warn!("{finding}");
        }
        health.set_problems("restart", enforcer.findings().to_vec());
        let reader = enforcer.kernel().reader()?;
        let scanner = enforcer.kernel().scanner()?;
        let changes = Changes::listen().map_err(EnforceError::Network)?;
        let logger = logger(&config, &health)?;
        let stats = enforcer.kernel().stats()?;
        let mut left = Left::resume(&config, reader, scanner, &stats)?;
        if enforcer.kernel().replaces_maps()? {
            left.note_replaced_maps();
        }
        Ok(Self { config, relay, source, enforcer, left, changes, health, presence, state, logger })
    }

    /// Offers the collector's metrics, `weir_collector_…`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.health.register(registry);
    }

    /// Says, now and later, how the collector is.
    pub fn status(&self) -> impl Fn() -> CollectorStatus + Send + Sync + use<> {
        let (health, cluster, node) =
            (self.health.clone(), self.config.cluster.clone(), self.config.node.clone());
        move || health.status(&cluster, &node)
    }

    /// Runs until told to stop, or until a part fails. Stops in order: what makes changes, what
    /// reads, what joins, and at last what sends, which goes on until all is acknowledged.
    ///
    /// # Errors
    /// A part failed.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), CollectorError> {
        let Self {
            config,
            relay,
            source,
            enforcer,
            left,
            changes,
            health,
            presence,
            state,
            logger,
        } = self;
        // Held until the end.
        let _held = (presence, state);
        let Left { reader, scanner, outbox, journal, resumed } = left;
        // Dropped with this future: then everything stops, orderly or not.
        let tokens: [CancellationToken; 5] = Default::default();
        let _guards = tokens.clone().map(CancellationToken::drop_guard);
        let [stop_changes, stop_reader, stop_scanner, stop_uplink, stop_sync] = tokens;

        let directory = enforcer.directory();
        let intervals = SharedIntervals::new(Intervals::new(config.interval));
        let enforcer = Arc::new(Mutex::new(enforcer));
        let journal = Arc::new(Mutex::new(journal));
        let (work, work_done) = std::sync::mpsc::sync_channel(WORK_AHEAD);
        let (states, cluster_states) = watch::channel(None);
        let told_states = cluster_states.clone();
        let named = CancellationToken::new();

        let progress;
        let join = {
            let mut joiner = Joiner::new(&config.cluster, &config.node, directory.clone());
            joiner.log_to(logger.clone());
            let (journal, releaser) = (journal.clone(), reader.releaser());
            let rows = Rows::new(
                joiner,
                outbox.clone(),
                journal,
                config.spool_fsync,
                releaser,
                health.clone(),
                resumed,
            );
            progress = rows.progress.clone();
            Stage::start("weir-join", move || threads::join(&work_done, rows))?
        };
        let read = {
            let (work, health) = (work.clone(), health.clone());
            let signals = Signals { named: named.clone(), stop: stop_reader.clone() };
            Stage::start("weir-reader", move || threads::read(reader, &work, &signals, &health))?
        };
        let scan = {
            let (enforcer, health) = (enforcer.clone(), health.clone());
            let pace = Pace { intervals: intervals.clone(), directory: directory.clone() };
            let signals = Signals { named: named.clone(), stop: stop_scanner.clone() };
            Stage::start("weir-scanner", move || {
                threads::scan(scanner, &enforcer, &pace, &work, &progress, &signals, &health)
            })?
        };
        let enforce = {
            let (runtime, health) = (Handle::current(), health.clone());
            let report = Report::new(&config, logger);
            let signals = Signals { named, stop: stop_changes.clone() };
            Stage::start("weir-enforcer", move || {
                let changes = (cluster_states, changes);
                threads::enforce(
                    &enforcer, changes, &runtime, &health, report, &intervals, &signals,
                )
            })?
        };
        let sync = {
            let (journal, health, stop) = (journal.clone(), health.clone(), stop_sync.clone());
            let fsync = config.spool_fsync;
            Stage::start("weir-spool", move || threads::sync(&journal, fsync, &stop, &health))?
        };
        let teller = Teller {
            relay: relay.clone(),
            cluster: config.cluster.clone(),
            node: config.node.clone(),
            epoch: unix_time_ns(),
        };
        let teller = teller.run(told_states, health.clone(), stop_uplink.clone(), config.drain);
        let mut teller = tokio::spawn(teller);
        let mut teller_gone = false;
        let uplink = uplink(&config, relay, outbox.clone(), health.clone());
        let mut uplink = tokio::spawn(uplink.run(stop_uplink.clone(), config.drain));
        let source = tokio::spawn(source.run(states, stop_changes.clone()));

        let mut stages = [enforce, read, scan, join, sync];
        let mut uplink_gone = false;
        let stopped_early = tokio::select! {
            () = shutdown.cancelled() => false,
            () = any_gone(&mut stages) => true,
            // Nobody has told it to stop yet, so it has panicked.
            _ = &mut uplink => {
                uplink_gone = true;
                true
            }
            _ = &mut teller => {
                teller_gone = true;
                true
            }
        };
        let [enforce, read, scan, join, sync] = stages;
        let mut results = Vec::new();
        stop_changes.cancel();
        let ended = source.await.map_err(|_| CollectorError::Ended("weir-source"));
        results.push(("weir-source", ended.and_then(|ended| Ok(ended?))));
        results.push(enforce.finish().await);
        stop_reader.cancel();
        results.push(read.finish().await);
        stop_scanner.cancel();
        results.push(scan.finish().await);
        results.push(join.finish().await);
        stop_uplink.cancel();
        if uplink_gone || uplink.await.is_err() {
            results.push(("weir-uplink", Err(CollectorError::Ended("weir-uplink"))));
        }
        if teller_gone || teller.await.is_err() {
            results.push(("weir-objects", Err(CollectorError::Ended("weir-objects"))));
        }
        rows::settle(&journal, &outbox);
        stop_sync.cancel();
        results.push(sync.finish().await);
        tracing::info!(unacknowledged_rows = outbox.state().rows, "the collector has stopped");
        let mut failed =
            results.into_iter().filter_map(|(stage, result)| Some((stage, result.err()?)));
        let first = failed.next();
        for (stage, error) in failed {
            tracing::error!(stage, %error, "failed as well");
        }
        match first {
            Some((_, error)) => Err(error),
            None if stopped_early => Err(CollectorError::Ended("collector")),
            None => Ok(()),
        }
    }
}

/// The log, if there is to be one.
fn logger(
    config: &CollectorConfig,
    health: &Arc<Health>,
) -> Result<Option<Arc<Logger>>, CollectorError> {
    let Some(file) = config.log_file.clone() else { return Ok(None) };
    let path = file.path.clone();
    let logger = Logger::start(file, health.clone());
    logger
        .map(|logger| Some(Arc::new(logger)))
        .map_err(|source| CollectorError::LogFile { path, source })
}

/// Waits until any part is gone.
async fn any_gone(stages: &mut [Stage]) {
    let gone = stages.iter_mut().map(|stage| Box::pin(stage.gone()));
    futures::future::select_all(gone).await;
}

fn uplink(
    config: &CollectorConfig,
    relay: RelayAddress,
    outbox: OutboxHandle,
    health: Arc<Health>,
) -> Uplink {
    let status: StatusSource = {
        let (health, outbox) = (health.clone(), outbox.clone());
        let (cluster, node) = (config.cluster.clone(), config.node.clone());
        Arc::new(move || {
            let (rows, spool) = outbox.status();
            health.set_unacknowledged(rows, spool);
            health.status(&cluster, &node)
        })
    };
    Uplink {
        relay,
        collector: format!("{}/{}", config.cluster, config.node),
        outbox,
        status,
        connected: Arc::new(move |connected| health.set_connected(connected)),
    }
}

/// Nanoseconds since 1970.
fn unix_time_ns() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}
