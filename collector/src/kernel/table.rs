//! A hash map (or LPM trie) in the kernel, with typed keys and values.

use std::{
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use weir_abi::{
    Address,
    conntrack::{ClosedKey, Connection, ConnectionKey, Deny, DenyKey},
    event::VerdictEvent,
    policy::{CidrV4, CidrV6, PolicyKey, PolicyValue},
};

use super::{ConnectionTotals, DenyTotals, KernelError, Positions, sys};
use crate::ledger::Accounts;

/// A type that is nothing but its bytes.
///
/// # Safety
/// No padding, and every bit pattern is a value.
pub(crate) unsafe trait Plain: Copy {
    /// Its bytes.
    fn bytes(&self) -> &[u8] {
        // SAFETY: no padding.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// The value of these bytes; none if there are more or fewer than it has.
    fn read(bytes: &[u8]) -> Option<Self> {
        let whole = bytes.len() == size_of::<Self>();
        // SAFETY: of the size, and every bit pattern is a value.
        whole.then(|| unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}

macro_rules! plain {
    ($($type:ty),+ $(,)?) => {
        // SAFETY: integers, arrays of them, and structs whose layout is pinned without padding.
        $(unsafe impl Plain for $type {})+
    };
}

plain!(u32, Address, PolicyKey, PolicyValue, ConnectionKey, Connection);
plain!(u64, VerdictEvent, ConnectionTotals, DenyTotals, Positions);
plain!(Accounts, ClosedKey, Deny, DenyKey, TrieKey<CidrV4>, TrieKey<CidrV6>);

/// Key of an LPM trie.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct TrieKey<T> {
    pub(super) prefix_len: u32,
    pub(super) data: T,
}

/// The map.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    name: &'static str,
    fd: OwnedFd,
    types: PhantomData<fn(K) -> V>,
}

/// Insert or replace.
const ANY: u64 = 0;
/// Insert only.
const NO_EXIST: u64 = 1;

/// How many elements one call reads. More than a bucket ever holds.
const BATCH: usize = 4_096;

impl<K: Plain, V: Plain> Table<K, V> {
    pub(super) fn new(name: &'static str, fd: OwnedFd) -> Self {
        Self { name, fd, types: PhantomData }
    }

    pub(super) fn insert(&self, key: &K, value: &V) -> Result<(), KernelError> {
        self.update(key, value, ANY).map_err(|error| self.error("insert", error))
    }

    /// False: there is one.
    pub(super) fn insert_new(&self, key: &K, value: &V) -> Result<bool, KernelError> {
        match self.update(key, value, NO_EXIST) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(self.error("insert", error)),
        }
    }

    /// It is no error if there is none.
    pub(super) fn remove(&self, key: &K) -> Result<(), KernelError> {
        // SAFETY: a key of this map.
        let result = unsafe { sys::delete(self.fd.as_fd(), core::ptr::from_ref(key).cast()) };
        self.found(result, "remove").map(|_| ())
    }

    /// The kernel's number of the map.
    pub(super) fn id(&self) -> Result<u32, KernelError> {
        let info = sys::map_info(self.fd.as_fd());
        info.map(|info| info.id).map_err(|error| self.error("describe", error))
    }

    /// What an element holds now.
    pub(super) fn get(&self, key: &K) -> Result<Option<V>, KernelError> {
        let mut value = MaybeUninit::<V>::uninit();
        let key = core::ptr::from_ref(key).cast();
        // SAFETY: a key of this map, and room for a value.
        let result = unsafe { sys::lookup(self.fd.as_fd(), key, value.as_mut_ptr().cast()) };
        // SAFETY: the kernel has filled it in.
        Ok(self.found(result, "look up")?.then(|| unsafe { value.assume_init() }))
    }

    /// Removes an element and returns what it held at that moment.
    pub(super) fn take(&self, key: &K) -> Result<Option<V>, KernelError> {
        let mut value = MaybeUninit::<V>::uninit();
        // SAFETY: a key of this map, and room for a value.
        let result = unsafe {
            sys::lookup_and_delete(
                self.fd.as_fd(),
                core::ptr::from_ref(key).cast(),
                value.as_mut_ptr().cast(),
            )
        };
        // SAFETY: the kernel has filled it in.
        Ok(self.found(result, "take")?.then(|| unsafe { value.assume_init() }))
    }

    /// Visits every element there is throughout the walk exactly once.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&K, &V)) -> Result<(), KernelError> {
        let mut keys: Vec<MaybeUninit<K>> = Vec::with_capacity(BATCH);
        let mut values: Vec<MaybeUninit<V>> = Vec::with_capacity(BATCH);
        let mut cursor = None;
        loop {
            // SAFETY: both have the capacity.
            let result = unsafe {
                sys::walk(
                    self.fd.as_fd(),
                    &mut cursor,
                    keys.as_mut_ptr().cast(),
                    values.as_mut_ptr().cast(),
                    BATCH,
                )
            };
            let (count, done) = result.map_err(|error| self.error("walk", error))?;
            // SAFETY: the kernel has filled in as many, and never more than the capacity.
            unsafe {
                keys.set_len(count.min(BATCH));
                values.set_len(count.min(BATCH));
            }
            for (key, value) in keys.iter().zip(&values) {
                // SAFETY: as above.
                unsafe { visit(key.assume_init_ref(), value.assume_init_ref()) };
            }
            if done {
                return Ok(());
            }
        }
    }

    fn update(&self, key: &K, value: &V, flags: u64) -> io::Result<()> {
        let (key, value) = (core::ptr::from_ref(key).cast(), core::ptr::from_ref(value).cast());
        // SAFETY: a key and a value of this map.
        unsafe { sys::update(self.fd.as_fd(), key, value, flags) }
    }

    fn found(&self, result: io::Result<()>, what: &'static str) -> Result<bool, KernelError> {
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(self.error(what, error)),
        }
    }

    fn error(&self, operation: &'static str, source: io::Error) -> KernelError {
        match source.raw_os_error() {
            Some(libc::E2BIG | libc::ENOSPC) if operation == "insert" => {
                KernelError::MapFull { map: self.name }
            }
            Some(libc::EPERM) => KernelError::NotPermitted { action: "use BPF maps" },
            _ => KernelError::Map { map: self.name, operation, source },
        }
    }
}
