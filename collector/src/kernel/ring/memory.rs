//! A kernel ring buffer in memory: one page with the reader's position, one with the writers', and
//! the data. The kernel offers the data twice in a row, so that a record that wraps around lies in
//! one piece; here it is mapped once, since each mapping of a page counts as memory of the process.

use std::{
    io,
    num::NonZeroUsize,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use super::{super::sys, KernelError, record::HEADER_LEN};

/// What a reader needs of a ring; the seam for tests without a kernel. Positions count bytes since
/// the ring was made and never wrap.
pub(crate) trait RingMemory: Send + Sync {
    /// Up to where the kernel may write again.
    fn released(&self) -> u64;
    /// Lets the kernel write up to there again.
    fn release(&self, position: u64);
    /// Up to where records were begun.
    fn written(&self) -> u64;
    /// The header of the record that begins there: between `released` and `written`.
    fn header(&self, position: u64) -> u32;
    /// Copies the bytes of that record after its header.
    fn copy(&self, position: u64, into: &mut [u8]);
    /// Bytes of data.
    fn size(&self) -> u64;
    /// The kernel's number of the map.
    fn id(&self) -> io::Result<u32>;
}

/// Both mappings of a ring buffer map, and the map.
#[derive(Debug)]
pub(crate) struct Mapped {
    map: OwnedFd,
    /// Of one page, which this process writes.
    consumer: Mapping,
    /// Read-only: a page, then the data.
    producer: Mapping,
    page_len: usize,
    data_len: usize,
}

impl Mapped {
    pub(crate) fn open(name: &'static str, map: OwnedFd) -> Result<Self, KernelError> {
        let error = |operation| move |source| KernelError::Map { map: name, operation, source };
        let info = sys::map_info(map.as_fd()).map_err(error("describe"))?;
        let data_len = info.max_entries as usize;
        // SAFETY: asks, changes nothing.
        let page_len = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page_len = usize::try_from(page_len).unwrap_or(4_096);
        if !data_len.is_power_of_two() || data_len < page_len {
            return Err(error("describe")(io::ErrorKind::InvalidData.into()));
        }
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        let consumer =
            Mapping::new(map.as_fd(), page_len, writable, 0).map_err(error("map into memory"))?;
        let producer = Mapping::new(map.as_fd(), page_len + data_len, libc::PROT_READ, page_len)
            .map_err(error("map into memory"))?;
        Ok(Self { map, consumer, producer, page_len, data_len })
    }

    /// Where the data that `position` stands for lies, and how many bytes do before the end.
    fn data(&self, position: u64) -> (NonNull<u8>, usize) {
        let offset = position as usize & (self.data_len - 1);
        // SAFETY: offset < data_len, and so much is mapped after the page.
        (unsafe { self.producer.start.add(self.page_len + offset) }, self.data_len - offset)
    }
}

impl RingMemory for Mapped {
    fn released(&self) -> u64 {
        // SAFETY: the page begins with this number, and both sides use it as an atomic.
        unsafe { self.consumer.start.cast::<AtomicUsize>().as_ref() }.load(Ordering::Acquire) as u64
    }

    fn release(&self, position: u64) {
        // SAFETY: as above. What was read before is read before the kernel overwrites it.
        let released = unsafe { self.consumer.start.cast::<AtomicUsize>().as_ref() };
        released.store(position as usize, Ordering::Release);
    }

    fn written(&self) -> u64 {
        // SAFETY: likewise, in the first page of the other mapping.
        unsafe { self.producer.start.cast::<AtomicUsize>().as_ref() }.load(Ordering::Acquire) as u64
    }

    fn header(&self, position: u64) -> u32 {
        // SAFETY: records begin on a multiple of eight, so that these four bytes do not wrap around,
        // with this number, which the kernel writes atomically, and last when it is done with the
        // record.
        unsafe { self.data(position).0.cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire)
    }

    fn copy(&self, position: u64, into: &mut [u8]) {
        assert!(into.len() <= self.data_len, "no record is longer than the ring");
        let (start, len) = self.data(position + HEADER_LEN as u64);
        let (first, rest) = into.split_at_mut(into.len().min(len));
        let begin = self.data(0).0;
        // SAFETY: both parts are mapped, and the kernel leaves a record alone that is submitted and
        // not released.
        unsafe {
            core::ptr::copy_nonoverlapping(start.as_ptr(), first.as_mut_ptr(), first.len());
            core::ptr::copy_nonoverlapping(begin.as_ptr(), rest.as_mut_ptr(), rest.len());
        }
    }

    fn size(&self) -> u64 {
        self.data_len as u64
    }

    fn id(&self) -> io::Result<u32> {
        Ok(sys::map_info(self.map.as_fd())?.id)
    }
}

impl AsFd for Mapped {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Part of a map in this process's memory.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: NonZeroUsize,
}

// SAFETY: memory that belongs to no thread; `Mapped` says how it is used.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(
        map: BorrowedFd<'_>,
        len: usize,
        protection: libc::c_int,
        offset: usize,
    ) -> io::Result<Self> {
        let len = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping, wherever the kernel likes.
        let start = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                len.get(),
                protection,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and nothing borrows it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len.get()) };
    }
}
