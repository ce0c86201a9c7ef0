//! Joins what the kernel reports with names, and lays it out as Arrow columns.
//!
//! Rows come by the hundred thousand a second, distinct ends and rule sets by the hundred: each
//! batch numbers the distinct ones as they appear, a row holds their numbers only, and text is
//! touched once per distinct value and batch.
//!
//! Which policies decided comes from the rule-set ids that the event carries, so it is right
//! whatever has changed since. Who an address was comes from the directory, by the row's time.

pub mod bench;
mod columns;
mod row;
mod rules;
mod side;
#[cfg(test)]
mod tests;
mod texts;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use weir_abi::event::{VERDICT_DENY, VerdictEvent};

use crate::directory::{Directory, SharedDirectory};
use crate::kernel::{ConnectionDelta, DenyDelta, MonotonicClock};
use crate::ledger::{Class, Malformed, Tally};
use crate::logging::Logger;
use columns::Columns;
use row::Row;

/// Collects rows and gives them out as batches of [`weir_flow::schema::stored_schema`].
#[derive(Debug)]
pub struct Joiner {
    cluster: String,
    node: String,
    shared: SharedDirectory,
    directory: Arc<Directory>,
    clock: MonotonicClock,
    /// By class.
    columns: [Columns; 2],
    tallies: [Tally; 2],
    malformed: Malformed,
    logger: Option<Arc<Logger>>,
}

/// Rows as a batch.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The rows.
    pub batch: RecordBatch,
    /// All of them are of this class.
    pub class: Class,
    /// What they count.
    pub tally: Tally,
}

impl Joiner {
    /// A joiner for what is observed on `node`.
    pub fn new(cluster: &str, node: &str, shared: SharedDirectory) -> Self {
        Self {
            cluster: cluster.into(),
            node: node.into(),
            directory: shared.load(),
            shared,
            clock: MonotonicClock::sample(),
            columns: Default::default(),
            tallies: Default::default(),
            malformed: Malformed::default(),
            logger: None,
        }
    }

    /// Offers every batch to the log as well.
    pub(crate) fn log_to(&mut self, logger: Option<Arc<Logger>>) {
        self.logger = logger;
    }

    /// Adds verdicts.
    pub fn add_events(&mut self, events: &[VerdictEvent]) {
        self.refresh();
        for event in events {
            let lost = (event.verdict == VERDICT_DENY, 1);
            self.add(Row::of_event(event), lost);
        }
    }

    /// Adds what connections did since they were last read.
    pub fn add_connections(&mut self, deltas: &[ConnectionDelta]) {
        self.refresh();
        for delta in deltas {
            self.add(Row::of_connection(delta, &self.directory), (false, delta.count));
        }
    }

    /// Adds denied attempts that were folded since they were last read.
    pub fn add_denies(&mut self, deltas: &[DenyDelta]) {
        self.refresh();
        for delta in deltas {
            self.add(Row::of_deny(delta, &self.directory), (true, delta.count));
        }
    }

    /// Rows since the last batches.
    pub fn len(&self) -> usize {
        self.columns.iter().map(Columns::len).sum()
    }

    /// Whether there is no row since the last batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the rows of a class count since its last batch.
    pub fn tally(&self, class: Class) -> Tally {
        self.tallies[class as usize]
    }

    /// What could not be rows since the last call.
    pub fn malformed(&mut self) -> Malformed {
        std::mem::take(&mut self.malformed)
    }

    /// The kernel's time as the rows have it, nanoseconds since 1970.
    pub(crate) fn to_utc_ns(&self, monotonic_ns: u64) -> i64 {
        self.clock.to_utc_ns(monotonic_ns)
    }

    /// The rows of a class as a batch; the joiner has none of them any more.
    ///
    /// # Errors
    /// The rows do not fit Arrow's limits.
    pub fn finish(&mut self, class: Class) -> Result<Joined, ArrowError> {
        let tally = std::mem::take(&mut self.tallies[class as usize]);
        let columns = std::mem::take(&mut self.columns[class as usize]);
        let batch = columns.finish(&self.cluster, &self.node)?;
        if let Some(logger) = &self.logger {
            logger.offer(&batch);
        }
        Ok(Joined { batch, class, tally })
    }

    /// Takes the newest names and the present offset between the clocks.
    fn refresh(&mut self) {
        self.clock.follow();
        let newest = self.shared.load();
        if !Arc::ptr_eq(&newest, &self.directory) {
            self.directory = newest;
            self.columns.iter_mut().for_each(Columns::directory_changed);
        }
    }

    /// `lost`: whether it is a deny, and how many verdicts, if there is no row.
    fn add(&mut self, row: Option<Row>, lost: (bool, u64)) {
        match (row, lost) {
            (Some(row), _) => {
                let class = Class::of(row.verdict) as usize;
                let (from_ns, to_ns) = self.columns[class].push(&row, &self.directory, self.clock);
                self.tallies[class].add(row.verdict, row.count, from_ns, to_ns);
            }
            (None, (true, count)) => self.malformed.denies += count,
            (None, (false, count)) => self.malformed.allows += count,
        }
    }
}
