//! Where the cluster's state comes from.
//!
//! One seam: a [`ClusterSource`] sends whole states, each replacing the one before. The first real
//! source is a directory of manifests.

mod assemble;
mod files;
mod manifests;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_policy::Cluster;

pub use manifests::ManifestDirectory;

/// Manifests by kind, namespace and name.
pub type PolicyTexts = BTreeMap<(String, String, String), Arc<str>>;

/// A cluster at a moment, and what could not be read of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// What could be read.
    pub cluster: Arc<Cluster>,
    /// Of each policy the text that describes it, by kind, namespace and name.
    pub texts: Arc<PolicyTexts>,
    /// What could not, in words that say where.
    pub problems: Vec<String>,
}

/// The newest state; none before the first.
pub type States = watch::Sender<Option<ClusterState>>;

/// Where cluster states come from.
pub trait ClusterSource: Send + 'static {
    /// Sends the state now and every later one, until told to stop.
    ///
    /// # Errors
    /// The source cannot be used at all. What can be repaired while running is a problem of a state.
    fn run(
        self,
        states: States,
        shutdown: CancellationToken,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;
}

/// A source that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The directory cannot be read.
    #[error("cannot read the manifest directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
