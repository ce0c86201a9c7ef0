//! Pods that may not ask for names.

use super::{Lint, Severity, Subject};
use crate::evaluate::selects;
use crate::model::{Cluster, NetworkPolicy, Port, PortRule, Protocol};

const DNS_PORT: u16 = 53;

pub(super) fn network(cluster: &Cluster, policy: &NetworkPolicy, at: &Subject) -> Option<Lint> {
    if !policy.isolates_egress {
        return None;
    }
    let [udp, tcp] =
        [Protocol::Udp, Protocol::Tcp].map(|protocol| without(cluster, policy, protocol));
    let (id, severity, whom, consequence) = match (udp, tcp) {
        (Some(whom), Some(_)) => (
            "egress_without_dns",
            Severity::Warning,
            whom,
            "UDP 53 or TCP 53: names cannot be resolved",
        ),
        (Some(whom), None) => (
            "egress_without_dns",
            Severity::Warning,
            whom,
            "UDP 53: names cannot be resolved, unless everybody asks over TCP",
        ),
        // RFC 7766, section 5: who gets a truncated answer asks again over TCP.
        (None, Some(whom)) => (
            "dns_without_tcp",
            Severity::Info,
            whom,
            "TCP 53: answers that are too long for UDP cannot be had",
        ),
        (None, None) => return None,
    };
    Some(at.lint(
        id,
        severity,
        "spec.egress".into(),
        format!("egress of {whom} is isolated and no rule covers {consequence}"),
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
