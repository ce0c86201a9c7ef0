//! What the long-running commands have in common: logs, the admin door, ordered shutdown.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use prometheus_client::registry::Registry;
use weir_service::admin::{Admin, Readiness};
use weir_service::logs::{self, LogFormat};
use weir_service::settings::{self, SettingsError};
use weir_service::shutdown::Parts;
use weir_store::Location;

/// How long each part of a process may take to stop.
pub(crate) const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Flags of every long-running command.
#[derive(Debug, Args)]
pub(crate) struct Process {
    /// Settings file (YAML); each of its keys is also a flag, and a flag wins.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    log_format: Format,
    /// What is logged; WEIR_LOG wins.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: String,
    /// Written as JSON once every door serves, with their addresses.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Process {
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    pub(crate) fn start_logs(&self) -> anyhow::Result<()> {
        self.start_logs_with(&self.log)
    }

    /// The same for processes of a cluster: of the library that they are made of, only what is wrong.
    pub(crate) fn start_logs_of_cluster(&self) -> anyhow::Result<()> {
        let parts = ["core", "scheduler", "executor"].map(|part| format!("ballista_{part}=warn"));
        self.start_logs_with(&format!("{},{}", parts.join(","), self.log))
    }

    fn start_logs_with(&self, filter: &str) -> anyhow::Result<()> {
        let format = match self.log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        };
        logs::init(filter, format).map_err(anyhow::Error::from_boxed)
    }

    pub(crate) fn tell_ready(&self, doors: &serde_json::Value) -> anyhow::Result<()> {
        let Some(path) = &self.ready_file else { return Ok(()) };
        weir_service::ready::write(path, doors)
            .with_context(|| format!("cannot write the ready file {}", path.display()))
    }
}

/// The store of the settings `store` and `store_option`.
pub(crate) fn store_location(
    store: Option<String>,
    options: Option<Vec<String>>,
) -> Result<Location, SettingsError> {
    let store = Location::new(settings::required(store, "store")?);
    Ok(store.with_options(options.unwrap_or_default()))
}

/// Starts the admin door as the last part, so that it answers until the end. Returns its address.
pub(crate) async fn spawn_admin(
    parts: &mut Parts,
    address: SocketAddr,
    registry: Registry,
    readiness: Readiness,
) -> anyhow::Result<SocketAddr> {
    let admin = Admin::bind(address, Arc::new(registry), readiness).await?;
    let bound = admin.address()?;
    parts.spawn("admin", |token| admin.run(token));
    Ok(bound)
}

#[cfg(test)]
pub(super) mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    /// The settings of a documented file, which has every key there is.
    pub(crate) fn whole_example<T: Default + Serialize + DeserializeOwned>(file: &str) -> T {
        let path = format!("{}/../docs/examples/{file}", env!("CARGO_MANIFEST_DIR"));
        let settings = settings::merge(T::default(), Some(Path::new(&path))).unwrap();
        let keys = serde_json::to_value(&settings).unwrap();
        let missing: Vec<&String> = (keys.as_object().unwrap().iter())
            .filter(|(_, value)| value.is_null())
            .map(|(key, _)| key)
            .collect();
        assert!(missing.is_empty(), "{path} does not show {missing:?}");
        settings
    }
}
