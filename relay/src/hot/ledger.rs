//! Rows of the loss ledger that are hot: what collectors lost before a batch, gaps in front of it,
//! and what the relay lost itself. They come and leave with their batch; their positions count for
//! themselves. Bounded with the batches: each brings at most [`weir_flow::wire::MAX_LOSSES`] and a gap.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use weir_flow::schema::loss::{LossBuilder, LossRow};
use weir_flow::wire::{BatchId, LossEntry};

use crate::wal::Arrived;

/// The hot part of the ledger.
#[derive(Debug)]
pub(super) struct Ledger {
    /// What each batch brought, with its position.
    hot: VecDeque<(u64, Vec<LossRow>)>,
    next_position: u64,
}

impl Ledger {
    /// Nothing is hot; positions go on after `flushed`.
    pub(super) fn new(flushed: u64) -> Self {
        Self { hot: VecDeque::new(), next_position: flushed + 1 }
    }

    /// What one batch brought becomes hot.
    pub(super) fn push(&mut self, rows: Vec<LossRow>) {
        if !rows.is_empty() {
            self.hot.push_back((self.next_position, rows));
            self.next_position += 1;
        }
    }

    /// Everything up to a position is stored and leaves.
    pub(super) fn flushed(&mut self, up_to: u64) {
        while self.hot.front().is_some_and(|(position, _)| *position <= up_to) {
            self.hot.pop_front();
        }
    }

    /// Everything that is hot.
    pub(super) fn rows(&self) -> Vec<LossRow> {
        self.hot.iter().flat_map(|(_, rows)| rows.iter().cloned()).collect()
    }

    /// Oldest position that is hot, and the last one given.
    pub(super) fn range(&self) -> (u64, u64) {
        let last = self.next_position - 1;
        (self.hot.front().map_or(last + 1, |(position, _)| *position), last)
    }

    /// What is hot behind a position.
    pub(super) fn after(&self, position: u64) -> Vec<(u64, RecordBatch)> {
        let new = self.hot.iter().filter(|(at, _)| *at > position);
        new.map(|(at, rows)| (*at, loss_batch(rows))).collect()
    }
}

/// The rows that a batch brings: what its collector lost, and the gap before it.
pub(super) fn rows_of(id: &BatchId, arrived: Arrived) -> Vec<LossRow> {
    let mut rows: Vec<LossRow> = id.losses.iter().map(|loss| loss.row(&id.collector)).collect();
    if arrived.missing > 0 {
        let nanoseconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
        let gap = LossEntry {
            from_ns: nanoseconds(arrived.heard_ns.min(arrived.at_ns)),
            to_ns: nanoseconds(arrived.at_ns),
            stage: "relay".into(),
            verdict: String::new(),
            unit: "batches".into(),
            count: arrived.missing,
            reason: "never arrived".into(),
        };
        rows.push(gap.row(&id.collector));
    }
    rows
}

/// Rows of the ledger as a batch of it.
pub(crate) fn loss_batch(losses: &[LossRow]) -> RecordBatch {
    let mut builder = LossBuilder::default();
    losses.iter().for_each(|loss| builder.append(loss));
    builder.finish()
}
