//! Counters that several CPUs bump at once.

use core::intrinsics::{AtomicOrdering, atomic_or, atomic_xadd};

/// Adds to a counter in a map.
///
/// # Safety
/// `counter` points into a live map value.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, value: u64) {
    // SAFETY: per this function's contract. Relaxed is the form that is one BPF instruction.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, value) };
}

/// Sets bits of an aligned 64-bit word in a map.
///
/// # Safety
/// `word` points into a live map value.
#[inline(always)]
pub unsafe fn or(word: *mut u64, bits: u64) {
    // SAFETY: per this function's contract.
    unsafe { atomic_or::<u64, u64, { AtomicOrdering::Relaxed }>(word, bits) };
}
