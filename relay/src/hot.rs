//! What is hot and what becomes of it: the relay's state and every decision about it. No I/O, no
//! clock; whoever calls says what time it is.
//!
//! In: checked batches, finished flushes. Capacity: `hot_max_bytes`. Overflow: [`Offer::Full`],
//! and the collector waits; nothing is dropped. A batch leaves only together with the arrival of
//! the manifest that holds it.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use weir_flow::manifest::{Manifest, StoredUpTo};
use weir_flow::wire::{Acknowledgement, BatchId, HotHeader, HotTicket, RelayStatus};

use crate::senders::{Arrival, Senders};

/// A hot batch of more bytes is cut, so that every part fits into a message on its way out.
const MAX_PART_BYTES: usize = 16 << 20;
/// Sentences about gaps in a status.
const MAX_GAPS: usize = 20;

/// When hot rows become files, and when they are too many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) flush_rows: usize,
    pub(crate) flush_bytes: usize,
    pub(crate) flush_interval_ns: u64,
    pub(crate) hot_max_bytes: usize,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It is hot; so many batches before it never arrived.
    Held { missing: u64 },
    /// It was held already.
    Again,
    /// There is no room at present.
    Full,
    /// The relay is stopping.
    Closed,
}

/// The relay's state.
#[derive(Debug)]
pub(crate) struct Hot {
    relay_epoch: u64,
    limits: Limits,
    hot: VecDeque<HotBatch>,
    next_position: u64,
    rows: usize,
    bytes: usize,
    rows_acknowledged: u64,
    senders: Senders,
    manifest: Arc<Manifest>,
    store_problem: Option<String>,
    closed: bool,
}

#[derive(Debug)]
struct HotBatch {
    position: u64,
    arrived_ns: u64,
    bytes: usize,
    batch: RecordBatch,
}

/// What one flush takes.
#[derive(Debug, Default)]
pub(crate) struct FlushJob {
    /// The rows.
    pub(crate) batches: Vec<RecordBatch>,
    /// Position of the last batch.
    pub(crate) up_to: u64,
    /// How far the collectors are with these rows.
    pub(crate) stored: Vec<StoredUpTo>,
}

/// What is hot at one moment.
#[derive(Debug)]
pub(crate) struct HotView {
    pub(crate) header: HotHeader,
    pub(crate) batches: Vec<(u64, RecordBatch)>,
}

impl Hot {
    /// Nothing is hot; `manifest` is in force.
    pub(crate) fn new(relay_epoch: u64, limits: Limits, manifest: Arc<Manifest>) -> Self {
        Self {
            relay_epoch,
            limits,
            hot: VecDeque::new(),
            next_position: 1,
            rows: 0,
            bytes: 0,
            rows_acknowledged: 0,
            senders: Senders::restore(&manifest.stored),
            manifest,
            store_problem: None,
            closed: false,
        }
    }

    /// Takes a batch, if it is new and there is room. `bytes` is what it weighs in memory.
    pub(crate) fn offer(
        &mut self,
        id: &BatchId,
        batch: &RecordBatch,
        bytes: usize,
        now_ns: u64,
    ) -> Offer {
        let missing = match self.senders.judge(id) {
            Arrival::Again => {
                self.senders.hear(id, now_ns);
                return Offer::Again;
            }
            Arrival::New { missing } => missing,
        };
        if self.closed {
            return Offer::Closed;
        }
        if !self.hot.is_empty() && self.bytes.saturating_add(bytes) > self.limits.hot_max_bytes {
            return Offer::Full;
        }
        self.senders.hold(id, now_ns);
        self.push(batch, bytes, now_ns);
        Offer::Held { missing }
    }

    /// A message without rows: only says how the collector is.
    pub(crate) fn heartbeat(&mut self, id: &BatchId, now_ns: u64) {
        self.senders.hear(id, now_ns);
    }

    /// What may be acknowledged to the sender of `id`.
    pub(crate) fn acknowledgement(&self, id: &BatchId) -> Acknowledgement {
        self.senders.acknowledgement(id)
    }

    /// No batch is taken any more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether a flush should begin.
    pub(crate) fn flush_due(&self, now_ns: u64) -> bool {
        self.rows >= self.limits.flush_rows
            || self.bytes >= self.limits.flush_bytes
            || self.flush_at_ns().is_some_and(|at| at <= now_ns)
    }

    /// When age alone will start a flush.
    pub(crate) fn flush_at_ns(&self) -> Option<u64> {
        let oldest = self.hot.front().map(|hot| hot.arrived_ns);
        [oldest, self.senders.advanced_since_ns()]
            .into_iter()
            .flatten()
            .min()
            .map(|since| since.saturating_add(self.limits.flush_interval_ns))
    }

    /// Everything that is hot, and how far the collectors are with it; `None` if a flush would
    /// change nothing.
    pub(crate) fn flush_job(&self, now_ns: u64) -> Option<FlushJob> {
        if self.hot.is_empty() && self.senders.advanced_since_ns().is_none() {
            return None;
        }
        Some(FlushJob {
            batches: self.hot.iter().map(|hot| hot.batch.clone()).collect(),
            up_to: self.next_position - 1,
            stored: self.senders.snapshot(now_ns),
        })
    }

    /// `manifest`, which holds everything up to the position, takes force and the rows leave.
    pub(crate) fn flushed(&mut self, up_to: u64, manifest: Arc<Manifest>, now_ns: u64) {
        while self.hot.front().is_some_and(|hot| hot.position <= up_to) {
            if let Some(hot) = self.hot.pop_front() {
                self.rows -= hot.batch.num_rows();
                self.bytes -= hot.bytes;
            }
        }
        self.senders.stored(now_ns, &manifest.stored);
        self.manifest = manifest;
    }

    /// The manifest in force and the batches that complete it.
    pub(crate) fn view(&self, ticket: &HotTicket) -> HotView {
        let after = if ticket.relay_epoch == self.relay_epoch { ticket.after } else { 0 };
        let header = HotHeader {
            relay_epoch: self.relay_epoch,
            manifest_version: self.manifest.version,
            first: self.hot.front().map_or(self.next_position, |hot| hot.position),
            last: self.next_position - 1,
        };
        let from = self.hot.partition_point(|hot| hot.position <= after);
        let batches = self.hot.range(from..).map(|hot| (hot.position, hot.batch.clone())).collect();
        HotView { header, batches }
    }

    /// What the store said last; `None` once it works again.
    pub(crate) fn store_problem(&mut self, problem: Option<String>) {
        self.store_problem = problem;
    }

    /// The manifest in force.
    pub(crate) fn manifest(&self) -> Arc<Manifest> {
        self.manifest.clone()
    }

    /// Hot rows and bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.rows, self.bytes)
    }

    /// How the relay is.
    pub(crate) fn status(&self) -> RelayStatus {
        let mut problems: Vec<String> = self.store_problem.iter().cloned().collect();
        if self.bytes >= self.limits.hot_max_bytes {
            problems.push(format!(
                "memory is full ({} hot rows): collectors wait until the store takes them",
                self.rows
            ));
        }
        problems.extend(self.senders.gaps(MAX_GAPS));
        RelayStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            relay_epoch: self.relay_epoch,
            rows_acknowledged: self.rows_acknowledged,
            hot_rows: self.rows as u64,
            hot_bytes: self.bytes as u64,
            stored_rows: self.manifest.files.iter().map(|file| file.rows).sum(),
            stored_bytes: self.manifest.files.iter().map(|file| file.size_bytes).sum(),
            stored_files: self.manifest.files.len() as u64,
            problems,
            collectors: self.senders.report(),
        }
    }

    fn push(&mut self, batch: &RecordBatch, bytes: usize, now_ns: u64) {
        let rows = batch.num_rows();
        if rows == 0 {
            return;
        }
        let parts = bytes.div_ceil(MAX_PART_BYTES).clamp(1, rows);
        let step = rows.div_ceil(parts);
        let mut bytes_left = bytes;
        for from in (0..rows).step_by(step) {
            let length = step.min(rows - from);
            let last = from + length == rows;
            let part_bytes = if last { bytes_left } else { (bytes / parts).min(bytes_left) };
            bytes_left -= part_bytes;
            self.hot.push_back(HotBatch {
                position: self.next_position,
                arrived_ns: now_ns,
                bytes: part_bytes,
                batch: batch.slice(from, length),
            });
            self.next_position += 1;
        }
        self.rows += rows;
        self.bytes += bytes;
        self.rows_acknowledged += rows as u64;
    }
}

#[cfg(test)]
mod tests;
