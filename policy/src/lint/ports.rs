//! Ports that nobody listens on.

use super::{Lint, Severity, Subject};
use crate::evaluate::selects;
use crate::model::{Cluster, Direction, NetworkPolicy, Pod, Port, PortRule, Service, TargetPort};

pub(super) fn network(
    cluster: &Cluster,
    policy: &NetworkPolicy,
    direction: Direction,
    at: &Subject,
) -> Vec<Lint> {
    // At egress the peers would have to be found first, and most are outside.
    if direction == Direction::Egress {
        return Vec::new();
    }
    let pods: Vec<&Pod> = cluster.pods.iter().filter(|pod| selects(policy, pod)).collect();
    // Declaring numbers is optional: a pod that declares nothing may listen anywhere.
    let declare = !pods.is_empty() && pods.iter().all(|pod| !pod.ports.is_empty());
    let mut found = Vec::new();
    for (rule_index, rule) in policy.ingress.iter().enumerate() {
        for (index, entry) in rule.ports.iter().enumerate() {
            let is_name = matches!(entry.port, Port::Named(_));
            let checked = if is_name { !pods.is_empty() } else { declare };
            if !checked || pods.iter().any(|pod| has(pod, entry)) {
                continue;
            }
            let (sentence, fix) = words(cluster, &pods, entry);
            found.push(at.lint(
                "port_nobody_has",
                Severity::Warning,
                format!("spec.ingress[{rule_index}].ports[{index}].port"),
                sentence,
                fix,
            ));
        }
    }
    found
}

fn has(pod: &Pod, entry: &PortRule) -> bool {
    match &entry.port {
        Port::All => true,
        Port::Range(first, last) => pod
            .ports
            .iter()
            .any(|port| port.protocol == entry.protocol && (*first..=*last).contains(&port.port)),
        Port::Named(name) => pod.named_ports(name, entry.protocol).next().is_some(),
    }
}

fn words(cluster: &Cluster, pods: &[&Pod], entry: &PortRule) -> (String, String) {
    let port = match &entry.port {
        Port::All => entry.protocol.to_string(),
        Port::Range(first, last) if first == last => format!("{} {first}", entry.protocol),
        Port::Range(first, last) => format!("{} {first} to {last}", entry.protocol),
        Port::Named(name) => format!("{} {name}", entry.protocol),
    };
    let of_service = cluster.services.iter().find_map(|service| {
        let has_backend = pods.iter().any(|pod| is_behind(service, pod));
        let port = service.ports.iter().find(|port| {
            let Port::Range(first, last) = entry.port else { return false };
            port.protocol == entry.protocol && (first..=last).contains(&port.port)
        })?;
        has_backend.then_some((service, port))
    });
    match of_service {
        Some((service, dialled)) => {
            let target = match &dialled.target {
                TargetPort::Number(number) => number.to_string(),
                TargetPort::Name(name) => name.clone(),
            };
            let name = format!("{}/{}", service.namespace, service.name);
            (
                format!(
                    "no selected pod declares {port}: it is the port of Service {name}, and \
                     policies see what it is replaced by, {target}"
                ),
                format!("write {target}"),
            )
        }
        None => (
            format!("no selected pod declares {port}"),
            "write a port that the containers declare, or declare this one".to_owned(),
        ),
    }
}

fn is_behind(service: &Service, pod: &Pod) -> bool {
    !service.selector.is_empty()
        && service.namespace == pod.namespace
        && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}
