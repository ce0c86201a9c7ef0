//! Namespaces, nodes and pods.

use std::net::{IpAddr, Ipv4Addr};

use super::{NAMESPACES, PORTS, Source, pod_address};
use crate::model::{
    ContainerPort, Labels, Namespace, Node, Operator, Phase, Pod, Protocol, Requirement, Selector,
};

const NODES: [&str; 2] = ["n1", "n2"];
const KEYS: [&str; 3] = ["app", "tier", "x"];
const VALUES: [&str; 3] = ["", "web", "db"];
pub(super) const PORT_NAMES: [&str; 2] = ["web", "dns"];
pub(super) const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

pub(super) fn address(source: &mut Source<'_>) -> IpAddr {
    let host = source.below(8) as u8;
    pod_address(source.one_in(3), host)
}

pub(super) fn namespace(source: &mut Source<'_>) -> Namespace {
    let name = source.pick(&NAMESPACES);
    Namespace { audit: source.one_in(6), ..Namespace::new(name, labels(source)) }
}

/// Some have addresses of pods, as after an address has moved.
pub(super) fn node(source: &mut Source<'_>) -> Node {
    let name = source.pick(&NODES).to_owned();
    let mut addresses = source.several(2, address);
    addresses.push(Ipv4Addr::new(10, 0, 2, source.below(4) as u8).into());
    Node { name, labels: labels(source), addresses }
}

pub(super) fn labels(source: &mut Source<'_>) -> Labels {
    source
        .several(3, |source| (source.pick(&KEYS).to_owned(), source.pick(&VALUES).to_owned()))
        .into_iter()
        .collect()
}

/// Some have ended, some no address or that of another pod, some are on their node's network.
pub(super) fn pod(source: &mut Source<'_>) -> Pod {
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

pub(super) fn container_port(source: &mut Source<'_>) -> ContainerPort {
    ContainerPort {
        name: (!source.one_in(5)).then(|| source.pick(&PORT_NAMES).to_owned()),
        port: source.pick(&PORTS),
        protocol: source.pick(&PROTOCOLS),
    }
}

pub(super) fn selector(source: &mut Source<'_>) -> Selector {
    let mut labels = labels(source);
    while labels.len() > 1 {
        labels.pop_last();
    }
    let expressions = source.several(2, |source| {
        let values = |source: &mut Source<'_>| {
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
