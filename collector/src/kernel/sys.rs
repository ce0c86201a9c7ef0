//! The `bpf(2)` calls that aya has no wrapper for, and those that are simpler without it.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_DELETE_ELEM: libc::c_int = 3;
const MAP_LOOKUP_AND_DELETE_ELEM: libc::c_int = 21;
const MAP_LOOKUP_BATCH: libc::c_int = 24;
const MAP_LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;

/// `bpf_attr` of the calls about one element.
#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `bpf_attr` of the calls about many.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// Position of a walk through a map; the kernel keeps a bucket number in it.
pub(super) type Cursor = u64;

/// # Safety
/// `key` and `value` are of the map's sizes.
pub(super) unsafe fn update(
    map: BorrowedFd<'_>,
    key: *const u8,
    value: *const u8,
    flags: u64,
) -> io::Result<()> {
    // SAFETY: per this function's contract.
    unsafe { element(MAP_UPDATE_ELEM, map, key, value as u64, flags) }
}

/// # Safety
/// `key` is a key of the map.
pub(super) unsafe fn delete(map: BorrowedFd<'_>, key: *const u8) -> io::Result<()> {
    // SAFETY: per this function's contract.
    unsafe { element(MAP_DELETE_ELEM, map, key, 0, 0) }
}

/// # Safety
/// `value` has room for a value of the map, `key` is a key of it.
pub(super) unsafe fn lookup_and_delete(
    map: BorrowedFd<'_>,
    key: *const u8,
    value: *mut u8,
) -> io::Result<()> {
    // SAFETY: per this function's contract.
    unsafe { element(MAP_LOOKUP_AND_DELETE_ELEM, map, key, value as u64, 0) }
}

/// Reads (and with `delete` takes out) up to `count` elements from `cursor` on. Returns how many,
/// and whether the walk is over. `ENOSPC`: a single bucket holds more than `count`.
///
/// # Safety
/// `keys` and `values` have room for `count` elements of the map.
pub(super) unsafe fn walk(
    map: BorrowedFd<'_>,
    cursor: &mut Option<Cursor>,
    keys: *mut u8,
    values: *mut u8,
    count: usize,
    delete: bool,
) -> io::Result<(usize, bool)> {
    let mut next: Cursor = 0;
    let mut attr = Batch {
        in_batch: cursor.as_ref().map_or(0, |cursor| core::ptr::from_ref(cursor) as u64),
        out_batch: &raw mut next as u64,
        keys: keys as u64,
        values: values as u64,
        count: count as u32,
        map_fd: map.as_raw_fd() as u32,
        element_flags: 0,
        flags: 0,
    };
    let command = if delete { MAP_LOOKUP_AND_DELETE_BATCH } else { MAP_LOOKUP_BATCH };
    // SAFETY: per this function's contract; `attr` and what it points to outlive the call.
    let result = unsafe { bpf(command, &mut attr) };
    let done = match result {
        Ok(()) => false,
        // The end: what was read before it counts.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    *cursor = Some(next);
    Ok((attr.count as usize, done))
}

unsafe fn element(
    command: libc::c_int,
    map: BorrowedFd<'_>,
    key: *const u8,
    value: u64,
    flags: u64,
) -> io::Result<()> {
    let map_fd = map.as_raw_fd() as u32;
    let mut attr = Element { map_fd, padding: 0, key: key as u64, value, flags };
    // SAFETY: per the callers' contracts.
    unsafe { bpf(command, &mut attr) }
}

unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<()> {
    let attr_pointer = core::ptr::from_mut(attr);
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of `attr`.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr_pointer, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
