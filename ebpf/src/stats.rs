//! Per-CPU accounting, see [`weir_abi::stats`].

use weir_abi::stats::STATS_LEN;

/// The counters of this CPU.
pub type Counters = [u64; STATS_LEN as usize];

/// Counts one.
#[inline(always)]
pub fn bump(counters: *mut Counters, which: u32) {
    // SAFETY: the pointer comes from the map lookup of this very packet, and `which` is one of the
    // constants below `STATS_LEN`. Programs on one CPU do not interrupt each other.
    unsafe { *counters.cast::<u64>().add(which as usize) += 1 };
}
