//! The kernel's lookup for the first packet of a connection, over compiled entries.

use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};
use weir_flow::values::{PolicyRule, Reason, Verdict};

use crate::compile::{
    ANY_PROTOCOL_BIT, CIDR_EGRESS, CIDR_INGRESS, CidrKey, Compiled, CompiledEndpoint, Compiler,
    IDENTITY_LOCAL_NODE, IDENTITY_WORLD, ISOLATED_EGRESS, ISOLATED_INGRESS, PEER_ANY, PolicyKey,
};
use crate::evaluate::{Attempt, Decision, Outcome};
use crate::model::{Cluster, Direction};

/// The answer for one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Allow or deny.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Allow by policy: the rules of either peer, 0 where one has none. Deny: the policies that
    /// isolate.
    pub rule_sets: [u32; 2],
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

/// Judges a packet of `endpoint`. The port is the destination's, 0 where there is none.
pub fn lookup(
    compiled: &Compiled,
    endpoint: &CompiledEndpoint,
    direction: Direction,
    remote: IpAddr,
    protocol: u8,
    port: u16,
) -> Answer {
    let (isolated, has_blocks, isolated_by, prefixes) = match direction {
        Direction::Ingress => (
            endpoint.flags & ISOLATED_INGRESS != 0,
            endpoint.flags & CIDR_INGRESS != 0,
            endpoint.isolated_by_ingress,
            endpoint.port_prefixes_ingress,
        ),
        Direction::Egress => (
            endpoint.flags & ISOLATED_EGRESS != 0,
            endpoint.flags & CIDR_EGRESS != 0,
            endpoint.isolated_by_egress,
            endpoint.port_prefixes_egress,
        ),
    };
    let allowed = |reason, rule_sets| Answer { verdict: Verdict::Allow, reason, rule_sets };
    let identity = compiled.identities.get(&remote).copied().unwrap_or(IDENTITY_WORLD);
    if identity == IDENTITY_LOCAL_NODE {
        return allowed(Reason::NodeTraffic, [0, 0]);
    }
    if !isolated {
        return allowed(Reason::NoPolicy, [0, 0]);
    }
    let block = if has_blocks {
        longest_block(compiled, endpoint.subject, direction, remote)
    } else {
        None
    };
    let rules_of = |peer| {
        let keys = (0..=16).rev().filter(|length| prefixes & (1 << length) != 0).map(|length| {
            let mask = u16::MAX.checked_shl(16 - u32::from(length)).unwrap_or(0);
            (protocol, port & mask, length)
        });
        let any = (prefixes & (1 << ANY_PROTOCOL_BIT) != 0).then_some((0, 0, 0));
        keys.chain(any).find_map(|(protocol, port, port_prefix)| {
            let subject = endpoint.subject;
            let key = PolicyKey { subject, peer, direction, protocol, port, port_prefix };
            compiled.policies.get(&key).copied()
        })
    };
    match (rules_of(identity), rules_of(block.unwrap_or(PEER_ANY))) {
        (None, None) => Answer {
            verdict: Verdict::Deny,
            reason: Reason::DefaultDeny,
            rule_sets: [isolated_by, 0],
        },
        (by_identity, by_address) => {
            allowed(Reason::Policy, [by_identity.unwrap_or(0), by_address.unwrap_or(0)])
        }
    }
}

fn longest_block(
    compiled: &Compiled,
    subject: u32,
    direction: Direction,
    remote: IpAddr,
) -> Option<u32> {
    let longest = IpNet::from(remote).max_prefix_len();
    (0..=longest).rev().find_map(|length| {
        let net = IpNet::new(remote, length).ok()?.trunc();
        compiled.cidrs.get(&CidrKey { net, subject, direction }).copied()
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
            let isolated_by = match direction {
                Direction::Ingress => endpoint.isolated_by_ingress,
                Direction::Egress => endpoint.isolated_by_egress,
            };
            Some(Decision {
                verdict: answer.verdict,
                reason: answer.reason,
                rules: answer.rules(&self.compiler),
                isolated_by: self.compiler.rule_set(isolated_by)?.to_vec(),
            })
        };
        Outcome { egress: judge(Direction::Egress), ingress: judge(Direction::Ingress) }
    }
}

#[cfg(test)]
mod tests;
