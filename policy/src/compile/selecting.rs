//! What makes two pods the same subject: the policies that select them, and what of the cluster
//! those policies' blocks depend on.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::blocks::PodAddress;
use super::content::{Digest, Digests};
use super::identity::named_ports;
use super::ports::NamedPort;
use crate::model::{
    Cluster, Direction, Namespace, NetworkPolicy, Peer, Pod, Port, PortRule, TierPeer, TierPods,
    TierPolicy,
};

/// The policies that select a pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Selecting<'a> {
    /// By name.
    pub(super) policies: Vec<(&'a NetworkPolicy, Digest)>,
    /// By precedence.
    pub(super) tiers: Vec<(&'a TierPolicy, Digest)>,
    /// Those of the pod's named ports that ingress rules use. Sorted.
    pub(super) own_ports: Vec<NamedPort>,
    /// The pods in blocks whose ports egress rules name. By address.
    pub(super) there: Vec<PodAddress>,
}

impl<'a> Selecting<'a> {
    /// Completes what depends on the pod and on others.
    pub(super) fn complete(&mut self, pod: &Pod, owners: &FxHashMap<IpAddr, &Pod>) {
        self.own_ports = named_ports(pod);
        let used: Vec<&PortRule> = self.port_rules(Direction::Ingress).collect();
        self.own_ports.retain(|port| used.iter().any(|rule| names(rule, port)));
        self.there = self.pods_in_blocks(owners);
    }

    /// Without the policies that are only audited; none if that is all of them.
    pub(super) fn without_audited(&self) -> Option<Self> {
        let mut enforced = self.clone();
        enforced.policies.retain(|(policy, _)| !policy.audit);
        enforced.tiers.retain(|(policy, _)| !policy.audit);
        let same = (enforced.policies.len(), enforced.tiers.len())
            == (self.policies.len(), self.tiers.len());
        (!same).then_some(enforced)
    }

    pub(super) fn digest(&self) -> Digest {
        let policies: Vec<Digest> = self.policies.iter().map(|(_, digest)| *digest).collect();
        let tiers: Vec<Digest> = self.tiers.iter().map(|(_, digest)| *digest).collect();
        Digest::of("subject", &(policies, tiers, &self.own_ports, &self.there))
    }

    fn port_rules(&self, direction: Direction) -> impl Iterator<Item = &'a PortRule> {
        let network = self.policies.iter().flat_map(move |(policy, _)| policy.rules(direction));
        let tiers = self.tiers.iter().flat_map(move |(policy, _)| policy.rules(direction));
        network.flat_map(|rule| &rule.ports).chain(tiers.flat_map(|rule| &rule.ports))
    }

    fn pods_in_blocks(&self, owners: &FxHashMap<IpAddr, &Pod>) -> Vec<PodAddress> {
        let network = self.policies.iter().flat_map(|(policy, _)| policy.rules(Direction::Egress));
        let network = network.map(|rule| {
            let nets = rule.peers.iter().filter_map(|peer| match peer {
                Peer::Block(block) => Some(block.cidr),
                Peer::Pods { .. } => None,
            });
            (nets.collect::<Vec<IpNet>>(), &rule.ports)
        });
        let tiers = self.tiers.iter().flat_map(|(policy, _)| policy.rules(Direction::Egress));
        let tiers = tiers.map(|rule| {
            let nets = rule.peers.iter().filter_map(|peer| match peer {
                TierPeer::Network(net) => Some(*net),
                TierPeer::Pods(_) | TierPeer::Nodes(_) => None,
            });
            (nets.collect(), &rule.ports)
        });
        let by_name = |ports: &[PortRule]| ports.iter().any(|p| matches!(p.port, Port::Named(_)));
        let rules: Vec<(Vec<IpNet>, &Vec<PortRule>)> = network
            .chain(tiers)
            .filter(|(nets, ports)| !nets.is_empty() && by_name(ports))
            .collect();
        if rules.is_empty() {
            return Vec::new();
        }
        let mut there = Vec::new();
        for (address, pod) in owners {
            let mut ports = named_ports(pod);
            ports.retain(|port| {
                rules.iter().any(|(nets, used)| {
                    nets.iter().any(|net| net.contains(address))
                        && used.iter().any(|rule| names(rule, port))
                })
            });
            if !ports.is_empty() {
                there.push((*address, ports));
            }
        }
        there.sort_unstable();
        there
    }
}

/// Whether a rule means a port by its name.
fn names(rule: &PortRule, (name, protocol, _): &NamedPort) -> bool {
    rule.protocol == *protocol && matches!(&rule.port, Port::Named(used) if used == name)
}

/// All policies, ready to be asked which of them select a pod.
pub(super) struct Policies<'a> {
    by_namespace: FxHashMap<&'a str, Vec<&'a NetworkPolicy>>,
    tiers: Vec<(&'a TierPolicy, Digest)>,
    namespaces: FxHashMap<&'a str, &'a Namespace>,
}

impl<'a> Policies<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        tiers: &'a [Cow<'a, TierPolicy>],
        digests: &mut Digests<TierPolicy>,
    ) -> Self {
        let mut by_namespace: FxHashMap<&str, Vec<&NetworkPolicy>> = FxHashMap::default();
        for policy in &cluster.policies {
            by_namespace.entry(&policy.namespace).or_default().push(policy);
        }
        let mut tiers: Vec<(&TierPolicy, Digest)> =
            tiers.iter().map(|policy| (&**policy, digests.get(policy))).collect();
        tiers.sort_by(|(a, _), (b, _)| a.precedence().cmp(&b.precedence()));
        let mut namespaces: FxHashMap<&str, &Namespace> = FxHashMap::default();
        for namespace in cluster.namespaces.iter().rev() {
            namespaces.insert(&namespace.name, namespace);
        }
        Self { by_namespace, tiers, namespaces }
    }

    /// Those that select a pod, audited ones as well.
    pub(super) fn selecting(
        &self,
        pod: &Pod,
        digests: &mut Digests<NetworkPolicy>,
    ) -> Selecting<'a> {
        let policies = self.by_namespace.get(pod.namespace.as_str()).into_iter().flatten();
        let mut policies: Vec<(&NetworkPolicy, Digest)> = policies
            .filter(|policy| policy.pod_selector.matches(&pod.labels))
            .map(|policy| (*policy, digests.get(policy)))
            .collect();
        policies.sort_by_key(|(policy, _)| &policy.name);
        let namespace = match self.namespaces.get(pod.namespace.as_str()) {
            Some(namespace) => Cow::Borrowed(*namespace),
            None => Cow::Owned(Namespace::new(&pod.namespace, Default::default())),
        };
        let tiers =
            self.tiers.iter().filter(|(policy, _)| selects(&policy.subject, pod, &namespace));
        Selecting { policies, tiers: tiers.copied().collect(), ..Selecting::default() }
    }

    /// Whether denies of a namespace's pods are only reported.
    pub(super) fn audits(&self, namespace: &str) -> bool {
        self.namespaces.get(namespace).is_some_and(|namespace| namespace.audit)
    }
}

fn selects(subject: &TierPods, pod: &Pod, namespace: &Namespace) -> bool {
    subject.namespaces.matches(&namespace.labels)
        && subject.pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
}

/// The tiers' policies with the addresses of the nodes that they mean. One that a pod has is none
/// of a node.
pub(super) fn with_nodes<'a>(
    cluster: &'a Cluster,
    owners: &FxHashMap<IpAddr, &Pod>,
) -> Vec<Cow<'a, TierPolicy>> {
    if !cluster.tier_policies.iter().any(means_nodes) {
        return cluster.tier_policies.iter().map(Cow::Borrowed).collect();
    }
    let mut nets: FxHashMap<&str, BTreeSet<IpNet>> = FxHashMap::default();
    let mut add = |node, addresses: &[IpAddr]| {
        let free = addresses.iter().filter(|address| !owners.contains_key(*address));
        nets.entry(node).or_default().extend(free.map(|&address| IpNet::from(address)));
    };
    for node in &cluster.nodes {
        add(node.name.as_str(), &node.addresses);
    }
    for pod in cluster.pods.iter().filter(|pod| pod.host_network && !pod.phase.is_terminal()) {
        if let Some(node) = &pod.node {
            add(node, &pod.addresses);
        }
    }
    let resolve = |policy: &mut TierPolicy| {
        for rule in policy.ingress.iter_mut().chain(&mut policy.egress) {
            for peer in std::mem::take(&mut rule.peers) {
                let TierPeer::Nodes(selector) = peer else {
                    rule.peers.push(peer);
                    continue;
                };
                let nodes = cluster.nodes.iter().filter(|node| selector.matches(&node.labels));
                let nets = nodes.filter_map(|node| nets.get(node.name.as_str())).flatten();
                rule.peers.extend(nets.map(|net| TierPeer::Network(*net)));
            }
        }
    };
    let policies = cluster.tier_policies.iter().map(|policy| {
        let mut policy = Cow::Borrowed(policy);
        if means_nodes(&policy) {
            resolve(policy.to_mut());
        }
        policy
    });
    policies.collect()
}

fn means_nodes(policy: &TierPolicy) -> bool {
    let rules = policy.ingress.iter().chain(&policy.egress);
    rules.flat_map(|rule| &rule.peers).any(|peer| matches!(peer, TierPeer::Nodes(_)))
}
