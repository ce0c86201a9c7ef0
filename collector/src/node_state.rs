//! The directory in which a node's collector keeps what the next one needs.
//!
//! | file | what it is |
//! |---|---|
//! | `lock` | held by the collector that runs, with its process id |
//! | `numbers` | what the numbers in the kernel's maps mean: [`enforcer`](crate::enforcer) |
//! | `rows/` | which rows the relay does not have yet, and what they were made of: `journal` |

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Where the directories of nodes are if nobody says otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/weir/collector";

/// A node's directory. While this lives, no other collector uses it.
#[derive(Debug)]
pub struct NodeState {
    path: PathBuf,
    _lock: File,
}

/// Why a node's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeStateError {
    /// Another collector has it.
    #[error(
        "a collector of this node runs already{}: there can be one for each node; stop that one, \
         or choose another --node or --state (it holds {})",
        .process.map(|id| format!(" (process {id})")).unwrap_or_default(),
        .path.display()
    )]
    InUse {
        /// Its lock.
        path: PathBuf,
        /// Its process.
        process: Option<u32>,
    },
    /// It cannot be read or written.
    #[error("cannot use the state directory: {}: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl NodeState {
    /// Makes the directory if there is none, and locks it.
    ///
    /// # Errors
    /// Another collector has it, or it cannot be written.
    pub fn open(path: &Path) -> Result<Self, NodeStateError> {
        let failed = |at: &Path| {
            let path = at.to_owned();
            move |source| NodeStateError::Io { path, source }
        };
        std::fs::create_dir_all(path).map_err(failed(path))?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message.
                let _ = (&lock).take(16).read_to_string(&mut holder);
                let process = holder.trim().parse().ok();
                return Err(NodeStateError::InUse { path: lock_path, process });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
        }
        let noted = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        noted.map_err(failed(&lock_path))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory with all that is in it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(self) -> Result<(), NodeStateError> {
        let failed = |source| NodeStateError::Io { path: self.path.clone(), source };
        std::fs::remove_dir_all(&self.path).map_err(failed)?;
        if let Some(parent) = self.path.parent() {
            // Not empty while other nodes are there.
            let _ = std::fs::remove_dir(parent);
        }
        Ok(())
    }
}

const LOCK: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node");
        let first = NodeState::open(&path).unwrap();
        let error = NodeState::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        NodeState::open(&path).unwrap().remove().unwrap();
        assert!(!path.exists());
    }
}
