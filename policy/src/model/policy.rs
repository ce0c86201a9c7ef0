//! NetworkPolicy with the API server's defaults applied.

use ipnet::IpNet;
pub use weir_flow::values::Direction;

use super::{Protocol, Selector};

/// A `networking.k8s.io/v1` NetworkPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NetworkPolicy {
    /// Its namespace, whose pods it selects from.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which pods of the namespace it applies to.
    pub pod_selector: Selector,
    /// `policyTypes` has Ingress.
    pub isolates_ingress: bool,
    /// `policyTypes` has Egress.
    pub isolates_egress: bool,
    /// Ingress rules as written, of no effect unless it isolates ingress.
    pub ingress: Vec<Rule>,
    /// Egress rules as written, of no effect unless it isolates egress.
    pub egress: Vec<Rule>,
    /// Denies are only reported.
    pub audit: bool,
    /// What it allows is logged where logging is delegated to policies.
    pub log_allows: bool,
}

impl NetworkPolicy {
    /// Whether the pods it selects are isolated in that direction.
    pub fn isolates(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.isolates_ingress,
            Direction::Egress => self.isolates_egress,
        }
    }

    /// The rules in force for that direction.
    pub fn rules(&self, direction: Direction) -> &[Rule] {
        match direction {
            Direction::Ingress if self.isolates_ingress => &self.ingress,
            Direction::Egress if self.isolates_egress => &self.egress,
            _ => &[],
        }
    }
}

/// One rule: allows its peers on its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// `from` or `to`; empty for everybody, also outside the cluster.
    pub peers: Vec<Peer>,
    /// Empty for every port of every protocol.
    pub ports: Vec<PortRule>,
}

/// Who may talk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Pods by labels.
    Pods {
        /// Their namespaces; none for the policy's own.
        namespaces: Option<Selector>,
        /// Which pods there; none for all.
        pods: Option<Selector>,
    },
    /// Addresses.
    Block(IpBlock),
}

/// `ipBlock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IpBlock {
    /// The block, host bits cleared.
    pub cidr: IpNet,
    /// Parts of it that this peer does not cover. Another peer may.
    pub except: Vec<IpNet>,
}

/// One of a rule's `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortRule {
    /// The protocol.
    pub protocol: Protocol,
    /// Which ports of it.
    pub port: Port,
}

/// Ports of one protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// Every port.
    All,
    /// From the first to the last, both included.
    Range(u16, u16),
    /// The number that the destination pod declares under this name.
    Named(String),
}
