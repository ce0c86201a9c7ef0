//! `weir query`: SQL and HTTP over what relays hold and have stored.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use weir_distributed::{Cluster, ClusterConfig, ClusterTls, DistributedError};
use weir_query::{AccessSettings, Query, QueryConfig, TlsSettings};
use weir_service::settings::{self, Period};
use weir_service::shutdown::Parts;

use super::process::{Process, STOP_DEADLINE, store_location};

/// Where a scheduler of this machine is.
const SCHEDULER: &str = "127.0.0.1:4250";

#[derive(Debug, Args)]
pub(crate) struct QueryCommand {
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    settings: QuerySettings,
}

/// Keys of the query service's settings file.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct QuerySettings {
    /// The store that the relays write: a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.
    #[arg(long, value_name = "DIR|URL")]
    store: Option<String>,
    /// For the client of a bucket, above its usual environment variables: endpoint=…,
    /// allow_http=true, region=…; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    store_option: Option<Vec<String>>,
    /// Address of HTTP [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Address of gRPC [default: 127.0.0.1:4245].
    #[arg(long, value_name = "ADDRESS")]
    grpc: Option<SocketAddr>,
    /// Address of the Postgres wire [default: 127.0.0.1:5433].
    #[arg(long, value_name = "ADDRESS")]
    postgres: Option<SocketAddr>,
    /// A relay that writes the store, `http://host:port` or `unix:///path`; once for each, or a list in
    /// the file [default: http://127.0.0.1:4246].
    #[arg(long, value_name = "URL")]
    #[serde(deserialize_with = "one_or_more")]
    relay: Option<Vec<String>>,
    /// Answer aggregates over flows from roll-ups where these say the same [default: true].
    #[arg(long, value_name = "BOOL")]
    roll_ups: Option<bool>,
    /// Run what reads files on the executors of the scheduler at HOST:PORT [default: here; without a value:
    /// 127.0.0.1:4250].
    #[arg(long, value_name = "HOST:PORT", num_args = 0..=1, default_missing_value = SCHEDULER)]
    distributed: Option<String>,
    /// In how many parts tables are read there: about the threads of all executors [default: 16].
    #[arg(long, value_name = "PARTS")]
    distributed_parts: Option<usize>,
    /// Bytes of rows not in files yet that may go there with a query; one over more runs here
    /// [default: 33554432].
    #[arg(long, value_name = "BYTES")]
    distributed_hot_bytes: Option<usize>,
    /// Certificate, key and authority of the cluster that queries are sent to; in the file only.
    #[arg(skip)]
    distributed_tls: Option<ClusterTls>,
    /// Directory of what clients define: log-based metrics [default: none, and they cannot].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Memory of all running queries together [default: 1073741824].
    #[arg(long, value_name = "BYTES")]
    memory_bytes: Option<usize>,
    /// Rows of one answer; the rest is cut off and the answer says so [default: 100000].
    #[arg(long, value_name = "ROWS")]
    max_rows: Option<usize>,
    /// Temporary files of all running queries together; 0 forbids them [default: 4294967296].
    #[arg(long, value_name = "BYTES")]
    spill_bytes: Option<u64>,
    /// Hot rows of a relay kept here, as bytes on the wire [default: 1073741824].
    #[arg(long, value_name = "BYTES")]
    hot_bytes: Option<usize>,
    /// Memory for what queries leave of files for those after them: aggregates and latest rows; 0 keeps none [default: 134217728].
    #[arg(long, value_name = "BYTES")]
    kept_bytes: Option<usize>,
    /// From the start of a query to its last row [default: 1m].
    #[arg(long, value_name = "TIME")]
    timeout: Option<Period>,
    /// Queries that run at the same time [default: 8].
    #[arg(long, value_name = "QUERIES")]
    concurrent: Option<usize>,
    /// Queries that wait for their turn; more are refused [default: 64].
    #[arg(long, value_name = "QUERIES")]
    queued: Option<usize>,
    /// How long a query waits for its turn [default: 10s].
    #[arg(long, value_name = "TIME")]
    queue_wait: Option<Period>,
    /// Threads that plan and run queries; 0 means one a core [default: 0].
    #[arg(long, value_name = "THREADS")]
    threads: Option<usize>,
    /// Largest request body [default: 1048576].
    #[arg(long, value_name = "BYTES")]
    request_bytes: Option<usize>,
    /// While access control is on: memory of one principal's running queries [default: 536870912].
    #[arg(long, value_name = "BYTES")]
    principal_memory_bytes: Option<usize>,
    /// While access control is on: temporary files of one principal's running queries
    /// [default: 2147483648].
    #[arg(long, value_name = "BYTES")]
    principal_spill_bytes: Option<u64>,
    /// While access control is on: queries of one principal that run at the same time [default: 4].
    #[arg(long, value_name = "QUERIES")]
    principal_concurrent: Option<usize>,
    /// While access control is on: queries of one principal that wait for their turn [default: 16].
    #[arg(long, value_name = "QUERIES")]
    principal_queued: Option<usize>,
    /// Let everybody who reaches the doors see all flows, also from other machines [default: false].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    open: Option<bool>,
    /// A line of JSON for each query goes there.
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Queries of one's own beside the ready ones: a JSON list of {"name","title","sql"}.
    #[arg(long, value_name = "FILE")]
    saved_queries: Option<PathBuf>,
    /// A line for everybody who looks at the web UI.
    #[arg(long, value_name = "TEXT")]
    notice: Option<String>,
    /// Certificate and key of the doors; in the file only.
    #[arg(skip)]
    tls: Option<TlsSettings>,
    /// Who may come in and what each sees; in the file only.
    #[arg(skip)]
    access: Option<AccessSettings>,
}

impl QueryCommand {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        self.process.start_logs_of_cluster()?;
        let settings = settings::merge(self.settings, self.process.config())?;
        let cluster = settings.cluster()?;
        let remote = cluster.as_ref().map(Cluster::remote);
        let query = Query::bind_with(settings.into_config()?, remote).await?;
        let doors = json!(query.addresses());
        let mut parts = Parts::new(STOP_DEADLINE);
        parts.spawn("query", |token| query.run(token));
        tracing::info!(%doors, "query serves");
        self.process.tell_ready(&doors)?;
        parts.run(std::future::pending()).await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl QuerySettings {
    /// Where plans are sent.
    fn cluster(&self) -> Result<Option<Arc<Cluster>>, DistributedError> {
        let Some(scheduler) = &self.distributed else { return Ok(None) };
        let mut config = ClusterConfig::new(scheduler);
        config.parts = self.distributed_parts.unwrap_or(config.parts);
        config.hot_bytes = self.distributed_hot_bytes.unwrap_or(config.hot_bytes);
        config.tls.clone_from(&self.distributed_tls);
        Cluster::new(config).map(Some)
    }

    fn into_config(self) -> Result<QueryConfig, settings::SettingsError> {
        let store = store_location(self.store, self.store_option)?;
        let Self { tls, access, audit, saved_queries, notice, .. } = self;
        let mut config =
            QueryConfig { store, tls, access, audit, saved_queries, notice, ..Default::default() };
        config.http = self.http.unwrap_or(config.http);
        config.grpc = self.grpc.unwrap_or(config.grpc);
        config.postgres = self.postgres.unwrap_or(config.postgres);
        config.open = self.open.unwrap_or(config.open);
        config.relays = self.relay.unwrap_or(config.relays);
        config.roll_ups = self.roll_ups.unwrap_or(config.roll_ups);
        config.state = self.state;
        let limits = &mut config.limits;
        limits.memory_bytes = self.memory_bytes.unwrap_or(limits.memory_bytes);
        limits.spill_bytes = self.spill_bytes.unwrap_or(limits.spill_bytes);
        limits.hot_bytes = self.hot_bytes.unwrap_or(limits.hot_bytes);
        limits.kept_bytes = self.kept_bytes.unwrap_or(limits.kept_bytes);
        limits.max_rows = self.max_rows.unwrap_or(limits.max_rows);
        limits.concurrent = self.concurrent.unwrap_or(limits.concurrent);
        limits.queued = self.queued.unwrap_or(limits.queued);
        limits.queue_wait = self.queue_wait.map_or(limits.queue_wait, |period| period.0);
        limits.threads = self.threads.unwrap_or(limits.threads);
        limits.request_bytes = self.request_bytes.unwrap_or(limits.request_bytes);
        let own = &mut limits.principal;
        own.memory_bytes = self.principal_memory_bytes.unwrap_or(own.memory_bytes);
        own.spill_bytes = self.principal_spill_bytes.unwrap_or(own.spill_bytes);
        own.concurrent = self.principal_concurrent.unwrap_or(own.concurrent);
        own.queued = self.principal_queued.unwrap_or(own.queued);
        limits.timeout = self.timeout.map_or(limits.timeout, |period| period.0);
        Ok(config)
    }
}

/// A text, or a list of texts.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(Option::deserialize(from)?.map(|given| match given {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::process::tests::whole_example;

    #[test]
    fn the_example_is_whole() {
        let settings: QuerySettings = whole_example("query.yaml");
        let config = settings.into_config().unwrap();
        assert_eq!(config.limits, weir_query::Limits::default());
        assert!(config.access.is_some() && config.tls.is_some());
    }

    #[test]
    fn the_file_names_one_relay_or_several() {
        let relays = |json: &str| serde_json::from_str::<QuerySettings>(json).unwrap().relay;
        assert_eq!(relays("{}"), None);
        let one = relays(r#"{"relay":"http://a:1"}"#).unwrap();
        assert_eq!(one, ["http://a:1"]);
        let two = relays(r#"{"relay":["http://a:1","unix:///b"]}"#).unwrap();
        assert_eq!(two, ["http://a:1", "unix:///b"]);
    }
}
