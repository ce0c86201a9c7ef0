//! Objects of many files as one cluster.

use std::collections::HashMap;
use std::path::Path;

use weir_policy::Cluster;
use weir_policy::manifest::Object;

use super::PolicyTexts;
use super::files::{Described, short};

/// The cluster, its policies' texts, and what is described twice. The first description counts.
pub(super) fn assemble<'a>(
    root: &Path,
    objects: impl Iterator<Item = (&'a Path, &'a Described)>,
) -> (Cluster, PolicyTexts, Vec<String>) {
    let mut cluster = Cluster::default();
    let mut seen: HashMap<(&str, &str, &str), &Path> = HashMap::new();
    let mut duplicates = Vec::new();
    let mut texts = PolicyTexts::new();
    for (path, (object, text)) in objects {
        let Some(name) = name(object) else { continue };
        if let Some(first) = seen.get(&name) {
            let (kind, namespace, own) = name;
            let slash = if namespace.is_empty() { "" } else { "/" };
            duplicates.push(format!(
                "{}: {kind} {namespace}{slash}{own} is already described in {}, which counts",
                short(root, path),
                short(root, first),
            ));
            continue;
        }
        seen.insert(name, path);
        if let Some(text) = text {
            let (kind, namespace, own) = name;
            texts.insert((kind.into(), namespace.into(), own.into()), text.clone());
        }
        match object {
            Object::Namespace(namespace) => cluster.namespaces.push(namespace.clone()),
            Object::Pod(pod) => cluster.pods.push(pod.clone()),
            Object::NetworkPolicy(policy) => cluster.policies.push(policy.clone()),
            Object::TierPolicy(policy) => cluster.tier_policies.push(policy.clone()),
            Object::NetworkLogging(logging) => cluster.logging = Some(*logging),
            Object::FlowLogging(logging) => cluster.flow_logging = Some(logging.clone()),
            Object::Service(service) => cluster.services.push(service.clone()),
            Object::Node(node) => cluster.nodes.push(node.clone()),
            Object::Ignored { .. } => {}
        }
    }
    cluster.pods.shrink_to_fit();
    cluster.policies.shrink_to_fit();
    (cluster, texts, duplicates)
}

/// Kind, namespace and name of what policies need.
fn name(object: &Object) -> Option<(&str, &str, &str)> {
    Some(match object {
        Object::Namespace(namespace) => ("Namespace", "", &namespace.name),
        Object::Pod(pod) => ("Pod", &pod.namespace, &pod.name),
        Object::NetworkPolicy(policy) => ("NetworkPolicy", &policy.namespace, &policy.name),
        Object::TierPolicy(policy) => (policy.kind.as_str(), "", &policy.name),
        Object::NetworkLogging(_) => ("NetworkLogging", "", "default"),
        Object::FlowLogging(_) => ("FlowLogging", "", "default"),
        Object::Service(service) => ("Service", &service.namespace, &service.name),
        Object::Node(node) => ("Node", "", &node.name),
        Object::Ignored { .. } => return None,
    })
}
