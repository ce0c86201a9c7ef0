//! An axis of time: buckets of equal width that begin at whole multiples of it since 1970.

use weir_flow::schema::TimestampNs;

use super::error::ApiError;
use crate::functions::convert::bucket_ns;

/// Most buckets.
const MAX_BUCKETS: usize = 2_000;
const MS: i64 = 1_000_000;
const S: i64 = 1_000 * MS;
const M: i64 = 60 * S;
const H: i64 = 60 * M;
const D: i64 = 24 * H;
/// Widths that people read easily.
const WIDTHS_NS: [i64; 28] = [
    MS,
    10 * MS,
    100 * MS,
    S,
    2 * S,
    5 * S,
    10 * S,
    15 * S,
    30 * S,
    M,
    2 * M,
    5 * M,
    10 * M,
    15 * M,
    30 * M,
    H,
    2 * H,
    3 * H,
    6 * H,
    12 * H,
    D,
    2 * D,
    7 * D,
    14 * D,
    28 * D,
    56 * D,
    112 * D,
    364 * D,
];

/// The buckets that meet a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Begin of the first.
    pub(super) begin_ns: i64,
    pub(super) step_ns: i64,
    /// How many.
    pub(super) buckets: usize,
}

impl Axis {
    /// For `since_ns..until_ns`, which is not empty: with buckets of width `step`, or about as many as said.
    pub(super) fn new(
        since_ns: i64,
        until_ns: i64,
        step: Option<&str>,
        buckets: usize,
    ) -> Result<Self, ApiError> {
        let length_ns = until_ns.saturating_sub(since_ns);
        let step_ns = match step {
            Some(step) => bucket_ns(step).ok_or_else(|| {
                ApiError::invalid(format!("step={step:?} is no width: write 10s, 1m, 1h or 1d"))
            })?,
            None => {
                let least = length_ns.div_euclid(i64::try_from(buckets).unwrap_or(i64::MAX).max(1));
                let whole_days =
                    least.div_euclid(364 * D).saturating_add(1).saturating_mul(364 * D);
                WIDTHS_NS.into_iter().find(|width| *width >= least).unwrap_or(whole_days)
            }
        };
        let begin_ns = since_ns.saturating_sub(since_ns.rem_euclid(step_ns));
        let last = until_ns.saturating_sub(1).saturating_sub(begin_ns).div_euclid(step_ns);
        let count = usize::try_from(last).unwrap_or(usize::MAX).saturating_add(1);
        if count > MAX_BUCKETS {
            return Err(ApiError::invalid(format!(
                "that is {count} buckets, {MAX_BUCKETS} are possible: make step longer, or the time \
                 shorter"
            )));
        }
        Ok(Self { begin_ns, step_ns, buckets: count })
    }

    /// The bucket of a time; the nearest one if it is in none.
    pub(super) fn bucket(&self, time_ns: i64) -> usize {
        let index = time_ns.saturating_sub(self.begin_ns).div_euclid(self.step_ns).max(0);
        usize::try_from(index).unwrap_or(usize::MAX).min(self.buckets.saturating_sub(1))
    }

    /// Where each begins.
    pub(super) fn times(&self) -> Vec<TimestampNs> {
        let begins = (0_i64..).map(|index| self.begin_ns.saturating_add(index * self.step_ns));
        begins.take(self.buckets).map(TimestampNs).collect()
    }

    /// The width in seconds.
    pub(super) fn step_seconds(&self) -> f64 {
        self.step_ns as f64 / S as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_said_or_chosen() {
        let axis = |since: i64, until: i64, step, buckets| Axis::new(since, until, step, buckets);
        let hour = axis(90 * S, H + 90 * S, None, 60).unwrap();
        assert_eq!(hour, Axis { begin_ns: M, step_ns: M, buckets: 61 });
        assert_eq!((hour.bucket(M), hour.bucket(2 * M - 1), hour.bucket(2 * M)), (0, 0, 1));
        assert_eq!((hour.bucket(0), hour.bucket(i64::MAX)), (0, 60));
        assert_eq!(hour.times().len(), 61);
        assert_eq!(axis(0, D, None, 60).unwrap().step_ns, 30 * M);
        assert_eq!(axis(0, 1, None, 60).unwrap().buckets, 1);
        assert_eq!(axis(0, 10 * S, Some("2s"), 1).unwrap().buckets, 5);
        // Times may be far apart.
        assert!(axis(i64::MIN, i64::MAX, None, 2_000).is_ok());
        for wrong in ["", "1", "0s", "-5s", "1x"] {
            assert!(axis(0, D, Some(wrong), 1).is_err(), "{wrong}");
        }
        let many = axis(0, D, Some("1s"), 1).unwrap_err().into_message();
        assert!(many.contains("86400 buckets"), "{many}");
    }
}
