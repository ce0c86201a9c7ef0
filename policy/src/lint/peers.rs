//! Peers that match nobody, and blocks of which nothing remains.

use ipnet::IpNet;

use super::{Lint, Severity, Subject, peers_field};
use crate::model::{Cluster, Direction, IpBlock, NetworkPolicy, Peer};

pub(super) fn network(
    cluster: &Cluster,
    policy: &NetworkPolicy,
    direction: Direction,
    at: &Subject,
) -> Vec<Lint> {
    let mut found = Vec::new();
    for (rule_index, rule) in policy.rules(direction).iter().enumerate() {
        for (index, peer) in rule.peers.iter().enumerate() {
            let field =
                format!("spec.{direction}[{rule_index}].{}[{index}]", peers_field(direction));
            match peer {
                Peer::Block(block) => found.extend(nothing_left(block, &field, at)),
                Peer::Pods { .. } => found.extend(nobody(cluster, policy, peer, field, at)),
            }
        }
    }
    found
}

fn nobody(
    cluster: &Cluster,
    policy: &NetworkPolicy,
    peer: &Peer,
    field: String,
    at: &Subject,
) -> Option<Lint> {
    let Peer::Pods { namespaces, pods } = peer else { return None };
    let wanted = |labels| pods.as_ref().is_none_or(|selector| selector.matches(labels));
    let by_labels = cluster.pods.iter().filter(|pod| {
        let in_namespace = match namespaces {
            Some(selector) => selector.matches(&cluster.namespace(&pod.namespace).labels),
            None => pod.namespace == policy.namespace,
        };
        in_namespace && wanted(&pod.labels)
    });
    let mut by_labels = by_labels.peekable();
    let any = by_labels.peek().is_some();
    if cluster.pods.is_empty() || by_labels.any(|pod| !pod.host_network) {
        return None;
    }
    let elsewhere = cluster.pods.iter().find(|pod| namespaces.is_none() && wanted(&pod.labels));
    let (sentence, fix) = match elsewhere {
        _ if any => (
            "this peer matches only pods on their node's network, which selectors never match"
                .to_owned(),
            "allow the nodes' addresses by an ipBlock".to_owned(),
        ),
        Some(pod) => (
            format!(
                "this peer matches no pod: without a namespaceSelector it means namespace {} only, \
                 and {}/{} is elsewhere",
                policy.namespace, pod.namespace, pod.name
            ),
            format!("add a namespaceSelector, for example for namespace {}", pod.namespace),
        ),
        None => (
            "this peer matches no pod".to_owned(),
            "compare it with the labels of the pods and namespaces that are meant".to_owned(),
        ),
    };
    Some(at.lint("peer_matches_nothing", Severity::Warning, field, sentence, fix))
}

fn nothing_left(block: &IpBlock, field: &str, at: &Subject) -> Option<Lint> {
    let covered = IpNet::aggregate(&block.except);
    if !covered.iter().any(|part| part.contains(&block.cidr)) {
        return None;
    }
    Some(at.lint(
        "except_leaves_nothing",
        Severity::Warning,
        format!("{field}.ipBlock.except"),
        format!("the exceptions cover all of {}, so that this peer matches nobody", block.cidr),
        "remove the peer, or some of its exceptions",
    ))
}
