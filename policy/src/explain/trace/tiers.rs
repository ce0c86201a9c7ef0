//! Policies of the tiers: in order, and the first rule that covers the attempt decides.

use super::super::answer::{Clause, Outcome, PolicyTrace, RuleTrace};
use super::clauses::{At, in_block, matched, no_pod, pod_selector, ports, selector};
use super::entries;
use crate::model::{Action, Pod, Tier, TierPeer, TierPods, TierPolicy, TierRule};

/// The tiers of one pod and direction, asked one after the other.
pub(super) struct Walk<'a> {
    pub(super) at: At<'a>,
    pub(super) pod: &'a Pod,
    /// Nothing has decided so far.
    pub(super) asked: bool,
    /// Audited policies decide too.
    pub(super) audited_count: bool,
}

impl Walk<'_> {
    /// The policies of a tier that cover the pod.
    pub(super) fn tier(&mut self, tier: Tier) -> Vec<PolicyTrace> {
        let all = self.at.cluster.tier_policies.iter();
        let mut policies: Vec<&TierPolicy> = all.filter(|policy| policy.tier == tier).collect();
        policies.sort_by_key(|policy| policy.precedence());
        // A Pass ends this tier only.
        let mut passed = false;
        let mut traces = Vec::new();
        for policy in policies {
            let subject = pods(self.at, &policy.subject, self.pod);
            if !subject.iter().all(matched) {
                continue;
            }
            let rules: Vec<RuleTrace> = policy
                .rules(self.at.direction)
                .iter()
                .enumerate()
                .map(|(index, one)| rule(self.at, index, one))
                .collect();
            let first = rules.iter().find(|rule| rule.matched).map(|rule| rule.index);
            let action = first.map(|index| policy.rules(self.at.direction)[index].action);
            let outcome = match action {
                _ if !self.asked || passed => Outcome::NotAsked,
                None => Outcome::NoRule,
                Some(Action::Allow) => Outcome::Allows,
                Some(Action::Deny) => Outcome::Denies,
                Some(Action::Pass) => Outcome::Passes,
            };
            if self.audited_count || !policy.audit {
                match outcome {
                    Outcome::Allows | Outcome::Denies => self.asked = false,
                    Outcome::Passes => passed = true,
                    _ => {}
                }
            }
            traces.push(PolicyTrace {
                kind: policy.kind.as_str(),
                namespace: String::new(),
                name: policy.name.clone(),
                tier: match tier {
                    Tier::Admin => "admin",
                    Tier::Baseline => "baseline",
                },
                audit: policy.audit,
                outcome,
                subject,
                rules,
            });
        }
        traces
    }
}

fn rule(at: At<'_>, index: usize, rule: &TierRule) -> RuleTrace {
    let peers = entries(rule.peers.iter().map(|one| peer(at, one)));
    let ports = entries(rule.ports.iter().map(|port| ports(at, port)));
    let peer_matched = peers.iter().any(|peer| peer.matched);
    let port_matched = ports.is_empty() || ports.iter().any(|port| port.matched);
    RuleTrace {
        index,
        name: rule.name.clone(),
        action: match rule.action {
            Action::Allow => "Allow",
            Action::Deny => "Deny",
            Action::Pass => "Pass",
        },
        matched: peer_matched && port_matched,
        peer_matched,
        port_matched,
        peers,
        ports,
    }
}

fn peer(at: At<'_>, peer: &TierPeer) -> Vec<Clause> {
    let remote = at.attempt.remote(at.direction);
    match peer {
        TierPeer::Pods(wanted) => match at.remote_pod() {
            Some(pod) => pods(at, wanted, pod),
            None => vec![no_pod(at, "pods")],
        },
        TierPeer::Network(block) => vec![in_block(at, "networks", *block)],
        TierPeer::Nodes(wanted) => {
            let node = at.cluster.nodes.iter().find(|node| at.cluster.node_has(&node.name, remote));
            match node.filter(|_| at.remote_pod().is_none()) {
                Some(node) => {
                    let whose = format!("node {}", node.name);
                    selector(wanted, &node.labels, "nodes", &whose, "nodes")
                }
                None => vec![Clause {
                    field: "nodes".into(),
                    matched: false,
                    text: format!("{remote} is no node's address"),
                }],
            }
        }
    }
}

fn pods(at: At<'_>, wanted: &TierPods, pod: &Pod) -> Vec<Clause> {
    let labels = &at.cluster.namespace(&pod.namespace).labels;
    let whose = format!("namespace {}", pod.namespace);
    let mut clauses =
        selector(&wanted.namespaces, labels, "namespaceSelector", &whose, "namespaces");
    if let Some(selector) = &wanted.pods {
        clauses.extend(pod_selector(selector, pod, "podSelector"));
    }
    clauses
}
