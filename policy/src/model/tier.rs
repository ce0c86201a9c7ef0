//! Policies before and after NetworkPolicy: AdminNetworkPolicy, BaselineAdminNetworkPolicy and
//! ClusterNetworkPolicy, in one form.

use ipnet::IpNet;

use super::{Direction, PortRule, Selector};

/// A cluster-scoped policy whose rules are tried in order; the first that covers an attempt decides.
///
/// Within a tier, policies are tried by [`TierPolicy::precedence`]. It isolates nothing: what no
/// rule covers is left to the next tier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TierPolicy {
    /// What it was written as.
    pub kind: TierKind,
    /// Its name.
    pub name: String,
    /// When it is asked.
    pub tier: Tier,
    /// Lower ones are asked first. 0 to 1000; a BaselineAdminNetworkPolicy has 1001.
    pub priority: u32,
    /// Which pods it applies to.
    pub subject: TierPods,
    /// Denies are only reported.
    pub audit: bool,
    /// Ingress rules, in order.
    pub ingress: Vec<TierRule>,
    /// Egress rules, in order.
    pub egress: Vec<TierRule>,
}

impl TierPolicy {
    /// The rules of that direction.
    pub fn rules(&self, direction: Direction) -> &[TierRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Orders the policies of a cluster; the API leaves ties open, here the kind and the name break
    /// them.
    pub fn precedence(&self) -> (Tier, u32, TierKind, &str) {
        (self.tier, self.priority, self.kind, &self.name)
    }
}

/// The kinds of [`TierPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TierKind {
    /// `policy.networking.k8s.io/v1alpha2`.
    ClusterNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`.
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`; there is one, `default`.
    BaselineAdminNetworkPolicy,
}

impl TierKind {
    /// The word that manifests use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
        }
    }
}

/// When a [`TierPolicy`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Before NetworkPolicies.
    Admin,
    /// After them, and only about pods that none isolates.
    Baseline,
}

/// Pods of any namespace; never pods on their node's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TierPods {
    /// Their namespaces.
    pub namespaces: Selector,
    /// Which pods there; none for all.
    pub pods: Option<Selector>,
}

/// One rule of a [`TierPolicy`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TierRule {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// What it decides.
    pub action: Action,
    /// Whom it covers.
    pub peers: Vec<TierPeer>,
    /// Empty for every port of every protocol, and everything without ports.
    pub ports: Vec<PortRule>,
}

/// What a [`TierRule`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Allowed, and no later tier is asked.
    Allow,
    /// Denied.
    Deny,
    /// The next tier is asked, no later rule of this one.
    Pass,
}

/// Whom a [`TierRule`] covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TierPeer {
    /// Pods.
    Pods(TierPods),
    /// Addresses, those of pods and nodes among them; egress only.
    Network(IpNet),
    /// Nodes by their labels; egress only.
    Nodes(Selector),
}
