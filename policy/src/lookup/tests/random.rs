//! Clusters from bytes. Few words and few addresses, so that things meet.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::evaluate::Attempt;
use crate::model::{
    Cluster, ContainerPort, IpBlock, Labels, Namespace, NetworkPolicy, Node, Operator, Peer, Phase,
    Pod, Port, PortRule, Protocol, Requirement, Rule, Selector,
};

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const NODES: [&str; 2] = ["n1", "n2"];
const KEYS: [&str; 3] = ["app", "tier", "x"];
const VALUES: [&str; 3] = ["", "web", "db"];
const PORT_NAMES: [&str; 2] = ["web", "dns"];
const PORTS: [u16; 10] = [80, 81, 1, 79, 82, 83, 1023, 1024, 65534, 65535];
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// Choices: first those of the bytes, which the test framework shrinks, then pseudo-random ones.
pub(super) struct Source<'a> {
    bytes: std::slice::Iter<'a, u8>,
    state: u64,
}

impl<'a> Source<'a> {
    pub(super) fn new(bytes: &'a [u8], seed: u64) -> Self {
        Self { bytes: bytes.iter(), state: seed | 1 }
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        if let Some(byte) = self.bytes.next() {
            return usize::from(*byte) % limit;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 33) as usize % limit
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == chances - 1
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn several<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }
}

/// Addresses that no pod or node has.
pub(super) fn outside() -> [IpAddr; 4] {
    ["192.0.2.1", "10.0.1.200", "2001:db8::1", "fd00::1:0"].map(|text| text.parse().unwrap())
}

fn address(source: &mut Source) -> IpAddr {
    let host = source.below(8);
    let text = if source.one_in(3) { format!("fd00::{host}") } else { format!("10.0.0.{host}") };
    text.parse().unwrap()
}

pub(super) fn cluster(source: &mut Source) -> Cluster {
    let mut cluster = Cluster {
        namespaces: source.several(3, namespace),
        pods: (0..2 + source.below(5)).map(|_| pod(source)).collect(),
        policies: (0..1 + source.below(4)).map(|_| policy(source)).collect(),
        services: Vec::new(),
        nodes: source.several(2, node),
        ..Cluster::default()
    };
    unique(&mut cluster);
    cluster
}

/// Changes one thing.
pub(super) fn change(source: &mut Source, cluster: &mut Cluster) {
    let last = |length: usize| length.saturating_sub(1);
    match source.below(8) {
        0 => cluster.namespaces.push(namespace(source)),
        1 => cluster.nodes = source.several(2, node),
        2 => cluster.policies.push(policy(source)),
        3 => {
            let index = source.below(cluster.policies.len().max(1));
            cluster.policies.truncate(last(index + 1));
        }
        4 => cluster.pods.push(pod(source)),
        5 => {
            cluster.pods.pop();
        }
        6 => {
            let index = source.below(cluster.pods.len().max(1));
            if let Some(pod) = cluster.pods.get_mut(index) {
                pod.labels = labels(source);
                pod.ports = source.several(3, container_port);
            }
        }
        _ => {
            let index = source.below(cluster.namespaces.len().max(1));
            if let Some(namespace) = cluster.namespaces.get_mut(index) {
                *namespace = Namespace::new(namespace.name.clone(), labels(source));
            }
        }
    }
    unique(cluster);
}

pub(super) fn attempt(source: &mut Source, cluster: &Cluster) -> Attempt {
    let mut end = || match source.below(4) {
        0 => address(source),
        1 => source.pick(&outside()),
        _ => {
            let addresses: Vec<IpAddr> =
                cluster.pods.iter().flat_map(|pod| pod.addresses.iter().copied()).collect();
            if addresses.is_empty() { address(source) } else { source.pick(&addresses) }
        }
    };
    let (from, to) = (end(), end());
    // Half of the time a port that the destination declares.
    let declared: Vec<&ContainerPort> = cluster
        .pods
        .iter()
        .filter(|pod| pod.addresses.contains(&to))
        .flat_map(|pod| &pod.ports)
        .collect();
    let (protocol, destination_port) = if !declared.is_empty() && source.one_in(2) {
        let port = source.pick(&declared);
        (port.protocol.number(), port.port)
    } else {
        let port = if source.one_in(8) { 0 } else { source.pick(&PORTS) };
        (source.pick(&[6, 17, 132, 6, 17, 1, 58, 0]), port)
    };
    Attempt { source: from, destination: to, protocol, destination_port }
}

/// One object of a name.
fn unique(cluster: &mut Cluster) {
    let mut seen = std::collections::BTreeSet::new();
    cluster.namespaces.retain(|namespace| seen.insert(namespace.name.clone()));
    seen.clear();
    cluster.nodes.retain(|node| seen.insert(node.name.clone()));
    seen.clear();
    cluster.pods.retain(|pod| seen.insert(format!("{}/{}", pod.namespace, pod.name)));
    seen.clear();
    cluster.policies.retain(|policy| seen.insert(format!("{}/{}", policy.namespace, policy.name)));
}

fn namespace(source: &mut Source) -> Namespace {
    Namespace::new(source.pick(&NAMESPACES), labels(source))
}

fn node(source: &mut Source) -> Node {
    let name = source.pick(&NODES).to_owned();
    let mut addresses = source.several(2, address);
    addresses.push(format!("10.0.2.{}", source.below(4)).parse().unwrap());
    Node { name, addresses, ..Node::default() }
}

fn labels(source: &mut Source) -> Labels {
    source
        .several(3, |source| (source.pick(&KEYS).to_owned(), source.pick(&VALUES).to_owned()))
        .into_iter()
        .collect()
}

fn pod(source: &mut Source) -> Pod {
    let mut addresses = source.several(2, address);
    if addresses.is_empty() && !source.one_in(4) {
        addresses.push(address(source));
    }
    addresses.dedup();
    Pod {
        namespace: source.pick(&NAMESPACES).to_owned(),
        name: format!("p{}", source.below(6)),
        labels: labels(source),
        addresses,
        node: source.pick(&[Some("n1"), Some("n1"), Some("n2"), None]).map(str::to_owned),
        host_network: source.one_in(10),
        phase: source.pick(&[
            Phase::Running,
            Phase::Running,
            Phase::Running,
            Phase::Running,
            Phase::Pending,
            Phase::Succeeded,
        ]),
        workload: None,
        ports: source.several(3, container_port),
    }
}

fn container_port(source: &mut Source) -> ContainerPort {
    ContainerPort {
        name: (!source.one_in(5)).then(|| source.pick(&PORT_NAMES).to_owned()),
        port: source.pick(&PORTS),
        protocol: source.pick(&PROTOCOLS),
    }
}

fn policy(source: &mut Source) -> NetworkPolicy {
    NetworkPolicy {
        namespace: source.pick(&NAMESPACES).to_owned(),
        name: format!("q{}", source.below(8)),
        pod_selector: if source.one_in(2) { Selector::default() } else { selector(source) },
        isolates_ingress: !source.one_in(4),
        isolates_egress: !source.one_in(3),
        ingress: source.several(3, rule),
        egress: source.several(3, rule),
        ..NetworkPolicy::default()
    }
}

fn rule(source: &mut Source) -> Rule {
    Rule { peers: source.several(3, peer), ports: source.several(3, port) }
}

fn peer(source: &mut Source) -> Peer {
    match source.below(5) {
        0 => Peer::Pods { namespaces: None, pods: Some(selector(source)) },
        1 => Peer::Pods { namespaces: Some(selector(source)), pods: None },
        2 => Peer::Pods { namespaces: Some(selector(source)), pods: Some(selector(source)) },
        _ => Peer::Block(block(source)),
    }
}

fn block(source: &mut Source) -> IpBlock {
    let base = address(source);
    let lengths: &[u8] = if base.is_ipv4() {
        &[0, 4, 24, 28, 29, 30, 31, 32]
    } else {
        &[0, 64, 112, 124, 125, 126, 127, 128]
    };
    let net =
        |source: &mut Source, address| IpNet::new(address, source.pick(lengths)).unwrap().trunc();
    let cidr = net(source, base);
    let mut except = source.several(3, |source| {
        let inside = address(source);
        (inside.is_ipv4() == base.is_ipv4()).then(|| net(source, inside))
    });
    except.retain(|except| {
        except.is_some_and(|e| cidr.contains(&e) && e.prefix_len() > cidr.prefix_len())
    });
    IpBlock { cidr, except: except.into_iter().flatten().collect() }
}

fn port(source: &mut Source) -> PortRule {
    let protocol = source.pick(&PROTOCOLS);
    let port = match source.below(6) {
        0 => Port::All,
        1 | 2 => {
            let port = source.pick(&PORTS);
            Port::Range(port, port)
        }
        3 => {
            let (a, b) = (source.pick(&PORTS), source.pick(&PORTS));
            Port::Range(a.min(b), a.max(b))
        }
        _ => Port::Named(source.pick(&PORT_NAMES).to_owned()),
    };
    PortRule { protocol, port }
}

fn selector(source: &mut Source) -> Selector {
    let mut labels = labels(source);
    while labels.len() > 1 {
        labels.pop_last();
    }
    let expressions = source.several(2, |source| {
        let values = |source: &mut Source| {
            let mut values = source.several(2, |source| source.pick(&VALUES).to_owned());
            values.push(source.pick(&VALUES).to_owned());
            values
        };
        Requirement {
            key: source.pick(&KEYS).to_owned(),
            operator: match source.below(4) {
                0 => Operator::In(values(source)),
                1 => Operator::NotIn(values(source)),
                2 => Operator::Exists,
                _ => Operator::DoesNotExist,
            },
        }
    });
    Selector { labels, expressions }
}
