//! An executor: runs tasks of queries over the store, and hands their rows to whoever needs them next.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    ExecutorStatus, ExecutorStoppedParams, HeartBeatParams, executor_status,
};
use ballista_core::serde::{BallistaCodec, BallistaLogicalExtensionCodec};
use ballista_core::{JobId, RuntimeProducer};
use ballista_executor::execution_engine::{DefaultExecutionEngine, QueryStageExecutor};
use ballista_executor::executor::{Executor as Tasks, TasksDrainedFuture};
use ballista_executor::executor_process::{ExecutorProcessConfig, structure_executor_metadata};
use ballista_executor::executor_server::{self, TERMINATING};
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::metrics::ExecutorMetricsCollector;
use ballista_executor::runtime_cache::{DefaultSessionRuntimeCache, MemoryPoolPolicy};
use ballista_executor::shutdown::ShutdownNotifier;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use weir_store::Location;

use crate::codec::Codec;
use crate::connections::Connections;
use crate::error::DistributedError;
use crate::gauge::Gauges;
use crate::reach::Bound;
use crate::tls::{ClusterTls, Door, Tls};
use crate::work::{self, Work};
use crate::{MAX_MESSAGE_BYTES, reach, session};

/// Parsed Parquet footers kept.
const METADATA_CACHE_BYTES: usize = 128 << 20;
/// Query services whose footers are kept apart.
const SESSIONS: usize = 16;
/// How long after the scheduler could not be reached it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long tasks may go on after the executor was told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Settings of an executor.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// The store that the relays write. Default: directory `data`.
    pub store: Location,
    /// `host:port` of the scheduler. Default: 127.0.0.1:4250.
    pub scheduler: String,
    /// Where tasks are taken; port 0 picks a free one. Default: 127.0.0.1:4251.
    pub tasks: SocketAddr,
    /// Where rows are handed out; port 0 picks a free one. Default: 127.0.0.1:4252.
    pub rows: SocketAddr,
    /// The name under which the scheduler, query services and other executors reach it. Default: the
    /// address that is bound for rows.
    pub host: Option<String>,
    /// Whether other machines may reach it without `tls`. Default: false.
    pub open: bool,
    /// Its certificate; those of all others have to be of the same authority. Default: plain text.
    pub tls: Option<ClusterTls>,
    /// Tasks at the same time; 0 means one a core. Default: 0.
    pub threads: usize,
    /// Memory of all tasks together; each has an equal part. Default: 1 GiB.
    pub memory_bytes: usize,
    /// Temporary files of tasks that need more memory; 0 forbids them. Default: 4 GiB.
    pub spill_bytes: u64,
    /// Where rows lie until they are fetched. Default: the system's directory for temporary files.
    pub work: Option<PathBuf>,
    /// Rows on their way, as bytes on disk; the query that has the most of them ends when there are more.
    /// Default: 16 GiB.
    pub work_bytes: u64,
    /// How often it tells the scheduler that it is there. Default: 3 s.
    pub heartbeat: Duration,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self {
            store: "data".into(),
            scheduler: "127.0.0.1:4250".into(),
            tasks: SocketAddr::from((Ipv4Addr::LOCALHOST, 4251)),
            rows: SocketAddr::from((Ipv4Addr::LOCALHOST, 4252)),
            host: None,
            open: false,
            tls: None,
            threads: 0,
            memory_bytes: 1 << 30,
            spill_bytes: 4 << 30,
            work: None,
            work_bytes: 16 << 30,
            heartbeat: Duration::from_secs(3),
        }
    }
}

/// An executor that knows its addresses and the store, and no scheduler yet.
pub struct Executor {
    rows: Bound,
    tasks_address: SocketAddr,
    tasks_door: Option<Door>,
    scheduler: Endpoint,
    settings: Arc<ExecutorProcessConfig>,
    tasks: Arc<Tasks>,
    ended: Arc<Ended>,
    work: Work,
    work_bytes: u64,
    registered: watch::Sender<bool>,
}

impl Executor {
    /// Opens the store and binds the addresses.
    ///
    /// # Errors
    /// A setting is wrong, the store or the directory cannot be used, or an address cannot be bound.
    pub async fn bind(config: ExecutorConfig) -> Result<Self, DistributedError> {
        let threads = match config.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            threads => threads,
        };
        let share = config.memory_bytes / threads;
        if share == 0 {
            return Err(DistributedError::Setting("`memory_bytes` is less than `threads`".into()));
        }
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        let scheduler = reach::scheduler(&config.scheduler, tls.as_ref())?;
        let store = weir_store::open(&config.store)?;
        let work = Work::open(config.work.as_deref())?;
        let (open, tls) = (config.open, tls.as_ref());
        let rows = reach::bind("rows", config.rows, open, tls).await?;
        let later = reach::bind_later("tasks", config.tasks, open, tls).await?;
        let (tasks_address, tasks_behind, tasks_door) = later;
        let settings = Arc::new(ExecutorProcessConfig {
            bind_host: reach::in_url(tasks_behind),
            external_host: Some(reach::host(config.host, rows.address)?),
            port: rows.address.port(),
            grpc_port: tasks_address.port(),
            vcores: threads,
            grpc_max_decoding_message_size: MAX_MESSAGE_BYTES,
            grpc_max_encoding_message_size: MAX_MESSAGE_BYTES,
            executor_heartbeat_interval_seconds: config.heartbeat.as_secs().max(1),
            override_create_grpc_client_endpoint: tls.map(|tls| tls.endpoint.clone()),
            ..ExecutorProcessConfig::default()
        });
        let spill = match config.spill_bytes {
            0 => DiskManagerMode::Disabled,
            _ => DiskManagerMode::Directories(vec![work.spill()]),
        };
        let disk = DiskManagerBuilder::default()
            .with_mode(spill)
            .with_max_temp_directory_size(config.spill_bytes);
        let builder = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(METADATA_CACHE_BYTES);
        let environment = session::environment(builder, store)?;
        let ended = Arc::new(Ended::default());
        let tasks = tasks(&settings, tls.cloned(), &work, environment, share, ended.clone())?;
        let (registered, _) = watch::channel(false);
        let work_bytes = config.work_bytes;
        Ok(Self {
            rows,
            tasks_address,
            tasks_door,
            scheduler,
            settings,
            tasks,
            ended,
            work,
            work_bytes,
            registered,
        })
    }

    /// Where tasks are taken.
    pub fn tasks_address(&self) -> SocketAddr {
        self.tasks_address
    }

    /// Where rows are handed out.
    pub fn rows_address(&self) -> SocketAddr {
        self.rows.address
    }

    /// Whether the scheduler knows it, as that changes.
    pub fn registered(&self) -> watch::Receiver<bool> {
        self.registered.subscribe()
    }

    /// Adds its metrics.
    pub fn register(&self, registry: &mut Registry) {
        let tasks = self.tasks.clone();
        let running = "weir_executor_tasks_running";
        Gauges::default()
            .with(running, "Tasks that run.", move || tasks.active_task_count())
            .register(registry);
        registry.register("weir_executor_tasks_ended", "Tasks that ended", self.ended.0.clone());
    }

    /// Works until told to stop; tasks that run then get a moment to end. While there is no scheduler it
    /// waits for one.
    ///
    /// # Errors
    /// The door for rows fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DistributedError> {
        let service = BallistaFlightService::new(self.tasks.work_dir.clone());
        let service = FlightServiceServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE_BYTES as usize)
            .max_encoding_message_size(MAX_MESSAGE_BYTES as usize);
        let Self {
            rows, tasks_door, scheduler, settings, tasks, work, work_bytes, registered, ..
        } = self;
        let handing_out = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(rows.listener));
        let working = async {
            while let Some(channel) = connect(&scheduler, &shutdown).await {
                let scheduler = SchedulerGrpcClient::new(channel)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES as usize)
                    .max_decoding_message_size(MAX_MESSAGE_BYTES as usize);
                let bounding = work::bound(work.rows(), work_bytes, scheduler.clone());
                tokio::select! {
                    () = serve(scheduler, &settings, &tasks, &registered, &shutdown) => {}
                    () = bounding => {}
                }
                registered.send_replace(false);
                if !shutdown.is_cancelled() {
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        let failed = |error| DistributedError::Library(format!("handing out rows ended: {error}"));
        tokio::select! {
            handed_out = handing_out => handed_out.map_err(failed),
            () = reach::guard([rows.door, tasks_door]) => Ok(()),
            () = working => Ok(()),
        }
    }
}

/// Counts tasks, and logs nothing of them.
#[derive(Default)]
struct Ended(Counter);

impl ExecutorMetricsCollector for Ended {
    fn record_stage(&self, _: &JobId, _: usize, _: usize, _: Arc<dyn QueryStageExecutor>) {
        self.0.inc();
    }
}

/// What runs tasks. Each has `share` bytes of memory for every thread that it takes.
fn tasks(
    settings: &Arc<ExecutorProcessConfig>,
    tls: Option<Tls>,
    work: &Work,
    environment: Arc<RuntimeEnv>,
    share: usize,
    ended: Arc<Ended>,
) -> Result<Arc<Tasks>, DistributedError> {
    let functions = session::for_reading(session::configuration(None))?;
    let policy: MemoryPoolPolicy =
        Arc::new(move |base: Arc<RuntimeEnv>, _: &SessionConfig, threads| {
            let bytes = share.saturating_mul(threads.max(1) as usize);
            RuntimeEnvBuilder::from_runtime_env(&base)
                .with_memory_pool(Arc::new(FairSpillPool::new(bytes)))
                .build_arc()
        });
    let base: RuntimeProducer = Arc::new(move |_: &SessionConfig| Ok(environment.clone()));
    let cache = DefaultSessionRuntimeCache::new(base.clone(), policy, SESSIONS);
    let rows = work.rows();
    let rows = rows.to_str().ok_or_else(|| {
        DistributedError::Setting(format!("the path {} is not Unicode", rows.display()))
    })?;
    let tasks = Tasks::new(
        structure_executor_metadata(settings, u32::try_from(settings.vcores).unwrap_or(u32::MAX)),
        rows,
        base,
        Arc::new(move || session::configuration(tls.as_ref())),
        Arc::new(BallistaFunctionRegistry::from(&functions)),
        ended,
        settings.vcores,
        Arc::new(DefaultExecutionEngine::with_client_pool(Arc::new(Connections::default()))),
    );
    Ok(Arc::new(tasks.with_session_runtime_cache(Some(Arc::new(cache)))))
}

/// Waits for the scheduler; `None` when told to stop.
async fn connect(scheduler: &Endpoint, shutdown: &CancellationToken) -> Option<Channel> {
    let connecting = async {
        loop {
            match scheduler.connect().await {
                Ok(channel) => return channel,
                Err(error) => {
                    let error = std::error::Error::source(&error)
                        .map_or_else(|| error.to_string(), ToString::to_string);
                    tracing::warn!(scheduler = %scheduler.uri(), error, "waiting for the scheduler");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => None,
        channel = connecting => Some(channel),
    }
}

/// Takes tasks from a scheduler until told to stop, or until the scheduler is gone.
async fn serve(
    mut scheduler: SchedulerGrpcClient<Channel>,
    settings: &Arc<ExecutorProcessConfig>,
    tasks: &Arc<Tasks>,
    registered: &watch::Sender<bool>,
    shutdown: &CancellationToken,
) {
    let codec: BallistaCodec<LogicalPlanNode, PhysicalPlanNode> = BallistaCodec::new(
        Arc::new(BallistaLogicalExtensionCodec::default()),
        Arc::new(Codec::default()),
    );
    let parts = ShutdownNotifier::new();
    let mut given_up = parts.subscribe_for_shutdown();
    let (sent_away, mut told_to_go) = mpsc::channel(1);
    let started = executor_server::startup(
        scheduler.clone(),
        settings.clone(),
        tasks.clone(),
        codec,
        sent_away,
        &parts,
        settings.health.clone(),
    );
    let server = match started.await {
        Ok(server) => server,
        Err(error) => {
            tracing::warn!(%error, "the scheduler does not take this executor");
            return;
        }
    };
    registered.send_replace(true);
    tracing::info!("taking tasks");
    tokio::select! {
        () = shutdown.cancelled() => leave(&mut scheduler, tasks).await,
        () = given_up.recv() => tracing::warn!("the scheduler does not answer any more"),
        _ = told_to_go.recv() => tracing::warn!("the scheduler took this executor for dead"),
    }
    let _ = parts.notify_shutdown.send(());
    // The next attempt binds the same address.
    let abort = server.abort_handle();
    match tokio::time::timeout(GRACE, server).await {
        Ok(Ok(Err(error))) => tracing::warn!(%error, "taking tasks ended"),
        Ok(_) => {}
        Err(_) => abort.abort(),
    }
}

/// Tells the scheduler to give it no more tasks, and waits a moment for those that it has.
async fn leave(scheduler: &mut SchedulerGrpcClient<Channel>, tasks: &Arc<Tasks>) {
    TERMINATING.store(true, Ordering::Release);
    let executor_id = tasks.metadata.id.clone();
    let status = executor_status::Status::Terminating(String::new());
    let beat = HeartBeatParams {
        executor_id: executor_id.clone(),
        metrics: Vec::new(),
        status: Some(ExecutorStatus { status: Some(status) }),
        metadata: Some(tasks.metadata.clone()),
    };
    let stopped = ExecutorStoppedParams { executor_id, reason: "it was told to stop".into() };
    let told = async {
        scheduler.heart_beat_from_executor(beat).await?;
        scheduler.executor_stopped(stopped).await
    };
    if let Err(error) = told.await {
        tracing::warn!(%error, "the scheduler was not told that this executor stops");
    }
    let _ = tokio::time::timeout(GRACE, TasksDrainedFuture(tasks.clone())).await;
}
