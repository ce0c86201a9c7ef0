//! When the collectors of a made-up cluster read their counters, and what their clocks say.
//!
//! Each node has its own phase and a period a little longer than the interval, a clock some
//! hundred microseconds off, and a kernel whose tick is 4 ms or 1 ms.

const MILLISECOND: i64 = 1_000_000;
/// What the clocks differ by at most.
const SKEW: i64 = 2 * MILLISECOND;
/// What a period is longer than the interval at most: the reading itself, and waking up for it.
const DRIFT: i64 = 15 * MILLISECOND;

/// The clocks of all nodes.
#[derive(Clone, Debug)]
pub(super) struct Clocks {
    seed: u64,
    interval: i64,
}

/// One reading of a node's counters, by the node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// When the one before was.
    pub(super) previous: i64,
    /// When it is.
    pub(super) at: i64,
    /// When the next one is.
    pub(super) next: i64,
}

impl Clocks {
    pub(super) fn new(seed: u64, interval: i64) -> Self {
        Self { seed, interval: interval.max(1) }
    }

    /// A moment as the node's clock has it, never ahead of the true time.
    pub(super) fn local(&self, node: usize, time: i64) -> i64 {
        time - self.ahead(node)
    }

    /// How far true time is ahead of the node's clock.
    pub(super) fn ahead(&self, node: usize) -> i64 {
        self.chance(node, 1, SKEW)
    }

    /// A packet's time as rows of counters have it: by the node's tick, in whole milliseconds.
    pub(super) fn by_tick(&self, node: usize, local: i64) -> i64 {
        let tick = if node.is_multiple_of(2) { 4 * MILLISECOND } else { MILLISECOND };
        let noted = local - (local - self.chance(node, 2, tick)).rem_euclid(tick);
        whole_milliseconds(noted)
    }

    /// The node's last reading until `time`.
    pub(super) fn reading(&self, node: usize, time: i64) -> Reading {
        let time = self.local(node, time);
        let phase = self.chance(node, 3, self.interval);
        let mut number = (time - phase).div_euclid(self.period(node));
        if self.instant(node, number) > time {
            number -= 1;
        }
        Reading {
            previous: self.instant(node, number - 1),
            at: self.instant(node, number),
            next: self.instant(node, number + 1),
        }
    }

    fn instant(&self, node: usize, number: i64) -> i64 {
        let period = self.period(node);
        let jitter =
            self.chance(node, (number as u64).wrapping_add(5), (2 * MILLISECOND).min(period / 2));
        self.chance(node, 3, self.interval) + number * period + jitter
    }

    fn period(&self, node: usize) -> i64 {
        self.interval + MILLISECOND + self.chance(node, 4, DRIFT)
    }

    /// The same for the same arguments, below `bound`.
    fn chance(&self, node: usize, what: u64, bound: i64) -> i64 {
        let seed = self.seed ^ (node as u64).rotate_left(32) ^ what.rotate_left(48);
        super::random::Random::new(seed).below(bound.max(1) as usize) as i64
    }
}

/// Rounded down.
pub(super) fn whole_milliseconds(ns: i64) -> i64 {
    ns - ns.rem_euclid(MILLISECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_follow_each_other() {
        for interval in [0, 1_000, 5_000_000_000] {
            let clocks = Clocks::new(9, interval);
            for node in 0..20 {
                let mut time = 1_700_000_000_000_000_000;
                for _ in 0..50 {
                    let reading = clocks.reading(node, time);
                    assert!(reading.previous < reading.at && reading.at < reading.next);
                    assert!((reading.at..reading.next).contains(&clocks.local(node, time)));
                    let next = clocks.reading(node, reading.next + SKEW);
                    assert!(next.previous >= reading.at);
                    time = reading.next + SKEW;
                }
            }
        }
    }
}
