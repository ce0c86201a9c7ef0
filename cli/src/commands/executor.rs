//! `weir executor`: runs tasks of distributed queries over the store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_distributed::{ClusterTls, Executor, ExecutorConfig};
use weir_service::settings::{self, Period, SettingsError};
use weir_service::shutdown::Parts;

use super::process::{Process, STOP_DEADLINE, spawn_admin, store_location};

#[derive(Debug, Args)]
pub(crate) struct ExecutorCommand {
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    settings: ExecutorSettings,
}

/// Keys of an executor's settings file.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ExecutorSettings {
    /// The store that the relays write: a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.
    #[arg(long, value_name = "DIR|URL")]
    store: Option<String>,
    /// For the client of a bucket, above its usual environment variables: endpoint=…,
    /// allow_http=true, region=…; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    store_option: Option<Vec<String>>,
    /// The scheduler [default: 127.0.0.1:4250].
    #[arg(long, value_name = "HOST:PORT")]
    scheduler: Option<String>,
    /// Where the scheduler hands in tasks [default: 127.0.0.1:4251].
    #[arg(long, value_name = "ADDRESS")]
    tasks: Option<SocketAddr>,
    /// Where other executors and query services fetch rows [default: 127.0.0.1:4252].
    #[arg(long, value_name = "ADDRESS")]
    rows: Option<SocketAddr>,
    /// The name under which all these reach it [default: the address above].
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Let other machines reach it without certificates: it asks nobody who it is [default: false].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    open: Option<bool>,
    /// Tasks at the same time [default: one a core].
    #[arg(long, value_name = "TASKS")]
    threads: Option<usize>,
    /// Memory of all tasks together; each has an equal part [default: 1073741824].
    #[arg(long, value_name = "BYTES")]
    memory_bytes: Option<usize>,
    /// Temporary files of tasks that need more; 0 forbids them [default: 4294967296].
    #[arg(long, value_name = "BYTES")]
    spill_bytes: Option<u64>,
    /// Directory of rows on their way and of temporary files [default: one of the system's].
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Rows on their way above which the query that has the most of them ends [default: 17179869184].
    #[arg(long, value_name = "BYTES")]
    work_bytes: Option<u64>,
    /// How often it tells the scheduler that it is there [default: 3s].
    #[arg(long, value_name = "TIME")]
    heartbeat: Option<Period>,
    /// Certificate, key and authority of the cluster; in the file only.
    #[arg(skip)]
    tls: Option<ClusterTls>,
    /// Address of /metrics, /healthz and /readyz; none without it.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

impl ExecutorCommand {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        self.process.start_logs_of_cluster()?;
        let settings = settings::merge(self.settings, self.process.config())?;
        let admin = settings.admin;
        let executor = Executor::bind(settings.into_config()?).await?;
        let mut doors = json!({"tasks": executor.tasks_address(), "rows": executor.rows_address()});
        let mut registry = Registry::default();
        executor.register(&mut registry);
        let mut registered = executor.registered();
        let readiness = registered.clone();
        let mut parts = Parts::new(STOP_DEADLINE);
        parts.spawn("executor", |token| executor.run(token));
        if let Some(address) = admin {
            let readiness = Arc::new(move || *readiness.borrow());
            doors["admin"] = json!(spawn_admin(&mut parts, address, registry, readiness).await?);
        }
        let mut serves = false;
        parts.wait(async { serves = registered.wait_for(|known| *known).await.is_ok() }).await?;
        if !serves {
            parts.stop().await?;
            return Ok(ExitCode::SUCCESS);
        }
        tracing::info!(%doors, "executor serves");
        self.process.tell_ready(&doors)?;
        parts.run(std::future::pending()).await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl ExecutorSettings {
    fn into_config(self) -> Result<ExecutorConfig, SettingsError> {
        let default = ExecutorConfig::default();
        Ok(ExecutorConfig {
            store: store_location(self.store, self.store_option)?,
            scheduler: self.scheduler.unwrap_or(default.scheduler),
            tasks: self.tasks.unwrap_or(default.tasks),
            rows: self.rows.unwrap_or(default.rows),
            host: self.host,
            open: self.open.unwrap_or(default.open),
            tls: self.tls,
            threads: self.threads.unwrap_or(default.threads),
            memory_bytes: self.memory_bytes.unwrap_or(default.memory_bytes),
            spill_bytes: self.spill_bytes.unwrap_or(default.spill_bytes),
            work: self.work,
            work_bytes: self.work_bytes.unwrap_or(default.work_bytes),
            heartbeat: self.heartbeat.map_or(default.heartbeat, |time| time.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::process::tests::whole_example;

    #[test]
    fn the_example_is_whole() {
        let settings: ExecutorSettings = whole_example("executor.yaml");
        let config = settings.into_config().unwrap();
        assert!(config.tls.is_some() && !config.open);
        assert_eq!(config.threads, 8);
    }
}
