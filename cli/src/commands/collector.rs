//! `weir collector`: the node agent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_collector::enforcer::{Established, Startup};
use weir_collector::kernel::{DEFAULT_PINS, safe_name};
use weir_collector::logging::LogFile;
use weir_collector::node_state::DEFAULT_STATE;
use weir_collector::{Collector, CollectorConfig, SpoolFsync, uninstall};
use weir_service::admin::Readiness;
use weir_service::settings::{self, Period, required};
use weir_service::shutdown::Parts;

use super::process::{Process, STOP_DEADLINE, spawn_admin};

/// Name of the cluster where nobody gave one.
const DEFAULT_CLUSTER: &str = "default";

/// In place of a directory: do without.
const NONE: &str = "none";

#[derive(Debug, Args)]
pub(crate) struct CollectorCommand {
    /// Removes all that this node's collector has left, takes the programs off its pods'
    /// interfaces, and ends. Takes --node, --pins and --state.
    #[arg(long)]
    uninstall: bool,
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    settings: CollectorSettings,
}

/// Keys of the collector's settings file.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CollectorSettings {
    /// Name of this node, as in the pods' spec.nodeName.
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    node: Option<String>,
    /// Name of the cluster, in every row [default: default].
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Directory of Kubernetes manifests, watched for changes.
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// The relay, `http://host:port` or `unix:///path` [default: http://127.0.0.1:4246].
    #[arg(long, value_name = "URL")]
    relay: Option<String>,
    /// Time between two reports of what connections did [default: 5s].
    #[arg(long, value_name = "TIME")]
    interval: Option<Period>,
    /// Pods whose policy is not in the kernel yet [default: open].
    #[arg(long, value_enum)]
    startup: Option<StartupSetting>,
    /// Connections that are older than a policy [default: keep].
    #[arg(long, value_enum)]
    established: Option<EstablishedSetting>,
    /// Would-be denies pass and are reported as `audit` [default: false].
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    audit: Option<bool>,
    /// Directory of a BPF file system in which this node's programs, links and maps are pinned, so
    /// that they stay in force when the collector ends; `none`: they go with it
    /// [default: /sys/fs/bpf/weir/NODE].
    #[arg(long, value_name = "DIR")]
    pins: Option<PathBuf>,
    /// Directory for what this node's next collector needs to know; `none` only without pins
    /// [default: /var/lib/weir/collector/NODE].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// File of log records, if the cluster's NetworkLogging object asks for them; none without it.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Size at which another log file is begun [default: 10000000].
    #[arg(long, value_name = "BYTES")]
    log_file_bytes: Option<u64>,
    /// Older log files that are kept [default: 5].
    #[arg(long, value_name = "N")]
    log_files_kept: Option<u32>,
    /// Bytes in memory kept until the relay has acknowledged them, without a state directory
    /// [default: 67108864].
    #[arg(long, value_name = "BYTES")]
    unacknowledged_bytes: Option<usize>,
    /// Bytes in the state directory kept until the relay has acknowledged them [default: 1073741824].
    #[arg(long, value_name = "BYTES")]
    spool_bytes: Option<u64>,
    /// When they are made to outlive a machine that loses power [default: interval].
    #[arg(long, value_enum)]
    spool_fsync: Option<FsyncSetting>,
    /// Address of /metrics, /healthz and /readyz; none without it.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum StartupSetting {
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum EstablishedSetting {
    Keep,
    Cut,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum FsyncSetting {
    /// When the system likes.
    Never,
    /// Every second.
    Interval,
    /// Each batch before it counts.
    Batch,
}

impl CollectorCommand {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        self.process.start_logs()?;
        let settings = settings::merge(self.settings, self.process.config())?;
        if self.uninstall {
            let node = required(settings.node, "node")?;
            let pins = directory(settings.pins, DEFAULT_PINS, &node);
            let state = directory(settings.state, DEFAULT_STATE, &node);
            println!("{node}: {}", uninstall(pins.as_deref(), state.as_deref())?);
            return Ok(ExitCode::SUCCESS);
        }
        let admin = settings.admin;
        let collector = Collector::start(settings.into_config()?)?;
        let mut registry = Registry::default();
        collector.register_metrics(&mut registry);
        let status = collector.status();
        // Ready once a policy set is in the kernel, even an empty one.
        let ready: Readiness = Arc::new(move || status().policy_revision > 0);
        let mut doors = json!({});
        let mut parts = Parts::new(STOP_DEADLINE);
        parts.spawn("collector", |token| collector.run(token));
        if let Some(address) = admin {
            doors["admin"] = json!(spawn_admin(&mut parts, address, registry, ready).await?);
        }
        tracing::info!(%doors, "collector runs");
        self.process.tell_ready(&doors)?;
        parts.run(std::future::pending()).await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl CollectorSettings {
    fn into_config(self) -> Result<CollectorConfig, settings::SettingsError> {
        let node = required(self.node, "node")?;
        let pins = directory(self.pins, DEFAULT_PINS, &node);
        let state = directory(self.state, DEFAULT_STATE, &node);
        let mut config = CollectorConfig::new(
            self.cluster.unwrap_or_else(|| DEFAULT_CLUSTER.into()),
            node,
            required(self.manifests, "manifests")?,
            self.relay.unwrap_or_else(|| "http://127.0.0.1:4246".into()),
        );
        config.interval = self.interval.map_or(config.interval, |period| period.0);
        config.startup = match self.startup {
            Some(StartupSetting::Closed) => Startup::Closed,
            Some(StartupSetting::Open) => Startup::Open,
            None => config.startup,
        };
        config.established = match self.established {
            Some(EstablishedSetting::Cut) => Established::Cut,
            Some(EstablishedSetting::Keep) => Established::Keep,
            None => config.established,
        };
        (config.pins, config.state) = (pins, state);
        config.audit = self.audit.unwrap_or(config.audit);
        config.log_file = self.log_file.map(|path| {
            let mut file = LogFile::new(path);
            file.max_bytes = self.log_file_bytes.unwrap_or(file.max_bytes);
            file.kept = self.log_files_kept.unwrap_or(file.kept);
            file
        });
        config.unacknowledged_bytes =
            self.unacknowledged_bytes.unwrap_or(config.unacknowledged_bytes);
        config.spool_bytes = self.spool_bytes.unwrap_or(config.spool_bytes);
        config.spool_fsync = match self.spool_fsync {
            Some(FsyncSetting::Never) => SpoolFsync::Never,
            Some(FsyncSetting::Interval) => SpoolFsync::Interval,
            Some(FsyncSetting::Batch) => SpoolFsync::Batch,
            None => config.spool_fsync,
        };
        Ok(config)
    }
}

/// A node's directory: the one that was chosen, none, or its own among those of all nodes.
fn directory(chosen: Option<PathBuf>, of_nodes: &str, node: &str) -> Option<PathBuf> {
    match chosen {
        Some(path) if path.as_os_str() == NONE => None,
        Some(path) => Some(path),
        None => Some(Path::new(of_nodes).join(safe_name(node))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::process::tests::whole_example;

    #[test]
    fn the_example_is_whole() {
        let settings: CollectorSettings = whole_example("collector.yaml");
        let config = settings.into_config().unwrap();
        assert_eq!(config.interval, std::time::Duration::from_secs(5));
        assert!(config.pins.is_some() && config.state.is_some() && config.log_file.is_some());
    }
}
