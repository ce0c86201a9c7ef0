//! Random clusters for tests, from few words and few addresses, so that things meet.
//!
//! Everything is made from a [`Source`] of choices, so a case is repeated by its bytes and seed.
//! Policies are such as manifests can describe.

mod objects;
mod policies;
mod tiers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::evaluate::Attempt;
use crate::model::{Cluster, ContainerPort, Namespace};

use self::objects::{container_port, labels, namespace, node, pod};
use self::policies::policy;
use self::tiers::tier_policy;

/// Ports that rules, pods and attempts use, with the edges of ranges.
const PORTS: [u16; 10] = [80, 81, 1, 79, 82, 83, 1023, 1024, 65534, 65535];
const NAMESPACES: [&str; 3] = ["a", "b", "c"];

/// Choices: first those of the bytes, which a test framework can shrink, then pseudo-random ones.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    bytes: std::slice::Iter<'a, u8>,
    state: u64,
}

impl<'a> Source<'a> {
    /// From bytes, and what follows them from a seed.
    pub fn new(bytes: &'a [u8], seed: u64) -> Self {
        Self { bytes: bytes.iter(), state: seed | 1 }
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if let Some(byte) = self.bytes.next() {
            return usize::from(*byte) % limit;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 33) as usize % limit
    }

    /// True once in `chances` times.
    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == chances - 1
    }

    /// One of some.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn several<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }
}

/// The address that pods and blocks have for a number below 8.
pub fn pod_address(is_v6: bool, host: u8) -> IpAddr {
    if is_v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 0, host).into()
    }
}

/// Addresses that no pod or node has.
pub fn outside() -> [IpAddr; 4] {
    [
        Ipv4Addr::new(192, 0, 2, 1).into(),
        Ipv4Addr::new(10, 0, 1, 200).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, 0).into(),
    ]
}

/// A cluster with everything.
pub fn cluster(source: &mut Source<'_>) -> Cluster {
    let mut cluster = Cluster {
        namespaces: source.several(3, namespace),
        pods: (0..2 + source.below(5)).map(|_| pod(source)).collect(),
        policies: source.several(4, policy),
        tier_policies: source.several(4, tier_policy),
        nodes: source.several(2, node),
        ..Cluster::default()
    };
    unique(&mut cluster);
    cluster
}

/// Changes one thing.
pub fn change(source: &mut Source<'_>, cluster: &mut Cluster) {
    match source.below(11) {
        0 => cluster.namespaces.push(namespace(source)),
        1 => cluster.nodes = source.several(2, node),
        2 => cluster.policies.push(policy(source)),
        3 => remove(source, &mut cluster.policies),
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
        7 => cluster.tier_policies.push(tier_policy(source)),
        8 => remove(source, &mut cluster.tier_policies),
        9 => {
            let index = source.below(cluster.tier_policies.len().max(1));
            if let Some(policy) = cluster.tier_policies.get_mut(index) {
                policy.audit = !policy.audit;
            }
        }
        _ => {
            let index = source.below(cluster.namespaces.len().max(1));
            if let Some(namespace) = cluster.namespaces.get_mut(index) {
                let name = namespace.name.clone();
                let audit = source.one_in(6);
                *namespace = Namespace { audit, ..Namespace::new(name, labels(source)) };
            }
        }
    }
    unique(cluster);
}

/// Gives the pods, nodes and namespaces other labels and ports, and the cluster other policies.
/// Pods stay where they are and keep their addresses.
pub fn redecorate(source: &mut Source<'_>, cluster: &mut Cluster) {
    cluster.namespaces = source.several(3, namespace);
    for pod in &mut cluster.pods {
        pod.labels = labels(source);
        pod.ports = source.several(3, container_port);
    }
    for node in &mut cluster.nodes {
        node.labels = labels(source);
    }
    cluster.policies = source.several(4, policy);
    cluster.tier_policies = source.several(4, tier_policy);
    unique(cluster);
}

/// A first packet between two ends of which at least one is often a pod, of any protocol.
pub fn attempt(source: &mut Source<'_>, cluster: &Cluster) -> Attempt {
    let mut end = || match source.below(8) {
        0 => objects::address(source),
        1 | 2 => source.pick(&outside()),
        3 => {
            let addresses: Vec<IpAddr> =
                cluster.nodes.iter().flat_map(|node| node.addresses.iter().copied()).collect();
            if addresses.is_empty() { objects::address(source) } else { source.pick(&addresses) }
        }
        _ => {
            let addresses: Vec<IpAddr> =
                cluster.pods.iter().flat_map(|pod| pod.addresses.iter().copied()).collect();
            if addresses.is_empty() { objects::address(source) } else { source.pick(&addresses) }
        }
    };
    let (from, to) = (end(), end());
    let protocols = [6, 17, 132, 6, 17, 1, 58, 0];
    let (protocol, destination_port) = port_at(source, cluster, to, &protocols);
    Attempt { source: from, destination: to, protocol, destination_port }
}

/// A protocol, of these where the pod there declares none, and a port: half of the time one that
/// the pod declares.
pub fn port_at(
    source: &mut Source<'_>,
    cluster: &Cluster,
    address: IpAddr,
    protocols: &[u8],
) -> (u8, u16) {
    let declared: Vec<&ContainerPort> = cluster
        .pods
        .iter()
        .filter(|pod| pod.addresses.contains(&address))
        .flat_map(|pod| &pod.ports)
        .collect();
    if !declared.is_empty() && source.one_in(2) {
        let port = source.pick(&declared);
        return (port.protocol.number(), port.port);
    }
    let port = if source.one_in(8) { 0 } else { source.pick(&PORTS) };
    (source.pick(protocols), port)
}

fn remove<T>(source: &mut Source<'_>, items: &mut Vec<T>) {
    if !items.is_empty() {
        let index = source.below(items.len());
        items.remove(index);
    }
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
    seen.clear();
    cluster
        .tier_policies
        .retain(|policy| seen.insert(format!("{}/{}", policy.kind.as_str(), policy.name)));
}
