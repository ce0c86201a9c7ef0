//! Removing all that a node's collector has left.

use std::fmt;
use std::path::Path;

use super::CollectorError;
use crate::kernel::{self, Removed};
use crate::node_state::NodeState;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uninstalled {
    /// From the kernel.
    pub kernel: Removed,
    /// The state directory was there.
    pub state: bool,
}

impl fmt::Display for Uninstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return write!(f, "nothing was installed");
        }
        let Removed { interfaces, generations } = &self.kernel;
        write!(f, "removed the programs of {interfaces} interfaces")?;
        match generations.as_slice() {
            [] => write!(f, ", no maps")?,
            some => write!(f, ", the maps of {}", some.join(" and "))?,
        }
        write!(
            f,
            "{}",
            if self.state { " and the state directory" } else { "; there was no state" }
        )
    }
}

/// Removes programs, links, maps and state of a node, of whichever version and whether its
/// collector ended orderly or not. Pods' interfaces are those of this thread's network namespace.
///
/// # Errors
/// A collector of the node runs, or something cannot be removed.
pub fn uninstall(pins: Option<&Path>, state: Option<&Path>) -> Result<Uninstalled, CollectorError> {
    let state = state.filter(|state| state.exists()).map(NodeState::open).transpose()?;
    let kernel = pins.map(kernel::uninstall).transpose()?.unwrap_or_default();
    let had_state = state.is_some();
    if let Some(state) = state {
        state.remove()?;
    }
    Ok(Uninstalled { kernel, state: had_state })
}
