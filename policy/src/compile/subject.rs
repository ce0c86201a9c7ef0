//! Pods by the policies that select them, and the entries that follow.

use rustc_hash::FxHashMap;

use super::blocks::{self, BlockPeer};
use super::content::Interner;
use super::identity::Identities;
use super::keys::{
    ANY_EGRESS, ANY_INGRESS, CIDR_EGRESS, CIDR_INGRESS, CidrKey, ISOLATED_EGRESS, ISOLATED_INGRESS,
    PEER_ANY, PolicyEntry, PolicyKey, TIERS_EGRESS, TIERS_INGRESS,
};
use super::ports::{NamedPort, PortTable};
use super::rule_sets::RuleSets;
use super::rules::{SubjectRule, table};
use super::selecting::Selecting;
use super::{CompiledView, SubjectEntries};
use crate::evaluate::NETWORK_POLICY;
use crate::model::{Direction, Tier};

/// A subject with all that does not depend on who else is there.
#[derive(Debug)]
pub(super) struct Subject {
    ingress: Side,
    egress: Side,
}

/// One direction of a subject.
#[derive(Debug)]
struct Side {
    isolated: bool,
    isolated_by: u32,
    has_tiers: bool,
    port_prefixes: u32,
    ports: u64,
    rules: Vec<SubjectRule>,
    any: PortTable,
    blocks: Vec<BlockPeer>,
}

impl Subject {
    pub(super) fn new(
        by: &Selecting,
        rule_sets: &mut RuleSets,
        tables: &mut Interner<PortTable>,
    ) -> Self {
        let mut side = |direction| Side::new(by, direction, rule_sets, tables);
        Self { ingress: side(Direction::Ingress), egress: side(Direction::Egress) }
    }

    /// What a pod's endpoint says of it.
    pub(super) fn view(&self, id: u32) -> CompiledView {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        let Self { ingress, egress } = self;
        CompiledView {
            subject: id,
            flags: bit(ingress.isolated, ISOLATED_INGRESS)
                | bit(egress.isolated, ISOLATED_EGRESS)
                | bit(!ingress.blocks.is_empty(), CIDR_INGRESS)
                | bit(!egress.blocks.is_empty(), CIDR_EGRESS)
                | bit(ingress.has_tiers, TIERS_INGRESS)
                | bit(egress.has_tiers, TIERS_EGRESS)
                | bit(!ingress.any.is_empty(), ANY_INGRESS)
                | bit(!egress.any.is_empty(), ANY_EGRESS),
            isolated_by_ingress: ingress.isolated_by,
            isolated_by_egress: egress.isolated_by,
            port_prefixes_ingress: ingress.port_prefixes,
            port_prefixes_egress: egress.port_prefixes,
            ports_ingress: ingress.ports,
            ports_egress: egress.ports,
        }
    }

    /// All rules.
    pub(super) fn rules(&self) -> impl Iterator<Item = &SubjectRule> {
        self.ingress.rules.iter().chain(&self.egress.rules)
    }

    fn sides(&self) -> [(Direction, &Side); 2] {
        [(Direction::Ingress, &self.ingress), (Direction::Egress, &self.egress)]
    }

    /// Whether its rules mean the same of both, so that it has the same entries.
    pub(super) fn meets_the_same(&self, before: &Identities, now: &Identities) -> bool {
        self.rules().all(|rule| {
            let mut peers = rule.pods.iter();
            let mut names = rule.names().filter(|_| rule.everybody);
            peers.all(|peer| before.selected(peer) == now.selected(peer))
                && names.all(|(name, protocol)| {
                    before.with_port(name, protocol) == now.with_port(name, protocol)
                })
        })
    }

    /// Its entries, for the identities that its rules mean.
    pub(super) fn entries(
        &self,
        id: u32,
        identities: &Identities,
        rule_sets: &mut RuleSets,
    ) -> SubjectEntries {
        let mut entries = SubjectEntries::default();
        for (direction, side) in self.sides() {
            side.any.insert_entries(id, PEER_ANY, direction, &mut entries.policies);
            for (net, peer, table) in &side.blocks {
                entries.cidrs.insert(CidrKey { net: *net, subject: id, direction }, *peer);
                table.content.insert_entries(id, *peer, direction, &mut entries.policies);
            }
            let policies = &mut entries.policies;
            side.identity_entries((id, direction), identities, rule_sets, policies);
        }
        entries
    }
}

/// An identity and a rule that means it, by its position.
type Meeting = (u32, u32);

impl Side {
    fn new(
        by: &Selecting,
        direction: Direction,
        rule_sets: &mut RuleSets,
        tables: &mut Interner<PortTable>,
    ) -> Self {
        let own_ports = by.own_ports.as_slice();
        let mut isolating = Vec::new();
        let mut rules = Vec::new();
        for (policy, _) in by.policies.iter().filter(|(policy, _)| policy.isolates(direction)) {
            let id = rule_sets.policy(NETWORK_POLICY, &policy.namespace, &policy.name);
            isolating.push((id, None));
            for (index, rule) in (0_u32..).zip(policy.rules(direction)) {
                let name = (id, Some(index));
                let rule = SubjectRule::of_network_policy(name, policy, rule, direction, own_ports);
                rules.push(rule);
            }
        }
        let network_rules = rules.len();
        for tier in [Tier::Admin, Tier::Baseline] {
            let policies = by.tiers.iter().filter(|(policy, _)| policy.tier == tier);
            let mut place = 0_u32;
            for (policy, _) in policies {
                let id = rule_sets.policy(policy.kind.as_str(), "", &policy.name);
                for (index, rule) in (0_u32..).zip(policy.rules(direction)) {
                    let name = (id, Some(index));
                    let rule = SubjectRule::of_tier(name, tier, place, rule, direction, own_ports);
                    rules.push(rule);
                    place += 1;
                }
            }
        }
        let ports = || rules.iter().flat_map(|rule| &rule.ports);
        Self {
            isolated: !isolating.is_empty(),
            isolated_by: rule_sets.intern(isolating),
            has_tiers: rules.len() > network_rules,
            port_prefixes: ports().fold(0, |bits, port| bits | port.bit()),
            ports: ports().fold(0, |bits, port| bits | port.port_bits()),
            any: table(rules.iter().filter(|rule| rule.everybody), &[], rule_sets),
            blocks: blocks::block_peers(&rules, &by.there, rule_sets, tables),
            rules,
        }
    }

    /// Sorted.
    fn meetings(&self, identities: &Identities) -> Vec<Meeting> {
        let mut meetings = Vec::new();
        for (index, rule) in (0_u32..).zip(&self.rules) {
            for peer in &rule.pods {
                meetings.extend(identities.selected(peer).iter().map(|&meant| (meant, index)));
            }
            // A rule for everybody is among the entries without peer, but for ports that only the
            // destination can tell.
            for (name, protocol) in rule.names().filter(|_| rule.everybody) {
                let named = identities.with_port(name, protocol);
                meetings.extend(named.iter().map(|&meant| (meant, index)));
            }
        }
        meetings.sort_unstable();
        meetings.dedup();
        meetings
    }

    fn identity_entries(
        &self,
        (subject, direction): (u32, Direction),
        identities: &Identities,
        rule_sets: &mut RuleSets,
        entries: &mut FxHashMap<PolicyKey, PolicyEntry>,
    ) {
        let mut tables: FxHashMap<(Vec<u32>, &[NamedPort]), PortTable> = FxHashMap::default();
        for meetings in self.meetings(identities).chunk_by(|a, b| a.0 == b.0) {
            let identity = meetings[0].0;
            let here: Vec<u32> = meetings.iter().map(|&(_, rule)| rule).collect();
            let by_name = here.iter().any(|&rule| self.rules[rule as usize].has_names());
            let named = if by_name { identities.named_ports(identity) } else { &[] };
            let table = tables.entry((here, named)).or_insert_with_key(|(here, named)| {
                table(here.iter().map(|&rule| &self.rules[rule as usize]), named, rule_sets)
            });
            table.insert_entries(subject, identity, direction, entries);
        }
    }
}
