//! Who a relay is: what its log's folder says, from the first start on.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::WalError;

const FILE: &str = "relay.json";
const ASIDE: &str = "relay.json.new";
/// Held as long as a process uses the folder.
const LOCK: &str = "lock";
/// Where a machine's name is.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// Who a relay is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Name for people, of the machine at the first start.
    pub(crate) name: String,
    /// When the log began, nanoseconds since 1970: positions count up within it, and no other relay
    /// has it.
    pub(crate) epoch: u64,
}

/// A folder that is this process's alone.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) identity: Identity,
    pub(crate) path: PathBuf,
    _lock: File,
}

impl Home {
    /// Opens a folder, makes it and gives it an identity if it has none.
    pub(crate) fn open(path: &Path, now_ns: u64) -> Result<Self, WalError> {
        let open = |source| WalError::Open { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(open)?;
        let path = &path.canonicalize().map_err(open)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(open)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => WalError::InUse { path: path.to_owned() },
            TryLockError::Error(source) => open(source),
        })?;
        let file = path.join(FILE);
        let identity = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|source| WalError::Identity { path: file, source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                begin(path, now_ns).map_err(open)?
            }
            Err(error) => return Err(open(error)),
        };
        Ok(Self { identity, path: path.to_owned(), _lock: lock })
    }
}

impl Identity {
    /// Begins the names of this relay's files in the store.
    pub(crate) fn prefix(&self) -> String {
        format!("{:016x}-", self.epoch)
    }

    /// Begins the checksums of the log.
    pub(crate) fn salt(&self) -> u32 {
        (self.epoch ^ (self.epoch >> 32)) as u32
    }
}

fn begin(path: &Path, now_ns: u64) -> io::Result<Identity> {
    let name = fs::read_to_string(HOSTNAME).unwrap_or_default().trim().to_owned();
    let name = if name.is_empty() { "relay".to_owned() } else { name };
    // Two relays of a pair may begin in the same tick of a coarse clock.
    let epoch = now_ns ^ u64::from(std::process::id() & 0xff);
    let identity = Identity { name, epoch };
    let aside = path.join(ASIDE);
    let mut file = File::create(&aside)?;
    file.write_all(&serde_json::to_vec(&identity)?)?;
    file.sync_all()?;
    fs::rename(&aside, path.join(FILE))?;
    File::open(path)?.sync_all()?;
    if let Some(above) = path.parent() {
        File::open(above)?.sync_all()?;
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_for_ever_and_for_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/wal");
        let home = Home::open(&path, 1_700_000_000_000_000_000).unwrap();
        let second = Home::open(&path, 2).unwrap_err();
        assert!(matches!(second, WalError::InUse { .. }), "{second}");
        let identity = home.identity.clone();
        drop(home);
        assert_eq!(Home::open(&path, 2).unwrap().identity, identity);
        fs::write(path.join(FILE), "{").unwrap();
        let damaged = Home::open(&path, 2).unwrap_err().to_string();
        assert!(damaged.contains("relay.json"), "{damaged}");
    }
}
