//! One form for the rules of every kind of policy.

use ipnet::IpNet;

use super::identity::{Namespaces, PodPeer};
use super::keys;
use super::ports::{NamedPort, PortMatch, PortTable, prefixes};
use super::rule_sets::{RuleName, RuleSets};
use crate::model::{
    Direction, IpBlock, NetworkPolicy, Peer, Port, PortRule, Protocol, Rule, Tier, TierPeer,
    TierRule,
};

/// When a rule is asked, and what it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A NetworkPolicy's: allows.
    Network,
    /// The admin tier's, as a [`keys::decision`].
    Admin(u32),
    /// The baseline tier's, likewise.
    Baseline(u32),
}

/// A rule with its peers sorted by kind.
#[derive(Debug)]
pub(super) struct SubjectRule {
    name: RuleName,
    part: Part,
    /// Covers every address.
    pub(super) everybody: bool,
    pub(super) pods: Vec<PodPeer>,
    pub(super) blocks: Vec<IpBlock>,
    pub(super) ports: Vec<PortMatch>,
}

impl SubjectRule {
    /// A NetworkPolicy's rule, for pods with these named ports.
    pub(super) fn of_network_policy(
        name: RuleName,
        policy: &NetworkPolicy,
        rule: &Rule,
        direction: Direction,
        own_ports: &[NamedPort],
    ) -> Self {
        let (mut pods, mut blocks) = (Vec::new(), Vec::new());
        for peer in &rule.peers {
            match peer {
                Peer::Pods { namespaces, pods: selector } => {
                    let namespaces = match namespaces {
                        Some(selector) => Namespaces::Selected(selector.clone()),
                        None => Namespaces::Named(policy.namespace.clone()),
                    };
                    pods.push(PodPeer::new(namespaces, selector.clone()));
                }
                Peer::Block(block) => blocks.push(block.clone()),
            }
        }
        let ports = port_matches(&rule.ports, direction, own_ports);
        Self { name, part: Part::Network, everybody: rule.peers.is_empty(), pods, blocks, ports }
    }

    /// A tier's rule at that place among the subject's. Peers that are nodes are blocks already.
    pub(super) fn of_tier(
        name: RuleName,
        tier: Tier,
        place: u32,
        rule: &TierRule,
        direction: Direction,
        own_ports: &[NamedPort],
    ) -> Self {
        let (mut pods, mut blocks) = (Vec::new(), Vec::new());
        for peer in &rule.peers {
            match peer {
                TierPeer::Pods(peer) => {
                    let namespaces = Namespaces::Selected(peer.namespaces.clone());
                    pods.push(PodPeer::new(namespaces, peer.pods.clone()));
                }
                TierPeer::Network(net) => blocks.push(whole(*net)),
                TierPeer::Nodes(_) => {}
            }
        }
        let decision = keys::decision(place, rule.action);
        let part = match tier {
            Tier::Admin => Part::Admin(decision),
            Tier::Baseline => Part::Baseline(decision),
        };
        let ports = port_matches(&rule.ports, direction, own_ports);
        Self { name, part, everybody: false, pods, blocks, ports }
    }

    /// It has ports that only the destination can tell.
    pub(super) fn has_names(&self) -> bool {
        self.names().next().is_some()
    }

    /// The port names that the destination has to resolve.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, Protocol)> {
        self.ports.iter().filter_map(|port| match port {
            PortMatch::Named(name, protocol) => Some((name.as_str(), *protocol)),
            PortMatch::Any | PortMatch::Prefix(_) => None,
        })
    }
}

fn whole(cidr: IpNet) -> IpBlock {
    IpBlock { cidr: cidr.trunc(), except: Vec::new() }
}

/// Ports as prefixes. Names are those of the destination: of the subject itself for ingress.
fn port_matches(
    rules: &[PortRule],
    direction: Direction,
    own_ports: &[NamedPort],
) -> Vec<PortMatch> {
    if rules.is_empty() {
        return vec![PortMatch::Any];
    }
    let mut ports: Vec<PortMatch> = Vec::new();
    for rule in rules {
        let (first, last) = match &rule.port {
            // Every port, so that the prefix covers port 0 as well.
            Port::All => (0, u16::MAX),
            Port::Range(first, last) => (*first, *last),
            Port::Named(name) => {
                let named = PortMatch::Named(name.clone(), rule.protocol);
                match direction {
                    Direction::Ingress => {
                        ports.extend(named.resolve(own_ports).map(PortMatch::Prefix));
                    }
                    Direction::Egress => ports.push(named),
                }
                continue;
            }
        };
        ports.extend(prefixes(rule.protocol, first, last).into_iter().map(PortMatch::Prefix));
    }
    ports
}

/// The table of some rules towards a destination with these named ports.
pub(super) fn table<'a>(
    rules: impl Iterator<Item = &'a SubjectRule>,
    named: &[NamedPort],
    rule_sets: &mut RuleSets,
) -> PortTable {
    let covered = rules.flat_map(|rule| {
        let prefixes = rule.ports.iter().flat_map(|port| port.resolve(named));
        prefixes.map(move |prefix| (prefix, rule.part, rule.name))
    });
    PortTable::new(covered, rule_sets)
}
