//! Which policies one end's decision looked at, and which clause of each matched or failed.

pub(super) mod clauses;
mod tiers;

use clauses::{At, matched, peer, ports};
use weir_flow::values::{Reason, Verdict};

use super::answer::{Clause, EntryTrace, Outcome, PolicyTrace, RuleTrace, Side};
use super::ends::{name, pod_name};
use crate::evaluate::{Attempt, Decision, NETWORK_POLICY};
use crate::model::{Cluster, Direction, NetworkPolicy, Pod, Rule, Tier};

/// Most policies that one end's trace lists.
const MAX_POLICIES: usize = 100;

/// One end's decision with everything that went into it.
pub(super) fn side(
    cluster: &Cluster,
    pod: &Pod,
    direction: Direction,
    attempt: &Attempt,
    decision: &Decision,
) -> Side {
    let at = At { cluster, direction, attempt };
    let asked = decision.reason != Reason::NodeTraffic;
    // What denies does so as if audited policies did not exist.
    let audited_count = decision.verdict != Verdict::Deny;
    let mut walk = tiers::Walk { at, pod, asked, audited_count };
    let mut policies = walk.tier(Tier::Admin);
    let mut others = Vec::new();
    for policy in &cluster.policies {
        if policy.namespace != pod.namespace {
            continue;
        }
        let trace = network_policy(at, policy, pod, walk.asked);
        match trace.outcome {
            Outcome::NotSelected | Outcome::OtherDirection => others.push(trace),
            _ => policies.push(trace),
        }
    }
    walk.asked &= decision.isolated_by.is_empty();
    policies.extend(walk.tier(Tier::Baseline));
    policies.extend(others);
    let policies_left_out = policies.len().saturating_sub(MAX_POLICIES);
    policies.truncate(MAX_POLICIES);
    Side {
        direction,
        pod: pod_name(pod),
        peer: name(cluster, attempt.remote(direction)),
        verdict: decision.verdict,
        reason: decision.reason,
        rules: decision.rules.clone(),
        isolated_by: decision.isolated_by.clone(),
        policies,
        policies_left_out,
    }
}

fn network_policy(at: At<'_>, policy: &NetworkPolicy, pod: &Pod, asked: bool) -> PolicyTrace {
    let subject = clauses::pod_selector(&policy.pod_selector, pod, "podSelector");
    let selects = subject.iter().all(matched);
    let isolates = policy.isolates(at.direction);
    let rules = if selects && isolates { rules(at, policy) } else { Vec::new() };
    let outcome = match (selects, isolates) {
        (false, _) => Outcome::NotSelected,
        (true, false) => Outcome::OtherDirection,
        _ if !asked => Outcome::NotAsked,
        _ if rules.iter().any(|rule| rule.matched) => Outcome::Allows,
        _ => Outcome::Isolates,
    };
    PolicyTrace {
        kind: NETWORK_POLICY,
        namespace: policy.namespace.clone(),
        name: policy.name.clone(),
        tier: "network_policy",
        audit: policy.audit,
        outcome,
        subject,
        rules,
    }
}

/// How the rules of a policy meet an attempt, whether or not it selects the pod.
pub(super) fn rules(at: At<'_>, policy: &NetworkPolicy) -> Vec<RuleTrace> {
    let rules = policy.rules(at.direction).iter().enumerate();
    rules.map(|(index, rule)| rule_trace(at, policy, index, rule)).collect()
}

fn rule_trace(at: At<'_>, policy: &NetworkPolicy, index: usize, rule: &Rule) -> RuleTrace {
    let peers: Vec<EntryTrace> =
        entries(rule.peers.iter().map(|one| peer(at, &policy.namespace, one)));
    let ports = entries(rule.ports.iter().map(|port| ports(at, port)));
    let peer_matched = peers.is_empty() || peers.iter().any(|peer| peer.matched);
    let port_matched = ports.is_empty() || ports.iter().any(|port| port.matched);
    RuleTrace {
        index,
        name: None,
        action: "Allow",
        matched: peer_matched && port_matched,
        peer_matched,
        port_matched,
        peers,
        ports,
    }
}

fn entries(clauses: impl Iterator<Item = Vec<Clause>>) -> Vec<EntryTrace> {
    clauses
        .enumerate()
        .map(|(index, clauses)| EntryTrace { index, matched: clauses.iter().all(matched), clauses })
        .collect()
}
