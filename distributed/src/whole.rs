//! A job runs as a whole or fails: nothing that it has tried is tried again within it.
//!
//! The library gives lost tasks to other executors and joins what they make with what was left. Answers
//! of such jobs were seen that counted rows twice (Ballista 55). So no such task reaches an executor: the
//! job fails, and the query service hands in the plan anew.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ballista_core::JobId;
use ballista_core::serde::protobuf::job_status::Status as JobStatus;
use ballista_core::serde::protobuf::task_status::Status as TaskStatus;
use ballista_scheduler::cluster::BoundTask;
use ballista_scheduler::scheduler_server::SchedulerServer;
use ballista_scheduler::state::execution_stage::ExecutionStage;
use ballista_scheduler::state::task_manager::JobInfoCache;
use datafusion_proto::logical_plan::AsLogicalPlan;
use datafusion_proto::physical_plan::AsExecutionPlan;

/// Why such a job failed.
pub(crate) const BROKEN: &str = "an executor went away with a part of the query";

/// A client asks for its job's end several times a second and gives it up then; a job that is left after
/// this time has none.
const CLIENT_GONE: Duration = Duration::from_secs(10);

/// Leaves the tasks of jobs that try nothing again, and fails the others.
pub(crate) async fn keep(tasks: &mut Vec<BoundTask>, jobs: &HashMap<JobId, JobInfoCache>) {
    let mut broken = HashSet::new();
    for id in tasks.iter().map(|(_, task)| task.key.job_id.clone()).collect::<HashSet<_>>() {
        let Some(job) = jobs.get(&id) else { continue };
        let mut graph = job.execution_graph.write().await;
        if tries_again(graph.stages().values()) {
            tracing::warn!(job = %id, "{BROKEN}, it fails");
            graph.fail_job(BROKEN.to_owned());
            broken.insert(id);
        }
    }
    tasks.retain(|(_, task)| !broken.contains(&task.key.job_id));
}

fn tries_again<'a>(mut stages: impl Iterator<Item = &'a ExecutionStage>) -> bool {
    stages.any(|stage| {
        let attempt = match stage {
            ExecutionStage::UnResolved(stage) => stage.stage_attempt_num,
            ExecutionStage::Resolved(stage) => stage.stage_attempt_num,
            ExecutionStage::Running(stage) => stage.stage_attempt_num,
            ExecutionStage::Successful(stage) => stage.stage_attempt_num,
            ExecutionStage::Failed(stage) => stage.stage_attempt_num,
        };
        let mut tasks = stage.task_infos().unwrap_or_default().iter();
        attempt > 0 || tasks.any(|task| matches!(task.task_status, TaskStatus::Failed(_)))
    })
}

/// Removes failed jobs whose clients do not; does not end.
pub(crate) async fn remove_abandoned<T, U>(server: &SchedulerServer<T, U>)
where
    T: AsLogicalPlan + 'static,
    U: AsExecutionPlan + 'static,
{
    loop {
        tokio::time::sleep(CLIENT_GONE / 2).await;
        for (id, job) in server.state.task_manager.get_running_job_cache().iter() {
            let status = job.execution_graph.read().await.status().status.clone();
            let Some(JobStatus::Failed(failed)) = status else { continue };
            let ended = UNIX_EPOCH + Duration::from_millis(failed.ended_at);
            if SystemTime::now().duration_since(ended).is_ok_and(|age| age > CLIENT_GONE)
                && let Err(error) = server.cancel_job(id.clone()).await
            {
                tracing::warn!(job = %id, %error, "a failed job cannot be removed");
            }
        }
    }
}
