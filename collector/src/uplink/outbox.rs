//! What the relay has not acknowledged yet. No I/O.
//!
//! Bounded in bytes. When it is full the oldest batches without denies go first, then the oldest;
//! every row that goes is counted, once it is certain that the relay does not have it: a batch
//! that was sent before its connection broke may have arrived, and the relay's first answer on the
//! next connection tells.
//!
//! A batch has its number from the beginning, so one that is given up leaves a gap, which the relay
//! reports too.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_flight::FlightData;

use crate::journal::{Batch, BatchNumber, GivenUp, Restored, Settled};

/// A batch without a number.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    /// Dictionaries, then the rows; without metadata.
    pub(crate) messages: Vec<FlightData>,
    /// Rows in it.
    pub(crate) rows: u64,
    /// Whether any row is a deny.
    pub(crate) has_denies: bool,
}

#[derive(Debug)]
struct Waiting {
    batch: Batch,
    bytes: usize,
}

/// The bounded queue.
#[derive(Debug)]
pub(crate) struct Outbox {
    limit_bytes: usize,
    waiting: VecDeque<Waiting>,
    /// How many at the front were sent on this connection, or may have been before it.
    sent: usize,
    last: BatchNumber,
    bytes: usize,
    rows: u64,
    lost_rows: u64,
    /// Sent and then given up.
    uncertain: VecDeque<GivenUp>,
    /// News for the journal.
    settled: Settled,
}

impl Outbox {
    /// An empty outbox.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            waiting: VecDeque::new(),
            sent: 0,
            last: BatchNumber { epoch: new_epoch(0), sequence: 0 },
            bytes: 0,
            rows: 0,
            lost_rows: 0,
            uncertain: VecDeque::new(),
            settled: Settled::default(),
        }
    }

    /// What another process has left: any of it may have been sent.
    pub(crate) fn resume(limit_bytes: usize, restored: Restored) -> Self {
        let mut outbox = Self::new(limit_bytes);
        outbox.lost_rows = restored.lost_rows;
        outbox.uncertain = restored.uncertain.into();
        outbox.last = restored.last;
        for batch in restored.batches {
            outbox.add(batch);
            outbox.sent = outbox.waiting.len();
        }
        if restored.kernel.is_none() {
            // What came after the journal's end may be with the relay under these numbers.
            outbox.begin_epoch();
        }
        outbox
    }

    /// Numbers begin anew.
    pub(crate) fn begin_epoch(&mut self) {
        self.last = BatchNumber { epoch: new_epoch(self.last.epoch), sequence: 0 };
    }

    /// The number that the next batch gets.
    pub(crate) fn next_number(&self) -> BatchNumber {
        BatchNumber { sequence: self.last.sequence + 1, ..self.last }
    }

    /// The batch that this parcel is going to be.
    pub(crate) fn number(&self, parcel: Parcel) -> Batch {
        let number = self.next_number();
        let Parcel { messages, rows, has_denies } = parcel;
        Batch { number, messages, rows, has_denies }
    }

    /// Adds a batch and gives up others if there is no room.
    pub(crate) fn push(&mut self, batch: Batch) {
        self.last = batch.number;
        self.add(batch);
    }

    /// The next batch to send on this connection.
    pub(crate) fn next(&mut self) -> Option<(BatchNumber, Vec<FlightData>)> {
        let next = self.waiting.get(self.sent)?;
        self.sent += 1;
        Some((next.batch.number, next.batch.messages.clone()))
    }

    /// The epochs of which the relay's answer matters, each with the last number given, oldest
    /// first; the present one comes last.
    pub(crate) fn epochs(&self) -> Vec<BatchNumber> {
        let uncertain = self.uncertain.iter().map(|given_up| given_up.number);
        let mut numbers: Vec<BatchNumber> = uncertain
            .chain(self.waiting.iter().map(|waiting| waiting.batch.number))
            .chain([self.last])
            .collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        numbers.dedup_by_key(|number| number.epoch);
        numbers.reverse();
        numbers
    }

    /// A connection begins, and the relay says what it has of each of the epochs.
    pub(crate) fn connected(&mut self, acknowledged: &[BatchNumber]) {
        self.sent = 0;
        for number in acknowledged {
            self.acknowledged(*number);
        }
        self.lost_rows += self.uncertain.drain(..).map(|given_up| given_up.rows).sum::<u64>();
    }

    /// The relay has everything of an epoch up to this.
    pub(crate) fn acknowledged(&mut self, number: BatchNumber) {
        let mut index = 0;
        while let Some(waiting) = self.waiting.get(index) {
            if waiting.batch.number.is_in(number) {
                self.remove(index);
            } else if waiting.batch.number.epoch == number.epoch {
                break;
            } else {
                index += 1;
            }
        }
        self.uncertain.retain(|given_up| !given_up.number.is_in(number));
        let known = &mut self.settled.acknowledged;
        match known.iter_mut().find(|known| known.epoch == number.epoch) {
            Some(known) => *known = (*known).max(number),
            None => known.push(number),
        }
    }

    /// The last number that was given.
    pub(crate) fn last(&self) -> BatchNumber {
        self.last
    }

    /// What became of batches since the last call.
    pub(crate) fn settled(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    /// Everything that waits, oldest first, and what was given up and may have arrived.
    pub(crate) fn contents(&self) -> (Vec<Batch>, Vec<GivenUp>) {
        let batches = self.waiting.iter().map(|waiting| waiting.batch.clone()).collect();
        (batches, self.uncertain.iter().copied().collect())
    }

    /// Whether everything is acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Rows that wait for their acknowledgement.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows that were given up and that the relay certainly does not have.
    pub(crate) fn lost_rows(&self) -> u64 {
        self.lost_rows
    }

    fn add(&mut self, batch: Batch) {
        let bytes = size(&batch);
        if bytes > self.limit_bytes {
            self.gone(&batch, false);
            return;
        }
        while self.bytes + bytes > self.limit_bytes {
            let index = self.waiting.iter().position(|waiting| !waiting.batch.has_denies);
            let index = index.unwrap_or(0);
            // What was sent only on an earlier connection did not arrive: the relay said so since.
            let may_have_arrived = index < self.sent;
            let Some(waiting) = self.remove(index) else { break };
            self.gone(&waiting.batch, may_have_arrived);
        }
        self.bytes += bytes;
        self.rows += batch.rows;
        self.waiting.push_back(Waiting { batch, bytes });
    }

    fn gone(&mut self, batch: &Batch, may_have_arrived: bool) {
        let given_up = GivenUp { number: batch.number, rows: batch.rows, may_have_arrived };
        if may_have_arrived {
            self.uncertain.push_back(given_up);
        } else {
            self.lost_rows += batch.rows;
        }
        self.settled.given_up.push(given_up);
    }

    fn remove(&mut self, index: usize) -> Option<Waiting> {
        let waiting = self.waiting.remove(index)?;
        if index < self.sent {
            self.sent -= 1;
        }
        self.bytes -= waiting.bytes;
        self.rows -= waiting.batch.rows;
        Some(waiting)
    }
}

fn size(batch: &Batch) -> usize {
    let size = |message: &FlightData| message.data_header.len() + message.data_body.len();
    batch.messages.iter().map(|message| size(message) + size_of::<FlightData>()).sum()
}

/// Now, nanoseconds since 1970, but later than `last`, also when the clock was set back.
fn new_epoch(last: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    now.max(last + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parcel(rows: u64, has_denies: bool) -> Parcel {
        let body = vec![0u8; 1000 - size_of::<FlightData>()];
        let message = FlightData::new().with_data_body(body);
        Parcel { messages: vec![message], rows, has_denies }
    }

    fn push(outbox: &mut Outbox, parcel: Parcel) {
        let batch = outbox.number(parcel);
        outbox.push(batch);
    }

    fn up_to(outbox: &Outbox, sequence: u64) -> BatchNumber {
        BatchNumber { epoch: outbox.last.epoch, sequence }
    }

    fn acknowledged(outbox: &mut Outbox, sequence: u64) {
        outbox.acknowledged(up_to(outbox, sequence));
    }

    fn connected(outbox: &mut Outbox, sequence: u64) {
        outbox.connected(&[up_to(outbox, sequence)]);
    }

    fn sequences(outbox: &mut Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next().map(|(number, _)| number.sequence)).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_in_order() {
        let mut outbox = Outbox::new(10_000);
        (0..4).for_each(|rows| push(&mut outbox, parcel(rows, false)));
        assert_eq!(sequences(&mut outbox), [1, 2, 3, 4]);
        acknowledged(&mut outbox, 2);
        assert_eq!(sequences(&mut outbox), [0u64; 0]);
        connected(&mut outbox, 3);
        assert_eq!(sequences(&mut outbox), [4]);
        acknowledged(&mut outbox, 4);
        assert!(outbox.is_empty());
        assert_eq!((outbox.rows(), outbox.bytes(), outbox.lost_rows()), (0, 0, 0));
    }

    #[test]
    fn batches_without_denies_go_first() {
        let mut outbox = Outbox::new(3_000);
        push(&mut outbox, parcel(1, true));
        push(&mut outbox, parcel(10, false));
        push(&mut outbox, parcel(100, true));
        push(&mut outbox, parcel(1000, true));
        assert_eq!((outbox.lost_rows(), outbox.rows()), (10, 1101));
        push(&mut outbox, parcel(10_000, true));
        assert_eq!((outbox.lost_rows(), outbox.rows()), (11, 11_100));
        assert_eq!(sequences(&mut outbox), [3, 4, 5]);
    }

    #[test]
    fn a_batch_given_up_after_it_was_sent_is_lost_only_if_it_did_not_arrive() {
        let given_up = || {
            let mut outbox = Outbox::new(2_000);
            push(&mut outbox, parcel(1, false));
            push(&mut outbox, parcel(10, false));
            assert_eq!(sequences(&mut outbox), [1, 2]);
            push(&mut outbox, parcel(100, false));
            push(&mut outbox, parcel(1000, false));
            assert_eq!(outbox.lost_rows(), 0);
            outbox
        };
        for (arrived, lost) in [(0, 11), (1, 10), (2, 0)] {
            let mut outbox = given_up();
            connected(&mut outbox, arrived);
            assert_eq!(outbox.lost_rows(), lost, "arrived up to {arrived}");
            assert_eq!(sequences(&mut outbox), [3, 4]);
        }
        // On a connection that lives, the answers come in order.
        let mut outbox = given_up();
        acknowledged(&mut outbox, 2);
        connected(&mut outbox, 2);
        assert_eq!(outbox.lost_rows(), 0);
    }

    #[test]
    fn a_batch_that_can_never_fit_is_lost() {
        let mut outbox = Outbox::new(500);
        push(&mut outbox, parcel(7, true));
        assert_eq!((outbox.lost_rows(), outbox.rows()), (7, 0));
    }

    proptest! {
        /// A relay that receives in order, forgets nothing and is cut off at random moments: each
        /// row is held by it, waits, or is counted as lost, exactly once.
        #[test]
        fn every_row_is_accounted_for(steps in prop::collection::vec(0u8..7, 1..200)) {
            let mut outbox = Outbox::new(4_000);
            let (mut pushed, mut relay_rows, mut relay_last) = (0u64, 0u64, 0u64);
            let mut on_the_way: VecDeque<(u64, u64)> = VecDeque::new();
            for step in steps {
                match step {
                    0..=2 => {
                        pushed += 1;
                        // One row each, so rows tell how many batches there are.
                        push(&mut outbox, parcel(1, step == 0));
                    }
                    3 => if let Some((number, _)) = outbox.next() {
                        on_the_way.push_back((number.sequence, 1));
                    },
                    4 => if let Some((sequence, rows)) = on_the_way.pop_front()
                        && sequence > relay_last
                    {
                        relay_last = sequence;
                        relay_rows += rows;
                    },
                    5 => acknowledged(&mut outbox, relay_last),
                    _ => {
                        on_the_way.clear();
                        connected(&mut outbox, relay_last);
                    }
                }
                prop_assert!(outbox.bytes() <= 4_000);
            }
            on_the_way.clear();
            connected(&mut outbox, relay_last);
            prop_assert_eq!(relay_rows + outbox.rows() + outbox.lost_rows(), pushed);
        }
    }
}
