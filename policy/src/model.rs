//! The cluster as policies see it. Plain values, already checked and defaulted.

mod cluster;
mod flow_logging;
mod labels;
mod logging;
mod policy;
mod selector;
mod tier;

use std::fmt;
use std::net::IpAddr;

pub use cluster::{Cluster, precedence};
pub use flow_logging::{
    ANNOUNCED, FlowLogging, Interval, IntervalInForce, IntervalOverride, IntervalPlan,
    IntervalSource, Term,
};
pub use labels::{LabelPool, Labels};
pub use logging::{LogRule, NetworkLogging};
pub use policy::{Direction, IpBlock, NetworkPolicy, Peer, Port, PortRule, Rule};
pub use selector::{Operator, Requirement, Selector};
pub use tier::{Action, Tier, TierKind, TierPeer, TierPods, TierPolicy, TierRule};

/// The label by which every namespace can be selected by name. The API server sets it and puts it
/// back when it is removed.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels, with [`NAMESPACE_NAME_LABEL`].
    pub labels: Labels,
    /// Denies of its pods are only reported.
    pub audit: bool,
    /// Denies of its pods are logged where logging is delegated to namespaces.
    pub log_denies: bool,
    /// How often it is reported what connections of its pods did.
    pub interval: Option<Term>,
}

impl Namespace {
    /// A namespace with the label that the API server would add, and without annotations.
    pub fn new(name: impl Into<String>, mut labels: Labels) -> Self {
        let name = name.into();
        labels.insert(NAMESPACE_NAME_LABEL.into(), name.clone());
        Self { name, labels, audit: false, log_denies: false, interval: None }
    }
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// `status.podIPs`; empty until the pod has a network.
    pub addresses: Vec<IpAddr>,
    /// The node it runs on, once scheduled.
    pub node: Option<String>,
    /// It shares its node's network and addresses.
    pub host_network: bool,
    /// Where it is in its life.
    pub phase: Phase,
    /// What made it.
    pub workload: Option<Workload>,
    /// Declared ports of all its containers.
    pub ports: Vec<ContainerPort>,
}

impl Pod {
    /// Policies apply to it and its addresses are its own: it has an address, has not ended and is
    /// not on its node's network.
    pub fn is_networked(&self) -> bool {
        !self.host_network && !self.phase.is_terminal() && !self.addresses.is_empty()
    }

    /// The numbers that a port name stands for on this pod.
    pub fn named_ports<'a>(
        &'a self,
        name: &'a str,
        protocol: Protocol,
    ) -> impl Iterator<Item = u16> + 'a {
        self.ports
            .iter()
            .filter(move |port| port.protocol == protocol && port.name.as_deref() == Some(name))
            .map(|port| port.port)
    }
}

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Containers run.
    #[default]
    Running,
    /// Accepted, not all containers run.
    Pending,
    /// The node does not answer.
    Unknown,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one badly.
    Failed,
}

impl Phase {
    /// The pod has ended. It keeps its address in the API while another pod may already use it.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// The controller behind a pod, as people name it: the Deployment, not its ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, …
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerPort {
    /// Name that policies and services can use.
    pub name: Option<String>,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// A transport protocol that policies can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its IANA number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The word that manifests use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// The protocol behind the word that manifests use.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `spec.clusterIPs`; empty for headless services.
    pub cluster_ips: Vec<IpAddr>,
    /// Labels of the pods behind it.
    pub selector: Labels,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// The number that clients dial.
    pub port: u16,
    /// What the pods behind it listen on.
    pub target: TargetPort,
    /// Its protocol.
    pub protocol: Protocol,
}

/// `targetPort` of a service's port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetPort {
    /// The same number on every pod.
    Number(u16),
    /// The port of that name on each pod.
    Name(String),
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
}
