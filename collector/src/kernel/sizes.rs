//! What the kernel has set aside for a map.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// How large a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSize {
    /// Its name, in lower case.
    pub map: String,
    /// Most entries it can have; of a ring, bytes.
    pub capacity: u64,
    /// Memory of the kernel, bytes.
    pub memory_bytes: u64,
}

/// Reads what `/proc` says of a map's descriptor (proc_pid_fdinfo(5)).
pub(super) fn map_size(name: &str, descriptor: BorrowedFd<'_>) -> io::Result<MapSize> {
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let text = std::fs::read_to_string(path)?;
    let field = |field: &str| {
        text.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok()).ok_or_else(
            || io::Error::new(io::ErrorKind::InvalidData, format!("fdinfo has no {field}")),
        )
    };
    Ok(MapSize {
        map: name.to_lowercase(),
        capacity: field("max_entries:")?,
        memory_bytes: field("memlock:")?,
    })
}
