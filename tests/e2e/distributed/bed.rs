//! A relay and a store with made-up rows, a scheduler with two executors, and a query service on either
//! way: one that runs everything itself, and one that runs it there.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_flow::synthetic::{Synthetic, SyntheticOptions};

use crate::made_up;
use crate::weir::{PATIENCE, Service, wait_for};

/// Who sees everything, and may end queries.
pub(crate) const ROOT: &str = "root-has-a-long-secret";
/// Who sees one namespace.
pub(crate) const GUEST: &str = "guest-has-another-secret";
/// The namespace.
pub(crate) const SEEN: &str = "ingress";

/// Rows of a file; what is left stays in memory.
const FLUSH_ROWS: usize = 12_000;
const BATCH_ROWS: usize = 2_000;
const BATCHES: usize = 20;
/// 2026-11-28T00:00:00Z.
const BEGIN_NS: i64 = 1_795_824_000_000_000_000;
const BATCH_NS: i64 = 20_000_000_000;

/// Everything.
pub(crate) struct Bed {
    pub(crate) here: Service,
    pub(crate) there: Service,
    pub(crate) executors: Vec<Service>,
    pub(crate) scheduler: Service,
    relay: Service,
    directory: PathBuf,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Bed {
    /// `tls` is what the settings files of the cluster say of certificates: `{certificate: …}`.
    pub(crate) fn start(directory: &Path, tls: Option<&str>) -> Self {
        let store = store(directory);
        let flush_rows = FLUSH_ROWS.to_string();
        let arguments = ["relay", "--store", &store, "--ingest", "127.0.0.1:0"];
        let slow = ["--flush-interval", "1h", "--maintain-interval", "1h"];
        let arguments = [&arguments[..], &["--flush-rows", &flush_rows], &slow].concat();
        let relay = Service::start(directory, "relay", &arguments);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(feed(relay.door("ingest")));
        let admin = ["--admin", "127.0.0.1:0"];
        let config =
            config(directory, "cluster", &tls.map_or("{}".into(), |tls| format!("tls: {tls}")));
        let arguments = ["scheduler", "--config", &config, "--listen", "127.0.0.1:0"];
        let arguments = [&arguments[..], &["--executor-timeout", "3s"], &admin].concat();
        let scheduler = Service::start(directory, "scheduler", &arguments);
        let address = scheduler.door("scheduler").to_owned();
        let client = reqwest::Client::builder().no_proxy().timeout(10 * PATIENCE).build().unwrap();
        let here = query(directory, &relay, "here", &access(), &[]);
        let tls = tls.map_or(String::new(), |tls| format!("distributed_tls: {tls}\n"));
        let distributed = ["--distributed", &address, "--distributed-parts", "4"];
        let there = query(directory, &relay, "there", &(access() + &tls), &distributed);
        let directory = directory.to_path_buf();
        let executors = Vec::new();
        let mut bed = Self { here, there, executors, scheduler, relay, directory, client, runtime };
        bed.add_executor(1);
        bed.add_executor(2);
        bed
    }

    /// One more executor.
    pub(crate) fn add_executor(&mut self, number: usize) {
        let name = format!("executor-{number}");
        let work = self.directory.join(&name);
        std::fs::create_dir(&work).unwrap();
        let config = self.directory.join("cluster.yaml");
        let paths = [&config, &self.directory.join("store"), &work];
        let [config, store, work] = paths.map(|path| path.to_str().unwrap());
        let arguments = ["executor", "--config", config, "--store", store, "--work", work];
        let doors = ["--tasks", "127.0.0.1:0", "--rows", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let scheduler = self.scheduler.door("scheduler");
        let others = ["--scheduler", scheduler, "--heartbeat", "1s", "--threads", "2"];
        let arguments = [&arguments[..], &doors, &others].concat();
        self.executors.push(Service::start(&self.directory, &name, &arguments));
    }

    /// One more query service that sends its queries to the cluster, with settings of its own.
    pub(crate) fn stranger(&self, settings: &str) -> Service {
        let distributed = ["--distributed", self.scheduler.door("scheduler")];
        query(&self.directory, &self.relay, "stranger", &(access() + settings), &distributed)
    }

    /// The answer of a service to somebody.
    pub(crate) fn ask(&self, service: &Service, secret: &str, sql: &str) -> (u16, Value) {
        let url = format!("http://{}/api/v1/sql", service.door("http"));
        let request = self.client.post(url).bearer_auth(secret).json(&json!({ "sql": sql }));
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let text = response.text().await.unwrap();
            (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{sql}: {text}")))
        })
    }

    /// The rows of a whole answer, and where it ran.
    pub(crate) fn rows(&self, service: &Service, secret: &str, sql: &str) -> (Vec<Value>, Value) {
        let (status, answer) = self.ask(service, secret, sql);
        assert_eq!(status, 200, "{sql}: {answer}");
        assert_eq!(answer["error"], Value::Null, "{sql}");
        assert_eq!(answer["completeness"]["complete"], json!(true), "{sql}: {answer}");
        (answer["rows"].as_array().unwrap().clone(), answer)
    }

    /// Asks both services, and that their answers are equal; the rows.
    pub(crate) fn both(&self, secret: &str, sql: &str) -> Vec<Value> {
        let (here, answer_here) = self.rows(&self.here, secret, sql);
        let (there, answer_there) = self.rows(&self.there, secret, sql);
        assert_eq!(here, there, "{sql}");
        assert_eq!(answer_here["columns"], answer_there["columns"], "{sql}");
        assert_eq!(answer_here.get("distributed"), None, "{sql}");
        let why = &answer_there["not_distributed_because"];
        assert_eq!(answer_there["distributed"], json!(true), "{sql}: {why}");
        there
    }

    /// What a process has logged.
    pub(crate) fn log_of(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(format!("{name}.log"))).unwrap()
    }

    /// A number of a process's metrics.
    pub(crate) fn metric(&self, service: &Service, name: &str) -> u64 {
        let url = format!("http://{}/metrics", service.door("admin"));
        let text = self
            .runtime
            .block_on(async { self.client.get(url).send().await.unwrap().text().await.unwrap() });
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Waits until an executor runs tasks.
    pub(crate) fn wait_until_busy(&self, executor: &Service) {
        wait_for("an executor to run tasks", || {
            (self.metric(executor, "weir_executor_tasks_running") > 0).then_some(())
        });
    }

    /// Sends a request to the service that runs queries elsewhere.
    pub(crate) fn send(&self, method: reqwest::Method, path: &str) -> Value {
        let url = format!("http://{}{path}", self.there.door("http"));
        let request = self.client.request(method, url).bearer_auth(ROOT);
        self.runtime.block_on(async { request.send().await.unwrap().json().await.unwrap() })
    }
}

fn store(directory: &Path) -> String {
    directory.join("store").to_str().unwrap().to_owned()
}

/// Writes a settings file; its path.
fn config(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(format!("{name}.yaml"));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn query(
    directory: &Path,
    relay: &Service,
    name: &str,
    settings: &str,
    distributed: &[&str],
) -> Service {
    let config = config(directory, name, settings);
    let (store, relay) = (store(directory), format!("http://{}", relay.door("ingest")));
    let arguments = ["query", "--config", &config, "--store", &store, "--relay", &relay];
    let doors = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--postgres", "127.0.0.1:0"];
    let arguments = [&arguments[..], &doors, &["--timeout", "10m"], distributed].concat();
    Service::start(directory, name, &arguments)
}

fn access() -> String {
    let mut text = String::from("access:\n  tokens:\n");
    for (name, secret) in [("root", ROOT), ("guest", GUEST)] {
        let _ = writeln!(text, "    - {{name: {name}, sha256: {}}}", sha256(secret));
    }
    let _ = writeln!(text, "  grants:");
    let _ = writeln!(text, "    - {{principals: [root], namespaces: ['*'], admin: true}}");
    let _ = writeln!(text, "    - {{principals: [guest], namespaces: [{SEEN}]}}");
    text
}

fn sha256(secret: &str) -> String {
    let mut command = std::process::Command::new("sha256sum");
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), secret.as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    output.split_whitespace().next().unwrap().to_owned()
}

/// Brings the rows to the relay.
async fn feed(relay: &str) {
    let options = SyntheticOptions { pods: 600, workloads: 120, ..SyntheticOptions::default() };
    let batches = Synthetic::new(&options).steps(BATCH_ROWS, BEGIN_NS, BATCH_NS);
    made_up::bring(relay, batches.take(BATCHES)).await;
}
