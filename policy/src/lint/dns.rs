//! Pods that may not ask for names.

use super::{Lint, Severity, Subject};
use crate::evaluate::selects;
use crate::model::{Cluster, NetworkPolicy, Port, PortRule, Protocol};

const DNS_PORT: u16 = 53;

pub(super) fn network(cluster: &Cluster, policy: &NetworkPolicy, at: &Subject) -> Option<Lint> {
    if !policy.isolates_egress {
        return None;
    }
    let mut missing = [Protocol::Udp, Protocol::Tcp]
        .into_iter()
        .filter_map(|protocol| Some((protocol, without(cluster, policy, protocol)?)));
    let (first, whom) = missing.next()?;
    let ports = match (first, missing.next()) {
        (Protocol::Udp, Some(_)) => "UDP 53 or TCP 53".to_owned(),
        (protocol, _) => format!("{protocol} 53"),
    };
    Some(at.lint(
        "egress_without_dns",
        Severity::Warning,
        "spec.egress".into(),
        format!(
            "egress of {whom} is isolated and no rule covers {ports}: names cannot be resolved"
        ),
        "allow UDP 53 and TCP 53 to the pods of the DNS service, usually k8s-app=kube-dns in \
         kube-system",
    ))
}

/// Who of those that a policy selects cannot use DNS over a protocol.
fn without(cluster: &Cluster, policy: &NetworkPolicy, protocol: Protocol) -> Option<String> {
    let allows = |policy: &NetworkPolicy| {
        policy.isolates_egress
            && policy.egress.iter().any(|rule| {
                rule.ports.is_empty() || rule.ports.iter().any(|entry| covers(entry, protocol))
            })
    };
    let of_namespace = || {
        cluster.policies.iter().filter(|other| other.namespace == policy.namespace && allows(other))
    };
    if cluster.pods.is_empty() {
        let same = |other: &NetworkPolicy| {
            other.pod_selector.is_empty() || other.pod_selector == policy.pod_selector
        };
        return (!of_namespace().any(same)).then(|| "its pods".to_owned());
    }
    let mut pods = cluster.pods.iter().filter(|pod| selects(policy, pod) && !pod.host_network);
    let pod = pods.find(|pod| !of_namespace().any(|other| selects(other, pod)))?;
    Some(format!("{}/{}", pod.namespace, pod.name))
}

fn covers(entry: &PortRule, protocol: Protocol) -> bool {
    entry.protocol == protocol
        && match &entry.port {
            Port::All => true,
            Port::Range(first, last) => (*first..=*last).contains(&DNS_PORT),
            Port::Named(name) => name.contains("dns") || name == "domain",
        }
}
