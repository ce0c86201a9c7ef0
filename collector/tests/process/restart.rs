//! What is pinned outlives enforcers: it stays in force, is taken over, changes over to new maps,
//! and keeps its numbers. Each test has a BPF file system of its own, which goes with its thread.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_abi::endpoint::Endpoint;
use weir_collector::enforcer::{Applied, Options};
use weir_collector::kernel::DatapathOptions;
use weir_collector::{Collector, CollectorConfig, Enforcer, uninstall};
use weir_policy::Cluster;
use weir_policy::model::{NetworkPolicy, Pod, Port, PortRule, Protocol, Rule, Selector};

use crate::net::{self, Namespace};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
const OPEN: u16 = 7001;
const SHUT: u16 = 7002;
/// How long a SYN that is dropped is waited for.
const PATIENCE: Duration = Duration::from_millis(400);

/// A node with a server and a client; the server's policy opens one port.
struct Node {
    server: Namespace,
    client: Namespace,
    directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        net::private_bpf_file_system("/mnt");
        let node = Self {
            server: Namespace::pod("server", SERVER),
            client: Namespace::pod("client", CLIENT),
            directory: tempfile::tempdir().unwrap(),
        };
        for port in [OPEN, SHUT] {
            node.server.run(move || {
                let listener = TcpListener::bind((SERVER, port)).unwrap();
                std::thread::spawn(move || {
                    while let Ok((mut connection, _)) = listener.accept() {
                        std::thread::spawn(move || {
                            let mut byte = [0];
                            while connection.read_exact(&mut byte).is_ok() {
                                connection.write_all(&byte).unwrap();
                            }
                        });
                    }
                });
            });
        }
        node
    }

    fn pins(&self) -> PathBuf {
        "/mnt/weir/n1".into()
    }

    fn options(&self) -> Options {
        Options {
            node: "n1".into(),
            datapath: sizes(16_384),
            pins: Some(self.pins()),
            state: Some(self.directory.path().join("state")),
            ..Options::default()
        }
    }

    fn enforcer(&self, options: Options) -> Enforcer {
        std::fs::create_dir_all(options.state.as_ref().unwrap()).unwrap();
        Enforcer::new(options).unwrap_or_else(|error| panic!("{error}"))
    }

    fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        let to = SocketAddr::from((SERVER, port));
        self.client.run(move || TcpStream::connect_timeout(&to, PATIENCE))
    }

    /// The policy is in force.
    fn check(&self, when: &str) {
        assert!(self.connect(OPEN).is_ok(), "{when}: what is allowed passes");
        let error = self.connect(SHUT).expect_err(when);
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{when}");
    }
}

/// It still carries a byte there and back.
fn check_alive(connection: &mut TcpStream, when: &str) {
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut byte = [0];
    connection.write_all(b"x").unwrap();
    connection.read_exact(&mut byte).unwrap_or_else(|error| panic!("{when}: {error}"));
}

fn sizes(connections: u32) -> DatapathOptions {
    DatapathOptions {
        connections,
        denies: 1_024,
        policies: 4_096,
        cidrs: 1_024,
        identities: 1_024,
        ring_bytes: 1 << 20,
        deny_ring_bytes: 1 << 20,
        ..DatapathOptions::default()
    }
}

fn cluster() -> Cluster {
    let pod = |name: &str, address: Ipv4Addr| Pod {
        namespace: "default".into(),
        name: name.into(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        addresses: vec![address.into()],
        node: Some("n1".into()),
        ..Pod::default()
    };
    let port = PortRule { protocol: Protocol::Tcp, port: Port::Range(OPEN, OPEN) };
    let policy = NetworkPolicy {
        namespace: "default".into(),
        name: "one-port".into(),
        pod_selector: Selector {
            labels: [("app".to_owned(), "server".to_owned())].into(),
            ..Selector::default()
        },
        isolates_ingress: true,
        ingress: vec![Rule { ports: vec![port], ..Rule::default() }],
        ..NetworkPolicy::default()
    };
    Cluster {
        pods: vec![pod("server", SERVER), pod("client", CLIENT)],
        policies: vec![policy],
        ..Cluster::default()
    }
}

/// Endpoints by interface, as they are in the kernel.
fn endpoints(enforcer: &mut Enforcer) -> Vec<(u32, Endpoint)> {
    let mut endpoints = enforcer.kernel().contents().unwrap().endpoints;
    endpoints.sort_by_key(|(interface, _)| *interface);
    endpoints
}

fn ids(applied: &Applied) -> Vec<(String, u32)> {
    applied.enforced.iter().map(|pod| (pod.pod.clone(), pod.endpoint)).collect()
}

#[test]
fn an_enforcer_that_ends_is_succeeded() {
    net::in_namespace(|| {
        let node = Node::new();
        let mut first = node.enforcer(node.options());
        let applied = first.apply(&cluster()).unwrap();
        assert_eq!(applied.enforced.len(), 2);
        node.check("first");
        let mut connection = node.connect(OPEN).unwrap();
        let before = endpoints(&mut first);
        let inserted = first.kernel().stats().unwrap().conntrack_inserted;
        drop(first);
        node.check("nobody");
        check_alive(&mut connection, "nobody");

        let mut second = node.enforcer(node.options());
        assert!(second.findings().is_empty(), "{:?}", second.findings());
        node.check("second, before it knows the cluster");
        assert_eq!(endpoints(&mut second), before);
        let again = second.apply(&cluster()).unwrap();
        assert_eq!(ids(&again), ids(&applied), "an endpoint keeps its number");
        assert!(again.revision > applied.revision);
        let after = endpoints(&mut second);
        for (old, new) in before.iter().zip(&after) {
            assert_eq!(old.1.enforced, new.1.enforced, "the same content, the same numbers");
        }
        check_alive(&mut connection, "second");
        node.check("second");
        assert!(second.kernel().stats().unwrap().conntrack_inserted > inserted);

        // Another policy with other numbers, and back.
        let mut open = cluster();
        open.policies[0].ingress.push(Rule::default());
        second.apply(&open).unwrap();
        assert!(node.connect(SHUT).is_ok());
        drop(second);
        assert!(node.connect(SHUT).is_ok());
        let mut third = node.enforcer(node.options());
        third.apply(&cluster()).unwrap();
        node.check("third");
        check_alive(&mut connection, "third");
        drop(third);
        let state = node.options().state.unwrap();
        let removed = uninstall(Some(&node.pins()), Some(&state)).unwrap();
        assert_eq!((removed.kernel.interfaces, removed.state), (2, true), "{removed}");
        assert!(node.connect(SHUT).is_ok(), "nothing is enforced any more");
        assert!(!node.pins().exists() && !state.exists());
    });
}

#[test]
fn maps_of_other_sizes_take_over_in_one_step() {
    net::in_namespace(|| {
        let node = Node::new();
        let mut first = node.enforcer(node.options());
        let applied = first.apply(&cluster()).unwrap();
        let mut connection = node.connect(OPEN).unwrap();
        drop(first);
        for connections in [32_768, 16_384] {
            let options = Options { datapath: sizes(connections), ..node.options() };
            let killed = node.enforcer(options.clone());
            node.check("new maps, not filled yet");
            drop(killed);
            node.check("killed before the new maps were filled");
            let mut next = node.enforcer(options);
            node.check("new maps, again");
            assert!(next.kernel().replaces_maps().unwrap());
            let again = next.apply(&cluster()).unwrap();
            assert_eq!(ids(&again), ids(&applied), "an endpoint keeps its number");
            node.check("changed over");
            assert!(!next.kernel().replaces_maps().unwrap());
            check_alive(&mut connection, "changed over");
            drop(next);
            node.check("changed over, and nobody there");
        }
    });
}

#[test]
fn maps_without_notes_stay_in_force_and_get_other_numbers() {
    net::in_namespace(|| {
        let node = Node::new();
        let mut first = node.enforcer(node.options());
        first.apply(&cluster()).unwrap();
        let before = endpoints(&mut first);
        drop(first);
        let state = node.options().state.unwrap();
        std::fs::remove_dir_all(&state).unwrap();

        let mut second = node.enforcer(node.options());
        assert!(second.findings()[0].contains("notes are missing"), "{:?}", second.findings());
        node.check("before the cluster is known");
        second.apply(&cluster()).unwrap();
        node.check("second");
        for ((_, old), (_, new)) in before.iter().zip(endpoints(&mut second)) {
            assert!(new.endpoint > old.endpoint && new.revision > old.revision);
            assert!(new.enforced.subject > old.enforced.subject);
            let (old, new) = (old.enforced.isolated_by_ingress, new.enforced.isolated_by_ingress);
            assert!(new == 0 || new > old, "a rule set's number has one meaning");
        }
    });
}

#[test]
fn a_pod_that_goes_while_nobody_looks_leaves_nothing() {
    net::in_namespace(|| {
        let node = Node::new();
        let mut first = node.enforcer(node.options());
        first.apply(&cluster()).unwrap();
        drop(first);
        let mut less = cluster();
        less.pods.truncate(1);
        let mut second = node.enforcer(node.options());
        let applied = second.apply(&less).unwrap();
        assert_eq!(applied.enforced.len(), 1);
        assert_eq!(second.kernel().attached().unwrap(), [applied.enforced[0].interface]);
        assert_eq!(endpoints(&mut second).len(), 1);
    });
}

#[test]
fn a_second_collector_of_the_node_is_refused() {
    net::in_namespace(|| {
        net::private_bpf_file_system("/mnt");
        let directory = tempfile::tempdir().unwrap();
        let start = |state: &Path| {
            let relay = "http://127.0.0.1:1";
            let mut config = CollectorConfig::new("lab", "n1", directory.path(), relay);
            config.datapath = sizes(16_384);
            config.pins = Some("/mnt/weir/n1".into());
            config.state = Some(state.to_owned());
            Collector::start(config)
        };
        let state = directory.path().join("state");
        let first = start(&state).unwrap_or_else(|error| panic!("{error}"));
        let error = start(&state).err().unwrap().to_string();
        assert!(error.contains("runs already") && error.contains("--node"), "{error}");
        let error = uninstall(Some(Path::new("/mnt/weir/n1")), Some(&state)).unwrap_err();
        assert!(error.to_string().contains("runs already"), "{error}");
        let status = (first.status())();
        let proved = status.self_test.unwrap();
        assert!(proved.passed && proved.message.contains("from_pod"), "{proved:?}");
        drop(first);
        start(&state).unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn a_second_collector_is_refused_also_where_neither_leaves_anything() {
    net::in_namespace(|| {
        let directory = tempfile::tempdir().unwrap();
        let start = |node: &str| {
            let relay = "http://127.0.0.1:1";
            let mut config = CollectorConfig::new("lab", node, directory.path(), relay);
            config.datapath = sizes(16_384);
            Collector::start(config)
        };
        let first = start("n1").unwrap_or_else(|error| panic!("{error}"));
        let error = start("n1").err().unwrap().to_string();
        assert!(error.contains("node n1 runs already") && error.contains("--node"), "{error}");
        start("n2").unwrap_or_else(|error| panic!("{error}"));
        drop(first);
        start("n1").unwrap_or_else(|error| panic!("{error}"));
    });
}
