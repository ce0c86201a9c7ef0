//! Blocks of addresses as longest prefixes.
//!
//! Every block and every exception of a subject's rules is a prefix of its own, whose table has the
//! rules of all blocks around it that do not except it, and the rules without peers. So the longest
//! prefix that covers an address is the whole answer. A prefix that is left without rules gets an
//! empty table: it allows nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::identity::Identity;
use super::intern::Interner;
use super::keys::PEER_CIDR;
use super::ports::{NamedPort, PortTable};
use super::rule_sets::RuleSets;
use super::subject::{SubjectRule, table};

/// A prefix, the peer that stands for it, and that peer's table.
pub(super) type BlockPeer = (IpNet, u32, Arc<PortTable>);

/// A pod's address, where rules depend on the pod's port names.
pub(super) struct PodAddress {
    pub(super) address: IpAddr,
    pub(super) identity: Arc<Identity>,
}

/// The rules that hold at a prefix, by position, and the named ports of the pod there.
type Meeting<'a> = (Vec<usize>, &'a [NamedPort]);

/// What happens at a prefix. Blocks are numbered through all rules.
#[derive(Default)]
struct Boundary<'a> {
    begins: Vec<u32>,
    excepts: Vec<u32>,
    named_ports: &'a [NamedPort],
}

/// The prefixes of some rules. `pods` are the addresses with named ports; they become prefixes
/// where a rule with blocks names ports, since two pods of one block may differ in them.
pub(super) fn block_peers(
    rules: &[SubjectRule],
    pods: &[PodAddress],
    rule_sets: &mut RuleSets,
    tables: &mut Interner<PortTable>,
) -> Vec<BlockPeer> {
    let mut rule_of = Vec::new();
    let mut boundaries: BTreeMap<IpNet, Boundary> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        for block in &rule.blocks {
            let number = rule_of.len() as u32;
            rule_of.push(index);
            boundaries.entry(block.cidr).or_default().begins.push(number);
            for except in &block.except {
                boundaries.entry(*except).or_default().excepts.push(number);
            }
            if rule.has_names() {
                for pod in pods.iter().filter(|pod| block.cidr.contains(&pod.address)) {
                    boundaries.entry(pod.address.into()).or_default();
                }
            }
        }
    }
    if boundaries.is_empty() {
        return Vec::new();
    }
    for pod in pods {
        if let Some(boundary) = boundaries.get_mut(&pod.address.into()) {
            boundary.named_ports = &pod.identity.named_ports;
        }
    }

    let everybody: Vec<usize> =
        rules.iter().enumerate().filter(|(_, rule)| rule.everybody).map(|(i, _)| i).collect();
    let mut known: FxHashMap<Meeting, (u32, Arc<PortTable>)> = FxHashMap::default();
    let mut peers = Vec::with_capacity(boundaries.len());
    // Sorted order visits a prefix before those inside it; the stack holds those around.
    let mut around: Vec<(IpNet, Vec<u32>)> = Vec::new();
    for (net, boundary) in boundaries {
        while around.last().is_some_and(|(outer, _)| !outer.contains(&net)) {
            around.pop();
        }
        let mut active = around.last().map(|(_, active)| active.clone()).unwrap_or_default();
        active.retain(|block| !boundary.excepts.contains(block));
        active.extend(boundary.begins);
        let mut here: Vec<usize> = active.iter().map(|&block| rule_of[block as usize]).collect();
        here.extend(&everybody);
        here.sort_unstable();
        here.dedup();
        let (id, table) =
            known.entry((here, boundary.named_ports)).or_insert_with_key(|(here, named)| {
                tables.intern(table(here.iter().map(|&rule| &rules[rule]), named, rule_sets))
            });
        peers.push((net, PEER_CIDR | *id, table.clone()));
        around.push((net, active));
    }
    peers
}
