//! A number shared with the programs: it changes after each change to what policy is made of.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use super::KernelError;

const MAP: &str = "EPOCH";

/// The mapped number.
pub(super) struct Epoch {
    number: NonNull<AtomicU32>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is an atomic.
unsafe impl Send for Epoch {}
// SAFETY: as above.
unsafe impl Sync for Epoch {}

impl Epoch {
    /// Begins a new one: who wrote the maps before may have ended between a change and its epoch.
    pub(super) fn new(map: &OwnedFd) -> Result<Self, KernelError> {
        // SAFETY: a fresh mapping of a map that has (at least) this size.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<AtomicU32>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(address.cast()) {
            Some(number) if address != libc::MAP_FAILED => {
                let epoch = Self { number };
                epoch.advance();
                Ok(epoch)
            }
            _ => {
                let source = io::Error::last_os_error();
                Err(KernelError::Map { map: MAP, operation: "map into memory", source })
            }
        }
    }

    /// From here on the programs ask policy anew about what they knew before. After a change, also
    /// one that was made in part.
    pub(super) fn advance(&self) {
        // SAFETY: mapped in `new`, aligned, and written only through atomics.
        unsafe { self.number.as_ref() }.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nothing refers to it any more.
        unsafe { libc::munmap(self.number.as_ptr().cast(), size_of::<AtomicU32>()) };
    }
}
