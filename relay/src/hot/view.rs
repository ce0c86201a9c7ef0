//! What readers see of it: hot batches with the manifest that they complete, and the next batch of a
//! follower.

use arrow::array::RecordBatch;
use weir_flow::wire::{HotHeader, HotTicket};

use super::Hot;

/// What is hot at one moment.
#[derive(Debug)]
pub(crate) struct HotView {
    pub(crate) header: HotHeader,
    pub(crate) batches: Vec<(u64, RecordBatch)>,
}

impl Hot {
    /// The manifest in force and the batches that complete it.
    pub(crate) fn view(&self, ticket: &HotTicket) -> HotView {
        let batches = self.hot.range(self.from(ticket)..);
        let batches = batches.map(|hot| (hot.position, hot.batch.clone())).collect();
        HotView { header: self.header_of_flows(), batches }
    }

    /// What a view would say first.
    pub(crate) fn header_of_flows(&self) -> HotHeader {
        let last = self.written_position();
        self.header(self.hot.front().map_or(last + 1, |hot| hot.position), last)
    }

    /// The oldest batch that the ticket lacks and that is in memory, hot or not any more.
    pub(crate) fn next(&self, ticket: &HotTicket) -> Option<(u64, RecordBatch)> {
        if let Some(recent) = self.recent.after(self.after(ticket)) {
            return Some(recent);
        }
        let hot = self.hot.get(self.from(ticket))?;
        Some((hot.position, hot.batch.clone()))
    }

    /// The manifest in force and the rows of the ledger that complete it.
    pub(crate) fn loss_view(&self, ticket: &HotTicket) -> HotView {
        let (first, last) = self.ledger.range();
        let batches = self.ledger.after(self.after(ticket));
        HotView { header: self.header(first, last), batches }
    }

    fn header(&self, first: u64, last: u64) -> HotHeader {
        let manifest_version = self.manifest.version;
        HotHeader { relay_epoch: self.epoch, manifest_version, first, last }
    }

    fn from(&self, ticket: &HotTicket) -> usize {
        let after = self.after(ticket);
        self.hot.partition_point(|hot| hot.position <= after)
    }

    fn after(&self, ticket: &HotTicket) -> u64 {
        if ticket.relay_epoch == self.epoch { ticket.after } else { 0 }
    }
}
