//! The objects of a cluster that the relay is told of. No I/O.

use weir_flow::wire::{MAX_MANIFEST_BYTES, MAX_NAME_BYTES};
use weir_policy::manifest;
use weir_policy::model::{Namespace, Node, Pod, Service};

use crate::source::ClusterState;

/// Kind, namespace and name.
pub(super) type Key<'a> = (&'a str, &'a str, &'a str);

/// An object: of policies the text of their authors, of others what policies need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object<'a> {
    Policy(&'a str),
    Namespace(&'a Namespace),
    Pod(&'a Pod),
    Service(&'a Service),
    Node(&'a Node),
}

/// All objects of a state, in the same order each time.
pub(super) fn of(state: &ClusterState) -> impl Iterator<Item = (Key<'_>, Object<'_>)> {
    let cluster = &state.cluster;
    let policies = state.texts.iter().map(|((kind, namespace, name), text)| {
        ((kind.as_str(), namespace.as_str(), name.as_str()), Object::Policy(text))
    });
    let namespaces = cluster.namespaces.iter().map(|namespace| {
        (("Namespace", "", namespace.name.as_str()), Object::Namespace(namespace))
    });
    let pods = cluster
        .pods
        .iter()
        .map(|pod| (("Pod", pod.namespace.as_str(), pod.name.as_str()), Object::Pod(pod)));
    let services = cluster.services.iter().map(|service| {
        let key = ("Service", service.namespace.as_str(), service.name.as_str());
        (key, Object::Service(service))
    });
    let nodes =
        cluster.nodes.iter().map(|node| (("Node", "", node.name.as_str()), Object::Node(node)));
    policies.chain(namespaces).chain(pods).chain(services).chain(nodes)
}

impl Object<'_> {
    /// Its manifest; none if it is larger than the relay takes.
    pub(super) fn manifest(self, (kind, namespace, name): Key<'_>) -> Option<String> {
        let manifest = match self {
            Self::Policy(text) => text.to_owned(),
            Self::Namespace(namespace) => manifest::write_namespace(namespace),
            Self::Pod(pod) => manifest::write_pod(pod),
            Self::Service(service) => manifest::write_service(service),
            Self::Node(node) => manifest::write_node(node),
        };
        let fits = [kind, namespace, name].iter().all(|name| name.len() <= MAX_NAME_BYTES)
            && manifest.len() <= MAX_MANIFEST_BYTES;
        if !fits {
            let name: String = name.chars().take(100).collect();
            tracing::warn!(kind, namespace, name, "too large to be explained later");
        }
        fits.then_some(manifest)
    }
}
