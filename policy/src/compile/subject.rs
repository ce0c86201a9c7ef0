//! Pods by the policies that select them, and the entries that follow.

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::blocks::{self, BlockPeer, PodAddress};
use super::identity::{Identities, Namespaces, PodPeer, named_ports};
use super::intern::Interner;
use super::keys::{
    CIDR_EGRESS, CIDR_INGRESS, ISOLATED_EGRESS, ISOLATED_INGRESS, PEER_ANY, PolicyKey,
};
use super::ports::{NamedPort, PortMatch, PortTable, prefixes};
use super::rule_sets::{RuleName, RuleSets};
use crate::model::{Direction, IpBlock, NetworkPolicy, Peer, Pod, Port, Rule};

/// What makes two pods the same subject.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SubjectKey {
    /// Sorted by name.
    policies: Vec<Arc<NetworkPolicy>>,
    /// Those of the pod's named ports that ingress rules of these policies use. Sorted.
    named_ports: Vec<NamedPort>,
}

impl SubjectKey {
    pub(super) fn new(mut policies: Vec<Arc<NetworkPolicy>>, pod: &Pod) -> Self {
        policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let mut named_ports = named_ports(pod);
        named_ports.retain(|(name, protocol, _)| {
            policies
                .iter()
                .flat_map(|policy| policy.rules(Direction::Ingress))
                .flat_map(|rule| &rule.ports)
                .any(|port| {
                    port.protocol == *protocol
                        && matches!(&port.port, Port::Named(used) if used == name)
                })
        });
        Self { policies, named_ports }
    }
}

/// A subject with all that does not depend on who else is there.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) id: u32,
    pub(super) ingress: Side,
    pub(super) egress: Side,
}

/// One direction of a subject.
#[derive(Debug)]
pub(super) struct Side {
    isolated: bool,
    pub(super) isolated_by: u32,
    pub(super) port_prefixes: u32,
    rules: Vec<SubjectRule>,
    any: PortTable,
    /// None if they depend on the destinations' named ports.
    blocks: Option<Vec<BlockPeer>>,
    has_blocks: bool,
}

/// A rule with its peers sorted by kind.
#[derive(Debug)]
pub(super) struct SubjectRule {
    pub(super) name: RuleName,
    pub(super) everybody: bool,
    pods: Vec<PodPeer>,
    pub(super) blocks: Vec<IpBlock>,
    pub(super) ports: Vec<PortMatch>,
}

impl Subject {
    pub(super) fn new(
        id: u32,
        key: &SubjectKey,
        rule_sets: &mut RuleSets,
        tables: &mut Interner<PortTable>,
    ) -> Self {
        let mut side = |direction| Side::new(key, direction, rule_sets, tables);
        Self { id, ingress: side(Direction::Ingress), egress: side(Direction::Egress) }
    }

    pub(super) fn flags(&self) -> u32 {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        bit(self.ingress.isolated, ISOLATED_INGRESS)
            | bit(self.egress.isolated, ISOLATED_EGRESS)
            | bit(self.ingress.has_blocks, CIDR_INGRESS)
            | bit(self.egress.has_blocks, CIDR_EGRESS)
    }

    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Entries of rules without peers.
    pub(super) fn any_entries(&self, entries: &mut FxHashMap<PolicyKey, u32>) {
        for direction in [Direction::Ingress, Direction::Egress] {
            self.side(direction).any.insert_entries(self.id, PEER_ANY, direction, entries);
        }
    }

    /// Entries of rules whose peers are pods, for these identities.
    pub(super) fn identity_entries(
        &self,
        identities: &Identities,
        rule_sets: &mut RuleSets,
        entries: &mut FxHashMap<PolicyKey, u32>,
    ) {
        for direction in [Direction::Ingress, Direction::Egress] {
            let rules = &self.side(direction).rules;
            let mut tables: FxHashMap<(Vec<u32>, Vec<NamedPort>), PortTable> = FxHashMap::default();
            let allowed = rules_by_identity(rules, identities);
            for members in allowed.chunk_by(|a, b| a.0 == b.0) {
                let known = &identities.known()[members[0].0 as usize];
                let here: Vec<u32> = members.iter().map(|&(_, rule)| rule).collect();
                let named = relevant_names(rules, &here, &known.identity.named_ports);
                let table = tables.entry((here, named)).or_insert_with_key(|(here, named)| {
                    table(here.iter().map(|&rule| &rules[rule as usize]), named, rule_sets)
                });
                table.insert_entries(self.id, known.id, direction, entries);
            }
        }
    }

    /// The blocks of one direction. `pods` are those with named ports.
    pub(super) fn blocks(
        &self,
        direction: Direction,
        pods: &[PodAddress],
        rule_sets: &mut RuleSets,
        tables: &mut Interner<PortTable>,
    ) -> Cow<'_, [BlockPeer]> {
        let side = self.side(direction);
        match &side.blocks {
            Some(blocks) => Cow::Borrowed(blocks),
            None => Cow::Owned(blocks::block_peers(&side.rules, pods, rule_sets, tables)),
        }
    }
}

impl Side {
    fn new(
        key: &SubjectKey,
        direction: Direction,
        rule_sets: &mut RuleSets,
        tables: &mut Interner<PortTable>,
    ) -> Self {
        let mut isolating = Vec::new();
        let mut rules = Vec::new();
        for policy in key.policies.iter().filter(|policy| policy.isolates(direction)) {
            let policy_id = rule_sets.policy(&policy.namespace, &policy.name);
            isolating.push((policy_id, None));
            for (index, rule) in (0_u32..).zip(policy.rules(direction)) {
                let name = (policy_id, Some(index));
                rules.push(SubjectRule::new(name, policy, rule, direction, &key.named_ports));
            }
        }
        let has_blocks = rules.iter().any(|rule| !rule.blocks.is_empty());
        let depends_on_pods = rules.iter().any(|rule| !rule.blocks.is_empty() && rule.has_names());
        Self {
            isolated: !isolating.is_empty(),
            isolated_by: rule_sets.intern(isolating),
            port_prefixes: rules.iter().flat_map(|rule| &rule.ports).fold(0, |m, p| m | p.bit()),
            any: table(rules.iter().filter(|rule| rule.everybody), &[], rule_sets),
            blocks: (!depends_on_pods).then(|| blocks::block_peers(&rules, &[], rule_sets, tables)),
            has_blocks,
            rules,
        }
    }
}

impl SubjectRule {
    fn new(
        name: RuleName,
        policy: &NetworkPolicy,
        rule: &Rule,
        direction: Direction,
        own_ports: &[NamedPort],
    ) -> Self {
        let mut pods = Vec::new();
        let mut blocks = Vec::new();
        for peer in &rule.peers {
            match peer {
                Peer::Pods { namespaces, pods: selector } => pods.push(PodPeer {
                    namespaces: match namespaces {
                        Some(selector) => Namespaces::Selected(selector.clone()),
                        None => Namespaces::Named(policy.namespace.clone()),
                    },
                    pods: selector.clone(),
                }),
                Peer::Block(block) => blocks.push(block.clone()),
            }
        }
        let mut ports: Vec<PortMatch> = Vec::new();
        for port in &rule.ports {
            let (first, last) = match &port.port {
                // Every port, so that the prefix covers port 0 as well.
                Port::All => (0, u16::MAX),
                Port::Range(first, last) => (*first, *last),
                Port::Named(name) => {
                    let named = PortMatch::Named(name.clone(), port.protocol);
                    match direction {
                        Direction::Ingress => {
                            ports.extend(named.resolve(own_ports).map(PortMatch::Prefix));
                        }
                        Direction::Egress => ports.push(named),
                    }
                    continue;
                }
            };
            ports.extend(prefixes(port.protocol, first, last).into_iter().map(PortMatch::Prefix));
        }
        if rule.ports.is_empty() {
            ports.push(PortMatch::Any);
        }
        Self { name, everybody: rule.peers.is_empty(), pods, blocks, ports }
    }

    pub(super) fn has_names(&self) -> bool {
        self.ports.iter().any(|port| matches!(port, PortMatch::Named(..)))
    }
}

/// The table of some rules towards a destination with these named ports.
pub(super) fn table<'a>(
    rules: impl Iterator<Item = &'a SubjectRule>,
    named: &[NamedPort],
    rule_sets: &mut RuleSets,
) -> PortTable {
    let allowed = rules.flat_map(|rule| {
        let prefixes = rule.ports.iter().flat_map(|port| port.resolve(named));
        prefixes.map(move |prefix| (prefix, rule.name))
    });
    PortTable::new(allowed, rule_sets)
}

/// Pairs of identity (its position) and rule (its position), sorted.
fn rules_by_identity(rules: &[SubjectRule], identities: &Identities) -> Vec<(u32, u32)> {
    let mut pairs = Vec::new();
    for (index, rule) in (0_u32..).zip(rules) {
        for peer in &rule.pods {
            pairs.extend(identities.selected(peer).iter().map(|&identity| (identity, index)));
        }
        // A rule for everybody is among the entries without peer, but for ports that only the
        // destination can tell.
        for port in rule.ports.iter().filter(|_| rule.everybody) {
            if let PortMatch::Named(name, protocol) = port {
                let named = identities.with_port(name, *protocol);
                pairs.extend(named.iter().map(|&identity| (identity, index)));
            }
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// The named ports that make a difference to some rules.
fn relevant_names(rules: &[SubjectRule], here: &[u32], named: &[NamedPort]) -> Vec<NamedPort> {
    if here.iter().any(|&rule| rules[rule as usize].has_names()) {
        named.to_vec()
    } else {
        Vec::new()
    }
}
