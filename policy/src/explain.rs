//! One sentence about a verdict, for people.

use std::net::IpAddr;

use weir_flow::values::{PolicyRule, Reason, Verdict, policy_text, protocol_name};

use crate::evaluate::{Attempt, Decision, decide, rule_has_peer, rule_has_port, selects};
use crate::model::{Cluster, Direction, NetworkPolicy, Peer, Pod, Rule};

/// Why an attempt is allowed or denied.
pub fn explain(cluster: &Cluster, attempt: &Attempt) -> String {
    let outcome = decide(cluster, attempt);
    let mut allowed = Vec::new();
    for direction in [Direction::Egress, Direction::Ingress] {
        let Some(decision) = outcome.decision(direction) else { continue };
        let Some(pod) = cluster.pod_at(attempt.local(direction)) else { continue };
        if decision.verdict == Verdict::Deny {
            return denied(cluster, pod, direction, attempt, decision);
        }
        allowed.push(format!("{direction} of {}/{} {}", pod.namespace, pod.name, why(decision)));
    }
    if allowed.is_empty() {
        return "neither end is a pod that policies apply to".to_owned();
    }
    allowed.join("; ")
}

/// `namespace/name[rule]`.
pub fn rule_text(rule: &PolicyRule) -> String {
    match rule.rule {
        Some(index) => format!("{}[{index}]", rule.qualified_name()),
        None => rule.qualified_name(),
    }
}

fn why(decision: &Decision) -> String {
    match decision.reason {
        Reason::NoPolicy => "is not isolated by any policy".to_owned(),
        Reason::NodeTraffic => "is open to its own node".to_owned(),
        _ => {
            let rules: Vec<String> = decision.rules.iter().map(rule_text).collect();
            format!("is allowed by {}", rules.join(", "))
        }
    }
}

fn denied(
    cluster: &Cluster,
    pod: &Pod,
    direction: Direction,
    attempt: &Attempt,
    decision: &Decision,
) -> String {
    let isolating = format!(
        "{direction} of {}/{} is isolated by {}",
        pod.namespace,
        pod.name,
        policy_text(&decision.rules)
    );
    match nearest(cluster, pod, direction, attempt) {
        Some(miss) => format!("{isolating}; nearest rule {miss}"),
        None => format!("{isolating}, which has no rule that comes near"),
    }
}

/// The rule that would have allowed it if only one thing were different.
fn nearest(
    cluster: &Cluster,
    pod: &Pod,
    direction: Direction,
    attempt: &Attempt,
) -> Option<String> {
    let remote = attempt.remote(direction);
    let rules = || {
        cluster
            .policies
            .iter()
            .filter(|policy| policy.isolates(direction) && selects(policy, pod))
            .flat_map(|policy| policy.rules(direction).iter().enumerate().map(move |r| (policy, r)))
    };
    let name = |policy: &NetworkPolicy, index: usize| {
        format!("{}/{}[{index}]", policy.namespace, policy.name)
    };
    let port = format!("{} {}", protocol_name(attempt.protocol), attempt.destination_port);
    let other = describe(cluster, remote);
    let by_port =
        rules().find(|(policy, (_, rule))| rule_has_peer(cluster, policy, rule, remote)).map(
            |(policy, (index, _))| format!("{} covers {other} but not {port}", name(policy, index)),
        );
    by_port.or_else(|| {
        let (policy, (index, rule)) =
            rules().find(|(_, (_, rule))| rule_has_port(cluster, rule, attempt))?;
        let name = name(policy, index);
        Some(if is_excepted(rule, remote) {
            format!("{name} covers {port}, but an except of its ipBlock leaves out {other}")
        } else {
            format!("{name} covers {port} but not {other}")
        })
    })
}

fn is_excepted(rule: &Rule, remote: IpAddr) -> bool {
    rule.peers.iter().any(|peer| matches!(peer, Peer::Block(block) if block.cidr.contains(&remote)))
}

fn describe(cluster: &Cluster, address: IpAddr) -> String {
    match cluster.pod_at(address) {
        Some(pod) => format!("{}/{} ({address})", pod.namespace, pod.name),
        None => address.to_string(),
    }
}
