//! One plan at the scheduler: handed in, waited for, and ended with the interest in it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::execute_query_result;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::serde::protobuf::operator_metric::Metric;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, CleanJobDataParams, ExecuteQueryParams, GetJobMetricsParams,
    GetJobStatusParams, PartitionLocation,
};
use ballista_core::version;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use weir_query::QueryError;

use crate::MAX_MESSAGE_BYTES;
use crate::client::Cluster;
use crate::failure::{self, Failure, gone};

/// The first wait for a job's end; each is longer than the one before.
const FIRST_WAIT: Duration = Duration::from_millis(2);
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// How often a plan is run whose rows or tasks went away, and how long after the last time.
pub(crate) const RUNS: usize = 5;
const RUN_WAIT: Duration = Duration::from_millis(200);

/// A job. Dropping it ends it and removes its rows.
#[derive(Debug)]
pub(crate) struct Job {
    id: String,
    scheduler: SchedulerGrpcClient<Channel>,
    ended: bool,
    threads: Handle,
    /// Where the rows are, once it has ended.
    pub(crate) parts: VecDeque<PartitionLocation>,
}

impl Job {
    /// Runs a plan to its end, anew if it loses something. Counts in `runs`, of at most [`RUNS`].
    pub(crate) async fn finished(
        cluster: &Arc<Cluster>,
        plan: &Arc<Vec<u8>>,
        runs: &mut usize,
    ) -> Result<Self, QueryError> {
        loop {
            *runs += 1;
            match Self::run(cluster, plan).await {
                Ok(job) => return Ok(job),
                Err(Failure::Query(error)) => return Err(error),
                Err(Failure::Lost(cause)) if *runs >= RUNS => return Err(gone(&cause)),
                Err(Failure::Lost(cause)) => {
                    tracing::warn!(cause, runs, "a query broke off, running it again");
                    tokio::time::sleep(RUN_WAIT).await;
                }
            }
        }
    }

    async fn run(cluster: &Arc<Cluster>, plan: &Arc<Vec<u8>>) -> Result<Self, Failure> {
        let (sender, handed_in) = oneshot::channel();
        let submitting = Self::submit(cluster.clone(), plan.clone());
        // Nobody may leave between the job's begin and its number: it would run on.
        tokio::spawn(async move {
            // Without a receiver the job is dropped here.
            let _ = sender.send(submitting.await);
        });
        let broke = |_| QueryError::Internal("handing in a plan broke off".into());
        let mut job = handed_in.await.map_err(broke)??;
        job.wait().await?;
        Ok(job)
    }

    async fn submit(cluster: Arc<Cluster>, plan: Arc<Vec<u8>>) -> Result<Self, QueryError> {
        let mut scheduler = SchedulerGrpcClient::new(cluster.channel.clone())
            .max_encoding_message_size(MAX_MESSAGE_BYTES as usize)
            .max_decoding_message_size(MAX_MESSAGE_BYTES as usize);
        let mut request = tonic::Request::new(ExecuteQueryParams {
            query: Some(Query::PhysicalPlan(Vec::clone(&plan))),
            settings: cluster.settings.clone(),
            session_id: cluster.session_id.clone(),
            operation_id: String::new(),
        });
        version::insert_version_header(request.metadata_mut());
        let answer = scheduler.execute_query(request).await;
        let answer = answer.map_err(|status| away(&cluster.config.scheduler, &status))?;
        match answer.into_inner().result {
            Some(execute_query_result::Result::Success(begun)) => Ok(Self {
                id: begun.job_id,
                scheduler,
                ended: false,
                threads: Handle::current(),
                parts: VecDeque::new(),
            }),
            Some(execute_query_result::Result::Failure(failure)) => {
                Err(QueryError::Internal(format!("the scheduler refuses the plan: {failure:?}")))
            }
            None => Err(QueryError::Internal("the scheduler says nothing of the plan".into())),
        }
    }

    async fn wait(&mut self) -> Result<(), Failure> {
        let mut wait = FIRST_WAIT;
        loop {
            let asked = GetJobStatusParams { job_id: self.id.clone() };
            let status = self.scheduler.get_job_status(asked).await;
            let status = status.map_err(|status| gone(status.message()))?.into_inner().status;
            match status.and_then(|status| status.status) {
                Some(Status::Successful(job)) => {
                    self.ended = true;
                    self.parts = job.partition_location.into();
                    return Ok(());
                }
                Some(Status::Failed(job)) => {
                    let failure = failure::read(&job.error);
                    // What is left of a job that lost something may still run.
                    self.ended = matches!(failure, Failure::Query(_));
                    return Err(failure);
                }
                Some(Status::Queued(_) | Status::Running(_)) | None => {}
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Notes what was read of files, if the scheduler still knows.
    pub(crate) async fn measure(&mut self, bytes_scanned: &OnceLock<u64>) {
        let asked = GetJobMetricsParams { job_id: self.id.clone() };
        let measured = match self.scheduler.get_job_metrics(asked).await {
            Ok(measured) => measured.into_inner(),
            Err(error) => {
                tracing::debug!(%error, "what a query read of files is not known");
                return;
            }
        };
        let operators = measured.stages.iter().flat_map(|stage| &stage.operators);
        let counts = operators.flat_map(|operator| &operator.metrics).filter_map(|metric| {
            match metric.metric.as_ref()? {
                Metric::Count(count) if count.name == "bytes_scanned" => Some(count.value),
                _ => None,
            }
        });
        // Said once: a job is measured at its end.
        let _ = bytes_scanned.set(counts.sum());
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let (mut scheduler, job_id) = (self.scheduler.clone(), std::mem::take(&mut self.id));
        let ended = self.ended;
        self.threads.spawn(async move {
            let told = if ended {
                let clean = CleanJobDataParams { job_id, remove_stage_ids: Vec::new() };
                scheduler.clean_job_data(clean).await.map(|_| ())
            } else {
                scheduler.cancel_job(CancelJobParams { job_id }).await.map(|_| ())
            };
            if let Err(error) = told {
                tracing::warn!(%error, "the scheduler was not told of the end of a query");
            }
        });
    }
}

/// The scheduler does not take a plan.
fn away(address: &str, status: &tonic::Status) -> QueryError {
    QueryError::Unavailable(format!(
        "the scheduler at {address} cannot be asked ({}): start `weir scheduler`, or the query service \
         without --distributed",
        status.message()
    ))
}
