//! Connectivity tables: the files of `weir policy test`.
//!
//! A case is a cluster that changes step by step, and who should reach whom at each step. Unknown
//! keys are ignored, so that suites may carry notes of their own.

mod file;
mod simulate;

use std::fmt;
use std::net::IpAddr;

pub use simulate::{ProbeResult, SimulateOptions, WrongAttempt, simulate};

use crate::evaluate::Attempt;
use crate::model::{Cluster, Protocol};

/// Node of pods that name none.
pub const DEFAULT_NODE: &str = "n1";

/// A case, checked: every end of every probe exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it is about; empty if the file does not say.
    pub name: String,
    /// In order.
    pub steps: Vec<Step>,
}

/// The whole state of a cluster and what must be true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Namespaces, pods, policies of all kinds and nodes in force. Nodes have no addresses but those
    /// of their pods on the host network.
    pub cluster: Cluster,
    /// Who should reach whom.
    pub probes: Vec<Probe>,
}

/// Should one end reach the other?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who begins.
    pub from: End,
    /// With whom.
    pub to: End,
    /// Destination port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Whether the connection must come about.
    pub expect: bool,
    /// A pod to itself: skipped unless asked for, since such packets never leave the pod.
    pub loopback: bool,
    /// What the suite says decided; none if it says nothing.
    pub why: Option<Why>,
    /// What to try: one attempt for each address family that both ends have, or the one family
    /// that the probe asks for. Each must turn out as expected.
    pub attempts: Vec<Attempt>,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {} {}", self.from, self.to, self.protocol, self.port)
    }
}

/// One end of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// A pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A host outside the cluster.
    Outside(IpAddr),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Outside(address) => write!(f, "ip:{address}"),
        }
    }
}

/// What decided, as `namespace/name` for policies and `namespace/name[rule]` for rules; without
/// namespace for policies that have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Why {
    /// Policies that isolate the source.
    pub egress_isolated_by: Vec<String>,
    /// Rules that allow it there.
    pub egress_allowed_by: Vec<String>,
    /// The rule that denies it there, also if the deny is only reported.
    pub egress_denied_by: Vec<String>,
    /// Policies that isolate the destination.
    pub ingress_isolated_by: Vec<String>,
    /// Rules that allow it there.
    pub ingress_allowed_by: Vec<String>,
    /// The rule that denies it there, also if the deny is only reported.
    pub ingress_denied_by: Vec<String>,
}

/// A case file that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct CaseError {
    /// The field, such as `steps[0].probes[3].to`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Case {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, CaseError> {
        file::parse(text)
    }
}

#[cfg(test)]
mod tests;
