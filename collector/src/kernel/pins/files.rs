//! Directories in a BPF file system, whose names have no dots.

use std::{
    fs::{File, TryLockError},
    io::{self, ErrorKind},
    path::Path,
};

use super::KernelError;

/// Longest name of a node that is kept as it is.
const LONGEST: usize = 180;

/// A node's name as the name of a file: letters, digits and `-` are kept, others become `_` and
/// their code in hexadecimal digits. Different nodes have different names.
pub fn safe_name(node: &str) -> String {
    let mut name = String::with_capacity(node.len());
    for byte in node.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("_{byte:02x}"));
        }
    }
    if name.len() > LONGEST {
        name.truncate(LONGEST);
        name.push_str(&format!("__{:016x}", super::shape::digest(node.as_bytes())));
    }
    name
}

pub(super) fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KernelError {
    let path = path.to_owned();
    move |source| match source.kind() {
        ErrorKind::PermissionDenied => KernelError::NotPermitted { action: "use pinned objects" },
        _ => KernelError::Pins { action, path, source },
    }
}

pub(super) fn make(directory: &Path) -> Result<(), KernelError> {
    std::fs::create_dir_all(directory).map_err(error("make", directory))
}

/// Locks a directory for as long as the file lives, so that no other process uses it, whichever
/// state directory it has.
pub(super) fn lock(directory: &Path) -> Result<File, KernelError> {
    let file = File::open(directory).map_err(error("open", directory))?;
    file.try_lock().map_err(|failed| match failed {
        TryLockError::WouldBlock => KernelError::PinsInUse { path: directory.to_owned() },
        TryLockError::Error(source) => error("lock", directory)(source),
    })?;
    Ok(file)
}

/// Removes a file or a directory with all that is in it. It is no error if there is none.
pub(super) fn remove(path: &Path) -> Result<(), KernelError> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(missing) if missing.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(error("remove", path)),
    }
}

/// Names of what is in a directory; none if there is no directory.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, KernelError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(other) => return Err(error("read", directory)(other)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(error("read", directory))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::safe_name;

    #[test]
    fn names_of_nodes_are_safe_and_stay_different() {
        assert_eq!(safe_name("node-1"), "node-1");
        assert_eq!(safe_name("ip-10-0-0-1.ec2.internal"), "ip-10-0-0-1_2eec2_2einternal");
        assert_ne!(safe_name("a_2eb"), safe_name("a.b"));
        assert_eq!(safe_name("../x"), "_2e_2e_2fx");
        let (a, b) = (format!("{}a", ".".repeat(252)), format!("{}b", ".".repeat(252)));
        assert_ne!(safe_name(&a), safe_name(&b));
        assert!(safe_name(&a).len() < 255);
    }
}
