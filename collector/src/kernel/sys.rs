//! The `bpf(2)` calls that aya has no wrapper for, and those that are simpler without it.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_DELETE_ELEM: libc::c_int = 3;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const MAP_LOOKUP_AND_DELETE_ELEM: libc::c_int = 21;
const MAP_LOOKUP_BATCH: libc::c_int = 24;
const LINK_UPDATE: libc::c_int = 29;
const LINK_DETACH: libc::c_int = 34;

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

/// The beginning of `bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MapInfo {
    pub(super) kind: u32,
    /// No two maps since boot have the same.
    pub(super) id: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    /// Entries; bytes of a ring buffer.
    pub(super) max_entries: u32,
    pub(super) flags: u32,
}

pub(super) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    let mut attr = Info {
        fd: map.as_raw_fd() as u32,
        length: size_of::<MapInfo>() as u32,
        info: &raw mut info as u64,
    };
    // SAFETY: the kernel writes no more than `length` bytes to `info`, which outlives the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

/// `bpf_attr` of the calls about pinned objects.
#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `bpf_attr` of the calls that ask about an object.
#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    info: u64,
}

/// `bpf_attr` of `BPF_LINK_UPDATE`, of which `BPF_LINK_DETACH` takes the first word.
#[repr(C)]
struct Link {
    link_fd: u32,
    program_fd: u32,
    flags: u32,
    old_program_fd: u32,
}

/// `bpf_link_info` of a tcx link.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinkInfo {
    kind: u32,
    id: u32,
    pub(super) program: u32,
    padding: u32,
    /// 0 if the interface is gone.
    pub(super) ifindex: u32,
    pub(super) attach_type: u32,
    rest: [u64; 8],
}

/// Position of a walk through a map; the kernel keeps a bucket number in it, or a key of a trie,
/// for the longest of which there is room.
pub(super) type Cursor = [u64; 4];

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
pub(super) unsafe fn lookup(map: BorrowedFd<'_>, key: *const u8, value: *mut u8) -> io::Result<()> {
    // SAFETY: per this function's contract.
    unsafe { element(MAP_LOOKUP_ELEM, map, key, value as u64, 0) }
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

/// Reads up to `count` elements from `cursor` on. Returns how many,
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
) -> io::Result<(usize, bool)> {
    let mut next: Cursor = [0; 4];
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
    // SAFETY: per this function's contract; `attr` and what it points to outlive the call.
    let result = unsafe { bpf(MAP_LOOKUP_BATCH, &mut attr) };
    let done = match result {
        Ok(_) => false,
        // The end: what was read before it counts.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    *cursor = Some(next);
    Ok((attr.count as usize, done))
}

/// Opens what is pinned at a path.
pub(super) fn open_pinned(path: &CStr) -> io::Result<OwnedFd> {
    let mut attr = Object { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: `attr` and the path outlive the call.
    let fd = unsafe { bpf(OBJ_GET, &mut attr)? };
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the kernel says of a tcx link.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let mut attr = Info {
        fd: link.as_raw_fd() as u32,
        length: size_of::<LinkInfo>() as u32,
        info: &raw mut info as u64,
    };
    // SAFETY: `attr` and `info`, of the length it says, outlive the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(info)
}

/// Replaces a link's program in one step.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let (link_fd, program_fd) = (link.as_raw_fd() as u32, program.as_raw_fd() as u32);
    let mut attr = Link { link_fd, program_fd, flags: 0, old_program_fd: 0 };
    // SAFETY: `attr` outlives the call.
    unsafe { bpf(LINK_UPDATE, &mut attr).map(drop) }
}

/// Takes a link's program off its interface, whoever else holds the link.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = link.as_raw_fd() as u32;
    // SAFETY: `attr` outlives the call.
    unsafe { bpf(LINK_DETACH, &mut attr).map(drop) }
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
    unsafe { bpf(command, &mut attr).map(drop) }
}

unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_int> {
    let attr_pointer = core::ptr::from_mut(attr);
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of `attr`.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr_pointer, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
