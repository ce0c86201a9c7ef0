//! A cluster of the size that is aimed at: 10,000 pods on 40 nodes, 500 namespaces of 50 teams,
//! two NetworkPolicies in each namespace and two policies of the tiers.

use std::net::{IpAddr, Ipv4Addr};

use weir_policy::Cluster;
use weir_policy::model::{
    Action, ContainerPort, IpBlock, Labels, Namespace, NetworkPolicy, Node, Peer, Pod, Port,
    PortRule, Protocol, Rule, Selector, Tier, TierKind, TierPeer, TierPods, TierPolicy, TierRule,
};

const NAMESPACES: u32 = 500;
const PODS_EACH: u32 = 20;
const NODES: u32 = 40;
const TEAMS: u32 = 50;
const APPS: [&str; 4] = ["web", "api", "worker", "db"];

/// The node whose policies are compiled; it has 250 of the pods.
pub(super) const NODE: &str = "node-0";

pub(super) fn cluster() -> Cluster {
    let policies =
        (0..NAMESPACES).flat_map(|namespace| [within_team(namespace), database(namespace)]);
    Cluster {
        namespaces: (0..NAMESPACES)
            .map(|number| {
                Namespace::new(namespace(number), labels([("team", team(number % TEAMS))]))
            })
            .collect(),
        pods: (0..NAMESPACES * PODS_EACH).map(pod).collect(),
        policies: policies.collect(),
        tier_policies: vec![no_metadata_service(), no_guests_unless_said_otherwise()],
        nodes: (0..NODES)
            .map(|number| Node {
                name: format!("node-{number}"),
                labels: Labels::new(),
                addresses: vec![Ipv4Addr::from(0xc0a8_0001 + number).into()],
            })
            .collect(),
        ..Cluster::default()
    }
}

/// Pod number `number`; five of each app are in a namespace, and a database's each have a label of
/// their own.
pub(super) fn pod(number: u32) -> Pod {
    let (namespace_of, index) = (number / PODS_EACH, number % PODS_EACH);
    let app = APPS[index as usize % APPS.len()];
    let name = format!("{app}-{}", index as usize / APPS.len());
    let mut all = labels([("app", app.into()), ("pod-template-hash", format!("{namespace_of:x}"))]);
    if app == "db" {
        all.insert("statefulset.kubernetes.io/pod-name".into(), name.clone());
    }
    Pod {
        namespace: namespace(namespace_of),
        name,
        labels: all,
        addresses: vec![address(number)],
        node: Some(format!("node-{}", (number + namespace_of) % NODES)),
        ports: vec![ContainerPort {
            name: Some("main".into()),
            port: if app == "db" { 5432 } else { 8080 },
            protocol: Protocol::Tcp,
        }],
        ..Pod::default()
    }
}

pub(super) fn address(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0001 + number).into()
}

fn namespace(number: u32) -> String {
    format!("namespace-{number}")
}

fn team(number: u32) -> String {
    format!("team-{number}")
}

fn labels<const N: usize>(pairs: [(&str, String); N]) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn selector<const N: usize>(pairs: [(&str, String); N]) -> Selector {
    Selector { labels: labels(pairs), expressions: Vec::new() }
}

fn tcp(first: u16, last: u16) -> PortRule {
    PortRule { protocol: Protocol::Tcp, port: Port::Range(first, last) }
}

/// All pods of a namespace: in from the namespace and from the team's web and api, out to the team,
/// to DNS and to the world but for private addresses.
fn within_team(number: u32) -> NetworkPolicy {
    let team = || Some(selector([("team", team(number % TEAMS))]));
    let from_team = |app: &str| Peer::Pods {
        namespaces: team(),
        pods: Some(selector([("app", app.to_owned())])),
    };
    let dns = PortRule { protocol: Protocol::Udp, port: Port::Range(53, 53) };
    let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
    let world = IpBlock {
        cidr: ipnet::Ipv4Net::default().into(),
        except: private.iter().filter_map(|net| net.parse().ok()).collect(),
    };
    NetworkPolicy {
        namespace: namespace(number),
        name: "within-team".into(),
        isolates_ingress: true,
        isolates_egress: true,
        ingress: vec![
            Rule { peers: vec![Peer::Pods { namespaces: None, pods: None }], ports: Vec::new() },
            Rule {
                peers: vec![from_team("web"), from_team("api")],
                ports: vec![tcp(8080, 8080), tcp(9000, 9009)],
            },
        ],
        egress: vec![
            Rule {
                peers: vec![Peer::Pods { namespaces: team(), pods: None }],
                ports: vec![
                    tcp(5432, 5432),
                    PortRule { protocol: Protocol::Tcp, port: Port::Named("main".into()) },
                ],
            },
            Rule {
                peers: vec![Peer::Pods {
                    namespaces: Some(selector([("kubernetes.io/metadata.name", namespace(0))])),
                    pods: None,
                }],
                ports: vec![dns],
            },
            Rule { peers: vec![Peer::Block(world)], ports: vec![tcp(443, 443)] },
        ],
        ..NetworkPolicy::default()
    }
}

/// A namespace's databases: in from its own api and from every team's backup.
fn database(number: u32) -> NetworkPolicy {
    let api = Peer::Pods { namespaces: None, pods: Some(selector([("app", "api".into())])) };
    let workers = Peer::Pods {
        namespaces: Some(Selector::default()),
        pods: Some(selector([("app", "worker".into())])),
    };
    let main = PortRule { protocol: Protocol::Tcp, port: Port::Named("main".into()) };
    NetworkPolicy {
        namespace: namespace(number),
        name: "database".into(),
        pod_selector: selector([("app", "db".into())]),
        isolates_ingress: true,
        ingress: vec![Rule { peers: vec![api, workers], ports: vec![main] }],
        ..NetworkPolicy::default()
    }
}

fn tier_policy(name: &str, tier: Tier) -> TierPolicy {
    TierPolicy {
        kind: TierKind::ClusterNetworkPolicy,
        name: name.into(),
        tier,
        priority: 10,
        subject: TierPods::default(),
        audit: false,
        ingress: Vec::new(),
        egress: Vec::new(),
    }
}

fn no_metadata_service() -> TierPolicy {
    let metadata = Ipv4Addr::new(169, 254, 169, 254);
    TierPolicy {
        egress: vec![TierRule {
            name: None,
            action: Action::Deny,
            peers: vec![TierPeer::Network(IpAddr::from(metadata).into())],
            ports: Vec::new(),
        }],
        ..tier_policy("no-metadata-service", Tier::Admin)
    }
}

fn no_guests_unless_said_otherwise() -> TierPolicy {
    TierPolicy {
        ingress: vec![TierRule {
            name: None,
            action: Action::Deny,
            peers: vec![TierPeer::Pods(TierPods {
                namespaces: selector([("team", team(0))]),
                pods: None,
            })],
            ports: Vec::new(),
        }],
        ..tier_policy("no-guests", Tier::Baseline)
    }
}
