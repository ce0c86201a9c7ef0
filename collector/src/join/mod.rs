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
use weir_abi::event::VerdictEvent;

use crate::directory::{Directory, SharedDirectory};
use crate::kernel::{ConnectionDelta, DenyDelta, MonotonicClock};
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
    columns: Columns,
    has_denies: bool,
    malformed: u64,
    logger: Option<Arc<Logger>>,
}

/// Rows as a batch.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The rows.
    pub batch: RecordBatch,
    /// Whether any of them is a deny.
    pub has_denies: bool,
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
            columns: Columns::default(),
            has_denies: false,
            malformed: 0,
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
            self.add(Row::of_event(event));
        }
    }

    /// Adds what connections did since they were last read.
    pub fn add_connections(&mut self, deltas: &[ConnectionDelta]) {
        self.refresh();
        for delta in deltas {
            self.add(Row::of_connection(delta, &self.directory));
        }
    }

    /// Adds denied attempts that were folded since they were last read.
    pub fn add_denies(&mut self, deltas: &[DenyDelta]) {
        self.refresh();
        for delta in deltas {
            self.add(Row::of_deny(delta, &self.directory));
        }
    }

    /// Rows since the last batch.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is no row since the last batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reports that could not be rows since the joiner began: numbers this version does not know.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// The rows as a batch; the joiner is empty again.
    ///
    /// # Errors
    /// The rows do not fit Arrow's limits.
    pub fn finish(&mut self) -> Result<Joined, ArrowError> {
        let has_denies = std::mem::take(&mut self.has_denies);
        let batch = std::mem::take(&mut self.columns).finish(&self.cluster, &self.node)?;
        if let Some(logger) = &self.logger {
            logger.offer(&batch);
        }
        Ok(Joined { batch, has_denies })
    }

    /// Takes the newest names and the present offset between the clocks.
    fn refresh(&mut self) {
        self.clock.follow();
        let newest = self.shared.load();
        if !Arc::ptr_eq(&newest, &self.directory) {
            self.directory = newest;
            self.columns.directory_changed();
        }
    }

    fn add(&mut self, row: Option<Row>) {
        match row {
            Some(row) => {
                self.has_denies |= row.is_deny();
                self.columns.push(&row, &self.directory, self.clock);
            }
            None => self.malformed += 1,
        }
    }
}
