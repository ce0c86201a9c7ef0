//! The first of many times.

use datafusion::logical_expr::Operator;

/// Which rows are wanted.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Wanted {
    /// What times have to be to that of the last one.
    pub(super) order: Operator,
    pub(super) rows: usize,
}

impl Wanted {
    /// A time as a key, or the other way around: what is wanted first is least.
    pub(in crate::engine) fn key(self, time_ns: i64) -> i64 {
        if self.order == Operator::GtEq { !time_ns } else { time_ns }
    }

    pub(in crate::engine) fn rows(self) -> usize {
        self.rows
    }

    /// Whether the latest are wanted, not the earliest.
    pub(in crate::engine) fn is_latest(self) -> bool {
        self.order == Operator::GtEq
    }
}

/// The least of many keys.
#[derive(Debug)]
pub(in crate::engine) struct First {
    wanted: Wanted,
    found: Vec<i64>,
    most: i64,
}

impl First {
    pub(in crate::engine) fn new(wanted: Wanted) -> Self {
        Self { wanted, found: Vec::new(), most: i64::MAX }
    }

    pub(in crate::engine) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// No key above it is among those that are wanted.
    pub(in crate::engine) fn most(&self) -> i64 {
        self.most
    }

    pub(in crate::engine) fn add(&mut self, key: i64) {
        if key > self.most {
            return;
        }
        self.found.push(key);
        if self.found.len() >= 2 * self.wanted.rows {
            self.shrink();
        }
    }

    /// Adds those of another.
    pub(super) fn join(&mut self, other: Self) {
        other.found.into_iter().for_each(|key| self.add(key));
    }

    /// Forgets all that are not wanted.
    pub(in crate::engine) fn shrink(&mut self) {
        let rows = self.wanted.rows;
        if self.found.len() >= rows {
            self.most = *self.found.select_nth_unstable(rows - 1).1;
            self.found.truncate(rows);
        }
    }

    /// The time of the last that is wanted; `None` if there are not so many.
    pub(super) fn last(mut self) -> Option<i64> {
        self.shrink();
        (self.found.len() == self.wanted.rows).then(|| self.wanted.key(self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many_times_are_found() {
        for (order, wanted) in [(Operator::GtEq, 990), (Operator::LtEq, 9)] {
            let wanted_rows = Wanted { order, rows: 10 };
            let mut first = First::new(wanted_rows);
            for time in 0..1000 {
                first.add(wanted_rows.key((time * 7) % 1000));
            }
            assert_eq!(first.last(), Some(wanted));
            let mut few = First::new(wanted_rows);
            (0..9).for_each(|time| few.add(wanted_rows.key(time)));
            assert_eq!(few.last(), None);
        }
    }
}
