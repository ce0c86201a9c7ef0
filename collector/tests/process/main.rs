//! The whole collector against the real kernel and the real relay: two pods in network namespaces
//! of the test's own, real connections, and the rows that come of them. Needs root.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod net;
mod restart;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio_util::sync::CancellationToken;
use weir_collector::{Collector, CollectorConfig};
use weir_flow::Flow;
use weir_flow::wire::CollectorStatus;
use weir_relay::{Relay, RelayConfig};

use net::Namespace;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const DEADLINE: Duration = Duration::from_secs(60);
/// Connections that are tried while the policy denies them.
const DENIED: usize = 20;

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nobody-to-server, namespace: default}
spec: {podSelector: {matchLabels: {app: server}}}
";

fn pod(name: &str, address: IpAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: default\n  \
         labels: {{app: {name}}}\nspec: {{nodeName: n1, containers: []}}\n\
         status: {{phase: Running, podIP: {address}, podIPs: [{{ip: {address}}}]}}\n"
    )
}

/// Rows as the relay stored them.
fn stored(directory: &Path) -> Vec<Flow> {
    let mut rows = Vec::new();
    let mut directories: Vec<PathBuf> = vec![directory.join("flows")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                let file = std::fs::File::open(&path).unwrap();
                let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
                for batch in reader.build().unwrap() {
                    rows.extend(Flow::read(&batch.unwrap()).unwrap());
                }
            }
        }
    }
    rows
}

/// Waits until the collector says so.
fn until(status: &impl Fn() -> CollectorStatus, is_so: impl Fn(&CollectorStatus) -> bool) {
    let begun = Instant::now();
    while !is_so(&status()) {
        assert!(begun.elapsed() < DEADLINE, "it did not come to that: {:?}", status());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A relay and a collector on a runtime of their own, in this thread's namespace.
struct Processes {
    status: Box<dyn Fn() -> CollectorStatus>,
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Processes {
    fn start(manifests: PathBuf, store: PathBuf) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let mut relay = RelayConfig::new(store.clone());
            relay.ingest = ([127, 0, 0, 1], 0).into();
            relay.ingest_socket = Some(store.with_extension("sock"));
            let relay_address = format!("unix://{}", store.with_extension("sock").display());
            let relay = runtime.block_on(Relay::bind(relay)).unwrap();
            let mut config = CollectorConfig::new("lab", "n1", manifests, relay_address);
            config.interval = Duration::from_millis(200);
            config.drain = DEADLINE;
            let collector = Collector::start(config).unwrap_or_else(|error| panic!("{error}"));
            tell.send(collector.status()).unwrap();
            let tokens: [CancellationToken; 2] = Default::default();
            let relay = runtime.spawn(relay.run(tokens[0].clone()));
            let collector = runtime.spawn(collector.run(tokens[1].clone()));
            let _ = stopped.recv();
            tokens[1].cancel();
            runtime.block_on(collector).unwrap().unwrap();
            tokens[0].cancel();
            runtime.block_on(relay).unwrap().unwrap();
        });
        Self { status: Box::new(told.recv().unwrap()), stop, thread }
    }

    fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// One connection with so many bytes there and back.
fn exchange(server: &Namespace, client: &Namespace, bytes: usize) {
    let (ready, is_ready) = mpsc::channel();
    let done = server.spawn(move || {
        let listener = TcpListener::bind((SERVER, 6379)).unwrap();
        ready.send(()).unwrap();
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = vec![0; bytes];
        connection.read_exact(&mut request).unwrap();
        connection.write_all(&request).unwrap();
    });
    is_ready.recv().unwrap();
    client.run(move || {
        let mut connection = TcpStream::connect((SERVER, 6379)).unwrap();
        connection.write_all(&vec![1; bytes]).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), bytes);
    });
    done.recv().unwrap();
}

#[test]
fn rows_have_names_and_every_denied_syn_is_counted() {
    net::in_namespace(|| {
        let directory = tempfile::tempdir().unwrap();
        let manifests = directory.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        std::fs::write(manifests.join("server.yaml"), pod("server", SERVER.into())).unwrap();
        std::fs::write(manifests.join("client.yaml"), pod("client", CLIENT.into())).unwrap();
        let server = Namespace::pod("server", SERVER);
        let client = Namespace::pod("client", CLIENT);
        let store = directory.path().join("store");
        let processes = Processes::start(manifests.clone(), store.clone());
        until(&processes.status, |status| status.enforced_pods == 2);
        let status = (processes.status)();
        let place = |pod: usize| (&*status.pods[pod].name, &*status.pods[pod].interface);
        assert_eq!((place(0), place(1)), (("client", "client"), ("server", "server")));
        assert!(status.pods.iter().all(|pod| pod.revision == status.policy_revision));
        assert_eq!((&*status.modes.established, &*status.modes.startup), ("keep", "open"));
        until(&processes.status, |status| {
            let size = |map| status.maps.iter().find(|usage| usage.map == map);
            let policy = size("policy");
            size("conntrack").is_some_and(|map| map.memory_bytes > 1 << 20)
                && policy.is_some_and(|map| map.entries.is_some() && map.capacity > 100_000)
                && status.problems.is_empty()
        });

        let before = client.run(|| net::sent("eth0"));
        // One segment each way, as the interface's own counter takes a GSO packet for one.
        exchange(&server, &client, 1_000);
        let revision = (processes.status)().policy_revision;
        std::fs::write(manifests.join("policy.yaml"), POLICY).unwrap();
        until(&processes.status, |status| status.policy_revision > revision);
        let allowed = client.run(|| net::sent("eth0")) - before;
        client.run(|| {
            let attempts: Vec<_> = (0..DENIED)
                .map(|_| {
                    std::thread::spawn(|| {
                        // Long enough for a repetition.
                        let to = SocketAddr::from((SERVER, 6379));
                        TcpStream::connect_timeout(&to, Duration::from_millis(1_500)).unwrap_err()
                    })
                })
                .collect();
            for attempt in attempts {
                assert_eq!(attempt.join().unwrap().kind(), std::io::ErrorKind::TimedOut);
            }
        });
        let syns = client.run(|| net::sent("eth0")) - before - allowed;
        assert!(syns >= DENIED as u64, "{syns}");
        std::fs::write(manifests.join("client.yaml"), "kind: [").unwrap();
        until(&processes.status, |status| {
            status.problems.iter().any(|p| p.contains("client.yaml"))
        });
        assert_eq!((processes.status)().enforced_pods, 2, "the last good state stays");
        processes.stop();

        let rows = stored(&store);
        let denies: Vec<&Flow> = rows.iter().filter(|row| row.verdict == "deny").collect();
        for row in &denies {
            assert_eq!(row.source_pod.as_deref(), Some("client"), "{row:?}");
            assert_eq!(row.destination_workload.as_deref(), Some("server"), "{row:?}");
            assert_eq!(row.destination_labels["app"], "server");
            assert_eq!(row.policy, "default/nobody-to-server");
            assert_eq!((row.direction.as_str(), row.reason.as_str()), ("ingress", "default_deny"));
            assert!(row.policy_revision > revision);
        }
        assert_eq!(denies.iter().map(|row| row.count).sum::<u64>(), syns);
        assert_eq!(denies.iter().map(|row| row.packets).sum::<u64>(), syns);
        // What left the client was all seen at its interface, whatever became of it later.
        let left = rows
            .iter()
            .filter(|row| row.direction == "egress" && row.source_pod.as_deref() == Some("client"));
        assert_eq!(left.map(|row| row.packets).sum::<u64>(), allowed + syns);
        let closed = rows
            .iter()
            .any(|row| row.direction == "ingress" && row.state == "closed" && row.reply_bytes > 0);
        assert!(closed, "the allowed connection was reported to its end");
    });
}

#[test]
fn without_privileges_it_says_what_is_missing() {
    let error = std::thread::spawn(|| {
        net::give_up_capabilities();
        let directory = tempfile::tempdir().unwrap();
        let relay = "http://127.0.0.1:4246";
        let config = CollectorConfig::new("lab", "n1", directory.path(), relay);
        Collector::start(config).err().map(|error| error.to_string())
    });
    let error = error.join().unwrap().expect("no collector without privileges");
    assert!(error.contains("root") && error.contains("CAP_BPF"), "{error}");
}

#[test]
fn wrong_settings_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let check = |config: CollectorConfig, expected: &str| {
        let error = Collector::start(config).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let config =
        |node: &str, relay: &str| CollectorConfig::new("lab", node, directory.path(), relay);
    check(config("", "http://127.0.0.1:1"), "`node` is empty");
    check(config("n1", "relay:4246"), "not a relay's address");
    let mut never = config("n1", "http://127.0.0.1:1");
    never.interval = Duration::ZERO;
    check(never, "`interval` is zero");
    let missing = CollectorConfig::new("lab", "n1", "/nonexistent", "http://127.0.0.1:1");
    check(missing, "/nonexistent");
}
