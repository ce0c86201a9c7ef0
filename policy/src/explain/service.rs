//! A Service as a destination: the pods behind it and what they listen on.

use super::Question;
use crate::model::{Cluster, Pod, Service, ServicePort, TargetPort};

/// The pods behind a Service's port, each with the number that it listens on there.
pub(super) fn backends<'a>(
    cluster: &'a Cluster,
    service: &Service,
    question: &Question,
    notes: &mut Vec<String>,
) -> Vec<(&'a Pod, u16)> {
    let name = format!("Service {}/{}", service.namespace, service.name);
    let dialled = format!("{} {}", question.protocol, question.port);
    let Some(port) = service
        .ports
        .iter()
        .find(|port| port.port == question.port && port.protocol == question.protocol)
    else {
        let ports: Vec<String> = service.ports.iter().map(port_text).collect();
        notes.push(match ports.is_empty() {
            true => format!("{name} has no ports"),
            false => format!("{name} has no port {dialled}; it has {}", ports.join(", ")),
        });
        return Vec::new();
    };
    if service.selector.is_empty() {
        notes.push(format!(
            "{name} has no selector: its endpoints are made by hand and are not known here; ask \
             about their addresses instead"
        ));
        return Vec::new();
    }
    let selected: Vec<&Pod> = selected(cluster, service).collect();
    if selected.is_empty() {
        notes.push(format!(
            "{name} has no pods behind it: none in namespace {} is labelled {}",
            service.namespace,
            super::ends::labels_text(&service.selector)
        ));
        return Vec::new();
    }
    let mut found = Vec::new();
    for pod in selected {
        match target(pod, port) {
            Some(number) => found.push((pod, number)),
            None => notes.push(format!(
                "{}/{} is behind {name} but declares no {} port named {}, so it gets nothing",
                pod.namespace,
                pod.name,
                port.protocol,
                target_text(&port.target)
            )),
        }
    }
    found
}

/// The pods that a Service sends to, on whatever port. Those on their node's network count.
pub(super) fn selected<'a>(
    cluster: &'a Cluster,
    service: &Service,
) -> impl Iterator<Item = &'a Pod> {
    cluster.pods.iter().filter(move |pod| {
        !service.selector.is_empty()
            && pod.namespace == service.namespace
            && !pod.phase.is_terminal()
            && !pod.addresses.is_empty()
            && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    })
}

/// The number that a pod listens on for a Service's port.
pub(super) fn target(pod: &Pod, port: &ServicePort) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => pod.named_ports(name, port.protocol).next(),
    }
}

/// `TCP 80 (to 8080)`.
fn port_text(port: &ServicePort) -> String {
    format!("{} {} (to {})", port.protocol, port.port, target_text(&port.target))
}

fn target_text(target: &TargetPort) -> String {
    match target {
        TargetPort::Number(number) => number.to_string(),
        TargetPort::Name(name) => name.clone(),
    }
}
