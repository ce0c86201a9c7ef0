//! The verdict on one attempt, read straight off the API's text.
//!
//! Slow and plain on purpose: this is what the compiled form is tested against, and what *explain*
//! and *what-if* may use. One walk over all policies for each question, nothing remembered.

use std::net::IpAddr;

use weir_flow::values::{PolicyRule, Reason, Verdict};

use crate::model::{Cluster, Direction, NetworkPolicy, Peer, Pod, Port, PortRule, Rule};

/// Kind of [`PolicyRule`]s that come from a NetworkPolicy.
pub const NETWORK_POLICY: &str = "NetworkPolicy";

/// The first packet of a connection, with the addresses that the pods' own interfaces see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Who begins.
    pub source: IpAddr,
    /// With whom.
    pub destination: IpAddr,
    /// IANA number.
    pub protocol: u8,
    /// 0 where the protocol has no ports.
    pub destination_port: u16,
}

impl Attempt {
    /// The other end as the pod sees it that is enforced in that direction.
    pub fn remote(&self, direction: Direction) -> IpAddr {
        match direction {
            Direction::Ingress => self.source,
            Direction::Egress => self.destination,
        }
    }

    /// The end that is enforced in that direction.
    pub fn local(&self, direction: Direction) -> IpAddr {
        match direction {
            Direction::Ingress => self.destination,
            Direction::Egress => self.source,
        }
    }
}

/// Both decisions about an attempt; none where that end is no pod that policies apply to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// At the source.
    pub egress: Option<Decision>,
    /// At the destination. Nobody sees it if the source denied already.
    pub ingress: Option<Decision>,
}

impl Outcome {
    /// Whether the connection comes about.
    pub fn is_allowed(&self) -> bool {
        [&self.egress, &self.ingress]
            .into_iter()
            .flatten()
            .all(|decision| decision.verdict == Verdict::Allow)
    }

    /// The decision in that direction.
    pub fn decision(&self, direction: Direction) -> Option<&Decision> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }
}

/// What one pod's policies say to an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Allow or deny.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Allow: every rule that allowed. Deny: the policies that isolate the pod. Sorted.
    pub rules: Vec<PolicyRule>,
    /// The policies that isolate the pod in this direction, whatever the verdict. Sorted.
    pub isolated_by: Vec<PolicyRule>,
}

/// Judges an attempt at both ends.
pub fn decide(cluster: &Cluster, attempt: &Attempt) -> Outcome {
    let judge = |direction| {
        let pod = cluster.pod_at(attempt.local(direction))?;
        Some(decide_for(cluster, pod, direction, attempt))
    };
    Outcome { egress: judge(Direction::Egress), ingress: judge(Direction::Ingress) }
}

/// Judges an attempt at one pod.
fn decide_for(cluster: &Cluster, pod: &Pod, direction: Direction, attempt: &Attempt) -> Decision {
    let isolating: Vec<&NetworkPolicy> = cluster
        .policies
        .iter()
        .filter(|policy| policy.isolates(direction) && selects(policy, pod))
        .collect();
    let isolated_by = sorted(isolating.iter().map(|policy| rule_name(policy, None)).collect());
    let decided = |verdict, reason, rules: Vec<PolicyRule>| Decision {
        verdict,
        reason,
        rules: sorted(rules),
        isolated_by: isolated_by.clone(),
    };
    if is_own_node(cluster, pod, attempt.remote(direction)) {
        return decided(Verdict::Allow, Reason::NodeTraffic, Vec::new());
    }
    if isolating.is_empty() {
        return decided(Verdict::Allow, Reason::NoPolicy, Vec::new());
    }
    let allowing: Vec<PolicyRule> = isolating
        .iter()
        .flat_map(|policy| {
            (0_u32..)
                .zip(policy.rules(direction))
                .filter(|(_, rule)| rule_allows(cluster, policy, rule, direction, attempt))
                .map(|(index, _)| rule_name(policy, Some(index)))
        })
        .collect();
    if allowing.is_empty() {
        return decided(Verdict::Deny, Reason::DefaultDeny, isolated_by.clone());
    }
    decided(Verdict::Allow, Reason::Policy, allowing)
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

fn has_port(cluster: &Cluster, rule: &PortRule, attempt: &Attempt) -> bool {
    rule.protocol.number() == attempt.protocol
        && match &rule.port {
            Port::All => true,
            Port::Range(first, last) => (*first..=*last).contains(&attempt.destination_port),
            Port::Named(name) => cluster.pod_at(attempt.destination).is_some_and(|pod| {
                pod.named_ports(name, rule.protocol).any(|port| port == attempt.destination_port)
            }),
        }
}

fn is_own_node(cluster: &Cluster, pod: &Pod, remote: IpAddr) -> bool {
    cluster.pod_at(remote).is_none()
        && pod.node.as_deref().is_some_and(|node| cluster.node_has(node, remote))
}

fn rule_name(policy: &NetworkPolicy, rule: Option<u32>) -> PolicyRule {
    PolicyRule {
        kind: NETWORK_POLICY.into(),
        namespace: policy.namespace.clone(),
        name: policy.name.clone(),
        rule,
    }
}

fn sorted(mut rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    rules.sort();
    rules.dedup();
    rules
}
