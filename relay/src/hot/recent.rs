//! Batches that are stored and not hot any more, for followers who come back a little later.
//!
//! In: what leaves with a flush, in the order of positions. Capacity: `recent_bytes`. Overflow: the
//! oldest go, and positions tell a follower how many it missed.

use std::collections::VecDeque;

use arrow::array::RecordBatch;

use super::HotBatch;

/// The last of them.
#[derive(Debug)]
pub(super) struct Recent {
    most_bytes: usize,
    batches: VecDeque<(u64, usize, RecordBatch)>,
    bytes: usize,
}

impl Recent {
    /// At most so many bytes together.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { most_bytes, batches: VecDeque::new(), bytes: 0 }
    }

    /// A batch that was hot.
    pub(super) fn push(&mut self, hot: HotBatch) {
        self.bytes += hot.bytes;
        self.batches.push_back((hot.position, hot.bytes, hot.batch));
        while self.bytes > self.most_bytes
            && let Some((_, bytes, _)) = self.batches.pop_front()
        {
            self.bytes -= bytes;
        }
    }

    /// The oldest behind a position.
    pub(super) fn after(&self, position: u64) -> Option<(u64, RecordBatch)> {
        let at = self.batches.partition_point(|(known, ..)| *known <= position);
        let (position, _, batch) = self.batches.get(at)?;
        Some((*position, batch.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::empty_batch;
    use super::*;

    #[test]
    fn the_oldest_go() {
        let mut recent = Recent::new(1_000);
        for position in 1..=3 {
            recent.push(HotBatch { position, bytes: 500, ..empty_batch(0) });
        }
        let after = |position| recent.after(position).map(|(position, _)| position);
        assert_eq!([after(0), after(1), after(2), after(3)], [Some(2), Some(2), Some(3), None]);
    }
}
