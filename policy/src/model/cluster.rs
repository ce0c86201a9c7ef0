//! All objects together, and whose an address is.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::net::IpAddr;

use super::{
    FlowLogging, Namespace, NetworkLogging, NetworkPolicy, Node, Phase, Pod, Service, TierPolicy,
};

/// Everything that decides a verdict and what is reported of it, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Namespaces. One that is missing here has no labels but its name.
    pub namespaces: Vec<Namespace>,
    /// Pods.
    pub pods: Vec<Pod>,
    /// NetworkPolicies.
    pub policies: Vec<NetworkPolicy>,
    /// Policies of the tiers before and after them.
    pub tier_policies: Vec<TierPolicy>,
    /// Services.
    pub services: Vec<Service>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// What is exported as log records; nothing if there is no such object.
    pub logging: Option<NetworkLogging>,
    /// How often it is reported what connections did.
    pub flow_logging: Option<FlowLogging>,
}

impl Cluster {
    /// The namespace of that name.
    pub fn namespace(&self, name: &str) -> Cow<'_, Namespace> {
        match self.namespaces.iter().find(|namespace| namespace.name == name) {
            Some(namespace) => Cow::Borrowed(namespace),
            None => Cow::Owned(Namespace::new(name, Default::default())),
        }
    }

    /// The pod of that name.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.namespace == namespace && pod.name == name)
    }

    /// The pod that an address belongs to, by [`precedence`] if several claim it.
    pub fn pod_at(&self, address: IpAddr) -> Option<&Pod> {
        self.pods
            .iter()
            .filter(|pod| pod.is_networked() && pod.addresses.contains(&address))
            .min_by_key(|pod| precedence(pod))
    }

    /// Whether a node of that name, or a pod on its network, has the address.
    pub fn node_has(&self, node: &str, address: IpAddr) -> bool {
        self.nodes.iter().any(|other| other.name == node && other.addresses.contains(&address))
            || self.pods.iter().any(|pod| {
                pod.host_network
                    && !pod.phase.is_terminal()
                    && pod.node.as_deref() == Some(node)
                    && pod.addresses.contains(&address)
            })
    }
}

/// Orders pods that claim one address: the smallest has it. Running ones first, so that a pod that
/// is only about to start or no longer answers does not take it from one that lives.
pub fn precedence(pod: &Pod) -> (Reverse<bool>, &str, &str) {
    (Reverse(pod.phase == Phase::Running), &pod.namespace, &pod.name)
}
