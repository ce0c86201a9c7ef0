//! What a collector has to be told.

use std::path::PathBuf;
use std::time::Duration;

use crate::enforcer::{EnforceError, Established, Startup};
use crate::kernel::{DatapathOptions, KernelError};
use crate::logging::LogFile;
use crate::node_state::NodeStateError;
use crate::source::SourceError;
use crate::uplink::RelayAddressError;

/// How a collector runs. [`CollectorConfig::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct CollectorConfig {
    /// Name of the cluster, in every row.
    pub cluster: String,
    /// Name of the node whose pods are enforced, in every row.
    pub node: String,
    /// Directory of Kubernetes manifests.
    pub manifests: PathBuf,
    /// `http://HOST:PORT` or `unix:///PATH` of the relay.
    pub relay: String,
    /// Time between two reports of what connections did. Default 5 s.
    pub interval: Duration,
    /// Pods whose policy is not in the kernel yet. Default open.
    pub startup: Startup,
    /// Connections older than a policy. Default keep.
    pub established: Established,
    /// Denies are only reported. Default false.
    pub audit: bool,
    /// Where log records go if the cluster's NetworkLogging object asks for them. Default none.
    pub log_file: Option<LogFile>,
    /// Sizes of the kernel's maps.
    pub datapath: DatapathOptions,
    /// Directory of a BPF file system in which this node's programs, links and maps are pinned, so
    /// that they stay in force when the collector ends. Default none: they go with it.
    pub pins: Option<PathBuf>,
    /// Directory for what the node's next collector needs to know; pins need one. Default none.
    pub state: Option<PathBuf>,
    /// Bytes in memory kept until the relay has acknowledged them, without a state directory.
    /// Default 64 MiB.
    pub unacknowledged_bytes: usize,
    /// The same in the state directory, where there is one. Default 1 GiB.
    pub spool_bytes: u64,
    /// When what is in the state directory is made to outlive the machine. Default interval.
    pub spool_fsync: SpoolFsync,
    /// How long the relay has for the last acknowledgements when the collector is told to stop.
    /// Default 5 s.
    pub drain: Duration,
}

impl CollectorConfig {
    /// The defaults.
    pub fn new(
        cluster: impl Into<String>,
        node: impl Into<String>,
        manifests: impl Into<PathBuf>,
        relay: impl Into<String>,
    ) -> Self {
        Self {
            cluster: cluster.into(),
            node: node.into(),
            manifests: manifests.into(),
            relay: relay.into(),
            interval: Duration::from_secs(5),
            startup: Startup::default(),
            established: Established::default(),
            audit: false,
            log_file: None,
            datapath: DatapathOptions::default(),
            pins: None,
            state: None,
            unacknowledged_bytes: 64 << 20,
            spool_bytes: 1 << 30,
            spool_fsync: SpoolFsync::default(),
            drain: Duration::from_secs(5),
        }
    }
}

/// When the spool is synced. A collector that is killed loses nothing either way; this is about
/// machines that lose power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpoolFsync {
    /// When the system likes: what it had not written yet is lost, usually up to half a minute.
    Never,
    /// Every second: what came in the last one or two is lost.
    #[default]
    Interval,
    /// Each batch, before it counts: nothing is lost that left rings and tables.
    Batch,
}

/// Why a collector cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The relay's address is wrong.
    #[error(transparent)]
    Relay(#[from] RelayAddressError),
    /// The cluster state cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The kernel cannot be used.
    #[error(transparent)]
    Enforce(#[from] EnforceError),
    /// Another collector has this node.
    #[error(
        "a collector of node {node} runs already in this network namespace: there can be one for \
         each node; stop that one, or choose another --node"
    )]
    Running {
        /// The node.
        node: String,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] NodeStateError),
    /// Rings or tables cannot be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A setting has a value that cannot be.
    #[error("setting `{setting}` {problem}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The log file cannot be opened.
    #[error("cannot open the log file {}: {source}", path.display())]
    LogFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The system refuses a thread or a socket.
    #[error("cannot start {what}: {source}")]
    System {
        /// What was to be started.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A part ended although nobody asked it to.
    #[error("the {0} ended unexpectedly")]
    Ended(&'static str),
}
