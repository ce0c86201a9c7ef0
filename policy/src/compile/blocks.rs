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

use super::content::{Digest, Interner, Numbered};
use super::keys::PEER_CIDR;
use super::ports::{NamedPort, PortTable};
use super::rule_sets::RuleSets;
use super::rules::{SubjectRule, table};

/// A prefix, the peer that stands for it, and that peer's table.
pub(super) type BlockPeer = (IpNet, u32, Arc<Numbered<PortTable>>);

/// A pod's address and its named ports, where rules depend on them.
pub(super) type PodAddress = (IpAddr, Vec<NamedPort>);

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
                for pod in pods.iter().filter(|(address, _)| block.cidr.contains(address)) {
                    boundaries.entry(pod.0.into()).or_default();
                }
            }
        }
    }
    if boundaries.is_empty() {
        return Vec::new();
    }
    for (address, named_ports) in pods {
        if let Some(boundary) = boundaries.get_mut(&(*address).into()) {
            boundary.named_ports = named_ports;
        }
    }

    let everybody: Vec<usize> =
        rules.iter().enumerate().filter(|(_, rule)| rule.everybody).map(|(i, _)| i).collect();
    let mut known: FxHashMap<Meeting, Arc<Numbered<PortTable>>> = FxHashMap::default();
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
        let table =
            known.entry((here, boundary.named_ports)).or_insert_with_key(|(here, named)| {
                let table = table(here.iter().map(|&rule| &rules[rule]), named, rule_sets);
                tables.intern(Digest::of("table", &table), || table)
            });
        peers.push((net, PEER_CIDR | table.id, table.clone()));
        around.push((net, active));
    }
    peers
}
