//! Whose an address is, and how people call it.

use std::net::IpAddr;

use crate::model::{Cluster, Labels, Pod, Service};

/// Whom an address belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holder<'a> {
    /// A pod that policies apply to.
    Pod(&'a Pod),
    /// A node, by name, or a pod on its network.
    Node(&'a str),
    /// A Service's own address.
    Service(&'a Service),
    /// Nobody that is known.
    World,
}

/// Whom an address belongs to.
pub(super) fn holder(cluster: &Cluster, address: IpAddr) -> Holder<'_> {
    if let Some(pod) = cluster.pod_at(address) {
        return Holder::Pod(pod);
    }
    if let Some(node) = cluster.nodes.iter().find(|node| node.addresses.contains(&address)) {
        return Holder::Node(&node.name);
    }
    if let Some(pod) = host_network_pods(cluster, address).next() {
        return Holder::Node(pod.node.as_deref().unwrap_or("unknown"));
    }
    match cluster.services.iter().find(|service| service.cluster_ips.contains(&address)) {
        Some(service) => Holder::Service(service),
        None => Holder::World,
    }
}

/// The pods on their node's network that use an address.
pub(super) fn host_network_pods(cluster: &Cluster, address: IpAddr) -> impl Iterator<Item = &Pod> {
    cluster.pods.iter().filter(move |pod| {
        pod.host_network && !pod.phase.is_terminal() && pod.addresses.contains(&address)
    })
}

/// `namespace/pod`, `node name`, `Service namespace/name` or the address.
pub(super) fn name(cluster: &Cluster, address: IpAddr) -> String {
    match holder(cluster, address) {
        Holder::Pod(pod) => pod_name(pod),
        Holder::Node(node) => format!("node {node} ({address})"),
        Holder::Service(service) => format!("Service {}/{}", service.namespace, service.name),
        Holder::World => address.to_string(),
    }
}

/// `namespace/name`.
pub(super) fn pod_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

/// `app=web,tier=front`.
pub(super) fn labels_text(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// Labels that controllers add for themselves and that differ between revisions.
const CONTROLLER_LABELS: [&str; 6] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-name",
];

/// Labels that people gave, best suited to tell what the object is.
pub(super) fn own_labels(labels: &Labels) -> Labels {
    let all = labels
        .iter()
        .filter(|(key, _)| !CONTROLLER_LABELS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()));
    all.collect()
}

/// The fewest labels that say what a pod is: by the labels that people use for it, else all.
pub(super) fn telling_labels(labels: &Labels) -> Labels {
    const TELLING: [&str; 4] = ["app", "app.kubernetes.io/name", "k8s-app", "name"];
    let own = own_labels(labels);
    match TELLING.iter().find_map(|key| own.get_key_value(*key)) {
        Some((key, value)) => [(key.clone(), value.clone())].into(),
        None => own,
    }
}

/// How many letters must be changed, added or left out to turn one text into the other; looks at
/// the first 64 of each.
pub(super) fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=left.len()).collect();
    for (line, letter) in (1..).zip(right.chars().take(64)) {
        let mut diagonal = row[0];
        row[0] = line;
        for (column, other) in left.iter().enumerate() {
            let changed = diagonal + usize::from(*other != letter);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[left.len()]
}
