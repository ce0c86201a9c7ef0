//! Labels and identities of a flow's ends as Cilium would name them.
//!
//! Weir decides by rules, not by identities. So that clients can tell ends apart, nodes and the world
//! have Cilium's reserved numbers, and pods one that stands for cluster, namespace and labels.

use weir_flow::schema::LabelMap;

/// The node that it was seen on.
pub(super) const HOST: u32 = 1;
/// Outside the cluster.
pub(super) const WORLD: u32 = 2;
/// Another node.
pub(super) const REMOTE_NODE: u32 = 6;
/// Numbers of pods, behind the reserved ones.
const PODS: std::ops::Range<u64> = 256..(1 << 24);

/// The label that says a pod's namespace.
pub(super) const NAMESPACE_LABEL: &str = "io.kubernetes.pod.namespace";
/// The label that says a pod's cluster.
pub(super) const CLUSTER_LABEL: &str = "io.cilium.k8s.policy.cluster";

/// The identity and the labels of what is no pod.
pub(super) fn reserved(kind: &str, same_node: bool) -> (u32, &'static str) {
    match kind {
        "node" if same_node => (HOST, "reserved:host"),
        "node" => (REMOTE_NODE, "reserved:remote-node"),
        "world" | "service" => (WORLD, "reserved:world"),
        _ => (0, "reserved:unknown"),
    }
}

/// The labels of a pod.
pub(super) fn labels(cluster: &str, namespace: &str, labels: &LabelMap) -> Vec<String> {
    let own = labels.iter().map(|(key, value)| format!("k8s:{key}={value}"));
    let added = [(CLUSTER_LABEL, cluster), (NAMESPACE_LABEL, namespace)];
    let added = added.map(|(key, value)| format!("k8s:{key}={value}"));
    let mut all: Vec<String> = own.chain(added).collect();
    all.sort();
    all
}

/// The identity of pods with these labels: FNV-1a, folded into the numbers of pods.
pub(super) fn of_pod(labels: &[String]) -> u32 {
    let hash = labels.iter().fold(0xcbf2_9ce4_8422_2325, |hash, text| {
        let bytes = text.bytes().chain([0xff]);
        bytes.fold(hash, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    });
    let number = PODS.start + hash % (PODS.end - PODS.start);
    u32::try_from(number).unwrap_or_default()
}
