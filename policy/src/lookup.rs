//! The kernel's lookup for the first packet of a connection, over compiled entries.

use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};
use weir_flow::values::{PolicyRule, Reason, Verdict};

use crate::compile::{
    ANY_EGRESS, ANY_INGRESS, ANY_PROTOCOL_BIT, AUDIT, CIDR_EGRESS, CIDR_INGRESS, CidrKey, Compiled,
    CompiledEndpoint, CompiledView, Compiler, IDENTITY_LOCAL_NODE, IDENTITY_WORLD, ISOLATED_EGRESS,
    ISOLATED_INGRESS, PEER_ANY, PolicyEntry, PolicyKey, TIERS_EGRESS, TIERS_INGRESS, action,
    port_bit,
};
use crate::evaluate::{Attempt, Decision, Outcome};
use crate::model::{Action, Cluster, Direction};

/// The answer for one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What happens to it; `audit` is a deny that passes.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Allowed by NetworkPolicies: the rules of either peer, 0 where one has none. By a tier, or
    /// denied by one: the rule. Denied by NetworkPolicies: those that isolate.
    pub rule_sets: [u32; 2],
    /// The NetworkPolicies that isolate the pod, whatever the verdict.
    pub isolated_by: u32,
}

impl Answer {
    /// The rules or policies behind it, sorted.
    pub fn rules(&self, compiler: &Compiler) -> Vec<PolicyRule> {
        let mut rules: Vec<PolicyRule> = self
            .rule_sets
            .iter()
            .filter_map(|&id| compiler.rule_set(id))
            .flat_map(|set| set.iter().cloned())
            .collect();
        rules.sort();
        rules.dedup();
        rules
    }
}

/// A packet as it is judged.
#[derive(Clone, Copy, Debug)]
struct Packet {
    direction: Direction,
    remote: IpAddr,
    protocol: u8,
    port: u16,
}

/// Judges a packet of `endpoint`. The port is the destination's, 0 where there is none.
pub fn lookup(
    compiled: &Compiled,
    endpoint: &CompiledEndpoint,
    direction: Direction,
    remote: IpAddr,
    protocol: u8,
    port: u16,
) -> Answer {
    let packet = Packet { direction, remote, protocol, port };
    let enforced = judge(compiled, &endpoint.enforced, &packet);
    let audit = |answer: Answer| match answer.verdict {
        Verdict::Deny => Answer { verdict: Verdict::Audit, ..answer },
        Verdict::Allow | Verdict::Audit => answer,
    };
    let answer = if enforced.verdict == Verdict::Deny || endpoint.audited.subject == 0 {
        enforced
    } else {
        audit(judge(compiled, &endpoint.audited, &packet))
    };
    if endpoint.flags & AUDIT != 0 { audit(answer) } else { answer }
}

/// What one subject's policies say.
fn judge(compiled: &Compiled, view: &CompiledView, packet: &Packet) -> Answer {
    let (isolated, tiers, has_blocks, has_any, isolated_by) = match packet.direction {
        Direction::Ingress => (
            view.flags & ISOLATED_INGRESS != 0,
            view.flags & TIERS_INGRESS != 0,
            view.flags & CIDR_INGRESS != 0,
            view.flags & ANY_INGRESS != 0,
            view.isolated_by_ingress,
        ),
        Direction::Egress => (
            view.flags & ISOLATED_EGRESS != 0,
            view.flags & TIERS_EGRESS != 0,
            view.flags & CIDR_EGRESS != 0,
            view.flags & ANY_EGRESS != 0,
            view.isolated_by_egress,
        ),
    };
    let (prefixes, ports) = match packet.direction {
        Direction::Ingress => (view.port_prefixes_ingress, view.ports_ingress),
        Direction::Egress => (view.port_prefixes_egress, view.ports_egress),
    };
    let prefixes =
        if ports & port_bit(packet.port) == 0 { prefixes & !(1 << 16) } else { prefixes };
    let answer = |verdict, reason, rule_sets| Answer { verdict, reason, rule_sets, isolated_by };
    let identity = compiled.identities.get(&packet.remote).copied().unwrap_or(IDENTITY_WORLD);
    if identity == IDENTITY_LOCAL_NODE {
        return answer(Verdict::Allow, Reason::NodeTraffic, [0, 0]);
    }
    if !isolated && !tiers {
        return answer(Verdict::Allow, Reason::NoPolicy, [0, 0]);
    }
    let block = if has_blocks { longest_block(compiled, view.subject, packet) } else { None };
    let by_identity = entry(compiled, (view.subject, identity), prefixes, packet);
    let by_address = match block {
        None if !has_any => PolicyEntry::NONE,
        _ => entry(compiled, (view.subject, block.unwrap_or(PEER_ANY)), prefixes, packet),
    };

    let by_tier = |decisions: [(u32, u32); 2]| {
        let (decision, rule_set) = decisions.into_iter().min()?;
        Some(match action(decision)? {
            Action::Allow => answer(Verdict::Allow, Reason::Policy, [rule_set, 0]),
            Action::Deny => answer(Verdict::Deny, Reason::ExplicitDeny, [rule_set, 0]),
            Action::Pass => return None,
        })
    };
    let both = [by_identity, by_address];
    if let Some(answer) = by_tier(both.map(|entry| (entry.admin, entry.admin_rule_set))) {
        return answer;
    }
    if isolated {
        return match both.map(|entry| entry.rule_set) {
            [0, 0] => answer(Verdict::Deny, Reason::DefaultDeny, [isolated_by, 0]),
            rule_sets => answer(Verdict::Allow, Reason::Policy, rule_sets),
        };
    }
    by_tier(both.map(|entry| (entry.baseline, entry.baseline_rule_set)))
        .unwrap_or_else(|| answer(Verdict::Allow, Reason::NoPolicy, [0, 0]))
}

/// What a subject's rules say to a peer.
fn entry(
    compiled: &Compiled,
    (subject, peer): (u32, u32),
    prefixes: u32,
    packet: &Packet,
) -> PolicyEntry {
    let keys = (0..=16).rev().filter(|length| prefixes & (1 << length) != 0).map(|length| {
        let mask = u16::MAX.checked_shl(16 - u32::from(length)).unwrap_or(0);
        (packet.protocol, packet.port & mask, length)
    });
    let any = (prefixes & (1 << ANY_PROTOCOL_BIT) != 0).then_some((0, 0, 0));
    let entries = compiled.subjects.get(&subject);
    keys.chain(any)
        .find_map(|(protocol, port, port_prefix)| {
            let direction = packet.direction;
            let key = PolicyKey { subject, peer, direction, protocol, port, port_prefix };
            entries?.policies.get(&key).copied()
        })
        .unwrap_or(PolicyEntry::NONE)
}

fn longest_block(compiled: &Compiled, subject: u32, packet: &Packet) -> Option<u32> {
    let entries = compiled.subjects.get(&subject)?;
    let longest = IpNet::from(packet.remote).max_prefix_len();
    (0..=longest).rev().find_map(|length| {
        let net = IpNet::new(packet.remote, length).ok()?.trunc();
        entries.cidrs.get(&CidrKey { net, subject, direction: packet.direction }).copied()
    })
}

/// Every node's maps at once, for judging whole connections without a kernel.
#[derive(Debug, Default)]
pub struct SimulatedNodes {
    compiler: Compiler,
    by_node: FxHashMap<Option<String>, Compiled>,
}

impl SimulatedNodes {
    /// Compiles the cluster for each node that has pods, and for pods without a node.
    pub fn update(&mut self, cluster: &Cluster) {
        let nodes: FxHashSet<Option<&str>> =
            cluster.pods.iter().map(|pod| pod.node.as_deref()).collect();
        self.by_node = nodes
            .into_iter()
            .map(|node| (node.map(str::to_owned), self.compiler.compile(cluster, node)))
            .collect();
    }

    /// Judges an attempt at both ends. `cluster` is the one of the last update.
    pub fn decide(&self, cluster: &Cluster, attempt: &Attempt) -> Outcome {
        let judge = |direction| {
            let pod = cluster.pod_at(attempt.local(direction))?;
            let compiled = self.by_node.get(&pod.node)?;
            let endpoint = compiled.endpoint(&pod.namespace, &pod.name)?;
            let answer = lookup(
                compiled,
                endpoint,
                direction,
                attempt.remote(direction),
                attempt.protocol,
                attempt.destination_port,
            );
            Some(Decision {
                verdict: answer.verdict,
                reason: answer.reason,
                rules: answer.rules(&self.compiler),
                isolated_by: self.compiler.rule_set(answer.isolated_by)?.to_vec(),
            })
        };
        Outcome { egress: judge(Direction::Egress), ingress: judge(Direction::Ingress) }
    }
}

#[cfg(test)]
mod tests;
