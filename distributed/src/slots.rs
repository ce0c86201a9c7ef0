//! What executors have free, as the scheduler keeps it: by what the graphs of jobs say is running.
//!
//! The library counts up with each task that an executor reports, by what it knows of the task. When an
//! executor is lost, stages are begun anew, and of their old tasks it knows nothing any more: what they had of
//! the executors that are left would never be free again, and the query would wait for ever.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::ExecutorHeartbeat;
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata, TaskKey};
use ballista_scheduler::cluster::{BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::task_manager::JobInfoCache;
use tokio::sync::Mutex;

use crate::whole;

/// The library's state of a cluster, with a count of its own.
pub(crate) struct Slots {
    inner: Arc<dyn ClusterState>,
    count: Mutex<Count>,
}

#[derive(Default)]
struct Count {
    /// Of each executor: threads, and those that the library takes for free.
    threads: HashMap<String, (u32, u32)>,
    /// Tasks that were given out: to whom, and how many threads they take.
    given: HashMap<TaskKey, (String, u32)>,
}

impl Slots {
    pub(crate) fn new(inner: Arc<dyn ClusterState>) -> Self {
        Self { inner, count: Mutex::default() }
    }
}

impl Count {
    /// Forgets tasks that do not run any more; what the library has to count up for each executor.
    fn freed(&mut self, running: &HashSet<(TaskKey, String)>) -> Vec<ExecutorSlot> {
        self.given
            .retain(|task, (executor, _)| running.contains(&(task.clone(), executor.clone())));
        let mut used: HashMap<&str, u32> = HashMap::new();
        for (executor, threads) in self.given.values() {
            *used.entry(executor).or_default() += threads;
        }
        let mut freed = Vec::new();
        for (executor, (threads, free)) in &mut self.threads {
            let now = threads.saturating_sub(used.get(executor.as_str()).copied().unwrap_or(0));
            if now > *free {
                freed.push((executor.clone(), now - *free));
                *free = now;
            }
        }
        freed
    }

    fn give(&mut self, tasks: &[BoundTask]) {
        for (executor, task) in tasks {
            if let Some((_, free)) = self.threads.get_mut(executor) {
                *free = free.saturating_sub(task.vcores_consumed);
            }
            self.given.insert(task.key.clone(), (executor.clone(), task.vcores_consumed));
        }
    }
}

#[async_trait]
impl ClusterState for Slots {
    async fn init(&self) -> Result<()> {
        self.inner.init().await
    }

    async fn bind_schedulable_tasks(
        &self,
        distribution: TaskDistributionPolicy,
        active_jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        let mut count = self.count.lock().await;
        let mut running = HashSet::new();
        for job in active_jobs.values() {
            let tasks = job.execution_graph.read().await.running_tasks();
            running.extend(tasks.into_iter().map(|task| {
                let key =
                    TaskKey { job_id: task.job_id, stage_id: task.stage_id, task_id: task.task_id };
                (key, task.executor_id)
            }));
        }
        self.inner.unbind_tasks(count.freed(&running)).await?;
        let jobs = active_jobs.clone();
        let mut tasks = self.inner.bind_schedulable_tasks(distribution, jobs, executors).await?;
        // Those of jobs that fail now, too: they are free when the jobs are gone.
        count.give(&tasks);
        whole::keep(&mut tasks, &active_jobs).await;
        Ok(tasks)
    }

    /// Counted when the next tasks are given out.
    async fn unbind_tasks(&self, _: Vec<ExecutorSlot>) -> Result<()> {
        Ok(())
    }

    async fn register_executor(
        &self,
        metadata: ExecutorMetadata,
        spec: ExecutorData,
    ) -> Result<()> {
        let mut count = self.count.lock().await;
        let (executor, threads) = (metadata.id.clone(), spec.total_vcores);
        self.inner.register_executor(metadata, spec).await?;
        count.threads.insert(executor, (threads, threads));
        Ok(())
    }

    async fn remove_executor(&self, executor_id: &str) -> Result<()> {
        let mut count = self.count.lock().await;
        count.threads.remove(executor_id);
        count.given.retain(|_, (executor, _)| executor != executor_id);
        self.inner.remove_executor(executor_id).await
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        self.inner.save_executor_metadata(metadata).await
    }

    async fn get_executor_metadata(&self, executor_id: &str) -> Result<ExecutorMetadata> {
        self.inner.get_executor_metadata(executor_id).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.inner.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, heartbeat: ExecutorHeartbeat) -> Result<()> {
        self.inner.save_executor_heartbeat(heartbeat).await
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        self.inner.executor_heartbeats()
    }

    fn get_executor_heartbeat(&self, executor_id: &str) -> Option<ExecutorHeartbeat> {
        self.inner.get_executor_heartbeat(executor_id)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.inner.cluster_state_events().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_run_any_more_is_free_once() {
        let key = |task_id| TaskKey { job_id: JobId::from("job".to_owned()), stage_id: 1, task_id };
        let mut count = Count::default();
        count.threads.insert("a".into(), (4, 1));
        count.given.insert(key(0), ("a".into(), 2));
        count.given.insert(key(1), ("a".into(), 1));
        let both = HashSet::from([(key(0), "a".to_owned()), (key(1), "a".to_owned())]);
        assert_eq!(count.freed(&both), []);
        // Begun anew with another executor: here it is over, whatever is reported later.
        let elsewhere = HashSet::from([(key(0), "b".to_owned()), (key(1), "a".to_owned())]);
        assert_eq!(count.freed(&elsewhere), [("a".to_owned(), 2)]);
        assert_eq!(count.freed(&elsewhere), []);
        assert_eq!(count.freed(&HashSet::new()), [("a".to_owned(), 1)]);
    }
}
