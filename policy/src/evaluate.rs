//! The verdict on one attempt, read straight off the API's text.
//!
//! Slow and plain on purpose: this is what the compiled form is tested against, and what *explain*
//! and *what-if* may use. One walk over all policies for each question, nothing remembered.
//!
//! In order: the pod's own node is always allowed; the admin tier; NetworkPolicies, where they
//! isolate the pod; the baseline tier; else it is allowed. Audited policies are left out first: what
//! is denied without them is denied. What only they deny passes with verdict `audit`.

mod network;
mod tier;

use std::net::IpAddr;

use weir_flow::values::{PolicyRule, Reason, Verdict};

pub use network::{rule_allows, rule_has_peer, rule_has_port, selects};
pub use tier::{tier_policies_of, tier_rule_covers, tier_rule_has_peer, tier_rule_has_port};

use crate::model::{Cluster, Direction, Pod, Port, PortRule, Tier};

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
            .all(|decision| decision.verdict != Verdict::Deny)
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
    /// What comes of it; `audit` is a deny that passes.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Allowed by a tier, or explicitly denied: the rule. Allowed by NetworkPolicies: every rule
    /// that allowed. Denied by them: the policies that isolate the pod. Sorted.
    pub rules: Vec<PolicyRule>,
    /// The NetworkPolicies that isolate the pod in this direction, whatever the verdict; those in
    /// audit among them unless it is denied without them. Sorted.
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
    let at = Place { cluster, pod, direction, attempt };
    let enforced = judge(&at, |is_audited| !is_audited);
    let decision =
        if enforced.verdict == Verdict::Deny { enforced } else { audited(judge(&at, |_| true)) };
    if cluster.namespace(&pod.namespace).audit { audited(decision) } else { decision }
}

fn audited(decision: Decision) -> Decision {
    let verdict = match decision.verdict {
        Verdict::Deny | Verdict::Audit => Verdict::Audit,
        Verdict::Allow => Verdict::Allow,
    };
    Decision { verdict, ..decision }
}

/// What is judged, and for whom.
struct Place<'a> {
    cluster: &'a Cluster,
    pod: &'a Pod,
    direction: Direction,
    attempt: &'a Attempt,
}

/// The decision of those policies that count: it is asked whether they are audited.
fn judge(at: &Place<'_>, counts: impl Fn(bool) -> bool) -> Decision {
    let isolating = network::isolating(at, &counts);
    let isolated_by = network::names(&isolating);
    let decided = |verdict, reason, mut rules: Vec<PolicyRule>| {
        rules.sort();
        rules.dedup();
        Decision { verdict, reason, rules, isolated_by: isolated_by.clone() }
    };
    if is_own_node(at) {
        return decided(Verdict::Allow, Reason::NodeTraffic, Vec::new());
    }
    let by_tier = |tier| {
        Some(match tier::decide(at, tier, &counts)? {
            tier::Decided::Allow(rule) => decided(Verdict::Allow, Reason::Policy, vec![rule]),
            tier::Decided::Deny(rule) => decided(Verdict::Deny, Reason::ExplicitDeny, vec![rule]),
        })
    };
    if let Some(decision) = by_tier(Tier::Admin) {
        return decision;
    }
    if isolating.is_empty() {
        return by_tier(Tier::Baseline)
            .unwrap_or_else(|| decided(Verdict::Allow, Reason::NoPolicy, Vec::new()));
    }
    let allowing = network::allowing(at, &isolating);
    if allowing.is_empty() {
        return decided(Verdict::Deny, Reason::DefaultDeny, isolated_by.clone());
    }
    decided(Verdict::Allow, Reason::Policy, allowing)
}

fn is_own_node(at: &Place<'_>) -> bool {
    let Place { cluster, pod, direction, attempt } = at;
    let remote = attempt.remote(*direction);
    cluster.pod_at(remote).is_none()
        && pod.node.as_deref().is_some_and(|node| cluster.node_has(node, remote))
}

/// Whether the attempt is to one of these ports. Names are those of the destination's pod.
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

#[cfg(test)]
mod tests;
