//! What a lab is to consist of.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::LabError;

/// Nodes, pods and outside hosts.
#[derive(Clone, Debug, Default)]
pub struct LabSpec {
    /// Nodes; pods need at least one.
    pub nodes: Vec<NodeSpec>,
    /// Pods.
    pub pods: Vec<PodSpec>,
    /// Hosts outside the cluster.
    pub hosts: Vec<HostSpec>,
    /// How pods hang on their nodes.
    pub network: Network,
}

/// How pods hang on their nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Each by a veth of its own that the node routes to: nothing is ever resolved.
    #[default]
    Routed,
    /// Each at a port of the node's bridge, where pods of a node reach each other without it, and
    /// find each other as on any Ethernet.
    Bridge,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its addresses, IPv4 or IPv6.
    pub addresses: Vec<IpAddr>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSpec {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node it runs on.
    pub node: String,
    /// Its addresses, IPv4 or IPv6. A pod of the host network gets none of its own.
    pub addresses: Vec<IpAddr>,
    /// Lives in the node's own namespace.
    pub host_network: bool,
}

/// A host outside the cluster, or a whole "internet" with many addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Its name.
    pub name: String,
    /// Its addresses, IPv4 or IPv6.
    pub addresses: Vec<IpAddr>,
}

impl LabSpec {
    /// Adds a node.
    #[must_use]
    pub fn node(mut self, name: &str, addresses: &[IpAddr]) -> Self {
        self.nodes.push(NodeSpec { name: name.to_owned(), addresses: addresses.to_vec() });
        self
    }

    /// Adds a pod, named `namespace/name`; a name without a slash is of namespace `default`.
    #[must_use]
    pub fn pod(mut self, node: &str, name: &str, addresses: &[IpAddr]) -> Self {
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        self.pods.push(PodSpec {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            node: node.to_owned(),
            addresses: addresses.to_vec(),
            host_network: false,
        });
        self
    }

    /// Adds an outside host.
    #[must_use]
    pub fn host(mut self, name: &str, addresses: &[IpAddr]) -> Self {
        self.hosts.push(HostSpec { name: name.to_owned(), addresses: addresses.to_vec() });
        self
    }
}

impl PodSpec {
    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Who has which address: every address belongs to one member of the lab.
#[derive(Debug, Default)]
pub(crate) struct AddressBook(HashMap<IpAddr, String>);

impl AddressBook {
    pub(crate) fn claim(&mut self, owner: &str, addresses: &[IpAddr]) -> Result<(), LabError> {
        for address in addresses {
            if let Some(other) = self.0.get(address) {
                return Err(LabError::Spec(format!(
                    "{owner} and {other} both have the address {address}"
                )));
            }
            if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
                return Err(LabError::Spec(format!("{owner} cannot have the address {address}")));
            }
            self.0.insert(*address, owner.to_owned());
        }
        Ok(())
    }

    pub(crate) fn release(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            self.0.remove(address);
        }
    }

    pub(crate) fn owner(&self, address: IpAddr) -> Option<&str> {
        self.0.get(&address).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_owner() {
        let mut book = AddressBook::default();
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        book.claim("pod a/b", &[address]).unwrap();
        let error = book.claim("pod a/c", &[address]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "lab description: pod a/c and pod a/b both have the address 10.0.0.1"
        );
        assert_eq!(book.owner(address), Some("pod a/b"));
        book.release(&[address]);
        book.claim("pod a/c", &[address]).unwrap();
        assert!(book.claim("pod a/d", &["::1".parse().unwrap()]).is_err());
    }
}
