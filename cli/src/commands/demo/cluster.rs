//! The demo's cluster: its manifests, and the lab that has just these nodes and pods.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use weir_lab::{HostSpec, LabSpec, NodeSpec, PodSpec};
use weir_policy::manifest::{self, Object};
use weir_policy::model::Pod;

/// Namespaces, nodes and pods.
const CLUSTER: &str = include_str!("../../../demo/cluster.yaml");
/// The policy of the tutorial.
pub(super) const REDIS_POLICY: Policy = Policy {
    file: "redis-allow-from-backend.yaml",
    manifest: include_str!("../../../demo/policies/redis-allow-from-backend.yaml"),
};
/// The policies of the three-tier application.
pub(super) const APPLICATION_POLICIES: Policy = Policy {
    file: "application.yaml",
    manifest: include_str!("../../../demo/policies/application.yaml"),
};

/// Name of the outside host, which has all of these addresses: a customer, a payment provider,
/// and a telemetry service that policies forbid.
pub(super) const INTERNET: &str = "internet";
pub(super) const CUSTOMER: &str = "203.0.113.80";
pub(super) const PAYMENTS: &str = "198.51.100.20";
pub(super) const TELEMETRY: &str = "198.51.100.99";

/// A manifest that the demo applies.
pub(super) struct Policy {
    file: &'static str,
    manifest: &'static str,
}

/// What the manifests say.
pub(super) struct Cluster {
    pub(super) nodes: Vec<NodeSpec>,
    pub(super) pods: Vec<Pod>,
}

impl Cluster {
    pub(super) fn read() -> anyhow::Result<Self> {
        let mut cluster = Self { nodes: Vec::new(), pods: Vec::new() };
        for object in manifest::parse(CLUSTER) {
            match object.context("the demo's own manifests")? {
                Object::Node(node) => {
                    cluster.nodes.push(NodeSpec { name: node.name, addresses: node.addresses });
                }
                Object::Pod(pod) => cluster.pods.push(pod),
                _ => {}
            }
        }
        Ok(cluster)
    }

    pub(super) fn lab(&self) -> anyhow::Result<LabSpec> {
        let pods = self.pods.iter().map(|pod| {
            Ok(PodSpec {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                node: pod.node.clone().context("a pod of the demo has no node")?,
                addresses: pod.addresses.clone(),
                host_network: pod.host_network,
            })
        });
        let addresses = [CUSTOMER, PAYMENTS, TELEMETRY].iter().map(|address| address.parse());
        Ok(LabSpec {
            nodes: self.nodes.clone(),
            pods: pods.collect::<anyhow::Result<_>>()?,
            hosts: vec![HostSpec {
                name: INTERNET.to_owned(),
                addresses: addresses.collect::<Result<Vec<IpAddr>, _>>()?,
            }],
            ..LabSpec::default()
        })
    }

    /// The IPv4 address of a pod, `namespace/name`.
    pub(super) fn address(&self, pod: &str) -> anyhow::Result<IpAddr> {
        let found =
            self.pods.iter().find(|other| format!("{}/{}", other.namespace, other.name) == pod);
        match found.and_then(|pod| pod.addresses.iter().find(|address| address.is_ipv4())) {
            Some(address) => Ok(*address),
            None => bail!("the demo has no pod {pod}"),
        }
    }

    /// Pods that a node's collector is to enforce.
    pub(super) fn pods_on(&self, node: &str) -> usize {
        self.pods.iter().filter(|pod| pod.node.as_deref() == Some(node)).count()
    }
}

impl Policy {
    /// Puts the manifest where the collectors look, in one step.
    pub(super) fn apply(&self, manifests: &Path) -> anyhow::Result<()> {
        write(manifests, self.file, self.manifest)
    }
}

/// Writes the manifests of the cluster itself.
pub(super) fn write_cluster(manifests: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(manifests)
        .with_context(|| format!("cannot make the directory {}", manifests.display()))?;
    for policy in [&REDIS_POLICY, &APPLICATION_POLICIES] {
        let _ = std::fs::remove_file(manifests.join(policy.file));
    }
    write(manifests, "cluster.yaml", CLUSTER)
}

fn write(directory: &Path, file: &str, text: &str) -> anyhow::Result<()> {
    let hidden: PathBuf = directory.join(format!(".{file}"));
    let path = directory.join(file);
    std::fs::write(&hidden, text)
        .and_then(|()| std::fs::rename(&hidden, &path))
        .with_context(|| format!("cannot write the manifest {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_are_good() {
        let cluster = Cluster::read().unwrap();
        assert_eq!(cluster.nodes.len(), 2);
        assert_eq!(cluster.lab().unwrap().pods.len(), cluster.pods.len());
        assert_eq!(cluster.address("default/rogue").unwrap().to_string(), "10.77.2.66");
        for policy in [REDIS_POLICY, APPLICATION_POLICIES] {
            for object in manifest::parse(policy.manifest) {
                assert!(matches!(object.unwrap(), Object::NetworkPolicy(_)));
            }
        }
    }
}
