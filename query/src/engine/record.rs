//! What is noted of each query, whichever door it came through: metrics, the list of what runs, the audit log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::running::{Entry, Running};
use crate::audit::{Line, Place};
use crate::error::QueryError;
use crate::metrics::{Outcome, Tally};

/// Notes how a query ended when it is dropped; one that nobody said the end of was cancelled.
#[derive(Debug)]
pub(crate) struct Record {
    pub(super) entry: Arc<Entry>,
    pub(super) running: Arc<Running>,
    pub(super) tally: Tally,
    pub(super) place: Option<Place>,
    pub(super) arrived: Instant,
    pub(super) outcome: Outcome,
    pub(super) error: Option<String>,
    pub(super) bytes_scanned: Option<u64>,
}

impl Record {
    /// Rows were handed on.
    pub(crate) fn rows(&self, rows: usize) {
        self.entry.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Returns when somebody ends it.
    pub(crate) async fn killed(&self) {
        self.entry.killed.cancelled().await;
    }

    /// It came to its end.
    pub(super) fn answered(&mut self, bytes_scanned: Option<u64>) {
        self.outcome = Outcome::Answered;
        self.bytes_scanned = bytes_scanned;
    }

    /// It did not.
    pub(super) fn failed(&mut self, error: &QueryError) {
        self.outcome = Outcome::of(error);
        self.error = Some(error.to_string());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.running.remove(&self.entry);
        let rows = self.entry.rows.load(Ordering::Relaxed);
        self.tally.ended(self.outcome, rows);
        let Some(place) = self.place.take() else { return };
        let caller = &self.entry.caller;
        place.write(Line {
            time: self.entry.began,
            principal: caller.principal.name.clone(),
            door: caller.door,
            text: caller.text.clone(),
            outcome: self.outcome,
            rows,
            bytes_scanned: self.bytes_scanned,
            elapsed_ms: u64::try_from(self.arrived.elapsed().as_millis()).unwrap_or(u64::MAX),
            error: self.error.take(),
        });
    }
}
