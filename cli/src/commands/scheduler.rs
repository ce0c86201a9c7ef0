//! `weir scheduler`: gives the tasks of distributed queries to executors.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_distributed::{ClusterTls, Scheduler, SchedulerConfig};
use weir_service::settings::{self, Period};
use weir_service::shutdown::Parts;

use super::process::{Process, STOP_DEADLINE, spawn_admin};

#[derive(Debug, Args)]
pub(crate) struct SchedulerCommand {
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    settings: SchedulerSettings,
}

/// Keys of the scheduler's settings file.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SchedulerSettings {
    /// Where plans are taken from query services, and executors are spoken with [default: 127.0.0.1:4250].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The name under which executors reach it [default: the address above].
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Let other machines reach it without certificates: it asks nobody who it is [default: false].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    open: Option<bool>,
    /// An executor that says nothing for so long is gone [default: 15s].
    #[arg(long, value_name = "TIME")]
    executor_timeout: Option<Period>,
    /// Certificate, key and authority of the cluster; in the file only.
    #[arg(skip)]
    tls: Option<ClusterTls>,
    /// Address of /metrics, /healthz and /readyz; none without it.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

impl SchedulerCommand {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        self.process.start_logs_of_cluster()?;
        let settings = settings::merge(self.settings, self.process.config())?;
        let admin = settings.admin;
        let scheduler = Scheduler::bind(settings.into_config()).await?;
        let mut doors = json!({"scheduler": scheduler.address()});
        let mut registry = Registry::default();
        scheduler.register(&mut registry);
        let readiness = Arc::new(scheduler.readiness());
        let mut parts = Parts::new(STOP_DEADLINE);
        parts.spawn("scheduler", |token| scheduler.run(token));
        if let Some(address) = admin {
            doors["admin"] = json!(spawn_admin(&mut parts, address, registry, readiness).await?);
        }
        tracing::info!(%doors, "scheduler serves");
        self.process.tell_ready(&doors)?;
        parts.run(std::future::pending()).await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl SchedulerSettings {
    fn into_config(self) -> SchedulerConfig {
        let default = SchedulerConfig::default();
        SchedulerConfig {
            listen: self.listen.unwrap_or(default.listen),
            host: self.host,
            open: self.open.unwrap_or(default.open),
            tls: self.tls,
            executor_timeout: self.executor_timeout.map_or(default.executor_timeout, |time| time.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::process::tests::whole_example;

    #[test]
    fn the_example_is_whole() {
        let settings: SchedulerSettings = whole_example("scheduler.yaml");
        let config = settings.into_config();
        assert!(config.tls.is_some() && !config.open);
    }
}
