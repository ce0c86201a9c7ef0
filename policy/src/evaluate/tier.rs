//! The tiers before and after NetworkPolicies.

use std::net::IpAddr;

use weir_flow::values::PolicyRule;

use super::{Attempt, Place, has_port};
use crate::model::{
    Action, Cluster, Direction, Pod, Tier, TierPeer, TierPods, TierPolicy, TierRule,
};

/// What a tier decided, and by which rule.
pub(super) enum Decided {
    Allow(PolicyRule),
    Deny(PolicyRule),
}

/// The decision of a tier's policies that count; none if they leave it to the next tier.
pub(super) fn decide(at: &Place<'_>, tier: Tier, counts: impl Fn(bool) -> bool) -> Option<Decided> {
    let policies = tier_policies_of(at.cluster, at.pod, tier).into_iter();
    let (policy, index, rule) = policies
        .filter(|policy| counts(policy.audit))
        .flat_map(|policy| {
            (0_u32..)
                .zip(policy.rules(at.direction))
                .map(move |(index, rule)| (policy, index, rule))
        })
        .find(|(_, _, rule)| tier_rule_covers(at.cluster, rule, at.direction, at.attempt))?;
    let name = PolicyRule {
        kind: policy.kind.as_str().into(),
        namespace: String::new(),
        name: policy.name.clone(),
        rule: Some(index),
    };
    match rule.action {
        Action::Allow => Some(Decided::Allow(name)),
        Action::Deny => Some(Decided::Deny(name)),
        Action::Pass => None,
    }
}

/// The policies of a tier that apply to a pod, in the order in which they are asked, audited ones
/// among them.
pub fn tier_policies_of<'a>(cluster: &'a Cluster, pod: &Pod, tier: Tier) -> Vec<&'a TierPolicy> {
    let mut policies: Vec<&TierPolicy> = cluster
        .tier_policies
        .iter()
        .filter(|policy| policy.tier == tier && selects(cluster, &policy.subject, pod))
        .collect();
    policies.sort_by_key(|policy| policy.precedence());
    policies
}

/// Whether one rule covers an attempt, so that its action decides.
pub fn tier_rule_covers(
    cluster: &Cluster,
    rule: &TierRule,
    direction: Direction,
    attempt: &Attempt,
) -> bool {
    tier_rule_has_peer(cluster, rule, attempt.remote(direction))
        && tier_rule_has_port(cluster, rule, attempt)
}

/// Whether one rule's peers cover an address.
pub fn tier_rule_has_peer(cluster: &Cluster, rule: &TierRule, remote: IpAddr) -> bool {
    let pod = cluster.pod_at(remote);
    rule.peers.iter().any(|peer| match peer {
        TierPeer::Pods(pods) => pod.is_some_and(|pod| selects(cluster, pods, pod)),
        TierPeer::Network(block) => block.contains(&remote),
        // An address that a pod has is the pod's.
        TierPeer::Nodes(selector) => {
            pod.is_none()
                && cluster.nodes.iter().any(|node| {
                    selector.matches(&node.labels) && cluster.node_has(&node.name, remote)
                })
        }
    })
}

/// Whether one rule's ports cover the attempt's.
pub fn tier_rule_has_port(cluster: &Cluster, rule: &TierRule, attempt: &Attempt) -> bool {
    rule.ports.is_empty() || rule.ports.iter().any(|port| has_port(cluster, port, attempt))
}

/// Whether a networked pod is one of these.
fn selects(cluster: &Cluster, pods: &TierPods, pod: &Pod) -> bool {
    pods.namespaces.matches(&cluster.namespace(&pod.namespace).labels)
        && pods.pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
}
