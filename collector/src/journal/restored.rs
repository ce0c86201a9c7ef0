//! What a journal says after all of its steps.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use weir_abi::conntrack::{ConnectionKey, DenyKey};
use weir_flow::wire::LossEntry;

use super::Maps;
use super::step::{Batch, BatchNumber, Step};
use crate::kernel::{ConnectionTotals, DenyTotals, Positions, ScanMark, Totals, Which};
use crate::ledger::Accounts;

/// Where the collector before this one was.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// The last batch that was numbered; all zero if there was none.
    pub(crate) last: BatchNumber,
    /// Batches to send, oldest first.
    pub(crate) batches: Vec<Batch>,
    /// Entries of the ledger that are in no batch.
    pub(crate) pending: Vec<LossEntry>,
    /// How to go on with rings and tables; none if they are others.
    pub(crate) kernel: Option<KernelPart>,
}

/// What of the kernel's rings and tables is in batches.
#[derive(Debug, Default)]
pub(crate) struct KernelPart {
    pub(crate) positions: Positions,
    pub(crate) totals: Totals,
    pub(crate) mark: ScanMark,
    /// None: not known, until the first scan.
    pub(crate) accounts: Option<Accounts>,
}

/// Adds up steps.
#[derive(Debug, Default)]
pub(super) struct Adding {
    pub(super) maps: Maps,
    last: BatchNumber,
    batches: BTreeMap<BatchNumber, Batch>,
    pending: Vec<LossEntry>,
    positions: Positions,
    connections: FxHashMap<Which<ConnectionKey>, ConnectionTotals>,
    denies: FxHashMap<Which<DenyKey>, DenyTotals>,
    mark: ScanMark,
    accounts: Option<Accounts>,
}

impl Adding {
    pub(super) fn begin(&mut self, maps: Maps, last: BatchNumber) {
        *self = Self { maps, last, ..Self::default() };
    }

    pub(super) fn add(&mut self, step: Step) {
        for batch in step.batches {
            self.last = self.last.max(batch.number);
            self.put(batch);
        }
        for acknowledged in step.acknowledged {
            self.batches.retain(|number, batch| {
                if number.epoch == acknowledged.epoch {
                    batch.first = batch.first.max(acknowledged.sequence + 1);
                }
                !number.is_in(acknowledged)
            });
        }
        if let Some(positions) = step.positions {
            self.positions = positions;
        }
        self.connections.extend(step.totals.connections);
        self.denies.extend(step.totals.denies);
        if let Some(mark) = step.mark {
            self.mark = mark;
        }
        self.accounts = step.accounts.or(self.accounts);
        if let Some(pending) = step.pending {
            self.pending = pending;
        }
    }

    /// A batch that a segment has and a step may have told of that is damaged. Later steps show that
    /// it happened.
    pub(super) fn found(&mut self, batch: Batch) {
        let number = batch.number;
        let covered = self.batches.range(number..).next().is_some_and(|(known, batch)| {
            known.epoch == number.epoch && batch.first <= number.sequence
        });
        if number <= self.last && !covered {
            self.put(batch);
        }
    }

    /// `maps` are those of now.
    pub(super) fn finish(self, maps: Maps) -> Restored {
        let kernel = (self.maps == maps).then(|| KernelPart {
            positions: self.positions,
            totals: Totals {
                connections: self.connections.into_iter().collect(),
                denies: self.denies.into_iter().collect(),
            },
            mark: self.mark,
            accounts: self.accounts,
        });
        Restored {
            last: self.last,
            batches: self.batches.into_values().collect(),
            pending: self.pending,
            kernel,
        }
    }

    /// In the place of those that have its numbers.
    fn put(&mut self, batch: Batch) {
        let first = BatchNumber { sequence: batch.first, ..batch.number };
        if first < batch.number {
            let within: Vec<_> =
                self.batches.range(first..batch.number).map(|(number, _)| *number).collect();
            within.iter().for_each(|number| drop(self.batches.remove(number)));
        }
        self.batches.insert(batch.number, batch);
    }
}
