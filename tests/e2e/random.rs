//! Random moments that can be had again.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Pseudo-random numbers, the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    /// From the seed in `WEIR_SEED`, or from the time; prints it.
    pub(crate) fn new() -> Self {
        let given = std::env::var("WEIR_SEED").ok().map(|seed| seed.parse().unwrap());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = given.unwrap_or_else(now);
        println!("WEIR_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        range.start + (self.0 >> 33) % (range.end - range.start)
    }

    /// Waits for some milliseconds.
    pub(crate) fn wait(&mut self, ms: Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.within(ms)));
    }
}
