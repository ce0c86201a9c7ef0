//! What a journal says after all of its steps.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use weir_abi::conntrack::{ConnectionKey, DenyKey};

use super::Maps;
use super::step::{Batch, BatchNumber, GivenUp, Settled, Step};
use crate::kernel::{ConnectionTotals, DenyTotals, Positions, ScanMark, Totals, Which};

/// Where the collector before this one was.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// The last batch that was numbered; all zero if there was none.
    pub(crate) last: BatchNumber,
    /// Batches to send, oldest first.
    pub(crate) batches: VecDeque<Batch>,
    /// Batches given up that the relay may have.
    pub(crate) uncertain: Vec<GivenUp>,
    /// Rows given up since the journal began.
    pub(crate) lost_rows: u64,
    /// How to go on with rings and tables; none if they are others.
    pub(crate) kernel: Option<KernelPart>,
}

/// What of the kernel's rings and tables is in batches.
#[derive(Debug, Default)]
pub(crate) struct KernelPart {
    pub(crate) positions: Positions,
    pub(crate) totals: Totals,
    pub(crate) mark: ScanMark,
}

/// Adds up steps.
#[derive(Debug, Default)]
pub(super) struct Adding {
    pub(super) maps: Maps,
    last: BatchNumber,
    batches: VecDeque<Batch>,
    uncertain: Vec<GivenUp>,
    lost_rows: u64,
    positions: Positions,
    connections: FxHashMap<Which<ConnectionKey>, ConnectionTotals>,
    denies: FxHashMap<Which<DenyKey>, DenyTotals>,
    mark: ScanMark,
}

impl Adding {
    pub(super) fn begin(&mut self, maps: Maps, last: BatchNumber) {
        *self = Self { maps, last, ..Self::default() };
    }

    pub(super) fn add(&mut self, step: Step) {
        self.settle(&step.settled);
        if let Some(batch) = step.batch {
            self.last = self.last.max(batch.number);
            self.batches.push_back(batch);
        }
        if let Some(positions) = step.positions {
            self.positions = positions;
        }
        self.connections.extend(step.totals.connections);
        self.denies.extend(step.totals.denies);
        if let Some(mark) = step.mark {
            self.mark = mark;
        }
        self.lost_rows = step.lost_rows;
    }

    fn settle(&mut self, settled: &Settled) {
        for given_up in &settled.given_up {
            self.batches.retain(|batch| batch.number != given_up.number);
            if given_up.may_have_arrived {
                self.uncertain.push(*given_up);
            }
        }
        for acknowledged in &settled.acknowledged {
            self.batches.retain(|batch| !batch.number.is_in(*acknowledged));
            self.uncertain.retain(|given_up| !given_up.number.is_in(*acknowledged));
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
        });
        Restored {
            last: self.last,
            batches: self.batches,
            uncertain: self.uncertain,
            lost_rows: self.lost_rows,
            kernel,
        }
    }
}
