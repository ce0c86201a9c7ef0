//! NetworkPolicies.

use std::net::IpAddr;

use weir_flow::values::PolicyRule;

use super::{Attempt, NETWORK_POLICY, Place, has_port};
use crate::model::{Cluster, Direction, NetworkPolicy, Peer, Pod, Rule};

/// The policies that isolate the pod, among those that count.
pub(super) fn isolating<'a>(
    at: &Place<'a>,
    counts: impl Fn(bool) -> bool,
) -> Vec<&'a NetworkPolicy> {
    let policies = at.cluster.policies.iter();
    policies
        .filter(|policy| {
            counts(policy.audit) && policy.isolates(at.direction) && selects(policy, at.pod)
        })
        .collect()
}

/// The rules of these policies that allow the attempt.
pub(super) fn allowing(at: &Place<'_>, policies: &[&NetworkPolicy]) -> Vec<PolicyRule> {
    policies
        .iter()
        .flat_map(|policy| {
            (0_u32..)
                .zip(policy.rules(at.direction))
                .filter(|(_, rule)| rule_allows(at.cluster, policy, rule, at.direction, at.attempt))
                .map(|(index, _)| rule_name(policy, Some(index)))
        })
        .collect()
}

/// The policies' names, sorted.
pub(super) fn names(policies: &[&NetworkPolicy]) -> Vec<PolicyRule> {
    let mut names: Vec<PolicyRule> =
        policies.iter().map(|policy| rule_name(policy, None)).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether a policy applies to a pod.
pub fn selects(policy: &NetworkPolicy, pod: &Pod) -> bool {
    policy.namespace == pod.namespace && policy.pod_selector.matches(&pod.labels)
}

/// Whether one rule allows an attempt.
pub fn rule_allows(
    cluster: &Cluster,
    policy: &NetworkPolicy,
    rule: &Rule,
    direction: Direction,
    attempt: &Attempt,
) -> bool {
    rule_has_peer(cluster, policy, rule, attempt.remote(direction))
        && rule_has_port(cluster, rule, attempt)
}

/// Whether one rule's peers cover an address.
pub fn rule_has_peer(
    cluster: &Cluster,
    policy: &NetworkPolicy,
    rule: &Rule,
    remote: IpAddr,
) -> bool {
    rule.peers.is_empty()
        || rule.peers.iter().any(|peer| match peer {
            Peer::Block(block) => {
                block.cidr.contains(&remote)
                    && !block.except.iter().any(|except| except.contains(&remote))
            }
            Peer::Pods { namespaces, pods } => cluster.pod_at(remote).is_some_and(|pod| {
                let namespace_matches = match namespaces {
                    Some(selector) => selector.matches(&cluster.namespace(&pod.namespace).labels),
                    None => pod.namespace == policy.namespace,
                };
                namespace_matches
                    && pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
            }),
        })
}

/// Whether one rule's ports cover the attempt's.
pub fn rule_has_port(cluster: &Cluster, rule: &Rule, attempt: &Attempt) -> bool {
    rule.ports.is_empty() || rule.ports.iter().any(|port| has_port(cluster, port, attempt))
}

fn rule_name(policy: &NetworkPolicy, rule: Option<u32>) -> PolicyRule {
    PolicyRule {
        kind: NETWORK_POLICY.into(),
        namespace: policy.namespace.clone(),
        name: policy.name.clone(),
        rule,
    }
}
