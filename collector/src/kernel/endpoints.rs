//! The endpoints in the kernel: memory shared with the programs.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use weir_abi::endpoint::{
    EndpointEntry, EndpointSlot, SLOT_COPIES, SLOT_PROBES, SLOTS, slot_index,
};

use super::KernelError;

const MAP: &str = "ENDPOINTS";

/// The mapped array. The only one who writes it.
pub(super) struct Endpoints {
    slots: NonNull<EndpointSlot>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and `&mut` guards its writing.
unsafe impl Send for Endpoints {}
// SAFETY: nothing is done with a shared reference.
unsafe impl Sync for Endpoints {}

const BYTES: usize = size_of::<EndpointSlot>() * SLOTS as usize;

impl Endpoints {
    pub(super) fn new(map: &OwnedFd) -> Result<Self, KernelError> {
        // SAFETY: a fresh mapping of a map that has (at least) this size.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(address.cast()) {
            Some(slots) if address != libc::MAP_FAILED => Ok(Self { slots }),
            _ => {
                let source = io::Error::last_os_error();
                Err(KernelError::Map { map: MAP, operation: "map into memory", source })
            }
        }
    }

    /// Puts an endpoint in force, in one step.
    pub(super) fn set(&mut self, ifindex: u32, entry: &EndpointEntry) -> Result<(), KernelError> {
        let slot = self
            .find(ifindex, ifindex)
            .or_else(|| self.find(ifindex, 0))
            .ok_or(KernelError::MapFull { map: MAP })?;
        let next = (self.current(slot).load(Ordering::Relaxed) + 1) % SLOT_COPIES;
        // SAFETY: `slot` lies within the mapping, `next` within the slot; no packet that is judged
        // now looks at this copy.
        unsafe {
            (&raw mut (*slot).copies).cast::<EndpointEntry>().add(next as usize).write(*entry);
        };
        self.current(slot).store(next, Ordering::Release);
        self.ifindex(slot).store(ifindex, Ordering::Release);
        Ok(())
    }

    /// It is no error if there is none.
    pub(super) fn remove(&mut self, ifindex: u32) {
        if let Some(slot) = self.find(ifindex, ifindex) {
            self.ifindex(slot).store(0, Ordering::Release);
        }
    }

    /// What is in force, by interface.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, EndpointEntry)> {
        (0..SLOTS).filter_map(|index| {
            // SAFETY: below `SLOTS`.
            let slot = unsafe { self.slots.as_ptr().add(index as usize) };
            let ifindex = self.ifindex(slot).load(Ordering::Acquire);
            let current = self.current(slot).load(Ordering::Acquire) % SLOT_COPIES;
            // SAFETY: within the slot, and only this process writes copies.
            let entry = unsafe {
                (&raw const (*slot).copies).cast::<EndpointEntry>().add(current as usize).read()
            };
            (ifindex != 0).then_some((ifindex, entry))
        })
    }

    /// The first slot for `ifindex` that `holder` has.
    fn find(&self, ifindex: u32, holder: u32) -> Option<*mut EndpointSlot> {
        (0..SLOT_PROBES)
            // SAFETY: `slot_index` is below `SLOTS`.
            .map(|probe| unsafe { self.slots.as_ptr().add(slot_index(ifindex, probe) as usize) })
            .find(|&slot| self.ifindex(slot).load(Ordering::Relaxed) == holder)
    }

    fn ifindex(&self, slot: *mut EndpointSlot) -> &AtomicU32 {
        // SAFETY: within the mapping, aligned, and written only through atomics.
        unsafe { AtomicU32::from_ptr(&raw mut (*slot).ifindex) }
    }

    fn current(&self, slot: *mut EndpointSlot) -> &AtomicU32 {
        // SAFETY: as for `ifindex`.
        unsafe { AtomicU32::from_ptr(&raw mut (*slot).current) }
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nothing refers to it any more.
        unsafe { libc::munmap(self.slots.as_ptr().cast(), BYTES) };
    }
}
