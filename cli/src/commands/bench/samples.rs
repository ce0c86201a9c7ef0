//! Times that were measured one by one.

use std::fmt;
use std::time::Duration;

/// Sorted times.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    pub(super) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The least time that so many of a hundred do not exceed; none of none.
    pub(super) fn percentile(&self, of_hundred: usize) -> Option<Duration> {
        let rank = (self.0.len() * of_hundred).div_ceil(100);
        self.0.get(rank.max(1) - 1).copied()
    }

    /// A percentile in milliseconds, for a table.
    pub(super) fn ms(&self, of_hundred: usize) -> impl fmt::Display {
        match self.percentile(of_hundred) {
            Some(time) => format!("{:.1}", time.as_secs_f64() * 1e3),
            None => "–".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let samples = Samples::new((1..=200).rev().map(Duration::from_millis).collect());
        let percentile = |rank| samples.percentile(rank).unwrap().as_millis();
        assert_eq!((percentile(50), percentile(99), percentile(100)), (100, 198, 200));
        assert_eq!(Samples::new(vec![Duration::ZERO]).percentile(99), Some(Duration::ZERO));
        assert_eq!(Samples::default().percentile(50), None);
    }
}
