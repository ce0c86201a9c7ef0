//! What is hot and what becomes of it: the relay's state and every decision about it. No I/O, no
//! clock; whoever calls says what time it is.
//!
//! In: checked batches, groups that are on disk, finished flushes. Capacity: `hot_max_bytes` and
//! `wal_max_bytes`. Overflow: [`Offer::Full`], and the collector waits; nothing is dropped.
//!
//! A batch is *taken* when it gets its position: it waits for the log to write it. It is *hot* once
//! the log has it: acknowledged, visible, and read again by the next process. It leaves only together
//! with the arrival of the manifest that holds it. Each position is hot once and in order, also one
//! without rows, so that whoever reads them sees whether one is missing.

mod ledger;
mod recent;
mod status;
mod view;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use weir_flow::manifest::{FlushedUpTo, Manifest, StoredUpTo};
use weir_flow::schema::loss::LossRow;
use weir_flow::schema::sent_schema;
use weir_flow::wire::{Acknowledgement, BatchId, LossEntry};

pub(crate) use self::ledger::loss_batch;
use self::ledger::{Ledger, rows_of};
use self::recent::Recent;
pub(crate) use self::view::HotView;
use crate::decode::ReceivedBatch;
use crate::senders::{Arrival, Senders};
use crate::wal::{Arrived, Notes, Record};

/// What a batch weighs besides its rows.
const BATCH_BYTES: usize = 512;

/// When hot rows become files, and when they are too many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) flush_rows: usize,
    pub(crate) flush_bytes: usize,
    pub(crate) flush_interval_ns: u64,
    pub(crate) hot_max_bytes: usize,
    pub(crate) wal_max_bytes: u64,
    pub(crate) recent_bytes: usize,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It will be at this position; so many batches before it never arrived.
    Taken { position: u64, missing: u64 },
    /// It was taken already, and is hot once this position is.
    Again { position: u64 },
    /// There is no room at present.
    Full,
    /// The relay is stopping.
    Closed,
}

/// The relay's state.
#[derive(Debug)]
pub(crate) struct Hot {
    /// Of the log.
    epoch: u64,
    /// Of the relay, for what it lost itself.
    name: String,
    limits: Limits,
    hot: VecDeque<HotBatch>,
    /// Not hot any more.
    recent: Recent,
    ledger: Ledger,
    /// Taken, not written yet: their positions follow those of `hot`.
    pending: VecDeque<Pending>,
    /// The first so many of them are with the log.
    writing: usize,
    next_position: u64,
    /// Rows and bytes of `hot`.
    rows: usize,
    bytes: usize,
    pending_bytes: usize,
    wal_bytes: u64,
    rows_acknowledged: u64,
    senders: Senders,
    manifest: Arc<Manifest>,
    store_problem: Option<String>,
    wal_problem: Option<String>,
    closed: bool,
}

#[derive(Debug)]
struct HotBatch {
    position: u64,
    arrived_ns: u64,
    bytes: usize,
    batch: RecordBatch,
    /// Rows of the ledger that came with it; none any more once it is hot.
    losses: Vec<LossRow>,
}

#[derive(Debug)]
struct Pending {
    hot: HotBatch,
    id: Option<BatchId>,
    record: Record,
}

/// What one flush takes.
#[derive(Debug, Default)]
pub(crate) struct FlushJob {
    /// The rows.
    pub(crate) batches: Vec<RecordBatch>,
    /// Rows of the ledger.
    pub(crate) losses: Vec<LossRow>,
    /// How far the collectors are with these rows.
    pub(crate) stored: Vec<StoredUpTo>,
    /// How far this relay is with these rows.
    pub(crate) flushed: Option<FlushedUpTo>,
    /// How far it is without them.
    pub(crate) after: u64,
}

impl Hot {
    /// Nothing is hot; `manifest` is in force.
    pub(crate) fn new(epoch: u64, name: String, limits: Limits, manifest: Arc<Manifest>) -> Self {
        let mut hot = Self {
            epoch,
            name,
            limits,
            hot: VecDeque::new(),
            recent: Recent::new(limits.recent_bytes),
            ledger: Ledger::new(0),
            pending: VecDeque::new(),
            writing: 0,
            next_position: 1,
            rows: 0,
            bytes: 0,
            pending_bytes: 0,
            wal_bytes: 0,
            rows_acknowledged: 0,
            senders: Senders::restore(&manifest.stored),
            manifest,
            store_problem: None,
            wal_problem: None,
            closed: false,
        };
        let (position, loss_position) = hot.flushed_positions();
        (hot.next_position, hot.ledger) = (position + 1, Ledger::new(loss_position));
        hot
    }

    /// Takes a batch, if it is new and there is room.
    pub(crate) fn offer(&mut self, received: &ReceivedBatch, now_ns: u64) -> Offer {
        let id = &received.id;
        let missing = match self.senders.judge(id) {
            Arrival::Again { position } => {
                self.senders.hear(id, now_ns);
                return Offer::Again { position };
            }
            Arrival::New { missing } => missing,
        };
        if self.closed {
            return Offer::Closed;
        }
        if !self.has_room(received.bytes) {
            return Offer::Full;
        }
        let position = self.next_position;
        let heard_ns = self.senders.take(id, missing, position, now_ns);
        let arrived = Arrived { at_ns: now_ns, missing, heard_ns };
        let record = Record::flows(position, arrived, &received.metadata, &received.messages);
        self.take(hot_batch(received, arrived), Some(id.clone()), record);
        Offer::Taken { position, missing }
    }

    /// Batches of this sender that came by another relay are in a manifest.
    pub(crate) fn learn(&mut self, id: &BatchId, manifest: &Manifest) {
        let stored = manifest.stored.iter();
        let mut known = stored.filter(|of| of.collector == id.collector && of.epoch == id.epoch);
        if let Some(entry) = known.next() {
            self.senders.learn(entry);
        }
    }

    /// Takes what the relay itself lost.
    pub(crate) fn note(&mut self, notes: &Notes, now_ns: u64) {
        let record = Record::notes(self.next_position, notes);
        let hot = HotBatch { losses: self.own_losses(&notes.losses), ..empty_batch(now_ns) };
        self.take(hot, None, record);
    }

    /// Takes versions of objects that were new: a position without rows.
    pub(crate) fn take_objects(&mut self, record: impl FnOnce(u64) -> Record, now_ns: u64) -> u64 {
        let position = self.next_position;
        self.take(empty_batch(now_ns), None, record(position));
        position
    }

    /// The last position that was taken.
    pub(crate) fn taken_position(&self) -> u64 {
        self.next_position - 1
    }

    /// Records for the log to write, in order: at most so many bytes, but at least one.
    pub(crate) fn group(&mut self, max_bytes: usize) -> Vec<Record> {
        let mut bytes = 0;
        let mut group = Vec::new();
        for pending in self.pending.range(self.writing..) {
            bytes += pending.hot.bytes;
            if bytes > max_bytes && !group.is_empty() {
                break;
            }
            group.push(pending.record.clone());
        }
        self.writing += group.len();
        group
    }

    /// The log, which has so many bytes now, wrote everything up to a position: it is hot.
    pub(crate) fn written(&mut self, up_to: u64, wal_bytes: u64, now_ns: u64) {
        self.wal_bytes = wal_bytes;
        while self.pending.front().is_some_and(|pending| pending.hot.position <= up_to) {
            if let Some(Pending { hot, id, .. }) = self.pending.pop_front() {
                self.writing = self.writing.saturating_sub(1);
                self.pending_bytes -= hot.bytes;
                if let Some(id) = id {
                    self.senders.hold(&id, now_ns);
                }
                self.rows_acknowledged += hot.batch.num_rows() as u64;
                self.push(hot);
            }
        }
    }

    /// Takes in what the log holds at a position, in the order of positions.
    pub(crate) fn restore(&mut self, position: u64, received: &ReceivedBatch, arrived: Arrived) {
        self.senders.replay(&received.id, arrived.missing, position, arrived.at_ns);
        self.next_position = position;
        let mut hot = hot_batch(received, arrived);
        hot.position = position;
        self.next_position += 1;
        self.push(hot);
    }

    /// The log lost so many batches of nobody knows whom. Gaps that they leave are counted already.
    pub(crate) fn unexplained(&mut self, batches: u64) {
        self.senders.lose(batches);
    }

    /// The log holds nothing for `flows` at a position, but these losses of the relay.
    pub(crate) fn restore_empty(&mut self, position: u64, losses: &[LossEntry], now_ns: u64) {
        let losses = self.own_losses(losses);
        self.next_position = position + 1;
        self.push(HotBatch { position, losses, ..empty_batch(now_ns) });
    }

    /// Everything is read that the log holds; `last` is the last position that it gave.
    pub(crate) fn restored(&mut self, last: u64, wal_bytes: u64) {
        self.next_position = last + 1;
        self.wal_bytes = wal_bytes;
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
            || (!self.hot.is_empty() && self.wal_bytes >= self.limits.wal_max_bytes / 2)
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
        let rows = self.hot.iter().filter(|hot| hot.batch.num_rows() > 0);
        Some(FlushJob {
            batches: rows.map(|hot| hot.batch.clone()).collect(),
            losses: self.ledger.rows(),
            stored: self.senders.snapshot(now_ns),
            flushed: Some(FlushedUpTo {
                relay_epoch: self.epoch,
                position: self.written_position(),
                loss_position: self.ledger.range().1,
                at_ns: now_ns,
            }),
            after: self.flushed_position(),
        })
    }

    /// `manifest` takes force, and the rows that it holds leave.
    pub(crate) fn flushed(&mut self, manifest: Arc<Manifest>, now_ns: u64) {
        self.senders.stored(now_ns, &manifest.stored);
        self.manifest = manifest;
        let (up_to, losses_up_to) = self.flushed_positions();
        while self.hot.front().is_some_and(|hot| hot.position <= up_to) {
            if let Some(hot) = self.hot.pop_front() {
                self.rows -= hot.batch.num_rows();
                self.bytes -= hot.bytes;
                self.recent.push(hot);
            }
        }
        self.ledger.flushed(losses_up_to);
    }

    /// Every position up to this one is stored.
    pub(crate) fn flushed_position(&self) -> u64 {
        self.flushed_positions().0
    }

    /// The same, and of the ledger.
    fn flushed_positions(&self) -> (u64, u64) {
        let mut flushed = self.manifest.flushed.iter();
        let ours = flushed.find(|flushed| flushed.relay_epoch == self.epoch);
        ours.map_or((0, 0), |flushed| (flushed.position, flushed.loss_position))
    }

    /// The log has so many bytes now.
    pub(crate) fn released(&mut self, wal_bytes: u64) {
        self.wal_bytes = wal_bytes;
    }

    /// Whether something is taken that is not on disk.
    pub(crate) fn is_writing(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The last position that is hot or was.
    fn written_position(&self) -> u64 {
        self.next_position - 1 - self.pending.len() as u64
    }

    /// What the store said last; `None` once it works again.
    pub(crate) fn store_problem(&mut self, problem: Option<String>) {
        self.store_problem = problem;
    }

    /// What keeps the log from writing; `None` once it works again.
    pub(crate) fn wal_problem(&mut self, problem: Option<String>) {
        self.wal_problem = problem;
    }

    /// The manifest in force.
    pub(crate) fn manifest(&self) -> Arc<Manifest> {
        self.manifest.clone()
    }

    /// Hot rows and bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.rows, self.bytes)
    }

    fn has_room(&self, bytes: usize) -> bool {
        let held = self.bytes.saturating_add(self.pending_bytes).saturating_add(bytes);
        let logged = self.wal_bytes.saturating_add((self.pending_bytes + bytes) as u64);
        let is_empty = self.hot.is_empty() && self.pending.is_empty();
        is_empty || (held <= self.limits.hot_max_bytes && logged <= self.limits.wal_max_bytes)
    }

    fn take(&mut self, mut hot: HotBatch, id: Option<BatchId>, record: Record) {
        hot.position = self.next_position;
        self.next_position += 1;
        self.pending_bytes += hot.bytes;
        self.pending.push_back(Pending { hot, id, record });
    }

    fn push(&mut self, mut hot: HotBatch) {
        self.ledger.push(std::mem::take(&mut hot.losses));
        self.rows += hot.batch.num_rows();
        self.bytes += hot.bytes;
        self.hot.push_back(hot);
    }

    fn own_losses(&self, losses: &[LossEntry]) -> Vec<LossRow> {
        losses.iter().map(|loss| loss.row(&self.name)).collect()
    }
}

/// The rows and losses of a batch; the position is the caller's to fill in.
fn hot_batch(received: &ReceivedBatch, arrived: Arrived) -> HotBatch {
    let losses = rows_of(&received.id, arrived);
    let bytes = received.bytes + BATCH_BYTES;
    HotBatch {
        position: 0,
        arrived_ns: arrived.at_ns,
        bytes,
        batch: received.batch.clone(),
        losses,
    }
}

fn empty_batch(now_ns: u64) -> HotBatch {
    let batch = RecordBatch::new_empty(sent_schema());
    HotBatch { position: 0, arrived_ns: now_ns, bytes: BATCH_BYTES, batch, losses: Vec::new() }
}

#[cfg(test)]
mod tests;
