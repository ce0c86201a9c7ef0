//! A lab cluster with the real processes: one relay, one query service, a collector on each node.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use weir_lab::{Lab, LabSpec, Place, Process};

use crate::weir::{Service, binary, wait_for};

/// How often collectors scan their tables here.
const INTERVAL: &str = "200ms";

pub(crate) struct Cluster {
    collectors: Vec<(String, Process)>,
    pub(crate) query: Service,
    relay: Option<Service>,
    /// Where the relay serves, also the next one.
    ingest: String,
    lab: Lab,
    manifests: PathBuf,
    directory: PathBuf,
    options: Options,
}

/// How the processes of a cluster run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Further arguments of collectors.
    pub(crate) collector: Vec<String>,
    /// Further arguments of relays.
    pub(crate) relay: Vec<String>,
    /// Further arguments of the query service.
    pub(crate) query: Vec<String>,
    /// Where the store is. Default: a directory below the cluster's.
    pub(crate) store: Option<String>,
    /// Variables in the environment of relays and collectors.
    pub(crate) environment: Vec<(String, String)>,
    /// What collectors put in force outlives them: they pin what they load in the usual place.
    pub(crate) pinned: bool,
}

impl Cluster {
    /// Starts everything for the nodes and pods of `spec`, without policies. A pod's labels are
    /// `app: NAME`. `directory` keeps manifests, store and logs.
    pub(crate) fn start(directory: &Path, spec: &LabSpec) -> Self {
        Self::launch(directory, spec, Options::default())
    }

    /// The same with more settings for the collectors.
    pub(crate) fn start_with(directory: &Path, spec: &LabSpec, settings: &[&str]) -> Self {
        let collector = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Self::launch(directory, spec, Options { collector, ..Options::default() })
    }

    /// The same with collectors that pin what they load in the usual place: for a test with a BPF
    /// file system of its own.
    pub(crate) fn start_pinned(directory: &Path, spec: &LabSpec) -> Self {
        Self::launch(directory, spec, Options { pinned: true, ..Options::default() })
    }

    /// The same with everything chosen.
    pub(crate) fn launch(directory: &Path, spec: &LabSpec, options: Options) -> Self {
        let lab = Lab::create(spec).unwrap();
        let manifests = directory.join("manifests");
        std::fs::create_dir_all(&manifests).unwrap();
        std::fs::write(manifests.join("cluster.yaml"), cluster_manifest(spec)).unwrap();
        let mut relay = launch_relay(directory, "127.0.0.1:0", &options);
        relay.wait_until_ready();
        let ingest = relay.door("ingest").to_owned();
        let url = format!("http://{ingest}");
        let store = store(directory, &options);
        let mut arguments = vec![
            "query",
            "--http=127.0.0.1:0",
            "--grpc=127.0.0.1:0",
            "--postgres=127.0.0.1:0",
            "--relay",
            &url,
            "--store",
            &store,
        ];
        arguments.extend(options.query.iter().map(String::as_str));
        let query = Service::start(directory, "query", &arguments);
        let mut cluster = Self {
            collectors: Vec::new(),
            query,
            relay: Some(relay),
            ingest,
            lab,
            manifests,
            directory: directory.to_owned(),
            options,
        };
        for node in &spec.nodes {
            cluster.start_collector(&node.name);
        }
        cluster.wait_until_enforced(spec.pods.len() as u64);
        cluster
    }

    /// Kills the relay.
    pub(crate) fn kill_relay(&mut self) {
        self.relay.take().unwrap().kill();
    }

    /// Starts the relay anew, at the same address.
    pub(crate) fn launch_relay(&mut self) {
        self.relay = Some(launch_relay(&self.directory, &self.ingest, &self.options));
    }

    /// The same, and waits until it serves.
    pub(crate) fn start_relay(&mut self) {
        self.launch_relay();
        self.relay.as_mut().unwrap().wait_until_ready();
    }

    /// Sends the relay a signal.
    pub(crate) fn signal_relay(&self, signal: Signal) {
        self.relay.as_ref().unwrap().signal(signal);
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
        self.run_collector_of(self.collector(node), node)
    }

    /// The same with another state directory.
    pub(crate) fn run_collector_with_state(&self, node: &str, state: &Path) -> Output {
        let mut command = self.collector_without_state(node);
        command.arg("--state").arg(state);
        self.run_collector_of(command, node)
    }

    fn run_collector_of(&self, mut command: Command, node: &str) -> Output {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = self.lab.node(node).unwrap().spawn(command).unwrap();
        let status = wait_for("the collector to end", || process.try_wait().unwrap());
        let mut stderr = Vec::new();
        process.child().stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        Output { status, stdout: Vec::new(), stderr }
    }

    fn collector(&self, node: &str) -> Command {
        let mut command = self.collector_without_state(node);
        if self.options.pinned {
            command.arg("--state").arg(self.state(node));
        } else {
            command.args(["--pins", "none", "--state", "none"]);
        }
        command
    }

    fn collector_without_state(&self, node: &str) -> Command {
        let mut command = Command::new(binary());
        command
            .args(["collector", "--cluster", "lab", "--node", node, "--interval", INTERVAL])
            .args(&self.options.collector)
            .envs(self.options.environment.iter().map(|(name, value)| (name, value)))
            .arg("--manifests")
            .arg(&self.manifests)
            .arg("--relay")
            .arg(format!("unix://{}", self.directory.join("relay.sock").display()))
            .stdin(Stdio::null());
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

    /// Kills the collectors, none of which must have ended before.
    pub(crate) fn kill_collectors(&mut self) {
        for (node, process) in &mut self.collectors {
            let status = process.kill().unwrap();
            let log = self.directory.join(format!("collector-{node}.log"));
            let log = || std::fs::read_to_string(&log).unwrap_or_default();
            assert_eq!(status.signal(), Some(9), "the collector ended with {status}:\n{}", log());
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

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (node, _) in &self.collectors {
            let log = self.directory.join(format!("collector-{node}.log"));
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            eprintln!("--- {}\n{text}", log.display());
        }
    }
}

/// A pod's first address.
pub(crate) fn address(spec: &LabSpec, pod: &str) -> IpAddr {
    spec.pods.iter().find(|other| other.key() == pod).unwrap().addresses[0]
}

/// Starts a relay that listens at that address, and for collectors in a socket of the directory.
fn launch_relay(directory: &Path, ingest: &str, options: &Options) -> Service {
    let socket = directory.join("relay.sock");
    let (socket, store) = (socket.to_str().unwrap(), store(directory, options));
    let mut arguments =
        vec!["relay", "--ingest", ingest, "--ingest-socket", socket, "--store", &store];
    arguments.extend(options.relay.iter().map(String::as_str));
    Service::launch(directory, "relay", &arguments, &options.environment)
}

fn store(directory: &Path, options: &Options) -> String {
    let usual = || directory.join("store").to_str().unwrap().to_owned();
    options.store.clone().unwrap_or_else(usual)
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
