//! What the relay has not acknowledged yet. No I/O.
//!
//! Bounded in bytes. When it is full the oldest batches without denies go first, then the oldest;
//! every row that goes is counted, once it is certain that the relay does not have it: a batch
//! that was sent before its connection broke may have arrived, and the relay's first answer on the
//! next connection tells.
//!
//! A batch gets its sequence number when it is first sent, so the relay sees a gap only where a
//! batch that was sent has been given up.

use std::collections::VecDeque;

use arrow_flight::FlightData;

/// A batch that waits.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    /// Dictionaries, then the rows; without metadata.
    pub(crate) messages: Vec<FlightData>,
    /// Rows in it.
    pub(crate) rows: u64,
    /// Whether any row is a deny.
    pub(crate) has_denies: bool,
}

impl Parcel {
    fn bytes(&self) -> usize {
        let size = |message: &FlightData| message.data_header.len() + message.data_body.len();
        self.messages.iter().map(|message| size(message) + size_of::<FlightData>()).sum()
    }
}

#[derive(Debug)]
struct Waiting {
    parcel: Parcel,
    bytes: usize,
    /// Given when it is first sent.
    sequence: Option<u64>,
}

/// The bounded queue.
#[derive(Debug)]
pub(crate) struct Outbox {
    limit_bytes: usize,
    waiting: VecDeque<Waiting>,
    /// How many at the front were sent on this connection.
    sent: usize,
    last_sequence: u64,
    bytes: usize,
    rows: u64,
    lost_rows: u64,
    /// Sequence and rows of batches that were sent and then given up.
    uncertain: VecDeque<(u64, u64)>,
}

impl Outbox {
    /// An empty outbox.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            waiting: VecDeque::new(),
            sent: 0,
            last_sequence: 0,
            bytes: 0,
            rows: 0,
            lost_rows: 0,
            uncertain: VecDeque::new(),
        }
    }

    /// Adds a batch and gives up others if there is no room.
    pub(crate) fn push(&mut self, parcel: Parcel) {
        let bytes = parcel.bytes();
        if bytes > self.limit_bytes {
            self.lost_rows += parcel.rows;
            return;
        }
        while self.bytes + bytes > self.limit_bytes {
            let index = self.waiting.iter().position(|waiting| !waiting.parcel.has_denies);
            self.give_up(index.unwrap_or(0));
        }
        self.bytes += bytes;
        self.rows += parcel.rows;
        self.waiting.push_back(Waiting { parcel, bytes, sequence: None });
    }

    /// The next batch to send on this connection, with its number.
    pub(crate) fn next(&mut self) -> Option<(u64, Vec<FlightData>)> {
        let next = self.waiting.get_mut(self.sent)?;
        self.sent += 1;
        let sequence = *next.sequence.get_or_insert_with(|| {
            self.last_sequence += 1;
            self.last_sequence
        });
        Some((sequence, next.parcel.messages.clone()))
    }

    /// A connection begins, and the relay says that it has everything up to `sequence`.
    pub(crate) fn connected(&mut self, sequence: u64) {
        self.sent = 0;
        self.acknowledged(sequence);
        self.lost_rows += self.uncertain.drain(..).map(|(_, rows)| rows).sum::<u64>();
    }

    /// The relay has everything up to `sequence`.
    pub(crate) fn acknowledged(&mut self, sequence: u64) {
        let arrived = |waiting: &Waiting| waiting.sequence.is_some_and(|own| own <= sequence);
        while self.waiting.front().is_some_and(arrived) {
            self.remove(0);
        }
        self.uncertain.retain(|(given_up, _)| *given_up > sequence);
    }

    /// The last number that was given; 0 if none was.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.last_sequence
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

    fn give_up(&mut self, index: usize) {
        // What was sent only on an earlier connection did not arrive: the relay said so since.
        let may_have_arrived = index < self.sent;
        let Some(waiting) = self.remove(index) else { return };
        match waiting.sequence {
            Some(sequence) if may_have_arrived => {
                self.uncertain.push_back((sequence, waiting.parcel.rows));
            }
            _ => self.lost_rows += waiting.parcel.rows,
        }
    }

    fn remove(&mut self, index: usize) -> Option<Waiting> {
        let waiting = self.waiting.remove(index)?;
        if index < self.sent {
            self.sent -= 1;
        }
        self.bytes -= waiting.bytes;
        self.rows -= waiting.parcel.rows;
        Some(waiting)
    }
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

    fn sequences(outbox: &mut Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next().map(|(sequence, _)| sequence)).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_in_order() {
        let mut outbox = Outbox::new(10_000);
        (0..4).for_each(|rows| outbox.push(parcel(rows, false)));
        assert_eq!(sequences(&mut outbox), [1, 2, 3, 4]);
        outbox.acknowledged(2);
        assert_eq!(sequences(&mut outbox), [0u64; 0]);
        outbox.connected(3);
        assert_eq!(sequences(&mut outbox), [4]);
        outbox.acknowledged(4);
        assert!(outbox.is_empty());
        assert_eq!((outbox.rows(), outbox.bytes(), outbox.lost_rows()), (0, 0, 0));
    }

    #[test]
    fn batches_without_denies_go_first() {
        let mut outbox = Outbox::new(3_000);
        outbox.push(parcel(1, true));
        outbox.push(parcel(10, false));
        outbox.push(parcel(100, true));
        outbox.push(parcel(1000, true));
        assert_eq!((outbox.lost_rows(), outbox.rows()), (10, 1101));
        outbox.push(parcel(10_000, true));
        assert_eq!((outbox.lost_rows(), outbox.rows()), (11, 11_100));
        // Never sent, so their numbers were never given: no gap.
        assert_eq!(sequences(&mut outbox), [1, 2, 3]);
    }

    #[test]
    fn a_batch_given_up_after_it_was_sent_is_lost_only_if_it_did_not_arrive() {
        let given_up = || {
            let mut outbox = Outbox::new(2_000);
            outbox.push(parcel(1, false));
            outbox.push(parcel(10, false));
            assert_eq!(sequences(&mut outbox), [1, 2]);
            outbox.push(parcel(100, false));
            outbox.push(parcel(1000, false));
            assert_eq!(outbox.lost_rows(), 0);
            outbox
        };
        for (arrived, lost) in [(0, 11), (1, 10), (2, 0)] {
            let mut outbox = given_up();
            outbox.connected(arrived);
            assert_eq!(outbox.lost_rows(), lost, "arrived up to {arrived}");
            assert_eq!(sequences(&mut outbox), [3, 4]);
        }
        // On a connection that lives, the answers come in order.
        let mut outbox = given_up();
        outbox.acknowledged(2);
        outbox.connected(2);
        assert_eq!(outbox.lost_rows(), 0);
    }

    #[test]
    fn a_batch_that_can_never_fit_is_lost() {
        let mut outbox = Outbox::new(500);
        outbox.push(parcel(7, true));
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
                        outbox.push(parcel(1, step == 0));
                    }
                    3 => if let Some((sequence, _)) = outbox.next() {
                        on_the_way.push_back((sequence, 1));
                    },
                    4 => if let Some((sequence, rows)) = on_the_way.pop_front()
                        && sequence > relay_last
                    {
                        relay_last = sequence;
                        relay_rows += rows;
                    },
                    5 => outbox.acknowledged(relay_last),
                    _ => {
                        on_the_way.clear();
                        outbox.connected(relay_last);
                    }
                }
                prop_assert!(outbox.bytes() <= 4_000);
            }
            on_the_way.clear();
            outbox.connected(relay_last);
            prop_assert_eq!(relay_rows + outbox.rows() + outbox.lost_rows(), pushed);
        }
    }
}
