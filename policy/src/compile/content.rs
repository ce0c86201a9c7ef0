//! Numbers for content. They outlive the process, since content is known by its digest.

use std::fmt::{self, Debug, Write};
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Raised when the same content compiles to other entries than before, so that no number of an
/// earlier release stands for it.
const MEANING: u32 = 1;

/// 128 bits of SHA-256: two contents that share them will not be met.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Digest(u64, u64);

impl Digest {
    /// Of content of some kind, by its debug text: every field and variant has its name there and
    /// every string is quoted, so that no two contents share a text.
    pub(super) fn of(kind: &str, content: &impl Debug) -> Self {
        let mut hasher = Hasher(Sha256::new());
        // Writing into a hash does not fail.
        let _ = write!(hasher, "{MEANING} {kind} {content:?}");
        let bytes: [u8; 32] = hasher.0.finalize().into();
        let half = |half: usize| {
            bytes[half * 8..][..8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
        };
        Self(half(0), half(1))
    }
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

/// Content and its number.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    pub(super) id: u32,
    pub(super) content: T,
}

/// Gives content the same number for as long as anybody holds it, and never gives a number to two
/// contents.
#[derive(Debug)]
pub(super) struct Interner<T> {
    known: FxHashMap<Digest, Slot<T>>,
    next: u32,
    new: Vec<(Digest, u32)>,
}

#[derive(Debug)]
enum Slot<T> {
    /// Given by an earlier process, not asked for since.
    Number(u32),
    Shared(Arc<Numbered<T>>),
}

impl<T> Interner<T> {
    /// One that knows numbers given before; its next number is `next`.
    pub(super) fn resume(next: u32, known: &[(Digest, u32)]) -> Self {
        let known = known.iter().map(|&(digest, id)| (digest, Slot::Number(id))).collect();
        Self { known, next, new: Vec::new() }
    }

    /// The content of that digest with its number; it is made if nobody holds it.
    pub(super) fn intern(
        &mut self,
        digest: Digest,
        content: impl FnOnce() -> T,
    ) -> Arc<Numbered<T>> {
        let id = match self.known.get(&digest) {
            Some(Slot::Shared(shared)) => return shared.clone(),
            Some(Slot::Number(id)) => *id,
            None => {
                let id = self.next;
                self.next += 1;
                self.new.push((digest, id));
                id
            }
        };
        let shared = Arc::new(Numbered { id, content: content() });
        self.known.insert(digest, Slot::Shared(shared.clone()));
        shared
    }

    /// Drops content that nobody else holds. Its numbers are not used again.
    pub(super) fn forget_unused(&mut self) {
        self.known.retain(|_, slot| match slot {
            Slot::Number(_) => false,
            Slot::Shared(shared) => Arc::strong_count(shared) > 1,
        });
    }

    /// The number that content would have that has none yet.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// What was given out since the last call.
    pub(super) fn take_new(&mut self) -> Vec<(Digest, u32)> {
        std::mem::take(&mut self.new)
    }

    /// All that is known, in no order.
    pub(super) fn known(&self) -> impl Iterator<Item = (Digest, u32)> {
        self.known.iter().map(|(digest, slot)| match slot {
            Slot::Number(id) => (*digest, *id),
            Slot::Shared(shared) => (*digest, shared.id),
        })
    }
}

/// Digests of objects that are seen again and again.
#[derive(Debug)]
pub(super) struct Digests<T> {
    kind: &'static str,
    known: FxHashMap<T, (Digest, bool)>,
}

impl<T: Clone + Debug + Eq + Hash> Digests<T> {
    pub(super) fn of_kind(kind: &'static str) -> Self {
        Self { kind, known: FxHashMap::default() }
    }

    pub(super) fn get(&mut self, object: &T) -> Digest {
        if let Some((digest, used)) = self.known.get_mut(object) {
            *used = true;
            return *digest;
        }
        let digest = Digest::of(self.kind, object);
        self.known.insert(object.clone(), (digest, true));
        digest
    }

    /// Drops those that nobody asked for since the last call.
    pub(super) fn forget_unused(&mut self) {
        self.known.retain(|_, (_, used)| std::mem::take(used));
    }
}
