//! Why a process of a cluster does not start, or ends.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a process of a cluster does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum DistributedError {
    /// An address cannot be bound.
    #[error("cannot listen for {door} on {address}: {source}")]
    Bind {
        /// What would be served there.
        door: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Other machines would reach a door that asks nobody who it is.
    #[error(
        "other machines reach {0}, and whoever reaches it can read the whole store: set `tls`, or say \
         `open: true` (--open) if only machines that you trust reach it"
    )]
    Reach(SocketAddr),
    /// An address of another process cannot be read.
    #[error("the scheduler's address {0:?} is wrong: give HOST:PORT")]
    Address(String),
    /// The directory for rows on their way cannot be used.
    #[error("cannot use {} for rows on their way: {source}", path.display())]
    Work {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A setting is wrong.
    #[error("{0}")]
    Setting(String),
    /// A certificate or a key cannot be used.
    #[error("tls: {}: {cause}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] weir_store::OpenError),
    /// The library says so.
    #[error("{0}")]
    Library(String),
}

impl From<ballista_core::error::BallistaError> for DistributedError {
    fn from(error: ballista_core::error::BallistaError) -> Self {
        Self::Library(error.to_string())
    }
}

impl From<datafusion::error::DataFusionError> for DistributedError {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        Self::Library(error.to_string())
    }
}
