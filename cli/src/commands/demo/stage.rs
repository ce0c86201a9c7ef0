//! What the demo runs: relay and query in this process, a collector process on each node, and the
//! directory they share.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use weir_lab::{Lab, Process};
use weir_query::{Addresses, Query, QueryConfig};
use weir_relay::{Relay, RelayConfig};
use weir_service::shutdown::Parts;

use super::cluster::Cluster;
use crate::commands::process::STOP_DEADLINE;

/// The demo's cluster in column `cluster`.
pub(super) const CLUSTER: &str = "demo";
/// How often collectors report the counters of live connections.
const INTERVAL: &str = "5s";
/// How long rows stay in memory: short, so that files appear while one watches.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);
/// How long a collector may take to hand over its last rows.
const COLLECTOR_GRACE: Duration = Duration::from_secs(10);
/// A collector's log is shown up to this length when the collector ends by itself.
const LOG_TAIL_BYTES: usize = 4096;

/// Where the demo can be reached.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Doors {
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
    pub(super) postgres: SocketAddr,
    pub(super) ingest: SocketAddr,
}

/// The demo's directory, removed at the end if nobody chose it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    temporary: bool,
}

impl Directory {
    pub(super) fn prepare(chosen: Option<PathBuf>) -> anyhow::Result<Self> {
        let temporary = chosen.is_none();
        let path = chosen.unwrap_or_else(|| {
            remove_leftovers();
            std::env::temp_dir().join(format!("{LEFTOVER_PREFIX}{}", std::process::id()))
        });
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        let path = path.canonicalize().context("the directory went away")?;
        Ok(Self { path, temporary })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn manifests(&self) -> PathBuf {
        self.path.join("manifests")
    }

    pub(super) fn remove(self) {
        if self.temporary {
            // What cannot be removed now is removed by the next demo.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

const LEFTOVER_PREFIX: &str = "weir-demo-";

/// Removes temporary directories of demos that were killed.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(LEFTOVER_PREFIX));
        let Some(Ok(owner)) = owner.map(str::parse::<u32>) else { continue };
        if !Path::new(&format!("/proc/{owner}")).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Relay and query, serving.
#[derive(Debug)]
pub(super) struct Stage {
    doors: Doors,
    parts: Parts,
}

impl Stage {
    /// `notice` is for whoever looks at the web UI.
    pub(super) async fn open(doors: Doors, directory: &Path, notice: &str) -> anyhow::Result<Self> {
        let Doors { http, grpc, postgres, ingest } = doors;
        let store = directory.join("store");
        let mut config = RelayConfig::new(store.as_path());
        config.ingest = ingest;
        config.flush_interval = FLUSH_INTERVAL;
        config.ingest_socket = Some(socket(directory));
        let relay = Relay::bind(config).await?;
        let ingest = relay.ingest_address();
        let config = QueryConfig {
            http,
            grpc,
            postgres,
            relays: vec![format!("http://{ingest}")],
            store: store.into(),
            state: Some(directory.join("query")),
            notice: Some(notice.to_owned()),
            ..QueryConfig::default()
        };
        let query = Query::bind(config).await?;
        let Addresses { http, grpc, postgres } = query.addresses();
        let doors = Doors { http, grpc, postgres, ingest };
        let mut parts = Parts::new(STOP_DEADLINE);
        parts.spawn("query", |token| query.run(token));
        parts.spawn("relay", |token| relay.run(token));
        Ok(Self { doors, parts })
    }

    pub(super) fn doors(&self) -> &Doors {
        &self.doors
    }

    /// Waits for Ctrl-C, for the given time to be over, or for a part that ends by itself.
    pub(super) async fn wait(&mut self, at_most: Option<Duration>) -> anyhow::Result<()> {
        let over = async {
            match at_most {
                Some(at_most) => tokio::time::sleep(at_most).await,
                None => std::future::pending().await,
            }
        };
        Ok(self.parts.wait(over).await?)
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        Ok(self.parts.stop().await?)
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("relay.sock")
}

/// One collector a node.
#[derive(Debug)]
pub(super) struct Collectors(Vec<Collector>);

#[derive(Debug)]
struct Collector {
    node: String,
    process: Process,
    log: PathBuf,
}

impl Collectors {
    pub(super) fn start(
        lab: &Lab,
        cluster: &Cluster,
        directory: &Directory,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where is this program?")?;
        let start = |node: &str| -> anyhow::Result<Collector> {
            let log = directory.path().join(format!("collector-{node}.log"));
            let output = std::fs::File::create(&log)
                .with_context(|| format!("cannot write the log {}", log.display()))?;
            let mut command = Command::new(&program);
            command
                .args(["collector", "--cluster", CLUSTER, "--node", node, "--interval", INTERVAL])
                // Nothing is to stay behind, even if all of it is killed.
                .args(["--pins", "none", "--state", "none"])
                .arg("--manifests")
                .arg(directory.manifests())
                .arg("--relay")
                .arg(format!("unix://{}", socket(directory.path()).display()))
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output);
            let process = lab.node(node)?.spawn(command)?;
            Ok(Collector { node: node.to_owned(), process, log })
        };
        cluster.nodes.iter().map(|node| start(&node.name)).collect::<Result<_, _>>().map(Self)
    }

    /// Waits for a collector that ends although nobody asked it to, and says why.
    pub(super) async fn first_to_end(&mut self) -> anyhow::Error {
        loop {
            for collector in &mut self.0 {
                match collector.process.try_wait() {
                    Ok(None) => {}
                    Ok(Some(status)) => {
                        let log = std::fs::read_to_string(&collector.log).unwrap_or_default();
                        let tail = log.len().saturating_sub(LOG_TAIL_BYTES);
                        let tail = log.get(tail..).unwrap_or(&log);
                        let node = &collector.node;
                        return anyhow!("the collector of {node} ended with {status}:\n{tail}");
                    }
                    Err(error) => return error.into(),
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks them to end, so that their last rows reach the relay.
    pub(super) async fn stop(self) {
        let stopped = tokio::task::spawn_blocking(move || {
            let mut collectors = self.0;
            for collector in &mut collectors {
                collector.process.signal(rustix::process::Signal::TERM);
            }
            for collector in &mut collectors {
                if let Err(error) = collector.process.terminate(COLLECTOR_GRACE) {
                    tracing::warn!(%error, node = collector.node, "collector not stopped");
                }
            }
        });
        if let Err(error) = stopped.await {
            tracing::warn!(%error, "collectors not stopped");
        }
    }
}
