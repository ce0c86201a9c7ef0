//! How to enforce.

use std::path::PathBuf;

use crate::kernel::DatapathOptions;

/// What happens to the packets of a pod whose policy is not in the kernel yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Startup {
    /// They pass.
    #[default]
    Open,
    /// They are dropped.
    Closed,
}

/// What a policy change does to established connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Established {
    /// They go on.
    #[default]
    Keep,
    /// They are judged again.
    Cut,
}

/// How to enforce.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The node whose pods are enforced.
    pub node: String,
    /// Pods whose policy is not in the kernel yet.
    pub startup: Startup,
    /// Connections older than a policy.
    pub established: Established,
    /// Denies are only reported.
    pub audit: bool,
    /// Sizes of the kernel's maps.
    pub datapath: DatapathOptions,
    /// Where programs, links and maps are pinned, for this node alone. None: they go with the
    /// process.
    pub pins: Option<PathBuf>,
    /// The node's state directory, which goes with the pins. The caller sees to it that no other
    /// process uses it. None: the next process knows nothing of the numbers that this one gave out.
    pub state: Option<PathBuf>,
}
