//! The tutorial: a rogue pod reads redis, a policy is applied, the rogue hangs, and the denied
//! connection is a row with the policy's name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use weir_lab::traffic::redis;
use weir_lab::traffic::server::Server;
use weir_lab::{Lab, Place};

use super::cluster::{Cluster, REDIS_POLICY};
use super::stage::{Directory, Doors};
use crate::client::{Client, Server as QueryServer};

const REDIS_PORT: u16 = 6379;
/// Pods of the redis cluster.
const REDIS: [&str; 3] =
    ["default/redis-cluster-0", "default/redis-cluster-1", "default/redis-cluster-2"];
/// The one that is pinged.
const TARGET: &str = REDIS[0];
/// How long a ping may take; a denied one takes all of it.
const PING_PATIENCE: Duration = Duration::from_secs(2);
/// How long anything else may take before the demo gives up and says what it waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// The statement that the tutorial ends with, and that the README shows.
const DENIED: &str = "select source_pod, destination_workload, policy, count from flows \
                      where verdict='deny'";

pub(super) struct Story<'a> {
    cluster: &'a Cluster,
    lab: &'a Lab,
    doors: &'a Doors,
    manifests: PathBuf,
    client: Client,
    _redis: Vec<Server>,
}

impl<'a> Story<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        lab: &'a Lab,
        doors: &'a Doors,
        directory: &Directory,
    ) -> anyhow::Result<Self> {
        let serve = |pod: &&str| -> anyhow::Result<Server> {
            let address = SocketAddr::new(cluster.address(pod)?, REDIS_PORT);
            Ok(redis::redis_like(lab.pod(pod)?, address)?)
        };
        Ok(Self {
            cluster,
            lab,
            doors,
            manifests: directory.manifests(),
            client: Client::new(&QueryServer::at(doors.http))?,
            _redis: REDIS.iter().map(serve).collect::<Result<_, _>>()?,
        })
    }

    pub(super) async fn wait_until_enforced(&self) -> anyhow::Result<()> {
        let expected: usize =
            self.cluster.nodes.iter().map(|node| self.cluster.pods_on(&node.name)).sum();
        self.until("all pods to be guarded", async || {
            let enforced = self.sum_over_collectors("enforced_pods").await?;
            Ok((enforced == expected as u64).then_some(()))
        })
        .await?;
        println!("{expected} pods are guarded by eBPF programs on their veths.\n");
        Ok(())
    }

    pub(super) async fn tell(&self) -> anyhow::Result<()> {
        println!("1. No policy yet. The rogue pod asks redis:");
        if !self.ping("rogue").await? {
            bail!("the rogue got no answer although no policy is in force");
        }
        println!("\n2. Applying NetworkPolicy default/redis-allow-from-backend …");
        REDIS_POLICY.apply(&self.manifests)?;
        self.until("the policy to be in the kernel", async || {
            let policies = self.sum_over_collectors("policies").await?;
            Ok((policies == self.cluster.nodes.len() as u64).then_some(()))
        })
        .await?;
        if !self.ping("backend").await? {
            bail!("the backend got no answer although the policy allows it");
        }
        let started = Instant::now();
        let pinging = self.ping("rogue");
        let finding = self.until("the denied connection in SQL", async || {
            let statement = format!(
                "{DENIED} and source_pod='rogue' and destination_port={REDIS_PORT} limit 1"
            );
            let rows = self.sql(&statement).await?;
            Ok((!rows.is_empty()).then(|| started.elapsed()))
        });
        let (answered, found) = tokio::try_join!(pinging, finding)?;
        if answered {
            bail!("the rogue got an answer although the policy forbids it");
        }
        println!(
            "\n3. The denied connection was a row {} ms after its first packet:",
            found.as_millis()
        );
        println!("\n$ weir sql \"{DENIED}\"");
        let command = tokio::process::Command::new(std::env::current_exe()?)
            .args(["sql", "--url", &self.url(), DENIED])
            .status();
        anyhow::ensure!(command.await?.success(), "weir sql failed");
        Ok(())
    }

    pub(super) fn say_what_to_try(&self) {
        let url = self.url();
        let flag =
            if url == "http://127.0.0.1:8080" { String::new() } else { format!(" --url {url}") };
        println!("\nOrdinary traffic goes on: customers, web, api, db, DNS, and a slow port scan.");
        println!("{url} is the query service. Try, in another terminal:\n");
        let weir = super::program();
        println!("  {weir} observe --verdict deny --follow{flag}");
        println!("  {weir} status{flag}");
        println!(
            "  {weir} sql{flag} \"select source_workload, destination_workload, destination_port, \
             verdict, policy, sum(count) as n from flows group by all order by n desc\""
        );
        println!(
            "\nManifests lie in {}: change one and see. Ctrl-C ends the demo.",
            self.manifests.display()
        );
    }

    /// Pings redis from a pod of namespace default, and prints what came of it.
    async fn ping(&self, pod: &str) -> anyhow::Result<bool> {
        let target = self.cluster.address(TARGET)?;
        let place: Place = self.lab.pod(&format!("default/{pod}"))?.clone();
        let address = SocketAddr::new(target, REDIS_PORT);
        let answer = tokio::task::spawn_blocking(move || {
            place.enter(|| redis::ping(address, PING_PATIENCE))
        })
        .await??;
        let (said, answered) = match answer {
            Ok(true) => ("PONG".to_owned(), true),
            Ok(false) => bail!("{pod} got something else than PONG"),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                (format!("… hangs (no answer in {} s)", PING_PATIENCE.as_secs()), false)
            }
            Err(error) => (format!("… {error}"), false),
        };
        println!("   {pod:>7} $ redis-cli -h redis-cluster ping\n           {said}");
        Ok(answered)
    }

    async fn sum_over_collectors(&self, field: &str) -> anyhow::Result<u64> {
        let response = self.client.send(self.client.get("/api/v1/status")).await?;
        let status: Value = response.json().await?;
        let collectors = status["relay"]["status"]["collectors"].as_array();
        Ok(collectors.map_or(0, |seen| {
            seen.iter().filter_map(|collector| collector["status"][field].as_u64()).sum()
        }))
    }

    async fn sql(&self, statement: &str) -> anyhow::Result<Vec<Value>> {
        let body = serde_json::json!({ "sql": statement, "format": "json" });
        let response = self.client.send(self.client.post("/api/v1/sql").json(&body)).await?;
        let mut answer: Value = response.json().await?;
        match answer["rows"].take() {
            Value::Array(rows) => Ok(rows),
            _ => bail!("an answer without rows"),
        }
    }

    async fn until<T>(
        &self,
        what: &str,
        mut condition: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let waiting = async {
            loop {
                if let Some(value) = condition().await? {
                    return anyhow::Ok(value);
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .with_context(|| format!("waited {} s in vain for {what}", PATIENCE.as_secs()))?
    }

    fn url(&self) -> String {
        format!("http://{}", self.doors.http)
    }
}
