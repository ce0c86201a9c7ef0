//! Numbers, plain structs and lists as bytes. Nothing here leaves the machine that wrote it.

use crate::kernel::Plain;

pub(super) fn put<T: Plain>(value: T, into: &mut Vec<u8>) {
    into.extend_from_slice(value.bytes());
}

pub(super) fn put_bytes(bytes: &[u8], into: &mut Vec<u8>) {
    put(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}

pub(super) fn put_list<T>(
    list: &[T],
    into: &mut Vec<u8>,
    mut put_one: impl FnMut(&T, &mut Vec<u8>),
) {
    put(list.len() as u64, into);
    for item in list {
        put_one(item, into);
    }
}

pub(super) fn put_option<T>(
    option: Option<&T>,
    into: &mut Vec<u8>,
    put_one: impl FnOnce(&T, &mut Vec<u8>),
) {
    put(u64::from(option.is_some()), into);
    if let Some(value) = option {
        put_one(value, into);
    }
}

/// Reads what was put, in the same order; `None` if it was something else.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn get<T: Plain>(&mut self) -> Option<T> {
        let (value, rest) = self.0.split_at_checked(size_of::<T>())?;
        self.0 = rest;
        T::read(value)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.get::<u64>()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = self.get::<u64>()?;
        // Not reserved: the count may be nonsense.
        (0..count).map(|_| one(self)).collect()
    }

    pub(super) fn option<T>(
        &mut self,
        one: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.get::<u64>()? {
            0 => Some(None),
            1 => one(self).map(Some),
            _ => None,
        }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.get::<u64>()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}
