//! Numbers for content.

use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Gives equal content the same number for as long as anybody holds it, and never gives a number
/// to two contents.
#[derive(Debug)]
pub(super) struct Interner<T> {
    ids: FxHashMap<Arc<T>, u32>,
    next: u32,
}

impl<T: Eq + Hash> Interner<T> {
    /// An empty one whose first number is `first`.
    pub(super) fn starting_at(first: u32) -> Self {
        Self { ids: FxHashMap::default(), next: first }
    }

    /// The content's number, and the content as it is shared.
    pub(super) fn intern(&mut self, content: T) -> (u32, Arc<T>) {
        if let Some((known, &id)) = self.ids.get_key_value(&content) {
            return (id, known.clone());
        }
        let (id, content) = (self.next, Arc::new(content));
        self.next += 1;
        self.ids.insert(content.clone(), id);
        (id, content)
    }

    /// Drops content that nobody else holds.
    pub(super) fn forget_unused(&mut self) {
        self.ids.retain(|content, _| Arc::strong_count(content) > 1);
    }

    /// How many contents it knows.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}
