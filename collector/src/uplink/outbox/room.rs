//! Room for new batches, by giving up old ones.

use std::collections::VecDeque;

use weir_flow::wire::LossEntry;

use super::{Outbox, Waiting};
use crate::journal::{Batch, BatchNumber, LEAST_BYTES, Segment};
use crate::ledger::{Class, join, stage};

/// Time that one entry of the ledger may stand for when batches that were given up become one.
const LONGEST_NS: i64 = 600_000_000_000;

/// Why rows go when there is no room.
pub(crate) const FULL: &str = "spool full";

impl Outbox {
    /// Makes room for a batch of that class and so many bytes, in the segments. False: there is none,
    /// and giving up what is older would not help.
    pub(crate) fn make_room(&mut self, class: Class, bytes: u64) -> bool {
        let bytes = bytes.max(LEAST_BYTES);
        while self.stored_bytes() + bytes > self.limits.stored_bytes {
            if bytes > self.limits.stored_bytes || !self.give_up_for(class, FULL) {
                return false;
            }
        }
        true
    }

    /// The same in memory.
    pub(crate) fn make_room_in_memory(&mut self, class: Class, bytes: usize) -> bool {
        while self.memory_bytes + bytes > self.limits.memory_bytes {
            if bytes > self.limits.memory_bytes || !self.give_up_in_memory(class) {
                return false;
            }
        }
        true
    }

    /// Gives up the oldest rows that may go for the sake of rows of that class: a segment. False:
    /// there are none.
    pub(crate) fn give_up_for(&mut self, class: Class, reason: &str) -> bool {
        let segment = self.oldest_segment(Class::Allows).or_else(|| match class {
            Class::Denies => self.oldest_segment(Class::Denies),
            Class::Allows => None,
        });
        if let Some(segment) = segment {
            self.give_up_segment(segment, reason);
        }
        segment.is_some()
    }

    /// Gives up the oldest rows with a place.
    pub(crate) fn give_up_oldest(&mut self, reason: &str) -> bool {
        self.give_up_for(Class::Denies, reason)
    }

    /// A batch that cannot be read back: what it counted goes to the ledger.
    pub(crate) fn damaged(&mut self, number: BatchNumber) {
        if let Some(index) = self.index(number) {
            self.give_up(index, "damaged in the spool");
            // To be sent once more, as what it is now.
            self.sent = BatchNumber { sequence: number.sequence - 1, ..number };
        }
    }

    /// A batch is given up before it is added.
    pub(crate) fn count_given_up(&mut self, batch: &Batch) {
        self.given_up += batch.rows.map_or(0, |rows| rows.tally.verdicts());
    }

    fn oldest_segment(&self, class: Class) -> Option<Segment> {
        let mut segments = self.segments.range((class, 0)..=(class, u64::MAX));
        segments.next().map(|(segment, _)| *segment)
    }

    fn give_up_segment(&mut self, segment: Segment, reason: &str) {
        let mut index = 0;
        while index < self.waiting.len() {
            if self.waiting[index].batch.segment() == Some(segment) {
                self.give_up(index, reason);
            }
            index += 1;
        }
        self.segments.remove(&segment);
        self.dropped.push(segment);
        self.merge();
    }

    fn give_up_in_memory(&mut self, class: Class) -> bool {
        let find = |class: Class| {
            self.waiting.iter().position(|waiting| {
                waiting.batch.rows.is_some_and(|rows| rows.class == class && rows.place.is_none())
            })
        };
        let index = find(Class::Allows).or_else(|| match class {
            Class::Denies => find(Class::Denies),
            Class::Allows => None,
        });
        if let Some(index) = index {
            self.give_up(index, FULL);
            self.merge();
        }
        index.is_some()
    }

    fn give_up(&mut self, index: usize, reason: &str) {
        let Some(waiting) = self.waiting.get_mut(index) else { return };
        let removed = Waiting {
            batch: waiting.batch.clone(),
            messages: waiting.messages.take(),
            bytes: std::mem::take(&mut waiting.bytes),
            changed: false,
        };
        self.given_up += removed.batch.rows.map_or(0, |rows| rows.tally.verdicts());
        waiting.batch.give_up(stage::SPOOL, reason);
        waiting.changed = true;
        self.changed = true;
        self.account_for_removal(&removed);
    }

    /// Makes one of neighbours that were given up before the relay may have heard of them.
    fn merge(&mut self) {
        let ever_sent = self.ever_sent;
        let unheard = |batch: &Batch| {
            let first = BatchNumber { sequence: batch.first, ..batch.number };
            batch.rows.is_none() && first > ever_sent
        };
        let mut merged: VecDeque<Waiting> = VecDeque::with_capacity(self.waiting.len());
        for next in self.waiting.drain(..) {
            if let Some(last) = merged.back_mut()
                && unheard(&last.batch)
                && unheard(&next.batch)
                && last.batch.number.epoch == next.batch.number.epoch
                && last.batch.number.sequence + 1 == next.batch.first
                && is_short(&last.batch.losses, &next.batch.losses)
            {
                last.batch.number = next.batch.number;
                last.changed = true;
                for entry in next.batch.losses {
                    join(&mut last.batch.losses, entry, LONGEST_NS);
                }
            } else {
                merged.push_back(next);
            }
        }
        self.waiting = merged;
    }
}

/// Whether the entries of both are close enough in time for one entry.
fn is_short(some: &[LossEntry], others: &[LossEntry]) -> bool {
    let all = || some.iter().chain(others);
    let from = all().map(|entry| entry.from_ns).min().unwrap_or(0);
    let to = all().map(|entry| entry.to_ns).max().unwrap_or(0);
    to.saturating_sub(from) <= LONGEST_NS
}
