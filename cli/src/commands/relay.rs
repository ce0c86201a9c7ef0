//! `weir relay`: ingest and store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_relay::{Fsync, Relay, RelayConfig, Retention};
use weir_service::settings::{self, Period};
use weir_service::shutdown::Parts;

use super::process::{Process, STOP_DEADLINE, spawn_admin, store_location};

#[derive(Debug, Args)]
pub(crate) struct RelayCommand {
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    settings: RelaySettings,
}

/// Keys of the relay's settings file.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RelaySettings {
    /// The store: a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.
    #[arg(long, value_name = "DIR|URL")]
    store: Option<String>,
    /// For the client of a bucket, above its usual environment variables: endpoint=…,
    /// allow_http=true, region=…; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    store_option: Option<Vec<String>>,
    /// Address of the Flight service [default: 127.0.0.1:4246].
    #[arg(long, value_name = "ADDRESS")]
    ingest: Option<SocketAddr>,
    /// Unix socket of the same service, for collectors in other network namespaces.
    #[arg(long, value_name = "PATH")]
    ingest_socket: Option<PathBuf>,
    /// Directory of the write-ahead log, this relay's alone [default: .wal in the store].
    #[arg(long, value_name = "DIR")]
    wal: Option<PathBuf>,
    /// When the write-ahead log is forced to disk [default: batch].
    #[arg(long, value_enum)]
    fsync: Option<FsyncSetting>,
    /// Bytes of the write-ahead log above which collectors wait [default: 2147483648].
    #[arg(long, value_name = "BYTES")]
    wal_max_bytes: Option<u64>,
    /// Rows in memory that start a flush [default: 300000].
    #[arg(long, value_name = "ROWS")]
    flush_rows: Option<usize>,
    /// Age of the oldest row in memory that starts a flush [default: 1m].
    #[arg(long, value_name = "TIME")]
    flush_interval: Option<Period>,
    /// Bytes in memory above which collectors wait [default: 536870912].
    #[arg(long, value_name = "BYTES")]
    hot_max_bytes: Option<usize>,
    /// Age of allowed flows above which they are removed, such as 720h [default: kept].
    #[arg(long, value_name = "TIME")]
    retain: Option<Period>,
    /// The same of denied and audited flows and of the loss ledger [default: kept].
    #[arg(long, value_name = "TIME")]
    retain_denies: Option<Period>,
    /// Bytes of stored flows above which the oldest are removed, allows first [default: no limit].
    #[arg(long, value_name = "BYTES")]
    retain_bytes: Option<u64>,
    /// How often the store is looked at for files to merge and to remove [default: 30s].
    #[arg(long, value_name = "TIME")]
    maintain_interval: Option<Period>,
    /// How long files stay after they were merged or removed: longer than any query takes
    /// [default: 20m].
    #[arg(long, value_name = "TIME")]
    delete_after: Option<Period>,
    /// Address of /metrics, /healthz and /readyz; none without it.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum FsyncSetting {
    /// Before a batch is acknowledged.
    Batch,
    /// Every second: a power failure may lose what was acknowledged since.
    Interval,
    /// When the system likes to; only a power failure may lose what was acknowledged.
    Never,
}

impl RelayCommand {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        self.process.start_logs()?;
        let settings = settings::merge(self.settings, self.process.config())?;
        let admin = settings.admin;
        let mut registry = Registry::default();
        let starting = Relay::prepare(settings.into_config()?)?;
        starting.register(&mut registry);
        let readiness = Arc::new(starting.readiness());
        let mut doors = json!({});
        // It answers from before the store does until the relay has ended.
        let mut watch = Parts::new(STOP_DEADLINE);
        if let Some(address) = admin {
            doors["admin"] = json!(spawn_admin(&mut watch, address, registry, readiness).await?);
        }
        let mut bound = None;
        watch.wait(async { bound = Some(starting.bind().await) }).await?;
        if let Some(relay) = bound.transpose()? {
            doors["ingest"] = json!(relay.ingest_address());
            let mut parts = Parts::new(STOP_DEADLINE);
            parts.spawn("relay", |token| relay.run(token));
            tracing::info!(%doors, "relay serves");
            self.process.tell_ready(&doors)?;
            parts.run(std::future::pending()).await?;
        }
        watch.stop().await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl RelaySettings {
    fn into_config(self) -> Result<RelayConfig, settings::SettingsError> {
        let mut config = RelayConfig::new(store_location(self.store, self.store_option)?);
        config.ingest = self.ingest.unwrap_or(config.ingest);
        config.ingest_socket = self.ingest_socket;
        config.wal = self.wal;
        config.fsync = match self.fsync {
            Some(FsyncSetting::Batch) => Fsync::Batch,
            Some(FsyncSetting::Interval) => Fsync::Interval,
            Some(FsyncSetting::Never) => Fsync::Never,
            None => config.fsync,
        };
        config.wal_max_bytes = self.wal_max_bytes.unwrap_or(config.wal_max_bytes);
        config.flush_rows = self.flush_rows.unwrap_or(config.flush_rows);
        config.flush_interval =
            self.flush_interval.map_or(config.flush_interval, |period| period.0);
        config.hot_max_bytes = self.hot_max_bytes.unwrap_or(config.hot_max_bytes);
        let period = |period: Option<Period>| {
            period.map(|period| u64::try_from(period.0.as_nanos()).unwrap_or(u64::MAX))
        };
        config.retention = Retention {
            allows_ns: period(self.retain),
            denies_ns: period(self.retain_denies),
            bytes: self.retain_bytes,
        };
        config.maintain_interval =
            self.maintain_interval.map_or(config.maintain_interval, |period| period.0);
        config.delete_after = self.delete_after.map_or(config.delete_after, |period| period.0);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::process::tests::whole_example;

    #[test]
    fn the_example_is_whole() {
        let settings: RelaySettings = whole_example("relay.yaml");
        let config = settings.into_config().unwrap();
        assert!(config.retention.denies_ns > config.retention.allows_ns);
    }
}
