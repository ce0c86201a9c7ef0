//! The scheduler: takes plans, cuts them into stages, and gives their tasks to executors. Each task
//! once: a job that loses one fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig as Settings;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::codec::Codec;
use crate::error::DistributedError;
use crate::gauge::Gauges;
use crate::reach::Bound;
use crate::slots::Slots;
use crate::tls::{ClusterTls, Tls};
use crate::{MAX_MESSAGE_BYTES, failure, nobody, reach, session, whole};

type Server = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// How often it is looked for executors that say nothing any more.
const LOOK_SECONDS: u64 = 1;
/// How long what is known of a query that ended is kept: until its client has asked what it read.
const KEEP_STATE_SECONDS: u64 = 30;
/// How long rows are kept that nobody fetches and nobody gives up.
const KEEP_ROWS_SECONDS: u64 = 900;

/// Settings of the scheduler.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// Where it is served; port 0 picks a free one. Default: 127.0.0.1:4250.
    pub listen: SocketAddr,
    /// The name under which executors reach it. Default: the address that is bound.
    pub host: Option<String>,
    /// Whether other machines may reach it without `tls`. Default: false.
    pub open: bool,
    /// Its certificate; those of all others have to be of the same authority. Default: plain text.
    pub tls: Option<ClusterTls>,
    /// An executor that says nothing for so long is gone; without any for so long queries fail. Default: 15 s.
    pub executor_timeout: Duration,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4250)),
            host: None,
            open: false,
            tls: None,
            executor_timeout: Duration::from_secs(15),
        }
    }
}

/// A scheduler that listens but does not answer yet.
pub struct Scheduler {
    bound: Bound,
    server: Server,
    executor_timeout: Duration,
}

impl Scheduler {
    /// Binds the address.
    ///
    /// # Errors
    /// A setting is wrong, or the address cannot be bound.
    pub async fn bind(config: SchedulerConfig) -> Result<Self, DistributedError> {
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        let bound = reach::bind("plans", config.listen, config.open, tls.as_ref()).await?;
        let address = bound.address;
        let timeout = config.executor_timeout.as_secs().max(1);
        let settings = Settings {
            external_host: reach::host(config.host, address)?,
            bind_host: address.ip().to_string(),
            bind_port: address.port(),
            executor_timeout_seconds: timeout,
            no_executors_grace_period_seconds: timeout,
            expire_dead_executor_interval_seconds: LOOK_SECONDS,
            finished_job_state_clean_up_interval_seconds: KEEP_STATE_SECONDS,
            finished_job_data_clean_up_interval_seconds: KEEP_ROWS_SECONDS,
            grpc_server_max_decoding_message_size: MAX_MESSAGE_BYTES,
            grpc_server_max_encoding_message_size: MAX_MESSAGE_BYTES,
            grpc_client_max_message_size: MAX_MESSAGE_BYTES,
            task_max_failures: failure::TRIES,
            stage_max_failures: failure::TRIES,
            override_physical_codec: Some(Arc::new(Codec::default())),
            override_session_builder: Some(Arc::new(session::for_reading)),
            use_tls: tls.is_some(),
            override_create_grpc_client_endpoint: tls.as_ref().map(|tls| tls.endpoint.clone()),
            override_config_producer: Some(Arc::new(move || session::configuration(tls.as_ref()))),
            ..Settings::default()
        };
        let cluster = BallistaCluster::new_from_config(&settings).await?;
        let slots = Arc::new(Slots::new(cluster.cluster_state()));
        let cluster = BallistaCluster::new(slots, cluster.job_state());
        let server = create_scheduler(cluster, Arc::new(settings)).await?;
        Ok(Self { bound, server, executor_timeout: Duration::from_secs(timeout) })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.bound.address
    }

    /// Adds its metrics.
    pub fn register(&self, registry: &mut Registry) {
        let running = self.server.clone();
        let waiting = self.server.clone();
        Gauges::default()
            .with("weir_scheduler_queries_running", "Queries whose tasks run.", move || {
                running.running_job_number()
            })
            .with("weir_scheduler_queries_waiting", "Queries that wait for executors.", move || {
                waiting.pending_job_number()
            })
            .register(registry);
    }

    /// Whether there is an executor.
    pub fn readiness(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let server = self.server.clone();
        move || server.is_ready()
    }

    /// Serves until told to stop. Queries that run then have no end; their clients are told.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DistributedError> {
        let Bound { listener, door, .. } = self.bound;
        let server = self.server.clone();
        tokio::select! {
            () = whole::remove_abandoned(&server) => Ok(()),
            () = nobody::fail_without_executors(&server, self.executor_timeout) => Ok(()),
            served = start_grpc_service_with_listener(listener, self.server) => Ok(served?),
            () = reach::guard([door]) => Ok(()),
            () = shutdown.cancelled() => Ok(()),
        }
    }
}
