//! A lab cluster with the real processes: one relay, one query service, a collector on each node.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use weir_lab::{Lab, LabSpec, Place, Process};

use crate::weir::{Service, binary, wait_for};

/// How often collectors scan their tables here.
const INTERVAL: &str = "200ms";

pub(crate) struct Cluster {
    collectors: Vec<(String, Process)>,
    pub(crate) query: Service,
    _relay: Service,
    lab: Lab,
    manifests: PathBuf,
    directory: PathBuf,
    /// Further arguments of collectors.
    settings: Vec<String>,
    /// What collectors put in force outlives them.
    pinned: bool,
}

impl Cluster {
    /// Starts everything for the nodes and pods of `spec`, without policies. A pod's labels are
    /// `app: NAME`. `directory` keeps manifests, store and logs.
    pub(crate) fn start(directory: &Path, spec: &LabSpec) -> Self {
        Self::launch(directory, spec, &[], false)
    }

    /// The same with more settings for the collectors.
    pub(crate) fn start_with(directory: &Path, spec: &LabSpec, settings: &[&str]) -> Self {
        Self::launch(directory, spec, settings, false)
    }

    /// The same with collectors that pin what they load in the usual place: for a test with a BPF
    /// file system of its own.
    pub(crate) fn start_pinned(directory: &Path, spec: &LabSpec) -> Self {
        Self::launch(directory, spec, &[], true)
    }

    fn launch(directory: &Path, spec: &LabSpec, settings: &[&str], pinned: bool) -> Self {
        let lab = Lab::create(spec).unwrap();
        let manifests = directory.join("manifests");
        std::fs::create_dir_all(&manifests).unwrap();
        std::fs::write(manifests.join("cluster.yaml"), cluster_manifest(spec)).unwrap();
        let store = directory.join("store");
        let socket = directory.join("relay.sock");
        let relay = Service::start(
            directory,
            "relay",
            &[
                "relay",
                "--ingest",
                "127.0.0.1:0",
                "--ingest-socket",
                text(&socket),
                "--store",
                text(&store),
            ],
        );
        let url = format!("http://{}", relay.door("ingest"));
        let query = Service::start(
            directory,
            "query",
            &["query", "--http", "127.0.0.1:0", "--relay", &url, "--store", text(&store)],
        );
        let directory = directory.to_owned();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut cluster = Self {
            collectors: Vec::new(),
            query,
            _relay: relay,
            lab,
            manifests,
            directory,
            settings,
            pinned,
        };
        for node in &spec.nodes {
            cluster.start_collector(&node.name);
        }
        cluster.wait_until_enforced(spec.pods.len() as u64);
        cluster
    }

    /// Starts a node's collector.
    pub(crate) fn start_collector(&mut self, node: &str) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join(format!("collector-{node}.log")))
            .unwrap();
        let mut command = self.collector(node);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let process = self.lab.node(node).unwrap().spawn(command).unwrap();
        self.collectors.push((node.to_owned(), process));
    }

    /// Runs a collector that has to end by itself.
    pub(crate) fn run_collector(&self, node: &str) -> Output {
        let mut command = self.collector(node);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = self.lab.node(node).unwrap().spawn(command).unwrap();
        let status = wait_for("the collector to end", || process.try_wait().unwrap());
        let mut stderr = Vec::new();
        process.child().stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        Output { status, stdout: Vec::new(), stderr }
    }

    fn collector(&self, node: &str) -> Command {
        let mut command = Command::new(binary());
        command
            .args(["collector", "--cluster", "lab", "--node", node, "--interval", INTERVAL])
            .args(&self.settings)
            .arg("--manifests")
            .arg(&self.manifests)
            .arg("--relay")
            .arg(format!("unix://{}", self.directory.join("relay.sock").display()))
            .stdin(Stdio::null());
        if self.pinned {
            command.arg("--state").arg(self.state(node));
        } else {
            command.args(["--pins", "none", "--state", "none"]);
        }
        command
    }

    /// The state directory of a node's pinned collector.
    pub(crate) fn state(&self, node: &str) -> PathBuf {
        self.directory.join(format!("state-{node}"))
    }

    /// Starts a node's collector and waits until it has put the policies in force.
    pub(crate) fn restart_collector(&mut self, node: &str) {
        let log = self.directory.join(format!("collector-{node}.log"));
        let times = || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.matches("policy is in force").count()
        };
        let before = times();
        self.start_collector(node);
        wait_for("the policies to be in force", || (times() > before).then_some(()));
    }

    /// Kills the collectors.
    pub(crate) fn kill_collectors(&mut self) {
        for (_, process) in &mut self.collectors {
            process.kill().unwrap();
        }
        self.collectors.clear();
    }

    pub(crate) fn pod(&self, name: &str) -> &Place {
        self.lab.pod(name).unwrap()
    }

    pub(crate) fn node(&self, name: &str) -> &Place {
        self.lab.node(name).unwrap()
    }

    /// Writes a manifest in one step.
    pub(crate) fn write_manifest(&self, file: &str, manifest: &str) {
        let hidden = self.manifests.join(format!(".{file}"));
        std::fs::write(&hidden, manifest).unwrap();
        std::fs::rename(hidden, self.manifests.join(file)).unwrap();
    }

    /// What each collector says of itself.
    pub(crate) fn collectors(&self) -> Vec<Value> {
        let (status, body) = self.query.request("GET", "/api/v1/status", None);
        assert_eq!(status, 200, "{body}");
        let status: Value = serde_json::from_str(&body).unwrap();
        let seen = status["relay"]["status"]["collectors"].as_array().cloned().unwrap_or_default();
        seen.into_iter().map(|collector| collector["status"].clone()).collect()
    }

    /// Waits until the collectors enforce `pods` pods together.
    pub(crate) fn wait_until_enforced(&self, pods: u64) {
        wait_for("every pod to be enforced", || {
            let enforced = |status: &Value| status["enforced_pods"].as_u64().unwrap_or(0);
            (self.collectors().iter().map(enforced).sum::<u64>() == pods).then_some(())
        });
    }

    /// Waits until every collector has `policies` policies in force.
    pub(crate) fn wait_until_policies(&self, policies: u64) {
        wait_for("the policies to be in force", || {
            let all = self.collectors();
            all.iter().all(|status| status["policies"].as_u64() == Some(policies)).then_some(())
        });
    }

    /// Stops the collectors, so that everything they know reaches the relay.
    pub(crate) fn stop_collectors(&mut self) {
        for (node, process) in &mut self.collectors {
            let status = process.terminate(crate::weir::PATIENCE).unwrap();
            assert!(status.success(), "the collector of {node} ended with {status}");
        }
        self.collectors.clear();
    }
}

/// A pod's first address.
pub(crate) fn address(spec: &LabSpec, pod: &str) -> IpAddr {
    spec.pods.iter().find(|other| other.key() == pod).unwrap().addresses[0]
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn cluster_manifest(spec: &LabSpec) -> String {
    let mut yaml = String::new();
    for node in &spec.nodes {
        let _ = write!(
            yaml,
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {}}}\nstatus:\n  addresses:\n",
            node.name
        );
        for address in &node.addresses {
            let _ = writeln!(yaml, "    - {{type: InternalIP, address: \"{address}\"}}");
        }
    }
    for pod in &spec.pods {
        let ips: Vec<_> =
            pod.addresses.iter().map(|address| format!("{{ip: \"{address}\"}}")).collect();
        let _ = write!(
            yaml,
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  namespace: {}\n  name: {name}\n  \
             labels: {{app: {name}}}\nspec:\n  nodeName: {}\nstatus:\n  phase: Running\n  \
             podIP: \"{}\"\n  podIPs: [{}]\n",
            pod.namespace,
            pod.node,
            pod.addresses[0],
            ips.join(", "),
            name = pod.name,
        );
    }
    yaml
}
