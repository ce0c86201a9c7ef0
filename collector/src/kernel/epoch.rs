//! What holds for all endpoints, shared with the programs: a number that changes after each change to
//! what policy is made of, and until when connections without an entry are adopted.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use weir_abi::{conntrack::TIMEOUT_TCP_NS, endpoint::Epoch as Shared};

use super::{KernelError, MonotonicClock};

const MAP: &str = "EPOCH";

/// The mapped element.
#[derive(Debug)]
pub(super) struct Epoch {
    shared: NonNull<Shared>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is used through atomics.
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
                size_of::<Shared>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(address.cast()) {
            Some(shared) if address != libc::MAP_FAILED => {
                let epoch = Self { shared };
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
        let number = unsafe { AtomicU32::from_ptr(&raw mut (*self.shared.as_ptr()).number) };
        number.fetch_add(1, Ordering::SeqCst);
    }

    /// Entries of connections have given way to others. Those that lost theirs are let go on for as
    /// long as they may be silent.
    pub(super) fn adopt(&self) {
        let until_ns = MonotonicClock::now_ns().saturating_add(TIMEOUT_TCP_NS);
        // SAFETY: as for `advance`.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.shared.as_ptr()).adopt_until_ns) }
            .fetch_max(until_ns, Ordering::Relaxed);
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nothing refers to it any more.
        unsafe { libc::munmap(self.shared.as_ptr().cast(), size_of::<Shared>()) };
    }
}
