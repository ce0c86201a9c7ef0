//! Jobs for which there is no executor: the library has those wait that began without one.

use std::time::{Duration, Instant};

use ballista_core::serde::protobuf::job_status::Status as JobStatus;
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion_proto::logical_plan::AsLogicalPlan;
use datafusion_proto::physical_plan::AsExecutionPlan;

/// Why such a job failed.
pub(crate) const NOBODY: &str = "there is no executor";

/// How often it is looked whether there is one.
const LOOK: Duration = Duration::from_secs(1);

/// Fails jobs while there has been no executor for so long; does not end.
pub(crate) async fn fail_without_executors<T, U>(server: &SchedulerServer<T, U>, patience: Duration)
where
    T: AsLogicalPlan + 'static,
    U: AsExecutionPlan + 'static,
{
    let mut last_seen = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        if server.is_ready() {
            last_seen = Instant::now();
        }
        if last_seen.elapsed() < patience {
            continue;
        }
        for (id, job) in server.state.task_manager.get_running_job_cache().iter() {
            let mut graph = job.execution_graph.write().await;
            if matches!(graph.status().status, Some(JobStatus::Queued(_) | JobStatus::Running(_))) {
                tracing::warn!(job = %id, "{NOBODY}, it fails");
                graph.fail_job(NOBODY.to_owned());
            }
        }
    }
}
