//! A node in a lab, with Weir's processes as anybody runs them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Pid;
use serde_json::{Value, json};
use weir_lab::traffic::crafted::Crafted;
use weir_lab::{Lab, LabSpec, Process};
use weir_policy::manifest::write_pod;
use weir_policy::model::{Labels, Pod};

use super::service::Service;
use super::usage::Usage;
use crate::client::{Client, Server};

/// The node.
pub(super) const NODE: &str = "n1";
/// What is open, and who dials it; what is shut, and who dials that.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 11);
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 12);
pub(super) const CLOSED: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 13);
pub(super) const CALLER: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 14);
const PODS: [(&str, Ipv4Addr); 4] =
    [("server", SERVER), ("client", CLIENT), ("closed", CLOSED), ("caller", CALLER)];
const NAMESPACE: &str = "x";

const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
    metadata: {namespace: x, name: closed}\nspec: {podSelector: {matchLabels: {app: closed}}}\n";

/// Until all pods are enforced.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// The node's processes and pods. Dropping it removes everything.
pub(super) struct Node {
    pub(super) client: Client,
    pub(super) collector: Process,
    _query: Service,
    _relay: Service,
    pub(super) lab: Lab,
    _directory: Directory,
}

/// Pods of the cluster besides the four that a bench talks between, and policies.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Those whose node is [`NODE`] are made.
    pub(super) pods: Vec<Pod>,
    /// Manifests of policies.
    pub(super) policies: String,
}

/// Removed at the end.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left is in the temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Node {
    pub(super) async fn start(others: &Others) -> anyhow::Result<Self> {
        let name = format!("weir-bench-node-{}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(name));
        let path = |name: &str| -> anyhow::Result<String> {
            let path = directory.0.join(name);
            Ok(path.to_str().context("the temporary directory's name is not UTF-8")?.to_owned())
        };
        let spec = spec(others);
        let manifests = directory.0.join("manifests");
        std::fs::create_dir_all(&manifests)?;
        std::fs::write(manifests.join("cluster.yaml"), manifest(others))?;
        let lab = Lab::create(&spec)?;
        let (store, socket) = (path("store")?, path("relay.sock")?);
        let arguments = ["--store", &store, "--ingest", "127.0.0.1:0", "--ingest-socket", &socket];
        let relay = Service::start(&directory.0, "relay", &arguments).await?;
        let url = format!("http://{}", relay.door("ingest")?);
        let arguments = [
            "--store",
            &store,
            "--http=127.0.0.1:0",
            "--grpc=127.0.0.1:0",
            "--postgres=127.0.0.1:0",
            "--relay",
            &url,
        ];
        let query = Service::start(&directory.0, "query", &arguments).await?;
        let client = Client::new(&Server::at(query.door("http")?))?;
        let collector = collector(&lab, &directory.0, &manifests, &socket)?;
        let mut node =
            Self { client, collector, _query: query, _relay: relay, lab, _directory: directory };
        node.wait_until_enforced(spec.pods.len() as u64).await?;
        Ok(node)
    }

    /// What the collector takes of the machine.
    pub(super) fn collector_usage(&self) -> anyhow::Result<Usage> {
        let pid = i32::try_from(self.collector.id()).ok().and_then(Pid::from_raw);
        Ok(Usage(pid.context("the collector has ended")?))
    }

    /// Keeps ports of the server open; what comes is not read.
    pub(super) fn open(&self, ports: std::ops::Range<u16>) -> anyhow::Result<Vec<UdpSocket>> {
        let bind = |port| UdpSocket::bind((SERVER, port));
        let bound = self.lab.pod("x/server")?.enter(|| ports.map(bind).collect::<Result<_, _>>());
        bound?.context("cannot open the server's ports")
    }

    /// Sends to the server from the client, or to the closed pod from its caller.
    pub(super) fn sender(&self, to: Ipv4Addr) -> anyhow::Result<Crafted> {
        let (pod, from) = if to == SERVER { ("x/client", CLIENT) } else { ("x/caller", CALLER) };
        Ok(self.lab.pod(pod)?.enter(|| Crafted::open(from))??)
    }

    /// Packets that client and caller have sent.
    pub(super) fn sent(&self) -> anyhow::Result<[u64; 2]> {
        let sent =
            |pod| -> anyhow::Result<u64> { Ok(self.lab.pod(pod)?.link("eth0")?.sent_packets) };
        Ok([sent("x/client")?, sent("x/caller")?])
    }

    /// The rows of a statement.
    pub(super) async fn sql(&self, statement: &str) -> anyhow::Result<Vec<Value>> {
        let body = json!({ "sql": statement, "format": "json" });
        let request = self.client.post("/api/v1/sql").json(&body);
        let mut answer: Value = self.client.send(request).await?.json().await?;
        match answer["rows"].take() {
            Value::Array(rows) => Ok(rows),
            other => anyhow::bail!("{statement}: not rows: {other}"),
        }
    }

    async fn wait_until_enforced(&mut self, pods: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let answer = self.client.send(self.client.get("/api/v1/status")).await;
            if let Ok(answer) = answer {
                let status: Value = answer.json().await?;
                let collector = &status["relay"]["status"]["collectors"][0]["status"];
                if collector["enforced_pods"].as_u64() == Some(pods) {
                    return Ok(());
                }
            }
            if let Some(status) = self.collector.try_wait()? {
                anyhow::bail!("the collector ended with {status}");
            }
            ensure!(begun.elapsed() < PATIENCE, "not all of the {pods} pods are enforced");
            tokio::time::sleep(POLL).await;
        }
    }
}

fn collector(
    lab: &Lab,
    directory: &Path,
    manifests: &Path,
    socket: &str,
) -> anyhow::Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["collector", "--cluster", "bench", "--node", NODE, "--pins", "none"])
        .args(["--log", "warn", "--relay"])
        .arg(format!("unix://{socket}"))
        .arg("--state")
        .arg(directory.join("state"))
        .arg("--manifests")
        .arg(manifests)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Ok(lab.node(NODE)?.spawn(command)?)
}

fn spec(others: &Others) -> LabSpec {
    let node: IpAddr = Ipv4Addr::new(192, 168, 78, 1).into();
    let mut spec = LabSpec::default().node(NODE, &[node]);
    for (name, address) in PODS {
        spec = spec.pod(NODE, &format!("{NAMESPACE}/{name}"), &[address.into()]);
    }
    for pod in others.pods.iter().filter(|pod| pod.node.as_deref() == Some(NODE)) {
        spec = spec.pod(NODE, &format!("{}/{}", pod.namespace, pod.name), &pod.addresses);
    }
    spec
}

fn manifest(others: &Others) -> String {
    let mut text = POLICY.to_owned();
    let own = PODS.map(|(name, address)| Pod {
        namespace: NAMESPACE.into(),
        name: name.into(),
        labels: Labels::from([("app".to_owned(), name.to_owned())]),
        addresses: vec![address.into()],
        node: Some(NODE.into()),
        ..Pod::default()
    });
    for pod in own.iter().chain(&others.pods) {
        // Cannot fail on a String.
        let _ = write!(text, "---\n{}\n", write_pod(pod));
    }
    text.push_str(&others.policies);
    text
}
