//! From the kernel's clock to the calendar's.

/// How far `CLOCK_REALTIME` is ahead of `CLOCK_MONOTONIC`. [`follow`](Self::follow) it now and
/// then: the calendar's clock is set, the monotonic one is not.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    offset_ns: i64,
}

/// The tightest of these is taken.
const SAMPLES: usize = 5;
/// Two samples differ by some tens of nanoseconds although nobody has set a clock. What is less
/// than this is such noise, and would be noise in the time of every row.
const TOLERANCE_NS: u64 = 1_000_000;

impl MonotonicClock {
    /// Reads both clocks.
    pub fn sample() -> Self {
        let mut best = (u64::MAX, 0);
        for _ in 0..SAMPLES {
            let before = read(libc::CLOCK_MONOTONIC);
            let realtime = read(libc::CLOCK_REALTIME);
            let after = read(libc::CLOCK_MONOTONIC);
            let width = after.saturating_sub(before);
            if width < best.0 {
                best = (width, realtime as i64 - (before + width / 2) as i64);
            }
        }
        Self { offset_ns: best.1 }
    }

    /// Reads both clocks again; the offset stays unless the calendar's clock was set.
    pub fn follow(&mut self) {
        self.step_to(Self::sample());
    }

    /// As if the calendar's clock had been so far ahead when it was read.
    #[cfg(test)]
    pub(crate) fn ahead(self, ns: i64) -> Self {
        Self { offset_ns: self.offset_ns + ns }
    }

    fn step_to(&mut self, sampled: Self) {
        if sampled.offset_ns.abs_diff(self.offset_ns) > TOLERANCE_NS {
            *self = sampled;
        }
    }

    /// Nanoseconds since 1970 for a time as the kernel programs note it.
    pub fn to_utc_ns(self, monotonic_ns: u64) -> i64 {
        (monotonic_ns as i64).saturating_add(self.offset_ns)
    }

    /// Now, as the kernel programs would note it.
    pub fn now_ns() -> u64 {
        read(libc::CLOCK_MONOTONIC)
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills in `time`; these two clocks always exist.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_stable_until_the_clock_is_set() {
        let mut clock = MonotonicClock { offset_ns: 5_000_000_000 };
        clock.step_to(MonotonicClock { offset_ns: 5_000_000_070 });
        clock.step_to(MonotonicClock { offset_ns: 4_999_000_000 });
        assert_eq!(clock.to_utc_ns(1), 5_000_000_001);
        clock.step_to(MonotonicClock { offset_ns: 5_001_000_001 });
        assert_eq!(clock.to_utc_ns(1), 5_001_000_002);
        clock.step_to(MonotonicClock { offset_ns: -7 });
        assert_eq!(clock.to_utc_ns(7), 0);
    }
}
