//! Whom policies apply to, and what of them applies.

use super::{Lint, Severity, Subject};
use crate::evaluate::selects;
use crate::model::{Cluster, Direction, NetworkPolicy, Pod, TierPods, TierPolicy};

pub(super) fn network(cluster: &Cluster, policy: &NetworkPolicy, at: &Subject) -> Vec<Lint> {
    let mut found = Vec::new();
    let all = [(Direction::Ingress, &policy.ingress), (Direction::Egress, &policy.egress)];
    for (direction, rules) in all {
        if !rules.is_empty() && !policy.isolates(direction) {
            let word = match direction {
                Direction::Ingress => "Ingress",
                Direction::Egress => "Egress",
            };
            found.push(at.lint(
                "rules_ignored",
                Severity::Error,
                format!("spec.{direction}"),
                format!(
                    "its {direction} rules count for nothing: policyTypes does not list {word}"
                ),
                format!("add {word} to policyTypes, or remove the rules"),
            ));
        }
    }
    if !cluster.pods.is_empty() && !cluster.pods.iter().any(|pod| selects(policy, pod)) {
        let sentence = format!("it selects no pod of namespace {}", policy.namespace);
        found.push(nothing(at, "spec.podSelector", sentence));
    }
    found
}

pub(super) fn tier(cluster: &Cluster, policy: &TierPolicy, at: &Subject) -> Option<Lint> {
    let mut pods = cluster.pods.iter();
    if cluster.pods.is_empty() || pods.any(|pod| covers(cluster, &policy.subject, pod)) {
        return None;
    }
    Some(nothing(at, "spec.subject", "its subject covers no pod".into()))
}

fn nothing(at: &Subject, field: &str, sentence: String) -> Lint {
    at.lint(
        "selects_nothing",
        Severity::Warning,
        field.into(),
        sentence,
        "compare the selector with the labels of the pods that are meant, or remove the policy",
    )
}

/// Whether pods of a tier policy contain one.
pub(super) fn covers(cluster: &Cluster, wanted: &TierPods, pod: &Pod) -> bool {
    !pod.host_network
        && wanted.namespaces.matches(&cluster.namespace(&pod.namespace).labels)
        && wanted.pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
}
