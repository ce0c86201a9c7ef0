//! A BPF file system where there is none.

use std::{
    ffi::CString,
    fs::File,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::Path,
};

use super::{KernelError, files};

/// Where BPF file systems are mounted.
const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Sees to it that a directory is, or can be made, on a BPF file system. One is mounted only at
/// its usual place, and only if none is there.
pub(super) fn ensure(directory: &Path) -> Result<(), KernelError> {
    if is_bpf(directory) {
        return Ok(());
    }
    let point = Path::new(MOUNT_POINT);
    if !directory.starts_with(point) {
        return Err(KernelError::NoBpfFileSystem { path: directory.to_owned() });
    }
    let mounting = File::open(point).map_err(files::error("open", point))?;
    // SAFETY: an open descriptor. Released when it is closed.
    if unsafe { libc::flock(mounting.as_raw_fd(), libc::LOCK_EX) } < 0 {
        return Err(files::error("lock", point)(std::io::Error::last_os_error()));
    }
    // Another collector may have been quicker.
    if is_bpf(point) {
        return Ok(());
    }
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: strings that end with a zero.
    let mounted = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            c"/sys/fs/bpf".as_ptr(),
            c"bpf".as_ptr(),
            flags,
            c"mode=0700".as_ptr().cast(),
        )
    };
    if mounted < 0 {
        let source = std::io::Error::last_os_error();
        return match source.raw_os_error() {
            Some(libc::EPERM) => {
                Err(KernelError::NotPermitted { action: "mount a BPF file system at /sys/fs/bpf" })
            }
            _ => Err(files::error("mount a BPF file system at", point)(source)),
        };
    }
    tracing::info!("mounted a BPF file system at {MOUNT_POINT}");
    Ok(())
}

/// Whether a directory, or the closest one above it that exists, is on a BPF file system.
pub(super) fn is_bpf(directory: &Path) -> bool {
    let Some(existing) = directory.ancestors().find(|path| path.exists()) else { return false };
    let Ok(path) = CString::new(existing.as_os_str().as_bytes()) else { return false };
    // SAFETY: plain data, for which all zeros is a value.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a string that ends with a zero, and room for the answer.
    let asked = unsafe { libc::statfs(path.as_ptr(), &raw mut found) };
    asked == 0 && found.f_type as u64 == libc::BPF_FS_MAGIC as u64
}
