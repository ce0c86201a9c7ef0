//! What came of putting a cluster state in force.

use std::path::PathBuf;

use super::UpdateError;
use crate::kernel::KernelError;

/// A local pod under enforcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Index of its host-side interface.
    pub interface: u32,
    /// Its number in events.
    pub endpoint: u32,
}

/// A local pod that should be under enforcement and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unenforced {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Why not.
    pub why: String,
}

impl std::fmt::Display for Unenforced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}: {}", self.namespace, self.pod, self.why)
    }
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The policy set.
    pub revision: u64,
    /// Pods under it.
    pub enforced: Vec<Enforced>,
    /// Pods that should be.
    pub unenforced: Vec<Unenforced>,
}

/// Why a cluster state could not be put in force. The one before it still is.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The programs cannot be loaded.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The maps cannot be updated.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// The node's interfaces and routes cannot be read.
    #[error("the node's interfaces and routes cannot be read: {0}")]
    Network(#[from] std::io::Error),
    /// What the maps are about to be told cannot be written down.
    #[error(
        "the state directory cannot be written, the policy in force stays as it is: {}: {source}",
        .directory.display()
    )]
    Journal {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
