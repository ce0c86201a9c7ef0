//! From the kernel's clock to the calendar's.

/// How far `CLOCK_REALTIME` is ahead of `CLOCK_MONOTONIC`. Sample it anew now and then: the
/// calendar's clock is adjusted, the monotonic one is not.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    offset_ns: i64,
}

/// The tightest of these is taken.
const SAMPLES: usize = 5;

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
