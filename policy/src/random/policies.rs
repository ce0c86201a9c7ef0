//! NetworkPolicies.

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::objects::{PORT_NAMES, PROTOCOLS, address, selector};
use super::{NAMESPACES, PORTS, Source, outside};
use crate::model::{IpBlock, NetworkPolicy, Peer, Port, PortRule, Rule, Selector};

pub(super) fn policy(source: &mut Source<'_>) -> NetworkPolicy {
    NetworkPolicy {
        namespace: source.pick(&NAMESPACES).to_owned(),
        name: format!("q{}", source.below(8)),
        pod_selector: if source.one_in(2) { Selector::default() } else { selector(source) },
        isolates_ingress: !source.one_in(4),
        isolates_egress: !source.one_in(3),
        ingress: source.several(3, rule),
        egress: source.several(3, rule),
        audit: source.one_in(5),
        log_allows: false,
    }
}

fn rule(source: &mut Source<'_>) -> Rule {
    Rule { peers: source.several(3, peer), ports: source.several(3, port) }
}

fn peer(source: &mut Source<'_>) -> Peer {
    match source.below(5) {
        0 => Peer::Pods { namespaces: None, pods: Some(selector(source)) },
        1 => Peer::Pods { namespaces: Some(selector(source)), pods: None },
        2 => Peer::Pods { namespaces: Some(selector(source)), pods: Some(selector(source)) },
        _ => Peer::Block(ip_block(source)),
    }
}

/// With exceptions at any depth, also inside one another.
fn ip_block(source: &mut Source<'_>) -> IpBlock {
    let cidr = block(source);
    let mut except = source.several(4, block);
    except.retain(|except| {
        same_family(except, &cidr)
            && cidr.contains(except)
            && except.prefix_len() > cidr.prefix_len()
    });
    IpBlock { cidr, except }
}

/// A block around an address of a pod, or sometimes a node or a host outside.
pub(super) fn block(source: &mut Source<'_>) -> IpNet {
    let base = match source.below(8) {
        0 => Ipv4Addr::new(10, 0, 2, source.below(4) as u8).into(),
        1 => source.pick(&outside()),
        _ => address(source),
    };
    let lengths: [u8; 8] = if base.is_ipv4() {
        [0, 4, 24, 28, 29, 30, 31, 32]
    } else {
        [0, 64, 112, 124, 125, 126, 127, 128]
    };
    let length = source.pick(&lengths);
    IpNet::new(base, length).map_or(IpNet::from(base), |block| block.trunc())
}

fn same_family(a: &IpNet, b: &IpNet) -> bool {
    matches!((a, b), (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_)))
}

fn port(source: &mut Source<'_>) -> PortRule {
    let protocol = source.pick(&PROTOCOLS);
    let port = match source.below(6) {
        0 => Port::All,
        1..4 => numbers(source),
        _ => Port::Named(source.pick(&PORT_NAMES).to_owned()),
    };
    PortRule { protocol, port }
}

/// A port or a range.
pub(super) fn numbers(source: &mut Source<'_>) -> Port {
    let first = source.pick(&PORTS);
    let other = if source.one_in(3) { source.pick(&PORTS) } else { first };
    Port::Range(first.min(other), first.max(other))
}
