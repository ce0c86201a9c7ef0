//! A table of the kernel, as the scanner sees it.

use super::super::{
    KernelError,
    table::{Plain, Table},
};

/// The seam for tests without a kernel.
pub(crate) trait Entries<K, V>: Send {
    /// The kernel's number of the map.
    fn id(&self) -> Result<u32, KernelError>;
    /// Visits every entry there is throughout the walk exactly once.
    fn for_each(&self, visit: &mut dyn FnMut(&K, &V)) -> Result<(), KernelError>;
    /// What an entry holds now.
    fn get(&self, key: &K) -> Result<Option<V>, KernelError>;
    /// Removes an entry and returns what it held at that moment.
    fn take(&self, key: &K) -> Result<Option<V>, KernelError>;
    /// Adds an entry; false if there is one.
    fn insert_new(&self, key: &K, value: &V) -> Result<bool, KernelError>;
}

impl<K: Plain, V: Plain> Entries<K, V> for Table<K, V> {
    fn id(&self) -> Result<u32, KernelError> {
        Table::id(self)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&K, &V)) -> Result<(), KernelError> {
        Table::for_each(self, visit)
    }

    fn get(&self, key: &K) -> Result<Option<V>, KernelError> {
        Table::get(self, key)
    }

    fn take(&self, key: &K) -> Result<Option<V>, KernelError> {
        Table::take(self, key)
    }

    fn insert_new(&self, key: &K, value: &V) -> Result<bool, KernelError> {
        Table::insert_new(self, key, value)
    }
}

/// What became of an entry that was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal<V> {
    /// Gone, and all it counted was reported.
    Removed,
    /// It has counted on, or is not there any more.
    Stays,
    /// Gone with this, which was not reported, and another is in its place.
    Stray(V),
}

/// Removes an entry if it is as it was reported. Should it count in the very moment, it is put
/// back, unless another was quicker.
pub(super) fn remove<K, V: PartialEq>(
    entries: &dyn Entries<K, V>,
    key: &K,
    reported: &V,
) -> Result<Removal<V>, KernelError> {
    if entries.get(key)?.as_ref() != Some(reported) {
        return Ok(Removal::Stays);
    }
    let Some(taken) = entries.take(key)? else { return Ok(Removal::Stays) };
    if taken == *reported {
        Ok(Removal::Removed)
    } else if entries.insert_new(key, &taken)? {
        Ok(Removal::Stays)
    } else {
        Ok(Removal::Stray(taken))
    }
}
