//! The query service's side: sends plans to the scheduler and fetches the rows from executors.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use ballista_core::client::BallistaClient;
use ballista_core::extension::{BallistaConfigGrpcEndpoint, SessionConfigHelperExt as _};
use ballista_core::serde::protobuf::{KeyValuePair, PartitionLocation};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt as _, stream};
use tonic::transport::Channel;
use weir_query::QueryError;
use weir_query::remote::{Ran, Remote, Rows};

use crate::MAX_MESSAGE_BYTES;
use crate::error::DistributedError;
use crate::failure::gone;
use crate::job::{Job, RUNS};
use crate::tls::{ClusterTls, Tls};
use crate::travel::{self, Packed};
use crate::{reach, session};

/// How often fetching is tried again, and how long after.
const FETCHES: u8 = 3;
const FETCH_WAIT_MS: u64 = 200;

/// Where the scheduler is, and what is sent to it.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// `host:port` of the scheduler.
    pub scheduler: String,
    /// In how many parts a table is read and joined; about the threads of all executors together.
    pub parts: usize,
    /// Bytes of rows not yet in files that may go with a plan; a query over more runs here.
    pub hot_bytes: usize,
    /// The certificate of the query service, if the cluster has certificates.
    pub tls: Option<ClusterTls>,
}

impl ClusterConfig {
    /// 16 parts, 32 MiB of hot rows, no certificates.
    pub fn new(scheduler: impl Into<String>) -> Self {
        Self { scheduler: scheduler.into(), parts: 16, hot_bytes: 32 << 20, tls: None }
    }
}

/// A scheduler and its executors, for a query service.
pub struct Cluster {
    pub(crate) config: ClusterConfig,
    pub(crate) channel: Channel,
    /// One for all queries: executors keep what they know of files by it.
    pub(crate) session_id: String,
    pub(crate) settings: Vec<KeyValuePair>,
    reader: Arc<TaskContext>,
    tls: Option<Tls>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Nothing is asked yet; the scheduler need not be there.
    ///
    /// # Errors
    /// The address is none, or a number is 0.
    pub fn new(config: ClusterConfig) -> Result<Arc<Self>, DistributedError> {
        if config.parts == 0 {
            return Err(DistributedError::Setting(
                "`distributed_parts` is 0: give at least 1".into(),
            ));
        }
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        let endpoint = reach::scheduler(&config.scheduler, tls.as_ref())?;
        let settings = session::configuration(tls.as_ref()).with_target_partitions(config.parts);
        let reader = session::for_reading(settings.clone())?;
        Ok(Arc::new(Self {
            channel: endpoint.connect_lazy(),
            session_id: reader.session_id().to_owned(),
            settings: settings.to_key_value_pairs(),
            reader: reader.task_ctx(),
            tls,
            config,
        }))
    }
}

/// The cluster that plans are sent to.
#[derive(Clone, Debug)]
struct Sending(Arc<Cluster>);

impl Cluster {
    /// For [`Query::bind_with`](weir_query::Query::bind_with).
    pub fn remote(self: &Arc<Self>) -> Arc<dyn Remote> {
        Arc::new(Sending(self.clone()))
    }
}

#[async_trait]
impl Remote for Sending {
    fn session(&self, state: SessionState) -> SessionState {
        session::for_stages(state, self.0.config.parts)
    }

    async fn run(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Ran, QueryError> {
        let cluster = &self.0;
        let schema = plan.schema();
        let plan = match travel::pack(plan, cluster.config.hot_bytes, &cluster.reader) {
            Packed::Ready(plan) => Arc::new(plan),
            Packed::Stays(why) => return Ok(Ran::NotThere(why)),
        };
        let bytes_scanned = Arc::new(OnceLock::new());
        let mut runs = 0;
        let job = Job::finished(cluster, &plan, &mut runs).await?;
        let fetching = Fetching {
            cluster: cluster.clone(),
            schema: schema.clone(),
            job,
            plan,
            runs,
            handed_on: false,
            rows: None,
            bytes_scanned: bytes_scanned.clone(),
        };
        let batches =
            stream::try_unfold(fetching, async |mut fetching| match fetching.next().await {
                Ok(batch) => Ok(batch.map(|batch| (batch, fetching))),
                Err(error) => Err(DataFusionError::from(error)),
            });
        let batches = Box::pin(RecordBatchStreamAdapter::new(schema, batches));
        Ok(Ran::There(Rows { batches, bytes_scanned }))
    }
}

/// The rows of a job, part after part.
struct Fetching {
    cluster: Arc<Cluster>,
    schema: SchemaRef,
    plan: Arc<Vec<u8>>,
    job: Job,
    runs: usize,
    handed_on: bool,
    /// Of the part that is read.
    rows: Option<SendableRecordBatchStream>,
    bytes_scanned: Arc<OnceLock<u64>>,
}

impl Fetching {
    async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        loop {
            match self.step().await {
                Ok(Some(batch)) if batch.num_rows() == 0 => {}
                Ok(Some(batch)) => {
                    self.handed_on = true;
                    return Ok(Some(batch));
                }
                Ok(None) => {
                    self.job.measure(&self.bytes_scanned).await;
                    return Ok(None);
                }
                Err(error) if self.handed_on || self.runs >= RUNS => {
                    return Err(gone(&format!("an executor's rows cannot be fetched: {error}")));
                }
                Err(error) => {
                    tracing::warn!(%error, "rows went away before they were fetched, running the query again");
                    self.rows = None;
                    self.job = Job::finished(&self.cluster, &self.plan, &mut self.runs).await?;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<RecordBatch>, DataFusionError> {
        loop {
            if let Some(rows) = &mut self.rows {
                if let Some(batch) = rows.next().await {
                    let batch = batch?;
                    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                    let columns = batch.columns().to_vec();
                    let schema = self.schema.clone();
                    let batch = RecordBatch::try_new_with_options(schema, columns, &rows)?;
                    return Ok(Some(batch));
                }
                self.rows = None;
            }
            let Some(part) = self.job.parts.pop_front() else { return Ok(None) };
            self.rows = Some(fetch(part, self.cluster.tls.as_ref()).await?);
        }
    }
}

/// The rows of one part, as the executor wrote them.
async fn fetch(
    part: PartitionLocation,
    tls: Option<&Tls>,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let lacks = || DataFusionError::Internal("a part of an answer is nowhere".into());
    let layout = part.layout();
    let executor = part.executor_meta.ok_or_else(lacks)?;
    let id = part.partition_id.ok_or_else(lacks)?.into();
    let port = u16::try_from(executor.port).map_err(|_| lacks())?;
    let failed = |error: ballista_core::error::BallistaError| {
        DataFusionError::Execution(format!("{}:{port}: {error}", executor.host))
    };
    let mut client = BallistaClient::try_new(
        &executor.host,
        port,
        MAX_MESSAGE_BYTES as usize,
        tls.is_some(),
        tls.map(|tls| Arc::new(BallistaConfigGrpcEndpoint::new(tls.endpoint.clone()))),
        FETCHES,
        FETCH_WAIT_MS,
        0,
        0,
    )
    .await
    .map_err(failed)?;
    // As a whole and not batch by batch: dictionaries stay dictionaries.
    let as_batches = false;
    client
        .fetch_partition(&executor.id, &id, part.file_id, layout, as_batches)
        .await
        .map_err(failed)
}
