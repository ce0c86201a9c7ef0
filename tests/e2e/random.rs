//! Random moments and bytes that can be had again.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Pseudo-random numbers, the same for the same seed.
pub(crate) struct Random(u64);

/// The seed in `WEIR_SEED`, or one from the time; printed.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("WEIR_SEED").ok().map(|seed| seed.parse().unwrap());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = given.unwrap_or_else(now);
    println!("WEIR_SEED={seed}");
    seed
}

impl Random {
    /// From the seed of the run.
    pub(crate) fn new() -> Self {
        Self(seed())
    }

    /// The numbers of one case of a run, whatever the others do.
    pub(crate) fn of(seed: u64, case: u64) -> Self {
        // The finaliser of SplitMix64: neighbours have nothing in common.
        let mut mixed = seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(mixed ^ (mixed >> 31))
    }

    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        range.start + (self.0 >> 33) % (range.end - range.start)
    }

    /// A number below that one.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.within(0..end as u64) as usize
    }

    /// One of them.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// So many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.within(0..256) as u8).collect()
    }

    /// Waits for some milliseconds.
    pub(crate) fn wait(&mut self, ms: Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.within(ms)));
    }
}
